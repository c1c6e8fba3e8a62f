"""Which run a vehicle performs when nobody says so, or when what is said does not fit: the answer of `Hypotheses`.

A trip hint that fits is believed and costs nothing (track/assign.py). This room is asked for the others: vehicles
without a hint, and vehicles that have left the shape of the run they name. There the hint is evidence like any other,
worth as much as the vehicle's hints have been so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from busd.days import Timetable
from busd.parameters import Parameters
from busd.track.beliefs import ENDED, FREE, LAYOVER, SERVICE
from busd.track.candidates import Reports
from busd.track.hypotheses import Hypotheses
from busd.track.joint import NOBODY, Holder, Option, choose
from busd.track.match import ShapeIndex
from busd.track.service import Service
from busd.types import Phase, TripHint, VehiclePosition
from gtfs.network import I64, Network


@dataclass(frozen=True)
class Answer:
    """What is most likely true of one vehicle after a fix."""

    day: int
    run: int
    trip: int
    start_s: int
    phase: Phase
    fits: bool
    distance_m: float
    offset_m: float
    deviation_s: float
    probability: float


class Inference:
    """Answers for vehicles by row of `fleet.Vehicles`; what it holds is in the snapshot."""

    def __init__(
        self,
        network: Network,
        timetable: Timetable,
        index: ShapeIndex,
        parameters: Parameters,
        believed: list[tuple[int, int]],
    ) -> None:
        """``believed``: (day, run) of the runs that vehicles perform by their own word."""
        self.network, self.timetable, self.t = network, timetable, parameters.tracking
        self.hypotheses = Hypotheses(network, index, self._service(), parameters)
        self._shown: dict[int, tuple[int, int, int]] = {}
        self._listed: dict[int, tuple[tuple[int, int, int] | None, list[Option]]] = {}
        """options of a vehicle until its next fix, by row, and what it was held to when they were listed"""
        for day, run in believed:
            self.claim(day, run, 1.0)

    def days_changed(self, believed: list[tuple[int, int]]) -> None:
        self.hypotheses.serve(self._service())
        for day, run in believed:
            self.claim(day, run, 1.0)

    def _service(self) -> Service:
        return Service(self.network, self.timetable.days.values(), self.t.unplanned_share)

    def claim(self, day: int, run: int, sign: float) -> None:
        """A vehicle performs (+1), or leaves (-1), a run by its own word."""
        number = self.number_of(day, run)
        if number >= 0:
            self.hypotheses.claims.named(number, sign)

    def knows(self, row: int) -> bool:
        """Is this vehicle followed here already?"""
        beliefs = self.hypotheses.beliefs
        return row < beliefs.held and bool((beliefs.phase[row] != FREE).any())

    def forget(self, row: int) -> None:
        self._shown.pop(row, None)
        self._listed.pop(row, None)
        if row < self.hypotheses.beliefs.held:
            self.hypotheses.forget(row)

    def doubt(self, row: int) -> None:
        """What the vehicle's source names fits the street and not the timetable: it is worth less from now on."""
        b = self.hypotheses.beliefs
        b.hold(row + 1)
        b.doubted[row] = min(b.doubted[row] + self.t.hint_doubted, self.t.hint)
        b.trust[row] = min(b.trust[row], self.t.hint - b.doubted[row])

    def reassure(self, rows: I64) -> None:
        """Vehicles keep to the timetables of the runs that they name: what they lost comes back, run by run."""
        b = self.hypotheses.beliefs
        rows = rows[rows < b.held]
        b.doubted[rows] = np.maximum(b.doubted[rows] - self.t.hint_regained, 0.0)

    def release(self, row: int) -> None:
        """The vehicle is silent: what it does is nobody's any more, but not forgotten."""
        self._shown.pop(row, None)
        self._listed.pop(row, None)
        if row < self.hypotheses.beliefs.held:
            self.hypotheses.release(row)

    def follow(self, fixes: list[tuple[int, VehiclePosition]], named: list[int]) -> None:
        """One fix each of different vehicles. ``named``: number of the run that the hint means in the held service
        (`number_of`), -1 none."""
        for row, _ in fixes:
            self._listed.pop(row, None)
        positions = [position for _, position in fixes]
        rows = np.array([row for row, _ in fixes], np.int64)
        x, y = self.network.frame.xy_array(
            np.array([position.lat for position in positions]), np.array([position.lon for position in positions])
        )
        says = [self._says(position.hint) for position in positions]
        self.hypotheses.update(
            Reports(
                rows=rows,
                x=x,
                y=y,
                at=np.array([position.measured_at for position in positions]),
                heading_deg=np.array([_or_nan(position.bearing_deg) for position in positions]),
                speed_mps=np.array([_or_nan(position.speed_mps) for position in positions]),
                names_trip=np.array([p.hint is not None and p.hint.trip_id is not None for p in positions], bool),
                hint_run=np.array(named, np.int64),
                hint_route=np.array([said[0] for said in says], np.int64),
                hint_direction=np.array([said[1] for said in says], np.int64),
                hint_block=np.array([said[2] for said in says], np.int64),
            )
        )

    def number_of(self, day: int, run: int) -> int:
        return int(self.hypotheses.service.number(np.array([day]), np.array([run]))[0])

    def is_parked(self, row: int, at: float) -> bool:
        """Does a vehicle without a run stand, or is it at a base?"""
        b, bases = self.hypotheses.beliefs, self.hypotheses.bases
        stands_s = at - b.stands_since[row]
        if stands_s >= self.t.base_s:
            bases.learn(float(b.last_x[row]), float(b.last_y[row]))
        return bool(stands_s >= self.t.parked_s or bases.near(b.last_x[row : row + 1], b.last_y[row : row + 1])[0])

    def _says(self, hint: TripHint | None) -> tuple[int, int, int]:
        if hint is None:
            return -1, -1, -1
        route = self.network.route_id.find(hint.route_id) if hint.route_id else None
        block = self.network.block_id.find(hint.block_id) if hint.block_id else None
        direction = hint.direction_id if hint.direction_id is not None else -1
        return -1 if route is None else route, direction, -1 if block is None else block

    def answer(self, row: int, holder: Holder) -> Answer | None:
        """What the vehicle does, as far as its last fix tells; None where no run fits. ``holder``: see joint.py."""
        b = self.hypotheses.beliefs
        place = int(b.alone[row].argmax())
        run = self._run(row, place)
        if run != self._shown.get(row) or holder(run) not in (NOBODY, row):
            chosen = choose(row, self._options, holder, self.t.nothing)
            if chosen is None:
                self._shown.pop(row, None)
                return None
            chosen = self._in_order(row, chosen, holder)
            place, run = chosen.place, chosen.run
        elif b.phase[row, place] == FREE or b.alone[row, place] <= self.t.nothing:
            self._shown.pop(row, None)
            return None
        self._shown[row] = run
        day, number = int(b.day[row, place]), int(b.run[row, place])
        held = self.timetable.days.get(day)
        return Answer(
            day=day,
            run=number if held is None or number < len(held.run_trip) else -1,
            trip=int(b.trip[row, place]),
            start_s=int(b.start_s[row, place]),
            phase=Phase.IN_SERVICE if b.phase[row, place] == SERVICE else Phase.LAYOVER,
            fits=bool(b.misses[row, place] == 0),
            distance_m=float(b.distance_m[row, place]),
            offset_m=float(b.offset_m[row, place]),
            deviation_s=float(b.deviation_s[row, place]),
            probability=float(b.share[row, place]),
        )

    def _in_order(self, row: int, chosen: Option, holder: Holder) -> Option:
        """Buses of a line seldom overtake: what this one does, if it and the bus whose run it exchanges would be in the
        order of their runs then, and are not so now."""
        if not self._is_on_way(row, chosen.place):
            return chosen
        best, most, whose = chosen, 0.0, row
        for option in self._options(row):
            other = holder(option.run)
            if other < 0 or other == row or not self._is_on_way(row, option.place):
                continue
            theirs = self._options(other)
            has = next((held for held in theirs if held.run == option.run), None)
            takes = next((held for held in theirs if held.run == chosen.run), None)
            if has is None or takes is None or not self._crossed((row, chosen.place), (other, has.place)):
                continue
            gain = self.t.overtaking + option.weight + takes.weight - chosen.weight - has.weight
            if gain > most:
                best, most, whose = option, gain, other
        if whose != row:
            self._shown[whose] = chosen.run  # what it is held to from its next fix on
        return best

    def _is_on_way(self, row: int, place: int) -> bool:
        b = self.hypotheses.beliefs
        return bool(b.phase[row, place] == SERVICE and b.misses[row, place] == 0)

    def _crossed(self, mine: tuple[int, int], theirs: tuple[int, int]) -> bool:
        """Is the one of the earlier run behind, on one pattern? (vehicle, place) each."""
        b = self.hypotheses.beliefs
        if not self._is_on_way(*theirs) or b.pattern[mine] != b.pattern[theirs]:
            return False
        starts = [float(b.base_at[at] + self.network.departure_s[b.time_row[at]]) for at in (mine, theirs)]
        ahead_m = float(b.distance_m[mine] - b.distance_m[theirs])
        return (starts[0] - starts[1]) * ahead_m > 0.0 and abs(ahead_m) > self.t.order_m

    def _run(self, row: int, place: int) -> tuple[int, int, int]:
        b = self.hypotheses.beliefs
        return int(b.day[row, place]), int(b.trip[row, place]), int(b.start_s[row, place])

    def _options(self, row: int) -> list[Option]:
        """Asked for again and again: each vehicle's rival asks what it would do instead."""
        shown = self._shown.get(row)
        listed = self._listed.get(row)
        if listed is None or listed[0] != shown:
            self._listed[row] = listed = (shown, self._list(row, shown))
        return listed[1]

    def _list(self, row: int, shown: tuple[int, int, int] | None) -> list[Option]:
        b, out = self.hypotheses.beliefs, []
        if row >= b.held:
            return []
        # near its first stop a bus that stands waits for its departure, which may be another one
        stands = b.last_at[row] - b.stands_since[row] >= self.t.parked_s
        beyond_m = (b.distance_m[row] - self.hypotheses.ends.start_m[b.pattern[row]]).tolist()
        columns = (b.phase[row], b.day[row], b.trip[row], b.start_s[row], b.alone[row])
        for place, (phase, day, trip, start_s, alone) in enumerate(zip(*(column.tolist() for column in columns))):
            if phase != FREE:
                run = (day, trip, start_s)
                stays = phase == SERVICE and run == shown and (not stands or beyond_m[place] > self.t.wait_reach_m)
                out.append(Option(place, run, alone + (self.t.stick if stays else 0.0)))
        out.sort(key=lambda option: -option.weight)
        return out

    # ---- for people --------------------------------------------------------------------------------------------------

    def explain(self, row: int) -> list[dict[str, Any]]:
        """The hypotheses of one vehicle, heaviest first, with the evidence for each in nats."""
        b, h = self.hypotheses.beliefs, self.hypotheses
        if row >= b.held:
            return []
        out = []
        names = {LAYOVER: "layover", SERVICE: "in service", ENDED: "ended"}
        for k in np.argsort(-b.total[row], kind="stable").tolist():
            if b.phase[row, k] == FREE:
                continue
            pattern = int(b.pattern[row, k])
            number = self.number_of(int(b.day[row, k]), int(b.run[row, k]))
            claimed = float(h.claims.of_run[number] - b.claim[row, k]) if number >= 0 else 0.0
            out.append(
                {
                    "trip_id": self.network.trip_id[int(b.trip[row, k])],
                    "route_id": self.network.route_id[int(self.network.pattern_route[pattern])],
                    "direction_id": int(self.network.pattern_direction[pattern]),
                    "day": int(b.day[row, k]),
                    "phase": names[int(b.phase[row, k])],
                    "probability": float(b.share[row, k]),
                    "distance_m": float(b.distance_m[row, k]),
                    "deviation_s": float(b.deviation_s[row, k]),
                    "misses": int(b.misses[row, k]),
                    "weight": float(b.total[row, k]),
                    "evidence": {
                        "place": float(b.path[row, k] + b.waited[row, k]),
                        "timetable now": float(h.punctuality.fit(np.nan_to_num(b.deviation_s[row, k : k + 1]))[0]),
                        "timetable so far": float(b.habit[row, k]),
                        "how it came about": float(b.prior[row, k]),
                    },
                    "claimed_by_others": max(claimed, 0.0) / (1.0 + max(claimed, 0.0)),
                }
            )
        return out

    # ---- snapshot ----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        shown = [[row, *run] for row, run in sorted(self._shown.items())]
        return self.hypotheses.dump() | {"shown": shown}

    def load(self, state: dict[str, Any]) -> None:
        self._listed.clear()
        self._shown = {int(row): (int(day), int(trip), int(start_s)) for row, day, trip, start_s in state["shown"]}
        self.hypotheses.load(state)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
