"""A drawn city for benches of the engine: many buses of which each is on a trip of its own, at its planned place."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from busd.engine import Engine
from busd.parameters import Parameters
from busd.types import NetworkLoaded, Started, TripHint, VehiclePosition
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import network_from_map

DAY = "20260302"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
GRID = ["ABCDEFGH", "IJKLMNOP", "QRSTUVWX", "YZ012345"]
CELL_M = 300.0


def long_line(trips: int) -> Network:
    """One line of 32 stops and a trip every second, so slow that all of them are under way at once."""
    speed = len(LETTERS) * CELL_M / (trips + 3600.0)
    drawn = "-".join(LETTERS)
    return network_from_map(drawn, {"1": LETTERS}, trips=trips, headway_s=1, cell_m=CELL_M / 2, speed_mps=speed)


def city(patterns: int = 400, trips: int = 20_000) -> Network:
    """``patterns`` lines over a grid of streets, so that each street carries many of them."""
    dice = random.Random(400)
    lines: dict[str, str] = {}
    while len(lines) < patterns:
        row, column = dice.randrange(4), dice.randrange(8)
        way = GRID[row][column]
        for _ in range(40):
            step = dice.choice(((0, 1), (0, -1), (1, 0), (-1, 0)))
            row_, column_ = row + step[0], column + step[1]
            if 0 <= row_ < 4 and 0 <= column_ < 8 and GRID[row_][column_] not in way:
                row, column = row_, column_
                way += GRID[row][column]
        if len(way) >= 10:
            lines[f"L{len(lines)}"] = way
    drawn = "\n\n".join("-".join(row) for row in GRID)
    return network_from_map(
        drawn, lines, trips=trips // patterns, headway_s=900, start="05:00:00", cell_m=CELL_M / 2, speed_mps=1.5
    )


def engine_of(network: Network, parameters: Parameters | None = None) -> tuple[Engine, float]:
    """An engine without boards that knows the network, and the start of its service day."""
    start = service_day_start(DAY, network.timezone)
    engine = Engine(lambda digest: network, parameters, boards=False)
    engine.apply(Started(start + 8 * 3600, "bench"))
    engine.apply(NetworkLoaded(start + 8 * 3600, network.digest))
    return engine, start


def places_of(network: Network, trips: np.ndarray, second: float) -> tuple[np.ndarray, np.ndarray]:
    """(lat, lon) where the timetable has each trip at ``second`` of the day; at its ends before and after."""
    lat, lon = np.empty(len(trips)), np.empty(len(trips))
    for i, trip in enumerate(trips.tolist()):
        times = network.departure_s[network.trip_rows(trip)]
        pattern = int(network.trip_pattern[trip])
        along = np.interp(second, times, network.pattern_stop_m[network.pattern_rows(pattern)])
        rows = network.shape_rows(int(network.pattern_shape[pattern]))
        lat[i] = np.interp(along, network.shape_m[rows], network.shape_lat[rows])
        lon[i] = np.interp(along, network.shape_m[rows], network.shape_lon[rows])
    return lat, lon


def reports(
    network: Network, trips: np.ndarray, start: float, second: float, spread_s: float, hints: bool
) -> list[VehiclePosition]:
    """One report of each trip's bus, spread evenly over ``spread_s``."""
    lat, lon = places_of(network, trips, second)
    out: list[VehiclePosition] = []
    for i, trip in enumerate(trips.tolist()):
        at = start + second + spread_s * i / len(trips)
        hint: Any = TripHint(trip_id=network.trip_id[trip], service_date=DAY) if hints else None
        out.append(VehiclePosition("bench", f"b{trip}", float(lat[i]), float(lon[i]), at, at, speed_mps=8.0, hint=hint))
    return out
