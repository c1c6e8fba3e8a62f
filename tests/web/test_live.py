"""The rider websocket: what is sent, that it is bounded, and that strangers and noise are shown the door."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
import pytest
from aiohttp import WSMsgType, WSServerHandshakeError
from aiohttp.test_utils import TestClient

from busd.bus import BoardBus
from busd.web.boards import BoardFrames
from busd.web.catalogue import Catalogue, CatalogueCache
from busd.web.live import Area, LiveHub, Rider, Watch, valid
from busd.web.rider import BURST, Allowance, RiderDoor
from gtfs.testing import network_from_map

Client = TestClient[Any, Any]


async def until(ws: Any, kind: str, **fields: Any) -> dict[str, Any]:
    """The next message of a type (and with these values); others are passed over."""
    async with asyncio.timeout(10):
        while True:
            message: dict[str, Any] = await ws.receive_json()
            if message["type"] == kind and all(message.get(name) == value for name, value in fields.items()):
                return message


async def closed_with(ws: Any) -> int:
    async with asyncio.timeout(10):
        while True:
            message = await ws.receive()
            if message.type is WSMsgType.CLOSE:
                return int(message.data)
            if message.type in (WSMsgType.CLOSED, WSMsgType.ERROR):
                return int(ws.close_code or 1006)


# ---- over a socket ---------------------------------------------------------------------------------------------------


async def test_hello_then_the_watched_board_and_its_changes(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C", world.departure("C", "1-8", 300))])
    async with client.ws_connect("/v1/live") as ws:
        hello = await ws.receive_json()
        assert hello["type"] == "hello"
        assert hello["now"] == int(world.clock.now() * 1000)
        await ws.send_json({"type": "watch", "stops": ["C", "nowhere"], "later": 1})
        watching = await until(ws, "watching")
        assert watching["stops"] == ["C"]
        assert watching["err"] == {"nowhere": "unknown_stop"}
        first = await until(ws, "board")
        async with client.get("/v1/boards/C") as response:
            assert first == await response.json()
        world.bus.publish([world.board("C", world.departure("C", "1-8", 240))])
        assert (await until(ws, "board"))["rev"] == 2
        await ws.send_json({"type": "watch", "stops": ["A"]})
        await until(ws, "watching", stops=["A"])
        world.bus.publish([world.board("C"), world.board("A", world.departure("A", "1-8", 240))])
        assert (await until(ws, "board"))["stop"] == "A"


async def test_buses_full_then_changes(client: Client, world: Any) -> None:
    world.vehicles += [world.progress("1207", "1-8", 700), world.progress("2001", "K2-8", 100)]
    async with client.ws_connect("/v1/live") as ws:
        await ws.send_json({"type": "watch", "lines": ["1"]})
        seen: dict[str, dict[str, Any]] = {}
        while "1207" not in seen:
            message = await until(ws, "vehicles")
            seen = (
                {v["id"]: v for v in message["set"]} if message["full"] else seen | {v["id"]: v for v in message["set"]}
            )
        assert set(seen) == {"1207"}
        assert seen["1207"]["dist"] == 700
        world.vehicles[0] = world.progress("1207", "1-8", 800)
        moved = await until(ws, "vehicles", full=False)
        assert [v["dist"] for v in moved["set"]] == [800]
        world.vehicles.clear()
        assert (await until(ws, "vehicles"))["gone"] == ["1207"]


async def test_same_extends_a_board_that_does_not_change(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C", world.departure("C", "1-8", 300))])
    async with client.ws_connect("/v1/live") as ws:
        await ws.send_json({"type": "watch", "stops": ["C"]})
        await until(ws, "board")
        world.clock.advance(31.0)
        same = await until(ws, "same")
        assert (same["stop"], same["epoch"], same["rev"], same["ttl"]) == ("C", "e1", 1, 90)
        assert same["now"] == int(world.clock.now() * 1000)


async def test_a_quiet_page_hears_a_heartbeat(client: Client, world: Any) -> None:
    async with client.ws_connect("/v1/live") as ws:
        await ws.send_json({"type": "watch"})
        await until(ws, "watching")
        world.clock.advance(11.0)
        assert (await until(ws, "hb"))["network"] == world.network.digest[:12]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "{}",
        '{"type":1}',
        '{"type":"watch","stops":"C"}',
        '{"type":"watch","stops":[1]}',
        '{"type":"watch","bbox":[1,2,3]}',
        '{"type":"watch","bbox":[2,1,1,3]}',
        '{"type":"watch","bbox":[0,0,91,1]}',
        '{"type":"watch","bbox":[0,0,1e999,1]}',
    ],
)
async def test_bad_messages_end_their_own_connection(client: Client, text: str) -> None:
    async with client.ws_connect("/v1/live") as ws, client.ws_connect("/v1/live") as other:
        await ws.send_str(text)
        assert await closed_with(ws) == 4400
        await other.send_json({"type": "watch"})
        await until(other, "watching")


async def test_binary_and_too_big_are_refused(client: Client) -> None:
    async with client.ws_connect("/v1/live") as ws:
        await ws.send_bytes(b"\x00")
        assert await closed_with(ws) == 1003
    async with client.ws_connect("/v1/live") as ws:
        await ws.send_str('{"type":"watch","x":"%s"}' % ("x" * 20_000))
        assert await closed_with(ws) == 1009


async def test_too_many_messages_are_refused(client: Client) -> None:
    async with client.ws_connect("/v1/live") as ws:
        for _ in range(int(BURST) + 2):
            await ws.send_str('{"type":"unknown"}')
        assert await closed_with(ws) == 4005


async def test_many_stops_are_cut(client: Client, world: Any) -> None:
    async with client.ws_connect("/v1/live") as ws:
        await ws.send_json({"type": "watch", "stops": list("ABCDEFGHIJKLM") + ["A"]})
        watching = await until(ws, "watching")
        assert len(watching["stops"]) == 13
        assert watching["err"] == {}


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [(None, True), ("own", True), ("http://evil.example", False), ("null", False), ("http://[", False)],
)
async def test_only_the_own_page_may_open_it(client: Client, origin: str | None, welcome: bool) -> None:
    host = f"{client.host}:{client.port}"
    headers = {} if origin is None else {"Origin": f"http://{host}" if origin == "own" else origin}
    if welcome:
        async with client.ws_connect("/v1/live", headers=headers) as ws:
            assert (await ws.receive_json())["type"] == "hello"
    else:
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/v1/live", headers=headers)
        assert refused.value.status == 403


async def test_plain_http_is_told_to_upgrade(client: Client) -> None:
    async with client.get("/v1/live") as response:
        assert response.status == 426


async def test_leaving_riders_leave_nothing_behind(client: Client, world: Any) -> None:
    async with client.ws_connect("/v1/live") as ws:
        await ws.send_json({"type": "watch", "stops": ["C"], "lines": ["1"]})
        await until(ws, "watching")
        assert world.bus._watchers
    async with asyncio.timeout(10):
        while world.bus._watchers:
            await asyncio.sleep(0)


# ---- the hub alone ---------------------------------------------------------------------------------------------------


class Rounds:
    """A hub whose rounds the test turns."""

    def __init__(self, world: Any) -> None:
        self.world = world
        services = world.services(tick_s=1.0)
        self.catalogue = Catalogue(world.network)
        caches = CatalogueCache(lambda: world.network)
        caches._catalogue = self.catalogue
        self.hub = LiveHub(services, caches, BoardFrames(services))
        world.bus.on_flush(self.hub.announce)

    def rider(self, **watch: Any) -> Rider:
        rider = Rider()
        self.hub.join(rider)
        self.hub.watch(rider, Watch(**watch))
        return rider

    def round(self) -> None:
        self.world.clock.advance(1.0)
        self.hub.round(self.catalogue)


def kinds(rider: Rider) -> list[str]:
    return [orjson.loads(frame)["type"] for frame in rider.take()]


def test_boards_of_one_stop_come_at_most_once_a_round(world: Any) -> None:
    rounds = Rounds(world)
    rider = rounds.rider(stops=["C"])
    for seconds in (300, 290, 280):
        world.bus.publish([world.board("C", world.departure("C", "1-8", seconds))])
    (frame,) = rider.take()
    assert orjson.loads(frame)["rev"] == 1  # the first at once
    rounds.round()
    (frame,) = rider.take()
    assert orjson.loads(frame)["rev"] == 3  # the newest of the others with the round


def test_one_encoding_for_everybody(world: Any) -> None:
    rounds = Rounds(world)
    world.vehicles.append(world.progress("1207", "1-8", 700))
    riders = [rounds.rider(stops=["C"], lines=["1"]) for _ in range(3)]
    for rider in riders:
        rider.take()
    world.vehicles[0] = world.progress("1207", "1-8", 800)
    world.bus.publish([world.board("C", world.departure("C", "1-8", 300))])
    rounds.round()
    first, *others = [rider.take() for rider in riders]
    assert len(first) == 2
    for other in others:
        assert all(a is b for a, b in zip(first, other, strict=True))


def test_a_slow_rider_gets_everything_at_once_and_never_a_change_on_a_gap(world: Any) -> None:
    rounds = Rounds(world)
    world.vehicles += [world.progress("1", "1-8", 700), world.progress("2", "1-9", 100)]
    slow, quick = rounds.rider(lines=["1"]), rounds.rider(lines=["1"])
    held: dict[str, dict[str, Any]] = {}

    def read(rider: Rider) -> None:
        for frame in rider.take():
            message = orjson.loads(frame)
            if message["full"]:
                held.clear()
            for gone in message["gone"]:
                held.pop(gone, None)
            held.update({row["id"]: row for row in message["set"]})

    for metres in (710, 720, 730):
        world.vehicles[0] = world.progress("1", "1-8", metres)
        rounds.round()
        assert len(quick.take()) == 1
    del world.vehicles[1]
    rounds.round()
    assert slow.behind
    read(slow)
    assert {vehicle: row["dist"] for vehicle, row in held.items()} == {"1": 730}
    assert not slow.behind


def test_an_unsent_same_gives_way_to_a_board(world: Any) -> None:
    rounds = Rounds(world)
    world.bus.publish([world.board("C", world.departure("C", "1-8", 900))])
    rider = rounds.rider(stops=["C"])
    rider.take()
    world.clock.advance(60.0)
    rounds.round()
    world.bus.publish([world.board("C", world.departure("C", "1-8", 840))])
    rounds.round()
    assert "same" not in (sent := kinds(rider))
    assert sent[0] == "board"


def test_boards_that_are_no_longer_wanted_are_forgotten(world: Any) -> None:
    rounds = Rounds(world)
    world.bus.publish([world.board(stop, world.departure(stop, "1-8", 300)) for stop in ("A", "B")])
    rider = rounds.rider(stops=["A"])
    rounds.hub.watch(rider, Watch(stops=["B"]))
    assert [orjson.loads(frame)["stop"] for frame in rider.take()] == ["B"]


def test_areas_see_buses_come_and_go(world: Any) -> None:
    rounds = Rounds(world)
    bus = world.progress("1", "1-8", 100)
    world.vehicles.append(bus)
    box = (bus.lat - 0.005, bus.lon - 0.005, bus.lat + 0.005, bus.lon + 0.005)
    inside, line = rounds.rider(bbox=box), rounds.rider(lines=["1"])
    far = rounds.rider(bbox=(0.0, 0.0, 1.0, 1.0))
    assert [orjson.loads(frame)["set"] != [] for rider in (inside, line, far) for frame in rider.take()] == [
        True,
        True,
        False,
    ]
    world.vehicles[0] = world.progress("1", "1-8", 5900)  # beyond the cells of the box
    rounds.round()
    assert orjson.loads(inside.take()[0])["gone"] == ["1"]
    assert orjson.loads(line.take()[0])["gone"] == []
    assert far.take() == []


def test_a_second_topic_between_rounds_takes_no_change_from_the_first(world: Any) -> None:
    rounds = Rounds(world)
    world.vehicles += [world.progress("1", "1-8", 100), world.progress("2", "K2-8", 100)]
    first = rounds.rider(lines=["1"])
    first.take()
    world.vehicles[0] = world.progress("1", "1-8", 200)
    rounds.rider(lines=["K2"])
    rounds.round()
    assert [row["dist"] for row in orjson.loads(first.take()[0])["set"]] == [200]


def test_another_timetable_replaces_what_is_known_of_buses(world: Any) -> None:
    rounds = Rounds(world)
    world.vehicles.append(world.progress("1", "1-8", 100))
    rider = rounds.rider(lines=["1"])
    rider.take()
    world.vehicles.clear()
    other = network_from_map("X-Y", {"9": "XY"})
    rounds.catalogue = Catalogue(other)
    rounds.round()
    assert orjson.loads(rider.take()[0])["gone"] == ["1"]


def test_topics_end_with_their_last_rider(world: Any) -> None:
    rounds = Rounds(world)
    one, two = rounds.rider(stops=["C"], lines=["1"]), rounds.rider(stops=["C"], lines=["1"])
    assert list(rounds.hub._areas) == [Area(frozenset({"1"}))]
    rounds.hub.leave(one)
    assert rounds.hub._stops
    rounds.hub.leave(two)
    assert not rounds.hub._stops
    assert not rounds.hub._areas
    assert len(rounds.hub) == 0
    assert isinstance(world.bus, BoardBus)


async def test_a_rider_that_takes_no_bytes_is_cut_off(world: Any) -> None:
    rounds = Rounds(world)
    door = RiderDoor(rounds.hub.services, rounds.hub, write_deadline_s=0.01)

    class Stuck:
        async def send_frame(self, frame: bytes, kind: WSMsgType) -> None:
            await asyncio.Event().wait()

    class Transport:
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    transport = Transport()
    rider = rounds.rider(lines=["1"])
    async with asyncio.timeout(10):
        await door._write(cast(Any, Stuck()), rider, cast(Any, transport))
    assert transport.aborted


def test_allowance_refills(world: Any) -> None:
    allowance = Allowance(world.clock, 2.0, 3.0)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    world.clock.advance(0.5)
    assert [allowance.take() for _ in range(2)] == [True, False]
    world.clock.advance(60.0)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("bbox", "good"),
    [
        (None, True),
        ((1.0, 2.0, 3.0, 4.0), True),
        ((3.0, 2.0, 1.0, 4.0), False),
        ((1.0, 4.0, 3.0, 2.0), False),
        ((float("nan"), 2.0, 3.0, 4.0), False),
        ((-91.0, 2.0, 3.0, 4.0), False),
    ],
)
def test_boxes(bbox: tuple[float, float, float, float] | None, good: bool) -> None:
    assert valid(Watch(bbox=bbox)) is good
