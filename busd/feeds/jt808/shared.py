"""What all connections of one port share."""

from __future__ import annotations

from collections import defaultdict

from busd.feeds.clocks import ClockWatch
from busd.feeds.jt808.limits import Doorkeeper


class Tally:
    """Frames and answers by message id; ``plain``: reports that went the short way, each with one 0x8001."""

    __slots__ = ("frames", "plain", "replies")

    def __init__(self) -> None:
        self.frames: defaultdict[int, int] = defaultdict(int)
        self.plain = 0
        self.replies: defaultdict[int, int] = defaultdict(int)

    def settle(self) -> None:
        """Counts the plain ones by id."""
        self.frames[0x0200] += self.plain
        self.replies[0x8001] += self.plain
        self.plain = 0


class Shared:
    """Counts, clocks that are off, and who tries too often."""

    __slots__ = ("clocks", "door", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.clocks = ClockWatch()
        self.door = Doorkeeper()
