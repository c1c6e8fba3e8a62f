"""The sign door over real sockets, on both event loops: an independent client, nasty bytes, a reader that stopped."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.metrics import REGISTRY
from busd.signs.hub import token_authenticator
from busd.signs.server import SignServer

LIMIT_S = 20.0
Make = Callable[..., Any]


@pytest.fixture
async def server(config: SignsConfig, bus: BoardBus, clock: ManualClock) -> AsyncIterator[SignServer]:
    server = SignServer(config, bus, clock, token_authenticator(config))
    await server.start()
    yield server
    await server.stop()


async def turn_until(condition: Callable[[], object]) -> None:
    """Turn the loop until something has happened; no wall time is part of any expectation."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0)


def open_sign(server: SignServer, **how: Any) -> Any:
    options: dict[str, Any] = {"subprotocols": ["busd.sign.v1"], "compression": None, "open_timeout": LIMIT_S}
    return connect(f"ws://127.0.0.1:{server.port}/v1/sign", **options | how)


async def say(client: ClientConnection, **message: Any) -> None:
    await client.send(orjson.dumps(message), text=True)


async def hear(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        message = await client.recv()
    assert isinstance(message, str)
    parsed: dict[str, Any] = orjson.loads(message)
    return parsed


async def log_in(client: ClientConnection, sign: str = "LS-1", **sub: Any) -> dict[str, Any]:
    """hello and sub; returns the board."""
    await say(client, type="hello", v=1, sign=sign, token="demo", lang=["en"])
    assert (await hear(client))["type"] == "welcome"
    await say(client, **({"type": "sub", "id": 1, "stops": ["S1"]} | sub))
    assert (await hear(client))["type"] == "subscribed"
    return await hear(client)


async def test_an_independent_client_gets_boards(
    server: SignServer, bus: BoardBus, clock: ManualClock, board: Make
) -> None:
    async with open_sign(server) as client:
        assert client.subprotocol == "busd.sign.v1"
        assert (await log_in(client))["rev"] == 18
        assert server.connected == 1
        clock.advance(2)
        bus.publish([board(1, 19), board(2, 19)])
        message = await hear(client)
        assert (message["stop"], message["rev"]) == ("S1", 19)
        await say(client, type="hb", seq=1)
        assert (await hear(client))["seq"] == 1
    await turn_until(lambda: not server.connections)
    assert server.connected == 0


@pytest.mark.parametrize("subprotocols", [None, ["chat"]])
async def test_without_the_subprotocol_there_is_no_upgrade(server: SignServer, subprotocols: Any) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await open_sign(server, subprotocols=subprotocols)
    assert refused.value.response.status_code == 400


async def test_the_paced_board_and_the_refresher_come_by_the_timer(
    server: SignServer, bus: BoardBus, clock: ManualClock, board: Make
) -> None:
    async with open_sign(server) as client:
        await log_in(client)
        bus.publish([board(1, 19)])  # within min_interval of the answer
        clock.advance(1.1)
        server.tick()
        assert (await hear(client))["rev"] == 19
        clock.advance(30.1)
        server.tick()
        same = await hear(client)
        assert (same["type"], same["rev"]) == ("same", 19)


async def test_stopping_says_bye_to_everybody(server: SignServer) -> None:
    async with open_sign(server) as a, open_sign(server) as b:
        await log_in(a, "a")
        await log_in(b, "b")
        port = server.port
        async with asyncio.timeout(5):
            stopping = asyncio.create_task(server.stop())
            for client in (a, b):
                bye = await hear(client)
                assert (bye["type"], bye["code"]) == ("bye", 4001)
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 4001
            await stopping
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_the_replaced_session_hears_why(server: SignServer) -> None:
    async with open_sign(server) as old, open_sign(server) as new:
        await log_in(old)
        await log_in(new)
        assert (await hear(old))["code"] == 4409
        await say(new, type="hb", seq=1)
        assert (await hear(new))["seq"] == 1


def frame(payload: bytes, first: int = 0x81) -> bytes:
    size = len(payload)
    head = bytes([first, 0x80 | size]) if size < 126 else bytes([first, 0xFE]) + struct.pack("!H", size)
    return head + b"\0\0\0\0" + payload


HELLO = frame(b'{"type":"hello","v":1,"sign":"raw","token":"demo"}')


async def open_raw(server: SignServer, receive_buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    writer.write(
        b"GET /v1/sign HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: busd.sign.v1\r\n\r\n"
    )
    async with asyncio.timeout(LIMIT_S):
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in await reader.readuntil(b"\r\n\r\n")  # RFC 6455 §1.3
    return reader, writer


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x02{}", 1002),  # not masked
        (b"\xc1\x82\0\0\0\0{}", 1002),  # RSV1 without an extension
        (b"\x83\x80\0\0\0\0", 1002),  # reserved opcode
        (b"\x09\x80\0\0\0\0", 1002),  # a fragmented ping
        (b"\x80\x80\0\0\0\0", 1002),  # a continuation of nothing
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),  # 2**63 bytes announced
        (frame(b"\x01", 0x82), 1003),
        (frame(b'"\xf0\x28\x8c\x28"'), 1007),
        (frame(b"{" + b" " * 17000), 1009),
        (frame(b"[]"), 4400),
        (frame(b'{"type":"hb","seq":1}') * 500, 4005),
    ],
)
async def test_nasty_bytes_cost_the_sender_its_connection_and_nobody_else(
    server: SignServer, sent: bytes, code: int
) -> None:
    async with open_sign(server) as other:
        await log_in(other)
        reader, writer = await open_raw(server)
        writer.write(HELLO)
        writer.write(sent)
        async with asyncio.timeout(LIMIT_S):
            answer = await reader.read(-1)  # the server ends its side: everything up to the FIN arrives
        assert answer.rindex(b"\x88") >= 0
        closes = [answer[i + 2 : i + 4] for i in range(len(answer)) if answer[i] == 0x88]
        assert code.to_bytes(2, "big") in closes
        writer.close()
        await say(other, type="hb", seq=1)
        assert (await hear(other))["seq"] == 1


async def test_a_reader_that_stopped_costs_one_slot_and_is_dropped_at_the_deadline(
    server: SignServer, bus: BoardBus, clock: ManualClock, board: Make, departure: Make
) -> None:
    def count(code: str) -> float:
        return REGISTRY.get_sample_value("busd_sign_closed_total", {"code": code}) or 0.0

    rows = [departure(k, vehicle_id="x" * 150) for k in range(1, 31)]
    before = count("4002")
    async with open_sign(server) as other:
        await log_in(other, max_deps=1)
        _, writer = await open_raw(server, receive_buffer=4096)
        writer.transport.pause_reading()
        writer.write(HELLO + frame(b'{"type":"sub","id":1,"stops":["S1"],"max_deps":30}'))
        await turn_until(lambda: server.connected == 2)
        stopped = server.hub.signs["raw"]
        await turn_until(lambda: stopped.slots)
        rev = 18
        while not stopped.blocked:
            clock.advance(1.1)
            rev += 1
            bus.publish([board(1, rev, departures=rows)])
            assert (await hear(other))["rev"] == rev
            assert rev < 2000, "the kernel must not take boards without end"
        for _ in range(8):
            clock.advance(1.1)
            rev += 1
            bus.publish([board(1, rev, departures=rows)])
            server.tick()
            assert (await hear(other))["rev"] == rev
            assert len(stopped.owed) == 1
        assert stopped in server.connections
        clock.advance(2)
        server.tick()
        await turn_until(lambda: stopped not in server.connections)
        assert count("4002") == before + 1
        assert server.connected == 1
        rev += 1
        bus.publish([board(1, rev)])
        assert (await hear(other))["rev"] == rev
        writer.transport.abort()


async def test_a_slow_reader_that_comes_back_gets_only_the_newest(
    server: SignServer, bus: BoardBus, clock: ManualClock, board: Make, departure: Make
) -> None:
    rows = [departure(k, vehicle_id="x" * 150) for k in range(1, 31)]
    reader, writer = await open_raw(server, receive_buffer=4096)
    writer.transport.pause_reading()
    writer.write(HELLO + frame(b'{"type":"sub","id":1,"stops":["S1"],"max_deps":30}'))
    await turn_until(lambda: server.connected == 1)
    slow = server.hub.signs["raw"]
    await turn_until(lambda: slow.slots)
    rev = 18
    while not slow.blocked:
        clock.advance(1.1)
        rev += 1
        bus.publish([board(1, rev, departures=rows)])
    sent = rev
    for _ in range(50):
        rev += 1
        bus.publish([board(1, rev, departures=rows)])
    clock.advance(1.1)
    writer.transport.resume_reading()
    async with asyncio.timeout(LIMIT_S):
        stream = b""
        while b'"rev":%d,' % rev not in stream:
            stream += await reader.read(65536)
    assert b'"rev":%d,' % sent in stream
    assert not any(b'"rev":%d,' % between in stream for between in range(sent + 1, rev))
    writer.transport.abort()


async def test_connections_beyond_the_limit_are_turned_away(bus: BoardBus, clock: ManualClock) -> None:
    config = SignsConfig(host="127.0.0.1", port=0, shared_token="demo", max_connections=1)
    server = SignServer(config, bus, clock, token_authenticator(config))
    await server.start()
    async with open_sign(server) as a, open_sign(server) as b:
        await log_in(a, "a")
        await say(b, type="hello", v=1, sign="b", token="demo")
        bye = await hear(b)
        assert (bye["code"], bye["retry"]) == (4004, 30)
    await server.stop()
    await server.stop()


async def test_the_short_way_and_the_long_way_say_the_same(
    server: SignServer, bus: BoardBus, clock: ManualClock, board: Make
) -> None:
    """A sign with one stop gets its board by `fan_out`, one with two by its slots."""
    async with open_sign(server) as one, open_sign(server) as two:
        await log_in(one, "one")
        await log_in(two, "two", stops=["S1", "S2"])
        assert (await hear(two))["stop"] == "S2"
        for rev in range(19, 23):
            clock.advance(1.1)
            bus.publish([board(1, rev), board(2, rev)])
            short = await hear(one)
            assert short == await hear(two)
            assert (short["stop"], short["rev"]) == ("S1", rev)
            assert ((joined := await hear(two))["stop"], joined["rev"]) == ("S2", rev)
        bus.publish([board(1, 23)])  # within min_interval: owed until the pace allows it
        assert all(len(session.owed) == 1 for session in server.hub.signs.values())
        clock.advance(1.1)
        server.tick()
        assert [(await hear(client))["rev"] for client in (one, two)] == [23, 23]
        clock.advance(30.1)
        server.tick()
        assert [(await hear(client))["type"] for client in (one, two, two)] == ["same", "same", "same"]


async def test_boards_of_one_tick_come_in_one_write(
    server: SignServer, bus: BoardBus, clock: ManualClock, board: Make
) -> None:
    _, writer = await open_raw(server)
    stops = b",".join(b'"S%d"' % k for k in range(1, 11))
    writer.write(HELLO + frame(b'{"type":"sub","id":1,"stops":[%b]}' % stops))
    await turn_until(lambda: server.connected == 1 and server.hub.signs["raw"].slots)
    session = server.hub.signs["raw"]
    written: list[bytes] = []
    connection = server.connections[session]
    assert connection._transport is not None
    send = connection._transport.write
    connection._transport = type("Counting", (), {"write": lambda _, data: (written.append(data), send(data)), "is_closing": lambda _: False})()  # type: ignore[assignment]  # fmt: skip
    clock.advance(2)
    bus.publish([board(k, 19) for k in range(1, 11)])
    assert len(written) == 1 and written[0].count(b'"type":"board"') == 10
    writer.transport.abort()
