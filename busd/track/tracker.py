"""Follows every vehicle along its run: assignment from the hint, place on the shape, stops passed, events."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from busd.days import Timetable
from busd.parameters import Parameters
from busd.track.assign import Assigner, may_take
from busd.track.events import Event
from busd.track.fleet import BEGUN, FINISHING, LIVE, LOST, Runs, Vehicles
from busd.track.match import Fixes, Matched, ShapeIndex, match
from busd.track.progress import observe_passages, stands_at, stop_ahead
from busd.types import (
    Output,
    Phase,
    Predicted,
    Progress,
    ProgressChanged,
    StopVisited,
    VehicleEvent,
    VehiclePosition,
)
from gtfs.network import I64, Network

FINISHED_AFTER_S = 60.0


class Tracker:
    """``withdraw`` takes back what is predicted for a slot; the engine wires it to the predictor."""

    def __init__(
        self, network: Network, timetable: Timetable, vehicles: Vehicles, runs: Runs, parameters: Parameters
    ) -> None:
        self.network, self.vehicles, self.runs, self.p = network, vehicles, runs, parameters
        self.index = ShapeIndex(network, parameters.visits)
        self.assigner = Assigner(network, timetable, runs, parameters.assigning)
        self.withdraw: Callable[[int, float], Predicted | None] = lambda slot, at: None

    # ---- following ---------------------------------------------------------------------------------------------------

    def follow(
        self, waiting: list[tuple[int, VehiclePosition]], at: float, outputs: list[Output], left: list[int]
    ) -> set[int]:
        """Take the fixes of a tick, in journal order. Returns the vehicles that moved; ``left`` collects slots that
        nobody performs any more."""
        moved: set[int] = set()
        for fixes in _rounds(waiting):
            on_run: list[tuple[int, VehiclePosition]] = []
            for row, position in fixes:
                moved.add(row)
                self._greet(row, at, outputs)
                if self._assign(row, position, at, outputs, left):
                    on_run.append((row, position))
            # a vehicle of this round may have taken over the run of an earlier one
            on_run = [(row, position) for row, position in on_run if self.vehicles.slot[row] >= 0]
            placed = self._place(on_run) if on_run else None
            order = {row: i for i, (row, _) in enumerate(on_run)}
            for row, position in fixes:
                i = order.get(row)
                if i is not None and placed is not None:
                    self._advance(row, position, placed, i, at, outputs)
                outputs.append(ProgressChanged(self._progress(row, position)))
        return moved

    def _greet(self, row: int, at: float, outputs: list[Output]) -> None:
        if self.vehicles.liveness[row] != LIVE:
            again = self.vehicles.liveness[row] == LOST
            self.vehicles.liveness[row] = LIVE
            outputs.append(VehicleEvent(at, self.vehicles.ids[row], Event.FOUND, "reports again" if again else ""))

    def _assign(self, row: int, position: VehiclePosition, at: float, outputs: list[Output], left: list[int]) -> bool:
        """Put the vehicle on the run its hint means; False if there is none for it."""
        current = int(self.vehicles.slot[row])
        slot = None
        if position.hint is not None:
            slot = self.assigner.slot_for(position.hint, position.measured_at, current)
        if slot is not None and slot == current:
            return True
        if slot is not None and (self.runs.stops[slot] < 2 or not self._may_take(slot, row, position)):
            holder = int(self.runs.vehicle[slot])
            reason = f"its run is performed by {self.vehicles.ids[holder]}" if holder >= 0 else "its trip has one stop"
            if current >= 0 or self.vehicles.misses[row] == 0:
                outputs.append(VehicleEvent(at, self.vehicles.ids[row], Event.CONFLICT, reason))
            self.vehicles.misses[row] += 1
            slot = None
            if current < 0:
                return False
        self._leave(row, slot, at, outputs, left)
        if slot is None:
            if self.runs.size and position.hint is not None and position.hint.trip_id and current >= 0:
                outputs.append(VehicleEvent(at, self.vehicles.ids[row], Event.NO_MATCH, "trip unknown or not its day"))
            return False
        self._take(row, slot, at, outputs)
        return True

    def _may_take(self, slot: int, row: int, position: VehiclePosition) -> bool:
        return may_take(self.runs, self.vehicles, slot, position.measured_at, row, self.p.assigning)

    def _take(self, row: int, slot: int, at: float, outputs: list[Output]) -> None:
        runs = self.runs
        holder = int(runs.vehicle[slot])
        if holder not in (-1, row) and self.vehicles.slot[holder] == slot:
            self.vehicles.leave_run(holder)
            outputs.append(
                VehicleEvent(at, self.vehicles.ids[holder], Event.TAKEN, f"{self.vehicles.ids[row]} performs its run")
            )
        self.vehicles.leave_run(row)
        self.vehicles.slot[row] = slot
        runs.vehicle[slot], runs.following[slot] = row, BEGUN
        trip_id = self.network.trip_id[int(runs.trip[slot])]
        outputs.append(VehicleEvent(at, self.vehicles.ids[row], Event.ASSIGNED, f"trip {trip_id}"))

    def _leave(self, row: int, to: int | None, at: float, outputs: list[Output], left: list[int]) -> None:
        """Give up the vehicle's runs, but those of its block from ``to`` on. A run left for the one that follows it
        keeps its last predictions: its bus is in the terminal's street."""
        runs, old = self.runs, int(self.vehicles.slot[row])
        keep: set[int] = set()
        if to is not None:
            ahead: int = to
            while ahead >= 0 and ahead not in keep:
                keep.add(ahead)
                mine = np.flatnonzero((runs.following[: runs.size] == ahead) & (runs.vehicle[: runs.size] == row))
                ahead = int(mine[0]) if len(mine) else -1
            if old >= 0 and runs.following[to] == old:
                runs.following[old] = FINISHING
                keep.add(old)
        for slot in np.flatnonzero(runs.vehicle[: runs.size] == row).tolist():
            if slot not in keep and runs.following[slot] != FINISHING:
                self._give_up(slot, at, outputs, left)
        self.vehicles.leave_run(row)

    def _give_up(self, slot: int, at: float, outputs: list[Output], left: list[int]) -> None:
        if (table := self.withdraw(slot, at)) is not None:
            outputs.append(table)
        self.runs.vehicle[slot] = -1
        left.append(slot)

    def _place(self, on_run: list[tuple[int, VehiclePosition]]) -> tuple[Fixes, Matched]:
        vehicles, runs, p = self.vehicles, self.runs, self.p.matching
        rows = np.array([row for row, _ in on_run])
        at = np.array([position.measured_at for _, position in on_run])
        lat = np.array([position.lat for _, position in on_run])
        lon = np.array([position.lon for _, position in on_run])
        x, y = self.network.frame.xy_array(lat, lon)
        slot = vehicles.slot[rows]
        forget = (vehicles.misses[rows] >= p.relocate_misses) | (at - vehicles.matched_at[rows] > p.reset_s)
        fixes = Fixes(
            x=x,
            y=y,
            at=at,
            heading_deg=np.array([_or_nan(position.bearing_deg) for _, position in on_run]),
            speed_mps=np.array([_or_nan(position.speed_mps) for _, position in on_run]),
            pattern=runs.pattern[slot],
            time_row=runs.time_row[slot],
            base_at=runs.base_at[slot],
            last_m=np.where(forget, np.nan, vehicles.distance_m[rows]),
            last_at=vehicles.matched_at[rows],
            last_x=vehicles.x[rows],
            last_y=vehicles.y[rows],
            last_deviation_s=np.where(forget, np.nan, vehicles.deviation_s[rows]),
        )
        return fixes, match(self.index, fixes, p, self.p.visits)

    def _advance(
        self,
        row: int,
        position: VehiclePosition,
        placed: tuple[Fixes, Matched],
        i: int,
        at: float,
        outputs: list[Output],
    ) -> None:
        fixes, found = placed
        vehicles, visits = self.vehicles, self.p.visits
        slot = int(vehicles.slot[row])
        vehicles.speed_mps[row] = fixes.speed_mps[i]
        vehicles.bearing_deg[row] = fixes.heading_deg[i]
        if not found.found[i]:
            vehicles.misses[row] += 1
            if vehicles.misses[row] == self.p.matching.off_route_misses:
                vehicles.off_route[row] = 1
                outputs.append(VehicleEvent(at, vehicles.ids[row], Event.OFF_ROUTE, "not near the shape of its trip"))
            return
        if vehicles.off_route[row]:
            vehicles.off_route[row] = 0
            outputs.append(VehicleEvent(at, vehicles.ids[row], Event.BACK_ON_ROUTE))
        distance, measured_at = float(found.distance_m[i]), position.measured_at
        last_m, last_at = float(fixes.last_m[i]), float(fixes.last_at[i])
        if math.isfinite(last_m) and distance > last_m:
            date = self.assigner.service_date(slot)
            outputs.extend(
                StopVisited(visit)
                for visit in observe_passages(
                    self.index,
                    self.runs,
                    slot,
                    last_m,
                    last_at,
                    distance,
                    measured_at,
                    vehicles.ids[row],
                    date,
                    visits,
                )
            )
        vehicles.misses[row] = 0
        vehicles.x[row], vehicles.y[row] = fixes.x[i], fixes.y[i]
        vehicles.distance_m[row], vehicles.offset_m[row] = distance, found.offset_m[i]
        vehicles.matched_at[row], vehicles.deviation_s[row] = measured_at, found.deviation_s[i]
        vehicles.next_pos[row] = stop_ahead(self.index, self.runs, slot, distance, visits)
        vehicles.standing_pos[row] = stands_at(self.index, self.runs, vehicles, row, visits)

    # ---- time alone --------------------------------------------------------------------------------------------------

    def expire(self, at: float, outputs: list[Output], left: list[int]) -> set[int]:
        """Vehicles silent for too long are lost, their predictions withdrawn; finished runs are let go."""
        vehicles, runs = self.vehicles, self.runs
        silent = vehicles.liveness[: vehicles.size] == LIVE
        silent &= vehicles.measured_at[: vehicles.size] + self.p.predicting.lost_s <= at
        for row in np.flatnonzero(silent).tolist():
            vehicles.liveness[row] = LOST
            outputs.append(VehicleEvent(at, vehicles.ids[row], Event.LOST, "no report"))
            self._leave(row, None, at, outputs, left)
        for slot in self._finishing().tolist():
            if self._finished_at(slot) <= at:
                runs.vehicle[slot] = -1
                left.append(slot)
        return set()

    def next_deadline(self) -> float:
        live = self.vehicles.liveness[: self.vehicles.size] == LIVE
        lost = self.vehicles.measured_at[: self.vehicles.size][live].min(initial=np.inf) + self.p.predicting.lost_s
        return min(float(lost), min((self._finished_at(s) for s in self._finishing().tolist()), default=math.inf))

    def _finishing(self) -> I64:
        runs = self.runs
        return np.flatnonzero((runs.following[: runs.size] == FINISHING) & (runs.vehicle[: runs.size] >= 0))

    def _finished_at(self, slot: int) -> float:
        k, end = int(self.runs.first_pos[slot]), int(self.runs.end_pos[slot])
        return float(self.runs.p50[slot, end - 1]) + FINISHED_AFTER_S if end > k else -math.inf

    def release(self, left: list[int]) -> None:
        """Free the slots that are still nobody's once the boards have been told."""
        for slot in dict.fromkeys(left):
            if self.runs.vehicle[slot] < 0 and self.runs.day[slot] >= 0:
                self.runs.release(slot)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def live_count(self) -> int:
        return int((self.vehicles.liveness[: self.vehicles.size] == LIVE).sum())

    def live_progress(self) -> list[Progress]:
        live = np.flatnonzero(self.vehicles.liveness[: self.vehicles.size] == LIVE).tolist()
        return [self._progress(row, self.vehicles.latest[row]) for row in live]

    def _progress(self, row: int, position: VehiclePosition) -> Progress:
        vehicles, slot = self.vehicles, int(self.vehicles.slot[row])
        on_run = slot >= 0 and math.isfinite(vehicles.distance_m[row])
        next_pos = int(vehicles.next_pos[row])
        waits = on_run and (next_pos >= self.runs.stops[slot] or (next_pos == 0 and vehicles.deviation_s[row] <= 0))
        phase = Phase.OTHER if slot < 0 else Phase.LAYOVER if waits else Phase.IN_SERVICE
        return Progress(
            vehicle_idx=row,
            vehicle_id=position.vehicle_id,
            lat=position.lat,
            lon=position.lon,
            measured_at=position.measured_at,
            phase=phase,
            trip=self.runs.dated(slot, self.assigner.service_date(slot)) if slot >= 0 else None,
            distance_m=float(vehicles.distance_m[row]) if on_run else None,
            offset_m=float(vehicles.offset_m[row]) if on_run else None,
            probability=1.0 if on_run else None,
            next_stop_pos=next_pos if on_run and next_pos < self.runs.stops[slot] else None,
            deviation_s=float(vehicles.deviation_s[row]) if on_run else None,
            off_route=bool(vehicles.off_route[row]),
            bearing_deg=position.bearing_deg,
            speed_mps=position.speed_mps,
            occupancy=position.occupancy,
            label=position.label,
            source=position.source,
            report_id=position.report_id,
        )


def _rounds(waiting: list[tuple[int, VehiclePosition]]) -> list[list[tuple[int, VehiclePosition]]]:
    """Split so that no vehicle comes twice in a round; order kept."""
    rounds: list[list[tuple[int, VehiclePosition]]] = []
    seen: dict[int, int] = {}
    for row, position in waiting:
        n = seen.get(row, 0)
        seen[row] = n + 1
        if n == len(rounds):
            rounds.append([])
        rounds[n].append((row, position))
    return rounds


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
