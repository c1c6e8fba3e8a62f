"""One frame in words and numbers, for people with a hex dump and a question."""

from __future__ import annotations

from typing import Any

from busd.feeds.jt808.frame import FLAG, BadFrame, Frame, parse_frame, unescape
from busd.feeds.jt808.message import (
    BEIJING_S,
    Location,
    MessageId,
    decode_answer,
    decode_authentication,
    decode_batch,
    decode_location,
    decode_registration,
    decode_registration_answer,
)

_C13 = "JT/T 808-2013 8.18"
_C19 = "JT/T 808-2019, location additional items"
_C1078 = "JT/T 1078-2016, location additional items"

ITEMS: dict[int, tuple[str, str, frozenset[int]]] = {
    0x01: ("odometer, 0.1 km", _C13, frozenset((4,))),
    0x02: ("fuel, 0.1 L", _C13, frozenset((2,))),
    0x03: ("tachograph speed, 0.1 km/h", _C13, frozenset((2,))),
    0x04: ("alarm event to be confirmed", _C13, frozenset((2,))),
    0x05: ("tyre pressures, Pa", _C19, frozenset((30,))),
    0x06: ("cabin temperature, degrees C", _C19, frozenset((2,))),
    0x11: ("overspeed", _C13, frozenset((1, 5))),
    0x12: ("entry to or exit from an area or route", _C13, frozenset((6,))),
    0x13: ("time on a section too short or too long", _C13, frozenset((7,))),
    0x14: ("video alarms", _C1078, frozenset((4,))),
    0x15: ("video signal lost, by channel", _C1078, frozenset((4,))),
    0x16: ("video signal covered, by channel", _C1078, frozenset((4,))),
    0x17: ("video storage fault", _C1078, frozenset((2,))),
    0x18: ("abnormal driving", _C1078, frozenset((2,))),
    0x25: ("vehicle signals", _C13, frozenset((4,))),
    0x2A: ("input and output states", _C13, frozenset((2,))),
    0x2B: ("analogue inputs", _C13, frozenset((4,))),
    0x30: ("radio signal strength", _C13, frozenset((1,))),
    0x31: ("satellites", _C13, frozenset((1,))),
}
"""id -> name and unit, clause, lengths it may have. A known id with another length is a vendor's own use of it."""

_NUMBERS = frozenset((0x01, 0x02, 0x03, 0x30, 0x31))


def describe_frame(raw: bytes, utc_offset_s: float = BEIJING_S) -> dict[str, Any]:
    """What one frame (the first of ``raw``) says, as on the wire, with or without its flags. Never raises.

    ``ok`` and ``reason`` (None, ``flagless-2019``, ``bad-checksum``, ``bad-length``, ``not-a-frame``,
    ``vendor-variant``); for frames that are ok (a flagless one is): ``msg_id`` ("0x0200", as the standard writes it), ``name``, ``phone``, ``serial``,
    ``version`` (2011, 2013, 2019), ``encrypted``, ``packet``, ``body`` (hex), ``positions`` and what else the message
    has. Positions: degrees, m/s, degrees from north, metres, Unix seconds (UTC; None = the digits are no time)."""
    flag = bytes((FLAG,))
    return describe_item(parse_frame(raw.strip(flag).partition(flag)[0]), utc_offset_s)


def describe_item(frame: Frame | BadFrame, utc_offset_s: float = BEIJING_S) -> dict[str, Any]:
    """The same for what a `FrameReader` gave. Of a bad frame ``phone`` and ``serial`` are None, and so are ``msg_id`` and
    ``version`` where not even they can be guessed."""
    if not isinstance(frame, Frame):
        known = {"msg_id": None, "phone": None, "serial": None, "version": None, **_beginning(frame.wire)}
        return {"ok": False, "reason": frame.reason.value, **known, "positions": []}
    out: dict[str, Any] = {
        "ok": True,
        "reason": "flagless-2019" if frame.is_flagless else None,
        "msg_id": _hex_id(frame.message_id),
        "name": _NAMES.get(frame.message_id, "unknown"),
        "phone": frame.phone,
        "serial": frame.serial,
        "version": 2019 if frame.is_2019 else 2013,
        "encrypted": bool(frame.encryption),
        "packet": {"total": frame.total, "number": frame.number} if frame.attributes & 0x2000 else None,
        "body": frame.body.hex(),
        "positions": [],
    }
    if not frame.encryption and frame.total <= 1:
        _describe_body(frame, out, utc_offset_s)
    return out


def _describe_body(frame: Frame, out: dict[str, Any], utc_offset_s: float) -> None:
    body, message_id = frame.body, frame.message_id
    if message_id == MessageId.REGISTER:
        registration = decode_registration(body, frame.is_2019)
        if not frame.is_2019:  # the header cannot tell 2011 from 2013, the widths of the fields can
            out["version"] = registration.standard
        out["registration"] = {
            name: getattr(registration, name)
            for name in ("province", "city", "maker", "model", "terminal_id", "plate_color", "plate")
        }
    elif message_id == MessageId.AUTHENTICATE:
        authentication = decode_authentication(body, frame.is_2019)
        out["authentication"] = {
            "code": authentication.code.decode("gb18030", "replace"),
            "imei": authentication.imei,
            "software": authentication.software,
        }
    elif message_id in (MessageId.TERMINAL_ANSWER, MessageId.PLATFORM_ANSWER):
        answer = decode_answer(body)
        if answer is not None:
            serial, answered, result = answer
            out["answer"] = {"serial": serial, "msg_id": _hex_id(answered), "result": result}
    elif message_id == MessageId.REGISTER_ANSWER:
        granted = decode_registration_answer(body)
        if granted is not None:
            code = granted[2].decode("gb18030", "replace")
            out["answer"] = {"serial": granted[0], "result": granted[1], "code": code}
    elif message_id == MessageId.LOCATION_BATCH:
        batch = decode_batch(body, utc_offset_s)
        if batch is not None:
            out["batch"] = {"kind": batch.kind, "announced": batch.announced, "bad_items": batch.bad_items}
            out["positions"] = [_position(location) for location, _ in batch.items]
    elif message_id in _LOCATION_AT:
        location = decode_location(body[_LOCATION_AT[message_id] :], utc_offset_s)
        if location is not None:
            out["positions"] = [_position(location)]


def _position(location: Location) -> dict[str, Any]:
    return {
        "lat": location.lat,
        "lon": location.lon,
        "speed_mps": location.speed_mps,
        "bearing_deg": float(location.bearing_deg),
        "altitude_m": float(location.altitude_m),
        "measured_at": location.measured_at,
        "positioned": location.is_positioned,
        "alarm": location.alarm,
        "status": location.status,
        "ignition": bool(location.status & 1),
        "doors_open": location.passenger_doors_open,
        "encrypted": location.is_encrypted,
        "items": [_item(item_id, value) for item_id, value in location.items()],
        "items_complete": location.items_end_well,
    }


def _item(item_id: int, value: bytes) -> dict[str, Any]:
    name, clause, lengths = ITEMS.get(item_id, ("", "", frozenset()))
    out: dict[str, Any] = {"id": item_id, "length": len(value), "hex": value.hex()}
    if len(value) in lengths:
        out |= {"name": name, "clause": clause}
        if item_id in _NUMBERS:
            out["value"] = int.from_bytes(value, "big")
    elif name:
        out |= {"name": "vendor", "clause": f"vendor; in {clause} this id has another length"}
    elif item_id >= 0xE0:
        out |= {"name": "vendor", "clause": f"{_C13}, range of the vendors"}
    else:
        out |= {"name": "unknown", "clause": "none: not an item of the standard"}
    return out


def _beginning(wire: bytes) -> dict[str, Any]:
    """The header of a frame that cannot be trusted, as far as it can be guessed."""
    data = unescape(wire)
    if data is None or len(data) < 4:
        return {}
    return {"msg_id": _hex_id(int.from_bytes(data[:2], "big")), "version": 2019 if data[2] & 0x40 else 2013}


_LOCATION_AT: dict[int, int] = {
    MessageId.LOCATION: 0,
    MessageId.LOCATION_ANSWER: 2,
    MessageId.VEHICLE_CONTROL_ANSWER: 2,
}
_NAMES: dict[int, str] = {
    **{int(message_id): message_id.name.lower().replace("_", " ") for message_id in MessageId},
    0x0005: "request for missing packets",
    0x0104: "parameters",
    0x0107: "terminal properties",
    0x0201: "location answer",
    0x0704: "location batch",
    0x0705: "CAN data",
    0x0800: "multimedia event",
    0x0801: "multimedia data",
    0x0900: "transparent data up",
    0x0901: "compressed data",
    0x8003: "request for missing packets",
    0x8103: "set parameters",
    0x8104: "query parameters",
    0x8201: "query location",
    0x8202: "temporary tracking",
    0x8204: "link check",
    0x8300: "text message",
}


def _hex_id(message_id: int) -> str:
    return f"0x{message_id:04x}"
