"""Detours that several buses share: found, narrowed down, confirmed, ended; and what must not become one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from busd.engine import Engine, grid
from busd.types import (
    NetworkLoaded,
    OperatorCommand,
    PositionReceived,
    Started,
    StopVisited,
    Tick,
    TripHint,
    VehicleEvent,
    VehiclePosition,
)
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import frame_of_map, network_from_map

MAP = "A--------B--------C--------D--------E--------F"
SPEED = 6.0
EIGHT = service_day_start(dt.date(2026, 3, 2).toordinal(), "Asia/Shanghai") + 8 * 3600
HEADWAY = 600


def city() -> Network:
    return network_from_map(MAP, {"1": "ABCDEF"}, speed_mps=SPEED, trips=12, headway_s=HEADWAY, shapes={"1": "ABCDEF"})


def drive(trip: int, vehicle: str, off_m: float = 0.0, every_s: float = 30.0) -> Iterator[VehiclePosition]:
    """A bus on a trip, between 1400 and 3200 m along ``off_m`` beside its street: stops C and D are missed."""
    frame = frame_of_map(MAP)
    # buses do not report in step
    at = EIGHT + trip * HEADWAY + (trip * 7) % 20
    while (x := (at - EIGHT - trip * HEADWAY) * SPEED) <= 4500:
        lat, lon = frame.xy(x, off_m if 1400 <= x <= 3200 else 0.0)
        yield VehiclePosition("t", vehicle, lat, lon, at, at, speed_mps=SPEED, hint=TripHint(trip_id=f"1-{trip}"))
        at += every_s


class Street:
    """An engine and what it has told."""

    def __init__(self) -> None:
        self.network = city()
        self.engine = Engine(lambda digest: self.network, boards=False)
        self.engine.apply(Started(EIGHT - 600, "t"))
        self.engine.apply(NetworkLoaded(EIGHT - 600, self.network.digest))
        self.events: list[VehicleEvent] = []
        self.visits: list[StopVisited] = []

    def send(self, *buses: Iterator[VehiclePosition]) -> None:
        for fix in sorted((fix for bus in buses for fix in bus), key=lambda fix: fix.received_at):
            for entry in (PositionReceived(fix.received_at, fix), Tick(grid(fix.received_at))):
                for output in self.engine.apply(entry):
                    if isinstance(output, VehicleEvent):
                        self.events.append(output)
                    elif isinstance(output, StopVisited):
                        self.visits.append(output)

    def kinds(self, vehicle: str) -> list[str]:
        return [str(e.kind) for e in self.events if e.vehicle_id == vehicle]


def test_one_bus_alone_is_its_own_affair() -> None:
    street = Street()
    street.send(drive(0, "a", 200))
    assert street.kinds("a").count("off route") == street.kinds("a").count("back on route") == 1
    assert street.engine.detours() == []


def test_two_buses_make_a_finding_with_its_way_and_the_stops_it_misses() -> None:
    street = Street()
    street.send(drive(0, "a", 200), drive(1, "b", 210), drive(2, "c", 190))
    (found,) = street.engine.detours()
    assert found["status"] == "found"
    assert found["line"] == "1"
    assert [stop["stop_id"] for stop in found["stops_missed"]] == ["C", "D"]
    assert found["vehicles"] == ["a", "b", "c"]
    assert found["passes"] == 3
    assert found["leaves"]["distance_m"] == pytest.approx(1400, abs=100)
    assert found["rejoins"]["distance_m"] == pytest.approx(3200, abs=100)
    frame = street.network.frame
    middle = frame.xy(*found["path"][len(found["path"]) // 2])
    on_street = frame.xy(*frame_of_map(MAP).xy(0, 0))
    assert middle[1] - on_street[1] == pytest.approx(200, abs=15)
    assert found["since"] < EIGHT + HEADWAY
    assert street.kinds("") == ["detour found"]


def test_every_pass_narrows_the_places_down() -> None:
    street = Street()
    street.send(drive(0, "a", 200), drive(1, "b", 200))
    wide = street.engine.detours()[0]["leaves"]["within_m"]
    street.send(*(drive(trip, f"x{trip}", 200) for trip in range(2, 6)))
    assert street.engine.detours()[0]["leaves"]["within_m"] < wide


def test_stops_of_the_detour_are_not_visited_and_the_trip_is_kept() -> None:
    street = Street()
    street.send(drive(0, "a", 200))
    assert [v.visit.stop_pos for v in street.visits] == [0, 1, 4, 5]
    assert street.kinds("a").count("assigned") == 1
    assert "no match" not in street.kinds("a")


def test_it_ends_by_itself_when_buses_drive_the_route_again() -> None:
    street = Street()
    street.send(drive(0, "a", 200), drive(1, "b", 200))
    street.send(drive(3, "c"))
    assert [d["status"] for d in street.engine.detours()] == ["found"]
    street.send(drive(4, "d"))
    assert [d["status"] for d in street.engine.detours()] == ["ended"]
    assert street.kinds("") == ["detour found", "detour ended"]


def test_buses_that_leave_at_different_places_share_no_detour() -> None:
    street = Street()

    def early(trip: int, vehicle: str) -> Iterator[VehiclePosition]:
        for fix in drive(trip, vehicle):
            x = (fix.measured_at - EIGHT - trip * HEADWAY) * SPEED
            lat, lon = frame_of_map(MAP).xy(x, 150 if 400 <= x <= 1000 else 0)
            yield VehiclePosition("t", vehicle, lat, lon, fix.measured_at, fix.received_at, hint=fix.hint)

    street.send(drive(0, "a", 200), early(1, "b"))
    assert street.engine.detours() == []


def test_a_dispatcher_confirms_or_dismisses() -> None:
    street = Street()
    street.send(drive(0, "a", 200), drive(1, "b", 200))
    number = street.engine.detours()[0]["id"]
    street.engine.apply(OperatorCommand(EIGHT + 4000, "detour", {"id": number, "verdict": "confirm"}, "li"))
    assert (street.engine.detours()[0]["status"], street.engine.detours()[0]["decided_by"]) == ("confirmed", "li")
    for bad in ({"id": 99, "verdict": "confirm"}, {"id": number, "verdict": "maybe"}, {"id": "x"}, {}):
        street.engine.apply(OperatorCommand(EIGHT + 4001, "detour", bad, "li"))
    assert street.engine.detours()[0]["status"] == "confirmed"


def test_a_restored_engine_goes_on_with_the_same_detours() -> None:
    street = Street()
    street.send(drive(0, "a", 200), (fix for fix in drive(1, "b", 200) if fix.measured_at < EIGHT + HEADWAY + 400))
    again = Street()
    again.engine = Engine.restore(street.engine.snapshot(), lambda digest: street.network)
    rest = [fix for fix in drive(1, "b", 200) if fix.measured_at >= EIGHT + HEADWAY + 400]
    street.send(iter(rest))
    again.send(iter(rest))
    assert again.engine.detours() == street.engine.detours() != []
    assert again.engine.explain("b") == street.engine.explain("b")


def test_memory_is_bounded() -> None:
    street = Street()
    book = street.engine.tracker.detours
    from busd.track.off_route import Excursion

    for i in range(500):
        gone = Excursion(0, 10.0 * i, 0.0, 0.0, 0.0, 0.0, 0.0, trail=[(10.0 * i + 50, 300.0)])
        book.add(f"v{i}", 0, gone, 10.0 * i + 110 + 7 * i, float(i))
    assert len(book.dump()["all"]) <= street.engine.parameters.detours.held
