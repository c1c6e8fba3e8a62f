from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.clock import Clock, ManualClock, ScaledClock, SystemClock


class Machine:
    """A machine whose wall clock can be set."""

    def __init__(self) -> None:
        self.wall = 1_795_000_000.0
        self.up = 500.0

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds

    def clock(self) -> SystemClock:
        return SystemClock(lambda: self.wall, lambda: self.up)


def test_follows_the_machine_forward() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_time(12.5)
    assert clock.now() == machine.wall
    machine.wall += 3600
    assert clock.now() == machine.wall
    assert clock.monotonic() == machine.up


def test_a_step_back_neither_goes_back_nor_stops() -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock.now()
    machine.wall -= 3600
    assert clock.now() == before
    machine.pass_time(100)
    assert before + 90 < clock.now() < before + 100
    for _ in range(800):
        machine.pass_time(100)
        clock.now()
    assert clock.now() == machine.wall  # caught up, an hour at 5 %


@given(st.lists(st.tuples(st.floats(-7200, 7200), st.floats(0, 600)), max_size=40))
def test_never_decreases(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    clock = machine.clock()
    last = clock.now()
    for step, passing in steps:
        machine.wall += step
        machine.pass_time(passing)
        now = clock.now()
        assert now >= last
        last = now


def test_the_real_one_runs() -> None:
    clock: Clock = SystemClock()
    assert 1.7e9 < clock.now() <= clock.now()
    assert clock.monotonic() <= clock.monotonic()


def test_manual_goes_when_told() -> None:
    clock = ManualClock(100.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 2.5)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            clock.advance(wrong)


def test_scaled_runs_faster_and_keeps_real_durations() -> None:
    real = ManualClock(1000.0)
    clock = ScaledClock(60.0, real)
    morning = ScaledClock(60.0, real, at=5.0)
    real.advance(2.0)
    assert (clock.now(), clock.monotonic()) == (1120.0, 2.0)
    assert morning.now() == 125.0
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError):
            ScaledClock(wrong, real)
