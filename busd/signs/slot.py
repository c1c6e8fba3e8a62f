"""What one connection still owes one stop: at most one board, never a queue.

The slot does not even hold the board: it remembers that there is something to send, and looks at the bus when the
connection can write. A newer board replaces an unsent one by doing nothing, and a slow sign costs a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from busd.signs.cohort import Cohort
from busd.signs.worth import ECONOMY_S
from busd.types import Board

if TYPE_CHECKING:
    from busd.signs.audience import Audience
    from busd.signs.protocol import SignSession

REFRESH_PER_TTL = 3
"""Something is sent for every stop at least every ttl/3 (the protocol: SHOULD ttl/3, MUST ttl/2 [27])."""
RETRY_S = 3.0
"""How long until a stop without any board is looked at again."""


class Owed(IntEnum):
    NOTHING = 0
    SAME = 1
    """a refresher; turns into a board when a newer one comes"""
    BOARD = 2
    ANSWER = 3
    """the answer to a ``sub``: at once, whatever min_interval says"""


class Slot:
    """One stop for one session."""

    __slots__ = (
        "_counted",
        "audience",
        "bytes_out",
        "cohort",
        "free_at",
        "min_interval",
        "owed",
        "refresh_at",
        "sent",
        "session",
        "variant",
        "write_now",
    )

    def __init__(self, session: SignSession, audience: Audience) -> None:
        self.session = session
        self.audience = audience
        audience.singles[self] = None
        self.cohort: Cohort | None = None
        """which knows more of this slot than it does itself, see `catch_up`"""
        self._counted = 0
        """of the cohort's bytes"""
        self.variant = session.variant
        """how this sign wants its boards; like the two below a copy of the session's, for a look that costs nothing"""
        self.min_interval = session.min_interval
        self.write_now: Callable[[bytes], object] | None = None
        """the way to the socket, while nothing stands in it; see fanout.py"""
        self.owed = Owed.NOTHING
        self.sent: Board | None = None
        """the board this sign has: sent on this connection, or named in its ``have``"""
        self.free_at = float("-inf")
        """not before this instant may another board go [30]"""
        self.refresh_at = 0.0
        self.bytes_out = 0
        """since the session has asked, without what it wrote itself"""

    # ---- one of many -------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """It has just got a board as all others of its cohort, or is the first of one."""
        audience, key = self.audience, (self.variant, self.min_interval)
        assert self.write_now is not None
        cohort = audience.cohorts.get(key)
        if cohort is None:
            cohort = audience.cohorts[key] = Cohort(key)
            cohort.sent, cohort.refresh_at = self.sent, self.refresh_at
        cohort.free_at = max(cohort.free_at, self.free_at)
        cohort.members[self] = self.write_now
        self.cohort, self._counted = cohort, cohort.bytes_out
        del audience.singles[self]

    def catch_up(self) -> None:
        """Take over what the cohort knows."""
        cohort = self.cohort
        if cohort is not None:
            self.sent, self.free_at, self.refresh_at = cohort.sent, cohort.free_at, cohort.refresh_at
            self.bytes_out += cohort.bytes_out - self._counted
            self._counted = cohort.bytes_out

    def alone(self) -> None:
        """Something special applies from now on."""
        cohort = self.cohort
        if cohort is None:
            return
        self.catch_up()
        self.cohort = None
        del cohort.members[self]
        if not cohort.members:
            del self.audience.cohorts[cohort.key]
        self.audience.singles[self] = None

    # ---- what is owed ------------------------------------------------------------------------------------------------

    def board_changed(self) -> None:
        self.alone()
        session = self.session
        if self.owed >= Owed.BOARD:
            session.hub.conflated += 1
        else:
            self.owed = Owed.BOARD
            session.owed[self] = None
        session.hub.dirty[session] = None

    def owe(self, what: Owed) -> None:
        self.alone()
        self.owed = max(self.owed, what)
        self.session.owed[self] = None

    def answer(self, have: tuple[str, int] | None, mono: float) -> None:
        """Owe the one ``same`` or ``board`` that follows a ``sub`` [8] [9]."""
        self.alone()
        board = self.audience.board
        self.refresh_at = mono + RETRY_S
        if board is not None and have == (self.variant.epoch(board), board.rev):
            self.sent = board
            self.owed = Owed.NOTHING
            self.owe(Owed.SAME)
        else:
            self.owe(Owed.ANSWER)

    def forget(self) -> None:
        """What the sign shows is no longer what this connection would send it."""
        self.alone()
        self.sent = None
        if self.owed is not Owed.ANSWER:
            self.owed = Owed.NOTHING
            self.owe(Owed.BOARD)

    def next_deadline(self) -> float:
        """When this slot wants to be looked at again, as long as the connection can write."""
        self.catch_up()
        return self.free_at if self.owed is Owed.BOARD else self.refresh_at

    def take(self, mono: float, now_ms: int) -> bytes | None:
        """The frame that is due now, or None; afterwards it counts as sent."""
        session = self.session
        hub = session.hub
        audience = self.audience
        board = audience.board
        if board is None:
            # Before the first board an answer stays owed.
            self.refresh_at = mono + RETRY_S
            if self.owed is not Owed.ANSWER:
                self._done()
            return None
        owed, sent = self.owed, self.sent
        if owed is not Owed.ANSWER:
            if sent is not None and sent.rev == board.rev and sent.epoch == board.epoch:
                self._done()
                if owed is not Owed.SAME:
                    return None
                self.refresh_at = mono + board.ttl_s / REFRESH_PER_TTL / hub.speed
                hub.sames_sent += 1
                return hub.frames.same_frame(audience.stop_id, now_ms, self.variant.mode)
            if mono < self.free_at:
                self.owed = Owed.BOARD
                return None
            waits = session.min_interval >= ECONOMY_S and mono < self.refresh_at
            if waits and sent is not None and not hub.is_urgent(sent, board):
                self._done()  # goes out at `refresh_at`, in the place of the ``same``
                return None
        encoded = audience.encoded(self.variant, now_ms)
        self._done()
        if encoded is None:  # the stop has left the timetable since
            return None
        self.sent = board
        self.free_at = mono + self.min_interval
        self.refresh_at = mono + board.ttl_s / REFRESH_PER_TTL / hub.speed
        hub.boards_sent += 1
        window = session.window
        if window is None:
            return encoded.frame
        frame = encoded.deflated(window.bits, window.before)
        window.sent(encoded.payload)
        return frame

    @property
    def stop_id(self) -> str:
        return self.audience.stop_id

    def _done(self) -> None:
        self.owed = Owed.NOTHING
        del self.session.owed[self]
