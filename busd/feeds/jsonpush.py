"""Generic JSON push: one object, an array of them, or ``{"positions": [...]}`` -> positions. Sans-I/O.

The fields are those of `Report` below; whoever writes an exporter for a system that speaks nothing else can aim at
them. A report that has a field of the wrong type costs only itself, and unknown fields are left alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from busd.errors import FeedError, Reason
from busd.feeds.datum import to_wgs84
from busd.feeds.report import Convert, Reports, epoch_s, text_of, usable_text
from busd.types import Rejected, TripHint, VehiclePosition

MAX_REPORTS = 10_000
"""of one message"""


class Report(msgspec.Struct, frozen=True):
    """One report. Only ``id``, ``lat`` and ``lon`` must be given."""

    id: Annotated[str | int, Meta(description="The device's or the vehicle's id.")]
    lat: Annotated[float, Meta(description="Degrees north.")]
    lon: Annotated[float, Meta(description="Degrees east.")]
    time: Annotated[
        str | float | None,
        Meta(description="When it was measured: Unix seconds, Unix milliseconds or ISO 8601 (no offset = UTC)."),
    ] = None
    speed_mps: Annotated[float | None, Meta(description="Metres a second; negative = unknown.")] = None
    speed_kmh: Annotated[float | None, Meta(description="Kilometres an hour, if speed_mps is not given.")] = None
    bearing_deg: Annotated[float | None, Meta(description="Degrees clockwise from north.")] = None
    accuracy_m: Annotated[float | None, Meta(description="Radius that holds the true place (about 1 sigma).")] = None
    odometer_m: Annotated[float | None, Meta(description="Metres driven, never going back.")] = None
    door_open: Annotated[bool | None, Meta(description="A passenger door is open.")] = None
    ignition: bool | None = None
    valid: Annotated[bool, Meta(description="False: the receiver has no fix; the report is counted, not used.")] = True
    occupancy: Annotated[int | None, Meta(description="GTFS-Realtime OccupancyStatus, 0 (empty) to 6.")] = None
    label: Annotated[str | None, Meta(description="Plate or other name painted on the bus.")] = None
    report_id: Annotated[str | None, Meta(description="The sender's own id of this report.")] = None
    trip_id: Annotated[str | None, Meta(description="GTFS trip the vehicle is believed to run. Evidence only.")] = None
    service_date: Annotated[str | None, Meta(description="YYYYMMDD of that trip.")] = None
    route_id: Annotated[str | None, Meta(description="GTFS route.")] = None
    direction_id: Annotated[int | None, Meta(description="GTFS direction_id, 0 or 1.")] = None
    block_id: str | None = None
    stop_sequence: Annotated[int | None, Meta(description="GTFS stop_sequence of the next stop.")] = None


def decode(body: bytes, *, source: str, received_at: float, datum: str = "wgs84") -> Reports:
    """`FeedError` for what is no JSON or holds more than `MAX_REPORTS`; ValueError for an unknown datum."""
    convert = Convert(source, received_at, None if datum == "wgs84" else to_wgs84(datum))
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FeedError(f"{source}: no JSON ({error})") from None
    if isinstance(message, dict) and isinstance(message.get("positions"), list):
        message = message["positions"]
    items = message if isinstance(message, list) else [message]
    if len(items) > MAX_REPORTS:
        raise FeedError(f"{source}: more than {MAX_REPORTS} reports in one message")
    reports = Reports([], [])
    for item in items:
        result = _decode_one(convert, item)
        if isinstance(result, Rejected):
            reports.rejects.append(result)
        else:
            reports.positions.append(result)
    return reports


def _decode_one(convert: Convert, item: object) -> VehiclePosition | Rejected:
    try:
        report = msgspec.convert(item, Report)
    except msgspec.ValidationError as error:
        return convert.reject(Reason.MALFORMED, None, str(error)[:200])
    device_id = text_of(report.id)
    if not report.valid:
        return convert.reject(Reason.NOT_POSITIONED, usable_text(device_id))
    speed = report.speed_mps
    if speed is None and report.speed_kmh is not None:
        speed = report.speed_kmh / 3.6
    return convert.report(
        device_id,
        report.lat,
        report.lon,
        epoch_s(report.time),
        bearing_deg=report.bearing_deg,
        speed_mps=speed,
        accuracy_m=report.accuracy_m,
        odometer_m=report.odometer_m,
        door_open=report.door_open,
        ignition=report.ignition,
        occupancy=report.occupancy,
        hint=_hint(report),
        label=report.label,
        report_id=report.report_id,
    )


def _hint(report: Report) -> TripHint | None:
    date = report.service_date
    hint = TripHint(
        trip_id=usable_text(report.trip_id),
        service_date=date if date is not None and len(date) == 8 and date.isascii() and date.isdecimal() else None,
        route_id=usable_text(report.route_id),
        direction_id=report.direction_id if report.direction_id in (0, 1) else None,
        block_id=usable_text(report.block_id),
        stop_sequence=report.stop_sequence,
    )
    return hint if hint != TripHint() else None
