"""The port itself, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from busd.clock import ManualClock
from busd.config import Jt808Config
from busd.errors import FeedError
from busd.feeds.jt808.commands import QueryLocation, QueryParameters, SendText, SetTime
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


# ---- one phone, two terminals ----------------------------------------------------------------------------------------

FAR = {"lat": 36.5, "lon": 103.8}


async def test_a_second_connection_is_an_event(start: Start, make_terminal: Any) -> None:
    rig = await start()
    old = make_terminal()
    old_reader, _ = await rig.login(old)
    await rig.login(make_terminal(code=old.code))
    assert await closed(old_reader)
    (conflict,) = rig.server.conflicts()
    assert (conflict.phone, conflict.kind, conflict.is_quarantined) == (old.phone, "second-connection", False)
    rig.clock.advance(301.0)
    assert rig.server.conflicts() == []


async def test_a_second_connection_after_silence_is_none(start: Start, make_terminal: Any) -> None:
    rig = await start()
    old = make_terminal()
    await rig.login(old)
    rig.clock.advance(61.0)
    await rig.login(make_terminal(code=old.code))
    assert rig.server.conflicts() == []


async def test_the_oldest_stays_if_the_operator_wants_it(start: Start, make_terminal: Any) -> None:
    rig = await start(duplicate_policy="oldest")
    old = make_terminal()
    reader, writer = await rig.login(old)
    new = make_terminal(code=old.code)
    new_reader, new_writer = await rig.connect()
    assert new.results(await ask(new_reader, new_writer, new.authenticate()))[0][2] == 1
    assert await closed(new_reader)
    assert old.results(await ask(reader, writer, old.location(NOW)))[0][2] == 0
    assert len(rig.server.conflicts()) == 1
    rig.clock.advance(61.0)
    await rig.login(new)  # the older one is silent: the bus is not locked out
    assert await closed(reader)


async def test_quarantine_acknowledges_and_does_not_use(start: Start, make_terminal: Any) -> None:
    rig = await start(duplicate_policy="quarantine")
    old = make_terminal()
    reader, writer = await rig.login(old)
    await ask(reader, writer, old.location(NOW))
    new = make_terminal(code=old.code)
    reader, writer = await rig.login(new)
    batch = encode_batch([encode_location(36.1, 103.0, measured_at=NOW - 900)])
    fixes = [new.location(NOW + 1, **FAR), new.location(NOW + 2, **FAR)]
    frames = [*fixes, new.frame(MessageId.LOCATION_BATCH, batch)]
    assert [result for *_, result in new.results(await ask(reader, writer, b"".join(frames), 3))] == [0, 0, 0]
    assert len(rig.submitted) == 1
    (connected,) = rig.server.connected()
    assert (connected.is_quarantined, connected.rejects) == (True, {"quarantined": 3})
    assert rig.server.release("0" + new.phone)
    await ask(reader, writer, new.location(NOW + 3, **FAR))
    assert len(rig.submitted) == 2
    rig.clock.advance(1.0)
    again = make_terminal(code=old.code)
    reader, writer = await rig.login(again)
    await ask(reader, writer, again.location(NOW + 4))
    assert len(rig.submitted) == 2, "back where the first one was"
    rig.clock.advance(300.5)
    await ask(reader, writer, again.location(NOW + 301))
    assert len(rig.submitted) == 3, "quiet for long enough"


async def test_quarantine_does_not_lock_a_bus_out_whose_link_broke(start: Start, make_terminal: Any) -> None:
    """Its old connection never ends: half open, as after a tunnel."""
    rig = await start(duplicate_policy="quarantine")
    one = make_terminal()
    for k in range(4):
        terminal = make_terminal(code=one.code)
        reader, writer = await rig.login(terminal)
        one.code = terminal.code
        for step in (1, 2):
            rig.clock.advance(5.0)
            at = NOW + 10 * k + 5 * step
            await ask(reader, writer, terminal.location(at, lat=36.06 + (at - NOW) * 1e-4))
    assert sum(len(positions) for positions, _ in rig.submitted) == 8
    (conflict,) = rig.server.conflicts()
    assert (conflict.signs, conflict.is_quarantined) == (3, False)


async def test_the_oldest_is_no_longer_one_when_it_misses_its_rhythm(start: Start, make_terminal: Any) -> None:
    rig = await start(duplicate_policy="oldest")
    old = make_terminal()
    reader, writer = await rig.login(old)
    for k in range(1, 11):
        rig.clock.advance(5.0)
        await ask(reader, writer, old.location(NOW + 5 * k))
    rig.clock.advance(16.0)
    await rig.login(make_terminal(code=old.code))
    assert await closed(reader)
    assert rig.server.conflicts() == []


async def test_a_phone_in_two_places(start: Start, make_terminal: Any) -> None:
    rig = await start()
    one = make_terminal()
    await rig.login(one)
    for k, place in enumerate(({}, FAR, {}, FAR)):
        terminal = make_terminal(code=one.code)
        reader, writer = await rig.login(terminal)
        rig.clock.advance(5.0)
        await ask(reader, writer, terminal.location(NOW + 5 * k + 5, **place))
    (conflict,) = rig.server.conflicts()
    assert conflict.kind == "two-places"
    assert conflict.distance_m > 40_000
    assert len(rig.submitted) == 4


# ---- commands --------------------------------------------------------------------------------------------------------


async def test_query_is_answered(start: Start, make_terminal: Any) -> None:
    rig = await start()
    terminal = make_terminal(version=2019)
    reader, writer = await rig.login(terminal)
    asked = asyncio.create_task(rig.server.send_command("0" + terminal.phone, QueryLocation()))
    (query,) = terminal.read(await ask(reader, writer, b""))
    assert query.message_id == 0x8201
    writer.write(terminal.frame(0x0001, query.serial.to_bytes(2, "big") + b"\x82\x01\x00"))  # "ok" is no place yet
    body = query.serial.to_bytes(2, "big") + encode_location(36.0, 103.0, measured_at=NOW)
    await ask(reader, writer, terminal.frame(MessageId.LOCATION_ANSWER, body))
    answer = await asyncio.wait_for(asked, TIMEOUT)
    assert answer.ok and answer.position is not None and answer.position.lat == 36.0
    assert len(rig.submitted) == 1, "the answer is a fix, too"


async def test_two_commands_answered_in_the_other_order(start: Start, terminal: Any) -> None:
    rig = await start()
    reader, writer = await rig.login(terminal)
    text = asyncio.create_task(rig.server.send_command(terminal.phone, SendText("下一站")))
    query = asyncio.create_task(rig.server.send_command(terminal.phone, QueryParameters()))
    first, second = terminal.read(await ask(reader, writer, b"", 2))
    await ask(reader, writer, terminal.frame(0x0104, second.serial.to_bytes(2, "big") + b"\x01\0\0\0\x29\x01\x0a"))
    writer.write(terminal.frame(0x0001, first.serial.to_bytes(2, "big") + b"\x83\x00\x03"))
    assert (await asyncio.wait_for(query, TIMEOUT)).parameters == {0x29: b"\x0a"}
    assert (await asyncio.wait_for(text, TIMEOUT)).result == 3


async def test_commands_that_are_not_answered(start: Start, terminal: Any) -> None:
    rig = await start()
    with pytest.raises(FeedError, match="not connected"):
        await rig.server.send_command(terminal.phone, QueryLocation())
    _, writer = await rig.login(terminal)
    assert (await rig.server.send_command(terminal.phone, SetTime(NOW))).ok, "nothing answers that one"
    with pytest.raises(TimeoutError):
        await rig.server.send_command(terminal.phone, QueryLocation(), timeout_s=0.01)
    with pytest.raises(ValueError, match="GBK"):
        await rig.server.send_command(terminal.phone, SendText(""))
    waiting = [asyncio.create_task(rig.server.send_command(terminal.phone, QueryLocation())) for _ in range(20)]
    await until(lambda: sum(task.done() for task in waiting) == 4)
    writer.close()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, FeedError)


# ---- for lists -------------------------------------------------------------------------------------------------------


async def test_what_is_known_of_a_terminal(start: Start, terminal: Any) -> None:
    rig = await start()
    reader, writer = await rig.login(terminal)
    rig.clock.advance(10.0)
    await ask(reader, writer, terminal.location(NOW + 9) + terminal.location(NOW + 9, lat=0.0, lon=0.0), 2)
    rig.clock.advance(2.0)
    (one,) = rig.server.connected()
    assert (one.phone, one.connected_at, one.last_fix_at, one.silent_s) == (terminal.phone, NOW, NOW + 9, 2.0)
    assert (one.rejects, one.frames, one.address) == ({"zero_island": 1}, 4, "127.0.0.1")
    assert one.lat is not None and one.lon is not None and one.lat > 0.0
    assert one.ack_s == 0.0
    assert (one.clock_offset_s, one.driver, one.is_quarantined) == (None, "", False)


async def test_one_connection_that_cannot_be_kept_does_not_cost_the_others(start: Start, make_terminal: Any) -> None:
    rig = await start()
    one, two = make_terminal(phone="13900000001"), make_terminal(phone="13900000002", plate="B")
    (one_reader, one_writer), (reader, writer) = await rig.login(one), await rig.login(two)
    await ask(one_reader, one_writer, one.location(NOW))
    rig.before_submit = _full
    one_writer.write(one.location(NOW + 1))
    assert await closed(one_reader)
    rig.before_submit = lambda: None
    assert two.results(await ask(reader, writer, two.location(NOW + 1)))[0][2] == 0


def _full() -> None:
    raise OSError(28, "No space left on device")


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until it holds."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.01)
