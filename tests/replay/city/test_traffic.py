"""The city that moves, and the truth about it."""

from __future__ import annotations

import csv
import gzip
import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest

from busd.feeds.tides import read_positions
from busd.types import VehiclePosition
from replay.city.gps import plate
from replay.city.record import Recording, record, simulate
from replay.city.roads import Scenario
from replay.city.streets import to_xy
from replay.city.timetable import Plan, make_plan
from replay.city.traffic import Traffic
from replay.city.truth import Passage

HOUR = 3600


@pytest.fixture(scope="module")
def rush(plan: Plan, midnight: float) -> Recording:
    """A quarter of the rush hour."""
    return simulate(plan, 7, midnight + 8 * HOUR, midnight + 8 * HOUR + 900)


@pytest.fixture(scope="module")
def morning(plan: Plan, midnight: float) -> list[Passage]:
    """All passages from the first bus to ten o'clock."""
    traffic = Traffic(plan, 7, midnight + 5 * HOUR)
    traffic.advance(midnight + 10 * HOUR)
    return traffic.take_passages()


def trips_of(passages: list[Passage]) -> dict[tuple[str, int | None], list[Passage]]:
    trips: dict[tuple[str, int | None], list[Passage]] = defaultdict(list)
    for passage in passages:
        trips[passage.trip_id, passage.start_s].append(passage)
    return trips


def test_the_same_seed_gives_the_same_day(rush: Recording, midnight: float) -> None:
    again = simulate(make_plan(seed=7), 7, midnight + 8 * HOUR, midnight + 8 * HOUR + 300)
    assert again.positions == [p for p in rush.positions if p.measured_at < midnight + 8 * HOUR + 300]
    other = simulate(make_plan(seed=7), 8, midnight + 8 * HOUR, midnight + 8 * HOUR + 60)
    assert other.positions[:200] != again.positions[:200]


def test_truth_does_not_depend_on_when_someone_looks(plan: Plan, midnight: float) -> None:
    at = midnight + 7 * HOUR
    stepped = Traffic(plan, 7, midnight + 5 * HOUR)
    while stepped.now < at:
        stepped.advance(stepped.now + 97.3)
        stepped.forget(stepped.now - 60.0)
    assert list(stepped.states(at)) == list(Traffic(plan, 7, at).states(at))


def test_all_buses_are_out_in_the_rush_hour(rush: Recording, plan: Plan, midnight: float) -> None:
    vehicles = {position.vehicle_id for position in rush.positions}
    assert vehicles == {plate(bus) for bus in range(120)}
    in_service = sum(report.truth.in_service for report in rush.reports)
    assert in_service / len(rush.reports) > 0.75
    traffic = Traffic(plan, 7, midnight + 9 * HOUR)
    assert len(traffic.out(midnight + 9 * HOUR)) == sum(1 for _ in traffic.states(midnight + 9 * HOUR)) == 120


def test_reports_come_every_five_to_ten_seconds(rush: Recording) -> None:
    times: dict[int, list[float]] = defaultdict(list)
    for report in rush.reports:
        times[report.vehicle].append(report.measured_at)
    for own in times.values():
        gaps = {b - a for a, b in pairwise(own)}
        assert len(gaps) == 1 and 5 <= gaps.pop() <= 10
    assert len({math.floor(times[bus][0]) for bus in times}) > 5, "spread, not in one burst"


def test_receivers_are_off_by_metres(rush: Recording) -> None:
    errors = sorted(
        math.dist(to_xy(report.lat, report.lon), to_xy(report.truth.lat, report.truth.lon))
        for report in rush.reports
        if report.positioned
    )
    assert 3.0 < errors[len(errors) // 2] < 6.0
    assert errors[int(len(errors) * 0.99)] < 20.0
    assert 30.0 < errors[-1] < 180.0, "a stray fix now and then"
    lost = sum(not report.positioned for report in rush.reports) / len(rush.reports)
    assert 0.0 < lost < 0.01


def test_errors_of_neighbouring_fixes_are_alike(rush: Recording) -> None:
    offsets: dict[int, list[float]] = defaultdict(list)
    for report in rush.reports:
        east = to_xy(report.lat, report.lon)[0] - to_xy(report.truth.lat, report.truth.lon)[0]
        if report.positioned and abs(east) < 20.0:
            offsets[report.vehicle].append(east)
    pairs = [(a, b) for own in offsets.values() for a, b in pairwise(own)]
    variance = mean(a * a for a, _ in pairs)
    assert 0.6 < mean(a * b for a, b in pairs) / variance < 0.98


def test_buses_on_a_trip_are_on_its_shape(rush: Recording) -> None:
    for report in rush.reports:
        truth = report.truth
        if truth.run is None or truth.distance_m is None:
            continue
        foot, bearing = truth.run.pattern.path.locate(truth.distance_m)
        assert math.dist(foot, to_xy(truth.lat, truth.lon)) < 4.1
        assert truth.bearing_deg == bearing
        assert 0.0 <= truth.speed_mps < 17.0


def test_positions_agree_with_passages(plan: Plan, midnight: float) -> None:
    """At its arrival a bus is at the stop, just before it is not; while it dwells it stands."""
    traffic = Traffic(plan, 7, midnight + 8 * HOUR)
    traffic.advance(midnight + 8 * HOUR + 1200)
    stops = {stop.stop_id: stop for stop in plan.city.stops}
    checked = 0
    for passage in traffic.take_passages():
        if passage.departure_at > traffic.now or passage.is_first or passage.is_last:
            continue
        state = traffic.state(passage.vehicle, passage.arrival_at)
        assert state is not None and state.run is not None and state.distance_m is not None
        assert state.run.trip.trip_id == passage.trip_id
        stop_m = state.run.pattern.stop_m[passage.stop_sequence - 1]
        assert state.distance_m == pytest.approx(stop_m, abs=0.2)
        assert math.dist(to_xy(state.lat, state.lon), stops[passage.stop_id].xy) < 14.0
        if passage.departure_at > passage.arrival_at:
            middle = traffic.state(passage.vehicle, (passage.arrival_at + passage.departure_at) / 2)
            assert middle is not None and middle.speed_mps == 0.0
            assert middle.next_pos == passage.stop_sequence - 1
        checked += 1
    assert checked > 600


def test_times_increase_along_every_trip(morning: list[Passage]) -> None:
    complete = 0
    for passages in trips_of(morning).values():
        assert [p.stop_sequence for p in passages] == list(range(1, len(passages) + 1))
        assert passages[0].is_first
        complete += passages[-1].is_last
        for passage in passages:
            assert passage.arrival_at <= passage.departure_at
        for a, b in pairwise(passages):
            assert b.arrival_at > a.departure_at + 15.0
    assert complete > 300


def test_buses_run_near_their_timetable(morning: list[Passage]) -> None:
    late = [passage.arrival_at - passage.scheduled_at for passage in morning if not passage.is_first]
    late.sort()
    assert -150.0 < mean(late) < 90.0
    assert late[len(late) // 20] > -420.0 and late[-len(late) // 20] < 420.0
    start = [passage.departure_at - passage.scheduled_at for passage in morning if passage.is_first]
    assert min(start) > -75.0 and 0.0 < mean(start) < 60.0
    assert 0.01 < sum(value > 60.0 for value in start) / len(start) < 0.15


def test_not_every_bus_halts_everywhere(morning: list[Passage]) -> None:
    halted = mean(passage.departure_at > passage.arrival_at for passage in morning)
    assert 0.6 < halted < 0.97


def test_buses_turn_and_go_on(morning: list[Passage]) -> None:
    own: dict[int, list[Passage]] = defaultdict(list)
    for passage in morning:
        own[passage.vehicle].append(passage)
    for passages in own.values():
        passages.sort(key=lambda p: p.arrival_at)
        for a, b in pairwise(passages):
            assert (a.trip_id, a.start_s) == (b.trip_id, b.start_s) or (a.is_last and b.is_first)


def test_night_and_the_next_service_day(plan: Plan, midnight: float) -> None:
    traffic = Traffic(plan, 7, midnight + 26 * HOUR)
    states = list(traffic.states(traffic.now))
    assert 0 < len(states) <= 4
    assert {state.service_date for state in states} == {"20260302"}
    traffic.forget(traffic.now)
    traffic.advance(midnight + 31 * HOUR)
    assert {state.service_date for state in traffic.states(traffic.now)} == {"20260303"}
    assert len(traffic.out(traffic.now)) == 120


# ---- special days ----------------------------------------------------------------------------------------------------


def passages_with(plan: Plan, midnight: float, scenario: Scenario) -> list[Passage]:
    traffic = Traffic(plan, 7, midnight + 5 * HOUR, scenario=scenario)
    traffic.advance(midnight + 7 * HOUR)
    return traffic.take_passages()


def running_time(passages: list[Passage], prefix: str) -> float:
    return mean(
        trip[-1].arrival_at - trip[0].departure_at
        for (trip_id, _), trip in trips_of(passages).items()
        if trip_id.startswith(prefix) and trip[-1].is_last
    )


def test_a_slow_line(plan: Plan, midnight: float, morning: list[Passage]) -> None:
    early = [p for p in morning if p.scheduled_at < midnight + 7 * HOUR]
    slow = passages_with(plan, midnight, Scenario(slow_lines={"L50": 2.0}))
    assert running_time(slow, "L50") > 1.3 * running_time(early, "L50")
    assert running_time(slow, "L137") == pytest.approx(running_time(early, "L137"), rel=0.2)


def test_everything_an_hour_late(plan: Plan, midnight: float) -> None:
    passages = passages_with(plan, midnight, Scenario(late_s=3600.0))
    start = [p.departure_at - p.scheduled_at for p in passages if p.is_first]
    assert min(start) > 3500.0


def test_skipped_stops_and_silent_buses(plan: Plan, midnight: float, morning: list[Passage]) -> None:
    closed = morning[0].stop_id if not morning[0].is_first else morning[1].stop_id
    middle = {p.stop_id for p in morning if not p.is_first and not p.is_last} - {
        p.stop_id for p in morning if p.is_first or p.is_last
    }
    closed = min(middle)
    passages = passages_with(plan, midnight, Scenario(skipped_stops=frozenset({closed})))
    there = [p for p in passages if p.stop_id == closed]
    assert there and all(p.arrival_at == p.departure_at for p in there)
    quiet = simulate(
        plan,
        7,
        midnight + 7 * HOUR,
        midnight + 7 * HOUR + 30,
        scenario=Scenario(silent_buses=frozenset(range(100))),
    )
    assert {report.vehicle for report in quiet.reports} == set(range(100, 120))


# ---- files -----------------------------------------------------------------------------------------------------------


def test_recorded_files(plan: Plan, midnight: float, tmp_path: Path) -> None:
    start = midnight + 12 * HOUR
    paths = [(tmp_path / f"positions{i}.csv.gz", tmp_path / f"passages{i}.csv.gz") for i in (1, 2)]
    for positions_path, passages_path in paths:
        count = record(plan, 7, start, start + 120, positions_path, passages_path, interval_s=10)
    assert paths[0][0].read_bytes() == paths[1][0].read_bytes()
    assert paths[0][1].read_bytes() == paths[1][1].read_bytes()
    read = list(read_positions(paths[0][0]))
    assert len(read) == count
    positions = [position for position in read if isinstance(position, VehiclePosition)]
    assert len(positions) == count
    simulated = simulate(plan, 7, start, start + 120, interval_s=10).positions
    assert [p.vehicle_id for p in positions] == [p.vehicle_id for p in simulated]
    assert [p.measured_at for p in positions] == [p.measured_at for p in simulated]
    assert [p.hint.trip_id if p.hint else None for p in positions] == [
        p.hint.trip_id if p.hint else None for p in simulated
    ]
    with gzip.open(paths[0][1], "rt", encoding="utf-8") as text:
        passages = list(csv.DictReader(text))
    assert passages and set(passages[0]) >= {"service_date", "trip_id", "stop_sequence", "arrival", "departure"}
