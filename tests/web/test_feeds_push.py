"""The doors for sources that post and for operators: real HTTP, good and bad senders."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import PushConfig
from busd.feeds.intake import Roll
from busd.registry import DeviceRegistry
from busd.signs.frames import FrameCache
from busd.types import VehiclePosition
from busd.web import WebServices, create_app
from busd.web.admin import DeviceDoor
from busd.web.push import PushDoor
from gtfs.network import Network

NOW = 1_795_303_810.0
TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
GOOD = {"id": "356", "lat": 36.061, "lon": 103.834, "time": NOW - 3}
QUERY = f"id=356&lat=36.061&lon=103.834&timestamp={int(NOW) - 3}&speed=10"
SOURCES = (
    PushConfig(name="j", token=TOKEN, max_bytes=2000),
    PushConfig(name="t", type="traccar", token=TOKEN),
    PushConfig(name="o", type="osmand", token=TOKEN, datum="gcj02"),
    PushConfig(name="here", type="json"),
)


class Connected(msgspec.Struct, frozen=True):
    phone: str
    connected_at: float
    rejects: dict[str, int]
    ack_s: float


class House:
    def __init__(self, tmp_path: Path) -> None:
        self.clock = ManualClock(NOW)
        self.registry = DeviceRegistry(tmp_path / "registry.sqlite")
        self.roll = Roll()
        self.got: list[tuple[bool, VehiclePosition]] = []
        self.fails = False
        self.connected: list[Connected] = []

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        if self.fails:
            raise RuntimeError("disk")
        self.got += [(historical, position) for position in positions]

    def app(self, network: Network, admin_token: str = ""):  # type: ignore[no-untyped-def]
        bus = BoardBus(network)
        devices = DeviceDoor(self.registry, self.roll, self.clock, admin_token, lambda: self.connected)
        push = PushDoor(SOURCES, self.submit, self.clock, self.registry.find_vehicle, self.roll)
        return create_app(WebServices(bus, FrameCache(bus), self.clock, push=push, devices=devices))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
async def door(house: House, network: Network) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(house.app(network))) as client:
        yield client


@pytest.fixture
async def locked(house: House, network: Network) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(house.app(network, TOKEN))) as client:
        yield client


# ---- sources ---------------------------------------------------------------------------------------------------------


async def test_json(door: TestClient[Any, Any], house: House) -> None:
    house.registry.set_alias("id", "356", "1207")
    answer = await door.post("/feeds/j", json=[GOOD, {**GOOD, "time": NOW - 900}, {**GOOD, "lat": 91}], headers=BEARER)
    assert answer.status == 200
    assert await answer.json() == {"positions": 2, "historical": 1, "rejected": {"out_of_range": 1}}
    assert [(historical, p.vehicle_id, NOW - p.measured_at) for historical, p in house.got] == [
        (True, "1207", 900.0),
        (False, "1207", 3.0),
    ]
    assert {p.source for _, p in house.got} == {"j"}


@pytest.mark.parametrize("name", ["t", "o"])
@pytest.mark.parametrize("how", ["get", "post-query", "form", "token-in-query"])
async def test_queries(door: TestClient[Any, Any], house: House, name: str, how: str) -> None:
    match how:
        case "get":
            answer = await door.get(f"/feeds/{name}?{QUERY}", headers=BEARER)
        case "post-query":
            answer = await door.post(f"/feeds/{name}?{QUERY}", headers=BEARER)
        case "form":
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = await door.post(f"/feeds/{name}", data=QUERY, headers=BEARER | form)
        case _:
            answer = await door.get(f"/feeds/{name}?token={TOKEN}&{QUERY}")
    assert answer.status == 200
    ((historical, position),) = house.got
    assert (historical, position.vehicle_id, position.speed_mps) == (False, "356", pytest.approx(5.14444, abs=1e-4))
    assert (abs(position.lon - 103.834) > 1e-4) == (name == "o"), "the datum of the source"


async def test_traccar_json(door: TestClient[Any, Any], house: House) -> None:
    body = {
        "position": {"latitude": 36.0, "longitude": 103.0, "speed": 10, "valid": True},
        "device": {"uniqueId": "356"},
    }
    assert (await door.post("/feeds/t", json=body, headers=BEARER)).status == 200
    assert house.got[0][1].vehicle_id == "356"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 1500, b"\xff\xfe", b"[{}]", json.dumps({**GOOD, "id": ""}).encode()]
)
async def test_what_no_repetition_mends_is_a_400(door: TestClient[Any, Any], house: House, body: bytes) -> None:
    answer = await door.post("/feeds/j", data=body, headers=BEARER)
    assert answer.status == 400
    assert (await answer.json())["error"] in ("unreadable", "malformed")
    assert house.got == []


async def test_an_unusable_fix_is_taken_off_the_trackers_hands(door: TestClient[Any, Any], house: House) -> None:
    answer = await door.get("/feeds/t?id=356&lat=0&lon=0", headers=BEARER)
    assert (answer.status, await answer.json()) == (
        200,
        {"positions": 0, "historical": 0, "rejected": {"zero_island": 1}},
    )
    assert next(iter(house.roll)).rejects == {"zero_island": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer ü"},
    ],
)
async def test_wrong_tokens(door: TestClient[Any, Any], house: House, headers: dict[str, str]) -> None:
    answer = await door.post("/feeds/j", json=GOOD, headers=headers)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await door.post(f"/feeds/j?token={TOKEN}", json=GOOD)).status == 401, "json has headers"
    assert house.got == []


async def test_a_source_without_a_token_is_for_this_machine(door: TestClient[Any, Any], house: House) -> None:
    assert (await door.post("/feeds/here", json=GOOD)).status == 200
    for headers in (
        {"X-Forwarded-For": "1.2.3.4"},
        {"Forwarded": "for=1.2.3.4"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ):
        assert (await door.post("/feeds/here", json=GOOD, headers=headers)).status == 401
    assert len(house.got) == 1


async def test_large_bodies_also_packed_ones(door: TestClient[Any, Any], house: House) -> None:
    assert (await door.post("/feeds/j", data=b" " * 2001, headers=BEARER)).status == 413

    async def drip():  # type: ignore[no-untyped-def]
        for _ in range(300):
            yield b" " * 10

    assert (await door.post("/feeds/j", data=drip(), headers=BEARER)).status == 413
    packed = gzip.compress(b" " * 1_500_000)
    assert len(packed) < 2000
    assert (await door.post("/feeds/j", data=packed, headers=BEARER | {"Content-Encoding": "gzip"})).status == 413
    good = gzip.compress(json.dumps(GOOD).encode())
    assert (await door.post("/feeds/j", data=good, headers=BEARER | {"Content-Encoding": "gzip"})).status == 200
    answer = await door.post("/feeds/j", data=b"no gzip", headers=BEARER | {"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert len(house.got) == 1


async def test_other_methods_and_names(door: TestClient[Any, Any]) -> None:
    assert (await door.get("/feeds/j", headers=BEARER)).status == 405
    assert (await door.get("/feeds/t", headers=BEARER)).status == 405
    assert (await door.put("/feeds/t", headers=BEARER)).status == 405
    assert (await door.post("/feeds/nobody", headers=BEARER)).status == 404


async def test_no_200_before_the_journal_has_it(door: TestClient[Any, Any], house: House) -> None:
    house.fails = True
    assert (await door.post("/feeds/j", json=GOOD, headers=BEARER)).status == 500
    house.fails = False
    assert (await door.post("/feeds/j", json=GOOD, headers=BEARER)).status == 200


async def test_many_at_once(door: TestClient[Any, Any], house: House) -> None:
    answers = await asyncio.gather(
        *(door.post("/feeds/j", json={**GOOD, "id": str(k)}, headers=BEARER) for k in range(100))
    )
    assert {answer.status for answer in answers} == {200}
    assert len({position.vehicle_id for _, position in house.got}) == 100


# ---- devices ---------------------------------------------------------------------------------------------------------


async def test_the_list_of_devices(door: TestClient[Any, Any], house: House) -> None:
    house.registry.enrol("13912345678", b"code", NOW - 100, "甘A1")
    gone = house.registry.enrol("13900000009", b"code", NOW - 100, "甘A9")
    assert gone is not None
    gone.live_at = NOW - 50
    house.connected = [Connected("13912345678", NOW - 60, {"not_positioned": 2}, 0.003), Connected("999", NOW, {}, 0.0)]
    await door.post("/feeds/j", json=GOOD, headers=BEARER)
    await door.post("/feeds/j", json={"lat": 1}, headers=BEARER)
    answer = await (await door.get("/v1/admin/devices")).json()
    rows = {row["device_id"]: row for row in answer["devices"]}
    assert rows["13912345678"]["vehicle_id"] == "甘A1"
    assert (rows["13912345678"]["connected"], rows["13912345678"]["connected_at"]) == (True, NOW - 60)
    assert (rows["13912345678"]["rejects"], rows["13912345678"]["ack_s"]) == ({"not_positioned": 2}, 0.003)
    assert rows["999"]["connected"] is True
    assert (rows["13900000009"]["connected"], rows["13900000009"]["last_fix_at"]) == (False, NOW - 50)
    assert (rows["356"]["source"], rows["356"]["last_fix_at"], rows["356"]["positions"]) == ("j", NOW - 3, 1)
    assert answer["sources"] == [{"source": "j", "rejects": {"malformed": 1}}]
    assert "code_hash" not in json.dumps(answer)


async def test_entering_and_removing(door: TestClient[Any, Any], house: House, tmp_path: Path) -> None:
    answer = await door.post(
        "/v1/admin/devices", data=b"phone,vehicle_id\n139,1\nx y,2\n", headers={"Content-Type": "text/csv"}
    )
    assert await answer.json() == {"added": 1, "changed": 0, "problems": [[3, "'x y' is no phone: 1 to 20 digits"]]}
    entries = [{"plate": "甘A1", "vehicle_id": "3"}, {"imei": "1", "vehicle_id": "4"}]
    answer = await door.post("/v1/admin/devices", json=entries)
    assert await answer.json() == {"added": 1, "changed": 0, "problems": [[2, "'1' is no IMEI: 14 to 17 digits"]]}
    assert (house.registry.find_vehicle("139"), house.registry.find_vehicle("甘A1")) == ("1", "3")
    again = DeviceRegistry(tmp_path / "registry.sqlite")
    assert (again.find_vehicle("139"), again.find_vehicle("甘A1")) == ("1", "3"), "on the disk at once"
    again.close()
    assert (await door.delete("/v1/admin/devices/plate/甘A1")).status == 200
    assert (await door.delete("/v1/admin/devices/phone/0139")).status == 200
    assert (await door.delete("/v1/admin/devices/phone/0139")).status == 404
    assert (await door.delete("/v1/admin/devices/colour/red")).status == 404
    assert (house.registry.find_vehicle("139"), house.registry.find_vehicle("甘A1")) == (None, None)


@pytest.mark.parametrize("body", [b"", b"7", b'[{"phone": 1}]', b"[" * 100_000, b"\xff"])
async def test_unreadable_entries(door: TestClient[Any, Any], body: bytes) -> None:
    answer = await door.post("/v1/admin/devices", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    if body == b"\xff":
        assert (await door.post("/v1/admin/devices", data=body, headers={"Content-Type": "text/csv"})).status == 400


async def test_the_operators_door_is_locked(locked: TestClient[Any, Any], door: TestClient[Any, Any]) -> None:
    assert (await locked.get("/v1/admin/devices")).status == 401
    assert (await locked.post("/v1/admin/devices", json={})).status == 401
    assert (await locked.delete("/v1/admin/devices/id/x")).status == 401
    assert (await locked.get("/v1/admin/devices", headers=BEARER)).status == 200
    assert (await door.get("/v1/admin/devices")).status == 200
    assert (await door.get("/v1/admin/devices", headers={"X-Forwarded-For": "1.2.3.4"})).status == 401
    assert (await door.post("/v1/admin/devices", json={}, headers={"Origin": "https://evil.example"})).status == 401


async def test_a_disk_that_refuses(door: TestClient[Any, Any], house: House, tmp_path: Path) -> None:
    import sqlite3

    assert house.registry._store is not None
    house.registry._store._db.execute("PRAGMA busy_timeout=0")
    blocker = sqlite3.connect(tmp_path / "registry.sqlite", timeout=0)
    blocker.execute("BEGIN EXCLUSIVE")
    assert (await door.post("/v1/admin/devices", json={"id": "a", "vehicle_id": "1"})).status == 500
    blocker.rollback()
    blocker.close()
    assert (await door.post("/v1/admin/devices", json={"id": "b", "vehicle_id": "2"})).status == 200
    again = DeviceRegistry(tmp_path / "registry.sqlite")
    assert (again.find_vehicle("a"), again.find_vehicle("b")) == ("1", "2")
    again.close()
