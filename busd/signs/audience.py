"""Everybody who watches one stop over a socket: the bus tells one audience, not ten thousand slots."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from busd.signs.cohort import Cohort, Key
from busd.signs.frames import MAX_VARIANTS, NOW_MS, Encoded, Variant
from busd.types import Board

if TYPE_CHECKING:
    from busd.signs.hub import SignHub
    from busd.signs.slot import Slot

REMEMBERED = 16
"""Revisions of a stop for which an ``ack`` still counts: it may come when newer boards are on their way already."""


class Audience:
    """A watcher of one stop for all sessions. What it hears waits in ``hub.changed`` until the flush."""

    __slots__ = ("_encoded", "_hub", "_recent", "board", "cohorts", "singles", "stop_id")

    def __init__(self, hub: SignHub, stop_id: str) -> None:
        self._hub = hub
        self.stop_id = stop_id
        self.singles: dict[Slot, None] = {}
        self.cohorts: dict[Key, Cohort] = {}
        """of those who are not alone"""
        self.board = hub.bus.latest(stop_id)
        self._encoded: dict[Variant, Encoded] = {}
        self._recent: deque[tuple[str, int, float]] = deque(maxlen=REMEMBERED)
        self._remember()

    def board_changed(self, board: Board) -> None:
        self.board = board
        self._encoded.clear()
        self._remember()
        self._hub.changed[self] = None

    def encoded(self, variant: Variant, now_ms: int) -> Encoded | None:
        """As `FrameCache.encoded`, with a shorter way to what the last sign got."""
        encoded = self._encoded.get(variant)
        if encoded is None or not 0 <= now_ms - encoded.now_ms < NOW_MS:
            encoded = self._hub.frames.encoded(self.stop_id, variant, now_ms)
            if encoded is not None:
                if len(self._encoded) >= MAX_VARIANTS:
                    self._encoded.clear()
                self._encoded[variant] = encoded
        return encoded

    def frame(self, variant: Variant, now_ms: int) -> bytes:
        """The board that the bus has just shown, for the WebSocket."""
        encoded = self.encoded(variant, now_ms)
        assert encoded is not None
        return encoded.frame

    def part(self, slot: Slot) -> None:
        """It watches no longer."""
        slot.alone()
        self.singles.pop(slot, None)

    @property
    def is_empty(self) -> bool:
        return not (self.singles or self.cohorts)

    def computed_at(self, epoch: str, rev: int) -> float | None:
        """``at`` of a revision that was published not long ago, epoch s."""
        return next((at for e, r, at in self._recent if r == rev and e == epoch), None)

    def spread(self) -> None:
        """Every slot owes the new board to its sign."""
        members = (slot for cohort in self.cohorts.values() for slot in cohort.members)
        for slot in (*self.singles, *members):
            slot.board_changed()

    def _remember(self) -> None:
        if self.board is not None:
            self._recent.append((self.board.epoch, self.board.rev, self.board.at))
