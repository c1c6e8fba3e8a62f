"""The port itself, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from busd.clock import ManualClock
from busd.config import Jt808Config
from busd.feeds.jt808.message import MessageId
from busd.feeds.jt808.terminal import encode_batch, encode_location
from busd.feeds.transport import Jt808Server, serve_jt808
from busd.registry import DeviceRegistry
from busd.types import VehiclePosition

TIMEOUT = 10.0
NOW = 1_795_400_000.0


class Rig:
    """A server, its manual clock, and what was submitted."""

    def __init__(self, **config: Any) -> None:
        self.config = Jt808Config(port=0, host="127.0.0.1", **config)
        self.clock = ManualClock(NOW)
        self.registry = DeviceRegistry()
        self.submitted: list[tuple[list[VehiclePosition], bool]] = []
        self.before_submit: Callable[[], None] = lambda: None
        self.server: Jt808Server
        self._writers: list[asyncio.StreamWriter] = []

    def submit(self, positions: Sequence[VehiclePosition], historical: bool) -> None:
        self.before_submit()
        self.submitted.append((list(positions), historical))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self._writers.append(writer)
        return reader, writer

    async def login(self, terminal: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.connect()
        if not terminal.code:
            assert terminal.take_code(await ask(reader, writer, terminal.register())) == 0
        assert terminal.results(await ask(reader, writer, terminal.authenticate()))[0][2] == 0
        return reader, writer

    async def stop(self) -> None:
        await self.server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


Start = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    rigs: list[Rig] = []

    async def begin(**config: Any) -> Rig:
        rig = Rig(**config)
        rigs.append(rig)
        rig.server = await serve_jt808(rig.config, rig.submit, rig.clock, rig.registry)
        return rig

    yield begin
    for rig in rigs:
        await rig.stop()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, answers: int = 1) -> bytes:
    """Sends, then reads until that many frames are here."""
    writer.write(data)
    out = b""
    while out.count(b"\x7e") < 2 * answers:
        more = await asyncio.wait_for(reader.read(65536), TIMEOUT)
        assert more, f"closed after {out.hex()}"
        out += more
    return out


async def closed(reader: asyncio.StreamReader) -> bool:
    """Waits for the end of the stream."""
    try:
        while await asyncio.wait_for(reader.read(65536), TIMEOUT):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("version", [2013, 2019])
async def test_positions_are_submitted_before_they_are_acknowledged(
    start: Start, make_terminal: Any, version: int
) -> None:
    rig = await start()
    terminal = make_terminal(version=version)
    reader, writer = await rig.login(terminal)
    out = await ask(reader, writer, terminal.location(NOW))
    assert terminal.results(out) == [(terminal.serial, MessageId.LOCATION, 0)]
    ((positions, historical),) = rig.submitted
    assert (positions[0].vehicle_id, historical) == ("甘A12345D", False)
    (connected,) = rig.server.connected()
    assert (connected.phone, connected.vehicle_id, connected.standard) == (terminal.phone, "甘A12345D", version)


async def test_fixes_of_one_read_go_in_together(start: Start, terminal: Any) -> None:
    rig = await start()
    reader, writer = await rig.login(terminal)
    batch = encode_batch(encode_location(36.0, 103.0, measured_at=NOW - 900 + k) for k in range(4))
    frames = [
        terminal.location(NOW + 1),
        terminal.location(NOW + 2),
        terminal.frame(MessageId.LOCATION_BATCH, batch),
        terminal.location(NOW + 3),
    ]
    out = await ask(reader, writer, b"".join(frames), 4)
    assert [result for _, _, result in terminal.results(out)] == [0] * 4
    assert sum(len(positions) for positions, _ in rig.submitted) == 7
    assert [historical for _, historical in rig.submitted].count(True) >= 1
    for positions, historical in rig.submitted:
        assert all((position.measured_at < NOW) == historical for position in positions)


async def test_nothing_is_acknowledged_that_was_not_kept(start: Start, terminal: Any) -> None:
    rig = await start()
    reader, writer = await rig.login(terminal)

    def full() -> None:
        raise OSError(28, "No space left on device")

    rig.before_submit = full
    wire = terminal.location(NOW)
    writer.write(wire)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), TIMEOUT) == b""
    rig.before_submit = lambda: None
    reader, writer = await rig.login(terminal)
    assert terminal.results(await ask(reader, writer, wire))[-1][2] == 0
    assert len(rig.submitted) == 1, "no duplicate: it had not been kept"


async def test_byte_by_byte(start: Start, terminal: Any) -> None:
    rig = await start()
    reader, writer = await rig.login(terminal)
    for byte in terminal.location(NOW):
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0)
    assert terminal.results(await ask(reader, writer, b""))[0][2] == 0


async def test_newest_connection_wins_and_the_old_end_changes_nothing(start: Start, make_terminal: Any) -> None:
    rig = await start()
    old = make_terminal()
    old_reader, old_writer = await rig.login(old)
    new = make_terminal(code=old.code)
    new_reader, new_writer = await rig.login(new)
    assert await closed(old_reader)
    old_writer.close()
    assert new.results(await ask(new_reader, new_writer, new.location(NOW)))[0][2] == 0
    assert len(rig.server.connected()) == 1


async def test_going_offline(start: Start, terminal: Any) -> None:
    rig = await start()
    reader, writer = await rig.login(terminal)
    rig.clock.advance(5.0)
    writer.write_eof()
    assert await closed(reader)
    await until(lambda: not rig.server.connected())
    device = rig.registry.find_device(terminal.phone)
    assert device is not None
    assert device.last_seen_at == NOW + 5.0


async def test_deregistered_terminal_is_not_connected(start: Start, terminal: Any) -> None:
    rig = await start()
    reader, writer = await rig.login(terminal)
    await ask(reader, writer, terminal.frame(MessageId.DEREGISTER))
    assert rig.server.connected() == []


async def test_silent_link_is_reaped_and_a_speaking_one_is_not(start: Start, make_terminal: Any) -> None:
    rig = await start(idle_timeout_s=0.4, auth_timeout_s=60.0)
    silent, speaking = make_terminal(phone="13900000001"), make_terminal(phone="13900000002")
    silent_reader, _ = await rig.login(silent)
    reader, writer = await rig.login(speaking)
    rig.clock.advance(0.3)
    await ask(reader, writer, speaking.frame(MessageId.HEARTBEAT))
    rig.clock.advance(0.3)
    assert await closed(silent_reader)
    assert [terminal.phone for terminal in rig.server.connected()] == [speaking.phone]


async def test_noise_is_no_sign_of_life(start: Start, terminal: Any) -> None:
    rig = await start(idle_timeout_s=0.4)
    reader, writer = await rig.login(terminal)
    rig.clock.advance(0.3)
    writer.write(b"noise")
    await writer.drain()
    rig.clock.advance(0.3)
    assert await closed(reader)


async def test_who_does_not_authenticate_is_closed(start: Start, terminal: Any) -> None:
    rig = await start(auth_timeout_s=0.4)
    reader, writer = await rig.connect()
    await ask(reader, writer, terminal.frame(MessageId.HEARTBEAT))
    rig.clock.advance(0.5)
    assert await closed(reader)


async def test_scanner_is_closed_and_the_port_lives(start: Start, terminal: Any) -> None:
    rig = await start()
    for junk in (
        b"GET /robots.txt HTTP/1.1\r\nHost: example\r\n\r\n" * 3,
        b"\x16\x03\x01" + bytes(600),
        b"\x7e" * 3000,
    ):
        reader, writer = await rig.connect()
        writer.write(junk)
        assert await closed(reader)
    reader, writer = await rig.login(terminal)
    assert terminal.results(await ask(reader, writer, terminal.location(NOW)))[0][2] == 0


async def test_unauthenticated_connections_of_one_address_are_capped(start: Start, terminal: Any) -> None:
    rig = await start(max_pending_per_address=3)
    waiting = [await rig.connect() for _ in range(3)]
    await until(lambda: rig.server.pending("127.0.0.1") == 3)
    reader, _ = await rig.connect()
    assert await closed(reader), "the newest is turned away while the others are young"
    rig.clock.advance(6.0)
    reader, writer = await rig.login(terminal)
    assert await closed(waiting[0][0]), "then the oldest gives way"
    assert terminal.results(await ask(reader, writer, terminal.location(NOW + 6)))[0][2] == 0
    assert rig.server.pending("127.0.0.1") == 2


async def test_connections_are_capped(start: Start, terminal: Any) -> None:
    rig = await start(max_connections=2)
    await rig.login(terminal)
    await rig.connect()
    reader, _ = await rig.connect()
    assert await closed(reader)
    assert len(rig.server.connected()) == 1


async def test_who_does_not_read_is_not_read_and_then_dropped(start: Start, terminal: Any) -> None:
    """A peer that asks for ever and never reads: its answers stop at a bounded size, then the deadline ends it."""
    rig = await start(write_deadline_s=1.0, max_messages_per_s=10_000_000)
    _, writer = await rig.login(terminal)
    writer.transport.pause_reading()
    beat = b"".join(terminal.frame(MessageId.HEARTBEAT) for _ in range(2000))
    for _ in range(2000):
        writer.write(beat)
        try:
            await asyncio.wait_for(writer.drain(), 0.2)
        except (TimeoutError, ConnectionError):
            break
    else:
        pytest.fail("the server went on reading")
    await until(lambda: rig.clock.advance(2.0) is None and not rig.server.connected())


async def test_a_burst_beyond_the_rate_waits_and_is_not_lost(start: Start, terminal: Any) -> None:
    rig = await start(max_messages_per_s=5, idle_timeout_s=0.4)
    reader, writer = await rig.login(terminal)
    count = 3000
    writer.write(b"".join(terminal.frame(MessageId.HEARTBEAT) for _ in range(count)))
    seen = 0
    while seen < count:
        with contextlib.suppress(TimeoutError):
            data = await asyncio.wait_for(reader.read(65536), 0.05)
            assert data
            seen += len(terminal.results(data))
        rig.clock.advance(100.0)
    assert seen == count


async def test_storm_of_registrations(start: Start, make_terminal: Any) -> None:
    rig = await start()
    terminals = [make_terminal(phone=f"1390000{n:04d}", plate="") for n in range(100)]
    links = await asyncio.gather(*(rig.login(terminal) for terminal in terminals))
    assert len(rig.server.connected()) == 100
    for (reader, writer), terminal in zip(links, terminals):
        assert terminal.results(await ask(reader, writer, terminal.location(NOW)))[0][2] == 0
    assert len(rig.submitted) == 100


async def test_close_is_prompt_and_tells_everyone(start: Start, make_terminal: Any) -> None:
    rig = await start()
    links = [await rig.login(make_terminal(phone=f"139000000{n}")) for n in range(3)]
    await asyncio.wait_for(rig.server.close(), TIMEOUT)
    for reader, _ in links:
        assert await closed(reader)
    assert rig.server.connected() == []


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until it holds."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.01)
