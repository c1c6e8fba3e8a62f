"""Traccar and its relatives: what phones and Traccar servers send over HTTP -> positions. Sans-I/O.

Three forms, told apart by what they look like:

* **query** (OsmAnd, Traccar Client up to 8, Traccar's URL forwarding): ``id`` (or deviceid, device_id, uniqueId),
  ``lat`` and ``lon`` (or ``location=lat,lon``), ``timestamp`` (or fixTime), ``speed`` in KNOTS, ``bearing`` (or
  heading, course), ``accuracy``, ``hdop``, ``valid``, ``ignition``, ``odometer``.
* **client** (Traccar Client from 9 on): ``{"device_id": .., "location": {"timestamp", "coords": {..}}}``; speed in m/s,
  -1 = unknown. ``location`` may be a list.
* **forward** (a server with ``forward.type = json``): ``{"position": {..}, "device": {"uniqueId", "name"}}``; speed in
  KNOTS, times as ISO 8601 or epoch milliseconds; ``attributes`` carry ignition, odometer (metres), door.

Times are seconds, milliseconds or ISO 8601 alike; without one the receipt's counts. ``outdated`` and not ``valid``
positions repeat an old place and are rejected. Sources: Traccar's OsmAndProtocolDecoder, PositionData and Position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from busd.errors import FeedError, Reason
from busd.feeds.datum import to_wgs84
from busd.feeds.report import (
    METRES_PER_HDOP,
    MPS_PER_KNOT,
    Convert,
    Reports,
    epoch_s,
    flag_of,
    number_of,
    text_of,
    usable_text,
)
from busd.types import Rejected, VehiclePosition

MAX_REPORTS = 1000
"""of one message"""
MAX_FIELDS = 100

_IDS = ("id", "deviceid", "device_id", "uniqueId", "deviceId")
_JSON_START = (b"{", b"[")


def decode(body: bytes, *, source: str, received_at: float, datum: str = "wgs84") -> Reports:
    """A body of any of the three forms. `FeedError` if it is none of them; a bad report in it is a reject.
    ValueError for an unknown datum."""
    if body.lstrip()[:1] in _JSON_START:
        return decode_json(body, source=source, received_at=received_at, datum=datum)
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        raise FeedError(f"{source}: neither JSON nor a query") from None
    _, mark, query = text.partition("?")
    return decode_query(query if mark else text, source=source, received_at=received_at, datum=datum)


def decode_query(query: str, *, source: str, received_at: float, datum: str = "wgs84") -> Reports:
    """``id=..&lat=..`` as it stands in the URL or in the body of a form. `FeedError` for what is no query."""
    convert = _convert(source, received_at, datum)
    try:
        pairs = parse_qsl(query, keep_blank_values=False, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise FeedError(f"{source}: a query of more than {MAX_FIELDS} fields") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        values.setdefault(name, value)
    if not values:
        raise FeedError(f"{source}: neither JSON nor a query")
    return _sorted([_of_query(convert, values)])


def decode_json(body: bytes, *, source: str, received_at: float, datum: str = "wgs84") -> Reports:
    """The forms "client" and "forward", one or a list of them. `FeedError` for what is no such JSON."""
    convert = _convert(source, received_at, datum)
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FeedError(f"{source}: no JSON ({error})") from None
    reports: list[VehiclePosition | Rejected] = []
    for item in message if isinstance(message, list) else [message]:
        if len(reports) >= MAX_REPORTS:
            raise FeedError(f"{source}: more than {MAX_REPORTS} reports in one message")
        if not isinstance(item, dict):
            reports.append(convert.reject(Reason.MALFORMED, None, "not an object"))
        elif isinstance(item.get("position"), dict):
            reports.append(_of_forward(convert, item["position"], item.get("device")))
        elif isinstance(item.get("location"), dict | list):
            places: Any = item["location"]
            several = places if isinstance(places, list) else [places]
            reports += [_of_client(convert, place, item) for place in several[:MAX_REPORTS]]
        else:
            reports.append(convert.reject(Reason.MALFORMED, None, "neither 'position' nor 'location'"))
    return _sorted(reports)


def _of_query(convert: Convert, values: Mapping[str, str]) -> VehiclePosition | Rejected:
    device_id = next((values[name] for name in _IDS if name in values), "")
    lat, lon = _first(values, "lat", "latitude"), _first(values, "lon", "lng", "longitude")
    if "location" in values:
        parts = values["location"].split(",")
        lat, lon = (parts[0], parts[1]) if len(parts) == 2 else (None, None)
    if flag_of(values.get("valid", "true")) is False:
        return convert.reject(Reason.NOT_POSITIONED, usable_text(device_id))
    return convert.report(
        device_id,
        number_of(lat),
        number_of(lon),
        epoch_s(_first(values, "timestamp", "fixTime", "fixtime", "time")),
        bearing_deg=number_of(_first(values, "bearing", "heading", "course")),
        speed_mps=_of_knots(values.get("speed")),
        accuracy_m=_accuracy(values.get("accuracy"), values.get("hdop")),
        odometer_m=number_of(values.get("odometer")),
        ignition=flag_of(values.get("ignition")),
        door_open=flag_of(values.get("door")),
        label=values.get("name"),
    )


def _of_client(convert: Convert, place: object, message: Mapping[str, Any]) -> VehiclePosition | Rejected:
    device_id = next((text_of(message[name]) for name in _IDS if name in message), "")
    coords = place.get("coords") if isinstance(place, dict) else None
    if not isinstance(place, dict) or not isinstance(coords, dict):
        return convert.reject(Reason.MALFORMED, usable_text(device_id), "a location without coords")
    return convert.report(
        device_id,
        number_of(coords.get("latitude")),
        number_of(coords.get("longitude")),
        epoch_s(place.get("timestamp")),
        bearing_deg=number_of(coords.get("heading")),
        speed_mps=number_of(coords.get("speed")),
        accuracy_m=number_of(coords.get("accuracy")),
        odometer_m=number_of(place.get("odometer")),
        report_id=text_of(place.get("uuid")) or None,
    )


def _of_forward(convert: Convert, position: Mapping[str, Any], device: object) -> VehiclePosition | Rejected:
    known = device if isinstance(device, dict) else {}
    device_id = text_of(known.get("uniqueId")) or text_of(position.get("deviceId"))
    if position.get("valid") is False or position.get("outdated") is True:
        return convert.reject(Reason.NOT_POSITIONED, usable_text(device_id))
    attributes = position.get("attributes")
    extra: Mapping[str, Any] = attributes if isinstance(attributes, dict) else {}
    accuracy = number_of(position.get("accuracy"))
    time = next((position[key] for key in ("fixTime", "deviceTime") if position.get(key) is not None), None)
    odometer = number_of(extra.get("odometer"))
    return convert.report(
        device_id,
        number_of(position.get("latitude")),
        number_of(position.get("longitude")),
        epoch_s(time),
        bearing_deg=number_of(position.get("course")),
        speed_mps=_of_knots(position.get("speed")),
        accuracy_m=accuracy if accuracy else _accuracy(None, extra.get("hdop")),
        odometer_m=odometer if odometer is not None else number_of(extra.get("totalDistance")),
        ignition=flag_of(extra.get("ignition")),
        door_open=flag_of(extra.get("door")),
        label=text_of(known.get("name")) or None,
        report_id=text_of(position.get("id")) if position.get("id") else None,
    )


def _convert(source: str, received_at: float, datum: str) -> Convert:
    return Convert(source, received_at, None if datum == "wgs84" else to_wgs84(datum))


def _sorted(reports: Sequence[VehiclePosition | Rejected]) -> Reports:
    return Reports(
        [report for report in reports if isinstance(report, VehiclePosition)],
        [report for report in reports if isinstance(report, Rejected)],
    )


def _first(values: Mapping[str, str], *names: str) -> str | None:
    return next((values[name] for name in names if name in values), None)


def _of_knots(value: object) -> float | None:
    knots = number_of(value)
    return None if knots is None else knots * MPS_PER_KNOT


def _accuracy(metres: object, hdop: object) -> float | None:
    known = number_of(metres)
    if known:
        return known
    dilution = number_of(hdop)
    return dilution * METRES_PER_HDOP if dilution is not None and 0 < dilution < 99 else None
