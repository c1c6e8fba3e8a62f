"""The alarm: raised when a line's intervals no longer hold, kept while it is at the edge, ended when they hold again."""

from __future__ import annotations

import numpy as np

from busd.history.drift import MIN_TRIPS, DriftWatch
from busd.history.tally import COLUMN, Tally


def tally(inside: float, late: float = 0.5, trips: float = 200.0) -> Tally:
    made = Tally()
    row = made.row("7")
    made.sums[row, 0, COLUMN["n"]] = 1000.0
    made.sums[row, 0, COLUMN["inside"]] = 1000.0 * inside
    made.sums[row, 0, COLUMN["caught"]] = 1000.0 * late
    made.trips[row] = trips
    return made


def test_hysteresis() -> None:
    watch = DriftWatch()
    steps = [(0.80, 0), (0.68, 0), (0.60, 1), (0.68, 1), (0.74, 1), (0.76, 0), (0.70, 0), (0.97, 1), (0.84, 0)]
    for at, (inside, standing) in enumerate(steps):
        watch.look(tally(inside), float(at))
        assert len(watch.alarms) == standing, (at, inside)


def test_what_is_told() -> None:
    watch = DriftWatch()
    raised, ended = watch.look(tally(0.5, late=0.9), 100.0)
    assert {(drift.kind, drift.share, drift.expected, drift.since_at) for drift in raised} == {
        ("coverage", 0.5, 0.8, 100.0),
        ("balance", 0.9, 0.5, 100.0),
    }
    assert ended == [] and watch.look(tally(0.5, late=0.9), 200.0) == ([], [])
    _, ended = watch.look(tally(0.8), 300.0)
    assert {drift.kind for drift in ended} == {"coverage", "balance"}


def test_few_trips_are_no_reason() -> None:
    watch = DriftWatch()
    assert watch.look(tally(0.2, trips=MIN_TRIPS - 1), 0.0) == ([], [])
    assert watch.look(tally(0.55, trips=MIN_TRIPS + 1), 0.0) == ([], [])  # may be chance: 6 trips
    assert len(watch.look(tally(0.55, trips=100.0), 0.0)[0]) == 1
    assert watch.look(Tally(), 0.0) == ([], [])


def test_chance_alone_hardly_ever_raises_it() -> None:
    """200 lines of 12 trips whose stops stand and fall together, all well calibrated."""
    dice = np.random.default_rng(4)
    watch = DriftWatch()
    false = 0
    for _ in range(200):
        shares = dice.random(12) < 0.8
        late = dice.random(12) < 0.5
        watch.alarms.clear()
        false += bool(watch.look(tally(shares.mean(), late.mean(), 12.0), 0.0)[0])
    assert false <= 6
