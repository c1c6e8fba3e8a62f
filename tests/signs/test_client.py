"""The rim of the reference sign against real sockets: all doors, packs, power cuts. Waits for events, never for time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from busd.bus import BoardBus
from busd.clock import SystemClock
from busd.config import SignsConfig
from busd.signs.client import SignRim, origin_of, websocket_url
from busd.signs.client_http import same_of_headers
from busd.signs.client_store import SignStore
from busd.signs.hub import token_authenticator
from busd.signs.reference import Glass, ReferenceSign, Source
from busd.signs.reference.event_stream import EventStream, StreamEvent, StreamTooLong
from busd.signs.reference.sign import Door
from busd.signs.server import SignServer

LIMIT_S = 20.0
Make = Callable[..., Any]


class Running:
    """A sign whose loop is quick and whose dice always fall on 0."""

    def __init__(self, url: str, **changes: Any) -> None:
        self.glasses: Sequence[Glass] = ()
        self.sign = ReferenceSign("LS-1", ["S1"], ["zh-Hans"], token="demo")
        self.rim = SignRim(
            url, self.sign, SystemClock(), self._render, **({"tick_s": 0.01, "dice": lambda: 0.0} | changes)
        )
        self.task = asyncio.create_task(self.rim.run())

    def _render(self, sign: ReferenceSign, glasses: Sequence[Glass]) -> None:
        self.glasses = glasses

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.005)

    async def shows(self, source: Source) -> None:
        await self.until(lambda: self.glasses and self.glasses[0].source is source)

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Running]]:
    signs: list[Running] = []

    def run(url: str, **changes: Any) -> Running:
        signs.append(Running(url, **changes))
        return signs[-1]

    yield run
    for sign in signs:
        await sign.stop()


@pytest.fixture
async def server(config: SignsConfig, bus: BoardBus) -> AsyncIterator[SignServer]:
    server = SignServer(config, bus, SystemClock(), token_authenticator(config))
    await server.start()
    yield server
    await server.stop()


# ---- websocket -------------------------------------------------------------------------------------------------------


async def test_a_sign_shows_acknowledges_and_follows(
    server: SignServer, bus: BoardBus, board: Make, start: Callable[..., Running]
) -> None:
    running = start(f"ws://127.0.0.1:{server.port}")
    await running.until(lambda: "S1" in running.sign.boards)
    assert running.sign.boards["S1"].board["name"] == {"zh-Hans": "第1站"}
    bus.publish([board(1, 19)])
    await running.until(lambda: running.sign.boards["S1"].revision[1] == 19)
    assert running.rim.status == "connected"
    assert running.sign.meter.used > 1000


async def test_a_server_that_goes_and_comes_back(
    config: SignsConfig, bus: BoardBus, start: Callable[..., Running], board: Make
) -> None:
    """The sign keeps its board, comes back by itself and resumes with ``have``."""
    server = SignServer(config, bus, SystemClock(), token_authenticator(config))
    await server.start()
    port = server.port
    running = start(f"ws://127.0.0.1:{port}")
    await running.until(lambda: "S1" in running.sign.boards)
    held = running.sign.boards["S1"]
    running.sign.patience = lambda *_: 0.01
    await server.stop()
    await running.until(lambda: running.sign.door is None)
    config = SignsConfig(host="127.0.0.1", port=port, shared_token="demo")
    server = SignServer(config, bus, SystemClock(), token_authenticator(config))
    await server.start()
    await running.until(lambda: server.connected == 1)
    assert running.sign.boards["S1"] is held
    bus.publish([board(1, 21)])
    await running.until(lambda: running.sign.boards["S1"].revision[1] == 21)
    await server.stop()


async def test_a_wrong_token_is_not_tried_again_soon(server: SignServer, start: Callable[..., Running]) -> None:
    running = start(f"ws://127.0.0.1:{server.port}")
    running.sign.token = "wrong"
    await running.until(lambda: "4401" in running.rim.status)
    assert "900 s" in running.rim.status


async def test_what_cannot_be_drawn_is_told(server: SignServer, start: Callable[..., Running]) -> None:
    told: list[bytes] = []
    running = start(f"ws://127.0.0.1:{server.port}")
    say = running.sign.messages_to_send

    def listen() -> list[bytes]:
        messages = say()
        told.extend(messages)
        return messages

    def broken(sign: ReferenceSign, glasses: Sequence[Glass]) -> None:
        raise ValueError("no glyph")

    running.sign.messages_to_send = listen  # type: ignore[method-assign]
    running.rim.render = broken
    await running.until(lambda: any(b"no glyph" in message for message in told))
    assert not running.task.done()


def test_urls() -> None:
    assert websocket_url("ws://a:8081") == "ws://a:8081/v1/sign"
    assert websocket_url("https://a/v1/sign") == "wss://a/v1/sign"
    assert websocket_url("a:1/") == "ws://a:1/v1/sign"
    assert origin_of("wss://a:1/v1/sign") == "https://a:1"


# ---- the HTTP doors --------------------------------------------------------------------------------------------------


def board_message(rev: int) -> bytes:
    now = int(SystemClock().now() * 1000)
    return orjson.dumps(
        {"type": "board", "stop": "S1", "epoch": "h", "rev": rev, "at": now, "now": now, "ttl": 90, "state": "live",
         "name": {"en": "Stop"}, "lines": [], "deps": [], "msgs": []}
    )  # fmt: skip


class HttpDoors:
    """§8 as far as a sign needs it; ``seen`` are the requests."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.rev = 1
        self.events = True
        self.pack = b""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/boards/S1/events", self._events)
        app.router.add_get("/v1/boards/S1", self._board)
        app.router.add_get("/v1/packs/{id}", self._pack)
        return app

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(("events", request.headers.get("Last-Event-ID", "")))
        if not self.events:
            raise web.HTTPBadGateway
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for rev in (self.rev, self.rev + 1):
            data = board_message(rev)
            await response.write(b"retry: 5000\n\n: hello\n\nevent: board\nid: h-%d\ndata: %b\n\n" % (rev, data))
        return response

    async def _board(self, request: web.Request) -> web.Response:
        tag = f'W/"h-{self.rev}"'
        headers = {
            "ETag": tag,
            "Cache-Control": "max-age=0",
            "Busd-Now": str(int(SystemClock().now() * 1000)),
            "Busd-Ttl": "90",
        }
        asked = request.headers.get("If-None-Match", "")
        self.seen.append(("board", asked))
        if asked == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=board_message(self.rev), headers=headers)

    async def _pack(self, request: web.Request) -> web.Response:
        self.seen.append(("pack", request.match_info["id"]))
        return web.Response(body=self.pack)


@pytest.fixture
async def http() -> AsyncIterator[tuple[HttpDoors, str]]:
    doors = HttpDoors()
    server = TestServer(doors.app())
    await server.start_server()
    yield doors, str(server.make_url("/")).rstrip("/")
    await server.close()


async def test_the_events_door(http: tuple[HttpDoors, str], start: Callable[..., Running]) -> None:
    doors, base = http
    running = start("ws://127.0.0.1:9", http=base, doors=(Door.SSE,))
    await running.until(lambda: "S1" in running.sign.boards and running.sign.boards["S1"].revision == ("h", 2))
    await running.until(lambda: ("events", "h-2") in doors.seen)  # the stream ended; it resumes
    await running.shows(Source.BOARD)


async def test_the_polling_door(http: tuple[HttpDoors, str], start: Callable[..., Running]) -> None:
    doors, base = http
    running = start("ws://127.0.0.1:9", http=base, doors=(Door.POLLING,))
    await running.shows(Source.BOARD)
    assert doors.seen[0] == ("board", "")


async def test_people_are_told_why_there_is_no_connection(
    http: tuple[HttpDoors, str], start: Callable[..., Running]
) -> None:
    doors, base = http
    doors.events = False
    running = start("ws://127.0.0.1:9", http=base, doors=(Door.SSE,), dice=lambda: 1.0)
    await running.until(lambda: "no events here: " in running.rim.status)


async def test_where_no_upgrade_gets_through_the_other_doors_are_tried(
    http: tuple[HttpDoors, str], start: Callable[..., Running]
) -> None:
    doors, base = http
    doors.events = False
    running = start(base.replace("http", "ws"), http=base)
    await running.until(lambda: ("board", "") in doors.seen)
    assert doors.seen[0][0] == "events"
    await running.shows(Source.BOARD)


def test_a_304_is_a_same() -> None:
    good = {"ETag": 'W/"k3f9-18"', "Busd-Now": "1795000000000", "Busd-Ttl": "90"}
    same = orjson.loads(same_of_headers("S1", good) or b"{}")
    assert same == {"type": "same", "stop": "S1", "epoch": "k3f9", "rev": 18, "now": 1795000000000, "ttl": 90.0}
    for key in good:
        assert same_of_headers("S1", good | {key: "x"}) is None
        assert same_of_headers("S1", {k: v for k, v in good.items() if k != key}) is None


@given(cuts=st.lists(st.integers(1, 40), max_size=40))
def test_events_do_not_depend_on_how_they_are_cut(cuts: list[int]) -> None:
    text = (
        'retry: 5\r\n\r\n: c\n\nevent: board\nid: a-1\ndata: {"x":\ndata: "火"}\n\ndata: y\r\revent: none\n\n'.encode()
    )
    stream, events, rest = EventStream(), list[StreamEvent](), text
    for cut in cuts:
        events += stream.feed(rest[:cut])
        rest = rest[cut:]
    events += stream.feed(rest)
    assert events == [StreamEvent("board", '{"x":\n"火"}', "a-1"), StreamEvent("message", "y", "a-1")]


def test_an_endless_event_is_refused() -> None:
    stream = EventStream()
    with pytest.raises(StreamTooLong):
        for _ in range(40):
            stream.feed(b"data: " + b"x" * 10_000 + b"\n")


# ---- packs and power cuts --------------------------------------------------------------------------------------------


async def test_a_pack_is_fetched_kept_and_found_again_after_a_power_cut(
    http: tuple[HttpDoors, str], start: Callable[..., Running], tmp_path: Path
) -> None:
    from hashlib import sha256

    doors, base = http
    now = int(SystemClock().now())
    doors.pack = orjson.dumps(
        {"v": 1, "stop": "S1", "tz": "UTC", "from": now - 100, "to": now + 10_000, "name": {"en": "Stop"},
         "lines": [{"line": "8", "head": {"en": "End"}}], "deps": [[now + 600, 0]]}
    )  # fmt: skip
    pack_id = sha256(doors.pack).hexdigest()
    running = start("ws://127.0.0.1:9", http=base, doors=(Door.POLLING,), store=SignStore(tmp_path))
    await running.until(lambda: "S1" in running.sign.boards)
    running.sign.boards["S1"].board["pack"] = {"id": pack_id, "url": f"/v1/packs/{pack_id}", "bytes": len(doors.pack)}
    await running.until(lambda: "S1" in running.sign.packs)
    await running.until(lambda: (tmp_path / "sign.json").exists() and pack_id in (tmp_path / "sign.json").read_text())
    again = ReferenceSign("LS-1", ["S1"])
    SignStore(tmp_path).load(again)
    assert again.packs["S1"].id == pack_id and again.timezone("S1") == "UTC"
    (tmp_path / f"{pack_id}.json").write_bytes(doors.pack[:-5])
    broken = ReferenceSign("LS-1", ["S1"])
    SignStore(tmp_path).load(broken)
    assert broken.packs == {}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"done":7,"packs":[],"offline":"x"}', b'{"packs":{"S1":"../x"}}']
)
def test_a_damaged_store_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sign.json").write_bytes(content)
    sign = ReferenceSign("LS-1", ["S1"])
    SignStore(tmp_path).load(sign)
    assert sign.packs == {} and sign.offline_s == 900.0


def test_old_packs_are_dropped_and_reset_clears(tmp_path: Path) -> None:
    store, sign = SignStore(tmp_path), ReferenceSign("LS-1", ["S1"])
    store.keep_pack("S1", "a" * 64, b"old")
    sign.done.add("c1", True, {})
    sign.zone = "Asia/Shanghai"
    store.save(sign)
    assert [path.name for path in tmp_path.iterdir()] == ["sign.json"]
    again = ReferenceSign("LS-1", ["S1"])
    SignStore(tmp_path).load(again)
    assert again.done.find("c1") is not None and again.timezone("S1") == "Asia/Shanghai"
    store.clear()
    assert list(tmp_path.iterdir()) == []
