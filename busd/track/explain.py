"""Why is there no prediction for this bus? All that is known of one vehicle, in words and numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from busd.track.doubt import is_doubted
from busd.track.fleet import BELIEVED, LIVE, LOST
from busd.track.progress import progress_of
from busd.track.tracker import Tracker
from busd.types import VehiclePosition


def explain_vehicle(tracker: Tracker, row: int, at: float) -> dict[str, Any]:
    """One vehicle as JSON-ready values. ``at`` is the engine's instant; instants are epoch seconds, distances metres."""
    vehicles, runs = tracker.vehicles, tracker.runs
    position = vehicles.latest[row]
    slot = int(vehicles.slot[row])
    trip = runs.dated(slot, tracker.assigner.service_date(slot)) if slot >= 0 else None
    (progress,) = progress_of(vehicles, runs, np.array([row]), [position], [trip])
    inferred = int(vehicles.mode[row]) != BELIEVED
    hypotheses = tracker.explain(row)
    predicted = slot >= 0 and int(vehicles.liveness[row]) == LIVE and progress.distance_m is not None
    predicted = predicted and progress.next_stop_pos is not None
    return {
        "vehicle_id": vehicles.ids[row],
        "label": position.label,
        "at": at,
        "predicted": predicted,
        "why": _why(tracker, row, at, hypotheses),
        "phase": progress.phase.value,
        "run": None if slot < 0 else _run(tracker, slot, progress.probability),
        "place": {
            "distance_m": _number(progress.distance_m),
            "offset_m": _number(progress.offset_m),
            "next_stop": _next_stop(tracker, slot, progress.next_stop_pos),
            "deviation_s": _number(progress.deviation_s),
            "off_route": progress.off_route,
        },
        "report": _report(position, at),
        "hint": _hint(tracker, row, position, inferred),
        "decided_by": "inference" if inferred else "its source" if slot >= 0 else "nothing",
        "hypotheses": hypotheses,
        "events": [{"at": e.at, "event": str(e.kind), "reason": e.reason} for e in reversed(vehicles.log.of(row))],
    }


def _why(tracker: Tracker, row: int, at: float, hypotheses: list[dict[str, Any]]) -> str:
    """One sentence: why it is predicted, or why it is not."""
    vehicles, p = tracker.vehicles, tracker.p
    slot, silence = int(vehicles.slot[row]), at - float(vehicles.measured_at[row])
    if vehicles.liveness[row] == LOST:
        return f"lost: no report for {silence / 60:.0f} min"
    if vehicles.liveness[row] != LIVE:
        return "its first report has not been looked at yet"
    if slot < 0:
        return _why_no_run(tracker, row, hypotheses)
    words = tracker.watcher.words(slot)
    if math.isnan(vehicles.distance_m[row]):
        return f"named for {words}, but not seen near its shape yet"
    if vehicles.off_route[row]:
        held = f"{vehicles.distance_m[row] / 1000:.1f} km"
        return f"off the route of {words}; predictions go on from {held}, where it left, and are worth less"
    if silence >= p.predicting.frozen_s:
        return f"predicted on {words}, but frozen: no report for {silence / 60:.0f} min"
    if vehicles.next_pos[row] >= tracker.runs.stops[slot]:
        return f"{words} is over; nothing is left to predict until its next trip"
    if vehicles.mode[row] == BELIEVED:
        return f"predicted on {words}, which its source names and its positions fit"
    return f"predicted on {words}, which fits best ({vehicles.probability[row]:.0%})"


def _why_no_run(tracker: Tracker, row: int, hypotheses: list[dict[str, Any]]) -> str:
    vehicles = tracker.vehicles
    last = [e for e in vehicles.log.of(row) if e.kind in ("no match", "conflict", "assignment taken", "end of block")]
    because = f" ({last[-1].reason})" if last else ""
    if vehicles.phase[row] == 0 and float(vehicles.speed_mps[row]) <= 1.0:
        because += "; it stands, away from any run that is due"
    if not hypotheses:
        return f"not predicted: no trip of the timetable passes here at this time{because}"
    best = hypotheses[0]
    if best["claimed_by_others"] > 0.5:
        return f"not predicted: trip {best['trip_id']} fits best, but another bus performs it{because}"
    return f"not predicted: trip {best['trip_id']} comes nearest and does not fit well enough{because}"


def _run(tracker: Tracker, slot: int, probability: float | None) -> dict[str, Any]:
    network, runs = tracker.network, tracker.runs
    trip, pattern = int(runs.trip[slot]), int(runs.pattern[slot])
    route, block = int(network.pattern_route[pattern]), int(network.trip_block[trip])
    return {
        "trip_id": network.trip_id[trip],
        "route_id": network.route_id[route],
        "line": network.route_short_name[route] or network.route_id[route],
        "direction_id": int(network.pattern_direction[pattern]),
        "block_id": network.block_id[block] if block >= 0 else None,
        "service_date": tracker.assigner.service_date(slot),
        "starts_at": float(runs.base_at[slot] + network.departure_s[runs.time_row[slot]]),
        "in_calendar": int(runs.run[slot]) >= 0,
        "probability": _number(probability, 4),
    }


def _next_stop(tracker: Tracker, slot: int, pos: int | None) -> dict[str, str] | None:
    if slot < 0 or pos is None:
        return None
    network = tracker.network
    stop = int(network.pattern_stop[int(network.pattern_stop_offset[int(tracker.runs.pattern[slot])]) + pos])
    return {"stop_id": network.stop_id[stop], "name": network.stop_name[stop]}


def _report(position: VehiclePosition, at: float) -> dict[str, Any]:
    return {
        "source": position.source,
        "lat": position.lat,
        "lon": position.lon,
        "measured_at": position.measured_at,
        "age_s": round(max(at - position.measured_at, 0.0), 1),
        "bearing_deg": position.bearing_deg,
        "speed_mps": position.speed_mps,
    }


def _hint(tracker: Tracker, row: int, position: VehiclePosition, inferred: bool) -> dict[str, Any]:
    """What the source says of the trip, whether that can be meant, and what it is worth."""
    hint = position.hint
    if hint is None:
        return {"given": False, "verdict": "its source names no trip", "trust": None}
    fields = {name: getattr(hint, name) for name in hint.__struct_fields__ if getattr(hint, name) is not None}
    if hint.trip_id is None:
        verdict = "names no trip; what it names counts as evidence"
    elif tracker.network.find_trip(hint.trip_id) is None:
        verdict = "names a trip that the timetable does not have"
    elif not tracker.assigner.may_mean(hint, position.measured_at):
        verdict = "names a trip that does not run at this time"
    elif not inferred:
        verdict = "believed"
    elif is_doubted(tracker.vehicles, row, tracker.p):
        verdict = "its timetable was not kept from the first; counts as evidence, no more"
    else:
        verdict = "did not fit; counts as evidence, no more"
    return {"given": True, **fields, "verdict": verdict, "trust": tracker.trust(row) if inferred else 1.0}


def _number(value: float | None, digits: int = 1) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
