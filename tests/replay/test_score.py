"""Scores of logs against hand-worked cases."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from busd.errors import FeedError
from gtfs.testing import network_from_map
from replay.bootstrap import Bootstrap, share_sd
from replay.logs import Grid, PredictionRows, Told, call_of, count_ghosts, latest_words, read_predictions
from replay.score import score
from replay.truth import Passages

NETWORK = network_from_map("A---B---C---D", {"1": "ABCD"}, trips=4)
DAY = date(2026, 3, 2).toordinal()
ZERO = 1_772_409_600.0  # a multiple of 30


def passages(*rows: tuple[int, int, float]) -> Passages:
    """(trip, stop position, arrival after ZERO)"""
    trip, pos, at = (np.array(column) for column in zip(*rows))
    at = ZERO + at.astype(np.float64)
    days = np.full(len(rows), DAY)
    return Passages(trip, days, pos, ["bus"] * len(rows), at, np.full(len(rows), 20.0), at, pos == 0, pos == 3)


def log(*rows: tuple[int, int, float, float], spread: float = 0.0, name: str = "busd") -> PredictionRows:
    """(trip, stop position, made after ZERO, p50 after ZERO or NaN)"""
    trip, pos, made, p50 = (np.array(column, np.float64) for column in zip(*rows)) if rows else [np.zeros(0)] * 4
    call = call_of(np.full(len(rows), DAY), NETWORK.trip_time_offset[trip.astype(int)] + pos.astype(int), NETWORK)
    p50 = ZERO + p50
    nothing = np.full(len(rows), np.nan)
    low, high = (p50 - spread, p50 + spread) if spread else (nothing, nothing)
    return PredictionRows(name, call, ZERO + made, p50, low, high, p50 - 30 if spread else nothing, nothing)


def test_the_latest_word_holds_until_the_next_and_can_be_taken_back() -> None:
    grid = Grid.around(passages((0, 1, 300.0)))
    told = latest_words(
        log((0, 1, 0.0, 280.0), (0, 1, 95.0, 310.0), (0, 1, 95.0, 320.0), (0, 1, 200.0, math.nan), (0, 2, 0.0, 900.0)),
        grid,
        NETWORK,
    )
    at = (grid.at - ZERO).tolist()
    heard = dict(zip(at, (told.p50 - ZERO).tolist()))
    assert at[-1] == 300.0 and len(at) == 1  # nothing is asked before the first passage of all
    grid = Grid.around(passages((1, 1, -1500.0), (0, 1, 300.0)))
    told = latest_words(
        log((0, 1, 0.0, 280.0), (0, 1, 95.0, 310.0), (0, 1, 95.0, 320.0), (0, 1, 200.0, math.nan)), grid, NETWORK
    )
    mine = grid.row == 1
    heard = dict(zip((grid.at[mine] - ZERO).tolist(), (told.p50[mine] - ZERO).tolist()))
    assert heard[0.0] == 280.0 and heard[90.0] == 280.0
    assert heard[120.0] == 320.0  # of two words of one instant the last
    assert math.isnan(heard[-30.0]) and math.isnan(heard[210.0])
    assert list(heard)[-1] == 300.0 and next(iter(heard)) == -1500.0


def test_the_first_stop_is_scored_on_its_departure() -> None:
    grid = Grid.around(passages((0, 0, 300.0), (0, 1, -1500.0)))
    rows = log((0, 0, 0.0, 200.0))
    told = latest_words(replace(rows, departure=np.array([ZERO + 290.0])), grid, NETWORK)
    assert set((told.p50[np.isfinite(told.p50)] - ZERO).tolist()) == {290.0}


def scored(*logs: PredictionRows, truth: Passages, draws: int = 50) -> dict:
    grid = Grid.around(truth)
    return score(grid, [latest_words(one, grid, NETWORK) for one in logs], draws)


TRUTH = passages((0, 1, 1800.0), (1, 1, 3600.0), (0, 2, 0.0))


def test_plain_figures_by_actual_horizon() -> None:
    """One word each, 40 s early for one bus and 80 s late for the other: every point of a bucket has the same error."""
    result = scored(log((0, 1, 0.0, 1760.0), (1, 1, 1800.0, 3680.0), spread=60.0), truth=TRUTH)
    near = result["logs"]["busd"]["points"]["p50"]["actual"]["0-3"]
    assert near["n"] == near["n_common"] + 1  # the passage at ZERO was never predicted
    assert near["n_common"] == 12  # six grid points of each bus: 0, 30 ... 150 s before
    assert near["bias"] == pytest.approx((40 - 80) / 2) and near["mae"] == pytest.approx(60.0)
    assert near["catch"] == 50.0
    assert near["availability"] == pytest.approx(100 * 12 / 13)
    assert near["eta"] == 50.0  # +40 is inside -30..+90, -80 is not
    assert near["eta_all"] == pytest.approx(100 * 6 / 13)
    assert near["coverage"] == 50.0 and near["width"] == 120.0
    # p10 = -60 from p50: (0.1 * 100 + 0.9 * 20) / 2; p50: 0.5 * 60; p90: (0.1 * 20 + 0.1 * 140) / 2
    assert near["pinball"] == pytest.approx((14.0 + 30.0 + 8.0) / 3)
    assert near["wobble"] == 0.0
    rider = result["logs"]["busd"]["points"]["rider"]["actual"]["0-3"]
    assert rider["bias"] == pytest.approx(10.0)
    assert rider["catch"] == 50.0


def test_common_points_and_missing_is_wrong() -> None:
    full = log((0, 1, 0.0, 1800.0), (1, 1, 1800.0, 3600.0))
    lazy = log((0, 1, 0.0, 1800.0), name="lazy")
    result = scored(lazy, full, truth=TRUTH)
    mine, other = (result["logs"][name]["points"]["p50"]["actual"]["3-6"] for name in ("lazy", "busd"))
    assert mine["n_common"] == other["n_common"] == 6
    assert mine["eta"] == other["eta"] == 100.0
    assert other["eta_all"] == 100.0 and mine["eta_all"] == 50.0


def test_ratios_and_the_best_other_of_each_bucket() -> None:
    """`near` is better close to the arrival, `far` beforehand; ours is 30 s off throughout."""
    ours = log((0, 1, 0.0, 1770.0), (1, 1, 1800.0, 3570.0))
    near = log(
        *[(0, 1, 0.0, 1740.0), (0, 1, 1441.0, 1785.0), (1, 1, 1800.0, 3540.0), (1, 1, 3241.0, 3585.0)], name="near"
    )
    far = log((0, 1, 0.0, 1780.0), (1, 1, 1800.0, 3580.0), name="far")
    result = scored(ours, near, far, truth=TRUTH)
    assert result["ratios"]["near"]["actual"]["0-3"]["ratio"] == pytest.approx(30 / 15)
    assert result["ratios"]["near"]["actual"]["6-10"]["ratio"] == pytest.approx(30 / 60)
    best = result["over_best"]["actual"]
    assert (best["0-3"]["best"], best["6-10"]["best"]) == ("near", "far")
    assert best["6-10"]["ratio"] == pytest.approx(1.5)
    # 3-6 min: six instants of two buses against `near` at 15 s, from 360 s on 18 against `far` at 20 s
    points = {15.0: 6 * 2, 20.0: (8 + 10) * 2}
    assert best["3-15"]["ratio"] == pytest.approx(30 * sum(points.values()) / sum(k * n for k, n in points.items()))
    assert best["3-15"]["ci"] == pytest.approx((best["3-15"]["ratio"],) * 2)  # both buses are alike


def test_the_reference_slicing_is_the_same_for_all_logs() -> None:
    early = log((0, 1, 0.0, 1200.0), (1, 1, 1800.0, 3000.0))
    reference = log((0, 1, 0.0, 1800.0), (1, 1, 1800.0, 3600.0), name="B2S")
    result = scored(early, reference, log((0, 1, 0.0, 1790.0), (1, 1, 1800.0, 3590.0), name="other"), truth=TRUTH)
    assert result["reference"] == "B2S"
    counts = {name: entry["points"]["p50"]["reference"]["3-6"]["n_common"] for name, entry in result["logs"].items()}
    assert len(set(counts.values())) == 1


def test_mbta_mean_leaves_empty_buckets_out() -> None:
    result = scored(log((0, 1, 0.0, 1800.0), (1, 1, 3500.0, 3600.0)), truth=TRUTH)
    assert result["logs"]["busd"]["points"]["p50"]["means"]["mbta"] == 100.0
    assert result["logs"]["busd"]["points"]["p50"]["means"]["eta"] == 100.0


def test_a_log_that_says_nothing() -> None:
    result = scored(log(), truth=TRUTH)
    figures = result["logs"]["busd"]["points"]["p50"]
    assert figures["stops"]["all"]["availability"] == 0.0
    assert figures["means"]["eta"] is None and figures["means"]["eta_all"] == 0.0


def test_calibration_and_fan() -> None:
    result = scored(log((0, 1, 0.0, 1760.0), (1, 1, 1800.0, 3680.0), spread=60.0), truth=TRUTH)
    curve = result["calibration"]["busd"]["0-3"]
    # told to be less than three minutes away: the one that comes late at 8 instants, the other at 4, before its p10
    assert curve["p10"] == pytest.approx(4 / 12) == curve["p50"] and curve["p90"] == 1.0
    assert result["fan"]["busd"] == []  # too few points a minute to draw


def test_ghosts() -> None:
    """Trip 0 came to stop 2, trip 1 to stop 1 only, trip 2 never; trip 3 is beyond the recording."""
    seen = passages((0, 1, 1500.0), (0, 2, 1600.0), (1, 1, 1500.0))
    rows = log((0, 1, 0.0, 1500.0), (0, 2, 0.0, 1600.0), (1, 2, 0.0, 1500.0), (2, 1, 0.0, 1500.0), (3, 1, 0.0, 5000.0))
    found = count_ghosts(rows, seen, NETWORK, until_at=ZERO + 5000.0)
    # told to be 9 to 11 min away for four instants of the 30 s grid
    assert found["came"] == 8.0 and found["never"] == 8.0 and found["unknown"] == 4.0
    assert found["share"] == 0.5
    short = log((2, 1, 0.0, 1500.0), (2, 1, 870.0, math.nan))
    assert count_ghosts(short, seen, NETWORK)["never"] == 1.0  # taken back after the first of the four
    assert math.isnan(count_ghosts(log(), seen, NETWORK)["share"])


def test_reading_a_log(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(
        "generated_at,service_date,trip_id,stop_sequence,stop_id,vehicle_id,arrival_p50,arrival_p10\n"
        f"{ZERO},20260302,1-0,{NETWORK.stop_sequence[1]},B,b,{ZERO + 60},\n"
        f"{ZERO},20260302,gone,1,B,b,{ZERO + 60},\n"
        f"{ZERO},20260302,1-0,999,B,b,{ZERO + 60},\n"
        f"{ZERO},2026-03-02,1-1,{NETWORK.stop_sequence[0]},A,b,,\n"
    )
    read = read_predictions(path, NETWORK)
    rows = [1, NETWORK.trip_time_offset[1]]
    assert read.call.tolist() == [
        DAY * len(NETWORK.arrival_s) + rows[0],
        -1,
        -1,
        DAY * len(NETWORK.arrival_s) + rows[1],
    ]
    assert read.name == "predictions" and math.isnan(read.p50[3]) and np.isnan(read.rider).all()
    (tmp_path / "other.csv").write_text("a\n1\n")
    with pytest.raises(FeedError, match="generated_at"):
        read_predictions(tmp_path / "other.csv", NETWORK)


def test_the_bootstrap_draws_trips_not_points() -> None:
    """100 points of 4 trips: the interval is that of 4 independent values."""
    dice = np.random.default_rng(5)
    run = np.repeat(np.arange(4), 25)
    values = np.repeat(dice.normal(100, 20, 4), 25)
    low, high = Bootstrap(run, 4000).ratio_ci(values, np.ones(100), np.arange(100)) or (0.0, 0.0)
    sd = values.reshape(4, 25)[:, 0].std() / 2
    assert high - low == pytest.approx(2 * 1.96 * sd, rel=0.25)
    assert share_sd(np.ones(100, bool), run) == 0.0
    assert Bootstrap(np.zeros(3, int)).ratio_ci(np.ones(3), np.ones(3), np.arange(3)) is None


def test_told_needs_no_interval() -> None:
    grid = Grid.around(TRUTH)
    p50 = np.where(grid.row == 0, grid.arrival_at + 10, np.nan)
    nothing = np.full(len(p50), np.nan)
    figures = score(grid, [Told("x", p50, nothing, nothing, nothing)], 10)["logs"]["x"]["points"]["p50"]
    assert "coverage" not in figures["stops"]["all"]
    assert figures["stops"]["all"]["pinball"] == pytest.approx(10 / 6)  # its own residuals serve as interval
