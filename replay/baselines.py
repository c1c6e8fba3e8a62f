"""What busd has to beat: simple predictors over the same positions, told their trips, each fix used when it comes.

| name | time of a link to come |
|---|---|
| B0 | the timetable, whatever the bus does |
| B1 | the timetable moved by the present delay: the open default |
| B2 | mean of all earlier times on the link; where there is none, scheduled time x the network's ratio |
| B2S | scheduled time x (earlier times / what was scheduled for them), shrunk to the network's ratio as if by three runs |
| B3 | what the last bus of the day took, else B2 |
| B4 | TransitClock's Kalman blend of the last bus and the last three days of this very trip; with fewer days the last bus, else the trip's earlier days, else the timetable |
| B4P | 0.618 B2S + 0.382 last bus: where that filter's gain settles (g^2 + g = 1) whatever the variances are |

They predict the trip a bus is on, to 45 min ahead, and hold it at its first stop until its scheduled departure. A link's
time runs from arrival to arrival, from the departure at the first stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gtfs.calendar import service_day_start
from gtfs.network import F64, I64, Network
from replay.logs import PredictionRows, call_of
from replay.snapping import BACK_SLACK_M, FORWARD_SLACK_M, MAX_SPEED_MPS, SCALE, Line
from replay.truth import DEPART_ZONE_M, Fixes, targets

METHODS = ("B0", "B1", "B2", "B2S", "B3", "B4", "B4P")
AHEAD_S = 2700.0
LINK_S = (1.0, 1200.0)
"""link times outside are not learned"""
PRIOR_RUNS = 3.0
GOLDEN = 0.618
SCALE_BOUNDS = (0.5, 2.0)
SCALE_FROM_S = 3600.0
"""the network's ratio counts once so much scheduled time has been seen"""
LOST_MISSES = 3
"""after so many fixes that do not fit, the bus is looked for on the whole line"""
KALMAN_DAYS = 3
KALMAN_ERROR = 100.0

Told = Callable[[int, int], None]


class LinkMemory:
    """Times seen so far on the links of one network; struct of arrays by link."""

    def __init__(self, network: Network) -> None:
        self.network = network
        links = len(network.link_from)
        self.total, self.scheduled, self.count = np.zeros(links), np.zeros(links), np.zeros(links)
        self.last, self.last_day = np.full(links, np.nan), np.full(links, -1)
        self.last_run = np.full(links, -1)
        self.entered, self.entered_before = np.full(links, -1), np.full(links, -1)
        self.error = np.full(links, KALMAN_ERROR)
        self.all_s = self.all_scheduled_s = 0.0
        self.days: dict[str, dict[int, F64]] = {}
        self.runs = 0

    @property
    def ratio(self) -> float:
        """Of all times seen to what the timetable has for them."""
        if self.all_scheduled_s <= SCALE_FROM_S:
            return 1.0
        return float(np.clip(self.all_s / self.all_scheduled_s, *SCALE_BOUNDS))

    def arrived(self, run: _Run, pos: int, at: float) -> None:
        """The bus of ``run`` reached (at 0: left) stop position ``pos``."""
        if pos and np.isfinite(run.seen_at[pos - 1]):
            took, link = at - run.seen_at[pos - 1], run.link[pos - 1]
            if LINK_S[0] <= took <= LINK_S[1]:
                planned = run.scheduled_s[pos - 1]
                self.total[link] += took
                self.scheduled[link] += planned
                self.count[link] += 1
                self.last[link], self.last_day[link], self.last_run[link] = took, run.day, run.number
                if planned > 0:
                    self.all_s, self.all_scheduled_s = self.all_s + took, self.all_scheduled_s + planned
                of_trip = self.days.setdefault(run.trip_id, {})
                of_trip.setdefault(run.day, np.full(len(run.link), np.nan))[pos - 1] = took
        if pos < len(run.link):
            link = run.link[pos]
            self.entered_before[link], self.entered[link] = self.entered[link], run.number
        run.seen_at[pos] = at

    def times(self, run: _Run) -> dict[str, F64]:
        """Seconds for every link of the run's trip, by method."""
        link, planned, ratio = run.link, run.scheduled_s, self.ratio
        has = self.count[link] > 0
        mean = np.where(has, self.total[link] / np.maximum(self.count[link], 1), planned * ratio)
        prior = PRIOR_RUNS * planned
        shrunk = (self.total[link] + prior * ratio) / np.maximum(self.scheduled[link] + prior, 1.0)
        scaled = np.where((planned > 0) & (self.scheduled[link] > 0), planned * shrunk, mean)
        latest = np.where(self.last_day[link] == run.day, self.last[link], np.nan)
        # TransitClock: the last bus counts only if nobody entered the link after it, but for the bus itself
        before_me = np.where(self.entered[link] == run.number, self.entered_before[link], self.entered[link])
        fresh = np.where((self.last_run[link] == before_me) & (before_me >= 0), latest, np.nan)
        return {
            "B2": mean,
            "B2S": scaled,
            "B3": np.where(np.isnan(latest), mean, latest),
            "B4": self._kalman(run, fresh),
            "B4P": np.where(np.isnan(fresh), scaled, GOLDEN * scaled + (1 - GOLDEN) * fresh),
        }

    def _kalman(self, run: _Run, fresh: F64) -> F64:
        """g = (e + V) / (e + 2 V); time = (1 - g) last + g mean of three days; e <- V g. V in ms^2, as there."""
        kept = self.days.get(run.trip_id, {})
        days = [kept[day] for day in sorted(kept) if day < run.day]
        if not days:
            return np.where(np.isnan(fresh), run.scheduled_s, fresh)
        seen = np.array(days)
        has = np.isfinite(seen)
        count = has.sum(axis=0)
        mean = np.where(count > 0, np.where(has, seen, 0.0).sum(axis=0) / np.maximum(count, 1), run.scheduled_s)
        out = np.where(np.isnan(fresh), mean, fresh)
        for k in np.flatnonzero((count >= KALMAN_DAYS) & np.isfinite(fresh)).tolist():
            three = seen[has[:, k], k][-KALMAN_DAYS:]
            variance, error = float(three.var()) * 1e6, float(self.error[run.link[k]])
            gain = (error + variance) / (error + 2 * variance) if variance else 0.5
            out[k] = (1 - gain) * fresh[k] + gain * three.mean()
            run.error_after[k] = variance * gain
        return out

    def carried_to(self, network: Network) -> LinkMemory:
        """The same knowledge on another timetable: links are known by the ids of their two stops."""
        if network is self.network:
            return self
        old = self.network
        known = {
            (old.stop_id[a], old.stop_id[b]): k
            for k, (a, b) in enumerate(zip(old.link_from.tolist(), old.link_to.tolist()))
        }
        new = LinkMemory(network)
        source = np.array(
            [
                known.get((network.stop_id[a], network.stop_id[b]), -1)
                for a, b in zip(network.link_from.tolist(), network.link_to.tolist())
            ],
            np.int64,
        )
        same = source >= 0
        for name in (
            "total",
            "scheduled",
            "count",
            "last",
            "last_day",
            "last_run",
            "entered",
            "entered_before",
            "error",
        ):
            getattr(new, name)[same] = getattr(self, name)[source[same]]
        new.all_s, new.all_scheduled_s, new.runs = self.all_s, self.all_scheduled_s, self.runs
        widths = {
            network.trip_id[t]: len(network.arrival_s[network.trip_rows(t)]) - 1 for t in range(len(network.trip_id))
        }
        new.days = {
            trip: days for trip, days in self.days.items() if all(len(x) == widths.get(trip) for x in days.values())
        }
        return new


@dataclass
class _Run:
    """One bus on one trip on one day, followed without looking ahead."""

    number: int
    trip_id: str
    day: int
    link: I64
    target_m: F64
    plan_at: F64
    """scheduled arrivals; the departure at the first stop"""
    time_row: int
    seen_at: F64 = field(init=False)
    scheduled_s: F64 = field(init=False)
    error_after: F64 = field(init=False)
    at: float | None = None
    along_m: float = 0.0
    misses: int = 0

    def __post_init__(self) -> None:
        self.seen_at = np.full(len(self.plan_at), np.nan)
        self.scheduled_s = np.diff(self.plan_at)
        self.error_after = np.full(len(self.link), np.nan)

    def follow(self, at: float, along: F64, offset: F64, memory: LinkMemory) -> bool:
        """Take a fix with its places on the line; False if it does not fit. What was passed goes to the memory."""
        cost = offset**2 / SCALE
        lost = self.at is None or self.misses >= LOST_MISSES
        if self.at is None or lost:
            cost = cost + np.abs(at - np.interp(along, self.target_m, self.plan_at)) / 300.0
        else:
            step = along - self.along_m
            fits = (step >= -BACK_SLACK_M) & (step <= MAX_SPEED_MPS * (at - self.at) + FORWARD_SLACK_M)
            cost = np.where(fits, cost + np.maximum(step, 0.0) / 1000.0, np.inf)
        best = int(cost.argmin())
        if not np.isfinite(cost[best]):
            self.misses += 1
            return False
        self.misses = 0
        place = float(along[best])
        if self.at is None or (lost and place < self.along_m):
            self.seen_at[:] = np.nan
        else:
            place = max(place, self.along_m)
            self._pass(at, place, memory)
        self.at, self.along_m = at, place
        return True

    def _pass(self, at: float, place: float, memory: LinkMemory) -> None:
        assert self.at is not None
        if self.along_m <= self.target_m[0] + DEPART_ZONE_M < place:
            memory.arrived(self, 0, self.at)
        ahead = self.target_m[1:]
        for pos in (np.flatnonzero((ahead > self.along_m) & (ahead <= place)) + 1).tolist():
            share = (self.target_m[pos] - self.along_m) / (place - self.along_m)
            memory.arrived(self, pos, self.at + share * (at - self.at))

    def predict(self, memory: LinkMemory, methods: Sequence[str]) -> tuple[int, F64]:
        """(first stop position ahead, times of it and all after it by method: [methods, stops])."""
        assert self.at is not None
        at = self.at
        waits = self.along_m <= self.target_m[0] + DEPART_ZONE_M
        pos = 0 if waits else int(np.searchsorted(self.target_m, self.along_m, side="right"))
        out = np.empty((len(methods), len(self.target_m) - pos))
        if not out.size:
            return pos, out
        times = memory.times(self)
        if waits:
            delay = max(0.0, at - float(self.plan_at[0]))
        else:
            delay = at - float(np.interp(self.along_m, self.target_m, self.plan_at))
            from_m, to_m = self.target_m[pos - 1], self.target_m[pos]
            left = (to_m - self.along_m) / (to_m - from_m) if to_m > from_m else 0.0
        for k, method in enumerate(methods):
            if method == "B0":
                out[k] = self.plan_at[pos:]
            elif method == "B1":
                out[k] = np.maximum(self.plan_at[pos:] + delay, at)
            else:
                link = times[method]
                begin = max(at, float(self.plan_at[0])) if waits else at + left * link[pos - 1]
                out[k] = begin + np.concatenate([[0.0], np.cumsum(link[pos:])])
        return pos, out


def run_baselines(
    fixes: Fixes,
    network: Network,
    methods: Sequence[str] = METHODS,
    memory: LinkMemory | None = None,
    told: Told | None = None,
) -> tuple[list[PredictionRows], LinkMemory]:
    """One log a method (none for ``methods=()``, which only learns), and what is known at the end."""
    memory = LinkMemory(network) if memory is None else memory.carried_to(network)
    labelled = np.flatnonzero(fixes.trip >= 0)
    along, offset, line = _places(fixes, network, labelled)
    runs: dict[tuple[int, int, int], _Run] = {}
    made: list[float] = []
    calls: list[I64] = []
    times: list[F64] = []
    for done, k in enumerate(labelled.tolist()):
        if told is not None and done % 500 == 0:
            told(done, len(labelled))
        if line[done] < 0 or not np.isfinite(offset[done, 0]):
            continue
        at = float(fixes.at[k])
        key = int(fixes.day[k]), int(fixes.trip[k]), int(fixes.vehicle[k])
        run = runs.get(key)
        if run is None:
            run = runs[key] = _begin(network, memory, key)
        if run.at is not None and at <= run.at:
            continue
        real = np.isfinite(offset[done])
        if not run.follow(at, along[done][real], offset[done][real], memory) or not methods:
            continue
        pos, ahead = run.predict(memory, methods)
        keep = (ahead <= at + AHEAD_S).any(axis=0)
        ahead = np.where(ahead > at + AHEAD_S, np.nan, ahead)[:, keep]
        changed = np.isfinite(run.error_after)
        memory.error[run.link[changed]] = run.error_after[changed]
        made.append(at)
        calls.append(call_of(np.int64(run.day), run.time_row + pos + np.flatnonzero(keep), network))  # type: ignore[arg-type]
        times.append(ahead)
    sizes = [len(call) for call in calls]
    made_at = np.repeat(np.array(made), sizes)
    call = np.concatenate(calls) if calls else np.zeros(0, np.int64)
    p50 = np.concatenate(times, axis=1) if times else np.zeros((len(methods), 0))
    nothing = np.full(len(call), np.nan)
    logs = []
    for k, method in enumerate(methods):
        there = np.isfinite(p50[k])
        logs.append(PredictionRows(method, call[there], made_at[there], p50[k][there], *[nothing[there]] * 4))
    return logs, memory


def _begin(network: Network, memory: LinkMemory, key: tuple[int, int, int]) -> _Run:
    day, trip, _ = key
    memory.runs += 1
    rows, stops = network.trip_rows(trip), network.pattern_rows(int(network.trip_pattern[trip]))
    plan = network.arrival_s[rows].astype(np.float64)
    plan[0] = network.departure_s[rows][0]
    return _Run(
        memory.runs,
        network.trip_id[trip],
        day,
        network.pattern_link[stops][:-1].astype(np.int64),
        targets(network.pattern_stop_m[stops]),
        service_day_start(day, network.timezone) + plan,
        rows.start,
    )


def _places(fixes: Fixes, network: Network, rows: I64) -> tuple[F64, F64, I64]:
    """Places of each fix on the line of its trip, and that line's shape (-1: the trip has none); in bulk by shape."""
    shape = network.pattern_shape[network.trip_pattern[fixes.trip[rows]]].astype(np.int64)
    named = np.array([bool(name) for name in network.shape_id] or [False])
    shape = np.where((shape >= 0) & named[np.maximum(shape, 0)], shape, -1)
    parts: list[Any] = []
    for k in np.unique(shape[shape >= 0]).tolist():
        mine = np.flatnonzero(shape == k)
        line = Line.of(network, k)
        parts.append((mine, *line.places(*line.place(fixes.lat[rows[mine]], fixes.lon[rows[mine]]))))
    width = parts[0][1].shape[1] if parts else 1
    along, offset = np.full((len(rows), width), np.inf), np.full((len(rows), width), np.inf)
    for mine, its_along, its_offset in parts:
        along[mine], offset[mine] = its_along, its_offset
    return along, offset, shape
