"""The kernels against slow twins that say the same in a loop."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from busd.parameters import Predicting
from busd.predict.kernels import delay_after_layover, interval, running_sums, schedule_plus_delay

P = Predicting()
NOW = 1_000_000.0

bus = st.tuples(
    st.floats(-600, 3600),  # delay
    st.lists(st.tuples(st.floats(20, 400), st.floats(0, 300)), min_size=1, max_size=12),  # (run, dwell) per stop
)


def slow_twin(delay: float, calls: list[tuple[float, float]]) -> list[tuple[float, float]]:
    out = []
    for arrival, departure in calls:
        come = max(arrival + delay, NOW)
        if delay > 0:
            delay = max(delay - max(departure - arrival - P.min_dwell_s, 0), 0)
        out.append((come, max(departure + delay, come)))
    return out


@given(st.lists(bus, min_size=1, max_size=5))
def test_schedule_plus_delay_is_its_slow_twin(buses: list[tuple[float, list[tuple[float, float]]]]) -> None:
    arrivals, departures, delays, owner, expected = [], [], [], [], []
    for k, (delay, steps) in enumerate(buses):
        at, calls = NOW, []
        for run, dwell in steps:
            calls.append((at + run, at + run + dwell))
            at += run + dwell
        expected += slow_twin(delay, calls)
        arrivals += [a for a, _ in calls]
        departures += [d for _, d in calls]
        delays += [delay] * len(calls)
        owner += [k] * len(calls)
    arrival, departure = schedule_plus_delay(
        np.array(arrivals), np.array(departures), np.array(delays), np.array(owner), NOW, P
    )
    np.testing.assert_allclose(arrival, [a for a, _ in expected], rtol=0, atol=1e-6)
    np.testing.assert_allclose(departure, [d for _, d in expected], rtol=0, atol=1e-6)


@given(st.lists(st.lists(st.floats(0, 1e4), min_size=1, max_size=6), max_size=6))
def test_running_sums_restart_with_each_owner(groups: list[list[float]]) -> None:
    values = np.array([v for g in groups for v in g])
    owner = np.array([k for k, g in enumerate(groups) for _ in g], np.int64)
    expected = [sum(g[:i]) for g in groups for i in range(len(g))]
    np.testing.assert_allclose(running_sums(values, owner), np.array(expected), atol=1e-6)


def test_a_layover_takes_up_delay_down_to_its_minimum() -> None:
    left = delay_after_layover(np.array([300.0, 300.0, 300.0, -50.0]), np.array([600.0, 240.0, 60.0, 600.0]), P)
    assert left.tolist() == [0.0, 180.0, 300.0, 0.0]


@given(st.lists(st.floats(NOW - 60, NOW + 7200), min_size=1, max_size=20))
def test_the_interval_holds_the_median_and_is_never_in_the_past(p50: list[float]) -> None:
    median = np.sort(np.array(p50))
    p10, p90, rider = interval(median, NOW, np.full(len(median), -np.inf), P)
    assert (p10 <= rider).all() and (rider <= median).all() and (median < p90).all()
    assert (p10 >= np.minimum(median, NOW)).all()
    assert (np.diff(p90) >= 0).all()
