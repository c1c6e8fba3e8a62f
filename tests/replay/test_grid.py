"""The 100 ms grid: order, deadlines, the end of a file, and no look-ahead whatever the cut."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from busd.types import AnyInput, NetworkLoaded, Output, PositionReceived, Rejected, Started, Tick, VehiclePosition
from replay.grid import DRAIN_S, GridDriver, start_before

DAY = 1_771_257_600.0


class Reminder:
    """An engine that keeps a list of deadlines: every fix asks for one, ``after`` seconds later, and again each time."""

    def __init__(self, after: float, repeat: bool) -> None:
        self.after, self.repeat = after, repeat
        self.waiting: list[VehiclePosition] = []
        self.deadlines: list[float] = []
        self.at = -math.inf
        self.live_vehicles = 1

    @property
    def next_deadline(self) -> float | None:
        if self.waiting:
            return self.at
        return min(self.deadlines, default=None)

    def apply(self, entry: AnyInput) -> list[Output]:
        assert entry.at >= self.at
        self.at = entry.at
        match entry:
            case PositionReceived(position=position):
                self.waiting.append(position)
            case Tick(at=at):
                due = [d for d in self.deadlines if d <= at]
                self.deadlines = [d for d in self.deadlines if d > at]
                made: list[Output] = [Rejected(at, "fix", p.vehicle_id) for p in self.waiting]
                self.deadlines += [p.measured_at + self.after for p in self.waiting]
                made += [Rejected(at, "deadline", str(d)) for d in due]
                if self.repeat:
                    self.deadlines += [at + self.after for _ in due[:1]]
                self.waiting = []
                return made
        return []


def position(at: float, vehicle: str = "7") -> VehiclePosition:
    return VehiclePosition("tides", vehicle, 36.0, 103.0, at, at)


def drive(times: list[float], after: float = 30.0, repeat: bool = False) -> list[tuple[AnyInput, list[Output]]]:
    seen: list[tuple[AnyInput, list[Output]]] = []
    driver = GridDriver(Reminder(after, repeat), lambda entry, outputs: seen.append((entry, outputs)))
    driver.start(start_before(DAY), "replay")
    driver.load_network(start_before(DAY), "digest")
    for k, at in enumerate(times):
        driver.feed(position(at, str(k)))
    driver.drain()
    return seen


def inputs(seen: list[tuple[AnyInput, list[Output]]]) -> list[tuple[str, float]]:
    return [(type(entry).__name__, round(entry.at - DAY, 3)) for entry, _ in seen]


def test_a_run_begins_with_the_timetable_and_each_instant_gets_one_tick() -> None:
    got = inputs(drive([DAY, DAY, DAY + 0.04, DAY + 0.2]))
    assert got == [
        ("Started", -60.0),
        ("NetworkLoaded", -60.0),
        ("PositionReceived", 0.0),
        ("PositionReceived", 0.0),
        ("Tick", 0.0),
        ("PositionReceived", 0.04),
        ("Tick", 0.1),
        ("PositionReceived", 0.2),
        ("Tick", 0.2),
        ("Tick", 30.0),
        ("Tick", 30.1),
        ("Tick", 30.2),
    ]


def test_deadlines_before_a_position_fire_before_it() -> None:
    got = inputs(drive([DAY, DAY + 30.05, DAY + 100.0]))
    assert got[2:] == [
        ("PositionReceived", 0.0),
        ("Tick", 0.0),
        ("Tick", 30.0),
        ("PositionReceived", 30.05),
        ("Tick", 30.1),
        ("Tick", 60.1),
        ("PositionReceived", 100.0),
        ("Tick", 100.0),
        ("Tick", 130.0),
    ]


def test_the_end_of_a_file_is_bounded() -> None:
    last = drive([DAY], after=60.0, repeat=True)[-1][0]
    assert last.at == DAY + DRAIN_S


def test_a_long_gap_is_slept_through_like_the_end_of_a_file() -> None:
    got = inputs(drive([DAY, DAY + 20_000.0], after=60.0, repeat=True))
    ticks = [at for name, at in got if name == "Tick"]
    assert not [at for at in ticks if DRAIN_S < at < 20_000.0]
    assert 20_000.0 in ticks


def test_when_the_last_vehicle_is_lost_deadlines_sleep_until_the_next_position() -> None:
    class Losing(Reminder):
        def apply(self, entry: AnyInput) -> list[Output]:
            made = super().apply(entry)
            self.live_vehicles = int(isinstance(entry, PositionReceived) or entry.at < DAY + 100.0)
            return made

    seen: list[AnyInput] = []
    driver = GridDriver(Losing(60.0, True), lambda entry, _: seen.append(entry))
    driver.start(DAY - 1.0, "replay")
    driver.feed_all([position(DAY), position(DAY + 500.0)])
    driver.drain()
    assert [entry.at - DAY for entry in seen if isinstance(entry, Tick)] == [0.0, 60.0, 120.0, 500.0]


def test_an_engine_that_never_lets_go_of_a_deadline_gets_one_tick_a_grid_point() -> None:
    class Stuck(Reminder):
        @property
        def next_deadline(self) -> float | None:
            return DAY - 1000.0

    seen: list[AnyInput] = []
    driver = GridDriver(Stuck(1.0, False), lambda entry, _: seen.append(entry))
    driver.start(DAY, "replay")
    driver.drain(before=DAY + 1.0)
    assert [round(entry.at - DAY, 1) for entry in seen[1:]] == [round(0.1 * k, 1) for k in range(1, 10)]


times = st.lists(
    st.one_of(st.integers(0, 90_000).map(lambda n: n / 10), st.floats(0, 9_000, allow_nan=False)), max_size=30
).map(sorted)


@settings(deadline=None)
@given(times, st.sampled_from([0.05, 7.3, 60.0, 5000.0]), st.booleans())
def test_order(offsets: list[float], after: float, repeat: bool) -> None:
    repeat = repeat and after >= 7
    seen = [entry for entry, _ in drive([DAY + x for x in offsets], after, repeat)]
    assert isinstance(seen[0], Started)
    assert isinstance(seen[1], NetworkLoaded)
    for a, b in pairwise(seen):
        assert b.at >= a.at
        assert not (isinstance(a, Tick) and isinstance(b, Tick) and a.at == b.at)
        if isinstance(a, Tick) and isinstance(b, PositionReceived):
            assert b.at > a.at
    assert sum(isinstance(entry, PositionReceived) for entry in seen) == len(offsets)
    assert all(abs(entry.at * 10 - round(entry.at * 10)) < 1e-5 for entry in seen if isinstance(entry, Tick))


@settings(deadline=None)
@given(times, st.floats(0, 10_000), st.sampled_from([0.05, 7.3, 60.0, 5000.0]), st.booleans())
def test_a_file_cut_at_any_instant_gives_the_same_up_to_it(
    offsets: list[float], cut: float, after: float, repeat: bool
) -> None:
    repeat = repeat and after >= 7
    whole = [DAY + x for x in offsets]
    cut_at = DAY + cut
    up_to = [(e, o) for e, o in drive(whole, after, repeat) if e.at <= cut_at]
    of_cut = [(e, o) for e, o in drive([t for t in whole if t <= cut_at], after, repeat) if e.at <= cut_at]
    if offsets and whole[0] <= cut_at:
        assert up_to == of_cut
