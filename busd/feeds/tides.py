"""TIDES vehicle_locations (CSV, plain or gzip) -> `VehiclePosition`s.

The columns service_date, trip_type, sign_code and all ``label_*`` are labels of the file: they are never read. A row's
trip and next stop (trip_id_scheduled, scheduled_stop_sequence) are a hint like that of any other source.

A bad row is a `Rejected` with its row number (the header is row 1) and costs nothing else. A file that cannot be read
at all, or lacks a column that every row needs, is a `FeedError`.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import TextIO

from busd.errors import FeedError, Reason
from busd.types import Rejected, TripHint, VehiclePosition

SOURCE = "tides"
REQUIRED = ("event_timestamp", "vehicle_id", "latitude", "longitude")
MAX_FIELD_CHARS = 65_536
_MISSING = frozenset(("", "NA", "NaN", "nan"))
"""what the standard's table schemas count as no value"""


def read_positions(path: Path, *, hide_trips: bool = False) -> Iterator[VehiclePosition | Rejected]:
    """Rows of a file in file order, read as they are asked for. ``hide_trips`` leaves the hints out."""
    try:
        with open_text(path) as lines:
            yield from decode_rows(lines, name=path.name, hide_trips=hide_trips)
    except UnicodeDecodeError as error:
        raise FeedError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FeedError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def open_text(path: Path) -> TextIO:
    """Text of a file that may be gzip, whatever it is called: the first two bytes decide."""
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def decode_rows(
    lines: Iterable[str], *, name: str = "positions", hide_trips: bool = False
) -> Iterator[VehiclePosition | Rejected]:
    """Lines of CSV, header first, to positions (received_at = measured_at = event_timestamp) and rejects."""
    csv.field_size_limit(MAX_FIELD_CHARS)
    reader = csv.reader(lines)
    try:
        header = next(reader, None)
        if header is None:
            raise FeedError(f"{name} is empty; a header row with {', '.join(REQUIRED)} is needed")
        decoder = _RowDecoder(header, name, hide_trips)
        for row in reader:
            if row:
                yield decoder.decode(row, reader.line_num)
    except csv.Error as error:
        raise FeedError(f"{name}, row {reader.line_num}: {error}") from None


class _RowDecoder:
    """Columns looked up once; a row is decoded by position."""

    def __init__(self, header: list[str], name: str, hide_trips: bool) -> None:
        columns = {text.strip(): k for k, text in reversed(list(enumerate(header)))}
        missing = [column for column in REQUIRED if column not in columns]
        if missing:
            raise FeedError(f"{name} has no column {', '.join(missing)}; TIDES vehicle_locations is expected")
        self.time, self.vehicle, self.lat, self.lon = (columns[column] for column in REQUIRED)
        self.ping = columns.get("location_ping_id")
        self.heading = columns.get("heading")
        self.speed = columns.get("speed")
        self.odometer = columns.get("odometer")
        self.trip = None if hide_trips else columns.get("trip_id_scheduled")
        self.sequence = None if hide_trips else columns.get("scheduled_stop_sequence")
        self.width = max(self.time, self.vehicle, self.lat, self.lon) + 1

    def decode(self, row: list[str], number: int) -> VehiclePosition | Rejected:
        if len(row) < self.width:
            return self._reject(row, number, Reason.MALFORMED, f"{len(row)} fields")
        vehicle = row[self.vehicle].strip()
        if vehicle in _MISSING:
            return self._reject(row, number, Reason.MALFORMED, "no vehicle_id")
        text = row[self.time]
        try:
            measured = datetime.fromisoformat(text.strip())
        except ValueError:
            return self._reject(row, number, Reason.NO_TIME, f"event_timestamp {text[:40]!r}")
        if measured.tzinfo is None:
            return self._reject(row, number, Reason.NO_TIME, f"event_timestamp {text[:40]!r} has no UTC offset")
        lat, lon = _number(row[self.lat]), _number(row[self.lon])
        if lat is None or lon is None:
            return self._reject(row, number, Reason.NOT_A_NUMBER, f"{row[self.lat][:40]!r}, {row[self.lon][:40]!r}")
        at = measured.timestamp()
        speed = _number(_cell(row, self.speed))
        heading = _number(_cell(row, self.heading))
        odometer = _number(_cell(row, self.odometer))
        return VehiclePosition(
            source=SOURCE,
            vehicle_id=vehicle,
            lat=lat,
            lon=lon,
            measured_at=at,
            received_at=at,
            bearing_deg=heading if heading is not None and 0.0 <= heading <= 360.0 else None,
            speed_mps=speed if speed is not None and speed >= 0.0 else None,
            odometer_m=odometer if odometer is not None and odometer >= 0.0 else None,
            hint=self._hint(row),
            report_id=_cell(row, self.ping) or None,
        )

    def _hint(self, row: list[str]) -> TripHint | None:
        trip = _cell(row, self.trip)
        if trip in _MISSING:
            return None
        sequence = _number(_cell(row, self.sequence))
        whole = sequence is not None and sequence.is_integer() and sequence >= 0
        return TripHint(trip_id=trip, stop_sequence=int(sequence) if whole and sequence is not None else None)

    def _reject(self, row: list[str], number: int, reason: Reason, detail: str) -> Rejected:
        vehicle = _cell(row, self.vehicle).strip()
        return Rejected(
            at=0.0,
            source=SOURCE,
            reason=reason,
            vehicle_id=vehicle or None,
            detail=f"row {number}: {detail}",
            report_id=_cell(row, self.ping) or None,
        )


def _cell(row: list[str], column: int | None) -> str:
    return row[column] if column is not None and column < len(row) else ""


def _number(text: str) -> float | None:
    """A finite number, else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
