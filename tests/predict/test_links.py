"""Link times: shrinkage, outliers, hours, forgetting, another timetable."""

from __future__ import annotations

import numpy as np
import pytest

from busd.parameters import Links, Parameters
from busd.predict.holding import Holding
from busd.predict.learning import RATIO, Learned, Seen
from busd.predict.legs import Legs
from busd.predict.links import LinkTimes, bin_of
from busd.predict.residual import Gate, RecentExcess
from gtfs.testing import network_from_map

P = Links()
NETWORK = network_from_map("A---B---C---D---E", {"1": "ABCDE", "1/back": "EDCBA", "2": "ACE"}, trips=10)
DAY = 739_677  # a Monday


def link_times() -> LinkTimes:
    return LinkTimes(NETWORK, Legs.of(NETWORK, P), P)


def legs_of(pattern: int) -> np.ndarray:
    first, end = NETWORK.pattern_stop_offset[pattern : pattern + 2]
    return np.arange(first + 1, end)


def test_planned_times_are_those_of_the_slow_twin() -> None:
    legs = Legs.of(NETWORK, Links(smooth_stops=2))
    times: dict[int, list[float]] = {}
    trips = range(len(NETWORK.trip_pattern))

    def planned(trip: int) -> list[tuple[int, float]]:
        rows = NETWORK.trip_rows(trip)
        at = [float(NETWORK.departure_s[rows.start]), *NETWORK.arrival_s[rows.start + 1 : rows.stop].tolist()]
        first = NETWORK.pattern_stop_offset[NETWORK.trip_pattern[trip]]
        return [(int(NETWORK.pattern_link[first + k]), at[k + 1] - at[k]) for k in range(len(at) - 1)]

    for trip in trips:
        for link, s in planned(trip):
            times.setdefault(link, []).append(s)
    mean = {link: max(sum(v) / len(v), 5.0) for link, v in times.items()}
    for trip in trips:
        calls = planned(trip)
        for k, (link, _) in enumerate(calls):
            near = calls[max(k - 2, 0) : k + 3]
            ratio = (sum(s for _, s in near) + 30) / (sum(mean[x] for x, _ in near) + 30)
            row = NETWORK.trip_rows(trip).start + k + 1
            assert legs.planned_s[row] == pytest.approx(mean[link] * ratio)
        assert legs.planned_s[NETWORK.trip_rows(trip).start] == 0


def test_nothing_known_is_the_timetable() -> None:
    links = link_times()
    assert links.ratios(legs_of(0), 0).tolist() == [1.0] * 4


def test_a_link_is_learned_and_its_neighbours_only_a_little() -> None:
    links = link_times()
    leg = legs_of(0)[:1]
    for _ in range(30):
        links.learn(leg, np.array([100.0]), np.array([50.0]), np.array([8]), DAY)
    mine, *others = links.ratios(legs_of(0), 8).tolist()
    assert 1.9 < mine < 2.0
    assert all(1.0 < other < 1.4 for other in others)


def test_lines_share_a_link_and_a_pattern_keeps_its_own() -> None:
    a, back = legs_of(0), legs_of(1)
    links = link_times()
    assert not set(links.legs.link[a].tolist()) & set(links.legs.link[back].tolist())
    other = network_from_map("A---B---C---D", {"1": "ABCD", "9": "ABC"}, trips=4)
    links = LinkTimes(other, Legs.of(other, P), P)
    first = other.pattern_stop_offset[:-1] + 1
    assert links.legs.link[first[0]] == links.legs.link[first[1]]
    for _ in range(10):
        links.learn(first[:1], np.array([100.0]), np.array([50.0]), np.array([8]), DAY)
    mine, shared = links.ratios(first, 8).tolist()
    assert 1.5 < shared < mine


def test_an_outlier_counts_as_far_as_it_can_be_believed() -> None:
    links = link_times()
    believed = links.believed(np.array([3.0, 55.0, 1700.0]), np.full(3, 60.0))
    assert believed.tolist() == [14.0, 55.0, 170.0]


def test_the_hour_and_the_day_type_are_learned_apart() -> None:
    links = link_times()
    leg = legs_of(0)[:1]
    peak = bin_of(np.array([DAY]), np.array([8 * 3600.0]))
    for _ in range(60):
        links.learn(leg, np.array([100.0]), np.array([50.0]), peak, DAY)
        links.learn(leg, np.array([50.0]), np.array([50.0]), peak + 3, DAY)
    ratio = [float(links.ratios(leg, int(b))[0]) for b in (peak[0], peak[0] + 3)]
    assert ratio[0] > ratio[1] + 0.2
    saturday = bin_of(np.array([DAY + 5]), np.array([8 * 3600.0]))
    assert saturday[0] == peak[0] + 12


def test_old_days_fade() -> None:
    links = link_times()
    leg = legs_of(0)[:1]
    links.learn(leg, np.array([100.0]), np.array([50.0]), np.array([0]), DAY)
    links.learn(leg, np.array([50.0]), np.array([50.0]), np.array([0]), DAY + 21)
    assert links.leg[leg[0]].tolist() == [100.0, 75.0]


def test_slopes_are_the_regression_shrunk_to_the_network() -> None:
    dice = np.random.default_rng(5)
    holding = Holding(3, P)
    for _ in range(3000):
        link = dice.integers(0, 3, 1)
        deviation = dice.uniform(-400, 200, 1)
        hold = np.array([0.6, 0.1, 0.0])[link]
        holding.learn(link, deviation, -hold * np.minimum(deviation, 0) + dice.normal(0, 20, 1))
    slope, mean, sigma2 = holding.slopes(np.full(3, 60.0))
    assert slope[0] < -0.45 and -0.2 < slope[1] < -0.05 and abs(slope[2]) < 0.06
    assert (mean < -80).all() and (sigma2 > 0).all()
    assert (Holding(3, P).slopes(np.full(3, 60.0))[0] == 0).all()


def test_late_buses_teach_nothing_about_holding() -> None:
    holding = Holding(1, P)
    assert holding.earliness(np.array([-1000.0, -50.0, 70.0, np.nan])).tolist() == [-600.0, -50.0, 0.0, 0.0]


def test_a_term_is_believed_as_far_as_it_pays() -> None:
    dice = np.random.default_rng(1)
    noise, jam = Gate(P), Gate(P)
    for k in range(400):
        said = dice.normal(0, 20, 1)
        noise.learn(said, dice.normal(0, 20, 1), k * 10.0)
        jam.learn(said, said + dice.normal(0, 20, 1), k * 10.0)
    assert noise.value < 0.15
    assert jam.value > 0.7
    assert jam.value > (jam.learn(np.zeros(1), np.zeros(1), 4000 + 12 * 3600.0), jam.value)[1]


def test_a_recent_excess_fades_and_reaches_the_neighbours() -> None:
    recent = RecentExcess(NETWORK, P)
    legs = Legs.of(NETWORK, P)
    leg = legs_of(0)
    link = legs.link[leg]
    for _ in range(10):
        recent.learn(link[1:2], np.array([90.0]), np.array([60.0]), np.array([0.0]), 1000.0)
    table = recent.table(legs.link, 1000.0)[leg]
    assert table[1] > table[0] > 0 and table[2] == table[0] and table[3] == 0
    later = recent.table(legs.link, 1000.0 + 3 * P.residual_tau_s)[leg]
    assert 0 < later[1] < 0.3 * table[1]


def seen(learned: Learned, k: int, took: float, day: int = DAY) -> Seen:
    network = learned.network
    trip = int(network.pattern_trip[0])
    row = int(network.trip_time_offset[trip]) + 1
    base = day * 86400.0
    left = base + float(network.departure_s[row - 1]) + k
    one = np.ones(1, np.int64)
    return Seen(
        0 * one,
        one,
        one * row,
        np.array([base]),
        one * day,
        np.array([left + took]),
        np.array([left]),
        np.array([30.0]),
        np.zeros(1),
    )


def test_another_timetable_keeps_what_is_known_of_its_links() -> None:
    old = Learned(NETWORK, Parameters())
    for k in range(20):
        old.observe(seen(old, k, 200.0), k * 60.0)
    new = Learned(network_from_map("A---B---C---D---E", {"7": "ABC", "8": "CDE"}, trips=3), Parameters())
    new.carry_over(old)
    new.refresh(0.0, DAY, 8 * 3600.0)
    ratio = {new.network.pattern_route[p]: new.table[RATIO, new.network.pattern_stop_offset[p] + 1] for p in range(2)}
    assert max(ratio.values()) > 1.3 * min(ratio.values())


def test_a_visit_seen_too_vaguely_teaches_nothing() -> None:
    learned = Learned(NETWORK, Parameters())
    before = learned.links.total.copy()
    vague = seen(learned, 0, 200.0)
    vague.bracket_s[:] = 500.0
    k, _, _ = learned.observe(vague, 0.0)
    assert not len(k) and (learned.links.total == before).all()
