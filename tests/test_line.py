"""The line when the machine is too slow for all ticks: reports must not bring one each."""

from __future__ import annotations

from typing import Any

import pytest

from busd.clock import ManualClock
from busd.line import Line
from busd.types import AnyInput, Output, Tick, VehiclePosition


class SlowEngine:
    """Has something to do once a report waits, and takes ``tick_s`` for it."""

    live_vehicles = 0

    def __init__(self, clock: ManualClock, tick_s: float) -> None:
        self._clock, self._tick_s = clock, tick_s
        self.inputs: list[AnyInput] = []
        self._waits_since: float | None = None

    @property
    def next_deadline(self) -> float | None:
        return self._waits_since

    def apply(self, entry: AnyInput) -> list[Output]:
        self.inputs.append(entry)
        if isinstance(entry, Tick):
            self._clock.advance(self._tick_s)
            self._waits_since = None
        else:
            self._waits_since = self._waits_since or entry.at
        return []

    @property
    def ticks(self) -> int:
        return sum(isinstance(entry, Tick) for entry in self.inputs)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_795_000_000.0)


def line_with(engine: Any, clock: ManualClock) -> Line:
    return Line(engine, None, clock, [])


def report(clock: ManualClock) -> VehiclePosition:
    return VehiclePosition("test", "b1", 36.0, 103.0, clock.now(), clock.now())


async def test_a_backlog_of_reports_is_not_a_tick_each(clock: ManualClock) -> None:
    """A turn of the loop with a hundred reports: it ends before riders and signs have to wait for seconds."""
    engine = SlowEngine(clock, tick_s=0.2)
    line = line_with(engine, clock)
    began = clock.monotonic()
    for _ in range(100):
        line.submit([report(clock)])
        clock.advance(0.002)
    assert engine.ticks <= 2
    assert clock.monotonic() - began < 0.7
    times = [entry.at for entry in engine.inputs]
    assert times == sorted(times)
    clock.advance(1.0)
    line.submit([report(clock)])
    assert isinstance(engine.inputs[-2], Tick), "they are not put off for ever"
    line.stop()


async def test_a_machine_that_keeps_up_has_every_tick_before_the_next_report(clock: ManualClock) -> None:
    engine = SlowEngine(clock, tick_s=0.09)
    line = line_with(engine, clock)
    for _ in range(50):
        line.submit([report(clock)])
        clock.advance(0.02)
    assert engine.ticks == 49
    line.stop()
