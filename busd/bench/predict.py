"""Prediction: all stops ahead of a fleet re-predicted with quantiles. The floor is one cumulative sum over as many rows."""

from __future__ import annotations

from time import process_time
from typing import Any

import numpy as np

from busd.bench.fleet import engine_of, long_line
from busd.engine import Engine
from busd.track.fleet import BEGUN, LIVE
from busd.types import VehiclePosition

STOPS_AHEAD = 30
ROUNDS = 5


def run() -> dict[str, Any]:
    network = long_line(22_000)
    small, large = _predict(network, 1_000), _predict(network, 10_000)
    floor = _floor(10_000)
    return {
        "ms_1000_vehicles": round(small * 1e3, 2),
        "ms_10000_vehicles": round(large * 1e3, 2),
        "stops_ahead": STOPS_AHEAD,
        "growth": round(large / small, 2),
        "floor_cumsum_ms": round(floor * 1e3, 3),
        "ratio_to_floor": round(large / floor, 1),
    }


def _predict(network: Any, n: int) -> float:
    """Least CPU seconds of `Predictor.predict` for n vehicles."""
    engine, start = engine_of(network)
    at = start + 8 * 3600 + 1200.0
    engine.timetable.advance(at)
    _place(engine, n, at)
    rows = np.arange(n)
    best = np.inf
    for k in range(ROUNDS):
        began = process_time()
        engine.predictor.predict(rows, at + k)
        best = min(best, process_time() - began)
    return float(best)


def _place(engine: Engine, n: int, at: float) -> None:
    """Each vehicle just behind the second stop of a trip of its own, a little late."""
    vehicles, runs, network = engine.vehicles, engine.runs, engine.network
    day = next(iter(engine.timetable)).ordinal
    for i in range(n):
        row = vehicles.row(VehiclePosition("bench", f"b{i}", 0.0, 0.0, at, at))
        slot = engine.tracker.assigner.slot_of(day, i, -1, i)
        vehicles.slot[row], runs.vehicle[slot], runs.following[slot] = slot, row, BEGUN
        vehicles.liveness[row] = LIVE
        vehicles.measured_at[row] = vehicles.received_at[row] = vehicles.matched_at[row] = at
        vehicles.distance_m[row], vehicles.next_pos[row] = network.pattern_stop_m[1] + 20.0, 2
        vehicles.deviation_s[row] = i % 300
        runs.base_at[slot] = at - network.departure_s[runs.time_row[slot] + 1] - i % 300


def _floor(n: int) -> float:
    values = np.random.default_rng(1).random(n * STOPS_AHEAD)
    best = np.inf
    for _ in range(ROUNDS):
        began = process_time()
        np.cumsum(values)
        best = min(best, process_time() - began)
    return float(max(best, 1e-9))
