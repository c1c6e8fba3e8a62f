"""The TIDES tables of what was performed: who ran which trip and when it passed which stop.

Words and enumerations are those of the TIDES 1.0 table schemas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from busd.types import DatedTrip, Phase, StopVisit
from gtfs.calendar import service_day_start

if TYPE_CHECKING:
    from gtfs.network import Network

VISITS = (
    "service_date",
    "trip_id_performed",
    "trip_stop_sequence",
    "scheduled_stop_sequence",
    "vehicle_id",
    "dwell",
    "stop_id",
    "timepoint",
    "schedule_arrival_time",
    "schedule_departure_time",
    "actual_arrival_time",
    "actual_departure_time",
    "schedule_relationship",
)
TRIPS = (
    "service_date",
    "trip_id_performed",
    "vehicle_id",
    "trip_id_scheduled",
    "route_id",
    "route_type",
    "shape_id",
    "direction_id",
    "block_id",
    "trip_start_stop_id",
    "trip_end_stop_id",
    "schedule_trip_start",
    "schedule_trip_end",
    "actual_trip_start",
    "actual_trip_end",
    "trip_type",
    "schedule_relationship",
)
ROUTE_TYPE = {
    0: "Tram / Streetcar / Light rail",
    1: "Subway / Metro",
    2: "Rail",
    3: "Bus",
    4: "Ferry",
    5: "Cable tram",
    6: "Aerial lift",
    7: "Funicular",
    11: "Trolleybus",
    700: "Bus Service",
    701: "Regional Bus Service",
    702: "Express Bus Service",
    704: "Local Bus Service",
    715: "Demand and Response Bus Service",
    800: "Trolleybus Service",
    900: "Tram Service",
}

Performed = tuple[DatedTrip, str]
"""a dated trip and the vehicle that ran it"""


@dataclass
class _Visit:
    arrival_at: float | None
    departure_at: float | None


@dataclass
class Day:
    """What was performed: who ran which trip, in the order it was seen, and the stops they were seen at."""

    network: Network
    trips: dict[Performed, dict[int, _Visit]] = field(default_factory=dict)
    _vehicles: dict[DatedTrip, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.zone = ZoneInfo(self.network.timezone)

    def performed_id(self, trip: DatedTrip, vehicle_id: str) -> str:
        """Unique in a service date: the trip id, with the start of a frequency run, and with the vehicle where a second
        one was seen on the same trip."""
        key = (trip, vehicle_id)
        if key not in self.trips:
            self.trips[key] = {}
            self._vehicles.setdefault(trip, []).append(vehicle_id)
        name = self.network.trip_id[trip.trip_idx]
        if trip.start_s is not None:
            name += f"@{trip.start_s // 3600:02d}:{trip.start_s // 60 % 60:02d}:{trip.start_s % 60:02d}"
        return name if self._vehicles[trip][0] == vehicle_id else f"{name}#{vehicle_id}"

    def add(self, visit: StopVisit) -> None:
        """A later word about the same stop call completes or corrects the earlier one."""
        self.performed_id(visit.trip, visit.vehicle_id)
        visits = self.trips[visit.trip, visit.vehicle_id]
        known = visits.setdefault(visit.stop_pos, _Visit(None, None))
        known.arrival_at = visit.arrival_at if visit.arrival_at is not None else known.arrival_at
        known.departure_at = visit.departure_at if visit.departure_at is not None else known.departure_at

    def visit_rows(self) -> Iterator[list[str]]:
        network = self.network
        for (trip, vehicle), visits in self.trips.items():
            name = self.performed_id(trip, vehicle)
            start = network.trip_time_offset[trip.trip_idx]
            day = self._day_start(trip)
            for pos, visit in sorted(visits.items()):
                row = start + pos
                dwell = ""
                if visit.arrival_at is not None and visit.departure_at is not None:
                    dwell = str(max(0, round(visit.departure_at - visit.arrival_at)))
                yield [
                    iso_date(trip.service_date),
                    name,
                    str(pos + 1),
                    str(int(network.stop_sequence[row])),
                    vehicle,
                    dwell,
                    self._stop_id(trip, pos),
                    "true" if network.timepoint[row] else "false",
                    self.clock_time(day + float(network.arrival_s[row])),
                    self.clock_time(day + float(network.departure_s[row])),
                    self.clock_time(visit.arrival_at),
                    self.clock_time(visit.departure_at),
                    "Scheduled",
                ]

    def trip_rows(self) -> Iterator[list[str]]:
        network = self.network
        for (trip, vehicle), visits in self.trips.items():
            k = trip.trip_idx
            pattern = int(network.trip_pattern[k])
            first, last = int(network.trip_time_offset[k]), int(network.trip_time_offset[k + 1]) - 1
            route, shape = int(network.pattern_route[pattern]), int(network.pattern_shape[pattern])
            direction, block = int(network.pattern_direction[pattern]), int(network.trip_block[k])
            day = self._day_start(trip)
            start, end = visits.get(0), visits.get(last - first)
            yield [
                iso_date(trip.service_date),
                self.performed_id(trip, vehicle),
                vehicle,
                network.trip_id[k],
                network.route_id[route],
                ROUTE_TYPE.get(int(network.route_type[route]), ""),
                network.shape_id[shape] if shape >= 0 else "",
                str(direction) if direction >= 0 else "",
                network.block_id[block] if block >= 0 else "",
                self._stop_id(trip, 0),
                self._stop_id(trip, last - first),
                self.clock_time(day + float(network.departure_s[first])),
                self.clock_time(day + float(network.arrival_s[last])),
                self.clock_time(start.departure_at if start else None),
                self.clock_time(end.arrival_at if end else None),
                Phase.IN_SERVICE.value,
                "Scheduled",
            ]

    def clock_time(self, at: float | None) -> str:
        """ISO 8601 with the offset of the timetable's zone, to the millisecond where it is not a whole second."""
        if at is None:
            return ""
        at = round(at, 3)
        spec = "seconds" if at.is_integer() else "milliseconds"
        return datetime.fromtimestamp(at, self.zone).isoformat(timespec=spec)

    def _day_start(self, trip: DatedTrip) -> float:
        """Epoch of second 0 of the trip's stop times; a frequency run is moved to its own start."""
        start = service_day_start(trip.service_date, self.network.timezone)
        if trip.start_s is not None:
            start += trip.start_s - float(self.network.departure_s[self.network.trip_time_offset[trip.trip_idx]])
        return start

    def _stop_id(self, trip: DatedTrip, pos: int) -> str:
        network = self.network
        row = network.pattern_stop_offset[network.trip_pattern[trip.trip_idx]] + pos
        return network.stop_id[int(network.pattern_stop[row])]


def iso_date(service_date: str) -> str:
    """'20260216' -> '2026-02-16'"""
    return f"{service_date[:4]}-{service_date[4:6]}-{service_date[6:]}"
