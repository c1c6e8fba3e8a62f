"""Service days laid out for the engine: runs, the rows of their stop calls, and each stop's departures in order.

A *run* is a dated trip: a trip of the timetable on this day, or one of the runs that frequencies.txt asks for. A *row*
is one stop call of a run; the rows of run r are ``run_row[r]:run_row[r + 1]``, in pattern order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from busd.types import DatedTrip
from gtfs.calendar import service_day_start
from gtfs.network import F64, I32, I64, Bool, Network

DAY_S = 86400.0
STOP_KEY = 1e7


@dataclass(frozen=True, eq=False)
class ServiceDay:
    """One service day of the network; immutable."""

    ordinal: int
    service_date: str  # YYYYMMDD
    start_at: float  # noon minus 12 h (GTFS)
    run_trip: I32  # run -> trip
    run_start_s: I32  # run -> its start where frequencies.txt makes it, else -1
    run_shift_s: F64  # run -> added to the trip's stop times
    run_headway: Bool  # run -> exact_times=0: its times are nominal, riders are told a headway
    run_row: I64  # R+1
    run_next: I32  # run -> the run its block does next, -1 none
    row_run: I32  # row -> run
    row_stop: I32  # row -> stop
    row_departure_at: F64  # row -> scheduled departure
    row_call: I32  # row -> trip, start_s, stop position, headsign: what a board row says of the call
    stop_offset: I64  # S+1 into stop_rows
    stop_rows: I64  # boardable rows of each stop by departure
    stop_key: F64  # of each of stop_rows: stop x STOP_KEY + seconds of the day; rising, for searching
    trip_run: dict[int, list[int]]  # trip -> its runs

    def dated(self, run: int) -> DatedTrip:
        start = int(self.run_start_s[run])
        return DatedTrip(int(self.run_trip[run]), self.service_date, None if start < 0 else start)


def ordinal_of(service_date: str) -> int:
    return dt.date(int(service_date[:4]), int(service_date[4:6]), int(service_date[6:8])).toordinal()


def service_date_of(ordinal: int) -> str:
    return dt.date.fromordinal(ordinal).strftime("%Y%m%d")


def build_day(network: Network, ordinal: int) -> ServiceDay:
    """All runs of one service day. O(stop times of the day), a few tens of milliseconds a million."""
    service_date = service_date_of(ordinal)
    start_at = service_day_start(ordinal, network.timezone)
    trips, starts, shifts, headway = _runs(network, ordinal)
    first = network.trip_time_offset[trips]
    count = network.trip_time_offset[trips + 1] - first
    run_row = np.concatenate([[0], np.cumsum(count)])
    rows = int(run_row[-1])
    row_run = np.repeat(np.arange(len(trips), dtype=np.int32), count)
    pos = np.arange(rows) - run_row[row_run]
    time = first[row_run] + pos
    departure = start_at + network.departure_s[time] + shifts[row_run]
    pattern_row = network.pattern_stop_offset[network.trip_pattern[trips[row_run]]] + pos
    row_stop = network.pattern_stop[pattern_row]
    boardable = (network.pickup_type[time] != 1) & (pos < count[row_run] - 1)
    chosen = np.flatnonzero(boardable)
    order = np.lexsort((chosen, departure[chosen], row_stop[chosen]))
    stop_rows = chosen[order]
    stops = len(network.stop_lat)
    stop_offset = np.searchsorted(row_stop[stop_rows], np.arange(stops + 1))
    trip_run: dict[int, list[int]] = {}
    for run, trip in enumerate(trips.tolist()):
        trip_run.setdefault(trip, []).append(run)
    return ServiceDay(
        ordinal,
        service_date,
        start_at,
        trips,
        starts,
        shifts,
        headway,
        run_row.astype(np.int64),
        _next_in_block(network, trips, starts, first, count),
        row_run,
        row_stop.astype(np.int32),
        departure,
        np.stack([trips[row_run], starts[row_run], pos, network.time_headsign[time]], axis=1).astype(np.int32),
        stop_offset.astype(np.int64),
        stop_rows.astype(np.int64),
        row_stop[stop_rows] * STOP_KEY + (departure[stop_rows] - start_at),
        trip_run,
    )


def _runs(network: Network, ordinal: int) -> tuple[I32, I32, F64, Bool]:
    trips = np.sort(network.active_trips(ordinal)).astype(np.int32)
    by_frequency = np.isin(trips, network.frequency_trip)
    plain = trips[~by_frequency]
    out_trip, out_start = [plain], [np.full(len(plain), -1, np.int32)]
    out_shift: list[F64] = [np.zeros(len(plain))]
    out_headway = [np.zeros(len(plain), bool)]
    active = set(trips[by_frequency].tolist())
    for f, trip in enumerate(network.frequency_trip.tolist()):
        headway_s = int(network.frequency_headway_s[f])
        if trip not in active or headway_s <= 0:
            continue
        at = np.arange(int(network.frequency_start_s[f]), int(network.frequency_end_s[f]), headway_s, dtype=np.int32)
        out_trip.append(np.full(len(at), trip, np.int32))
        out_start.append(at)
        out_shift.append((at - float(network.departure_s[network.trip_time_offset[trip]])).astype(np.float64))
        out_headway.append(np.full(len(at), network.frequency_exact[f] == 0))
    trip_column, start = np.concatenate(out_trip), np.concatenate(out_start)
    order = np.lexsort((start, trip_column))
    return trip_column[order], start[order], np.concatenate(out_shift)[order], np.concatenate(out_headway)[order]


def _next_in_block(network: Network, trips: I32, starts: I32, first: I64, count: I64) -> I32:
    """Run -> the next run of its block by departure, where it does not start before this one ends."""
    after = np.full(len(trips), -1, np.int32)
    usable = np.flatnonzero((network.trip_block[trips] >= 0) & (starts < 0) & (count > 0))
    if len(usable) < 2:
        return after
    block = network.trip_block[trips[usable]]
    departs = network.departure_s[first[usable]]
    order = np.lexsort((usable, departs, block))
    run, block = usable[order], block[order]
    ends = network.arrival_s[first[run] + count[run] - 1]
    same = (block[1:] == block[:-1]) & (departs[order][1:] >= ends[:-1] - 60)
    after[run[:-1][same]] = run[1:][same]
    return after


class Timetable:
    """The service days that matter now, kept around the engine's clock."""

    def __init__(self, network: Network, before_s: float, after_s: float) -> None:
        """``before_s``/``after_s``: how far around now a stop call may lie to matter."""
        self.network = network
        self._before_s, self._after_s = before_s, after_s
        has_times = len(network.departure_s) > 0
        self._first_s = float(network.departure_s.min()) if has_times else 0.0
        last = float(network.arrival_s.max()) if has_times else 0.0
        runs_end = float(network.frequency_end_s.max()) if len(network.frequency_end_s) else 0.0
        self._last_s = max(last, runs_end + last if runs_end else 0.0)
        self.days: dict[int, ServiceDay] = {}
        self._next_check = -np.inf

    def advance(self, at: float) -> bool:
        """Bring in the days that now matter, let go of those that no longer do. True if the set changed."""
        if at < self._next_check:
            return False
        self._next_check = (at // 600 + 1) * 600
        today = _utc_ordinal(at)
        wanted = [d for d in range(today - 2 - int(self._last_s // DAY_S), today + 3) if self._matters(d, at)]
        changed = set(wanted) != set(self.days)
        if changed:
            self.days = {d: self.days.get(d) or build_day(self.network, d) for d in wanted}
        return changed

    def _matters(self, ordinal: int, at: float) -> bool:
        start = service_day_start(ordinal, self.network.timezone)
        return start + self._first_s <= at + self._after_s and start + self._last_s >= at - self._before_s

    def dump(self) -> dict[str, Any]:
        return {"days": list(self.days), "next_check": self._next_check}

    def load(self, state: dict[str, Any]) -> None:
        """The very days that were held, so that a restored engine wakes when the other one would have."""
        self.days = {int(day): build_day(self.network, int(day)) for day in state["days"]}
        self._next_check = float(state["next_check"])

    def current(self, at: float) -> ServiceDay | None:
        """The service day whose timetable riders mean by "today": its start was at most 24 h + 3 h ago."""
        best = None
        for day in self.days.values():
            if day.start_at <= at - 3 * 3600 and (best is None or day.start_at > best.start_at):
                best = day
        return best or next(iter(self.days.values()), None)

    def __iter__(self) -> Iterator[ServiceDay]:
        return iter(self.days.values())


def _utc_ordinal(at: float) -> int:
    return int(at // DAY_S) + dt.date(1970, 1, 1).toordinal()
