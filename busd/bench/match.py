"""Tracking: fixes a second, for buses that name their trip, for buses that do not, and for buses just met.

Only `Tracker.follow` is timed, on ticks of 100 ms that hold an even share of the fleet. The floor is a projection of the
same fixes to the same windows of their shapes in numpy, and nothing else."""

from __future__ import annotations

from time import process_time
from typing import Any

import numpy as np

from busd.bench.fleet import city, engine_of, long_line, reports
from busd.engine import Engine, grid
from busd.track.match import project, ragged
from busd.types import Output, VehiclePosition
from gtfs.network import Network

INTERVAL_S = 10.0
ROUNDS = 3


def run() -> dict[str, Any]:
    line = long_line(22_000)
    named = {n: _tracked(line, n, hints=True) for n in (1_000, 10_000, 20_000)}
    streets = city()
    floor = _floor(line, 10_000)
    unplaced = _unplaced(streets, 2_000)
    inferred = _tracked(streets, 2_000, hints=False)
    return {
        "named_vehicles": 10_000,
        "patterns": len(streets.pattern_route),
        "trips": len(streets.trip_pattern),
        "named_fixes_a_second": round(named[10_000]),
        "named_cost_growth_1000_to_20000": round(named[1_000] / named[20_000], 2),
        "inferred_fixes_a_second": round(inferred),
        "unplaced_fixes_a_second": round(unplaced),
        "floor_fixes_a_second": round(floor),
        "ratio_to_floor": round(floor / named[10_000], 1),
    }


def _follow(engine: Engine, positions: list[VehiclePosition]) -> float:
    """CPU seconds to follow the reports, tick by tick."""
    vehicles = engine.vehicles
    rows = [vehicles.row(position) for position in positions]
    spent, first = 0.0, 0
    while first < len(positions):
        at = grid(positions[first].measured_at)
        last = first
        while last < len(positions) and positions[last].measured_at <= at:
            last += 1
        waiting = list(zip(rows[first:last], positions[first:last]))
        for row, position in waiting:
            vehicles.latest[row], vehicles.measured_at[row] = position, position.measured_at
        outputs: list[Output] = []
        began = process_time()
        engine.tracker.follow(waiting, at, outputs, [])
        spent += process_time() - began
        first = last
    return spent


def _under_way(network: Network, n: int, second: float) -> np.ndarray:
    """At most n trips that run at ``second`` and for the next minutes."""
    first = network.departure_s[network.trip_time_offset[:-1]]
    last = network.arrival_s[network.trip_time_offset[1:] - 1]
    return np.flatnonzero((first < second - 30.0) & (last > second + 120.0))[:n]


def _tracked(network: Network, n: int, *, hints: bool) -> float:
    engine, start = engine_of(network)
    second = float(network.departure_s.min()) + 22_500.0 if hints else 8 * 3600 + 900.0
    trips = _under_way(network, n, second)
    spent = 0.0
    for k in range(ROUNDS + 2):
        each = _follow(engine, reports(network, trips, start, second + INTERVAL_S * k, INTERVAL_S, hints))
        spent += each if k >= 2 else 0.0
    return ROUNDS * len(trips) / spent


def _unplaced(network: Network, n: int) -> float:
    engine, start = engine_of(network)
    second = 8 * 3600 + 900.0
    trips = _under_way(network, n, second)
    warm = reports(network, trips[:1], start, second - 60.0, 1.0, False)
    _follow(engine, warm)
    return n / _follow(engine, reports(network, trips[1:], start, second, INTERVAL_S, False))


def _floor(network: Network, n: int) -> float:
    """Projection of n fixes to windows of ten segments, a hundred at a time."""
    rng = np.random.default_rng(1)
    points = len(network.shape_x) - 12
    spent = 0.0
    for _ in range(n // 100):
        first = rng.integers(0, max(points, 1), 100)
        last = np.minimum(first + 10, len(network.shape_x) - 2)
        x, y = network.shape_x[first] + 5.0, network.shape_y[first] + 5.0
        began = process_time()
        owner, segment = ragged(first, last)
        _, offset = project(network, segment, x[owner], y[owner])
        np.minimum.reduceat(offset, np.searchsorted(owner, np.arange(100)))
        spent += process_time() - began
    return n / spent
