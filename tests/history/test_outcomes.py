"""Live self-measurement: what is sampled, when it is judged, what is forgotten."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from busd.history.outcomes import MAX_WAITING, OVERDUE_S, Outcomes
from busd.history.tally import OTHER, Tally, merged
from gtfs.testing import network_from_map

Line = Any  # of conftest.py
DATE = "20260302"


def feed(outcomes: Outcomes, line: Line, at: float, *outputs: Any) -> None:
    outcomes.take(at, outputs, line.network)


def test_a_prediction_meets_its_outcome(line: Line) -> None:
    """Told to come at 500 s, 400 s before; came at 540: 40 s late, inside the interval, and in all bands."""
    outcomes, trip = Outcomes(), line.trip(0)
    feed(outcomes, line, 100.0, line.told(trip, 100.0, {1: 500.0}))
    assert outcomes.work() == 0
    feed(outcomes, line, 545.0, line.seen(trip, 1, 540.0))
    assert outcomes.work() == 1
    figures = outcomes.days[DATE].figures()
    row = figures["told"]["6-12"]
    assert (row["n"], row["bias"], row["mae"], row["coverage"], row["catch"]) == (1, 40.0, 40.0, 100.0, 100.0)
    assert row["mbta"] == row["newmark"] == 100.0 and row["width"] == 120.0
    assert row["pinball"] == pytest.approx((0.1 * 100 + 0.5 * 40 + 0.1 * 20) / 3, abs=0.01)
    assert figures["actual"]["6-10"]["eta"] == 100.0
    # told 440 s before: there was a word 90 s and 270 s before the arrival, none 480 s before
    assert [figures["actual"][b]["availability"] for b in ("0-3", "3-6", "6-10")] == [100.0, 100.0, 0.0]
    assert figures["trips"] == 1 and outcomes.days[DATE].lines == ["1"]


def test_one_sample_a_cell_and_none_twice(line: Line) -> None:
    outcomes, trip = Outcomes(), line.trip(0)
    for at in range(0, 500, 10):
        feed(outcomes, line, at, line.told(trip, float(at), {1: 500.0}))
    feed(outcomes, line, 505.0, line.seen(trip, 1, 500.0), line.seen(trip, 1, 501.0))
    # cells begin at 480, 360, 270, 180, 90 and 0 s told: the first word in each
    assert outcomes.work() == 6
    assert outcomes.days[DATE].figures()["all"]["n"] == 6


def test_the_first_stop_counts_by_its_departure(line: Line) -> None:
    outcomes, trip = Outcomes(), line.trip(0)
    feed(outcomes, line, 0.0, line.told(trip, 0.0, {0: 200.0, 1: 300.0}))
    feed(outcomes, line, 240.0, line.seen(trip, 0, 230.0))
    outcomes.work()
    assert outcomes.days[DATE].figures()["all"]["bias"] == 30.0


def test_a_word_taken_back_before_it_was_sampled_is_no_word(line: Line) -> None:
    outcomes, trip = Outcomes(), line.trip(0)
    feed(outcomes, line, 0.0, line.told(trip, 0.0, {1: math.nan}))
    feed(outcomes, line, 100.0, line.seen(trip, 1, 90.0))
    assert outcomes.work() == 0 and outcomes.days == {}


def test_ghosts(line: Line) -> None:
    """Two buses told to be eleven minutes away; one came to a later stop, one was never seen."""
    outcomes = Outcomes()
    for number in (0, 1):
        feed(outcomes, line, 0.0, line.told(line.trip(number), 0.0, {1: 660.0, 2: 710.0}))
    feed(outcomes, line, 700.0, line.seen(line.trip(0), 2, 690.0))
    outcomes.work()
    feed(outcomes, line, 710.0 + OVERDUE_S + 61, line.told(line.trip(5), 1700.0, {1: 2000.0}))
    outcomes.work()
    assert outcomes.days[DATE].figures()["ghosts"] == 50.0
    assert (outcomes.days[DATE].came[0], outcomes.days[DATE].never[0]) == (2.0, 2.0)


def test_memory_is_bounded(line: Line) -> None:
    outcomes = Outcomes(max_runs=3)
    for number in range(8):
        for at in (0.0, 10.0):
            feed(outcomes, line, at, line.told(line.trip(number), at, {1: 300.0}))
    outcomes.work()
    assert len(outcomes._runs) == 3 and outcomes.left_out == 5
    feed(outcomes, line, 300 + OVERDUE_S + 100, line.seen(line.trip(90), 1, 1.0))
    outcomes.work()
    assert outcomes._runs == {}
    for _ in range(MAX_WAITING + 10):
        feed(outcomes, line, 1.0, line.seen(line.trip(0), 1, 1.0))
    assert outcomes.lost == 10


def test_lines_beyond_the_cap_share_a_row(line: Line) -> None:
    outcomes = Outcomes(max_lines=1)
    for name in ("1", "2"):
        trip = line.trip(0, name)
        feed(outcomes, line, 0.0, line.told(trip, 0.0, {1: 100.0}))
        feed(outcomes, line, 110.0, line.seen(trip, 1, 100.0))
    outcomes.work()
    assert outcomes.days[DATE].lines == ["1", OTHER]


def test_another_timetable_forgets_what_was_told(line: Line) -> None:
    other = network_from_map("A---B---C---D", {"9": "ABCD"})
    outcomes, trip = Outcomes(), line.trip(0)
    feed(outcomes, line, 0.0, line.told(trip, 0.0, {1: 100.0}))
    outcomes.take(50.0, [line.seen(trip, 1, 40.0)], other)
    assert outcomes.work() == 0


def test_how_often_work_is_called_does_not_matter(line: Line) -> None:
    """The same outputs, worked after each or all at once: the same sums."""
    results = []
    for every in (1, 7, 10_000):
        outcomes, dice = Outcomes(), np.random.default_rng(2)
        count = 0
        for number in range(40):
            zero, trip = 300.0 * number, line.trip(number)
            for at in np.arange(zero, zero + 280, 20.0):
                p50 = {pos: zero + 90 * pos + float(dice.normal(0, 15)) for pos in range(4) if zero + 90 * pos > at}
                outputs = [line.told(trip, at, p50)]
                gone = [p for p in range(4) if at - 20 < zero + 90 * p <= at]
                outputs += [line.seen(trip, p, zero + 90.0 * p) for p in gone]
                feed(outcomes, line, at, *outputs)
                count += 1
                if count % every == 0:
                    outcomes.work()
        outcomes.work()
        results.append(outcomes)
    first = results[0]
    assert first.days[DATE].figures()["all"]["n"] >= 150
    for other in results[1:]:
        assert np.allclose(first.days[DATE].sums, other.days[DATE].sums)
        assert first.days[DATE].trips.tolist() == other.days[DATE].trips.tolist()


def test_tallies_add_up_and_survive_the_disk() -> None:
    dice = np.random.default_rng(1)
    parts = []
    for lines in (["1", "2"], ["2", "3"]):
        tally = Tally()
        for name in lines:
            row = tally.row(name)
            tally.sums[row] = dice.integers(0, 100, tally.sums[row].shape)
            tally.trips[row], tally.came[row] = 3.0, 5.0
        parts.append(Tally.load(tally.dump()))
    whole = merged(parts)
    assert whole.lines == ["1", "2", "3"] and whole.trips.tolist() == [3.0, 6.0, 3.0]
    assert np.allclose(whole.sums[1], parts[0].sums[1] + parts[1].sums[0])
    bad = parts[0].dump() | {"trips": [1.0]}
    with pytest.raises(ValueError, match="another version"):
        Tally.load(bad)
