"""The kernels against slow twins that say the same in a loop."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from busd.parameters import Predicting
from busd.predict.kernels import departures, fan, first_and_last, in_order, rising, running_sums, settled

P = Predicting()
NOW = 1_000_000.0

groups = st.lists(st.lists(st.floats(0, 1e4), min_size=1, max_size=6), max_size=6)
with_empty = st.lists(st.lists(st.floats(0, 1e4), max_size=6), max_size=6)


def flat(rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([v for g in rows for v in g]), np.array([k for k, g in enumerate(rows) for _ in g], np.int64)


@given(with_empty)
def test_running_sums_restart_with_each_run(rows: list[list[float]]) -> None:
    count = np.array([len(g) for g in rows], np.int64)
    expected = [sum(g[: i + 1]) for g in rows for i in range(len(g))]
    sums = running_sums(flat(rows)[0], np.cumsum(count) - count, count)
    np.testing.assert_allclose(sums, np.array(expected), atol=1e-6)


@given(groups)
def test_rising_is_the_largest_so_far_of_each_owner(rows: list[list[float]]) -> None:
    values, owner = flat(rows)
    expected = [max(g[: i + 1]) for g in rows for i in range(len(g))]
    np.testing.assert_allclose(rising(NOW + values, owner, NOW), NOW + np.array(expected), atol=1e-6)


@given(st.floats(-600, 3600), st.floats(0, 300))
def test_a_late_bus_makes_up_dwell_and_an_early_one_waits_at_most_as_planned(late: float, dwell: float) -> None:
    arrival = NOW + late
    leaves = float(departures(*np.array([[arrival], [NOW], [NOW + dwell]]), P.min_dwell_s, out=np.empty(1))[0])
    slow = max(arrival + min(dwell, P.min_dwell_s), min(NOW + dwell, arrival + dwell), arrival)
    assert abs(leaves - slow) < 1e-6
    assert arrival <= leaves <= arrival + dwell + 1e-6


quantile_rows = st.lists(
    st.lists(st.tuples(*[st.floats(-600, 4000)] * 4), min_size=1, max_size=8), min_size=1, max_size=5
)


@given(quantile_rows)
def test_quantiles_come_in_order_and_rise_along_the_trip(rows: list[list[tuple[float, ...]]]) -> None:
    values = NOW + np.array([list(v) for g in rows for v in g]).T
    owner = np.array([k for k, g in enumerate(rows) for _ in g], np.int64)
    honest = in_order(values.copy(), owner, NOW, np.full(len(owner), NOW))
    slow = []
    for g in rows:
        best = [-np.inf] * 4
        for v in g:
            p10, rider, median, p90 = (NOW + x for x in v)
            bound = min(NOW, median)
            p10 = max(min(p10, median), bound)
            row = [p10, max(min(rider, median), p10), median, max(p90, median)]
            best = [max(b, x) for b, x in zip(best, row)]
            slow.append(list(best))
    np.testing.assert_allclose(honest.T, np.array(slow), atol=1e-5)
    assert (np.diff(honest, axis=0) >= -1e-6).all()
    same = owner[1:] == owner[:-1]
    assert (np.diff(honest, axis=1)[:, same] >= -1e-6).all()


@given(st.lists(st.floats(NOW - 60, NOW + 7200), min_size=1, max_size=20))
def test_without_calibration_the_fan_widens_with_the_horizon(p50: list[float]) -> None:
    median = np.sort(np.array(p50))
    quantiles = np.empty((4, len(median)))
    fan(median, NOW, P, quantiles)
    assert (np.diff(quantiles, axis=0) >= 0).all()
    assert (np.diff(quantiles[3] - quantiles[0]) >= -1e-6).all()


@given(st.lists(st.lists(st.booleans(), max_size=6), min_size=1, max_size=6))
def test_the_first_and_the_last_chosen_row_of_each_run(rows: list[list[bool]]) -> None:
    count = np.array([len(g) for g in rows], np.int64)
    first, last = first_and_last(np.array([v for g in rows for v in g], bool), np.cumsum(count) - count, count)
    assert first.tolist() == [g.index(True) if any(g) else len(g) for g in rows]
    assert last.tolist() == [len(g) - 1 - g[::-1].index(True) if any(g) else -1 for g in rows]


def test_a_time_changes_only_for_a_reason_larger_than_its_noise() -> None:
    old = NOW + np.array([[100, 110, 120, 150], [580, 590, 600, 700], [np.nan] * 4]).T
    new = NOW + np.array([[101, 111, 122, 160], [600, 610, 620, 720], [10, 15, 20, 30]]).T
    kept = settled(new, old, NOW, P)
    assert kept[:, 0].tolist() == old[:, 0].tolist()  # 2 s of 4.2 s
    assert kept[:, 1].tolist() == new[:, 1].tolist()  # 20 s of 9.2 s
    assert kept[:, 2].tolist() == new[:, 2].tolist()
