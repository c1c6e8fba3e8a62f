"""Detours: several buses of a line leave its shape and come back to it at the same places.

A fix every half minute does not say where a bus turned off, only between which two fixes it did. So an excursion has
two *stretches* along the shape, one in which it left and one in which it came back; excursions are of one detour if
both stretches of one touch those of the other, and every further one narrows them down.

    suspected   one bus: its own affair, not shown
    found       `Detours.vehicles` buses, or `Detours.passes` passes: a finding for the dispatcher
    confirmed, dismissed   what the dispatcher said of it
    ended       buses drive through where they did not, or none has come for long
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from busd.parameters import Parameters
from busd.track.events import Event
from busd.track.match import ShapeIndex, project
from busd.track.off_route import Excursion, Point
from gtfs.network import F64, Network

SUSPECTED, FOUND, CONFIRMED, DISMISSED, ENDED = "suspected", "found", "confirmed", "dismissed", "ended"
VERDICTS = {"confirm": CONFIRMED, "dismiss": DISMISSED}
PATH_POINTS = 24
PATHS = 9
"""ways that the median is taken of"""
Stretch = tuple[float, float]
"""metres along the shape, from and to"""
News = tuple[Event, str]


@dataclass
class Detour:
    number: int
    route: int
    direction: int
    pattern: int
    leave: Stretch
    rejoin: Stretch
    since: float
    last_at: float
    status: str = SUSPECTED
    passes: int = 0
    vehicles: list[str] = field(default_factory=list)
    paths: list[list[Point]] = field(default_factory=list)
    returns: list[tuple[str, int]] = field(default_factory=list)  # vehicle and slot of passes on the route since
    ended_at: float = math.nan
    decided_by: str = ""

    @property
    def leave_m(self) -> float:
        return sum(self.leave) / 2

    @property
    def rejoin_m(self) -> float:
        return max(sum(self.rejoin) / 2, self.leave_m)


class DetourBook:
    """All detours of a network, found and suspected; bounded. Events come back as (kind, reason)."""

    def __init__(self, network: Network, index: ShapeIndex, parameters: Parameters) -> None:
        self.network, self.index = network, index
        self.p, self.far_m = parameters.detours, parameters.off_route.far_m
        self._all: list[Detour] = []
        self._next = 1
        self._lines: dict[tuple[int, int], list[Detour]] = {}

    def __bool__(self) -> bool:
        """Is any detour under way, or suspected?"""
        return bool(self._lines)

    # ---- what buses do -----------------------------------------------------------------------------------------------

    def add(self, vehicle_id: str, pattern: int, e: Excursion, back_m: float, back_at: float) -> list[News]:
        """A bus is back from an excursion. Ways without a length or a trail tell nothing."""
        if back_m - e.left_m < self.p.same_m or not e.trail:
            return []
        way = np.array(e.trail)
        m = self._along(pattern, way[:, 0], way[:, 1], e.left_m, back_m)
        leave = (e.left_m, max(e.left_m, float(m[0])))
        rejoin = (min(back_m, max(float(m[-1]), leave[0])), back_m)
        detour = self._same(pattern, leave, rejoin)
        if detour is None:
            detour = self._open(pattern, leave, rejoin, e.left_at)
        else:
            own = self._on_pattern(detour, pattern, leave, rejoin)
            if own is not None:
                detour.leave, detour.rejoin = _common(detour.leave, own[0]), _common(detour.rejoin, own[1])
        detour.passes += 1
        detour.last_at = max(detour.last_at, back_at)
        detour.returns.clear()
        if vehicle_id not in detour.vehicles:
            detour.vehicles = [*detour.vehicles, vehicle_id][-50:]
        detour.paths = [*detour.paths, [self._point(pattern, leave[1]), *e.trail, self._point(pattern, rejoin[0])]]
        detour.paths = detour.paths[-PATHS:]
        if detour.status == SUSPECTED and (len(detour.vehicles) >= self.p.vehicles or detour.passes >= self.p.passes):
            detour.status = FOUND
            return [(Event.DETOUR, f"{self._words(detour)}: {', '.join(detour.vehicles)}")]
        return []

    def drives(self, vehicle_id: str, slot: int, pattern: int, along_m: float, at: float) -> list[News]:
        """A bus is on its route at ``along_m``: where others have left it, that speaks against the detour."""
        line = self._lines.get(self._line(pattern))
        if not line:
            return []
        news: list[News] = []
        for detour in list(line):
            m = along_m
            if self._shape(pattern) != self._shape(detour.pattern):
                found = self._carry(pattern, along_m, detour.pattern)
                if found is None:
                    continue
                m = found
            inset = (detour.rejoin_m - detour.leave_m) / 4
            if not detour.leave_m + inset <= m <= detour.rejoin_m - inset:
                continue
            if (vehicle_id, slot) not in detour.returns:
                detour.returns.append((vehicle_id, slot))
            if len(detour.returns) >= self.p.returns:
                news += self._end(detour, at, f"{' and '.join(v for v, _ in detour.returns)} drove the route again")
        return news

    def expire(self, at: float) -> list[News]:
        news: list[News] = []
        for detour in [d for line in self._lines.values() for d in line]:
            if at - detour.last_at > self.p.forget_s:
                news += self._end(detour, at, "nobody has taken it for long")
        return news

    def decide(self, number: int, verdict: str, operator: str) -> bool:
        """What a dispatcher says of a finding. False if there is no such finding."""
        for detour in self._all:
            if detour.number == number and detour.status in (FOUND, CONFIRMED, DISMISSED) and verdict in VERDICTS:
                detour.status, detour.decided_by = VERDICTS[verdict], operator
                return True
        return False

    # ---- reading -----------------------------------------------------------------------------------------------------

    def findings(self) -> list[dict[str, Any]]:
        """All but the suspected, newest first. Instants are epoch seconds, places (lat, lon) in WGS-84."""
        return [self._row(d) for d in reversed(self._all) if d.status != SUSPECTED]

    def _row(self, d: Detour) -> dict[str, Any]:
        network = self.network
        path = median_path(d.paths)
        ends = [self._point(d.pattern, d.leave_m), self._point(d.pattern, d.rejoin_m)]
        lat_lon = [network.frame.latlon(float(x), float(y)) for x, y in [*ends, *path.tolist()]]
        places = [[round(lat, 6), round(lon, 6)] for lat, lon in lat_lon]
        return {
            "id": d.number,
            "status": d.status,
            "route_id": network.route_id[d.route],
            "line": network.route_short_name[d.route] or network.route_id[d.route],
            "direction_id": d.direction,
            "since": d.since,
            "last_at": d.last_at,
            "ended_at": None if math.isnan(d.ended_at) else d.ended_at,
            "passes": d.passes,
            "vehicles": d.vehicles,
            "decided_by": d.decided_by or None,
            "leaves": {"distance_m": round(d.leave_m), "within_m": round(d.leave[1] - d.leave[0]), "place": places[0]},
            "rejoins": {
                "distance_m": round(d.rejoin_m),
                "within_m": round(d.rejoin[1] - d.rejoin[0]),
                "place": places[1],
            },
            "stops_missed": [
                {"stop_id": network.stop_id[s], "name": network.stop_name[s]} for s in self.stops_missed(d, path)
            ],
            "path": places[2:],
        }

    def stops_missed(self, d: Detour, path: F64) -> list[int]:
        """Stops of the pattern between leaving and coming back that the way does not pass."""
        network = self.network
        rows = network.pattern_rows(d.pattern)
        between = (network.pattern_stop_m[rows] > d.leave[0]) & (network.pattern_stop_m[rows] < d.rejoin[1])
        stops = network.pattern_stop[rows][between].tolist()
        return [s for s in stops if away_m(path, float(network.stop_x[s]), float(network.stop_y[s])) > self.far_m]

    def _words(self, d: Detour) -> str:
        names = [self.network.stop_name[s] for s in self.stops_missed(d, median_path(d.paths))]
        line = self.network.route_short_name[d.route] or self.network.route_id[d.route]
        missed = f"misses {', '.join(names)}" if names else "misses no stop"
        return f"line {line} from {d.leave_m / 1000:.1f} to {d.rejoin_m / 1000:.1f} km, {missed}"

    # ---- places ------------------------------------------------------------------------------------------------------

    def _line(self, pattern: int) -> tuple[int, int]:
        return int(self.network.pattern_route[pattern]), int(self.network.pattern_direction[pattern])

    def _shape(self, pattern: int) -> int:
        return int(self.network.pattern_shape[pattern])

    def _same(self, pattern: int, leave: Stretch, rejoin: Stretch) -> Detour | None:
        for detour in self._lines.get(self._line(pattern), []):
            own = self._on_pattern(detour, pattern, leave, rejoin)
            if own is not None and all(
                _gap(a, b) <= self.p.same_m for a, b in ((detour.leave, own[0]), (detour.rejoin, own[1]))
            ):
                return detour
        return None

    def _on_pattern(
        self, detour: Detour, pattern: int, leave: Stretch, rejoin: Stretch
    ) -> tuple[Stretch, Stretch] | None:
        """The stretches along the detour's own shape; None where the two shapes do not run together."""
        if self._shape(pattern) == self._shape(detour.pattern):
            return leave, rejoin
        m = [self._carry(pattern, place, detour.pattern) for place in (*leave, *rejoin)]
        if m[0] is None or m[3] is None:
            return None
        a, b = m[1] if m[1] is not None else m[0], m[2] if m[2] is not None else m[3]
        return (m[0], max(a, m[0])), (min(b, m[3]), m[3])

    def _carry(self, pattern: int, along_m: float, other: int) -> float | None:
        """The same place along another pattern's shape, if that comes by."""
        x, y = self._point(pattern, along_m)
        segment = np.arange(*self._segments(other))
        along, offset = project(self.network, segment, np.full(len(segment), x), np.full(len(segment), y))
        near = int(offset.argmin())
        return float(along[near]) if offset[near] <= self.far_m else None

    def _along(self, pattern: int, x: F64, y: F64, low_m: float, high_m: float) -> F64:
        """Nearest metres along the shape, between the two, of each point."""
        shape = np.array([self._shape(pattern)])
        first, last = self.index.segments(shape, np.array([low_m]), np.array([high_m]))
        segment = np.arange(int(first[0]), int(last[0]) + 1)
        out = np.empty(len(x))
        for i in range(len(x)):
            along, offset = project(self.network, segment, np.full(len(segment), x[i]), np.full(len(segment), y[i]))
            out[i] = min(max(float(along[int(offset.argmin())]), low_m), high_m)
        return out

    def _segments(self, pattern: int) -> tuple[int, int]:
        shape = self._shape(pattern)
        return int(self.network.shape_offset[shape]), int(self.network.shape_offset[shape + 1]) - 1

    def _point(self, pattern: int, along_m: float) -> Point:
        a, b = self._segments(pattern)
        network = self.network
        m = network.shape_m[a : b + 1]
        return (
            float(np.interp(along_m, m, network.shape_x[a : b + 1])),
            float(np.interp(along_m, m, network.shape_y[a : b + 1])),
        )

    # ---- the list ----------------------------------------------------------------------------------------------------

    def _open(self, pattern: int, leave: Stretch, rejoin: Stretch, since: float) -> Detour:
        route, direction = self._line(pattern)
        detour = Detour(self._next, route, direction, pattern, leave, rejoin, since, since)
        self._next += 1
        self._all.append(detour)
        if len(self._all) > self.p.held:
            settled = [d for d in self._all if d.status in (ENDED, SUSPECTED)] or self._all
            self._remove(settled[0])
        self._lines.setdefault((route, direction), []).append(detour)
        return detour

    def _end(self, detour: Detour, at: float, why: str) -> list[News]:
        self._lines[detour.route, detour.direction].remove(detour)
        if not self._lines[detour.route, detour.direction]:
            del self._lines[detour.route, detour.direction]
        if detour.status == SUSPECTED:
            self._all.remove(detour)
            return []
        detour.status, detour.ended_at = ENDED, at
        return [(Event.DETOUR_ENDED, f"{self._words(detour)}: {why}")]

    def _remove(self, detour: Detour) -> None:
        self._all.remove(detour)
        line = self._lines.get((detour.route, detour.direction), [])
        if detour in line:
            line.remove(detour)

    # ---- snapshot ----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        return {"next": self._next, "all": [asdict(d) for d in self._all]}

    def load(self, state: dict[str, Any]) -> None:
        self._next, self._all, self._lines = int(state["next"]), [], {}
        for entry in state["all"]:
            d = Detour(**entry)
            d.leave, d.rejoin = (d.leave[0], d.leave[1]), (d.rejoin[0], d.rejoin[1])
            d.paths = [[(float(x), float(y)) for x, y in path] for path in d.paths]
            d.returns = [(str(vehicle), int(slot)) for vehicle, slot in d.returns]
            self._all.append(d)
            if d.status != ENDED:
                self._lines.setdefault((d.route, d.direction), []).append(d)


def median_path(paths: list[list[Point]]) -> F64:
    """Ways -> one way of `PATH_POINTS` points [n, 2]: the median of where each is after the same share of its length."""
    share = np.linspace(0.0, 1.0, PATH_POINTS)
    resampled = []
    for path in paths:
        points = np.array(path, np.float64)
        length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        resampled.append(np.stack([np.interp(share * length[-1], length, points[:, i]) for i in (0, 1)], axis=1))
    median: F64 = np.median(np.stack(resampled), axis=0)
    return median


def away_m(path: F64, x: float, y: float) -> float:
    """Metres from a point to a polyline."""
    a, d = path[:-1], np.diff(path, axis=0)
    length2 = np.maximum((d**2).sum(axis=1), 1e-9)
    share = np.clip(((x - a[:, 0]) * d[:, 0] + (y - a[:, 1]) * d[:, 1]) / length2, 0.0, 1.0)
    return float(np.hypot(x - a[:, 0] - share * d[:, 0], y - a[:, 1] - share * d[:, 1]).min())


def _gap(a: Stretch, b: Stretch) -> float:
    """Metres between two stretches; 0 if they touch."""
    return max(a[0] - b[1], b[0] - a[1], 0.0)


def _common(a: Stretch, b: Stretch) -> Stretch:
    """What two stretches have in common; the middle of the gap where they do not touch."""
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return (low, high) if low <= high else ((low + high) / 2, (low + high) / 2)
