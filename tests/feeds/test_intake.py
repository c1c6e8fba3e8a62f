"""Whose bus it is, whose clock counts, what is history; and what is remembered of devices."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from busd.clock import ManualClock
from busd.feeds.intake import Intake, Roll
from busd.feeds.report import Convert, Reports, date_report, epoch_s
from busd.types import Rejected, VehiclePosition

NOW = 1_795_303_810.0
HOUR = 3600.0


class Line:
    def __init__(self) -> None:
        self.live: list[VehiclePosition] = []
        self.stored: list[VehiclePosition] = []

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        (self.stored if historical else self.live).extend(positions)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.line = Line()
        self.roll = Roll(max_devices=3)
        self.names = {"imei-1": "1207"}
        self.intake = Intake("s", self.line.submit, self.clock, self.names.get, self.roll)

    def send(self, *times: float | None, device: str = "imei-1"):  # type: ignore[no-untyped-def]
        """Reports measured so many seconds before now."""
        now = self.clock.now()
        made = [
            Convert("s", now).report(device, 36.0, 103.0, None if t is None else now - t, label="1207") for t in times
        ]
        positions = [report for report in made if isinstance(report, VehiclePosition)]
        return self.intake.take(Reports(positions, []), "10.0.0.1")


@pytest.fixture
def world() -> World:
    return World()


def test_the_operator_names_the_bus(world: World) -> None:
    world.send(2.0)
    world.send(2.0, device="unknown")
    assert [(p.vehicle_id, p.label) for p in world.line.live] == [("1207", None), ("unknown", "1207")]
    heard = next(iter(world.roll))
    assert (heard.device_id, heard.vehicle_id, heard.address, heard.positions) == ("imei-1", "1207", "10.0.0.1", 1)
    assert (heard.last_fix_at, heard.clock) == (NOW - 2, "device")


def test_stored_fixes_are_history(world: World) -> None:
    taken = world.send(2.0, 900.0, 600.0)
    assert (taken.live, taken.historical) == (1, 2)
    assert [NOW - p.measured_at for p in world.line.stored] == [900.0, 600.0]
    assert [NOW - p.measured_at for p in world.line.live] == [2.0]


@pytest.mark.parametrize("off", [-8 * HOUR, 8 * HOUR, -400 * 86400.0, 1.7e9, -61.0])
def test_an_unusable_clock_gives_the_receivers_time(world: World, off: float) -> None:
    world.send(off)
    (position,) = world.line.live
    assert (position.measured_at, position.clock) == (NOW, "receiver")


def test_eight_hours_old_is_a_stored_fix_once_the_clock_was_right(world: World) -> None:
    world.send(1.0)
    world.clock.advance(10)
    world.send(8 * HOUR)
    assert [p.clock for p in world.line.stored] == ["device"]


def test_a_steady_offset_is_learned(world: World) -> None:
    for _ in range(12):
        world.send(-5 * HOUR)
        world.clock.advance(10)
    assert [p.clock for p in world.line.live][-1] == "corrected"
    assert world.line.live[-1].measured_at == pytest.approx(world.clock.now() - 10, abs=1)
    assert world.line.stored == []


def test_an_older_report_without_a_time_of_its_own_is_rejected(world: World) -> None:
    taken = world.send(8 * HOUR + 5, 8 * HOUR)
    assert (taken.live, taken.historical, taken.rejected) == (1, 0, {"no_time": 1})


def test_rejects_are_counted_by_device_and_without(world: World) -> None:
    rejects = [Rejected(NOW, "s", "not_positioned", "a"), Rejected(NOW, "s", "malformed")] * 2
    assert world.intake.take(Reports([], rejects)).rejected == {"not_positioned": 2, "malformed": 2}
    assert next(iter(world.roll)).rejects == {"not_positioned": 2}
    assert world.roll.nameless == {("s", "malformed"): 2}


def test_the_roll_is_bounded(world: World) -> None:
    for device in "abcab":
        world.send(1.0, device=device)
    world.send(1.0, device="d")
    assert [heard.device_id for heard in world.roll] == ["a", "b", "d"]


def test_what_submit_raises_goes_through() -> None:
    def submit(positions: Sequence[VehiclePosition], historical: bool) -> None:
        raise OSError("disk")

    clock, roll = ManualClock(NOW), Roll()
    intake = Intake("s", submit, clock, lambda _: None, roll)
    good = Convert("s", NOW).report("a", 36.0, 103.0, NOW)
    assert isinstance(good, VehiclePosition)
    with pytest.raises(OSError, match="disk"):
        intake.take(Reports([good], []))
    assert next(iter(roll)).positions == 0


def test_dates() -> None:
    assert date_report(NOW - 299, NOW) == (NOW - 299, "device", False)
    assert date_report(NOW - 301, NOW) == (NOW - 301, "device", True)
    assert date_report(NOW + 59, NOW) == (NOW + 59, "device", False)
    assert date_report(0.0, NOW) == (NOW, "receiver", False)
    assert epoch_s(True) is None
    assert epoch_s("9999-12-31T23:59:59+00:00") is not None
    assert epoch_s("0001-01-01T00:00:00+14:00") is None or epoch_s("0001-01-01T00:00:00+14:00") < 0  # type: ignore[operator]


# ---- with a platform in between --------------------------------------------------------------------------------------


@pytest.fixture
def platform() -> World:
    world = World()
    world.intake = Intake("s", world.line.submit, world.clock, world.names.get, world.roll, direct=False)
    return world


@pytest.mark.parametrize("age_s", [0.0, 250.0, 3600.0, 8 * HOUR, 3 * 86400.0, -50.0])
def test_a_platforms_times_are_taken_as_sent(platform: World, age_s: float) -> None:
    """A bus that has stood for eight hours is no bus of now whose clock is off."""
    platform.send(age_s)
    ((position,), stored) = platform.line.live, platform.line.stored
    assert (position.measured_at, position.clock, stored) == (NOW - age_s, "device", [])


@pytest.mark.parametrize("age_s", [-100.0, -8 * HOUR, -70 * 366 * 86400.0, NOW, NOW - 86400.0])
def test_a_time_that_cannot_be_gives_way(platform: World, age_s: float) -> None:
    platform.send(age_s)
    ((position,), stored) = platform.line.live, platform.line.stored
    assert (position.measured_at, position.clock, stored) == (NOW, "receiver", [])


@pytest.mark.parametrize("offset_s", [8 * HOUR, -8 * HOUR])
def test_a_platforms_own_clock_is_learned_from_all_its_vehicles(platform: World, offset_s: float) -> None:
    """No vehicle reports often enough to say anything about a clock of its own; one of them stands since yesterday, and
    one has a clock that was right before the platform made it wrong."""
    for k in range(12):
        platform.send(offset_s + 3.0, device=f"bus-{k}")
        platform.clock.advance(10.0)
    platform.send(offset_s + 3.0, device="new")
    platform.send(offset_s + 86_400.0, device="stands")
    platform.send(5.0, device="right")
    new, stands, right = platform.line.live[-3:]
    assert (new.clock, new.received_at - new.measured_at) == ("corrected", pytest.approx(0.0, abs=4.0))
    assert (right.clock, right.received_at - right.measured_at) == ("device", 5.0)
    assert stands.clock != "corrected"


def test_one_vehicle_with_a_wrong_clock_is_not_the_platform(platform: World) -> None:
    for _ in range(20):
        platform.send(-6 * HOUR, device="wrong")
        platform.send(2.0, device="right")
        platform.clock.advance(10.0)
    platform.send(8 * HOUR, device="stands")
    clocks = {p.vehicle_id: p.clock for p in platform.line.live}
    assert clocks == {"wrong": "corrected", "right": "device", "stands": "device"}


@pytest.mark.parametrize("offset_s", [8 * HOUR, -8 * HOUR, 86400.0 * 7168, -90.0])
def test_a_platforms_clocks_are_learned(platform: World, offset_s: float) -> None:
    for _ in range(10):
        platform.send(offset_s + 4.0)
        platform.clock.advance(15.0)
    last = platform.line.live[-1]
    assert last.clock == "corrected"
    assert last.received_at - 30.0 < last.measured_at <= last.received_at


def test_a_platforms_delay_is_no_wrong_clock(platform: World) -> None:
    for _ in range(20):
        platform.send(120.0)
        platform.clock.advance(15.0)
    assert {p.clock for p in platform.line.live} == {"device"}


def test_vehicles_without_a_time_have_the_platforms(platform: World) -> None:
    """A GTFS-Realtime producer whose header is eight hours ahead, and whose vehicles say no time of their own."""
    for k in range(12):
        now = platform.clock.now()
        made = Convert("s", now).report(f"bus-{k}", 36.0, 103.0, None)
        assert isinstance(made, VehiclePosition)
        late = msgspec.structs.replace(made, measured_at=now + 8 * HOUR - 3.0)
        platform.intake.take(Reports([late], []))
        platform.clock.advance(10.0)
    assert {p.clock for p in platform.line.live} == {"receiver"}
    assert all(p.received_at - 5.0 < p.measured_at <= p.received_at for p in platform.line.live)
