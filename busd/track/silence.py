"""What time alone does: silent vehicles freeze and are lost, suspects that say nothing more are off their route, runs end."""

from __future__ import annotations

import math

import numpy as np

from busd.parameters import Parameters
from busd.track.events import Event
from busd.track.fleet import BELIEVED, LIVE, LOST, Vehicles
from busd.track.holding import Holding
from busd.track.off_route import OffRouteWatch
from busd.track.watch import SILENT, Watcher
from busd.types import Output
from gtfs.network import Bool


class Silence:
    def __init__(
        self,
        vehicles: Vehicles,
        holding: Holding,
        watch: OffRouteWatch,
        watcher: Watcher,
        parameters: Parameters,
    ) -> None:
        self.vehicles, self.holding = vehicles, holding
        self.watch, self.watcher, self.p = watch, watcher, parameters.predicting

    def pass_by(self, at: float, outputs: list[Output], left: list[int]) -> list[int]:
        """It is ``at`` now; returns the vehicles that are lost. ``left`` collects slots that nobody performs any more."""
        vehicles, p, n = self.vehicles, self.p, self.vehicles.size
        since = vehicles.measured_at[:n]
        for row in np.flatnonzero(self._may_time_out() & (since + p.frozen_s <= at)).tolist():
            vehicles.told[row] |= SILENT
            reason = f"no report for {p.frozen_s / 60:.0f} min on {self.watcher.words(int(vehicles.slot[row]))}"
            self.watcher.tell(row, Event.TIMED_OUT, reason, at, outputs)
        for row in self.watch.wait(at):
            self.watcher.went_off(row, at, outputs)
        lost: list[int] = np.flatnonzero((vehicles.liveness[:n] == LIVE) & (since + p.lost_s <= at)).tolist()
        for row in lost:
            vehicles.liveness[row], vehicles.told[row] = LOST, 0
            self.watcher.tell(row, Event.LOST, f"no report for {p.lost_s / 60:.0f} min", at, outputs)
            self.holding.leave(row, None, at, outputs, left)
            vehicles.mode[row] = BELIEVED
        self.holding.finish(at, outputs, left)
        return lost

    def next_deadline(self) -> float:
        """The next instant at which `pass_by` has something to do; inf if none."""
        vehicles, n, p = self.vehicles, self.vehicles.size, self.p
        live, since = vehicles.liveness[:n] == LIVE, vehicles.measured_at[:n]
        lost = float(since[live].min(initial=np.inf)) + p.lost_s
        frozen = float(since[self._may_time_out()].min(initial=np.inf)) + p.frozen_s
        finished = float(self.holding.finished_at(self.holding.finishing()).min(initial=math.inf))
        return min(lost, frozen, self.watch.next_deadline(), finished)

    def _may_time_out(self) -> Bool:
        """Live, on a run, and not told of yet."""
        vehicles, n = self.vehicles, self.vehicles.size
        heard: Bool = (vehicles.told[:n] & SILENT) == 0
        heard &= (vehicles.liveness[:n] == LIVE) & (vehicles.slot[:n] >= 0)
        return heard
