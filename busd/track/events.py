"""The words for what happens to a vehicle (after TheTransitClock's VehicleEvent list), and the last of them of each.

Every event marks an edge: it is told when a state begins, not at every fix while it lasts."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Any

from busd.types import Output, VehicleEvent

KEPT = 20


class Event(StrEnum):
    FOUND = "found"
    """its first report, or the first after it was lost"""
    TIMED_OUT = "timed out"
    """on a run, and no report for `Predicting.frozen_s`: its predictions stand still"""
    LOST = "lost"
    """no report for `Predicting.lost_s`"""
    ASSIGNED = "assigned"
    """it performs a run from now on"""
    CHANGED = "assignment changed"
    """it performs another run, though the one before was not over"""
    TAKEN = "assignment taken"
    """another vehicle performs its run now"""
    PREDICTABLE = "predictable"
    """its run and its place on it are known: there are predictions from now on"""
    CONFLICT = "conflict"
    """its source names a run that another vehicle performs, or one that it is far ahead of"""
    SOURCES = "conflict of two sources"
    """two sources, or two devices of one source, tell of it at two places at once"""
    NO_MATCH = "no match"
    """nothing in the timetable fits what it does, or what its source says"""
    NO_PROGRESS = "no progress"
    """on its way, late, and not coming on"""
    DELAYED = "delayed"
    RECOVERED = "recovered"
    """no longer delayed"""
    LEFT_EARLY = "left terminal early"
    LEFT_LATE = "left terminal late"
    NOT_LEAVING = "not leaving terminal"
    END_OF_BLOCK = "end of block"
    OFF_ROUTE = "off route"
    BACK_ON_ROUTE = "back on route"
    DETOUR = "detour found"
    """several buses of a line take another way (the vehicle id is empty)"""
    DETOUR_ENDED = "detour ended"
    DATUM = "datum suspect"
    """a source (the vehicle id is empty) looks like another datum than the configured one"""


class EventLog:
    """The last `KEPT` events of each vehicle, by its row."""

    def __init__(self) -> None:
        self._kept: dict[int, deque[VehicleEvent]] = {}

    def tell(self, row: int, event: VehicleEvent, outputs: list[Output]) -> None:
        """An event is an output, and is remembered."""
        outputs.append(event)
        kept = self._kept.get(row)
        if kept is None:
            kept = self._kept[row] = deque(maxlen=KEPT)
        kept.append(event)

    def of(self, row: int) -> list[VehicleEvent]:
        """Oldest first."""
        return list(self._kept.get(row, ()))

    def dump(self) -> list[Any]:
        return [[row, [[e.at, e.kind, e.reason] for e in kept]] for row, kept in sorted(self._kept.items())]

    def load(self, state: list[Any], ids: list[str]) -> None:
        self._kept = {
            int(row): deque((VehicleEvent(at, ids[int(row)], kind, reason) for at, kind, reason in kept), maxlen=KEPT)
            for row, kept in state
        }
