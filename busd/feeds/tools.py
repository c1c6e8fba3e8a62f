"""A capture -> what each frame or message of it says, for `busd feed decode`. Never raises for what the capture holds.

A capture is hex lines (one frame or message each; ``#`` begins a comment), raw bytes as they came, or a recording of
`busd feed tap`. Every codec gives dictionaries: ``ok``, ``reason`` (None or why not), ``positions``, and what else it
knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from busd.errors import FeedError
from busd.feeds import KINDS
from busd.feeds.jt808.describe import describe_frame, describe_item
from busd.feeds.jt808.frame import FrameReader
from busd.feeds.nmea import Session as NmeaSession
from busd.feeds.tap import MAGIC, Kind, read_records
from busd.types import Rejected, VehiclePosition

MAX_MESSAGE = 64_000_000
MAX_LINE = 4_000_000
_HEX_LINES = re.compile(rb"(?:[0-9A-Fa-f \t\r\n:,-]|0x|#[^\n]*)*")
_NOT_HEX = re.compile(rb"0x|[^0-9A-Fa-f]")


class Chunk(NamedTuple):
    """A piece of a capture. ``whole``: it is one frame or message by itself and not a piece of a stream."""

    stream: int
    at: float | None
    data: bytes
    whole: bool
    ends: bool = False
    """the stream has ended"""


class Options(NamedTuple):
    received_at: float
    datum: str = "wgs84"
    device_id: str = "unknown"
    """for lines of NMEA that name none"""
    utc_offset_s: float = 8 * 3600.0
    """the clock of JT/T 808 terminals minus UTC"""
    timezone: str = "UTC"
    """of SIRI times without an offset"""


def read_capture(file: BinaryIO) -> Iterator[Chunk]:
    """Pieces as they can be read, so that a pipe is decoded while it runs. `FeedError` for a damaged recording."""
    first = _read_some(file)
    while len(first) < len(MAGIC) and (more := _read_some(file)):
        first += more
    if first[: len(MAGIC)] == MAGIC:
        for record in read_records(cast(BinaryIO, _Joined(first[len(MAGIC) :], file))):
            if record.kind in (Kind.UP, Kind.DATAGRAM, Kind.CLOSED):
                is_whole = record.kind is Kind.DATAGRAM
                yield Chunk(record.stream, record.at, record.data, is_whole, record.kind is Kind.CLOSED)
    elif first.strip() and _HEX_LINES.fullmatch(first):
        for line in _lines(first, file):
            digits = _NOT_HEX.sub(b"", line.partition(b"#")[0])
            if digits:
                yield Chunk(0, None, bytes.fromhex(digits.decode()) if len(digits) % 2 == 0 else b"", True)
    else:
        while first:
            yield Chunk(0, None, first, False)
            first = _read_some(file)


def describe(codec: str, chunks: Iterator[Chunk], options: Options) -> Iterator[dict[str, Any]]:
    """One dictionary a frame or message. `FeedError` if there is no such codec or it cannot be loaded."""
    if codec == "jt808":
        return _jt808(chunks, options)
    if codec == "nmea":
        return _nmea(chunks, options)
    return _messages(codec, chunks, options)


CODECS = ("jt808", "gtfs-rt", "hfp", "siri-vm", "nmea", "traccar", "osmand", "json")


# ---- frames and lines ------------------------------------------------------------------------------------------------


def _jt808(chunks: Iterator[Chunk], options: Options) -> Iterator[dict[str, Any]]:
    readers: dict[int, FrameReader] = {}
    for chunk in chunks:
        reader = FrameReader() if chunk.whole else readers.setdefault(chunk.stream, FrameReader())
        items = reader.receive_data(chunk.data)
        for item in items:
            yield describe_item(item, options.utc_offset_s)
        if chunk.whole and not items:  # without its flags, or not even that
            yield describe_frame(chunk.data, options.utc_offset_s)
        elif reader.is_junk or chunk.ends:
            readers.pop(chunk.stream, None)


def _nmea(chunks: Iterator[Chunk], options: Options) -> Iterator[dict[str, Any]]:
    """The latest line of a stream waits for the next one or the end: a GGA that nothing follows is a position."""
    sessions: dict[int, NmeaSession] = {}
    rests: dict[int, bytes] = {}
    waiting: dict[int, tuple[bytes, float]] = {}

    def take(stream: int, is_last: bool = False) -> Iterator[dict[str, Any]]:
        line, at = waiting.pop(stream, (b"", 0.0))
        if not line:
            return
        session = sessions.get(stream)
        if session is None or session.closing is not None:
            session = sessions[stream] = NmeaSession("nmea", device_id=options.device_id, datum=options.datum)
        session.receive_data(line + b"\n", at)
        if is_last:
            session.end_datagram(at)
        yield _outcome(session.events(), {"line": line.decode("ascii", "replace").strip()})

    last = options.received_at
    for chunk in chunks:
        last = chunk.at if chunk.at is not None else options.received_at
        data = rests.pop(chunk.stream, b"") + chunk.data
        *lines, rest = data.split(b"\n")
        if rest and (chunk.whole or chunk.ends or len(rest) > MAX_LINE):
            lines.append(rest)
        elif rest:
            rests[chunk.stream] = rest
        for line in lines:
            if line.strip():
                yield from take(chunk.stream)
                waiting[chunk.stream] = (line, last)
        if chunk.ends:
            yield from take(chunk.stream, is_last=True)
    for stream, rest in rests.items():
        if rest.strip():
            yield from take(stream)
            waiting[stream] = (rest, last)
    for stream in list(waiting):
        yield from take(stream, is_last=True)


# ---- messages --------------------------------------------------------------------------------------------------------


def _messages(codec: str, chunks: Iterator[Chunk], options: Options) -> Iterator[dict[str, Any]]:
    decode = _load(codec)
    streams: dict[int, list[bytes]] = {}
    sizes: dict[int, int] = {}
    for chunk in chunks:
        if chunk.whole:
            yield from _message(codec, decode, chunk.data, options)
            continue
        streams.setdefault(chunk.stream, []).append(chunk.data)
        sizes[chunk.stream] = sizes.get(chunk.stream, 0) + len(chunk.data)
        if sizes[chunk.stream] > MAX_MESSAGE:
            raise FeedError(f"a message of more than {MAX_MESSAGE} bytes")
    for parts in streams.values():
        yield from _message(codec, decode, b"".join(parts), options)


def _message(codec: str, decode: Callable[..., Any], body: bytes, options: Options) -> Iterator[dict[str, Any]]:
    """One message, or several of a text codec on a line each."""
    lines = [line.strip() for line in body.splitlines() if line.strip()] if codec in _LINES else []
    if codec == "hfp":
        for line in lines:
            yield _hfp(decode, line, options)
    elif codec == "osmand" or (len(lines) > 1 and all(line[:1] in (b"{", b"[") for line in lines) and _is_lines(lines)):
        for line in lines:
            yield _decoded(codec, decode, line, options)
    else:
        yield _decoded(codec, decode, body, options)


_LINES = frozenset(("hfp", "osmand", "traccar", "json"))


def _is_lines(lines: list[bytes]) -> bool:
    """Whether the first line alone is JSON: then every line is a message, else the lines are one."""
    try:
        msgspec.json.decode(lines[0])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _decoded(codec: str, decode: Callable[..., Any], body: bytes, options: Options) -> dict[str, Any]:
    more = {"timezone": options.timezone} if codec == "siri-vm" else {}
    try:
        result = decode(body, source=codec, received_at=options.received_at, datum=options.datum, **more)
    except FeedError as error:
        return {"ok": False, "reason": str(error).removeprefix(f"{codec}: "), "positions": [], "rejects": []}
    known = {
        name: getattr(result, name)
        for name in ("header_at", "differential", "deleted", "other_entities")
        if hasattr(result, name)
    }
    return _outcome([*result.positions, *result.rejects], known)


def _hfp(decode: Callable[..., Any], line: bytes, options: Options) -> dict[str, Any]:
    """``topic payload``, as mosquitto_sub -v prints it; topics may hold spaces."""
    topic, brace, payload = line.decode("utf-8", "replace").partition(" {")
    result = decode(
        topic,
        (brace.strip() + payload).encode(),
        source="hfp",
        received_at=options.received_at,
        datum=options.datum,
    )
    if isinstance(result, VehiclePosition | Rejected):
        return _outcome([result], {"topic": topic})
    return {"ok": True, "reason": None, "positions": [], "rejects": [], "topic": topic, "ignored": str(result[0])}


def _outcome(results: list[VehiclePosition | Rejected], known: dict[str, Any]) -> dict[str, Any]:
    """``ok`` unless all there is was refused; ``reason`` of the first refusal."""
    positions = [msgspec.to_builtins(result) for result in results if isinstance(result, VehiclePosition)]
    rejects = [
        {"reason": str(result.reason), "vehicle_id": result.vehicle_id, "detail": result.detail}
        for result in results
        if isinstance(result, Rejected)
    ]
    return {
        "ok": bool(positions) or not rejects,
        "reason": rejects[0]["reason"] if rejects else None,
        "positions": positions,
        "rejects": rejects,
        **known,
    }


def _load(codec: str) -> Callable[..., Any]:
    if codec not in KINDS:
        raise FeedError(f"there is no codec {codec!r}; there are {', '.join(CODECS)}")
    try:
        decode = KINDS[codec].load_codec()
    except (ImportError, AttributeError) as error:
        raise FeedError(f"the codec {codec!r} cannot be loaded: {error}") from error
    if not callable(decode):
        raise FeedError(f"the codec {codec!r} cannot be called")
    return cast(Callable[..., Any], decode)


# ---- bytes -----------------------------------------------------------------------------------------------------------


def _read_some(file: BinaryIO) -> bytes:
    read1 = getattr(file, "read1", None)
    data: bytes = read1(65536) if read1 is not None else file.read(65536)
    return data


def _lines(first: bytes, file: BinaryIO) -> Iterator[bytes]:
    rest = first
    while True:
        *lines, rest = rest.split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE:
            raise FeedError(f"a line of more than {MAX_LINE} bytes")
        more = _read_some(file)
        if not more:
            break
        rest += more
    yield rest


class _Joined:
    """Bytes that were read already, and the file they came from."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self._first = first
        self._file = file

    def read(self, size: int) -> bytes:
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._file.read(size)
