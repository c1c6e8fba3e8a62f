"""The three standards against cases worked by hand from their published definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from busd.history.standards import (
    ACTUAL_EDGES_S,
    TOLD_EDGES_S,
    bucket,
    eta_benchmark,
    judge,
    mbta,
    names,
    newmark,
    pinball,
)


def one(function: object, *values: float) -> float:
    return float(function(*(np.array([value]) for value in values))[0])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("actual_s", "e", "accurate"),
    [
        (60, -30, 1),  # bounds are inside
        (60, -30.1, 0),
        (60, 90, 1),
        (60, 90.1, 0),
        (179.9, 91, 0),
        (180, 91, 1),  # a bucket begins with its own band
        (359.9, -60, 1),
        (360, 150.5, 1),
        (599, 211, 0),
        (600, 270, 1),
        (600, -90, 1),
        (600, -90.5, 0),
        (899.9, 270.5, 0),
    ],
)
def test_eta_benchmark(actual_s: float, e: float, accurate: int) -> None:
    assert one(eta_benchmark, e, actual_s) == accurate


@pytest.mark.parametrize(("e", "actual_s"), [(0, 900), (0, 2000), (0, -1), (math.nan, 60)])
def test_eta_benchmark_says_nothing_beyond_15_minutes_or_without_a_prediction(e: float, actual_s: float) -> None:
    assert math.isnan(one(eta_benchmark, e, actual_s))


@pytest.mark.parametrize(
    ("told_s", "e", "accurate"),
    [
        (0, -60, 0),  # bounds are outside
        (0, -59.9, 1),
        (0, 60, 0),
        (179, 59, 1),
        (180, 119, 1),
        (180, 120, 0),
        (360, -149, 1),
        (719, 210, 0),
        (720, 359, 1),
        (1800, -239, 1),  # the last band holds beyond half an hour
        (9999, 361, 0),
    ],
)
def test_mbta(told_s: float, e: float, accurate: int) -> None:
    assert one(mbta, e, told_s) == accurate


@pytest.mark.parametrize(
    ("minutes", "low", "high"),
    [(0, -15.74, 24.33), (5, -110.43, 112.28), (10, -145.47, 146.54), (30, -206.63, 207.02)],
)
def test_newmark_band_grows_with_the_logarithm(minutes: float, low: float, high: float) -> None:
    assert one(newmark, low + 0.05, 60 * minutes, 600) == 1 == one(newmark, high - 0.05, 60 * minutes, 600)
    assert one(newmark, low - 0.05, 60 * minutes, 600) == 0 == one(newmark, high + 0.05, 60 * minutes, 600)


def test_newmark_leaves_out_the_last_minute() -> None:
    assert math.isnan(one(newmark, 0, 30, 59.9))
    assert one(newmark, 0, 30, 60) == 1


def test_an_overdue_prediction_stays_in_the_first_bucket() -> None:
    flags = judge(np.array([100.0]), np.array([130.0]), np.array([120.0]))
    assert flags["mbta"][0] == 1 and flags["eta"][0] == 1


def test_buckets() -> None:
    assert names(ACTUAL_EDGES_S) == ["0-3", "3-6", "6-10", "10-15", "15-30"]
    assert names(TOLD_EDGES_S) == ["0-3", "3-6", "6-12", "12-30", "30+"]
    found = bucket(np.array([-1.0, 0.0, 179.9, 180.0, 1800.0, math.nan]), ACTUAL_EDGES_S)
    assert found.tolist() == [-1, 0, 0, 1, -1, -1]
    assert bucket(np.array([1e9]), TOLD_EDGES_S).tolist() == [4]


def test_the_quantile_itself_has_the_least_pinball_loss() -> None:
    came = np.random.default_rng(1).normal(0, 60, 4001)
    guesses = np.arange(-120, 121, 1.0)
    for q in (0.1, 0.5, 0.9):
        losses = [pinball(q, came, np.full(len(came), guess)).mean() for guess in guesses]
        assert abs(guesses[int(np.argmin(losses))] - np.quantile(came, q)) <= 1.0
