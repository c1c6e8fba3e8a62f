"""All runs of the service days that matter now, flat, so that one searchsorted finds the runs of many fixes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely

from busd.days import ServiceDay
from gtfs.network import F64, I64, Network

_FAR_S = 1e7
"""apart from each other by this, the patterns (or places) share one rising sequence"""


class Service:
    """Runs of the held days, numbered through: those of day d are ``offset[d]:offset[d + 1]``, the calendar's first.

    Trips of a service that the calendar never lets run (extra buses, shuttles of an event, a wrong calendar) may run on
    any day; they follow those of the calendar as its ``unplanned`` runs."""

    def __init__(self, network: Network, days: Iterable[ServiceDay], unplanned_share: float = 0.0) -> None:
        """``unplanned_share``: no more of the feed's trips than this can be those of extra buses."""
        held = sorted(days, key=lambda day: day.ordinal)
        self.network = network
        self.days = np.array([day.ordinal for day in held], np.int64)
        extra = _never_run(network, unplanned_share) if held else np.zeros(0, np.int64)
        planned = [len(day.run_trip) for day in held]
        sizes = [n + len(extra) for n in planned]
        self.offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.count = int(self.offset[-1])
        self.day = np.repeat(self.days, sizes)
        self.run = np.concatenate([np.arange(n) for n in sizes] or [np.zeros(0, np.int64)]).astype(np.int64)
        self.unplanned = self.run >= np.repeat(np.array(planned, np.int64), sizes)
        self.trip = _join([part for day in held for part in (day.run_trip, extra)])
        none = np.full(len(extra), -1, np.int64)
        self.start_s = _join([part for day in held for part in (day.run_start_s, none)])
        self.pattern = network.trip_pattern[self.trip].astype(np.int64)
        self.time_row = network.trip_time_offset[self.trip].astype(np.int64)
        self.stops = (network.trip_time_offset[self.trip + 1] - self.time_row).astype(np.int64)
        shift = [day.start_at + np.concatenate([day.run_shift_s, np.zeros(len(extra))]) for day in held]
        self.base_at: F64 = np.concatenate([*shift, np.zeros(0)])
        usable = self.stops >= 2
        last = self.time_row + np.maximum(self.stops, 1) - 1
        starts = network.departure_s[np.minimum(self.time_row, last)]
        self.starts_at: F64 = np.where(usable, self.base_at + starts, np.inf)
        self.next = np.full(self.count, -1, np.int64)
        for i, day in enumerate(held):
            part = slice(int(self.offset[i]), int(self.offset[i]) + planned[i])
            self.next[part] = np.where(day.run_next >= 0, day.run_next + self.offset[i], -1)
        self._origin = float(self.starts_at[usable].min()) if usable.any() else 0.0
        self._by_pattern(usable)
        self._by_place(usable)

    def number(self, day: I64, run: I64) -> I64:
        """Numbers of (service day, run of the day); -1 where the day is not held or the run is not of its calendar."""
        if not len(self.days):
            return np.full(len(run), -1, np.int64)
        d = np.minimum(np.searchsorted(self.days, day), len(self.days) - 1)
        return np.where((self.days[d] == day) & (run >= 0), self.offset[d] + run, -1)

    def _by_pattern(self, usable: np.ndarray) -> None:
        numbers = np.flatnonzero(usable)
        order = np.lexsort((self.starts_at[numbers], self.pattern[numbers]))
        self._pattern_run = numbers[order]
        rows = self._pattern_run
        self._pattern_key = self.pattern[rows] * _FAR_S + (self.starts_at[rows] - self._origin)
        patterns = len(self.network.pattern_route)
        self._pattern_first = np.searchsorted(self.pattern[rows], np.arange(patterns + 1))

    def _by_place(self, usable: np.ndarray) -> None:
        """First stops of the day's runs; places are distinct stops."""
        numbers = np.flatnonzero(usable)
        first_stop = self.network.pattern_stop[self.network.pattern_stop_offset[self.pattern[numbers]]]
        self.place_stop, place = np.unique(first_stop, return_inverse=True)
        order = np.lexsort((self.starts_at[numbers], place))
        self._place_run = numbers[order]
        self._place_key = place[order] * _FAR_S + (self.starts_at[self._place_run] - self._origin)
        self._place_first = np.searchsorted(place[order], np.arange(len(self.place_stop) + 1))
        x, y = self.network.stop_x[self.place_stop], self.network.stop_y[self.place_stop]
        self._places = shapely.STRtree(shapely.points(x, y))

    def runs_of_patterns(self, pattern: I64, low_at: F64, high_at: F64) -> tuple[I64, I64]:
        """(index into ``pattern``, run number) of the runs that start within [low, high]."""
        return self._between(self._pattern_key, self._pattern_first, self._pattern_run, pattern, low_at, high_at)

    def runs_near(self, x: F64, y: F64, reach_m: float, low_at: F64, high_at: F64) -> tuple[I64, I64]:
        """(index of the point, run number) of the runs that start near the points, within [low, high]."""
        if not len(self.place_stop):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        who, place = self._places.query(shapely.points(x, y), predicate="dwithin", distance=reach_m)
        order = np.lexsort((place, who))
        who, place = who[order], place[order]
        i, run = self._between(self._place_key, self._place_first, self._place_run, place, low_at[who], high_at[who])
        return who[i], run

    def _between(self, key: F64, first: I64, runs: I64, group: I64, low_at: F64, high_at: F64) -> tuple[I64, I64]:
        low, high = np.maximum(low_at - self._origin, -_FAR_S / 4), np.minimum(high_at - self._origin, _FAR_S / 2)
        a = np.clip(np.searchsorted(key, group * _FAR_S + low), first[group], first[group + 1])
        b = np.clip(np.searchsorted(key, group * _FAR_S + high, side="right"), a, first[group + 1])
        count = b - a
        owner = np.repeat(np.arange(len(group)), count)
        return owner, runs[np.arange(len(owner)) - (np.cumsum(count) - count)[owner] + a[owner]]


def _never_run(network: Network, most: float) -> I64:
    """Trips of services without a day; none where they are so many that they are another timetable. Those that
    frequencies.txt would have to place in time are left out."""
    runs: np.ndarray = np.any(network.service_active, axis=1)
    never = np.flatnonzero(~runs[network.trip_service])
    if len(never) > most * len(network.trip_service):
        return np.zeros(0, np.int64)
    return never[~np.isin(never, network.frequency_trip)]


def _join(parts: list[np.ndarray]) -> I64:
    return np.concatenate([part.astype(np.int64) for part in parts] or [np.zeros(0, np.int64)])
