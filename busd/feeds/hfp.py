"""HFP v2 (High-frequency positioning, HSL/Digitransit): one MQTT message -> a position, a reject or nothing. Sans-I/O.

Topic: ``/<prefix>/v2/<journey type>/<temporal type>/<event>/<mode>/<operator>/<vehicle>/<route>/<direction>/<headsign>/
<start>/<next stop>/<geohash level>/<geohash>``; payload: ``{"VP": {...}}``, the event's name in capitals around it.

Traps that are met here: the key of the longitude is ``long``; coordinates, route and most other values may be null; the
operator of the topic owns the bus and numbers it, ``oper`` of the payload runs the trip (they differ for
subcontractors), so a vehicle is the topic's operator and number; directions are 1 and 2, those of GTFS 0 and 1; ``start``
is a clock time of the operating day, which may be past its midnight; ``acc`` is an acceleration, not an accuracy; a
headsign is not ASCII and may hold anything, a slash too, so only what stands left of it is read from the topic.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from busd.errors import Reason
from busd.feeds.datum import to_wgs84
from busd.types import Occupancy, Rejected, TripHint, VehiclePosition

MAX_BYTES = 16_384
MAX_TOPIC_CHARS = 1024
MAX_ID_CHARS = 64
EVENTS = frozenset((
    "vp", "due", "arr", "dep", "ars", "pde", "pas", "wait", "doo", "doc", "tlr", "tla", "da", "dout", "ba", "bout",
    "vja", "vjout",
))  # fmt: skip
"""every event there is; only ``vp`` (vehicle position) moves a bus"""
JOURNEY = "journey"
"""journey type of a bus in service; others (deadrun, signoff) say nothing about a trip"""

_DAY_S = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FULL_PERCENT = 100


class Ignored(NamedTuple):
    """A message in order that is no position; ``kind`` is its event, or ``other`` for one that HFP v2 does not have."""

    kind: str


class _Topic(NamedTuple):
    journey_type: str
    event: str
    operator: str
    vehicle: str
    route: str
    direction: str


def decode(
    topic: str, payload: bytes, *, source: str, received_at: float, datum: str = "wgs84"
) -> VehiclePosition | Rejected | Ignored:
    """One message. Optional values that make no sense are left out; a message without an identity or a place is a
    `Rejected`. ValueError for an unknown datum, nothing else."""
    convert = to_wgs84(datum)
    parts = _topic(topic)
    if parts is None:
        return Rejected(received_at, source, Reason.MALFORMED, detail="not a topic of HFP v2")
    if parts.event != "vp":
        return Ignored(parts.event if parts.event in EVENTS else "other")
    vehicle_id = _vehicle_id(parts.operator, parts.vehicle)
    if vehicle_id is None:
        return Rejected(received_at, source, Reason.MALFORMED, detail="no usable operator and vehicle number")
    body = _payload(payload)
    if body is None:
        return Rejected(received_at, source, Reason.MALFORMED, vehicle_id, "no JSON object with a VP in it")
    lat, lon = body.get("lat"), body.get("long")
    if lat is None or lon is None or body.get("loc") == "N/A":
        return Rejected(received_at, source, Reason.NOT_POSITIONED, vehicle_id, "lat or long is null")
    lat, lon = _number(lat), _number(lon)
    if lat is None or lon is None:
        return Rejected(received_at, source, Reason.NOT_A_NUMBER, vehicle_id)
    if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
        return Rejected(received_at, source, Reason.OUT_OF_RANGE, vehicle_id)
    measured_at, clock = _measured_at(body), "device"
    if measured_at is None:
        measured_at, clock = received_at, "receiver"
    hint = _hint(parts, body, measured_at, lon) if parts.journey_type == JOURNEY else None
    lat, lon = convert(lat, lon)
    bearing, speed, odometer = _number(body.get("hdg")), _number(body.get("spd")), _number(body.get("odo"))
    door = body.get("drst")
    number = parts.vehicle.lstrip("0")
    return VehiclePosition(
        source=source,
        vehicle_id=vehicle_id,
        lat=lat,
        lon=lon,
        measured_at=measured_at,
        received_at=received_at,
        bearing_deg=bearing % 360.0 if bearing is not None and 0.0 <= bearing <= 360.0 else None,
        speed_mps=speed if speed is not None and speed >= 0.0 else None,
        odometer_m=odometer if odometer is not None and odometer >= 0.0 else None,
        door_open=door == 1 if door in (0, 1) else None,
        occupancy=int(Occupancy.FULL) if body.get("occu") == _FULL_PERCENT else None,
        hint=hint,
        label=number or None,
        clock=clock,
    )


def _topic(topic: str) -> _Topic | None:
    if len(topic) > MAX_TOPIC_CHARS:
        return None
    levels = topic.split("/")
    # the prefix may be longer than /hfp where a bridge passes the messages on
    at = levels.index("v2") if "v2" in levels[:8] else len(levels)
    if len(levels) < at + 6:
        return None
    journey_type, _, event, _, operator, *rest = levels[at + 1 : at + 9]
    vehicle, route, direction = (*rest, "", "", "")[:3]
    return _Topic(journey_type, event, operator, vehicle, route, direction)


def _vehicle_id(operator: str, vehicle: str) -> str | None:
    """'0018', '00423' -> '18/423'"""
    operator, vehicle = (text.lstrip("0") or text[:1] for text in (operator, vehicle))
    if not operator or not vehicle or len(operator) + len(vehicle) > MAX_ID_CHARS:
        return None
    return f"{operator}/{vehicle}" if (operator + vehicle).isprintable() else None


def _payload(payload: bytes) -> dict[str, Any] | None:
    if len(payload) > MAX_BYTES:
        return None
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    body = message.get("VP") if isinstance(message, dict) else None
    return body if isinstance(body, dict) else None


def _measured_at(body: dict[str, Any]) -> float | None:
    """``tst`` (ISO 8601, UTC, milliseconds), else ``tsi`` (epoch seconds)."""
    text = body.get("tst")
    if isinstance(text, str):
        try:
            moment = datetime.fromisoformat(text)
            at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            if at > 0.0:
                return at
        except (ValueError, OverflowError):
            pass
    seconds = _number(body.get("tsi"))
    return seconds if seconds is not None and seconds > 0.0 else None


def _hint(topic: _Topic, body: dict[str, Any], measured_at: float, lon: float) -> TripHint | None:
    route = body.get("route") or topic.route
    direction = body.get("dir") or topic.direction
    day = _day(body.get("oday"))
    hint = TripHint(
        service_date=date.fromordinal(day).strftime("%Y%m%d").rjust(8, "0") if day is not None else None,
        start_s=_start_s(body.get("start"), day, measured_at, lon),
        route_id=route if isinstance(route, str) and len(route) <= MAX_ID_CHARS else None,
        direction_id={"1": 0, "2": 1}.get(str(direction)[:2]),
    )
    # a date or a direction alone tells nothing
    return hint if hint.route_id is not None else None


def _day(text: object) -> int | None:
    try:
        return date.fromisoformat(text).toordinal() if isinstance(text, str) else None
    except ValueError:
        return None


def _start_s(text: object, day: int | None, measured_at: float, lon: float) -> int | None:
    """'09:32' -> seconds of the operating day. '00:30' is the first or the last hour of the day ``oday``: whichever
    start lies nearer to the report. They are a day apart, so the mean solar time of the place is local time enough."""
    parts = text.split(":") if isinstance(text, str) else []
    if len(parts) not in (2, 3) or not all(p.isascii() and p.isdecimal() and len(p) <= 2 for p in parts):
        return None
    hours, minutes, seconds = (int(part) for part in (*parts, "0")[:3])
    if minutes > 59 or seconds > 59 or hours > 47:
        return None
    start = hours * 3600 + minutes * 60 + seconds
    if day is None or start >= _DAY_S:
        return start
    elapsed = measured_at + lon / 360.0 * _DAY_S - (day - _EPOCH_DAY) * _DAY_S
    return min(start, start + _DAY_S, key=lambda candidate: abs(elapsed - candidate))


def _number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None
