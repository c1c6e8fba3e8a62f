"""A recorded stretch of the city: positions as a feed would have them and the truth, for tests, benches and replays."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

from busd.types import VehiclePosition
from replay.city.feed import SHANGHAI
from replay.city.gps import Receivers, Report, plate
from replay.city.roads import Scenario
from replay.city.timetable import Plan
from replay.city.traffic import Traffic
from replay.city.truth import Passage

_STEP_S = 30.0
POSITION_COLUMNS = [
    "location_ping_id",
    "service_date",
    "event_timestamp",
    "vehicle_id",
    "trip_id_scheduled",
    "scheduled_stop_sequence",
    "latitude",
    "longitude",
    "heading",
    "speed",
    "odometer",
    "trip_type",
    "label_trip_id",
    "label_start_s",
    "label_distance_m",
    "label_next_stop_sequence",
]
"""TIDES vehicle_locations; columns ``label_`` hold the truth and are never an input"""
PASSAGE_COLUMNS = [
    "service_date",
    "trip_id",
    "vehicle_id",
    "stop_sequence",
    "stop_id",
    "arrival",
    "bracket_s",
    "scheduled",
    "is_first_stop",
    "is_last_stop",
    "departure",
    "start_s",
]


@dataclass(frozen=True)
class Recording:
    """Positions by measured_at and all passages of stops that began within the time."""

    reports: list[Report]
    passages: list[Passage]

    @property
    def positions(self) -> list[VehiclePosition]:
        """What a feed would have delivered: reports without a fix are left out."""
        return [report.to_position() for report in self.reports if report.positioned]


def simulate(
    plan: Plan,
    seed: int,
    start: float,
    end: float,
    interval_s: int | None = None,
    timezone: str = SHANGHAI,
    scenario: Scenario | None = None,
) -> Recording:
    """The city from ``start`` to ``end`` (epoch seconds), under way as if it had run all day. Up to some hours: all of
    it is kept in memory (`record` writes whole days). ``interval_s`` None: every bus its own, 5 to 10 s."""
    reports: list[Report] = []
    passages: list[Passage] = []
    for some, past in stretches(plan, seed, start, end, interval_s, timezone, scenario):
        reports += some
        passages += past
    reports.sort(key=lambda report: (report.measured_at, report.vehicle))
    return Recording(reports, passages)


def record(
    plan: Plan,
    seed: int,
    start: float,
    end: float,
    positions_path: Path,
    passages_path: Path,
    interval_s: int | None = None,
    timezone: str = SHANGHAI,
    scenario: Scenario | None = None,
) -> int:
    """Writes what `simulate` gives as TIDES CSV (.gz by the name); returns the number of positions."""
    count = 0
    with _writer(positions_path) as out, _writer(passages_path) as truth:
        positions, stops = csv.writer(out, lineterminator="\n"), csv.writer(truth, lineterminator="\n")
        positions.writerow(POSITION_COLUMNS)
        stops.writerow(PASSAGE_COLUMNS)
        for some, passages in stretches(plan, seed, start, end, interval_s, timezone, scenario):
            fixes = sorted((r for r in some if r.positioned), key=lambda r: (r.measured_at, r.vehicle))
            positions.writerows(_position_rows(fixes, ZoneInfo(timezone)))
            stops.writerows(_passage_row(passage) for passage in passages)
            count += len(fixes)
    return count


def stretches(
    plan: Plan,
    seed: int,
    start: float,
    end: float,
    interval_s: int | None,
    timezone: str,
    scenario: Scenario | None,
) -> Iterator[tuple[list[Report], list[Passage]]]:
    """Half-minute pieces; a fix belongs to the piece it was measured in, so that pieces follow one another in time."""
    traffic = Traffic(plan, seed, start, timezone, scenario)
    receivers = Receivers(traffic, seed, start, interval_s)
    held: list[Report] = []
    at = start
    while at < end:
        at = min(at + _STEP_S, end)
        held += receivers.due(at + 1.0)
        ready = [report for report in held if report.measured_at < at]
        held = [report for report in held if report.measured_at >= at]
        yield ready, traffic.take_passages()
        traffic.forget(at - 10.0)


def _position_rows(reports: Iterable[Report], zone: ZoneInfo) -> Iterator[tuple[object, ...]]:
    for report in reports:
        truth, hint = report.truth, report.hint
        sequence = "" if truth.next_pos is None else truth.next_pos + 1
        yield (
            f"{801 + report.vehicle:04d}-{report.measured_at:.0f}",
            _iso_date(truth.service_date),
            datetime.fromtimestamp(report.measured_at, zone).isoformat(),
            plate(report.vehicle),
            "" if hint is None else hint.trip_id,
            sequence,
            f"{report.lat:.6f}",
            f"{report.lon:.6f}",
            f"{report.bearing_deg:.0f}",
            f"{report.speed_mps:.2f}",
            f"{truth.odometer_m:.0f}",
            "In service" if truth.in_service else "Layover",
            "" if hint is None else hint.trip_id,
            "" if hint is None or hint.start_s is None else hint.start_s,
            "" if truth.distance_m is None else f"{truth.distance_m:.1f}",
            sequence,
        )


def _passage_row(passage: Passage) -> tuple[object, ...]:
    return (
        passage.service_date,
        passage.trip_id,
        plate(passage.vehicle),
        passage.stop_sequence,
        passage.stop_id,
        f"{passage.departure_at if passage.is_first else passage.arrival_at:.1f}",
        0,
        f"{passage.scheduled_at:.0f}",
        int(passage.is_first),
        int(passage.is_last),
        f"{passage.departure_at:.1f}",
        "" if passage.start_s is None else passage.start_s,
    )


def _iso_date(service_date: str) -> str:
    return f"{service_date[:4]}-{service_date[4:6]}-{service_date[6:]}"


@contextmanager
def _writer(path: Path) -> Iterator[TextIO]:
    """Text file; gzip without name and time in its header, so that equal content gives equal bytes."""
    if path.suffix == ".gz":
        with (
            path.open("wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=6) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
        ):
            yield text
    else:
        with path.open("w", encoding="utf-8", newline="") as text:
            yield text
