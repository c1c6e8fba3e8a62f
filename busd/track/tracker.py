"""Follows every vehicle along its run: which run it is, place on the shape, stops passed, events.

A vehicle whose source names its trip is believed as long as the trip fits; all others are asked of `Inference`. Who
performs which run is kept in holding.py, who has left its route in off_route.py, what dispatchers are told in watch.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from busd.days import Timetable
from busd.parameters import Parameters
from busd.track.advance import Advance, Steps, publish
from busd.track.assign import Assigner
from busd.track.detour import DetourBook
from busd.track.doubt import is_doubted, judge
from busd.track.events import Event
from busd.track.fleet import BELIEVED, INFERRED, LIVE, LOST, PHASES, Runs, Vehicles
from busd.track.holding import Holding
from busd.track.inference import Answer, Inference
from busd.track.joint import FIRM, NOBODY
from busd.track.match import Fixes, Matched, ShapeIndex, match
from busd.track.off_route import OffRouteWatch, Verdict
from busd.track.progress import progress_of
from busd.track.road import Found, Road
from busd.track.silence import Silence
from busd.track.watch import SILENT, Watcher
from busd.types import (
    Output,
    Phase,
    Progress,
    ProgressChanged,
    VehiclePosition,
)
from gtfs.network import F64, I64, Network


class Tracker:
    """The stages of one network; ``holding.withdraw`` is wired to the predictor by the engine."""

    def __init__(
        self, network: Network, timetable: Timetable, vehicles: Vehicles, runs: Runs, parameters: Parameters
    ) -> None:
        self.network, self.vehicles, self.runs, self.p = network, vehicles, runs, parameters
        self.index = ShapeIndex(network, parameters.matching, parameters.visits)
        self.timetable = timetable
        self.assigner = Assigner(network, timetable, runs, parameters.assigning)
        self.watcher = Watcher(network, timetable, vehicles, runs, parameters)
        off_route = OffRouteWatch(parameters.off_route)
        self.detours = DetourBook(network, self.index, parameters)
        self.holding = Holding(network, vehicles, runs, self.assigner, off_route, self.watcher, parameters)
        self.road = Road(self.index, vehicles, self.holding, off_route, parameters)
        self.silence = Silence(vehicles, self.holding, off_route, self.watcher, parameters)
        self.advance = Advance(
            self.index, vehicles, runs, self.assigner, self.watcher, off_route, self.detours, parameters
        )
        self._inference: Inference | None = None

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
            outputs.extend(map(ProgressChanged, self._told(fixes)))
        self.watcher.look(moved, at, outputs)
        return moved

    def days_changed(self) -> None:
        if self._inference is not None:
            self._inference.days_changed(self.holding.believed_runs())

    @property
    def inference(self) -> Inference:
        """Made when the first vehicle needs it: a fleet that names its trips never pays for it."""
        if self._inference is None:
            believed = self.holding.believed_runs()
            self._inference = inference = Inference(self.network, self.timetable, self.index, self.p, believed)
            runs = self.runs
            self.holding.claim = lambda slot, sign: inference.claim(int(runs.day[slot]), int(runs.run[slot]), sign)
        return self._inference

    def _greet(self, row: int, at: float, outputs: list[Output]) -> None:
        self.vehicles.told[row] &= ~SILENT
        if self.vehicles.liveness[row] != LIVE:
            again = self.vehicles.liveness[row] == LOST
            self.vehicles.liveness[row] = LIVE
            self.watcher.tell(row, Event.FOUND, "reports again" if again else "", at, outputs)

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
            if current >= 0 or vehicles.misses[row] == 0:
                self.watcher.tell(row, Event.NO_MATCH, self._unknown(hint.trip_id), at, outputs)
            vehicles.misses[row] += 1
        elif self.runs.stops[slot] < 2 or not self.holding.may_take(slot, row, position):
            holder = int(self.runs.vehicle[slot])
            reason = f"its run is performed by {vehicles.ids[holder]}" if holder >= 0 else "its trip has one stop"
            if current >= 0 or vehicles.misses[row] == 0:
                self.watcher.tell(row, Event.CONFLICT, f"names trip {hint.trip_id}, but {reason}", at, outputs)
            vehicles.misses[row] += 1
            slot = None
        if slot is None:
            self._infer(row)
            return False
        self._change_to(row, slot, at, outputs, left)
        return True

    def _unknown(self, trip_id: str) -> str:
        """Why a named trip cannot be believed."""
        if self.network.find_trip(trip_id) is None:
            return f"its source names trip {trip_id}, which the timetable does not have"
        return f"its source names trip {trip_id}, which does not run at this time"

    def _change_to(self, row: int, slot: int, at: float, outputs: list[Output], left: list[int]) -> None:
        unfinished = self.holding.leave(row, slot, at, outputs, left)
        self.holding.take(row, slot, at, outputs, unfinished)

    def _infer(self, row: int) -> None:
        """From now on the vehicle's run is inferred; what it names is evidence like any other."""
        vehicles = self.vehicles
        if vehicles.mode[row] == BELIEVED and (slot := int(vehicles.slot[row])) >= 0:
            self.holding.claim(slot, -1.0)
        vehicles.mode[row] = INFERRED

    def _place(self, on_run: list[tuple[int, VehiclePosition]]) -> tuple[I64, Fixes, Matched]:
        vehicles, runs, p = self.vehicles, self.runs, self.p.matching
        rows = np.array([row for row, _ in on_run])
        at = np.array([position.measured_at for _, position in on_run])
        lat = np.array([position.lat for _, position in on_run])
        lon = np.array([position.lon for _, position in on_run])
        x, y = self.network.frame.xy_array(lat, lon)
        slot = vehicles.slot[rows]
        forget = (vehicles.misses[rows] >= p.relocate_misses) & (vehicles.off_route[rows] == 0)
        forget |= at - vehicles.matched_at[rows] > p.reset_s
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
        return rows, fixes, match(self.index, fixes, p, self.p.visits)

    def _follow_believed(self, fixes: list[tuple[int, VehiclePosition]], at: float, outputs: list[Output]) -> None:
        rows, asked, m = self._place(fixes)
        vehicles = self.vehicles
        distance = np.where(m.found, m.distance_m, np.nan)
        vehicles.speed_mps[rows], vehicles.bearing_deg[rows] = asked.speed_mps, asked.heading_deg
        steps = Steps(
            rows, asked.at, asked.x, asked.y, distance, m.offset_m, m.deviation_s, asked.last_m, asked.last_at
        )
        for i in self._advance(steps, m.reach_m, at, outputs):
            row, position = fixes[i]
            place = (asked.x[i], asked.y[i], distance[i], m.offset_m[i], m.reach_m[i], m.deviation_s[i])
            last = (float(asked.last_m[i]), float(asked.last_at[i]))
            self._see(row, position, Found(*map(float, place)), last, at, outputs)
            doubtful = vehicles.misses[row] >= self.p.matching.off_route_misses
            if doubtful and not self.road.may_return(row, *place[:2], position.measured_at):
                self._infer(row)
        self._doubt(rows, asked.pattern, m, at, outputs)

    def _doubt(self, rows: I64, pattern: I64, m: Matched, at: float, outputs: list[Output]) -> None:
        """Buses far ahead of the runs that they name are told wrongly: from now on these are inferred."""
        start_m = self.network.pattern_stop_m[self.network.pattern_stop_offset[pattern]]
        driven_m = np.where(m.found, m.distance_m, np.nan) - start_m
        doubted, kept = judge(self.vehicles, rows, driven_m, m.deviation_s, self.p)
        for row, deviation in zip(rows[doubted].tolist(), m.deviation_s[doubted].tolist()):
            self._infer(row)
            self.inference.doubt(row)
            words = "far ahead of" if math.isnan(deviation) else f"{-deviation / 60:.0f} min ahead of"
            self.watcher.tell(row, Event.CONFLICT, f"is {words} the trip that it names", at, outputs)
        if self._inference is not None:
            self._inference.reassure(rows[kept])

    def _advance(self, steps: Steps, reach_m: F64, at: float, outputs: list[Output]) -> list[int]:
        """Take the steps of the buses that are plainly on their route; returns the others, by their place in ``steps``."""
        plain = self.road.plainly_on(steps.rows, steps.distance_m, steps.offset_m, reach_m)
        if plain.any():
            self.advance.take(steps if plain.all() else steps.take(plain), at, outputs)
        return np.flatnonzero(~plain).tolist()

    def _see(
        self,
        row: int,
        position: VehiclePosition,
        found: Found,
        last: tuple[float, float],
        at: float,
        outputs: list[Output],
    ) -> None:
        """A fix against its run. ``last``: metres along the shape and instant of the fix before, NaN unknown."""
        vehicles = self.vehicles
        verdict = self.road.judge(row, position, found)
        if verdict is Verdict.LEFT:
            self.watcher.went_off(row, at, outputs)
        if verdict in (Verdict.LEFT, Verdict.HELD):
            vehicles.misses[row] += 1
            return
        if verdict is Verdict.BACK:
            self._come_back(row, found, position.measured_at, at, outputs)
            # the stops between were not passed on the route
            last = (math.nan, last[1])
        fields = (position.measured_at, found.x, found.y, found.distance_m, found.offset_m, found.deviation_s, *last)
        self.advance.take(Steps(np.array([row]), *(np.array([value]) for value in fields)), at, outputs)

    def _come_back(self, row: int, found: Found, now: float, at: float, outputs: list[Output]) -> None:
        vehicles = self.vehicles
        vehicles.off_route[row] = 0
        excursion = self.road.watch.forget(row)
        if excursion is None:
            return
        reason = f"at {found.distance_m / 1000:.1f} km, after {(now - excursion.first_at) / 60:.0f} min"
        self.watcher.tell(row, Event.BACK_ON_ROUTE, reason, at, outputs)
        pattern = int(self.runs.pattern[int(vehicles.slot[row])])
        publish(self.detours.add(vehicles.ids[row], pattern, excursion, found.distance_m, now), at, outputs)

    def _follow_asked(
        self, fixes: list[tuple[int, VehiclePosition]], at: float, outputs: list[Output], left: list[int]
    ) -> None:
        """Vehicles whose run is inferred."""
        vehicles, inference = self.vehicles, self.inference
        named = [self._named(position) for _, position in fixes]
        rows = np.array([row for row, _ in fixes])
        lat, lon = (np.array([getattr(position, name) for _, position in fixes]) for name in ("lat", "lon"))
        x, y = self.network.frame.xy_array(lat, lon)
        vehicles.speed_mps[rows] = [_or_nan(position.speed_mps) for _, position in fixes]
        vehicles.bearing_deg[rows] = [_or_nan(position.bearing_deg) for _, position in fixes]
        on_run: list[tuple[int, Answer, tuple[float, ...]]] = []
        inference.follow(fixes, named)
        for i, (row, position) in enumerate(fixes):
            answer = inference.answer(row, self._holder)
            vehicles.mode[row] = INFERRED
            here = (float(x[i]), float(y[i]))
            fits = answer is not None and answer.fits
            if not fits and named[i] >= 0 and self._keeps(row, named[i], position, here, at, outputs):
                continue
            if answer is None:
                self._lose_run(row, position, at, outputs, left)
                continue
            slot = self.assigner.slot_of(answer.day, answer.trip, answer.start_s, answer.run)
            if slot != vehicles.slot[row]:
                self._complete(row, position, at, outputs)
                self._change_to(row, slot, at, outputs, left)
            vehicles.phase[row] = PHASES.index(answer.phase)
            vehicles.probability[row] = answer.probability
            last_m = float(vehicles.distance_m[row])
            place = (*here, *self.road.place_of(answer, last_m), last_m, float(vehicles.matched_at[row]))
            on_run.append((i, answer, (position.measured_at, *place)))
        # the run of one may have been taken over by a later one
        on_run = [held for held in on_run if vehicles.slot[fixes[held[0]][0]] >= 0]
        if on_run:
            self._follow_inferred(fixes, on_run, named, at, outputs)

    def _follow_inferred(
        self,
        fixes: list[tuple[int, VehiclePosition]],
        on_run: list[tuple[int, Answer, tuple[float, ...]]],
        named: list[int],
        at: float,
        outputs: list[Output],
    ) -> None:
        """``on_run``: place in ``fixes``, answer, and a row of `Steps` without its first column."""
        rows = np.array([fixes[i][0] for i, _, _ in on_run])
        steps = Steps(rows, *np.array([step for _, _, step in on_run]).T)
        reach_m = np.full(len(rows), self.p.matching.max_offset_m)
        for j in self._advance(steps, reach_m, at, outputs):
            i, _, (_, x, y, distance, offset, deviation, *last) = on_run[j]
            found = Found(x, y, distance, offset, self.p.matching.max_offset_m, deviation)
            self._see(*fixes[i], found, (last[0], last[1]), at, outputs)
        for i, answer, step in on_run:
            row, name = fixes[i][0], named[i]
            if name < 0 or math.isnan(step[3]) or answer.probability <= 0.9:
                continue
            if name == self.inference.number_of(answer.day, answer.run) and not is_doubted(self.vehicles, row, self.p):
                # the source is right again
                self.inference.forget(row)
                self.vehicles.mode[row] = BELIEVED
                self.inference.claim(answer.day, answer.run, 1.0)

    def _keeps(
        self,
        row: int,
        name: int,
        position: VehiclePosition,
        here: tuple[float, float],
        at: float,
        outputs: list[Output],
    ) -> bool:
        """A bus off its route that goes on naming its run keeps it for a while, though no run fits."""
        slot = int(self.vehicles.slot[row])
        if slot < 0 or name != self.inference.number_of(int(self.runs.day[slot]), int(self.runs.run[slot])):
            return False
        if not self.road.may_return(row, *here, position.measured_at):
            return False
        found = Found(*here, math.nan, math.nan, self.p.matching.max_offset_m, math.nan)
        self._see(row, position, found, (math.nan, math.nan), at, outputs)
        return True

    def _named(self, position: VehiclePosition) -> int:
        """Number of the run that the hint means in the inference's service, -1 if it means none."""
        if position.hint is None or position.hint.trip_id is None:
            return -1
        run = self.assigner.run_for(position.hint, position.measured_at)
        return -1 if run is None else self.inference.number_of(*run)

    def _holder(self, run: tuple[int, int, int]) -> int:
        """Who performs a run; the word of a vehicle that names it is not up for discussion."""
        slot = self.runs.slot_of.get(run)
        row = NOBODY if slot is None else int(self.runs.vehicle[slot])
        if row < 0 or self.vehicles.slot[row] != slot:
            return NOBODY
        return row if self.vehicles.mode[row] == INFERRED else FIRM

    def _lose_run(self, row: int, position: VehiclePosition, at: float, outputs: list[Output], left: list[int]) -> None:
        vehicles = self.vehicles
        if vehicles.slot[row] >= 0:
            self._complete(row, position, at, outputs)
            self.holding.leave(row, None, at, outputs, left)
            self.watcher.tell(row, Event.NO_MATCH, "no run fits where it is now", at, outputs)
        parked = self.inference.is_parked(row, position.measured_at)
        vehicles.phase[row] = PHASES.index(Phase.OTHER if parked else Phase.DEADHEAD)
        vehicles.probability[row] = np.nan

    def _complete(self, row: int, position: VehiclePosition, at: float, outputs: list[Output]) -> None:
        """A bus that goes on from the end of its run has reached its last stop, though the next run began first."""
        vehicles, slot = self.vehicles, int(self.vehicles.slot[row])
        if slot < 0 or math.isnan(vehicles.distance_m[row]):
            return
        remaining, place_m = self.holding.remaining_m(row), float(vehicles.distance_m[row])
        if remaining <= self.p.tracking.complete_m and not vehicles.off_route[row]:
            step = (place_m, float(vehicles.matched_at[row]), place_m + remaining)
            self.advance.observe(row, slot, step, position.measured_at, at, outputs)

    # ---- time alone --------------------------------------------------------------------------------------------------

    def expire(self, at: float, outputs: list[Output], left: list[int]) -> set[int]:
        """Vehicles silent for too long are lost, their predictions withdrawn; finished runs are let go."""
        for row in self.silence.pass_by(at, outputs, left):
            if self._inference is not None:
                self._inference.release(row)
        publish(self.detours.expire(at), at, outputs)
        return set()

    def next_deadline(self) -> float:
        return self.silence.next_deadline()

    # ---- snapshot ----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        return {
            "inference": None if self._inference is None else self._inference.dump(),
            "off_route": self.road.watch.dump(),
            "detours": self.detours.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        if state["inference"] is not None:
            self.inference.load(state["inference"])
        self.road.watch.load(state["off_route"])
        self.detours.load(state["detours"])

    # ---- reading -----------------------------------------------------------------------------------------------------

    def _told(self, fixes: list[tuple[int, VehiclePosition]]) -> list[Progress]:
        rows = np.array([row for row, _ in fixes], np.int64)
        runs, dates = self.runs, self.assigner.service_date
        trips = [runs.dated(slot, dates(slot)) if slot >= 0 else None for slot in self.vehicles.slot[rows].tolist()]
        return progress_of(self.vehicles, runs, rows, [position for _, position in fixes], trips)

    def explain(self, row: int) -> list[dict[str, Any]]:
        """The hypotheses of a vehicle that is followed by them, heaviest first."""
        return [] if self._inference is None else self._inference.explain(row)

    def trust(self, row: int) -> float:
        """What its trip hints are worth, 0 to 1: they lose where another run fits and they do not."""
        if self._inference is None or row >= self._inference.hypotheses.beliefs.held:
            return 1.0
        return round(float(self._inference.hypotheses.beliefs.trust[row]) / self.p.tracking.hint, 3)

    def live_count(self) -> int:
        return int((self.vehicles.liveness[: self.vehicles.size] == LIVE).sum())

    def live_progress(self) -> list[Progress]:
        live = np.flatnonzero(self.vehicles.liveness[: self.vehicles.size] == LIVE).tolist()
        return self._told([(row, self.vehicles.latest[row]) for row in live])


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
