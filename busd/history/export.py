"""History as TIDES CSV files, and TIDES stop_visits files as history."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from busd.errors import HistoryError
from busd.history.store import HistoryStore
from busd.history.tides import TRIPS, VISITS
from busd.history.visits import Seen, TripRow, VisitRow


def export_tides(
    store: HistoryStore, folder: Path, timezone: str, first: str = "", last: str = "9999"
) -> dict[str, int]:
    """Writes stop_visits.csv.gz and trips_performed.csv.gz of the days into ``folder``; rows written by table. Times
    carry the offset of ``timezone``."""
    zone = ZoneInfo(timezone)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"stop_visits": 0, "trips_performed": 0}
    with _new(folder / "stop_visits.csv.gz") as visits_file, _new(folder / "trips_performed.csv.gz") as trips_file:
        visits = csv.writer(visits_file, lineterminator="\n")
        trips = csv.writer(trips_file, lineterminator="\n")
        visits.writerow(VISITS)
        trips.writerow(TRIPS)
        for day in [row.service_date for row in store.days() if first <= row.service_date <= last]:
            spans: dict[tuple[str, str, int, str], list[float | None]] = {}
            for trip, visit in sorted(store.read(day, day), key=_in_tides_order):
                span = spans.setdefault(trip.key, [None, None])
                if visit.pos == 0:
                    span[0] = visit.departure
                if visit.pos == trip.stops - 1:
                    span[1] = visit.arrival
                visits.writerow(_visit_row(trip, visit, zone))
                counts["stop_visits"] += 1
            for trip in sorted(store.trips([day]), key=lambda trip: trip.trip_id_performed):
                trips.writerow(_trip_row(trip, spans.get(trip.key, [None, None]), zone))
                counts["trips_performed"] += 1
    return counts


def _in_tides_order(seen: Seen) -> tuple[str, str, int]:
    return seen.trip.service_date, seen.trip.trip_id_performed, seen.visit.pos


def _visit_row(trip: TripRow, visit: VisitRow, zone: ZoneInfo) -> list[Any]:
    dwell: Any = ""
    if visit.arrival is not None and visit.departure is not None:
        dwell = max(0, round(visit.departure - visit.arrival))
    times = (visit.scheduled_arrival, visit.scheduled_departure, visit.arrival, visit.departure)
    return [
        trip.service_date,
        trip.trip_id_performed,
        visit.pos + 1,
        visit.stop_sequence,
        trip.vehicle_id,
        dwell,
        visit.stop_id,
        "true" if visit.timepoint else "false",
        *(clock_time(at, zone) for at in times),
        "Scheduled",
    ]


def _trip_row(trip: TripRow, span: list[float | None], zone: ZoneInfo) -> list[Any]:
    return [
        trip.service_date,
        trip.trip_id_performed,
        trip.vehicle_id,
        trip.trip_id,
        trip.route_id,
        trip.route_type,
        trip.shape_id,
        "" if trip.direction_id is None else trip.direction_id,
        trip.block_id,
        trip.first_stop_id,
        trip.last_stop_id,
        *(clock_time(at, zone) for at in (trip.scheduled_start, trip.scheduled_end, *span)),
        "In service",
        "Scheduled",
    ]


def _new(path: Path) -> Any:
    try:
        return gzip.open(path, "wt", encoding="utf-8", newline="", compresslevel=6)
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror or error}") from None


def clock_time(at: float | None, zone: ZoneInfo) -> str:
    """ISO 8601 with an offset, to the millisecond where it is not a whole second; "" for None."""
    if at is None:
        return ""
    at = round(at, 3)
    return datetime.fromtimestamp(at, zone).isoformat(timespec="seconds" if at.is_integer() else "milliseconds")


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV file that may be gzip. `HistoryError` where it cannot be read."""
    try:
        with _opened(path) as lines:
            yield from csv.DictReader(lines)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise HistoryError(f"{path}: {error}") from None


def _opened(path: Path) -> TextIO:
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")
