"""The other end: bodies as a terminal sends them. For simulated fleets, replays through the front door, and tests.

A body becomes a frame with `busd.feeds.jt808.frame.encode_frame`; the platform's answers are read with the same
`FrameReader` and with `decode_answer` and `decode_registration_answer` of message.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntFlag
from struct import Struct

from busd.feeds.jt808.frame import MAX_BODY, encode_frame
from busd.feeds.jt808.message import BEIJING_S

_LOCATION = Struct(">IIIIHHH6s")


class Status(IntFlag):
    """The status bits of 0x0200 that a bus needs (JT/T 808-2013 clause 8.18)."""

    ACC = 1 << 0
    POSITIONED = 1 << 1
    SOUTH = 1 << 2
    WEST = 1 << 3
    OUT_OF_SERVICE = 1 << 4
    ENCRYPTED = 1 << 5
    FRONT_DOOR_OPEN = 1 << 13
    MIDDLE_DOOR_OPEN = 1 << 14
    REAR_DOOR_OPEN = 1 << 15
    GPS = 1 << 18
    BEIDOU = 1 << 19


def encode_location(
    lat: float,
    lon: float,
    speed_mps: float = 0.0,
    bearing_deg: float = 0.0,
    altitude_m: float = 0.0,
    measured_at: float = 0.0,
    items: Sequence[tuple[int, bytes]] = (),
    *,
    positioned: bool = True,
    ignition: bool = True,
    doors_open: bool = False,
    odometer_m: float | None = None,
    status: int = Status.GPS | Status.BEIDOU,
    alarm: int = 0,
    utc_offset_s: float = BEIJING_S,
) -> bytes:
    """Body of 0x0200: WGS-84 degrees, metres, metres a second, epoch seconds (UTC), then additional items (id, value).

    ``doors_open`` sets the front and the middle door; ``status`` is or-ed with what the other arguments say.
    ``odometer_m`` becomes item 0x01 in front of the others. Numbers beyond a field's range stop at its end."""
    status |= (
        (Status.POSITIONED if positioned else 0)
        | (Status.ACC if ignition else 0)
        | (Status.SOUTH if lat < 0 else 0)
        | (Status.WEST if lon < 0 else 0)
        | (Status.FRONT_DOOR_OPEN | Status.MIDDLE_DOOR_OPEN if doors_open else 0)
    )
    body = _LOCATION.pack(
        alarm,
        status,
        round(abs(lat) * 1e6),
        round(abs(lon) * 1e6),
        round(max(-32768.0, min(32767.0, altitude_m))) & 0xFFFF,
        round(max(0.0, min(65535.0, speed_mps * 36.0))),
        round(bearing_deg) % 360,
        encode_time(measured_at, utc_offset_s),
    )
    if odometer_m is not None:
        items = [(0x01, min(0xFFFFFFFF, round(odometer_m / 100.0)).to_bytes(4, "big")), *items]
    return body + b"".join(bytes((item_id, len(value))) + value for item_id, value in items)


def encode_time(at: float, utc_offset_s: float = BEIJING_S) -> bytes:
    """Epoch seconds -> BCD[6]; the digits hold whole seconds of the years 2000 to 2099."""
    local = datetime.fromtimestamp(at, UTC) + timedelta(seconds=utc_offset_s)
    return bytes.fromhex(local.strftime("%y%m%d%H%M%S"))


def encode_registration(
    plate: str,
    version: int = 2013,
    terminal_id: str = "",
    *,
    maker: str = "BUSD",
    model: str = "SIM-1",
    province: int = 62,
    city: int = 100,
    plate_color: int = 2,
) -> bytes:
    """Body of 0x0100 in the widths of ``version`` (2011, 2013, 2019). Texts are GBK, cut to their field."""
    widths = {2011: (5, 8, 7), 2013: (5, 20, 7)}.get(version, (11, 30, 30))
    texts = (maker, model, terminal_id)
    return (
        province.to_bytes(2, "big")
        + city.to_bytes(2, "big")
        + b"".join(text.encode("gbk", "replace")[:width].ljust(width, b"\0") for text, width in zip(texts, widths))
        + bytes((plate_color,))
        + plate.encode("gbk", "replace")
    )


encode_register = encode_registration


def encode_auth(code: bytes, version: int = 2013, imei: str = "000000000000000", software: str = "busd-sim") -> bytes:
    """Body of 0x0102: the code alone before 2019, then length, code, IMEI and software."""
    if version < 2019:
        return code
    return (
        bytes((len(code),))
        + code
        + imei.encode("ascii")[:15].ljust(15, b"\0")
        + software.encode()[:20].ljust(20, b"\0")
    )


def encode_batch(locations: Iterable[bytes], kind: int = 1) -> bytes:
    """Body of 0x0704 from bodies of 0x0200; kind 0 = normal, 1 = blind zone. One frame holds about 25 of them."""
    items = list(locations)
    return (
        len(items).to_bytes(2, "big") + bytes((kind,)) + b"".join(len(item).to_bytes(2, "big") + item for item in items)
    )


def encode_packets(
    message_id: int, phone_raw: bytes, serial: int, body: bytes, version: int = 2013, size: int = MAX_BODY
) -> list[bytes]:
    """A message as frames with consecutive serials from ``serial`` on; one ordinary frame if the body fits."""
    if len(body) <= size:
        return [encode_frame(message_id, phone_raw, serial, body, version)]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return [
        encode_frame(message_id, phone_raw, serial + i, part, version, packet=(len(parts), i + 1))
        for i, part in enumerate(parts)
    ]
