"""Every published prediction meets its outcome: sampled where its told horizon enters a bucket, judged when the bus has
passed, forgotten when it is clear that none will.

Memory is bounded: at most ``max_runs`` runs are followed (the others are counted as ``left_out``), each with one sample
a stop and bucket. All instants come from the outputs and inputs, so a journal that is replayed gives the live figures.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from busd.history.standards import ACTUAL_EDGES_S
from busd.history.tally import Judged, Tally
from busd.types import DatedTrip, Output, Predicted, PredictionTable, StopVisit, StopVisited
from gtfs.network import F64, I64, Network

CELLS_S = np.array([0.0, 90.0, 180.0, 270.0, 360.0, 480.0, 600.0, 750.0, 900.0, 1200.0, 1800.0])
"""edges of the told horizons at which one sample a stop is taken: two in each bucket of the standards"""
GHOST_CELL = 6
"""600-750 s: what is counted as "ten minutes away" """
MADE, P10, P50, P90, RIDER = range(5)
ASKED_S = (ACTUAL_EDGES_S[:-1] + ACTUAL_EDGES_S[1:]) / 2
"""actual horizons at which it is asked whether anything was told"""
OVERDUE_S = 900.0
"""a bus that is so late for the last time told, and was seen at no later stop, never came"""
LOOK_S = 60.0
HALF_LIFE_S = 3600.0
"""of the fading tally behind the gauges and the alarms"""
KEEP_DAYS = 3
MAX_WAITING = 20_000


@dataclass(eq=False)
class _Run:
    """What was told of one run. ``told``: [stops, cells, MADE..RIDER], seconds from ``zero``; NaN: nothing."""

    line: str
    date: str
    zero: float
    told: npt.NDArray[np.float32]
    latest_p50: float = -math.inf
    farthest: int = -1
    judged: bool = False


@dataclass(eq=False)
class Outcomes:
    """``take`` on the loop only queues; ``work`` does the sums, in any one thread at a time."""

    max_runs: int = 2000
    max_lines: int = 50
    days: dict[str, Tally] = field(default_factory=dict)
    """service date -> sums since this process began"""
    recent: Tally = field(init=False)
    left_out: int = 0
    """runs that were not followed since there are too many"""
    lost: int = 0
    """outputs that were dropped since `work` was not called"""

    def __post_init__(self) -> None:
        self.recent = Tally(self.max_lines)
        self._runs: dict[DatedTrip, _Run] = {}
        self._refused: set[DatedTrip] = set()
        self._queue: deque[tuple[Predicted | StopVisited, Network]] = deque()
        self._network: Network | None = None
        self._faded_at = -math.inf
        self._looked_at = -math.inf
        self.at = -math.inf
        """of the newest output seen"""

    # ---- in ----------------------------------------------------------------------------------------------------------

    def take(self, at: float, outputs: Sequence[Output], network: Network) -> None:
        """Outputs of an input at ``at``, made with ``network``."""
        for output in outputs:
            if type(output) is Predicted or type(output) is StopVisited:
                self._put(output, network)
        self.at = max(self.at, at)

    def _put(self, what: Predicted | StopVisited, network: Network) -> None:
        if len(self._queue) >= MAX_WAITING:
            self._queue.popleft()
            self.lost += 1
        self._queue.append((what, network))

    def work(self) -> int:
        """Take in all that waits; returns how many predictions were judged."""
        judged: list[tuple[_Run, F64, float]] = []
        asked: list[tuple[_Run, F64]] = []
        now = self.at
        for _ in range(len(self._queue)):
            what, network = self._queue.popleft()
            if network is not self._network:
                self._runs.clear()  # rows of another timetable mean other trips
                self._refused.clear()
                self._network = network
            if isinstance(what, StopVisited):
                self._visit(what.visit, judged, asked)
            else:
                self._told(what.table, network)
        self._count(judged, asked)
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._let_go(now)
        return sum(len(rows) for _, rows, _ in judged)

    # ---- one output --------------------------------------------------------------------------------------------------

    def _told(self, table: PredictionTable, network: Network) -> None:
        run = self._runs.get(table.trip)
        if run is None:
            run = self._follow(table, network)
            if run is None:
                return
        ahead = table.arrival_p50 - table.made_at
        cell = np.searchsorted(CELLS_S, ahead, side="right") - 1
        new = np.flatnonzero((cell >= 0) & (cell < len(CELLS_S) - 1) & np.isfinite(ahead))
        if not len(new):
            return
        pos, cell = table.stop_pos[new], cell[new]
        run.latest_p50 = max(run.latest_p50, float(table.arrival_p50[new].max()))
        empty = np.isnan(run.told[pos, cell, MADE])
        if not empty.any():
            return
        new, pos, cell = new[empty], pos[empty], cell[empty]
        # at its first stop a bus counts by its departure
        p50 = np.where(
            (pos == 0) & np.isfinite(table.departure_p50[new]), table.departure_p50[new], table.arrival_p50[new]
        )
        run.told[pos, cell, MADE] = table.made_at - run.zero
        for column, values in (
            (P10, table.arrival_p10[new]),
            (P50, p50),
            (P90, table.arrival_p90[new]),
            (RIDER, table.arrival_rider[new]),
        ):
            run.told[pos, cell, column] = values - run.zero

    def _follow(self, table: PredictionTable, network: Network) -> _Run | None:
        trip = table.trip
        if trip in self._refused or not np.isfinite(table.arrival_p50).any():
            return None
        if len(self._runs) >= self.max_runs:
            if len(self._refused) > 10 * self.max_runs:
                self._refused.clear()
            self._refused.add(trip)
            self.left_out += 1
            return None
        stops = len(network.arrival_s[network.trip_rows(trip.trip_idx)])
        route = int(network.pattern_route[network.trip_pattern[trip.trip_idx]])
        told = np.full((stops, len(CELLS_S) - 1, 5), np.nan, np.float32)
        run = _Run(network.route_short_name[route], trip.service_date, math.floor(table.made_at), told)
        self._runs[trip] = run
        return run

    def _visit(self, visit: StopVisit, judged: list[tuple[_Run, F64, float]], asked: list[tuple[_Run, F64]]) -> None:
        run = self._runs.get(visit.trip)
        at = visit.departure_at if visit.stop_pos == 0 else visit.arrival_at
        if run is None or at is None:
            return
        rows = run.told[visit.stop_pos].astype(np.float64)
        rows = rows[np.isfinite(rows[:, P50]) & (rows[:, MADE] <= at - run.zero)]
        first = float(rows[:, MADE].min()) + run.zero if len(rows) else math.inf
        asked.append((run, (first <= at - ASKED_S).astype(np.float64)))
        run.farthest = max(run.farthest, visit.stop_pos)
        if len(rows):
            judged.append((run, rows + run.zero, at))
            run.told[visit.stop_pos, :, P50] = np.nan  # judged once; when it was told stays, for the count of ghosts

    # ---- sums --------------------------------------------------------------------------------------------------------

    def _count(self, judged: list[tuple[_Run, F64, float]], asked: list[tuple[_Run, F64]]) -> None:
        self._fade()
        for date in sorted({part[0].date for part in judged} | {part[0].date for part in asked}):
            tally = self._day(date)
            mine = [part for part in judged if part[0].date == date]
            if mine:
                tally.add(_columns(mine, tally))
                self.recent.add(_columns(mine, self.recent))
            seen = [part for part in asked if part[0].date == date]
            if seen:
                which = np.tile(np.arange(len(ASKED_S)), len(seen))
                there = np.concatenate([there for _, there in seen])
                for each in (tally, self.recent):
                    line = np.repeat(np.array([each.row(run.line) for run, _ in seen], np.int64), len(ASKED_S))
                    each.add_asked(line, which, there)
        for run, *_ in judged:
            if not run.judged:
                run.judged = True
                for tally in (self._day(run.date), self.recent):
                    tally.trips[tally.row(run.line)] += 1.0

    def _day(self, date: str) -> Tally:
        if date not in self.days:
            self.days[date] = Tally(self.max_lines)
            for old in sorted(self.days)[:-KEEP_DAYS]:
                del self.days[old]
        return self.days.setdefault(date, Tally(self.max_lines))

    def _fade(self) -> None:
        """The recent tally forgets in steps of a minute, so that it does not depend on how often `work` is called."""
        step = self.at // LOOK_S if math.isfinite(self.at) else -math.inf
        if math.isfinite(self._faded_at) and step > self._faded_at:
            kept = 0.5 ** ((step - self._faded_at) * LOOK_S / HALF_LIFE_S)
            for name in ("sums", "came", "never", "trips"):
                getattr(self.recent, name)[...] *= kept
        self._faded_at = max(self._faded_at, step)

    def _let_go(self, now: float) -> None:
        """Runs whose last time told has long passed: what was ten minutes away and never came is counted."""
        for trip in [trip for trip, run in self._runs.items() if now > run.latest_p50 + OVERDUE_S]:
            run = self._runs.pop(trip)
            told = np.isfinite(run.told[:, GHOST_CELL, MADE])
            came = float(told[: run.farthest + 1].sum())
            for tally in (self._day(run.date), self.recent):
                row = tally.row(run.line)
                tally.came[row] += came
                tally.never[row] += float(told.sum()) - came


def _columns(parts: list[tuple[_Run, F64, float]], tally: Tally) -> Judged:
    rows = np.concatenate([rows for _, rows, _ in parts])
    size = [len(rows) for _, rows, _ in parts]
    line: I64 = np.repeat(np.array([tally.row(run.line) for run, *_ in parts], np.int64), size)
    at = np.repeat(np.array([at for *_, at in parts]), size)
    return Judged(line, rows[:, MADE], at, rows[:, P10], rows[:, P50], rows[:, P90], rows[:, RIDER])
