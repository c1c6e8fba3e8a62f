"""What really happens in the demo city, as the simulation knows it and no receiver does."""

from __future__ import annotations

from dataclasses import dataclass

from replay.city.timetable import Run


@dataclass(frozen=True)
class Passage:
    """What really happened at one stop. ``arrival_at`` = ``departure_at`` where the bus did not halt."""

    vehicle: int
    trip_id: str
    service_date: str
    start_s: int | None
    stop_sequence: int
    stop_id: str
    scheduled_at: float
    """arrival by the plan"""
    arrival_at: float
    departure_at: float
    is_first: bool
    is_last: bool


@dataclass(frozen=True)
class BusState:
    """Where a bus truly is at one instant."""

    vehicle: int
    lat: float
    lon: float
    bearing_deg: float
    speed_mps: float
    run: Run | None
    """the trip the driver has entered; None between trips"""
    service_date: str
    distance_m: float | None
    """along the shape, while on a trip"""
    next_pos: int | None
    """position in the pattern of the next stop; 0 while it waits for its departure"""
    in_service: bool
    """False on a layover"""
    doors_open: bool
    load: int
    odometer_m: float
