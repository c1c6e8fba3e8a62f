"""The picture door of busd.sign.v1 (8.3) and the speech door, over real HTTP."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image
from yarl import URL

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.signs.fonts import FontMissing, check, runs
from busd.web import create_app
from busd.web.boards import BoardDoor
from busd.web.pictures import Looks, PictureDoor, languages
from gtfs.testing import network_from_map

try:
    check()
    runs("བོད")
except FontMissing as problem:
    pytest.skip(str(problem), allow_module_level=True)

Client = TestClient[Any, Any]


def publish(world: Any, in_s: float = 400.0, stop: str = "C", **more: Any) -> None:
    world.bus.publish([world.board(stop, world.departure(stop, "1-3", in_s), **more)])


async def size(client: Client, path: str | URL) -> tuple[str, tuple[int, int], str]:
    async with client.get(path) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "image/png"
        image = Image.open(io.BytesIO(await response.read()))
        return str(image.format), image.size, image.mode


async def test_a_board_is_a_picture_of_the_size_asked_for(client: Client, world: Any) -> None:
    publish(world)
    assert await size(client, "/v1/boards/C.png") == ("PNG", (800, 480), "1")
    assert await size(client, "/v1/boards/C.png?w=600&h=1024&bits=8&lang=bo,zh-Hans") == ("PNG", (600, 1024), "P")
    async with client.head("/v1/boards/C.png?w=64&h=64") as response:
        assert (response.status, response.content_type) == (200, "image/png")


async def test_the_tag_changes_exactly_with_the_pixels(client: Client, world: Any) -> None:
    publish(world)
    path = "/v1/boards/C.png?w=400&h=240"
    async with client.get(path) as response:
        first, tag = await response.read(), response.headers["ETag"]
        assert 0 < int(response.headers["Cache-Control"].removeprefix("max-age=")) <= 60
    world.clock.advance(5)
    publish(world, 396.0)  # a new revision that looks the same
    async with client.get(path, headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == tag and "max-age" in response.headers["Cache-Control"]
    publish(world, 800.0)
    async with client.get(path, headers={"If-None-Match": tag}) as response:
        assert response.status == 200 and response.headers["ETag"] != tag
        assert await response.read() != first


async def test_many_who_ask_at_once_get_one_drawing(client: Client, world: Any) -> None:
    publish(world)

    async def tag() -> str:
        async with client.get("/v1/boards/C.png") as response:
            return response.headers["ETag"]

    assert len(set(await asyncio.gather(*(tag() for _ in range(20))))) == 1


async def served(world: Any, draw: Any) -> Client:
    services = world.services()
    pictures = PictureDoor(services, Looks(services), draw=draw)
    app = web.Application()
    app.router.add_get("/v1/boards/{stop}", BoardDoor(services, pictures).handle)
    client = TestClient(TestServer(app))
    await client.start_server()
    return client


async def test_one_drawing_serves_all_and_nobody_waits_in_the_loop(world: Any) -> None:
    publish(world)
    began, go, drawn = threading.Event(), threading.Event(), []

    def slow(*asked: Any) -> bytes:
        drawn.append(asked)
        began.set()
        assert go.wait(30)
        return b"png"

    client = await served(world, slow)
    waiting = [asyncio.create_task(client.get("/v1/boards/C.png")) for _ in range(5)]
    await asyncio.to_thread(began.wait, 30)
    async with client.get("/v1/boards/C") as response:  # the loop is free
        assert response.status == 200
    go.set()
    assert [response.status for response in await asyncio.gather(*waiting)] == [200] * 5
    assert len(drawn) == 1
    await client.close()


async def test_a_missing_font_is_told_with_its_package(world: Any) -> None:
    def broken(*_: Any) -> bytes:
        raise FontMissing("no font for Tibetan (apt-get install fonts-noto-core)")

    publish(world)
    client = await served(world, broken)
    async with client.get("/v1/boards/C.png") as response:
        assert response.status == 503
        assert await response.json() == {
            "error": "fonts_missing", "detail": "no font for Tibetan (apt-get install fonts-noto-core)"
        }  # fmt: skip
    await client.close()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("w=63", "w "), ("w=2049", "w "), ("h=0", "h "), ("h=-5", "h "), ("w=x", "w "), ("w=", "w "),
        ("bits=2", "bits"), ("bits=16", "bits"), ("lang=%20", "lang"), ("max_deps=31", "max_deps"), ("w=64&w=65", "w "),
    ],
)  # fmt: skip
async def test_bad_values_are_told(client: Client, world: Any, query: str, names: str) -> None:
    publish(world)
    async with client.get(URL(f"/v1/boards/C.png?{query}", encoded=True)) as response:
        assert response.status == 400
        problem = await response.json()
        assert problem["error"] == "bad_query" and problem["detail"].startswith(names)


async def test_stops_that_cannot_be_drawn(client: Client) -> None:
    async with client.get("/v1/boards/nowhere.png") as response:
        assert (response.status, await response.json()) == (404, {"error": "unknown_stop"})
    async with client.get("/v1/boards/C.png") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "5")


async def test_a_stop_whose_id_ends_in_png(world: Any) -> None:
    network = network_from_map("A---B", {"1": "AB"}, tables={"stops.txt": "stop_id,stop_name,stop_lat,stop_lon\n"
        "A.png,Alpha,36.0,103.0\nB,Beta,36.0,103.01\n", "stop_times.txt":
        "trip_id,stop_id,stop_sequence,arrival_time,departure_time\n1-0,A.png,1,08:00:00,08:00:00\n"
        "1-0,B,2,08:10:00,08:10:00\n"})  # fmt: skip
    lone = type(world)(network, ManualClock(world.clock.now()), BoardBus(network))
    lone.bus.publish([lone.board("A.png")])
    async with TestClient(TestServer(create_app(lone.services()))) as client:
        async with client.get(URL("/v1/boards/A%2Epng", encoded=True)) as response:
            assert (await response.json())["stop"] == "A.png"
        assert (await size(client, URL("/v1/boards/A%2Epng.png", encoded=True)))[0] == "PNG"


async def test_a_picture_does_not_count_up_by_a_minute(client: Client, world: Any) -> None:
    publish(world, 185.0)
    path = "/v1/boards/C/speech?lang=en"
    async with client.get(path) as response:
        assert "in 3 minutes" in await response.text()
    publish(world, 245.0)
    async with client.get(path) as response:
        assert "in 3 minutes" in await response.text()
    async with client.get(path + "&max_deps=1") as response:
        assert "in 4 minutes" in await response.text(), "another list has its own memory"


async def test_speech(client: Client, world: Any) -> None:
    publish(world, 125.0)
    async with client.get("/v1/boards/C/speech") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/ssml+xml; charset=utf-8"
        text, tag = await response.text(), response.headers["ETag"]
        assert 'xml:lang="zh-CN"' in text and "大约2分钟后到站" in text
    async with client.get("/v1/boards/C/speech", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    async with client.get("/v1/boards/nowhere/speech") as response:
        assert response.status == 404


def test_languages_of_who_asks_for_none() -> None:
    board = {"name": {"zh-Hans": "站", "bo": "ཚུགས", "en": "Stop"}, "lines": [{"head": {"de": "Halt"}}]}
    assert languages(board, "zh-Hans") == ("zh-Hans", "en", "bo")
    assert languages({"name": {"und": "火车站"}, "lines": []}, "und") == ("zh",)
    assert languages({"name": {"und": "Bahnhof"}, "lines": []}, "und") == ("en",)
