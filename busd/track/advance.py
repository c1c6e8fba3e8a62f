"""Buses on the route of their run take the places that were found: stops passed, the stop ahead, standing at one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from busd.parameters import Parameters
from busd.track.assign import Assigner
from busd.track.detour import DetourBook, News
from busd.track.fleet import Runs, Vehicles
from busd.track.match import ShapeIndex
from busd.track.off_route import OffRouteWatch
from busd.track.progress import observe_passages, passes, stands_at, stops_ahead
from busd.track.watch import Watcher
from busd.types import Output, StopVisited, VehicleEvent
from gtfs.network import F64, I64


@dataclass(frozen=True)
class Steps:
    """Parallel arrays, one row a vehicle: its fix and where that is along its run."""

    rows: I64  # of Vehicles
    at: F64  # epoch seconds of the fix
    x: F64  # metres in the network's frame
    y: F64
    distance_m: F64
    offset_m: F64
    deviation_s: F64
    last_m: F64  # where it was along the run; NaN where that is not known or says nothing
    last_at: F64

    def take(self, chosen: np.ndarray) -> Steps:
        return Steps(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


class Advance:
    def __init__(
        self,
        index: ShapeIndex,
        vehicles: Vehicles,
        runs: Runs,
        assigner: Assigner,
        watcher: Watcher,
        watch: OffRouteWatch,
        detours: DetourBook,
        parameters: Parameters,
    ) -> None:
        self.index, self.vehicles, self.runs, self.p = index, vehicles, runs, parameters.visits
        self.assigner, self.watcher, self.watch, self.detours = assigner, watcher, watch, detours

    def take(self, steps: Steps, at: float, outputs: list[Output]) -> None:
        """``at``: the tick's instant. A vehicle comes at most once."""
        v, runs, rows, distance = self.vehicles, self.runs, steps.rows, steps.distance_m
        slot = v.slot[rows]
        pattern, stops = runs.pattern[slot], runs.stops[slot]
        for i in np.flatnonzero(passes(self.index, pattern, stops, steps.last_m, distance, self.p)).tolist():
            step = (float(steps.last_m[i]), float(steps.last_at[i]), float(distance[i]))
            self.observe(int(rows[i]), int(slot[i]), step, float(steps.at[i]), at, outputs)
        v.misses[rows] = 0
        v.joined_m[rows] = np.where(np.isnan(v.joined_m[rows]), distance, v.joined_m[rows])
        v.x[rows], v.y[rows] = steps.x, steps.y
        v.offset_m[rows], v.deviation_s[rows] = steps.offset_m, steps.deviation_s
        v.distance_m[rows], v.matched_at[rows] = distance, steps.at
        ahead = stops_ahead(self.index, pattern, stops, distance, self.p)
        v.next_pos[rows] = ahead
        v.standing_pos[rows] = stands_at(self.index, pattern, stops, distance, v.speed_mps[rows], ahead, self.p)
        if self.detours:
            for i, row in enumerate(rows.tolist()):
                if not self.watch.watches(row):
                    place = (int(slot[i]), int(pattern[i]), float(distance[i]), float(steps.at[i]))
                    publish(self.detours.drives(v.ids[row], *place), at, outputs)

    def observe(
        self, row: int, slot: int, step: tuple[float, float, float], now: float, at: float, outputs: list[Output]
    ) -> None:
        """The stops of one step. ``step``: metres along the shape and instant of the last fix, metres now."""
        date, vehicle_id = self.assigner.service_date(slot), self.vehicles.ids[row]
        from_m, from_at, to_m = step
        for visit in observe_passages(
            self.index, self.runs, slot, from_m, from_at, to_m, now, vehicle_id, date, self.p
        ):
            outputs.append(StopVisited(visit))
            if visit.stop_pos == 0 and visit.departure_at is not None:
                self.watcher.departed(row, slot, visit.departure_at, at, outputs)


def publish(news: list[News], at: float, outputs: list[Output]) -> None:
    """What is found of detours, as events of no vehicle."""
    outputs.extend(VehicleEvent(at, "", kind, reason) for kind, reason in news)
