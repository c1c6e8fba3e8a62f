"""What a step along the shape means: stops passed, the stop ahead, standing at a stop. Many vehicles at once."""

from __future__ import annotations

import math

import numpy as np

from busd.track.fleet import INFERRED, PHASES, Runs, Vehicles
from busd.track.match import ShapeIndex
from busd.tracking_parameters import Visits
from busd.types import DatedTrip, Phase, Progress, StopVisit, VehiclePosition
from gtfs.network import F64, I64, Bool


def stops_ahead(index: ShapeIndex, pattern: I64, stops: I64, distance_m: F64, p: Visits) -> I64:
    """Position of the next stop; ``stops`` behind the last. A bus in the zone of its first stop has it ahead."""
    behind = np.minimum(index.targets_behind(pattern, distance_m), stops)
    return np.where(distance_m <= _leave_m(index, pattern, p), 0, behind)


def passes(index: ShapeIndex, pattern: I64, stops: I64, from_m: F64, to_m: F64, p: Visits) -> Bool:
    """May the step from ``from_m`` (NaN unknown) to ``to_m`` have brought the bus past a stop? Sure where False."""
    leave_m = _leave_m(index, pattern, p)
    before = np.maximum(index.targets_behind(pattern, from_m - 0.001), 1)
    arrives = before < np.minimum(index.targets_behind(pattern, to_m), stops)
    return (to_m > from_m) & (arrives | ((from_m <= leave_m) & (leave_m < to_m)))


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


def stands_at(
    index: ShapeIndex, pattern: I64, stops: I64, distance_m: F64, speed_mps: F64, next_pos: I64, p: Visits
) -> I64:
    """Position of the stop each vehicle stands at, -1 if it does not stand at one. Near its first stop a vehicle that
    tells no speed stands: it waits for its departure."""
    out = np.full(len(pattern), -1, np.int64)
    who = np.flatnonzero((speed_mps <= p.at_stop_speed_mps) | (np.isnan(speed_mps) & (next_pos == 0)))
    if not len(who):
        return out
    pattern, here = pattern[who], distance_m[who]
    stop_m, first = index.network.pattern_stop_m, index.network.pattern_stop_offset[pattern]
    after = np.clip(index.stops_behind(pattern, here), 1, np.maximum(stops[who] - 1, 1))
    before_off, after_off = np.abs(stop_m[first + after - 1] - here), np.abs(stop_m[first + after] - here)
    out[who] = np.where(np.minimum(before_off, after_off) <= p.at_stop_m, after - (before_off <= after_off), -1)
    return out


def progress_of(
    vehicles: Vehicles, runs: Runs, rows: I64, positions: list[VehiclePosition], trips: list[DatedTrip | None]
) -> list[Progress]:
    """What is held of each vehicle right after its fix."""
    columns = (
        vehicles.slot,
        vehicles.distance_m,
        vehicles.offset_m,
        vehicles.deviation_s,
        vehicles.next_pos,
        vehicles.mode,
        vehicles.phase,
        vehicles.probability,
        vehicles.off_route,
    )
    stops = runs.stops[vehicles.slot[rows]].tolist() if runs.size else [0] * len(rows)
    held = zip(rows.tolist(), positions, trips, stops, *(column[rows].tolist() for column in columns))
    out: list[Progress] = []
    for row, position, trip, count, slot, distance, offset, deviation, ahead, mode, phase_, sure, off_route in held:
        on_run = slot >= 0 and math.isfinite(distance)
        inferred = mode == INFERRED
        if inferred:
            # known also where the fix itself has no place on the run: beside it, or before its start
            phase, known = PHASES[phase_], slot >= 0 and not math.isnan(sure)
        else:
            sure, known = 1.0, on_run
            # a bus that names a run and has no place on it yet is around its first stop
            waits = not on_run or ahead >= count or (ahead == 0 and deviation <= 0)
            phase = Phase.OTHER if slot < 0 else Phase.LAYOVER if waits else Phase.IN_SERVICE
        out.append(
            Progress(
                vehicle_idx=row,
                vehicle_id=position.vehicle_id,
                lat=position.lat,
                lon=position.lon,
                measured_at=position.measured_at,
                phase=phase,
                trip=trip,
                distance_m=distance if on_run else None,
                offset_m=offset if on_run else None,
                probability=sure if known else None,
                next_stop_pos=ahead if on_run and ahead < count else None,
                deviation_s=deviation if on_run else None,
                off_route=bool(off_route),
                bearing_deg=position.bearing_deg,
                speed_mps=position.speed_mps,
                occupancy=position.occupancy,
                label=position.label,
                source=position.source,
                report_id=position.report_id,
            )
        )
    return out


def _leave_m(index: ShapeIndex, pattern: I64, p: Visits) -> F64:
    """A bus that is farther along has left its first stop."""
    leave: F64 = index.target_m[index.network.pattern_stop_offset[pattern]] + p.depart_zone_m
    return leave
