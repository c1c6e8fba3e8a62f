"""Follows every vehicle along its run: which run it is, place on the shape, stops passed, events.

A vehicle whose source names its trip is believed as long as the trip fits; all others are asked of `Inference`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from busd.days import Timetable
from busd.parameters import Parameters
from busd.track.assign import Assigner, may_take
from busd.track.events import Event
from busd.track.fleet import BEGUN, BELIEVED, FINISHING, INFERRED, LIVE, LOST, PHASES, Runs, Vehicles
from busd.track.inference import Answer, Inference
from busd.track.match import Fixes, Matched, ShapeIndex, match
from busd.track.progress import observe_passages, progress_of, stands_at, stop_ahead
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
from gtfs.network import F64, I64, Network

FINISHED_AFTER_S = 60.0


class Tracker:
    """``withdraw`` takes back what is predicted for a slot; the engine wires it to the predictor."""

    def __init__(
        self, network: Network, timetable: Timetable, vehicles: Vehicles, runs: Runs, parameters: Parameters
    ) -> None:
        self.network, self.vehicles, self.runs, self.p = network, vehicles, runs, parameters
        self.index = ShapeIndex(network, parameters.matching, parameters.visits)
        self.timetable = timetable
        self.assigner = Assigner(network, timetable, runs, parameters.assigning)
        self._inference: Inference | None = None
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
            asked: list[tuple[int, VehiclePosition]] = []
            for row, position in fixes:
                moved.add(row)
                self._greet(row, at, outputs)
                if self._believes(row, position, at, outputs, left):
                    on_run.append((row, position))
                else:
                    asked.append((row, position))
            # a vehicle of this round may have taken over the run of an earlier one
            on_run = [(row, position) for row, position in on_run if self.vehicles.slot[row] >= 0]
            if on_run:
                self._follow_believed(on_run, at, outputs)
            if asked:
                self._follow_asked(asked, at, outputs, left)
            outputs.extend(ProgressChanged(self._told(row, position)) for row, position in fixes)
        return moved

    def days_changed(self) -> None:
        if self._inference is not None:
            self._inference.days_changed(self._believed_runs())

    @property
    def inference(self) -> Inference:
        """Made when the first vehicle needs it: a fleet that names its trips never pays for it."""
        if self._inference is None:
            self._inference = Inference(self.network, self.timetable, self.index, self.p, self._believed_runs())
        return self._inference

    def _believed_runs(self) -> list[tuple[int, int]]:
        """(day, run) that vehicles perform by their own word."""
        vehicles, runs = self.vehicles, self.runs
        rows = np.flatnonzero((vehicles.slot[: vehicles.size] >= 0) & (vehicles.mode[: vehicles.size] == BELIEVED))
        return [(int(runs.day[slot]), int(runs.run[slot])) for slot in vehicles.slot[rows].tolist()]

    def _greet(self, row: int, at: float, outputs: list[Output]) -> None:
        if self.vehicles.liveness[row] != LIVE:
            again = self.vehicles.liveness[row] == LOST
            self.vehicles.liveness[row] = LIVE
            outputs.append(VehicleEvent(at, self.vehicles.ids[row], Event.FOUND, "reports again" if again else ""))

    def _believes(self, row: int, position: VehiclePosition, at: float, outputs: list[Output], left: list[int]) -> bool:
        """Put the vehicle on the run that its hint means. False if it has none, or if that does not fit."""
        vehicles, hint = self.vehicles, position.hint
        if hint is None or hint.trip_id is None or vehicles.mode[row] == INFERRED:
            return False
        current = int(vehicles.slot[row])
        slot = self.assigner.slot_for(hint, position.measured_at, current)
        if slot is not None and slot == current:
            return True
        if slot is None:
            if current >= 0:
                outputs.append(VehicleEvent(at, vehicles.ids[row], Event.NO_MATCH, "trip unknown or not its day"))
        elif self.runs.stops[slot] < 2 or not self._may_take(slot, row, position):
            holder = int(self.runs.vehicle[slot])
            reason = f"its run is performed by {vehicles.ids[holder]}" if holder >= 0 else "its trip has one stop"
            if current >= 0 or vehicles.misses[row] == 0:
                outputs.append(VehicleEvent(at, vehicles.ids[row], Event.CONFLICT, reason))
            vehicles.misses[row] += 1
            slot = None
        if slot is None:
            self._infer(row)
            return False
        self._leave(row, slot, at, outputs, left)
        self._take(row, slot, at, outputs)
        return True

    def _infer(self, row: int) -> None:
        """From now on the vehicle's run is inferred; what it names is evidence like any other."""
        vehicles = self.vehicles
        if vehicles.mode[row] == BELIEVED and self._inference is not None and (slot := int(vehicles.slot[row])) >= 0:
            self._inference.claim(int(self.runs.day[slot]), int(self.runs.run[slot]), -1.0)
        vehicles.mode[row] = INFERRED

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
        if self._inference is not None and self.vehicles.mode[row] == BELIEVED:
            self._inference.claim(int(runs.day[slot]), int(runs.run[slot]), 1.0)
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
        if self._inference is not None and old >= 0 and self.vehicles.mode[row] == BELIEVED:
            self._inference.claim(int(runs.day[old]), int(runs.run[old]), -1.0)
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

    def _follow_believed(self, fixes: list[tuple[int, VehiclePosition]], at: float, outputs: list[Output]) -> None:
        asked, found = self._place(fixes)
        for i, (row, position) in enumerate(fixes):
            self.vehicles.speed_mps[row] = asked.speed_mps[i]
            self.vehicles.bearing_deg[row] = asked.heading_deg[i]
            if found.found[i]:
                step = (float(asked.last_m[i]), float(asked.last_at[i]), float(found.distance_m[i]))
                place = (float(asked.x[i]), float(asked.y[i]), float(found.offset_m[i]), float(found.deviation_s[i]))
                self._advance(row, position, step, place, at, outputs)
            else:
                self._miss(row, at, outputs)
                if self.vehicles.misses[row] >= self.p.matching.off_route_misses:
                    self._infer(row)

    def _follow_asked(
        self, fixes: list[tuple[int, VehiclePosition]], at: float, outputs: list[Output], left: list[int]
    ) -> None:
        """Vehicles whose run is inferred."""
        vehicles, inference = self.vehicles, self.inference
        named = [self._named(position) for _, position in fixes]
        for (row, position), name, answer in zip(fixes, named, inference.follow(fixes, named)):
            vehicles.mode[row] = INFERRED
            vehicles.speed_mps[row], vehicles.bearing_deg[row] = (
                _or_nan(position.speed_mps),
                _or_nan(position.bearing_deg),
            )
            slot = None
            if answer is not None:
                slot, answer = self._settle(row, answer)
            if slot is None or answer is None:
                self._lose_run(row, position, at, outputs, left)
                continue
            if slot != vehicles.slot[row]:
                self._complete(row, position, outputs)
                self._leave(row, slot, at, outputs, left)
                self._take(row, slot, at, outputs)
            vehicles.phase[row] = PHASES.index(answer.phase)
            vehicles.probability[row] = answer.probability
            if not answer.fits or math.isnan(answer.distance_m):
                self._miss(row, at, outputs)
                continue
            x, y = self.network.frame.xy_array(np.array([position.lat]), np.array([position.lon]))
            last_m, last_at = float(vehicles.distance_m[row]), float(vehicles.matched_at[row])
            distance = answer.distance_m if math.isnan(last_m) else max(answer.distance_m, last_m)
            place = (float(x[0]), float(y[0]), answer.offset_m, answer.deviation_s)
            self._advance(row, position, (last_m, last_at, distance), place, at, outputs)
            if name >= 0 and answer.probability > 0.9 and name == inference.number_of(answer.day, answer.run):
                # the source is right again
                inference.forget(row)
                vehicles.mode[row] = BELIEVED
                inference.claim(answer.day, answer.run, 1.0)

    def _named(self, position: VehiclePosition) -> int:
        """Number of the run that the hint means in the inference's service, -1 if it means none."""
        if position.hint is None or position.hint.trip_id is None:
            return -1
        run = self.assigner.run_for(position.hint, position.measured_at)
        return -1 if run is None else self.inference.number_of(*run)

    def _settle(self, row: int, answer: Answer) -> tuple[int | None, Answer | None]:
        """The slot of the answer; where another bus performs its run more surely, of the next best."""
        taken: list[int] = []
        best: Answer | None = answer
        while best is not None and len(taken) < 4:
            slot = self.assigner.slot_of(best.day, best.trip, best.start_s, best.run)
            holder = int(self.runs.vehicle[slot])
            begun = holder not in (-1, row) and self.vehicles.slot[holder] == slot
            if not begun or self._yields(holder, best):
                return slot, best
            taken.append(self.inference.number_of(best.day, best.run))
            best = self.inference.second(row, taken)
        return None, None

    def _yields(self, holder: int, answer: Answer) -> bool:
        vehicles = self.vehicles
        sure = 1.0 if vehicles.mode[holder] == BELIEVED else float(vehicles.probability[holder])
        return answer.probability > sure + 0.05

    def _lose_run(self, row: int, position: VehiclePosition, at: float, outputs: list[Output], left: list[int]) -> None:
        vehicles = self.vehicles
        if vehicles.slot[row] >= 0:
            self._complete(row, position, outputs)
            self._leave(row, None, at, outputs, left)
            outputs.append(VehicleEvent(at, vehicles.ids[row], Event.NO_MATCH, "no run fits where it is now"))
        parked = self.inference.is_parked(row, position.measured_at)
        vehicles.phase[row] = PHASES.index(Phase.OTHER if parked else Phase.DEADHEAD)
        vehicles.probability[row] = np.nan

    def _complete(self, row: int, position: VehiclePosition, outputs: list[Output]) -> None:
        """A bus that goes on from the end of its run has reached its last stop, though the next run began first."""
        vehicles, slot = self.vehicles, int(self.vehicles.slot[row])
        if slot < 0 or math.isnan(vehicles.distance_m[row]):
            return
        last = int(self.network.pattern_stop_offset[int(self.runs.pattern[slot])] + self.runs.stops[slot]) - 1
        end_m = float(self.network.pattern_stop_m[last])
        if end_m - float(vehicles.distance_m[row]) <= self.p.tracking.complete_m:
            self._observe(
                row,
                slot,
                float(vehicles.distance_m[row]),
                float(vehicles.matched_at[row]),
                end_m,
                position.measured_at,
                outputs,
            )

    def _miss(self, row: int, at: float, outputs: list[Output]) -> None:
        vehicles = self.vehicles
        vehicles.misses[row] += 1
        if vehicles.misses[row] == self.p.matching.off_route_misses:
            vehicles.off_route[row] = 1
            outputs.append(VehicleEvent(at, vehicles.ids[row], Event.OFF_ROUTE, "not near the shape of its trip"))

    def _advance(
        self,
        row: int,
        position: VehiclePosition,
        step: tuple[float, float, float],
        place: tuple[float, float, float, float],
        at: float,
        outputs: list[Output],
    ) -> None:
        """``step``: metres along the shape and instant of the last fix (NaN unknown), metres now; ``place``: x, y,
        metres off the shape, seconds behind the timetable."""
        vehicles, visits = self.vehicles, self.p.visits
        slot = int(vehicles.slot[row])
        if vehicles.off_route[row]:
            vehicles.off_route[row] = 0
            outputs.append(VehicleEvent(at, vehicles.ids[row], Event.BACK_ON_ROUTE))
        last_m, last_at, distance = step
        if math.isfinite(last_m) and distance > last_m:
            self._observe(row, slot, last_m, last_at, distance, position.measured_at, outputs)
        vehicles.misses[row] = 0
        vehicles.x[row], vehicles.y[row], vehicles.offset_m[row], vehicles.deviation_s[row] = place
        vehicles.distance_m[row], vehicles.matched_at[row] = distance, position.measured_at
        vehicles.next_pos[row] = stop_ahead(self.index, self.runs, slot, distance, visits)
        vehicles.standing_pos[row] = stands_at(self.index, self.runs, vehicles, row, visits)

    def _observe(
        self, row: int, slot: int, from_m: float, from_at: float, to_m: float, to_at: float, outputs: list[Output]
    ) -> None:
        date, vehicle_id = self.assigner.service_date(slot), self.vehicles.ids[row]
        outputs.extend(
            StopVisited(visit)
            for visit in observe_passages(
                self.index, self.runs, slot, from_m, from_at, to_m, to_at, vehicle_id, date, self.p.visits
            )
        )

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
            if self._inference is not None:
                self._inference.forget(row)
            vehicles.mode[row] = BELIEVED
        finishing = self._finishing()
        for slot in finishing[self._finished_at(finishing) <= at].tolist():
            runs.vehicle[slot] = -1
            left.append(slot)
        return set()

    def next_deadline(self) -> float:
        live = self.vehicles.liveness[: self.vehicles.size] == LIVE
        lost = self.vehicles.measured_at[: self.vehicles.size][live].min(initial=np.inf) + self.p.predicting.lost_s
        return min(float(lost), float(self._finished_at(self._finishing()).min(initial=math.inf)))

    def _finishing(self) -> I64:
        runs = self.runs
        return np.flatnonzero((runs.following[: runs.size] == FINISHING) & (runs.vehicle[: runs.size] >= 0))

    def _finished_at(self, slots: I64) -> F64:
        end = self.runs.end_pos[slots]
        told = end > self.runs.first_pos[slots]
        return np.where(told, self.runs.p50[slots, np.maximum(end, 1) - 1] + FINISHED_AFTER_S, -np.inf)

    def release(self, left: list[int]) -> None:
        """Free the slots that are still nobody's once the boards have been told."""
        for slot in dict.fromkeys(left):
            if self.runs.vehicle[slot] < 0 and self.runs.day[slot] >= 0:
                self.runs.release(slot)

    # ---- snapshot ----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any] | None:
        return None if self._inference is None else self._inference.dump()

    def load(self, state: dict[str, Any] | None) -> None:
        if state is not None:
            self.inference.load(state)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def _told(self, row: int, position: VehiclePosition) -> Progress:
        slot = int(self.vehicles.slot[row])
        trip = self.runs.dated(slot, self.assigner.service_date(slot)) if slot >= 0 else None
        return progress_of(self.vehicles, self.runs, row, position, trip)

    def live_count(self) -> int:
        return int((self.vehicles.liveness[: self.vehicles.size] == LIVE).sum())

    def live_progress(self) -> list[Progress]:
        live = np.flatnonzero(self.vehicles.liveness[: self.vehicles.size] == LIVE).tolist()
        return [self._told(row, self.vehicles.latest[row]) for row in live]


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
