"""What one connection still owes one stop: at most one board, never a queue.

The slot does not even hold the board: it remembers that there is something to send, and looks at the bus when the
connection can write. A newer board replaces an unsent one by doing nothing, and a slow sign costs a few numbers.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from busd.types import Board

if TYPE_CHECKING:
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
    """A watcher of one stop for one session."""

    __slots__ = ("owed", "refresh_at", "sent", "sent_at", "session", "stop_id")

    def __init__(self, session: SignSession, stop_id: str) -> None:
        self.session = session
        self.stop_id = stop_id
        self.owed = Owed.NOTHING
        self.sent: Board | None = None
        """the board this sign has: sent on this connection, or named in its ``have``"""
        self.sent_at = float("-inf")
        self.refresh_at = 0.0

    def board_changed(self, board: Board) -> None:
        session = self.session
        if self.owed >= Owed.BOARD:
            session.hub.conflated += 1
        else:
            self.owed = Owed.BOARD
            session.owed[self] = None
        session.hub.dirty[session] = None

    def owe(self, what: Owed) -> None:
        self.owed = max(self.owed, what)
        self.session.owed[self] = None

    def answer(self, have: tuple[str, int] | None, mono: float) -> None:
        """Owe the one ``same`` or ``board`` that follows a ``sub`` [8] [9]."""
        board = self.session.hub.bus.latest(self.stop_id)
        self.refresh_at = mono + RETRY_S
        if board is not None and have == (board.epoch, board.rev):
            self.sent = board
            self.owed = Owed.NOTHING
            self.owe(Owed.SAME)
        else:
            self.owe(Owed.ANSWER)

    def next_deadline(self) -> float:
        """When this slot wants to be looked at again, as long as the connection can write."""
        return self.sent_at + self.session.min_interval if self.owed is Owed.BOARD else self.refresh_at

    def take(self, mono: float, now_ms: int) -> bytes | None:
        """The frame that is due now, or None; afterwards it counts as sent."""
        session = self.session
        hub = session.hub
        board = hub.bus.latest(self.stop_id)
        if board is None:
            # Before the first board: an answer stays owed. A stop that left the timetable: silence, the sign falls back.
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
                self.refresh_at = mono + board.ttl_s / REFRESH_PER_TTL
                hub.sames_sent += 1
                return hub.frames.same_frame(self.stop_id, now_ms)
            if mono < self.sent_at + session.min_interval:
                self.owed = Owed.BOARD
                return None
        self.sent = board
        self.sent_at = mono
        self.refresh_at = mono + board.ttl_s / REFRESH_PER_TTL
        self._done()
        hub.boards_sent += 1
        return hub.frames.board_frame(self.stop_id, session.langs, session.max_deps, now_ms)

    def _done(self) -> None:
        self.owed = Owed.NOTHING
        del self.session.owed[self]
