"""The city that stands still: the map, the timetable, the feed."""

from __future__ import annotations

import csv
import io
import math
import zipfile
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gtfs
from replay.city import streets
from replay.city.feed import choose_timezone, feed_bytes, write_feed
from replay.city.names import PLACES
from replay.city.plan import Service, Shape, line_text
from replay.city.timetable import Plan, make_plan

HOUR = 3600


def lines_of(plan: Plan, shape: Shape) -> list[Any]:
    return [pattern for pattern in plan.city.patterns if pattern.line.shape is shape]


def rows(data: bytes, name: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return list(csv.DictReader(io.StringIO(archive.read(name).decode())))


# ---- the map ---------------------------------------------------------------------------------------------------------


def test_places_are_in_the_valley_and_named() -> None:
    assert len({place.key for place in PLACES}) == len({place.zh for place in PLACES}) == len(PLACES) > 110
    for place in PLACES:
        assert 103.60 <= place.lon <= 103.93 and 36.03 <= place.lat <= 36.13
        assert place.zh and place.en
        assert all("\u0f00" <= c <= "\u0fff" for c in place.bo)
    assert 15 <= sum(bool(place.bo) for place in PLACES) <= 25


def test_only_bridges_cross_the_river() -> None:
    at = streets.nodes()

    def side(key: str) -> bool:
        lat, lon = streets.to_lat_lon(at[key])
        return lat > streets.river_lat(lon)

    for chain in streets.STREETS:
        assert len({side(key) for key in chain.split()}) == 1, chain
    for name, chain in streets.BRIDGES.items():
        sides = [side(key) for key in chain.split()]
        assert sum(a != b for a, b in pairwise(sides)) == 1, name


def test_lines_and_stops(plan: Plan) -> None:
    city = plan.city
    assert len(city.lines) >= 12 and len(city.stops) >= 200
    assert len({line.color for line in city.lines}) == len(city.lines)
    assert {pattern.line for pattern in city.patterns} == set(city.lines)
    assert len({stop.stop_id for stop in city.stops}) == len(city.stops)
    crossing = [p for p in city.patterns if any("," in node for node in p.nodes)]
    assert len({p.line for p in crossing}) >= 5, "lines over the bridges"


def test_directions_stop_on_their_own_side(plan: Plan) -> None:
    for line in plan.city.lines:
        if line.shape is Shape.BOTH_WAYS:
            there, back = plan.city.patterns_of(line)
            assert not {stop.stop_id for stop in there.stops} & {stop.stop_id for stop in back.stops}
            assert [s.place for s in there.stops] == [s.place for s in reversed(back.stops)]


def test_stops_lie_at_the_kerb_of_their_shape_in_order(plan: Plan) -> None:
    for pattern in plan.city.patterns:
        assert pattern.stop_m[0] == 0.0 and pattern.stop_m[-1] == pytest.approx(pattern.path.length_m)
        for a, b in pairwise(pattern.stop_m):
            assert 300.0 < b - a < 3500.0
        for stop, metres in zip(pattern.stops, pattern.stop_m, strict=True):
            foot, _ = pattern.path.locate(metres)
            assert math.dist(foot, stop.xy) == pytest.approx(9.0, abs=0.1), (pattern.pattern_id, stop.stop_id)


def test_the_loop_ends_at_the_stop_where_it_starts(plan: Plan) -> None:
    (loop,) = lines_of(plan, Shape.LOOP)
    assert loop.stops[0] is loop.stops[-1]
    assert len({stop.stop_id for stop in loop.stops}) == len(loop.stops) - 1
    assert math.dist(loop.path.points[0], loop.path.points[-1]) < 1.0


def test_out_and_back_runs_over_the_same_street_twice(plan: Plan) -> None:
    (line,) = lines_of(plan, Shape.OUT_AND_BACK)
    assert line.nodes == line.nodes[::-1]
    half = line.path.length_m / 2
    for metres in range(200, int(half) - 200, 100):
        out, _ = line.path.locate(float(metres))
        back, _ = line.path.locate(line.path.length_m - metres)
        assert math.dist(out, back) < 5.0
    assert line.stops[0].place == line.stops[-1].place
    assert line.stops[0] is not line.stops[-1], "the other side of the street"


# ---- the timetable ---------------------------------------------------------------------------------------------------


def out_at(plan: Plan, hour: float) -> int:
    at = hour * HOUR
    return sum(duty.runs[0].departure_s(0) <= at <= duty.runs[-1].arrival_s(-1) for duty in plan.duties)


def test_the_whole_fleet_is_out_all_day(plan: Plan) -> None:
    for quarter in range(int(6.5 * 4), 20 * 4):
        assert out_at(plan, quarter / 4) == 120
    assert all(0 < out_at(plan, hour) <= 4 for hour in (24, 25, 26, 27)), "the night line"


def test_duties_chain_without_overlap(plan: Plan) -> None:
    assert {duty.bus for duty in plan.duties} == set(range(120))
    for duty in plan.duties:
        for run, following in pairwise(duty.runs):
            assert following.departure_s(0) - run.arrival_s(-1) >= 300
            assert run.pattern.stops[-1].place == following.pattern.stops[0].place
    by_bus: dict[int, list[tuple[int, int]]] = {}
    for duty in plan.duties:
        by_bus.setdefault(duty.bus, []).append((duty.runs[0].departure_s(0), duty.runs[-1].arrival_s(-1)))
    for spans in by_bus.values():
        for (_, end), (start, _) in pairwise(sorted(spans)):
            assert start > end + 600


def test_blocks_are_the_duties_of_timetabled_lines(plan: Plan) -> None:
    for duty in plan.duties:
        blocks = {run.trip.block_id for run in duty.runs}
        if duty.line.service in (Service.HEADWAY, Service.EXACT):
            assert blocks == {""}
            assert all(run.start_s is not None for run in duty.runs)
        else:
            assert len(blocks) == 1 and "" not in blocks


def test_every_run_of_a_frequency_has_a_bus(plan: Plan) -> None:
    promised = {
        (frequency.trip.trip_id, start)
        for frequency in plan.frequencies
        for start in range(frequency.start_s, frequency.end_s, frequency.headway_s)
    }
    driven = [(run.trip.trip_id, run.start_s) for duty in plan.duties for run in duty.runs if run.start_s is not None]
    assert len(driven) == len(set(driven)) and set(driven) == promised
    assert {frequency.exact for frequency in plan.frequencies} == {True, False}


def test_the_rush_hour_takes_longer(plan: Plan) -> None:
    line = plan.city.lines[0]
    duration = {
        hour: [
            trip.arrivals[-1] - trip.departures[0]
            for trip in plan.trips
            if trip.pattern.line is line and trip.pattern.direction == 0 and trip.departures[0] // HOUR == hour
        ]
        for hour in (7, 13)
    }
    assert min(duration[7]) > max(duration[13]) * 1.1


@pytest.mark.parametrize("buses", [26, 40, 250])
def test_other_fleets(buses: int) -> None:
    small = make_plan(buses=buses)
    assert {duty.bus for duty in small.duties} == set(range(buses))


def test_a_fleet_that_is_too_small() -> None:
    with pytest.raises(ValueError, match="at least 26 buses"):
        make_plan(buses=25)


# ---- the feed --------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(plan: Plan) -> None:
    assert feed_bytes(plan) == feed_bytes(make_plan(seed=7))
    moved = feed_bytes(plan, "Etc/GMT+5")
    assert {row["agency_timezone"] for row in rows(moved, "agency.txt")} == {"Etc/GMT+5"}
    assert rows(moved, "stop_times.txt") == rows(feed_bytes(plan), "stop_times.txt")


@pytest.fixture(scope="module")
def compiled(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("feed") / "city.zip"
    write_feed(plan, path)
    return gtfs.compile_feed(path)


def test_the_feed_compiles_without_errors(plan: Plan, compiled: Any) -> None:
    network, findings = compiled
    assert [str(finding) for finding in findings if finding.severity != "info"] == []
    assert len(network.stop_id) == len(plan.city.stops)
    assert len(network.trip_id) == len(plan.trips)
    assert len(network.pattern_route) >= len(plan.city.patterns)
    station = network.find_stop(next(s.stop_id for s in plan.city.stops if s.place == "railway"))
    assert station is not None
    assert network.stop_text(station) == {
        "zh-Hans": "火车站",
        "en": "Railway Station",
        "bo": "མེ་འཁོར་འབབ་ཚུགས།",
    }
    route = network.find_route("L50")
    assert route is not None and network.route_text(route)["en"] == line_text(plan.city.lines[6])["en"]
    headsigns = [network.headsign_text(i) for i in range(len(network.headsign))]
    assert all("en" in text for text in headsigns)


def test_compiled_stops_are_where_the_plan_has_them(plan: Plan, compiled: Any) -> None:
    """Loop and out-and-back: the importer must find each stop on the right pass."""
    network, _ = compiled
    for pattern in plan.city.patterns:
        trip = next(trip for trip in plan.trips if trip.pattern is pattern)
        trip_idx = network.find_trip(trip.trip_id)
        assert trip_idx is not None
        row = int(network.trip_pattern[trip_idx])
        first, last = int(network.pattern_stop_offset[row]), int(network.pattern_stop_offset[row + 1])
        found = [float(metres) for metres in network.pattern_stop_m[first:last]]
        assert found == pytest.approx(list(pattern.stop_m), abs=3.0), pattern.pattern_id


@given(st.floats(1.7e9, 2.0e9))
def test_the_demo_always_shows_a_working_day(now: float) -> None:
    timezone = choose_timezone(now)
    local = datetime.fromtimestamp(now, ZoneInfo(timezone))
    if timezone == "Asia/Shanghai":
        assert 6.5 <= local.hour + local.minute / 60 < 20
    else:
        assert 7.45 <= local.hour + local.minute / 60 <= 8.55
        shanghai = datetime.fromtimestamp(now, ZoneInfo("Asia/Shanghai"))
        assert not 6.5 <= shanghai.hour + shanghai.minute / 60 < 20
