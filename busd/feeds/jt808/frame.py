"""Bytes of a stream <-> frames: flags, escapes, check byte, header. No meaning of bodies, no state of a terminal.

A frame is ``7e | header | body | check | 7e`` (JT/T 808-2013 clause 4.4); everything between the flags is escaped.
Where the text is silent, one rule does the rest: **a closing flag may also be an opening one.** What follows a closing
flag is a frame only if it is a good one, and noise otherwise. So one lost flag costs at most one frame, terminals that
share one flag between two frames are understood, and rubbish between frames is skipped.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from busd.errors import Reason

FLAG = 0x7E
MAX_BODY = 1023
MAX_WIRE = 2 * (21 + MAX_BODY + 1)
"""Bytes between the flags at most: the longest header, body and check byte, all of them escaped."""

JUNK_BEFORE_FIRST_FRAME = 64
"""Bytes outside frames that a peer may send before its first good frame: a scanner's request is longer."""
JUNK_BETWEEN_FRAMES = 1024
"""The same for a peer that has sent a good frame; every good frame starts the count again."""

VENDOR_IDS = frozenset((0x5501, 0x5502))
"""Trackers with a one-byte serial under these ids: not the standard's layout, though framed alike."""

_WORDS = Struct(">HH")
_WORD = Struct(">H")
_SHORTEST = 13
HUNTING, OPEN, MAYBE_OPEN = range(3)
"""States of a `FrameReader`: no flag yet; a flag has opened a frame; the flag that closed one may open the next."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A good frame, unescaped and taken apart."""

    message_id: int
    attributes: int
    """the WORD as sent: bits 0-9 length, 10-12 encryption, 13 sub-packet, 14 version flag"""
    protocol_version: int
    """the BYTE of a 2019 header; -1 for the layout of 2011 and 2013"""
    phone_raw: bytes
    """6 or 10 bytes as sent; answers carry the same ones"""
    serial: int
    total: int
    """packets of the message; 0 if it is not a sub-packet"""
    number: int
    """number of this packet, from 1"""
    body: bytes

    @property
    def is_2019(self) -> bool:
        """The layout of the header, which the length decides; the version flag may be wrong."""
        return self.protocol_version >= 0

    @property
    def is_flagless(self) -> bool:
        """A 2019 header without its version flag."""
        return self.protocol_version >= 0 and not self.attributes & 0x4000

    @property
    def encryption(self) -> int:
        """Bits 10-12: 0 none, 1 RSA."""
        return self.attributes >> 10 & 7

    @property
    def phone(self) -> str:
        return phone_digits(self.phone_raw)


class BadFrame(msgspec.Struct, frozen=True, gc=False):
    """Something between two flags that is no good frame; it changes nothing and is never answered."""

    reason: Reason
    wire: bytes
    """what was between the flags; only its beginning if it was too long"""


class FrameReader:
    """Frames of one stream. Cutting the stream into other chunks never changes what comes out.

    Holds at most `MAX_WIRE` bytes between two calls. A peer that sends more noise than the limits allow is given up:
    from then on `is_junk` is true and nothing comes out any more."""

    __slots__ = ("_junk", "_junk_limit", "is_clean", "is_junk", "junk_bytes", "rest", "state")

    def __init__(self) -> None:
        self.rest = b""
        self.state = HUNTING
        self._junk = 0
        self._junk_limit = JUNK_BEFORE_FIRST_FRAME
        self.junk_bytes = 0
        """bytes outside frames so far"""
        self.is_junk = False
        self.is_clean = False
        """the last thing was a good frame: no noise is counted and the next byte follows a closing flag"""

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has begun, with its opening flag."""
        return 0 if self.state == HUNTING else len(self.rest) + (self.state == OPEN)

    def take_back(self) -> bytes:
        """The frame that has begun, with its opening flag, as if it had not come yet; empty if none has."""
        if self.state != OPEN:
            return b""
        begun, self.rest, self.state = b"~" + self.rest, b"", MAYBE_OPEN
        return begun

    def passed(self) -> None:
        """Good frames were taken from the stream by somebody else; the next byte follows one."""
        self._junk, self._junk_limit = 0, JUNK_BETWEEN_FRAMES
        self.state = MAYBE_OPEN
        self.is_clean = True

    def receive_data(self, data: bytes) -> list[Frame | BadFrame]:
        """What is complete now, in the order of the stream."""
        self.is_clean = False
        out: list[Frame | BadFrame] = []
        if self.is_junk:
            return out
        if self.rest:
            data = self.rest + data
        state, pos, end = self.state, 0, len(data)
        while True:
            flag = data.find(b"~", pos)
            if state == HUNTING:
                if self._skipped((end if flag < 0 else flag) - pos):
                    return out
                if flag < 0:
                    pos = end
                    break
                state, pos = OPEN, flag + 1
                continue
            size = (end if flag < 0 else flag) - pos
            if size > MAX_WIRE:
                if state == OPEN:
                    out.append(BadFrame(Reason.NOT_A_FRAME, data[pos : pos + 32]))
                if self._skipped(size):
                    return out
                if flag < 0:
                    state, pos = HUNTING, end
                    break
                state, pos = OPEN, flag + 1
                continue
            if flag < 0:
                break
            if size == 0:
                # two flags in a row: the second one opens. The count bounds a storm of flags.
                if state == OPEN and self._skipped(1):
                    return out
                state, pos = OPEN, flag + 1
                continue
            wire = data[pos:flag]
            pos = flag + 1
            item = parse_frame(wire)
            if isinstance(item, Frame):
                self._junk, self._junk_limit = 0, JUNK_BETWEEN_FRAMES
                out.append(item)
                state = MAYBE_OPEN
            elif state == OPEN:
                out.append(item)
                state = MAYBE_OPEN
            else:
                if self._skipped(size):
                    return out
                state = OPEN
        self.state, self.rest = state, data[pos:] if pos < end else b""
        return out

    def _skipped(self, size: int) -> bool:
        """Counts noise; true once there was too much of it."""
        self._junk += size
        self.junk_bytes += size
        if self._junk > self._junk_limit:
            self.is_junk = True
            self.state, self.rest = HUNTING, b""
            return True
        return False


def parse_frame(wire: bytes) -> Frame | BadFrame:
    """What stands between two flags, still escaped.

    The layout of the header is the one whose length fits the frame: 12 bytes (2011, 2013) or 17 (2019), 4 more for a
    sub-packet. They differ, so at most one fits, and terminals that forget the version flag are read right too."""
    data = unescape(wire)
    if data is None or len(data) < _SHORTEST:
        return BadFrame(Reason.NOT_A_FRAME, wire)
    message_id, attributes = _WORDS.unpack_from(data)
    if xor(data):
        return BadFrame(Reason.VENDOR_VARIANT if message_id in VENDOR_IDS else Reason.BAD_CHECKSUM, wire)
    packet = 4 if attributes & 0x2000 else 0
    header = len(data) - 1 - (attributes & MAX_BODY)
    if header == 12 + packet:
        serial_at, version, phone = 10, -1, data[4:10]
    elif header == 17 + packet:
        serial_at, version, phone = 15, data[4], data[5:15]
    else:
        return BadFrame(Reason.VENDOR_VARIANT if message_id in VENDOR_IDS else Reason.BAD_LENGTH, wire)
    total, number = _WORDS.unpack_from(data, serial_at + 2) if packet else (0, 0)
    return Frame(
        message_id,
        attributes,
        version,
        phone,
        (data[serial_at] << 8) | data[serial_at + 1],
        total,
        number,
        data[header:-1],
    )


def encode_frame(
    message_id: int,
    phone_raw: bytes,
    serial: int,
    body: bytes = b"",
    version: int = 2013,
    packet: tuple[int, int] | None = None,
    protocol_version: int = 1,
    encryption: int = 0,
) -> bytes:
    """A frame with its flags, ready for the wire. ``phone_raw`` from `phone_bytes`; ``packet`` = (total, number).

    ValueError for what no frame can hold: a body over `MAX_BODY` bytes, a phone that is not of the layout."""
    is_2019 = version >= 2019
    if len(body) > MAX_BODY:
        raise ValueError(f"a frame holds {MAX_BODY} bytes of body, not {len(body)}: cut the message into packets")
    if len(phone_raw) != (10 if is_2019 else 6):
        raise ValueError(f"the phone of a {version} header has {10 if is_2019 else 6} bytes, not {len(phone_raw)}")
    attributes = len(body) | encryption << 10 | (0x2000 if packet else 0) | (0x4000 if is_2019 else 0)
    return encode_raw(message_id, attributes, protocol_version if is_2019 else -1, phone_raw, serial, body, packet)


def encode_raw(
    message_id: int,
    attributes: int,
    protocol_version: int,
    phone_raw: bytes,
    serial: int,
    body: bytes,
    packet: tuple[int, int] | None = None,
) -> bytes:
    """The same with the attribute WORD given, so that an answer can repeat a terminal's own flags."""
    data = _WORDS.pack(message_id, attributes)
    if protocol_version >= 0:
        data += bytes((protocol_version,))
    data += phone_raw + _WORD.pack(serial & 0xFFFF)
    if packet:
        data += _WORDS.pack(*packet)
    data += body
    return b"~" + escape(data + bytes((xor(data),))) + b"~"


def escape(data: bytes) -> bytes:
    """``7d`` -> ``7d 01`` first, then ``7e`` -> ``7d 02`` (clause 4.4.2)."""
    return data.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02")


def unescape(wire: bytes) -> bytes | None:
    """The way back; None if a ``7d`` is followed by anything but 01 or 02."""
    escapes = wire.count(b"\x7d")
    if not escapes:
        return wire
    if wire.count(b"\x7d\x01") + wire.count(b"\x7d\x02") != escapes:
        return None
    return wire.replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d")


def xor(data: bytes) -> int:
    """XOR of all bytes; 0 for data that ends with its own check byte.

    The bytes are folded in halves as one big integer: half the time of a loop over the bytes."""
    value = int.from_bytes(data, "big")
    bits = 8 << (len(data) - 1).bit_length() >> 1 if len(data) > 1 else 4
    while bits >= 8:
        value ^= value >> bits
        bits >>= 1
    return value & 0xFF


def phone_digits(phone_raw: bytes) -> str:
    """The identity of a terminal: hex digits without leading zeros, so that 6 and 10 bytes of one phone are one.

    Real devices put hex digits there; the number is never read as a decimal one."""
    return phone_raw.hex().lstrip("0") or "0"


def phone_bytes(phone: str, version: int = 2013) -> bytes:
    """Digits -> the BCD of a header, padded with zeros on the left; ValueError if they do not fit."""
    width = 20 if version >= 2019 else 12
    if len(phone) > width:
        raise ValueError(f"a {version} header holds {width} digits of a phone, not {len(phone)}")
    return bytes.fromhex(phone.zfill(width))
