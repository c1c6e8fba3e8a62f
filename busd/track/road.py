"""A vehicle's fix and the shape of its run, as `OffRouteWatch` wants to see them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from busd.parameters import Parameters
from busd.track.fleet import Runs, Vehicles
from busd.track.holding import Holding
from busd.track.inference import Answer
from busd.track.match import ShapeIndex, project
from busd.track.off_route import OffRouteWatch, Sighting, Verdict, may_have_finished
from busd.types import VehiclePosition
from gtfs.network import F64, I64, Bool


class Found(NamedTuple):
    """What the matcher says of one fix; ``distance_m`` NaN where it has found no place."""

    x: float
    y: float
    distance_m: float
    offset_m: float
    reach_m: float
    deviation_s: float


class Road:
    """Judges fixes; asks for nothing as long as a vehicle is near its shape."""

    def __init__(
        self, index: ShapeIndex, vehicles: Vehicles, holding: Holding, watch: OffRouteWatch, parameters: Parameters
    ) -> None:
        self.index, self.vehicles, self.holding, self.watch = index, vehicles, holding, watch
        self.runs: Runs = holding.runs
        network = index.network
        self._has_shape = np.array([bool(network.shape_id[i]) for i in range(len(network.shape_offset) - 1)], bool)
        self.wait_m = parameters.tracking.wait_reach_m
        self.p, self.tolerance_m = parameters.off_route, parameters.matching.max_offset_m

    def plainly_on(self, rows: I64, distance_m: F64, offset_m: F64, reach_m: F64) -> Bool:
        """Which fixes need no `judge`: near the shape, and nothing was suspected before."""
        on: Bool = np.isfinite(distance_m) & ~(offset_m * self.tolerance_m / reach_m > self.p.far_m)
        if self.watch:
            on &= ~np.array([self.watch.watches(row) for row in rows.tolist()], bool)
        return on

    def judge(self, row: int, position: VehiclePosition, found: Found) -> Verdict:
        """Is the vehicle on the route of its run? The place that was found may only be used after ON and BACK."""
        known = math.isfinite(found.distance_m)
        offset = found.offset_m * self.tolerance_m / found.reach_m if known else math.inf
        if not offset > self.p.far_m and known and not self.watch.watches(row):
            return Verdict.ON
        if not known:
            offset = self._from_shape(row, found.x, found.y)
        vehicles = self.vehicles
        seen = Sighting(position.measured_at, found.x, found.y, offset, found.distance_m, position.accuracy_m or 0.0)
        last = (float(vehicles.distance_m[row]), float(vehicles.matched_at[row]))
        return self.watch.see(row, int(vehicles.slot[row]), seen, last, self._remaining_m(row, found, seen.at))

    def _remaining_m(self, row: int, found: Found, now: float) -> float:
        """To the last stop, from the last place on the run; 0 where a bus may leave the shape without leaving its route:
        before its time, around its terminals, and where nobody knows the streets."""
        vehicles, runs, network = self.vehicles, self.runs, self.index.network
        slot, last_m = int(vehicles.slot[row]), float(vehicles.distance_m[row])
        pattern = int(runs.pattern[slot])
        if math.isnan(last_m) or not self._has_shape[int(network.pattern_shape[pattern])]:
            return 0.0
        start_m = float(network.pattern_stop_m[int(network.pattern_stop_offset[pattern])])
        starts_at = float(runs.base_at[slot] + network.departure_s[runs.time_row[slot]])
        if last_m - start_m < self.p.end_zone_m:
            return 0.0
        # buses come to their first stop over the first streets of their route
        idles = now < starts_at and last_m - vehicles.joined_m[row] < self.p.driven_m
        if vehicles.matched_at[row] < starts_at and (idles or self._near_first_stop(pattern, found.x, found.y)):
            return 0.0
        moved = math.hypot(found.x - vehicles.x[row], found.y - vehicles.y[row])
        remaining = self.holding.remaining_m(row)
        return 0.0 if may_have_finished(remaining, moved, self.p.end_zone_m) else remaining

    def may_return(self, row: int, x: float, y: float, now: float) -> bool:
        """A bus that names its run and has no place on it is believed for a while where that explains itself: it left
        the route on the way, or it waits around its first stop."""
        excursion = self.watch.find(row)
        if excursion is not None:
            return now - excursion.first_at <= self.p.believed_s
        if self.vehicles.next_pos[row] > 0:
            return False
        return self._near_first_stop(int(self.runs.pattern[int(self.vehicles.slot[row])]), x, y)

    def _near_first_stop(self, pattern: int, x: float, y: float) -> bool:
        network = self.index.network
        stop = int(network.pattern_stop[int(network.pattern_stop_offset[pattern])])
        return math.hypot(x - float(network.stop_x[stop]), y - float(network.stop_y[stop])) <= self.wait_m

    @staticmethod
    def place_of(answer: Answer, last_m: float) -> tuple[float, float, float]:
        """(metres along, metres off, deviation) of an inferred run, never behind the last place; NaN where there is
        none."""
        if not answer.fits or math.isnan(answer.distance_m):
            return math.nan, math.nan, math.nan
        distance = answer.distance_m if math.isnan(last_m) else max(answer.distance_m, last_m)
        return distance, answer.offset_m, answer.deviation_s

    def _from_shape(self, row: int, x: float, y: float) -> float:
        """Metres to the whole shape of its run, scaled to the tolerance there: a bus that has turned round is near it."""
        network = self.index.network
        shape = int(network.pattern_shape[int(self.runs.pattern[int(self.vehicles.slot[row])])])
        segment = np.arange(int(network.shape_offset[shape]), int(network.shape_offset[shape + 1]) - 1)
        if not len(segment):
            return math.inf
        _, offset = project(network, segment, np.full(len(segment), x), np.full(len(segment), y))
        return float((offset * self.tolerance_m / self.index.reach_m[segment]).min())
