"""The latest Progress of a bus as riders get it. Vehicles that are on no trip (depot runs) are nobody's business."""

from __future__ import annotations

from typing import Any

from busd.types import Occupancy, Progress
from busd.web.catalogue import Catalogue

OCCUPANCY = {
    Occupancy.EMPTY: "empty",
    Occupancy.MANY_SEATS_AVAILABLE: "many_seats",
    Occupancy.FEW_SEATS_AVAILABLE: "few_seats",
    Occupancy.STANDING_ROOM_ONLY: "standing",
    Occupancy.CRUSHED_STANDING_ROOM_ONLY: "crushed",
    Occupancy.FULL: "full",
    Occupancy.NOT_ACCEPTING_PASSENGERS: "not_boarding",
}


def route_of(progress: Progress, catalogue: Catalogue) -> str | None:
    """Route id of the trip the bus is on; None for a bus that riders do not see."""
    trip = progress.trip
    if trip is None or not 0 <= trip.trip_idx < len(catalogue.trip_pattern):
        return None
    return catalogue.route_id[catalogue.pattern_route[catalogue.trip_pattern[trip.trip_idx]]]


def vehicle_row(progress: Progress, catalogue: Catalogue) -> dict[str, Any]:
    """A bus on a trip -> its JSON object. ``lat``/``lon`` as reported (WGS-84), ``dist`` metres along the shape named
    ``shape`` (see /v1/lines/{id}), ``dev`` seconds behind the timetable, ``at`` Unix seconds of the fix."""
    assert progress.trip is not None
    pattern = catalogue.trip_pattern[progress.trip.trip_idx]
    route = catalogue.pattern_route[pattern]
    row: dict[str, Any] = {
        "id": progress.vehicle_id,
        "route": catalogue.route_id[route],
        "line": catalogue.short_name[route],
        "head": catalogue.headsign_text(catalogue.trip_headsign[progress.trip.trip_idx]),
        "lat": round(progress.lat, 6),
        "lon": round(progress.lon, 6),
        "at": int(progress.measured_at),
        "phase": progress.phase.value,
    }
    if progress.label:
        row["label"] = progress.label
    if progress.bearing_deg is not None:
        row["bearing"] = round(progress.bearing_deg) % 360
    if progress.off_route:
        row["off_route"] = True
    elif progress.distance_m is not None:
        row["dist"] = round(progress.distance_m)
        row["shape"] = catalogue.pattern_shape[pattern]
    if progress.next_stop_pos is not None:
        row["next"] = catalogue.stop_at(pattern, progress.next_stop_pos)
    if progress.deviation_s is not None:
        row["dev"] = round(progress.deviation_s)
    if progress.occupancy is not None and progress.occupancy in OCCUPANCY:
        row["occ"] = OCCUPANCY[Occupancy(progress.occupancy)]
    return row
