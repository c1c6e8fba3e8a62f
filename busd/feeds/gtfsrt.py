"""GTFS-Realtime VehiclePositions: bytes of a FeedMessage -> positions and rejects. Sans-I/O; the poller is apart.

Traps that are met here: latitude and longitude are 32-bit floats (steps of 0.4 to 0.9 m), speed is m/s, the vehicle's
timestamp is optional (then the header's counts, which is the server's clock and not the bus's), some producers write
milliseconds, and error pages come with status 200.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import msgspec
from google.protobuf.message import DecodeError
from google.transit import gtfs_realtime_pb2 as pb

from busd.errors import FeedError, Reason
from busd.feeds.datum import to_wgs84
from busd.types import Occupancy, Rejected, TripHint, VehiclePosition

MAX_BYTES = 32_000_000
MAX_ID_CHARS = 128
_MILLISECONDS_FROM = 100_000_000_000  # as seconds, this is the year 5138
_OCCUPANCY = frozenset(int(level) for level in Occupancy)


@dataclass(frozen=True)
class Decoded:
    """One message. ``header_at`` is None where the producer gives no time."""

    header_at: float | None
    positions: list[VehiclePosition]
    rejects: list[Rejected]
    differential: bool = False
    deleted: int = 0
    other_entities: int = 0
    """trip updates, alerts and the rest, which are not positions"""


def decode(
    body: bytes, *, source: str, received_at: float, datum: str = "wgs84", max_bytes: int = MAX_BYTES
) -> Decoded:
    """A whole FeedMessage. `FeedError` if it is none (too large, not protobuf, no header); a single bad entity is a
    `Rejected` and costs nothing else. ValueError for an unknown datum."""
    convert = to_wgs84(datum)
    if len(body) > max_bytes:
        raise FeedError(f"{source}: {len(body)} bytes are more than the limit of {max_bytes}")
    message = pb.FeedMessage()
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise FeedError(f"{source}: not a GTFS-Realtime message{_looks_like(body)}") from None
    if not message.HasField("header"):
        raise FeedError(f"{source}: a message without a header{_looks_like(body)}")
    header_at = _epoch_s(message.header.timestamp)
    positions: list[VehiclePosition] = []
    rejects: list[Rejected] = []
    deleted = other = 0
    for entity in message.entity:
        if entity.is_deleted:
            deleted += 1
        elif not entity.HasField("vehicle"):
            other += 1
        else:
            result = _vehicle(entity.vehicle, entity.id, source, header_at, received_at)
            if isinstance(result, Rejected):
                rejects.append(result)
                continue
            if datum != "wgs84":
                lat, lon = convert(result.lat, result.lon)
                result = _moved(result, lat, lon)
            positions.append(result)
    differential = message.header.incrementality == pb.FeedHeader.DIFFERENTIAL
    return Decoded(header_at, positions, rejects, differential, deleted, other)


def _vehicle(
    vehicle: pb.VehiclePosition, entity_id: str, source: str, header_at: float | None, received_at: float
) -> VehiclePosition | Rejected:
    descriptor = vehicle.vehicle
    vehicle_id = (descriptor.id or descriptor.label or entity_id).strip()
    if not vehicle_id or len(vehicle_id) > MAX_ID_CHARS:
        return Rejected(received_at, source, Reason.MALFORMED, detail="no usable vehicle id")
    if not vehicle.HasField("position"):
        return Rejected(received_at, source, Reason.NOT_POSITIONED, vehicle_id)
    place = vehicle.position
    if not (place.HasField("latitude") and place.HasField("longitude")):
        return Rejected(received_at, source, Reason.NOT_POSITIONED, vehicle_id)
    if not (isfinite(place.latitude) and isfinite(place.longitude)):
        return Rejected(received_at, source, Reason.NOT_A_NUMBER, vehicle_id)
    measured_at, clock = _epoch_s(vehicle.timestamp), "device"
    if measured_at is None:
        measured_at, clock = header_at if header_at is not None else received_at, "receiver"
    bearing = place.bearing if place.HasField("bearing") and isfinite(place.bearing) else None
    speed = place.speed if place.HasField("speed") and isfinite(place.speed) else None
    odometer = place.odometer if place.HasField("odometer") and isfinite(place.odometer) else None
    occupancy = vehicle.occupancy_status if vehicle.HasField("occupancy_status") else None
    label = (descriptor.label or descriptor.license_plate).strip()
    return VehiclePosition(
        source=source,
        vehicle_id=vehicle_id,
        lat=place.latitude,
        lon=place.longitude,
        measured_at=measured_at,
        received_at=received_at,
        bearing_deg=bearing % 360.0 if bearing is not None else None,
        speed_mps=speed if speed is not None and speed >= 0.0 else None,
        odometer_m=odometer if odometer is not None and odometer >= 0.0 else None,
        occupancy=occupancy if occupancy in _OCCUPANCY else None,
        hint=_hint(vehicle),
        label=label[:MAX_ID_CHARS] if label and label != vehicle_id else None,
        clock=clock,
    )


def _hint(vehicle: pb.VehiclePosition) -> TripHint | None:
    trip = vehicle.trip if vehicle.HasField("trip") else None
    sequence = vehicle.current_stop_sequence if vehicle.HasField("current_stop_sequence") else None
    if trip is None:
        return TripHint(stop_sequence=sequence) if sequence is not None else None
    date = trip.start_date if len(trip.start_date) == 8 and trip.start_date.isdecimal() else None
    hint = TripHint(
        trip_id=trip.trip_id[:MAX_ID_CHARS] or None,
        service_date=date,
        start_s=_seconds_of_day(trip.start_time),
        route_id=trip.route_id[:MAX_ID_CHARS] or None,
        direction_id=trip.direction_id if trip.HasField("direction_id") and trip.direction_id in (0, 1) else None,
        stop_sequence=sequence,
    )
    return hint if hint != TripHint() else None


def _seconds_of_day(text: str) -> int | None:
    """'25:01:30' or '5:07:00' -> seconds of the service day."""
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) <= 3 for part in parts):
        return None
    hours, minutes, seconds = (int(part) for part in parts)
    return hours * 3600 + minutes * 60 + seconds if minutes < 60 and seconds < 60 else None


def _epoch_s(value: int) -> float | None:
    if value <= 0:
        return None
    return value / 1000.0 if value >= _MILLISECONDS_FROM else float(value)


def _moved(position: VehiclePosition, lat: float, lon: float) -> VehiclePosition:
    return msgspec.structs.replace(position, lat=lat, lon=lon)


def _looks_like(body: bytes) -> str:
    head = body[:200].lstrip().lower()
    if not head:
        return " (the answer is empty)"
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return " (it looks like a web page or XML)"
    if head.startswith((b"{", b"[")):
        return " (it looks like JSON; ask for the protobuf form)"
    if head.startswith(b"\x1f\x8b"):
        return " (it is gzip without the header that says so)"
    return ""
