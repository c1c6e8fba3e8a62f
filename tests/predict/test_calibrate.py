"""Intervals that hold what they promise, and the ring they learn from."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from busd.parameters import Calibrating, Places, Terminals
from busd.predict.calibrate import HIGH, KINDS, LOW, MEDIAN, MIDDLES_S, RIDER, Calibration, group_of
from busd.predict.journeys import Journeys
from busd.predict.outcomes import COLUMNS, RUN, Outcomes
from busd.predict.places import PlaceProfile, Within
from busd.predict.terminals import Departures
from busd.predict.waits import Waits
from busd.table import pack_state, unpack_state
from gtfs.testing import network_from_map

P = Calibrating()


def feed(calibration: Calibration, errors: np.ndarray, group: int = 4) -> np.ndarray:
    """Outcomes one batch after the other; returns which were inside [p10, p90]."""
    inside = []
    for z in np.split(errors, len(errors) // 10):
        low, rider, _, high = calibration.z[group]
        inside.append((z >= low) & (z <= high))
        calibration.learn(np.full(len(z), group), z, z < low, z < rider, z > high)
        calibration.settle()
    return np.concatenate(inside)


def test_intervals_come_to_cover_what_they_should() -> None:
    errors = np.random.default_rng(3).gamma(2.0, 1.2, 6000) - 1.5
    calibration = Calibration(P)
    inside = feed(calibration, errors)
    assert abs(inside[2000:].mean() - 0.8) < 0.02
    z = calibration.z[4]
    assert abs(z[MEDIAN] - np.median(errors)) < 0.15
    assert abs((errors < z[RIDER]).mean() - P.rider_quantile) < 0.04
    assert z[LOW] < z[RIDER] < z[MEDIAN] < z[HIGH]


def test_intervals_follow_a_world_that_gets_worse() -> None:
    dice = np.random.default_rng(4)
    calibration = Calibration(P)
    inside = feed(calibration, np.concatenate([dice.normal(0, 0.5, 4000), dice.normal(0.5, 1.5, 6000)]))
    assert inside[4000:4200].mean() < 0.6
    assert abs(inside[7500:].mean() - 0.8) < 0.03


def test_groups_mix_between_their_middles() -> None:
    calibration = Calibration(P)
    calibration.z[:] = np.arange(len(calibration.z))[:, None]
    calibration.learn(np.array([0]), np.array([0.0]), np.array([False]), np.array([False]), np.array([False]))
    calibration.fresh[:] = -100  # the tables are mixed anew, the groups stay as they are
    calibration.settle()
    kinds = np.full(3, 1)
    ahead_s = np.array([MIDDLES_S[0], MIDDLES_S[1], MIDDLES_S[:2].mean()])
    z = np.empty((4, 3))
    calibration.quantiles(ahead_s, kinds, z)
    assert np.abs(z[0] - [1.0, 1.0 + KINDS, 1.0 + KINDS / 2]).max() < 0.15
    assert group_of(np.array([0.0, 179.0, 180.0, 5000.0]), np.zeros(4, np.int64)).tolist() == [0, 0, 4, 20]


def test_calibration_is_kept_exactly() -> None:
    a, b = Calibration(P), Calibration(P)
    feed(a, np.random.default_rng(2).normal(0, 1, 500))
    a.learn(np.array([2]), np.array([0.3]), np.array([False]), np.array([False]), np.array([False]))
    b.load(unpack_state(pack_state(a.dump())))
    for one in (a, b):
        one.settle()
    assert (a.z == b.z).all() and (a.window == b.window).all() and (a.level == b.level).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=60))
def test_the_ring_is_a_dictionary_that_forgets_the_oldest(steps: list[tuple[int, int, bool]]) -> None:
    ring = Outcomes(16, 3)
    slow: list[tuple[int, int, float]] = []
    for number, (slot, pos, takes) in enumerate(steps):
        if takes:
            found = ring.take(slot, pos, 7.0)[:, 0].tolist()
            assert found == [n for s, p, n in reversed(slow) if (s, p) == (slot, pos)]
            slow = [x for x in slow if x[:2] != (slot, pos)]
        else:
            values = np.zeros((1, COLUMNS))
            values[0, 0], values[0, RUN] = number, 7.0
            ring.put(np.array([slot]), np.array([pos]), values)
            slow.append((slot, pos, float(number)))
            put_before = [n for n, (_, _, t) in enumerate(steps[: number + 1]) if not t][-16:]
            slow = [x for x in slow if x[2] in put_before]
        kept = Outcomes(16, 3)
        kept.load(ring.dump())
        ring = kept


def test_what_was_put_aside_for_another_use_of_the_slot_does_not_count() -> None:
    ring = Outcomes(16, 3)
    values = np.zeros((2, COLUMNS))
    values[:, RUN] = 7.0, 8.0
    ring.put(np.array([1, 1]), np.array([2, 2]), values)
    assert len(ring.take(1, 2, 8.0)) == 1


NETWORK = network_from_map("A---B---C", {"1": "ABC", "2": "CBA"}, trips=3)


def test_departures_given_that_the_bus_is_still_there() -> None:
    departures = Departures(NETWORK, Terminals())
    dice = np.random.default_rng(8)
    deviation = dice.exponential(120, 2000)
    n, zero, due = len(deviation), np.zeros(1, np.int64), np.zeros(1)
    departures.learn(np.zeros(n, np.int64), np.zeros(n), np.full(n, np.nan), deviation)
    unknown = np.array([-np.inf])
    for here in (-200.0, 0.0, 60.0, 200.0):
        leaves = float(departures.expected(zero, due, unknown, np.array([here]))[0])
        assert abs(leaves - np.median(deviation[deviation > here])) < 20
    assert (
        float(departures.expected(zero, due, unknown, np.array([9000.0]))[0]) == 9000.0
    )  # later than ever: any moment
    other = float(departures.expected(zero + 1, due, unknown, np.array([0.0]))[0])
    assert 30 < other < 150  # the network's departures, where the stop has none


def test_where_buses_turn_and_go_the_timetable_does_not_rule() -> None:
    departures = Departures(NETWORK, Terminals())
    dice = np.random.default_rng(9)
    pattern, due = np.zeros(1, np.int64), np.zeros(1)
    came = np.array([-1200.0])
    assert float(departures.expected(pattern, due, came, came)[0]) > -60  # at first the timetable is believed
    for _ in range(12):
        inbound = dice.uniform(-1500, -600, 1)
        departures.learn(pattern, due, inbound, inbound + dice.uniform(40, 120, 1))
    assert abs(float(departures.expected(pattern, due, came, came)[0]) - -1120) < 60
    assert float(departures.expected(pattern + 1, due, came, came)[0]) > -60


def test_a_late_bus_leaves_when_it_has_turned() -> None:
    departures = Departures(NETWORK, Terminals())
    n = 200
    departures.learn(np.zeros(n, np.int64), np.zeros(n), np.full(n, 300.0), np.full(n, 340.0))
    assert 40 < departures.late_turn_s < 50
    leaves = departures.expected(np.zeros(1, np.int64), np.zeros(1), np.array([600.0]), np.array([600.0]))
    assert 635 < float(leaves[0]) < 660


def test_who_leaves_late_with_time_to_spare_is_expected_to_do_it_again() -> None:
    departures = Departures(NETWORK, Terminals())
    dice = np.random.default_rng(10)
    zero, due, came = np.zeros(1, np.int64), np.zeros(1), np.full(1, -900.0)
    driver, before = 0.0, 0.0
    for k in range(120):
        driver = float(dice.choice([0.0, 240.0])) if k % 6 == 0 else driver  # a shift of six departures
        left = np.full(1, 20.0 + driver + dice.normal(0, 20))
        late = float(departures.lateness(zero, due, came, left)[0])
        departures.learn(zero, due, came, left, np.full(1, before))
        before = late
    assert 0.3 < departures.habit_share < 0.9
    punctual, late = (float(departures.expected(zero, due, came, came, np.array([h]))[0]) for h in (-100.0, 150.0))
    assert late - punctual > 80
    hurried = departures.lateness(zero, due, np.full(1, -60.0), np.full(1, 400.0))
    assert np.isnan(hurried[0])  # it came in late: that is no habit


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=40), st.floats(-1200, 1200))
def test_the_median_beyond_a_point_is_the_one_of_a_sorted_list(values: list[float], beyond: float) -> None:
    waits = Waits(1, (-1800.0, 1.0, 3600), ((0.0, 1.0),), 1e-9, 1e-9)
    waits.learn(np.zeros(len(values), np.int64), np.array(values))
    found = float(waits.median(np.zeros(1, np.int64), np.array([beyond]))[0])
    later = sorted(v for v in values if v > beyond + 1)
    maybe = sorted(v for v in values if v > beyond - 1)
    assert found >= beyond
    if later and len(maybe) == len(later):
        assert later[(len(later) - 1) // 2] - 1.01 <= found <= later[len(later) // 2] + 1.01


def within(link: int, share: float, **what: float) -> Within:
    """One bus in a link of 60 s."""
    told = {"spent_s": 6.0, "standing": False, "speed_mps": np.nan} | what
    return Within(np.array([link]), np.array([share]), np.array([60.0]), *(np.array([told[k]]) for k in told))


def test_the_profile_of_the_time_within_a_link() -> None:
    places = PlaceProfile(3, Places())
    said = places.said(np.array([0.05, 0.95]), np.array([60.0, 60.0]))
    np.testing.assert_allclose(said, [0.8 * 0.95 * 60 + 10, 0.8 * 0.05 * 60 + 10])
    np.testing.assert_allclose(places.said(np.array([0.0]), np.array([600.0])), [550.0])
    moving, standing = places.cells(within(0, 0.95)), places.cells(within(0, 0.95, standing=True))
    assert places.left(said[1:], moving).tolist() == said[1:].tolist()
    for link in (1, 2) * 1000:
        places.learn(places.cells(within(link, 0.95, standing=True)), said[1:], np.array([40.0]))
    assert 38 < places.left(said[1:], standing)[0] < 40.0
    assert places.left(said[1:], moving)[0] == said[1]


def test_a_link_differs_from_the_others_and_a_late_start_within_it_from_an_early_one() -> None:
    places = PlaceProfile(2, Places())
    said = places.said(np.array([0.05]), np.array([60.0]))
    dwelling, gone = places.cells(within(0, 0.05, speed_mps=0.0)), places.cells(within(0, 0.05, spent_s=50.0))
    for _ in range(300):
        places.learn(dwelling, said, np.array([80.0]))
        places.learn(gone, said, np.array([40.0]))
    elsewhere = places.cells(within(1, 0.05, speed_mps=0.0))
    assert places.left(said, gone)[0] < 45 < 70 < places.left(said, dwelling)[0]
    for _ in range(100):
        places.learn(elsewhere, said, np.array([30.0]))
    assert places.left(said, elsewhere)[0] < 45 and places.left(said, dwelling)[0] > 60


def test_places_are_kept_by_their_number_not_by_what_came_after() -> None:
    """Of ten fixes in a link the 1st, 2nd, 4th and 8th are learned from, however long the bus then took."""
    journeys = Journeys()
    journeys.reach(2)
    row, cells = np.array([1]), np.arange(3).reshape(3, 1)
    for k in range(10):
        journeys.keep_place(row, np.array([4]), np.array([100.0 + k]), np.array([50.0]), cells, np.array([k != 3]))
    kept, said, came = journeys.take_places(row, np.array([200.0]))
    assert (
        came.tolist() == [100.0, 99.0, 93.0]
        and said.tolist() == [50.0] * 3
        and kept.tolist() == [[k] * 3 for k in range(3)]
    )
    assert not len(journeys.take_places(row, np.array([200.0]))[2])
