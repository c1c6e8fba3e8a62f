"""What every tracker's report goes through on its way to a `VehiclePosition`: units, limits, times.

The codecs of trackers (nmea.py, traccar.py, jsonpush.py) read their own format and leave what all of them need to this
page: which values are nonsense and left out, which cost the report, and whose clock counts.

Clock of a report, as `date_report` decides:

* within `LIVE_AGE_S` behind and `FUTURE_S` ahead of the receiver: the device's time;
* off by a plain 8 h (a device that sends Beijing time as UTC, or the other way round): the receiver's time. 8 h behind
  is a stored fix instead once the device has shown a right clock;
* older, up to `STORED_AGE_S`: a stored fix sent late; history, never "now";
* no time at all, ahead by more, or years behind (1970, a GPS week that rolled over): the receiver's time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from busd.errors import Reason
from busd.types import Rejected, TripHint, VehiclePosition

MAX_ID_CHARS = 128
MPS_PER_KNOT = 1852.0 / 3600.0
METRES_PER_HDOP = 5.0
"""one sigma of the range error of a plain receiver"""
FUTURE_S = 60.0
LIVE_AGE_S = 300.0
STORED_AGE_S = 366 * 86400.0
PLAIN_OFFSET_S = 8 * 3600.0
PLAIN_OFFSET_TOLERANCE_S = 120.0
NULL_ISLAND_DEG = 0.001

_MILLISECONDS_FROM = 1e11  # as seconds, this is the year 5138
_LARGEST_NUMBER = 9.0e15
_MAX_SPEED_MPS = 150.0
_NUMBER = re.compile(r"[+-]?([0-9]{1,16}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,2})?")


class Reports(NamedTuple):
    """What a codec read out of one message."""

    positions: list[VehiclePosition]
    rejects: list[Rejected]


class Convert(NamedTuple):
    """What a codec has to know of its source. ``to_wgs84`` None = the coordinates already are."""

    source: str
    received_at: float
    to_wgs84: Callable[[float, float], tuple[float, float]] | None = None

    def reject(self, reason: Reason, device_id: str | None = None, detail: str = "") -> Rejected:
        return Rejected(self.received_at, self.source, reason.value, device_id, detail)

    def report(
        self,
        device_id: str,
        lat: float | None,
        lon: float | None,
        measured_at: float | None,
        *,
        bearing_deg: float | None = None,
        speed_mps: float | None = None,
        accuracy_m: float | None = None,
        odometer_m: float | None = None,
        door_open: bool | None = None,
        ignition: bool | None = None,
        occupancy: int | None = None,
        hint: TripHint | None = None,
        label: str | None = None,
        report_id: str | None = None,
    ) -> VehiclePosition | Rejected:
        """A position with the device's id as its vehicle id, or the reason why it is none. Values that make no sense
        (a negative speed, an infinite bearing) are unknown; only id and place cost the report. ``measured_at`` None
        gives the receiver's time."""
        device_id = device_id.strip()
        if usable_text(device_id) is None:
            return self.reject(Reason.MALFORMED, None, "no usable device id")
        if lat is None or lon is None:
            return self.reject(Reason.NOT_POSITIONED, device_id)
        if not (isfinite(lat) and isfinite(lon)):
            return self.reject(Reason.NOT_A_NUMBER, device_id)
        if abs(lat) > 90.0 or abs(lon) > 180.0:
            return self.reject(Reason.OUT_OF_RANGE, device_id)
        if abs(lat) < NULL_ISLAND_DEG and abs(lon) < NULL_ISLAND_DEG:
            return self.reject(Reason.ZERO_ISLAND, device_id)
        if self.to_wgs84 is not None:
            lat, lon = self.to_wgs84(lat, lon)
        known = measured_at is not None and isfinite(measured_at)
        label, report_id = usable_text(label), usable_text(report_id)
        return VehiclePosition(
            source=self.source,
            vehicle_id=device_id,
            lat=lat,
            lon=lon,
            measured_at=measured_at if measured_at is not None and known else self.received_at,
            received_at=self.received_at,
            bearing_deg=bearing_deg % 360.0 if _between(bearing_deg, 0.0, 360.0) and bearing_deg is not None else None,
            speed_mps=speed_mps if _between(speed_mps, 0.0, _MAX_SPEED_MPS) else None,
            accuracy_m=accuracy_m if _between(accuracy_m, 0.0, 1e7) and accuracy_m else None,
            odometer_m=odometer_m if _between(odometer_m, 0.0, 1e10) else None,
            door_open=door_open,
            ignition=ignition,
            occupancy=occupancy if occupancy is not None and 0 <= occupancy <= 6 else None,
            hint=hint,
            label=label if label != device_id else None,
            clock="device" if known else "receiver",
            report_id=report_id,
        )


def date_report(measured_at: float, at: float, clock_was_right: bool = False) -> tuple[float, str, bool]:
    """(measured_at, clock, historical) of a report received ``at``; the module's text has the rules."""
    age = at - measured_at
    if -FUTURE_S <= age <= LIVE_AGE_S:
        return measured_at, "device", False
    is_plain = abs(abs(age) - PLAIN_OFFSET_S) <= PLAIN_OFFSET_TOLERANCE_S
    if 0 < age <= STORED_AGE_S and not (is_plain and not clock_was_right):
        return measured_at, "device", True
    return at, "receiver", False


def epoch_s(value: object) -> float | None:
    """Seconds, milliseconds or ISO 8601 (no offset = UTC), as a number or as text -> epoch seconds; None if it is none
    of them. ``2014-06-04 09:10:11`` is read too, which is what a ``+`` in a query becomes."""
    number = number_of(value)
    if number is not None:
        return None if number <= 0 else number / 1000.0 if number >= _MILLISECONDS_FROM else number
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        return None
    text = value.strip()
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        # the plus sign of an offset that was not percent-encoded
        head, space, offset = text.rpartition(" ")
        if "T" not in head or not space:
            return None
        try:
            time = datetime.fromisoformat(f"{head}+{offset}")
        except ValueError:
            return None
    try:
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None


def number_of(value: object) -> float | None:
    """A finite number, also as text (digits, point, exponent; no ``inf``, ``1_000``); None for all else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        number = float(value) if abs(value) <= _LARGEST_NUMBER else float("inf")
        return number if isfinite(number) else None
    if isinstance(value, str) and len(value) <= 40 and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return None


def flag_of(value: object) -> bool | None:
    """true/false, 1/0, "true"/"false"; None for all else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return value == 1
    return _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def text_of(value: object) -> str:
    """Ids as text, whether they were sent as such or as a whole number; "" for all else."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**40 else ""
    return ""


def usable_text(text: str | None) -> str | None:
    """``text`` if it may be an id or a name: not empty, printable, at most `MAX_ID_CHARS` characters; else None."""
    return text if text and len(text) <= MAX_ID_CHARS and text.isprintable() else None


_FLAGS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}


def _between(value: float | None, low: float, high: float) -> bool:
    return value is not None and low <= value <= high
