"""Who performs which run: taking it, leaving it, keeping what follows in the block."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from busd.parameters import Parameters
from busd.track.assign import Assigner, may_take
from busd.track.events import Event
from busd.track.fleet import BEGUN, BELIEVED, FINISHING, Runs, Vehicles
from busd.track.off_route import OffRouteWatch
from busd.track.watch import Watcher
from busd.types import Output, Predicted, VehiclePosition
from gtfs.network import F64, I64, Network

FINISHED_AFTER_S = 60.0


class Holding:
    """One run, one bus. ``withdraw`` takes back what is predicted for a slot (the predictor's); ``claim`` tells the
    inference that a vehicle performs (+1), or leaves (-1), the run of a slot by its own word."""

    def __init__(
        self,
        network: Network,
        vehicles: Vehicles,
        runs: Runs,
        assigner: Assigner,
        road: OffRouteWatch,
        watcher: Watcher,
        parameters: Parameters,
    ) -> None:
        self.network, self.vehicles, self.runs, self.assigner = network, vehicles, runs, assigner
        self.road, self.watcher, self.p = road, watcher, parameters
        self.withdraw: Callable[[int, float], Predicted | None] = lambda slot, at: None
        self.claim: Callable[[int, float], None] = lambda slot, sign: None

    def believed_runs(self) -> list[tuple[int, int]]:
        """(day, run) that vehicles perform by their own word."""
        vehicles, runs = self.vehicles, self.runs
        rows = np.flatnonzero((vehicles.slot[: vehicles.size] >= 0) & (vehicles.mode[: vehicles.size] == BELIEVED))
        return [(int(runs.day[slot]), int(runs.run[slot])) for slot in vehicles.slot[rows].tolist()]

    def may_take(self, slot: int, row: int, position: VehiclePosition) -> bool:
        return may_take(self.runs, self.vehicles, slot, position.measured_at, row, self.p.assigning)

    def take(self, row: int, slot: int, at: float, outputs: list[Output], instead_of: str = "") -> None:
        """``instead_of``: the run that it gives up unfinished, in words."""
        runs = self.runs
        holder = int(runs.vehicle[slot])
        if holder not in (-1, row) and self.vehicles.slot[holder] == slot:
            self.leave_run(holder)
            self.watcher.tell(holder, Event.TAKEN, f"{self.vehicles.ids[row]} performs its run", at, outputs)
        self.leave_run(row)
        self.vehicles.slot[row] = slot
        if self.vehicles.mode[row] == BELIEVED:
            self.claim(slot, 1.0)
        runs.vehicle[slot], runs.following[slot], runs.kept_until[slot] = row, BEGUN, np.inf
        trip = f"trip {self.network.trip_id[int(runs.trip[slot])]}"
        if instead_of:
            self.watcher.tell(row, Event.CHANGED, f"{trip} instead of {instead_of}", at, outputs)
        else:
            self.watcher.tell(row, Event.ASSIGNED, trip, at, outputs)

    def leave(self, row: int, to: int | None, at: float, outputs: list[Output], left: list[int]) -> str:
        """Give up the vehicle's runs, but those of its block from ``to`` on. A run left for the one that follows it
        keeps its last predictions: its bus is in the terminal's street. One left for any other that a source names
        keeps them for `Assigning.flicker_s`: its bus may be back. Returns the trip that it leaves unfinished."""
        runs, old = self.runs, int(self.vehicles.slot[row])
        keep: set[int] = set()
        if to is not None:
            ahead: int = to
            while ahead >= 0 and ahead not in keep:
                keep.add(ahead)
                mine = np.flatnonzero((runs.following[: runs.size] == ahead) & (runs.vehicle[: runs.size] == row))
                ahead = int(mine[0]) if len(mine) else -1
        follows = old in keep or (to is not None and old >= 0 and int(runs.following[to]) == old)
        unfinished = "" if follows else self._unfinished(row, old)
        named = self.vehicles.mode[row] == BELIEVED
        if to is not None and old >= 0 and old not in keep and (follows or named):
            runs.following[old] = FINISHING
            runs.kept_until[old] = np.inf if follows else at + self.p.assigning.flicker_s
            if not follows:
                left.append(old)  # for its boards: they show it as nobody's at once
        if old >= 0 and self.vehicles.mode[row] == BELIEVED:
            self.claim(old, -1.0)
        for slot in np.flatnonzero(runs.vehicle[: runs.size] == row).tolist():
            if slot not in keep and runs.following[slot] != FINISHING:
                self._give_up(slot, at, outputs, left)
        self.leave_run(row)
        return unfinished

    def leave_run(self, row: int) -> None:
        self.vehicles.leave_run(row)
        self.road.forget(row)

    def _unfinished(self, row: int, slot: int) -> str:
        """The trip of ``slot`` in words if the vehicle leaves it on the way."""
        vehicles = self.vehicles
        if slot < 0 or math.isnan(vehicles.distance_m[row]) or vehicles.next_pos[row] == 0:
            return ""
        remaining = self.remaining_m(row)
        return (
            ""
            if remaining <= self.p.tracking.wait_reach_m
            else f"trip {self.network.trip_id[int(self.runs.trip[slot])]}"
        )

    def remaining_m(self, row: int) -> float:
        """From the vehicle's last place on its run to the last stop."""
        slot = int(self.vehicles.slot[row])
        last = int(self.network.pattern_stop_offset[int(self.runs.pattern[slot])] + self.runs.stops[slot]) - 1
        return float(self.network.pattern_stop_m[last]) - float(self.vehicles.distance_m[row])

    def _give_up(self, slot: int, at: float, outputs: list[Output], left: list[int]) -> None:
        if (table := self.withdraw(slot, at)) is not None:
            outputs.append(table)
        self.runs.vehicle[slot] = -1
        left.append(slot)

    # ---- runs that end -----------------------------------------------------------------------------------------------

    def finishing(self) -> I64:
        """Slots of runs that their bus has left for another."""
        runs = self.runs
        return np.flatnonzero((runs.following[: runs.size] == FINISHING) & (runs.vehicle[: runs.size] >= 0))

    def finished_at(self, slots: I64) -> F64:
        """When the bus of each slot is over its last stop, or is known not to come back to it; -inf where nothing is
        told of it any more."""
        end = self.runs.end_pos[slots]
        told = end > self.runs.first_pos[slots]
        over = np.where(told, self.runs.p50[slots, np.maximum(end, 1) - 1] + FINISHED_AFTER_S, -np.inf)
        return np.minimum(over, self.runs.kept_until[slots])

    def finish(self, at: float, outputs: list[Output], left: list[int]) -> None:
        """Let go the runs that are finished; what is still predicted for one that was left half way is taken back."""
        slots = self.finishing()
        for slot in slots[self.finished_at(slots) <= at].tolist():
            if self.runs.kept_until[slot] <= at:
                self._give_up(slot, at, outputs, left)
            else:
                self.runs.vehicle[slot] = -1
                left.append(slot)

    def release(self, left: list[int]) -> None:
        """Free the slots that are still nobody's once the boards have been told."""
        for slot in dict.fromkeys(left):
            if self.runs.vehicle[slot] < 0 and self.runs.day[slot] >= 0:
                self.runs.release(slot)
