"""Boards as server-sent events over real sockets, and the stop's name in the path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from busd.web import create_app
from busd.web.boards import BoardDoor, stop_of
from busd.web.events import EventDoor

Client = TestClient[Any, Any]
LIMIT_S = 20.0


async def next_event(response: ClientResponse) -> dict[str, Any]:
    """The next event with data; comments and ``retry`` are left out."""
    event: dict[str, Any] = {}
    async with asyncio.timeout(LIMIT_S):
        while True:
            line = (await response.content.readline()).decode().removesuffix("\n")
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif "data" in event:
                return event | {"data": orjson.loads(event["data"])}


async def test_a_stream_begins_with_the_board_and_goes_on(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C", world.departure("C", "1-0", 300))])
    async with client.get("/v1/boards/C/events?lang=en&max_deps=1") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert await response.content.readline() == b"retry: 5000\n"
        first = await next_event(response)
        async with client.get("/v1/boards/C?lang=en&max_deps=1") as polled:
            assert first["data"] == await polled.json()
        assert (first["event"], first["id"]) == ("board", "e1-1")
        world.clock.advance(2)
        world.bus.publish([world.board("C"), world.board("B")])
        second = await next_event(response)
        assert (second["id"], second["data"]["deps"]) == ("e1-2", [])


@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_page_that_comes_back_is_told_that_it_has_the_latest(client: Client, world: Any, place: str) -> None:
    world.bus.publish([world.board("C")])
    headers = {"Last-Event-ID": "e1-1"} if place == "header" else {}
    query = "" if place == "header" else "?last_event_id=e1-1"
    async with client.get(f"/v1/boards/C/events{query}", headers=headers) as response:
        event = await next_event(response)
        assert (event["event"], event["id"]) == ("same", "e1-1")
        assert event["data"]["ttl"] == 90


async def test_head_and_wrong_requests(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C")])
    async with client.head("/v1/boards/C/events") as response:
        assert response.status == 200 and response.headers["Content-Type"] == "text/event-stream"
    for path, status, word in (
        ("/v1/boards/nowhere/events", 404, "unknown_stop"),
        ("/v1/boards/C/events?max_deps=31", 400, "bad_query"),
        ("/v1/boards/C/events?lang=1", 400, "bad_query"),
        ("/v1/boards/C/events?last_event_id=a&last_event_id=b", 400, "bad_query"),
    ):
        async with client.get(path) as response:
            assert (response.status, (await response.json())["error"]) == (status, word)


async def test_streams_are_bounded(world: Any) -> None:
    world.bus.publish([world.board("C")])
    app = web.Application()
    app.router.add_get("/v1/boards/{stop}/events", EventDoor(world.services(), max_streams=1).handle)
    async with TestClient(TestServer(app)) as client, client.get("/v1/boards/C/events") as response:
        await next_event(response)
        async with client.get("/v1/boards/C/events") as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "30")


async def test_a_page_that_does_not_read_gets_only_the_newest(client: Client, world: Any) -> None:
    """What the kernel holds was sent; of all that came after it, one board is left."""
    rows = [world.departure("C", f"1-{k}", 300 + 60 * k, vehicle_id="x" * 190) for k in range(30)]
    world.bus.publish([world.board("C", *rows)])
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port, limit=1024)
    writer.transport.get_extra_info("socket").setsockopt(1, 8, 4096)  # SO_RCVBUF
    writer.write(b"GET /v1/boards/C/events?max_deps=30 HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(LIMIT_S):
        await reader.readuntil(b"retry: 5000")
        writer.transport.pause_reading()
        for _ in range(400):
            world.clock.advance(1.1)
            world.bus.publish([world.board("C", *rows)])
            for _ in range(4):
                await asyncio.sleep(0)
        newest = world.revs["C"]
        writer.transport.resume_reading()
        stream = b""
        while b'"rev":%d,' % newest not in stream:
            stream += await reader.read(65536)
    assert stream.count(b"event: board") < 200 < newest
    writer.transport.abort()


async def test_a_page_that_left_watches_nothing(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C")])
    response = await client.get("/v1/boards/C/events")
    await next_event(response)
    response.close()
    async with asyncio.timeout(LIMIT_S):
        while "C" in world.bus._watchers:
            world.clock.advance(1.1)
            world.bus.publish([world.board("C")])
            await asyncio.sleep(0.01)


async def test_a_stopping_server_says_bye(world: Any) -> None:
    world.bus.publish([world.board("C")])
    server = TestServer(create_app(world.services()))
    async with TestClient(server) as client:
        response = await client.get("/v1/boards/C/events")
        await next_event(response)
        closing = asyncio.create_task(server.close())
        event = await next_event(response)
        assert (event["event"], event["data"]["code"]) == ("bye", 4001)
        async with asyncio.timeout(LIMIT_S):
            assert (await response.content.read()).strip() == b""
            await closing


# ---- stop ids in paths -----------------------------------------------------------------------------------------------


@pytest.fixture
async def named(world: Any) -> AsyncIterator[Client]:
    """Says which door a path leads to, and with which stop."""

    async def picture(_: web.Request, stop_id: str) -> web.Response:
        return web.json_response(["picture", stop_id])

    class Named(BoardDoor):
        async def handle(self, request: web.Request) -> web.StreamResponse:
            if (path := request.raw_path).partition("?")[0].endswith(".png"):
                return await super().handle(request)
            return web.json_response(["board", stop_of(request), path])

    async def events(request: web.Request) -> web.Response:
        return web.json_response(["events", stop_of(request)])

    app = web.Application()
    app.router.add_get("/v1/boards/{stop}", Named(world.services(), picture).handle)
    app.router.add_get("/v1/boards/{stop}/events", events)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize("stop", ["C", "西关什字", "a/b", "a b?c#d", "100%", "x.png", "a/events", "..", "%2F"])
async def test_any_stop_id_can_be_asked_for(named: Client, stop: str) -> None:
    segment = quote(stop, safe="").replace(".", "%2E")
    for path, kind in ((segment, "board"), (f"{segment}.png?w=64", "picture"), (f"{segment}/events", "events")):
        async with named.get(URL(f"/v1/boards/{path}", encoded=True)) as response:
            assert response.status == 200, path
            assert (await response.json())[:2] == [kind, stop]
