"""Recorded bytes of a source: the file, recording it from sockets, and sending it again.

The file: the line ``busd tap 1``, then records ``>dIBI`` (epoch seconds, stream number, `Kind`, length) and their bytes.
Streams are connections (or UDP senders), numbered from 1. A file that was cut off is read up to its last whole record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from enum import IntEnum
from struct import Struct
from typing import BinaryIO, NamedTuple

from busd.clock import Clock
from busd.errors import FeedError

MAGIC = b"busd tap 1\n"
MAX_RECORD = 1 << 24
READ_BYTES = 65536
DRAIN_S = 10.0
_HEAD = Struct(">dIBI")


class Kind(IntEnum):
    UP = 0
    """bytes from the source: what a feed reads"""
    OPENED = 1
    CLOSED = 2
    DOWN = 3
    """bytes to the source: what a gateway answered, where the tap stood in between"""
    DATAGRAM = 4


class Record(NamedTuple):
    at: float
    stream: int
    kind: Kind
    data: bytes


class TapWriter:
    """Appends records to a new file; every record is written through, so a recording may be cut off at any time."""

    def __init__(self, file: BinaryIO, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._streams = 0
        self.records = 0
        self.bytes = 0
        file.write(MAGIC)
        file.flush()

    def new_stream(self) -> int:
        self._streams += 1
        return self._streams

    def write(self, stream: int, kind: Kind, data: bytes = b"") -> None:
        self._file.write(_HEAD.pack(self._clock.now(), stream, kind, len(data)) + data)
        self._file.flush()
        self.records += 1
        self.bytes += len(data)


def read_tap(file: BinaryIO) -> Iterator[Record]:
    """Records of a file whose first line has not been read yet. `FeedError` for another kind of file."""
    if file.read(len(MAGIC)) != MAGIC:
        raise FeedError("this is no recording of 'busd feed tap'")
    yield from read_records(file)


def read_records(file: BinaryIO) -> Iterator[Record]:
    """The same after the first line."""
    while len(head := _read_all(file, _HEAD.size)) == _HEAD.size:
        at, stream, kind, size = _HEAD.unpack(head)
        if size > MAX_RECORD or kind not in tuple(Kind):
            raise FeedError("the recording is damaged")
        data = _read_all(file, size)
        if len(data) < size:
            return
        yield Record(at, stream, Kind(kind), data)


def _read_all(file: BinaryIO, size: int) -> bytes:
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# ---- recording -------------------------------------------------------------------------------------------------------


async def record_from(host: str, port: int, writer: TapWriter) -> None:
    """What a TCP server sends, until it closes. OSError if it cannot be reached."""
    reader, peer = await asyncio.open_connection(host, port)
    stream = writer.new_stream()
    writer.write(stream, Kind.OPENED)
    try:
        await _copy(reader, None, writer, stream, Kind.UP)
    finally:
        writer.write(stream, Kind.CLOSED)
        await _close(peer)


@contextlib.asynccontextmanager
async def record_port(host: str, port: int, writer: TapWriter, to: tuple[str, int] | None = None) -> AsyncIterator[int]:
    """Listens for TCP and records what comes, while the context is open; gives the port. With ``to`` every connection is
    passed on there, both ways, so that devices get their answers."""
    links: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, peer: asyncio.StreamWriter) -> None:
        links.add(peer)
        stream = writer.new_stream()
        writer.write(stream, Kind.OPENED)
        try:
            if to is None:
                await _copy(reader, None, writer, stream, Kind.UP)
                return
            far_reader, far = await asyncio.open_connection(*to)
            links.add(far)
            try:
                ways = [
                    asyncio.create_task(_copy(reader, far, writer, stream, Kind.UP)),
                    asyncio.create_task(_copy(far_reader, peer, writer, stream, Kind.DOWN)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                await _close(far)
                await _close(peer)
                await asyncio.gather(*ways, return_exceptions=True)
            finally:
                links.discard(far)
        except OSError:
            pass
        finally:
            links.discard(peer)
            writer.write(stream, Kind.CLOSED)
            await _close(peer)

    server = await asyncio.start_server(serve, host, port)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for link in list(links):
            link.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def record_datagrams(
    host: str, port: int, writer: TapWriter, to: tuple[str, int] | None = None
) -> AsyncIterator[int]:
    """The same for UDP; ``to`` gets the datagrams, nothing comes back."""
    loop = asyncio.get_running_loop()
    far = (await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=to))[0] if to else None
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(writer, far), (host, port))
    try:
        yield int(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()
        if far is not None:
            far.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, writer: TapWriter, far: asyncio.DatagramTransport | None) -> None:
        self._writer = writer
        self._far = far
        self._streams: dict[tuple[str, int], int] = {}

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        key = (addr[0], addr[1])
        if key not in self._streams:
            if len(self._streams) >= 100_000:
                self._streams.clear()
            self._streams[key] = self._writer.new_stream()
        self._writer.write(self._streams[key], Kind.DATAGRAM, data)
        if self._far is not None:
            self._far.sendto(data)


async def _copy(
    reader: asyncio.StreamReader, far: asyncio.StreamWriter | None, writer: TapWriter, stream: int, kind: Kind
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(READ_BYTES):
            writer.write(stream, kind, data)
            if far is not None:
                far.write(data)
                await far.drain()


async def _close(peer: asyncio.StreamWriter) -> None:
    peer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(peer.wait_closed(), DRAIN_S)


# ---- sending again ---------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    streams: int
    records: int
    bytes: int
    failed: int
    """records that could not be sent because the other side had closed"""


async def send_again(
    records: Iterator[Record],
    host: str,
    port: int,
    clock: Clock,
    speed: float = 1.0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Sent:
    """What came from the source goes out again: a connection for every recorded one, in the recorded order and at the
    recorded times (``speed`` 2 = twice as fast, 0 = without waiting). Answers are read and dropped. OSError if nobody
    listens at the first connection."""
    links: dict[int, tuple[asyncio.StreamWriter, asyncio.Task[None]]] = {}
    socket: asyncio.DatagramTransport | None = None
    streams: set[int] = set()
    sent = size = failed = 0
    start: tuple[float, float] | None = None
    try:
        for record in records:
            if record.kind is Kind.DOWN:
                continue
            if start is None:
                start = (record.at, clock.monotonic())
            if speed > 0:
                wait = (record.at - start[0]) / speed - (clock.monotonic() - start[1])
                if wait > 0:
                    await sleep(wait)
            if record.kind is Kind.DATAGRAM:
                if socket is None:
                    loop = asyncio.get_running_loop()
                    socket, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(host, port))
                socket.sendto(record.data)
            elif record.kind is Kind.CLOSED:
                if record.stream in links:
                    await _end(*links.pop(record.stream))
                continue
            else:
                if record.stream not in streams:
                    reader, peer = await asyncio.open_connection(host, port)
                    links[record.stream] = (peer, asyncio.create_task(_drop(reader)))
                    streams.add(record.stream)
                if record.kind is Kind.OPENED:
                    continue
                if record.stream not in links or not await _send(links[record.stream][0], record.data):
                    failed += 1
                    continue
            streams.add(record.stream)
            sent += 1
            size += len(record.data)
    finally:
        for link in links.values():
            await _end(*link)
        if socket is not None:
            await asyncio.sleep(0)
            socket.close()
    return Sent(len(streams), sent, size, failed)


async def _send(peer: asyncio.StreamWriter, data: bytes) -> bool:
    if peer.is_closing():
        return False
    try:
        peer.write(data)
        await asyncio.wait_for(peer.drain(), DRAIN_S)
    except (OSError, TimeoutError):
        return False
    return True


async def _drop(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(READ_BYTES):
            pass


async def _end(peer: asyncio.StreamWriter, drops: asyncio.Task[None]) -> None:
    """Half-closes, waits for the last answers, closes."""
    with contextlib.suppress(OSError):
        if peer.can_write_eof():
            peer.write_eof()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(drops, DRAIN_S)
    await _close(peer)
