"""The planned day: trips chained to duties, one duty a bus; blocks for timetabled lines, frequencies for the others.

Seconds are of the service day. Planned times follow `pace`, the time that a planner allows relative to midday traffic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from replay.city.plan import City, LineSpec, Pattern, Service, make_city

HOUR = 3600
DAY_OPENS_S = 5 * HOUR - 600
"""buses of a service day log on after this; those of the day before are parked (28:50)"""
PLAN_MPS = 9.2
"""planned speed between stops at midday, without the stop itself"""
PLAN_STOP_S = 17.0
"""planned loss for one stop and its signal at midday"""
MIN_LAYOVER_S = 300
MAIN_STOP_S = 20
SMALLEST_FLEET = 26
_MAIN = frozenset(
    [
        "xiguan",
        "dongfang",
        "xzcross",
        "panxuan",
        "xizhan",
        "shilidian",
        "feijiaying",
        "liujiabao",
        "nanguan",
        "qilihe",
        "yantan",
    ]
)
"""places where departures are timepoints"""
_PACE = ((0, 0.80), (5, 0.82), (6.5, 0.95), (7.25, 1.22), (8.5, 1.30), (9.5, 1.10), (12, 1.0), (14, 1.0), (16.5, 1.08),
         (17.5, 1.28), (18.5, 1.33), (19.5, 1.10), (21, 0.92), (23, 0.82), (30, 0.80))  # fmt: skip


def pace(day_s: float) -> float:
    """How much longer a way takes than at midday; the two rush hours are the hills."""
    hour = day_s / HOUR
    for (h0, p0), (h1, p1) in pairwise(_PACE):
        if hour <= h1:
            return p0 + (p1 - p0) * (max(hour, h0) - h0) / (h1 - h0)
    return _PACE[-1][1]


@dataclass(frozen=True, eq=False)
class Trip:
    """A trip as trips.txt has it. ``arrivals`` of a frequency template start at 0 and are relative to the run's start."""

    trip_id: str
    pattern: Pattern
    block_id: str
    arrivals: tuple[int, ...]
    departures: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """One planned run of a trip; ``start_s`` only for runs of frequencies.txt."""

    trip: Trip
    start_s: int | None = None

    @property
    def pattern(self) -> Pattern:
        return self.trip.pattern

    def arrival_s(self, pos: int) -> int:
        return self.trip.arrivals[pos] + (self.start_s or 0)

    def departure_s(self, pos: int) -> int:
        return self.trip.departures[pos] + (self.start_s or 0)


@dataclass(frozen=True, eq=False)
class Duty:
    """What one bus does on one day."""

    duty_id: str
    line: LineSpec
    bus: int
    """row of the fleet, 0-based"""
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Frequency:
    trip: Trip
    start_s: int
    end_s: int
    headway_s: int
    exact: bool


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that is known the day before. A bus is a row 0 .. buses - 1."""

    seed: int
    buses: int
    city: City
    trips: tuple[Trip, ...]
    frequencies: tuple[Frequency, ...]
    duties: tuple[Duty, ...]


def make_plan(seed: int = 1, buses: int = 120) -> Plan:
    """The plan for a fleet; the same for the same arguments. ValueError below `SMALLEST_FLEET`."""
    city = make_city()
    day_lines = [line for line in city.lines if line.service is not Service.NIGHT]
    if buses < SMALLEST_FLEET:
        raise ValueError(f"the city needs at least {SMALLEST_FLEET} buses, two a line; {buses} given")
    share = _shares([line.weight for line in day_lines], buses)
    trips: list[Trip] = []
    frequencies: list[Frequency] = []
    chains: list[tuple[LineSpec, list[Run]]] = []
    spare = 0
    for line, count in zip(day_lines, share):
        if line.service is not Service.TIMETABLE:
            found, windows, runs = _frequency_line(city, line, count)
            trips += found
            frequencies += windows
            chains += ((line, chain) for chain in runs)
            spare += count - len(runs)
    for line, count in zip(day_lines, share):
        if line.service is Service.TIMETABLE:
            blocks = list(_blocks(city, line, count + spare))
            spare = 0
            trips += (run.trip for runs in blocks for run in runs)
            chains += ((line, runs) for runs in blocks)
    chains.sort(key=lambda chain: int(chain[0].line_id[1:]) if chain[0].line_id[1:].isdigit() else 10**6)
    duties = [Duty(f"{line.line_id}/{bus}", line, bus, tuple(runs)) for bus, (line, runs) in enumerate(chains)]
    night = next(line for line in city.lines if line.service is Service.NIGHT)
    early = sorted(duties, key=lambda duty: (duty.runs[-1].arrival_s(-1), duty.bus))
    for duty, night_runs in zip(early, _night(city, night)):
        trips += (run.trip for run in night_runs)
        duties.append(Duty(f"{night.line_id}/{duty.bus}", night, duty.bus, tuple(night_runs)))
    return Plan(seed, buses, city, tuple(trips), tuple(frequencies), tuple(duties))


def _shares(weights: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to the weights, each at least 2, adding up to total (largest remainder)."""
    exact = [weight / sum(weights) * (total - 2 * len(weights)) for weight in weights]
    share = [2 + math.floor(value) for value in exact]
    order = sorted(range(len(weights)), key=lambda i: (math.floor(exact[i]) - exact[i], i))
    for i in order[: total - sum(share)]:
        share[i] += 1
    return share


def make_trip(trip_id: str, pattern: Pattern, start_s: int, block_id: str = "", at_s: int | None = None) -> Trip:
    """A trip that leaves its first stop at ``start_s``; with ``at_s`` the traffic of that time is planned for instead."""
    clock = float(start_s if at_s is None else at_s)
    shift = start_s - clock
    arrivals, departures = [start_s], [start_s]
    for pos in range(1, len(pattern.stops)):
        busy = pace(clock)
        way = pattern.stop_m[pos] - pattern.stop_m[pos - 1]
        clock += way / PLAN_MPS * busy + PLAN_STOP_S * (1.0 + busy) / 2
        main = pattern.stops[pos].place in _MAIN and pos < len(pattern.stops) - 1
        leaves = round(clock + shift)
        arrivals.append(leaves - MAIN_STOP_S if main else leaves)
        departures.append(leaves)
    return Trip(trip_id, pattern, block_id, tuple(arrivals), tuple(departures))


def is_timepoint(pattern: Pattern, pos: int) -> bool:
    return pos in (0, len(pattern.stops) - 1) or pattern.stops[pos].place in _MAIN


def _layover_s(run_s: int) -> int:
    return MIN_LAYOVER_S + run_s // 20


def _chain(patterns: Sequence[Pattern], first: int, start_s: int, last_s: int, block_id: str) -> Iterator[Run]:
    """Trips one after the other, each from where the last one ended, while they start before ``last_s``."""
    i, departure = first, start_s
    while departure <= last_s:
        pattern = patterns[i % len(patterns)]
        trip = make_trip(f"{block_id}-{departure // 60:04d}", pattern, departure, block_id)
        yield Run(trip)
        end = trip.arrivals[-1]
        departure = math.ceil((end + _layover_s(end - departure)) / 60) * 60
        i += 1


def _cycle_s(patterns: Sequence[Pattern], at_s: int) -> int:
    runs = [make_trip("", pattern, at_s).arrivals[-1] - at_s for pattern in patterns]
    return sum(run + _layover_s(run) for run in runs)


def _blocks(city: City, line: LineSpec, count: int) -> Iterator[list[Run]]:
    """Evenly spread over the first round trip, from both ends where there are two; thinned out in the evening."""
    patterns = city.patterns_of(line)
    cycle = _cycle_s(patterns, 6 * HOUR)
    opens = max(DAY_OPENS_S + 600, 6 * HOUR + 1500 - cycle // len(patterns))
    for i in range(count):
        # an odd number of buses: the second end runs half a headway later, so that the two streams interleave
        place = i // len(patterns) + (0.5 if count % 2 and i % len(patterns) else 0.0)
        start = math.ceil((opens + place * cycle / count) / 60) * 60
        last = (20 * HOUR + 1800, 22 * HOUR + 2400, 21 * HOUR + 1200, 22 * HOUR + 2400)[(i // len(patterns)) % 4]
        yield list(_chain(patterns, i % len(patterns), start, last, f"{line.line_id}B{i + 1:02d}"))


def _night(city: City, line: LineSpec) -> Iterator[list[Run]]:
    patterns = city.patterns_of(line)
    for i in range(4):
        start = 22 * HOUR + 3000 + (i // 2) * 1500
        yield list(_chain(patterns, i % 2, start, 27 * HOUR + 2400, f"{line.line_id}B{i + 1:02d}"))


_WINDOWS = ((5 * HOUR + 1800, 7 * HOUR), (7 * HOUR, 9 * HOUR + 1800), (9 * HOUR + 1800, 16 * HOUR + 1800),
            (16 * HOUR + 1800, 19 * HOUR + 1800), (19 * HOUR + 1800, 22 * HOUR + 1800))  # fmt: skip


def _frequency_line(city: City, line: LineSpec, count: int) -> tuple[list[Trip], list[Frequency], list[list[Run]]]:
    """The shortest headways (multiples of 30 s) that ``count`` buses can keep, and the runs chained to them."""
    patterns = city.patterns_of(line)
    templates = [
        [make_trip(f"{pattern.pattern_id}-{w}", pattern, 0, at_s=(start + end) // 2) for pattern in patterns]
        for w, (start, end) in enumerate(_WINDOWS, 1)
    ]
    cycles = [sum(trip.arrivals[-1] + _layover_s(trip.arrivals[-1]) for trip in trips) for trips in templates]
    headways = [math.ceil(cycle / count / 30) * 30 for cycle in cycles]
    while True:
        frequencies = [
            Frequency(trip, start, end, headway, line.service is Service.EXACT)
            for trips, (start, end), headway in zip(templates, _WINDOWS, headways)
            for trip in trips
        ]
        chains = _assign(frequencies, patterns.index)
        if len(chains) <= count:
            return [trip for trips in templates for trip in trips], frequencies, chains
        too_many_at = chains[count][0].departure_s(0)
        window = next(w for w, (_, end) in enumerate(_WINDOWS) if too_many_at < end)
        # the bus too many may be missing because the window before sent out too many: the tighter one gives way
        tightest = min(range(max(window - 1, 0), window + 1), key=lambda w: headways[w] * count / cycles[w])
        headways[tightest] += 30


def _assign(frequencies: Sequence[Frequency], side: Callable[[Pattern], int]) -> list[list[Run]]:
    """First in, first out at each terminal; a bus more whenever none is there."""
    runs = sorted(
        (
            Run(frequency.trip, start)
            for frequency in frequencies
            for start in range(frequency.start_s, frequency.end_s, frequency.headway_s)
        ),
        key=lambda run: (run.departure_s(0), run.pattern.direction),
    )
    chains: list[list[Run]] = []
    waiting: tuple[list[tuple[int, int]], ...] = ([], [])
    for run in runs:
        here = waiting[side(run.pattern)]
        ready = min(here, default=None)
        if ready is not None and ready[0] <= run.departure_s(0):
            here.remove(ready)
            bus = ready[1]
        else:
            bus = len(chains)
            chains.append([])
        chains[bus].append(run)
        run_s = run.arrival_s(-1) - run.departure_s(0)
        waiting[1 - side(run.pattern)].append((run.arrival_s(-1) + _layover_s(run_s), bus))
    return chains
