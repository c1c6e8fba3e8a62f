"""Every time a bus was told to be off its route on a recorded day: where it left, where it came back, what it missed.

The alarms are those of the engine (busd/track/off_route.py), so that somebody who looks at their pictures judges what
dispatchers are told. Alarms of a line at one place have one *place* number."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import gtfs
from busd.engine import Engine
from busd.errors import FeedError
from busd.parameters import Parameters
from busd.track.detour import away_m
from busd.track.events import Event
from busd.track.match import from_shape
from busd.types import AnyInput, Output, PositionReceived, VehicleEvent
from gtfs.network import F64, Network
from replay.grid import GridDriver, start_before
from replay.source import PositionFiles

BESIDE_S = 300.0
"""so much of the way before and after an excursion is kept with it"""
SAME_PLACE_M = 150.0
"""two alarms of a line and direction are of one place if fixes of their excursions are no farther apart"""
ENDS = (Event.BACK_ON_ROUTE, Event.NO_MATCH, Event.CHANGED, Event.ASSIGNED, Event.TAKEN, Event.LOST)
COLUMNS = (
    "number",
    "place",
    "vehicle_id",
    "trip_id",
    "route_id",
    "direction_id",
    "left_at",
    "told_at",
    "ended_at",
    "ended_by",
    "left_m",
    "back_m",
    "farthest_m",
    "fixes",
    "stops_missed",
)
EPOCH = "replay"

Told = Callable[[int, int], None]
"""positions done, positions in all"""


@dataclass
class Alarm:
    """One excursion that dispatchers are told of. Instants are epoch seconds, metres run along the shape."""

    vehicle_id: str
    trip: int
    pattern: int
    left_at: float
    """of the last fix on the route"""
    first_at: float
    """of the first fix far from it"""
    told_at: float
    left_m: float
    back_m: float = math.nan
    ended_at: float = math.nan
    ended_by: str = "end of the recording"
    place: int = 0
    at: F64 = field(default_factory=lambda: np.zeros(0))
    """of the fixes from `BESIDE_S` before to `BESIDE_S` after; x and y beside them in the network's frame"""
    x: F64 = field(default_factory=lambda: np.zeros(0))
    y: F64 = field(default_factory=lambda: np.zeros(0))
    offset_m: F64 = field(default_factory=lambda: np.zeros(0))

    @property
    def is_off(self) -> np.ndarray:
        """Which of the fixes are of the excursion itself."""
        until = self.ended_at if math.isfinite(self.ended_at) else np.inf
        return (self.at >= self.first_at) & (self.at < until)

    @property
    def farthest_m(self) -> float:
        return float(self.offset_m[self.is_off].max(initial=0.0))


class Watcher:
    """Looks on while an engine replays."""

    def __init__(self, engine: Engine, network: Network) -> None:
        self.engine, self.network = engine, network
        self.alarms: list[Alarm] = []
        self._open: dict[str, Alarm] = {}
        self._fixes: dict[str, array[float]] = {}

    def take(self, entry: AnyInput, outputs: list[Output]) -> None:
        if isinstance(entry, PositionReceived):
            position = entry.position
            fixes = self._fixes.setdefault(position.vehicle_id, array("d"))
            fixes.extend((position.measured_at, position.lat, position.lon))
        for output in outputs:
            if isinstance(output, VehicleEvent):
                self._hear(output)

    def _hear(self, event: VehicleEvent) -> None:
        if event.kind in ENDS and (alarm := self._open.pop(event.vehicle_id, None)) is not None:
            alarm.ended_at, alarm.ended_by = event.at, event.kind
            if event.kind == Event.BACK_ON_ROUTE:
                alarm.back_m = float(self.engine.vehicles.distance_m[self.engine.vehicles.find(event.vehicle_id)])
        elif event.kind == Event.OFF_ROUTE:
            row = self.engine.vehicles.find(event.vehicle_id)
            excursion = None if row is None else self.engine.tracker.road.watch.find(row)
            if excursion is None:
                return
            runs, slot = self.engine.runs, excursion.slot
            alarm = Alarm(
                event.vehicle_id,
                int(runs.trip[slot]),
                int(runs.pattern[slot]),
                excursion.left_at,
                excursion.first_at,
                event.at,
                excursion.left_m,
            )
            self.alarms.append(alarm)
            self._open[event.vehicle_id] = alarm

    def finish(self) -> list[Alarm]:
        """All alarms with their fixes and places, those of one place together, the busiest place first."""
        network = self.network
        for alarm in self.alarms:
            at, lat, lon = np.array(self._fixes[alarm.vehicle_id]).reshape(-1, 3).T
            until = alarm.ended_at if math.isfinite(alarm.ended_at) else alarm.told_at
            near = (at >= alarm.left_at - BESIDE_S) & (at <= until + BESIDE_S)
            alarm.at = at[near]
            alarm.x, alarm.y = network.frame.xy_array(lat[near], lon[near])
            _, alarm.offset_m = from_shape(network, alarm.pattern, alarm.x, alarm.y)
        number_places(self.alarms, network)
        self.alarms.sort(key=lambda alarm: (alarm.place, alarm.told_at, alarm.vehicle_id))
        return self.alarms


def number_places(alarms: list[Alarm], network: Network) -> None:
    """Sets ``place``, from 1 on in the order of how many alarms there are at each."""
    groups: list[tuple[tuple[int, int], list[Alarm], F64]] = []
    for alarm in alarms:
        line = int(network.pattern_route[alarm.pattern]), int(network.pattern_direction[alarm.pattern])
        points = np.column_stack([alarm.x, alarm.y])[alarm.is_off]
        for k, (known, members, theirs) in enumerate(groups):
            if known == line and _apart_m(points, theirs) <= SAME_PLACE_M:
                groups[k] = (line, [*members, alarm], np.concatenate([theirs, points]))
                break
        else:
            groups.append((line, [alarm], points))
    for number, (_, members, _) in enumerate(sorted(groups, key=lambda group: -len(group[1])), start=1):
        for alarm in members:
            alarm.place = number


def _apart_m(a: F64, b: F64) -> float:
    """Metres between the nearest two points of [n, 2] and [m, 2]."""
    return float(np.hypot(*(a[:, None] - b[None]).T).min(initial=np.inf))


def find_excursions(
    gtfs_zip: Path, positions: tuple[Path, ...], cache_dir: Path, *, hide_trips: bool = False, told: Told | None = None
) -> tuple[Network, list[Alarm]]:
    """Replays the positions. Errors: `busd.errors.FeedError` (positions), `gtfs.errors.GtfsError` (timetable)."""
    network = gtfs.load_network(gtfs_zip, cache_dir)
    files = PositionFiles(positions, hide_trips)
    if files.first_at is None:
        raise FeedError(f"{', '.join(path.name for path in positions)}: no position can be read")
    engine = Engine(lambda digest: network, Parameters(), boards=False)
    driver = GridDriver(engine, lambda entry, outputs: None)
    driver.start(start_before(files.first_at), EPOCH)
    driver.load_network(start_before(files.first_at), network.digest)
    watcher = Watcher(engine, network)
    driver.sink = watcher.take
    for done, position in enumerate(files.read(), start=1):
        driver.feed(position)
        if told is not None and done % 200 == 0:
            told(done, files.count)
    driver.drain()
    return network, watcher.finish()


def row_of(alarm: Alarm, number: int, network: Network) -> dict[str, Any]:
    """One line of the list, by `COLUMNS`; None where the bus did not come back."""
    return {
        "number": number,
        "place": alarm.place,
        "vehicle_id": alarm.vehicle_id,
        "trip_id": network.trip_id[alarm.trip],
        "route_id": network.route_id[int(network.pattern_route[alarm.pattern])],
        "direction_id": int(network.pattern_direction[alarm.pattern]),
        "left_at": alarm.left_at,
        "told_at": alarm.told_at,
        "ended_at": _or_none(alarm.ended_at),
        "ended_by": str(alarm.ended_by),
        "left_m": round(alarm.left_m),
        "back_m": None if math.isnan(alarm.back_m) else round(alarm.back_m),
        "farthest_m": round(alarm.farthest_m),
        "fixes": int(alarm.is_off.sum()),
        "stops_missed": [network.stop_id[stop] for stop in stops_missed(alarm, network)],
    }


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """The list by `COLUMNS`; stops missed are joined by blanks."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"stops_missed": " ".join(row["stops_missed"])} for row in rows)


def stops_missed(alarm: Alarm, network: Network) -> list[int]:
    """Stops between leaving and coming back that the bus did not pass; none where it did not come back."""
    rows = network.pattern_rows(alarm.pattern)
    metres = network.pattern_stop_m[rows]
    between = network.pattern_stop[rows][(metres > alarm.left_m) & (metres < alarm.back_m)].tolist()
    way = np.column_stack([alarm.x, alarm.y])
    far_m = Parameters().off_route.far_m
    return [stop for stop in between if away_m(way, float(network.stop_x[stop]), float(network.stop_y[stop])) > far_m]


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
