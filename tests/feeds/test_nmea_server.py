"""The NMEA port: real sockets, good and bad senders."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from busd.clock import ManualClock
from busd.config import NmeaConfig
from busd.feeds.intake import Roll
from busd.feeds.nmea import checksum
from busd.feeds.nmea_server import NmeaServer, serve_nmea
from busd.types import VehiclePosition

NOW = 1_795_303_810.0
Open = Callable[..., Awaitable[NmeaServer]]


def rmc(second: int = 5, prefix: str = "") -> bytes:
    content = f"BDRMC,2330{second:02d},A,3603.6653,N,10350.0582,E,19.44,88.0,211126,,,A"
    return f"{prefix}${content}*{checksum(content.encode()):02X}\r\n".encode()


class Line:
    def __init__(self) -> None:
        self.got: list[VehiclePosition] = []
        self.news = asyncio.Event()

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        self.got.extend(positions)
        self.news.set()

    async def wait(self, count: int) -> None:
        while len(self.got) < count:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 10)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def open_port(line: Line, clock: ManualClock) -> AsyncIterator[Open]:
    servers: list[NmeaServer] = []

    async def go(**options: object) -> NmeaServer:
        config = NmeaConfig(**{"host": "127.0.0.1", "port": 0, **options})  # type: ignore[arg-type]
        servers.append(await serve_nmea(config, line.submit, clock, lambda _: None, Roll()))
        return servers[-1]

    yield go
    for server in servers:
        await server.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), 10) == b""
    except ConnectionError:
        return True


async def test_a_stream_that_logs_in(open_port: Open, line: Line) -> None:
    server = await open_port()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    data = b"$ID,1207\r\n" + rmc(5) + rmc(6)
    for k in range(0, len(data), 11):
        writer.write(data[k : k + 11])
        await writer.drain()
    await line.wait(2)
    assert {p.vehicle_id for p in line.got} == {"1207"}
    assert line.got[0].speed_mps == pytest.approx(10.0, abs=0.01)
    writer.close()
    assert await ended(reader)


async def test_datagrams_by_address_and_by_line(open_port: Open, line: Line) -> None:
    server = await open_port(addresses={"127.0.0.1": "bus-of-this-address"})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(rmc(5).rstrip(), ("127.0.0.1", server.udp_port))
        await line.wait(1)
        sender.sendto(rmc(6, "1208,") + rmc(7, "1209,"), ("127.0.0.1", server.udp_port))
        await line.wait(3)
    assert [p.vehicle_id for p in line.got] == ["bus-of-this-address", "1208", "1209"]


async def test_a_scanner_loses_its_connection_and_nobody_else(open_port: Open, line: Line) -> None:
    server = await open_port(vehicle_id="b")
    good_reader, good = await asyncio.open_connection("127.0.0.1", server.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" * 100)
    assert await ended(reader)
    good.write(rmc())
    await line.wait(1)
    assert server.intake.roll.nameless == {} or server.connections == 1
    good.close()
    assert await ended(good_reader)


async def test_silence_ends_a_connection(open_port: Open, clock: ManualClock) -> None:
    server = await open_port(idle_timeout_s=60)
    reader, _ = await asyncio.open_connection("127.0.0.1", server.port)
    while not server.connections:
        await asyncio.sleep(0)
    clock.advance(61)
    server._sweep()
    assert await ended(reader)


async def test_connections_are_counted_out(open_port: Open) -> None:
    server = await open_port(max_connections=1)
    _, first = await asyncio.open_connection("127.0.0.1", server.port)
    while not server.connections:
        await asyncio.sleep(0)
    reader, _ = await asyncio.open_connection("127.0.0.1", server.port)
    assert await ended(reader)
    first.close()


async def test_a_flood_is_slowed_down_and_not_lost(open_port: Open, line: Line, clock: ManualClock) -> None:
    server = await open_port(vehicle_id="b", max_lines_per_s=1, udp=False)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(rmc(5) * 30)
    await line.wait(30)
    (link,) = server._links
    assert link._paused
    writer.write(rmc(6))
    await writer.drain()
    clock.advance(30)
    server._sweep()
    await line.wait(31)
    writer.close()


async def test_a_flood_of_datagrams_is_dropped_and_counted(open_port: Open, line: Line, clock: ManualClock) -> None:
    server = await open_port(vehicle_id="b", max_lines_per_s=1, tcp=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for k in range(20):
            sender.sendto(rmc(k), ("127.0.0.1", server.port))
        while not server.intake.roll.nameless:
            await asyncio.sleep(0)
        assert set(server.intake.roll.nameless) == {("nmea", "overload")}
        clock.advance(100)
        sender.sendto(rmc(30), ("127.0.0.1", server.port))
        await line.wait(7)


async def test_what_cannot_be_kept_drops_the_connection(clock: ManualClock) -> None:
    def submit(positions: Sequence[VehiclePosition], historical: bool) -> None:
        raise RuntimeError("disk")

    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    config = NmeaConfig(host="127.0.0.1", port=0, vehicle_id="b")
    server = await serve_nmea(config, submit, clock, lambda _: None, Roll())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(rmc())
    assert await ended(reader)
    assert len(failures) == 1
    await server.close()
