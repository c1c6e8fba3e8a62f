"""Bodies of the messages that a positions gateway reads and the two answers it gives. Nothing here keeps state.

Bodies come from real devices, so every reader takes what is there: a short or odd body gives as much as can be read,
and None only where the message means nothing without the missing part.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from enum import IntEnum
from functools import lru_cache
from struct import Struct

import msgspec

BEIJING_S = 8 * 3600
"""The standard's clock: every BCD time is GMT+8, all year."""

PASSENGER_DOORS = 0xE000
"""Status bits 13 front, 14 middle, 15 rear; the driver's own door (16) does not count."""


class MessageId(IntEnum):
    """The ids that busd reads or writes, by the names of JT/T 808 clause 8."""

    TERMINAL_ANSWER = 0x0001
    HEARTBEAT = 0x0002
    DEREGISTER = 0x0003
    TIME_QUERY = 0x0004
    REGISTER = 0x0100
    AUTHENTICATE = 0x0102
    LOCATION = 0x0200
    LOCATION_ANSWER = 0x0201
    VEHICLE_CONTROL_ANSWER = 0x0500
    DRIVER = 0x0702
    LOCATION_BATCH = 0x0704
    PLATFORM_ANSWER = 0x8001
    TIME_ANSWER = 0x8004
    REGISTER_ANSWER = 0x8100


ACKNOWLEDGED_ONLY = frozenset((0x0005, 0x0107, 0x0205, 0x0705, 0x0800, 0x0801, 0x0900, 0x0901))
"""Messages that a positions gateway does not need: answered "ok" and not read, packet by packet."""

SERVED_TO_ANYONE = frozenset(
    (
        MessageId.HEARTBEAT,
        MessageId.DEREGISTER,
        MessageId.TIME_QUERY,
        MessageId.REGISTER,
        MessageId.AUTHENTICATE,
    )
)


class Result(IntEnum):
    """Result of a general answer (0x8001, 0x0001)."""

    OK = 0
    FAILURE = 1
    BAD_MESSAGE = 2
    UNSUPPORTED = 3
    ALARM_HANDLED = 4


class RegisterResult(IntEnum):
    """Result of 0x8100."""

    OK = 0
    VEHICLE_REGISTERED = 1
    NO_SUCH_VEHICLE = 2
    TERMINAL_REGISTERED = 3
    NO_SUCH_TERMINAL = 4


class Registration(msgspec.Struct, frozen=True):
    """0x0100. Texts are trimmed; empty where the terminal sent none."""

    standard: int
    """2011, 2013 or 2019: whose field widths fitted"""
    province: int
    city: int
    maker: str
    model: str
    terminal_id: str
    plate_color: int
    """JT/T 415: 1 blue, 2 yellow, 3 black, 4 white, 5 green; 0 = no plate yet, the text is the VIN"""
    plate: str


class Authentication(msgspec.Struct, frozen=True):
    """0x0102. IMEI and software only from 2019 on."""

    code: bytes
    imei: str = ""
    software: str = ""


class Location(msgspec.Struct, frozen=True, gc=False):
    """The 28 bytes of 0x0200 and what follows them, in the units of busd; nothing is judged here."""

    alarm: int
    status: int
    lat: float
    lon: float
    altitude_m: int
    speed_mps: float
    bearing_deg: int
    measured_at: float | None
    """epoch seconds (UTC); None if the digits are not a time"""
    extras: bytes
    """additional items, unread; see `items`"""

    @property
    def is_positioned(self) -> bool:
        return bool(self.status & 0x2)

    @property
    def is_encrypted(self) -> bool:
        """Status bit 5: coordinates went through a secrecy plug-in. Not reliable alone."""
        return bool(self.status & 0x20)

    @property
    def passenger_doors_open(self) -> bool:
        return self.status & PASSENGER_DOORS != 0

    def items(self) -> list[tuple[int, bytes]]:
        """(id, value) in the order sent, repeated ids kept; the last one may be cut short (`items_end_well`)."""
        return [(item_id, value) for item_id, value, _ in _items(self.extras)]

    @property
    def items_end_well(self) -> bool:
        """False if the last item promises more bytes than came, or is one lone byte."""
        end = 0
        for _, value, size in _items(self.extras):
            if len(value) < size:
                return False
            end += 2 + size
        return end == len(self.extras)

    def find_item(self, item_id: int, size: int) -> bytes | None:
        """The first whole item of this id whose length fits: vendors reuse the standard's ids for other things."""
        return find_item(self.extras, item_id, size)


class Batch(msgspec.Struct, frozen=True):
    """0x0704. Items in the order sent, which is not always the order of time."""

    kind: int
    """0 normal, 1 blind zone"""
    announced: int
    items: tuple[tuple[Location, bytes], ...]
    """each with the bytes it came from"""
    bad_items: int
    """items too short for a location, or cut off by the end of the body"""


_LOCATION = Struct(">IIIIHHH6s")
_REGISTER = Struct(">HH")
_ANSWER = Struct(">HHB")
LOCATION_BYTES = _LOCATION.size

_BCD = tuple(high * 10 + low if high < 10 and low < 10 else -1 for high in range(16) for low in range(16))
_WIDTHS = ((2019, 11, 30, 30), (2013, 5, 20, 7), (2011, 5, 8, 7))
"""standard, bytes of maker, model, terminal id"""


def decode_registration(body: bytes, is_2019: bool) -> Registration:
    """The field widths that fit the length: makers and texts disagree, so a body is never refused for it."""
    standard, maker, model, terminal = next(
        (widths for widths in _WIDTHS if len(body) >= 5 + sum(widths[1:]) and (is_2019 or widths[0] < 2019)),
        _WIDTHS[0] if is_2019 else _WIDTHS[2],
    )
    province, city = _REGISTER.unpack_from(body.ljust(4, b"\0"))
    at = 4
    texts = []
    for width in (maker, model, terminal):
        texts.append(decode_text(body[at : at + width]))
        at += width
    color = body[at] if at < len(body) else 0
    return Registration(standard, province, city, texts[0], texts[1], texts[2], color, decode_text(body[at + 1 :]))


def decode_authentication(body: bytes, is_2019: bool) -> Authentication:
    """2019: length, code, IMEI [15], software [20]. Before, or if that length cannot be right: all of it is the code."""
    if is_2019 and body and 0 < body[0] < len(body):
        end = 1 + body[0]
        return Authentication(body[1:end], decode_text(body[end : end + 15]), decode_text(body[end + 15 : end + 35]))
    return Authentication(body.rstrip(b"\0"))


def decode_location(body: bytes, utc_offset_s: float = BEIJING_S) -> Location | None:
    """None if the body is shorter than the 28 bytes. ``utc_offset_s`` is the terminals' clock minus UTC."""
    if len(body) < LOCATION_BYTES:
        return None
    alarm, status, lat, lon, altitude, speed, bearing, clock = _LOCATION.unpack_from(body)
    return Location(
        alarm,
        status,
        lat / -1e6 if status & 4 else lat / 1e6,
        lon / -1e6 if status & 8 else lon / 1e6,
        altitude - 0x10000 if altitude & 0x8000 else altitude,
        speed / 36.0,
        bearing,
        decode_time(clock, utc_offset_s),
        body[LOCATION_BYTES:],
    )


def decode_batch(body: bytes, utc_offset_s: float = BEIJING_S) -> Batch | None:
    """The items' own lengths are trusted, not the count; None if there is not even a count."""
    if len(body) < 3:
        return None
    items: list[tuple[Location, bytes]] = []
    bad, at = 0, 3
    while at < len(body):
        size = int.from_bytes(body[at : at + 2], "big")
        item = body[at + 2 : at + 2 + size]
        location = decode_location(item, utc_offset_s) if len(item) == size else None
        if location is None:
            bad += 1
        else:
            items.append((location, item))
        at += 2 + size
    return Batch(body[2], (body[0] << 8) | body[1], tuple(items), bad)


def decode_answer(body: bytes) -> tuple[int, int, int] | None:
    """0x0001 and 0x8001: (serial, message id, result) of what is answered; None if it is too short."""
    if len(body) < 5:
        return None
    serial, message_id, result = _ANSWER.unpack_from(body)
    return serial, message_id, result


def encode_answer(serial: int, message_id: int, result: int) -> bytes:
    return _ANSWER.pack(serial, message_id, result)


def decode_registration_answer(body: bytes) -> tuple[int, int, bytes] | None:
    """0x8100: (serial, result, code); the code only with result 0."""
    if len(body) < 3:
        return None
    return (body[0] << 8) | body[1], body[2], body[3:] if body[2] == 0 else b""


def encode_registration_answer(serial: int, result: int, code: bytes = b"") -> bytes:
    return serial.to_bytes(2, "big") + bytes((result,)) + (code if result == RegisterResult.OK else b"")


def decode_time(clock: bytes, utc_offset_s: float = BEIJING_S) -> float | None:
    """BCD[6] YYMMDDhhmmss -> epoch seconds; None for digits that are no time (all zero, month 13, not BCD)."""
    midnight = _midnight(clock[:3])
    hour, minute, second = _BCD[clock[3]], _BCD[clock[4]], _BCD[clock[5]]
    if midnight is None or not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return None
    return midnight + (hour * 3600 + minute * 60 + second) - utc_offset_s


@lru_cache(maxsize=1024)
def _midnight(digits: bytes) -> float | None:
    year, month, day = (_BCD[digit] for digit in digits)
    try:
        return (
            (date(2000 + year, month, day).toordinal() - date(1970, 1, 1).toordinal()) * 86400.0 if year >= 0 else None
        )
    except ValueError:
        return None


def decode_text(raw: bytes) -> str:
    """GBK without padding and without anything that could move a cursor: such texts reach logs and screens."""
    text = raw.strip(b"\0 ").decode("gb18030", "replace")
    return "".join(c for c in text if c.isprintable() and c != "\ufffd").strip()


def find_item(extras: bytes, item_id: int, size: int) -> bytes | None:
    """See `Location.find_item`."""
    if extras[:2] == bytes((item_id, size)) and len(extras) >= 2 + size:  # most send the odometer first
        return extras[2 : 2 + size]
    for found, value, length in _items(extras):
        if found == item_id and length == size == len(value):
            return value
    return None


def _items(extras: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(id, value, promised length) until the bytes end."""
    at = 0
    while at + 1 < len(extras):
        size = extras[at + 1]
        yield extras[at], extras[at + 2 : at + 2 + size], size
        at += 2 + size
