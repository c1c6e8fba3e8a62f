"""Learning a device's clock, with the receiver's time injected."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.feeds.clocks import ENOUGH, RIGHT_AGAIN, SURE_S, ClockWatch

NOW = 1_795_400_000.0
KEY = ("jt808", "1391")
HOUR = 3600.0
intervals = st.lists(st.integers(5, 60), min_size=ENOUGH + 3, max_size=30)
delays = st.lists(st.floats(0.0, 3.0), min_size=40, max_size=40)


def play(watch: ClockWatch, offset_at: Any, steps: list[int], jitter: list[float]) -> float:
    """Reports with these gaps; the device's clock is ``offset_at(at)`` behind. The receiver's time at the end."""
    at = NOW
    for k, step in enumerate(steps):
        at += step
        watch.observe(KEY, at - offset_at(at) - jitter[k], at)
    return at


@given(st.sampled_from([-8 * HOUR, 8 * HOUR, 16 * HOUR, -60.0, 45.0, 1024 * 7 * 86400.0, -5e8, NOW]), intervals, delays)
def test_a_constant_offset_is_learned(offset: float, steps: list[int], jitter: list[float]) -> None:
    watch = ClockWatch()
    at = play(watch, lambda _: offset, steps, jitter)
    corrected = watch.corrected(KEY, at - offset, at)
    assert corrected is not None
    assert abs(corrected - at) <= 5.0


@given(st.floats(-2 / 60, 2 / 60), st.sampled_from([-400.0, 200.0, 9 * HOUR]), intervals, delays)
def test_a_drift_is_followed(drift: float, offset: float, steps: list[int], jitter: list[float]) -> None:
    """2 s a minute either way; ten minutes after the last report the drift still holds."""
    watch = ClockWatch()
    at = play(watch, lambda at: offset + drift * (at - NOW), steps, [j / 10 for j in jitter])
    for later in (0.0, 60.0):
        truth = at + later
        corrected = watch.corrected(KEY, truth - offset - drift * (truth - NOW), truth)
        assert corrected is not None
        assert abs(corrected - truth) <= 4.0


@given(intervals, st.lists(st.floats(-SURE_S, SURE_S), min_size=40, max_size=40))
def test_a_right_clock_costs_nothing(steps: list[int], jitter: list[float]) -> None:
    watch = ClockWatch()
    play(watch, lambda _: 0.0, steps, jitter)
    assert len(watch) == 0


def test_a_burst_of_stored_reports_teaches_nothing() -> None:
    watch = ClockWatch()
    for k in range(200):
        watch.observe(KEY, NOW - 7200 + 10 * k, NOW + 1.5 * k)
    assert watch.corrected(KEY, NOW, NOW) is None


def test_a_burst_does_not_unlearn() -> None:
    watch = ClockWatch()
    play(watch, lambda _: 8 * HOUR, [10] * 12, [0.0] * 12)
    for k in range(50):
        watch.observe(KEY, NOW - 20000 + 7 * k, NOW + 200 + k)
    corrected = watch.corrected(KEY, NOW, NOW + 300)
    assert corrected == pytest.approx(NOW + 8 * HOUR, abs=1.0)


def test_single_odd_reports_change_nothing() -> None:
    watch, dice = ClockWatch(), random.Random(3)
    at = NOW
    for k in range(60):
        at += 10
        odd = dice.uniform(-3000, 3000) if k % 7 == 5 else 0.0
        watch.observe(KEY, at - 3600 + odd, at)
    corrected = watch.corrected(KEY, at - 3600, at)
    assert corrected == pytest.approx(at, abs=2.0)


def test_a_clock_that_stands_still_is_known() -> None:
    watch, at, state = ClockWatch(), NOW, None
    for _ in range(20):
        at += 10
        state = watch.observe(KEY, NOW, at)
    assert state is not None and state.is_stopped
    assert state.offset_s is None


def test_a_clock_that_was_set_right_is_trusted_again() -> None:
    watch = ClockWatch()
    at = play(watch, lambda _: HOUR, [10] * 10, [0.0] * 10)
    states = [watch.observe(KEY, at + 10 * k, at + 10 * k) for k in range(1, RIGHT_AGAIN + 1)]
    assert states[-1] is None
    assert len(watch) == 0


def test_the_table_is_bounded() -> None:
    watch = ClockWatch(max_devices=50)
    for k in range(1000):
        watch.observe(("feed", str(k)), 0.0, NOW + k)
    assert len(watch) == 50
    assert watch.is_watching(("feed", "999"))


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.floats(0, 1e6)), max_size=40))
def test_nothing_raises(reports: list[tuple[float, float]]) -> None:
    watch, at = ClockWatch(), 0.0
    for measured_at, step in reports:
        at += step
        watch.observe(KEY, measured_at, at)
        watch.corrected(KEY, measured_at, at)
