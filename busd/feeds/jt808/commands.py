"""Downlink: what a platform may ask of a terminal. Each command knows its id, its body and what answers it.

Clauses of JT/T 808-2013 (8.x); where 2019 has another layout, ``is_2019`` says so. Sent by `Session.send_command`;
awaited in `Jt808Server.send_command`. Bodies fit one frame or the encoder raises ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import msgspec

from busd.feeds.jt808.frame import MAX_BODY
from busd.feeds.jt808.terminal import encode_time
from busd.types import VehiclePosition

GENERAL_ANSWER = 0x0001
PARAMETERS_ANSWER = 0x0104
LOCATION_ANSWER = 0x0201
MAX_TEXT_BYTES = 1000

_WORDS = frozenset((0x0031, 0x005B, 0x005C, 0x005D, 0x005E, 0x0081, 0x0082, 0x0101, 0x0103))
_BYTES = frozenset((0x0084, 0x0090, 0x0091, 0x0092, 0x0094))
"""Parameters of table 12 that are numbers of another width than DWORD; the rest of the numbers are DWORD."""

_TEXTS = frozenset(
    (*range(0x0010, 0x0018), 0x001A, 0x001D, *range(0x0023, 0x0027), *range(0x0040, 0x0045), 0x0048, 0x0049, 0x0083)
)
"""Parameters of table 12 that are texts."""


class Command(Protocol):
    """``answer_id``: the message that carries what was asked for (0x0001 may refuse it); None = nothing answers."""

    @property
    def message_id(self) -> int: ...

    @property
    def answer_id(self) -> int | None: ...

    def encode(self, is_2019: bool) -> bytes:
        """The body; ValueError for what cannot be said."""
        ...


class QueryLocation(msgspec.Struct, frozen=True):
    """0x8201 (8.21): where are you now? The answer is used as a fix, too."""

    message_id: ClassVar[int] = 0x8201
    answer_id: ClassVar[int | None] = LOCATION_ANSWER

    def encode(self, is_2019: bool) -> bytes:
        return b""


class QueryParameters(msgspec.Struct, frozen=True):
    """0x8104 (8.10): all parameters; with ``ids`` these alone, which is 0x8106 (8.11)."""

    ids: tuple[int, ...] = ()
    answer_id: ClassVar[int | None] = PARAMETERS_ANSWER

    @property
    def message_id(self) -> int:
        return 0x8106 if self.ids else 0x8104

    def encode(self, is_2019: bool) -> bytes:
        return _count(len(self.ids)) + b"".join(_dword(i, "parameter id") for i in self.ids) if self.ids else b""


class SetParameters(msgspec.Struct, frozen=True):
    """0x8103 (8.9). Values: an int in the width that table 12 gives the id (DWORD where it gives none), a text (GBK),
    or the bytes themselves. Useful ones: 0x0001 heartbeat s, 0x0029 reporting interval s, 0x0027 the same asleep."""

    parameters: Mapping[int, int | str | bytes]
    message_id: ClassVar[int] = 0x8103
    answer_id: ClassVar[int | None] = GENERAL_ANSWER

    def encode(self, is_2019: bool) -> bytes:
        if not self.parameters:
            raise ValueError("no parameter to set")
        out = _count(len(self.parameters))
        for parameter_id, value in self.parameters.items():
            raw = _parameter(parameter_id, value)
            if len(raw) > 255:
                raise ValueError(f"parameter {parameter_id:#06x}: {len(raw)} bytes are more than 255")
            out += _dword(parameter_id, "parameter id") + bytes((len(raw),)) + raw
        return _one_frame(out)


class SetTime(msgspec.Struct, frozen=True):
    """0x8004 (2019): the time, epoch seconds. Terminals take it as an answer to 0x0004; nothing answers it."""

    at: float
    utc_offset_s: float = 0.0
    message_id: ClassVar[int] = 0x8004
    answer_id: ClassVar[int | None] = None

    def encode(self, is_2019: bool) -> bytes:
        return encode_time(self.at, self.utc_offset_s)


class SendText(msgspec.Struct, frozen=True):
    """0x8300 (8.26): a text for the driver, GBK. ``flags`` of table 26: 1 urgent, 4 on the display, 8 read aloud, 16 on
    the advertising screen. ``kind`` is in 2019 only: 1 notice, 2 service."""

    text: str
    flags: int = 4 | 8
    kind: int = 1
    message_id: ClassVar[int] = 0x8300
    answer_id: ClassVar[int | None] = GENERAL_ANSWER

    def encode(self, is_2019: bool) -> bytes:
        try:
            raw = self.text.encode("gbk")
        except UnicodeEncodeError as error:
            raise ValueError(f"the text has {self.text[error.start]!r}, which GBK has not") from None
        if not 0 < len(raw) <= MAX_TEXT_BYTES:
            raise ValueError(f"a text has 1 to {MAX_TEXT_BYTES} bytes of GBK, not {len(raw)}")
        if not 0 <= self.flags <= 255 or not 0 <= self.kind <= 255:
            raise ValueError("flags and kind of a text are bytes")
        return bytes((self.flags, self.kind) if is_2019 else (self.flags,)) + raw


class RequestPackets(msgspec.Struct, frozen=True):
    """0x8003 (8.7): send these packets of a message again. ``first_serial`` is that of its first packet."""

    first_serial: int
    numbers: tuple[int, ...]
    message_id: ClassVar[int] = 0x8003
    answer_id: ClassVar[int | None] = None

    def encode(self, is_2019: bool) -> bytes:
        if not 0 < len(self.numbers) <= 255:
            raise ValueError("1 to 255 packets can be asked for")
        return (
            (self.first_serial & 0xFFFF).to_bytes(2, "big")
            + len(self.numbers).to_bytes(2 if is_2019 else 1, "big")
            + b"".join(number.to_bytes(2, "big") for number in self.numbers)
        )


class CommandResult(msgspec.Struct, frozen=True):
    """What became of a command."""

    result: int
    """of 0x0001 (`message.Result`); 0 too if the answer itself came, or if none was to come"""
    parameters: dict[int, bytes] | None = None
    """0x0104: id -> value as sent"""
    position: VehiclePosition | None = None
    """0x0201, if the fix was usable"""

    @property
    def ok(self) -> bool:
        return self.result == 0


def decode_parameters(body: bytes) -> tuple[int, dict[int, bytes]] | None:
    """0x0104: (serial of the query, id -> value). The items' own lengths are trusted, not the count; a cut one is left
    out. None if there is not even a serial."""
    if len(body) < 3:
        return None
    out: dict[int, bytes] = {}
    at = 3
    while at + 5 <= len(body):
        size = body[at + 4]
        value = body[at + 5 : at + 5 + size]
        if len(value) == size:
            out[int.from_bytes(body[at : at + 4], "big")] = value
        at += 5 + size
    return (body[0] << 8) | body[1], out


def to_parameter(parameter_id: int, value: int | str) -> int | str | bytes:
    """What a person has written, as `SetParameters` takes it: ``hex:0102`` is bytes, a number a number, where the id is
    not that of a text. ValueError for hex that is none."""
    if isinstance(value, int):
        return str(value) if parameter_id in _TEXTS else value
    if value.startswith("hex:"):
        try:
            return bytes.fromhex(value[4:])
        except ValueError:
            raise ValueError(f"parameter {parameter_id:#06x}: {value[:40]!r} is no hex") from None
    if parameter_id not in _TEXTS:
        try:
            return int(value, 0)
        except ValueError:
            return value
    return value


def read_parameter(parameter_id: int, raw: bytes) -> int | str | None:
    """The value as a person reads it; None where nobody but its maker knows what it is."""
    if parameter_id in _TEXTS:
        return raw.rstrip(b"\0").decode("gbk", "replace")
    return int.from_bytes(raw, "big") if 0 < len(raw) <= 4 else None


def _parameter(parameter_id: int, value: int | str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("gbk", "replace")
    width = 2 if parameter_id in _WORDS else 1 if parameter_id in _BYTES else 4
    try:
        return value.to_bytes(width, "big")
    except OverflowError:
        raise ValueError(f"parameter {parameter_id:#06x}: {value} does not fit {width} bytes") from None


def _count(number: int) -> bytes:
    if number > 255:
        raise ValueError(f"{number} parameters are more than one message counts")
    return bytes((number,))


def _dword(value: int, what: str) -> bytes:
    try:
        return value.to_bytes(4, "big")
    except OverflowError:
        raise ValueError(f"{what} {value} is no DWORD") from None


def _one_frame(body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise ValueError(f"{len(body)} bytes do not fit one frame of {MAX_BODY}")
    return body
