"""What a step along the shape means: stops passed, the stop ahead, standing at a stop."""

from __future__ import annotations

import math

import numpy as np

from busd.track.fleet import INFERRED, PHASES, Runs, Vehicles
from busd.track.match import ShapeIndex
from busd.tracking_parameters import Visits
from busd.types import DatedTrip, Phase, Progress, StopVisit, VehiclePosition


def observe_passages(
    index: ShapeIndex,
    runs: Runs,
    slot: int,
    from_m: float,
    from_at: float,
    to_m: float,
    to_at: float,
    vehicle_id: str,
    service_date: str,
    p: Visits,
) -> list[StopVisit]:
    """Stops passed between two fixes of one vehicle on one run, each at the time linear between them.

    The bracket is the time between the fixes: the true instant lies inside it (up to GPS noise). The first stop is
    left with the last fix within its zone, as nobody can see a bus start moving."""
    network = index.network
    first = int(network.pattern_stop_offset[runs.pattern[slot]])
    target = index.target_m[first : first + int(runs.stops[slot])]
    dated, bracket = runs.dated(slot, service_date), to_at - from_at
    visits: list[StopVisit] = []
    leave_m = float(target[0]) + p.depart_zone_m
    if from_m <= leave_m < to_m:
        runs.departed_at[slot, 0] = from_at
        visits.append(StopVisit(dated, 0, vehicle_id, None, from_at, bracket))
    begin = max(1, int(np.searchsorted(target, from_m, side="right")))
    end = int(np.searchsorted(target, to_m, side="right"))
    for pos in range(begin, end):
        share = (float(target[pos]) - from_m) / (to_m - from_m)
        arrived = from_at + share * bracket
        runs.arrived_at[slot, pos] = arrived
        visits.append(StopVisit(dated, pos, vehicle_id, arrived, None, bracket))
    return visits


def stop_ahead(index: ShapeIndex, runs: Runs, slot: int, distance_m: float, p: Visits) -> int:
    """Position of the next stop; the count of stops behind the last. A bus in the zone of its first stop has it ahead."""
    first = int(index.network.pattern_stop_offset[runs.pattern[slot]])
    target = index.target_m[first : first + int(runs.stops[slot])]
    if distance_m <= float(target[0]) + p.depart_zone_m:
        return 0
    return int(np.searchsorted(target, distance_m, side="right"))


def stands_at(index: ShapeIndex, runs: Runs, vehicles: Vehicles, row: int, p: Visits) -> int:
    """Position of the stop the vehicle stands at, -1 if it does not stand at one. Near its first stop a vehicle that
    tells no speed stands: it waits for its departure."""
    slot = int(vehicles.slot[row])
    speed = float(vehicles.speed_mps[row])
    waits = math.isnan(speed) and vehicles.next_pos[row] == 0
    if slot < 0 or not (waits or speed <= p.at_stop_speed_mps):
        return -1
    first = int(index.network.pattern_stop_offset[runs.pattern[slot]])
    stop_m = index.network.pattern_stop_m[first : first + int(runs.stops[slot])]
    near = np.abs(stop_m - float(vehicles.distance_m[row]))
    pos = int(near.argmin())
    return pos if near[pos] <= p.at_stop_m else -1


def progress_of(
    vehicles: Vehicles, runs: Runs, row: int, position: VehiclePosition, trip: DatedTrip | None
) -> Progress:
    """What is held of a vehicle right after a fix."""
    slot = int(vehicles.slot[row])
    on_run = slot >= 0 and math.isfinite(vehicles.distance_m[row])
    next_pos = int(vehicles.next_pos[row])
    # a bus that names a run and has no place on it yet is around its first stop
    waits = not on_run or (next_pos >= runs.stops[slot] or (next_pos == 0 and vehicles.deviation_s[row] <= 0))
    phase = Phase.OTHER if slot < 0 else Phase.LAYOVER if waits else Phase.IN_SERVICE
    if vehicles.mode[row] == INFERRED:
        phase = PHASES[int(vehicles.phase[row])]
    return Progress(
        vehicle_idx=row,
        vehicle_id=position.vehicle_id,
        lat=position.lat,
        lon=position.lon,
        measured_at=position.measured_at,
        phase=phase,
        trip=trip,
        distance_m=float(vehicles.distance_m[row]) if on_run else None,
        offset_m=float(vehicles.offset_m[row]) if on_run else None,
        probability=(float(vehicles.probability[row]) if vehicles.mode[row] == INFERRED else 1.0) if on_run else None,
        next_stop_pos=next_pos if on_run and next_pos < runs.stops[slot] else None,
        deviation_s=float(vehicles.deviation_s[row]) if on_run else None,
        off_route=bool(vehicles.off_route[row]),
        bearing_deg=position.bearing_deg,
        speed_mps=position.speed_mps,
        occupancy=position.occupancy,
        label=position.label,
        source=position.source,
        report_id=position.report_id,
    )
