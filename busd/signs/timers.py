"""One timer for all connections: a wheel of coarse buckets, one entry per item.

An item's deadline is looked at when its entry comes up; the item then says when it wants to be looked at again. Moving a
deadline further away therefore costs nothing, which is what almost every message does.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

RESOLUTION_S = 0.05


class Timed(Protocol):
    timer_bucket: int
    """Owned by the wheel: the bucket this item waits in, 0 for none."""


T = TypeVar("T", bound=Timed)


class TimerWheel(Generic[T]):
    """Entries come up at their instant or up to `RESOLUTION_S` after it, never before. Instants are monotonic seconds."""

    def __init__(self, resolution_s: float = RESOLUTION_S) -> None:
        self._resolution = resolution_s
        self._buckets: dict[int, list[T]] = {}
        self._order: list[int] = []

    def schedule(self, item: T, at: float) -> None:
        """Look at ``item`` at ``at``, unless it comes up before that anyhow."""
        bucket = max(1, math.ceil(at / self._resolution))
        if 0 < item.timer_bucket <= bucket:
            return
        item.timer_bucket = bucket
        items = self._buckets.get(bucket)
        if items is None:
            items = self._buckets[bucket] = []
            heappush(self._order, bucket)
        items.append(item)

    def forget(self, item: T) -> None:
        item.timer_bucket = 0

    @property
    def next_at(self) -> float | None:
        return self._order[0] * self._resolution if self._order else None

    def due(self, now: float) -> list[T]:
        """Take out every item whose entry has come up."""
        found: list[T] = []
        while self._order and self._order[0] * self._resolution <= now:
            bucket = heappop(self._order)
            for item in self._buckets.pop(bucket):
                if item.timer_bucket == bucket:  # else it was forgotten, or moved to an earlier bucket
                    item.timer_bucket = 0
                    found.append(item)
        return found
