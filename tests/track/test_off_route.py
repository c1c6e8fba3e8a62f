"""Off route: the rules one by one on drawn maps, and the figures on detours cut into recorded trips."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pytest

from busd.bench.detours import Cut, cut_detour, trips_of
from busd.bench.off_route import Tally, follow, load_set, measure
from busd.track.off_route import OffRouteWatch, Sighting, Verdict
from busd.tracking_parameters import OffRoute
from busd.types import TripHint, VehicleEvent, VehiclePosition
from gtfs.calendar import service_day_start
from gtfs.testing import frame_of_map, network_from_map

DATA = Path(__file__).parents[3] / "shared" / "data"
MAP = "A--------B--------C--------D--------E"
START = service_day_start(dt.date(2026, 3, 2).toordinal(), "Asia/Shanghai")


def see(
    watch: OffRouteWatch, at: float, x: float, offset: float, along: float | None = None, remaining: float = 5000.0
) -> Verdict:
    """A fix at ``x`` metres along a straight street, ``offset`` beside it."""
    place = math.nan if along is None else along
    return watch.see(0, 7, Sighting(at, x, offset, offset, place), (1000.0, 0.0), remaining)


def test_one_fix_beside_the_street_is_noise() -> None:
    watch = OffRouteWatch(OffRoute())
    assert see(watch, 10, 1100, 55, 1100) is Verdict.ON
    assert see(watch, 20, 1200, 5, 1200) is Verdict.ON
    assert not watch.watches(0)


def test_three_fixes_and_a_way_between_them_are_a_diversion() -> None:
    watch = OffRouteWatch(OffRoute())
    assert [see(watch, 10 * i, 1000 + 80 * i, 90) for i in range(1, 4)] == [Verdict.HELD, Verdict.HELD, Verdict.LEFT]


def test_a_receiver_that_wanders_while_the_bus_stands_is_not() -> None:
    watch = OffRouteWatch(OffRoute())
    wander = [(1000 + 8 * math.sin(i), 45 + 6 * math.cos(i)) for i in range(120)]
    assert {see(watch, i, x, off, 1000) for i, (x, off) in enumerate(wander)} == {Verdict.ON}


def test_after_a_long_silence_one_fix_decides() -> None:
    watch = OffRouteWatch(OffRoute())
    assert see(watch, 120, 1900, 90) is Verdict.LEFT


def test_a_suspect_that_falls_silent_is_off_before_ninety_seconds_are_over() -> None:
    watch = OffRouteWatch(OffRoute())
    assert see(watch, 30, 1300, 90) is Verdict.HELD
    due = watch.next_deadline()
    assert 30 < due <= 30 + 90
    assert watch.wait(due - 1) == []
    assert watch.wait(due) == [0]
    assert watch.is_off(0)
    assert watch.next_deadline() == math.inf


def test_one_fix_very_far_is_enough_only_if_a_bus_can_be_there() -> None:
    assert see(OffRouteWatch(OffRoute()), 30, 1300, 400) is Verdict.LEFT
    assert see(OffRouteWatch(OffRoute()), 5, 1300, 1900) is Verdict.HELD


def test_what_leaves_the_shape_at_a_terminal_is_not_off_route() -> None:
    watch = OffRouteWatch(OffRoute())
    assert {see(watch, 10 * i, 1000 + 90 * i, 60 + 40 * i, remaining=0.0) for i in range(20)} == {Verdict.HELD}


def test_back_needs_two_fixes_that_agree_with_the_way_driven() -> None:
    watch = OffRouteWatch(OffRoute())
    for i in range(1, 4):
        see(watch, 10 * i, 1000 + 90 * i, 150)
    assert watch.is_off(0)
    # the diversion crosses its own route somewhere else: near, but not where it would drive along it
    assert see(watch, 40, 1400, 10, 3000) is Verdict.HELD
    assert see(watch, 50, 1400, 110) is Verdict.HELD
    assert see(watch, 60, 1500, 8, 1500) is Verdict.HELD
    assert see(watch, 70, 1600, 8, 1600) is Verdict.BACK


def test_between_near_and_far_nothing_changes() -> None:
    watch = OffRouteWatch(OffRoute())
    for i in range(1, 4):
        see(watch, 10 * i, 1000 + 90 * i, 60, 1000 + 90 * i)
    noise = np.random.default_rng(1)
    seen = [see(watch, 30 + 10 * i, 1270 + 90 * i, 50 + noise.uniform(-18, 18), 1270 + 90 * i) for i in range(1, 100)]
    assert Verdict.BACK not in seen
    assert Verdict.LEFT not in seen


def test_the_state_survives_a_snapshot() -> None:
    watch = OffRouteWatch(OffRoute())
    see(watch, 10, 1100, 90)
    see(watch, 20, 1180, 90)
    again = OffRouteWatch(OffRoute())
    again.load(watch.dump())
    assert again.dump() == watch.dump()
    assert see(again, 30, 1260, 90) is see(watch, 30, 1260, 90) is Verdict.LEFT


# ---- with the engine ----------------------------------------------------------------------------------------------------


def driven(shift_m: float, every_s: float, side: str = "middle") -> list[VehiclePosition]:
    """A bus on trip 1-0 of the map, ``shift_m`` beside its street from 1 km on for 1 km (or from the last stop on)."""
    frame, fixes = frame_of_map(MAP), []
    for i in range(int(900 / every_s)):
        at = START + 8 * 3600 + i * every_s
        x = min(i * every_s * 5.0, 3600.0) if side == "middle" else i * every_s * 5.0
        off = shift_m if (1000 < x < 2000 if side == "middle" else x > 3600) else 0.0
        lat, lon = frame.xy(x, off)
        fixes.append(VehiclePosition("t", "b", lat, lon, at, at, hint=TripHint(trip_id="1-0")))
    return fixes


@pytest.mark.parametrize("every_s", [1.0, 10.0, 30.0, 60.0, 120.0])
@pytest.mark.parametrize("shift_m", [-350.0, -80.0, 65.0, 250.0])
def test_however_often_a_bus_reports(every_s: float, shift_m: float) -> None:
    network = network_from_map(MAP, {"1": "ABCDE"}, speed_mps=5, trips=1, shapes={"1": "ABCDE"})
    events = [e for e in follow(network, driven(shift_m, every_s)) if e.kind in ("off route", "back on route")]
    assert [str(e.kind) for e in events] == ["off route", "back on route"]
    left, back = START + 8 * 3600 + 200, START + 8 * 3600 + 400
    assert events[0].at - left <= 90 + every_s
    assert events[1].at - back <= 120 + every_s


def test_a_bus_that_goes_home_from_its_last_stop_is_not_off_route() -> None:
    network = network_from_map(MAP, {"1": "ABCDE"}, speed_mps=5, trips=1, shapes={"1": "ABCDE"})
    kinds = {str(e.kind) for e in follow(network, driven(300.0, 30.0, "end"))}
    assert "off route" not in kinds


# ---- recorded trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nyc-b63", "wmata-2026-02-16", "capmetro-2015"])
def test_detours_in_recorded_trips_are_seen_in_time(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no {DATA / name}: recorded days are not part of the repository")
    network, trips = load_set(DATA / name, tmp_path_factory.getbasetemp() / "gtfs")
    for noise in (0.0, 10.0):
        result = measure(network, trips[:400], 12, noise, seed=7).result()
        # a detour of 45 m can drown in noise, a clean one cannot
        assert result["recall"] >= (0.9 if noise else 1.0), result
        assert result["flaps"] == 0, result
        assert result["lost_trip"] == 0, result
        assert result["left_within_90_s"] >= 0.91, result  # of twelve
        assert result["back_within_120_s"] >= 0.91, result


def test_a_bus_that_was_off_its_route_before_is_not_counted() -> None:
    cut = Cut("bus", "1-0", 100.0, 500.0, 900.0, 3, 6, 1000.0, 1100.0, ())
    off, back = (VehicleEvent(at, "bus", kind) for at, kind in ((900.0, "off route"), (950.0, "back on route")))
    tally = Tally()
    tally.add(cut, [off])
    assert (tally.detours, tally.off_before) == (0, 1)
    tally.add(cut, [off, back])
    assert (tally.detours, tally.off_before, len(tally.missed)) == (1, 1, 1)


def test_a_cut_is_true_to_what_it_says() -> None:
    network = network_from_map(MAP, {"1": "ABCDE"}, speed_mps=5, trips=1, shapes={"1": "ABCDE"})
    (trip,) = trips_of(network, driven(0.0, 30.0)[:24])
    cut = cut_detour(network, trip, 120.0, np.random.default_rng(3))
    assert cut is not None
    x, y = network.frame.xy_array(np.array([f.lat for f in cut.fixes]), np.array([f.lon for f in cut.fixes]))
    moved = np.flatnonzero(np.hypot(x - trip.x, y - trip.y) > 1.0)
    assert moved.tolist() == list(range(cut.first, cut.last + 1))
    assert np.hypot(x - trip.x, y - trip.y)[moved] == pytest.approx(120.0, abs=0.5)
    assert trip.fixes[cut.first - 1].measured_at < cut.left_at < cut.back_at
