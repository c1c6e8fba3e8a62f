"""Signs of one stop that had their last board in the same turn: what is true of one of them is true of all.

So the next board costs each of them its write and nothing else. A sign leaves as soon as anything special applies to it
(`Slot.alone`), with what the cohort knows of it, and comes back with the next board that it gets in time (fanout.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from busd.types import Board

if TYPE_CHECKING:
    from busd.signs.frames import Variant
    from busd.signs.slot import Slot

Key = tuple["Variant", float]
"""how its signs want their boards, and their pace"""


class Cohort:
    """The fields say of every member what those of the same name say of a slot."""

    __slots__ = ("bytes_out", "free_at", "key", "members", "refresh_at", "sent")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.members: dict[Slot, Callable[[bytes], object]] = {}
        """each with the way to its socket"""
        self.sent: Board | None = None
        self.free_at = self.refresh_at = 0.0
        self.bytes_out = 0
        """to each of its members since it began"""

    def got(self, board: Board, mono: float, refresh_at: float, size: int) -> None:
        """All members get ``board`` now, in a frame of so many bytes."""
        self.sent = board
        self.free_at = mono + self.key[1]
        self.refresh_at = refresh_at
        self.bytes_out += size
