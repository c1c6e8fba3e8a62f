"""Stop visits as the learned state takes them, from the tables of the present."""

from __future__ import annotations

import numpy as np

from busd.days import ordinal_of
from busd.parameters import Parameters
from busd.predict.journeys import Journeys
from busd.predict.learning import Learned, Seen
from busd.track.fleet import Runs, Vehicles
from busd.types import StopVisit
from gtfs.network import F64, I64, Bool, Network


class VisitReader:
    def __init__(
        self,
        network: Network,
        vehicles: Vehicles,
        runs: Runs,
        journeys: Journeys,
        learned: Learned,
        parameters: Parameters,
    ) -> None:
        self.network, self.vehicles, self.runs = network, vehicles, runs
        self.journeys, self.learned = journeys, learned
        self.links, self.terminals = parameters.links, parameters.terminals
        self.wait_reach_m = parameters.tracking.wait_reach_m

    def run_ids(self, slots: I64) -> F64:
        """A number for the run in each slot, exact in a float; tells the uses of a slot apart."""
        runs = self.runs
        return np.asarray(
            (runs.trip[slots] * 100_000.0 + runs.start_s[slots] + 1) * 64.0 + runs.day[slots] % 64, np.float64
        )

    def not_begun(self, rows: I64, slots: I64, at: float) -> Bool:
        """Do the vehicles still wait to begin their runs? They have not been seen on them, and are around their first
        stops, nearer than to the last ones; [n]. Not once the timetable has ended the run: a loop ends where it begins."""
        network, runs = self.network, self.runs
        first = network.pattern_stop_offset[runs.pattern[slots]]
        ends = network.pattern_stop[np.stack([first, first + runs.stops[slots] - 1])]
        x, y = network.frame.xy_array(self.vehicles.lat[rows], self.vehicles.lon[rows])
        away, to_go = np.hypot(network.stop_x[ends] - x, network.stop_y[ends] - y)
        ends_at = runs.base_at[slots] + network.arrival_s[runs.time_row[slots] + runs.stops[slots] - 1]
        unseen = np.isnan(runs.departed_at[slots, 0]) & np.isnan(runs.arrived_at[slots]).all(axis=1)
        return np.asarray(unseen & (away <= np.minimum(self.wait_reach_m, to_go)) & (at <= ends_at), bool)

    def learn(self, visits: list[StopVisit], at: float) -> tuple[I64, F64, Seen] | None:
        """Learn from the visits of a tick. Returns their (slots, run ids, as seen), None if no run of theirs is known
        any more."""
        slots: list[int] = []
        vehicles: list[int] = []
        read: list[tuple[float, float, float]] = []
        for visit in visits:
            trip = visit.trip
            key = (ordinal_of(trip.service_date), trip.trip_idx, -1 if trip.start_s is None else trip.start_s)
            held = self.runs.slot_of.get(key)
            vehicle = self.vehicles.find(visit.vehicle_id)
            time = visit.arrival_at if visit.arrival_at is not None else visit.departure_at
            if held is None or vehicle is None or time is None:
                continue
            slots.append(held)
            vehicles.append(vehicle)
            read.append((float(visit.stop_pos), time, visit.bracket_s))
        if not slots:
            return None
        slot, row, numbers = np.array(slots), np.array(vehicles), np.array(read)
        seen = self._seen(row, slot, numbers[:, 0].astype(np.int64), numbers[:, 1], numbers[:, 2])
        self._learn_habits(row, seen)
        k, excess, expected = self.learned.observe(seen, at)
        self._learn_journeys(row, slot, seen, k, excess, expected, at)
        last = seen.stop_pos == self.runs.stops[slot] - 1
        self.journeys.ended_at[row[last]] = seen.at[last]
        return slot, self.run_ids(slot), seen

    def _seen(self, row: I64, slot: I64, pos: I64, time: F64, bracket_s: F64) -> Seen:
        runs = self.runs
        before = np.maximum(pos - 1, 0)
        left = np.where(before == 0, runs.departed_at[slot, before], runs.arrived_at[slot, before])
        return Seen(
            pattern=runs.pattern[slot],
            stop_pos=pos,
            time_row=runs.time_row[slot] + pos,
            base_at=runs.base_at[slot],
            day=runs.day[slot],
            at=time,
            before_at=np.where(pos > 0, left, self.journeys.ended_at[row]),
            bracket_s=bracket_s,
            habit_s=np.where(pos == 0, self.journeys.habit_s(row, time, self.terminals.habit_s), 0.0),
        )

    def _learn_habits(self, row: I64, seen: Seen) -> None:
        """How late the buses left their first stops, before that becomes usual."""
        first = np.flatnonzero((seen.stop_pos == 0) & (seen.bracket_s <= self.links.max_bracket_s))
        if not len(first):
            return
        due = seen.base_at[first] + self.network.departure_s[seen.time_row[first]]
        late = self.learned.departures.lateness(seen.pattern[first], due, seen.before_at[first], seen.at[first])
        timely = np.isfinite(late)
        known = first[timely]
        self.journeys.left_late_s[row[known]] = late[timely]
        self.journeys.left_at[row[known]] = seen.at[known]

    def _learn_journeys(self, row: I64, slot: I64, seen: Seen, k: I64, excess: F64, expected: F64, at: float) -> None:
        """The pace of the buses, and what was left of their links."""
        j, p = self.journeys, self.links
        if len(k):
            said = j.pace(row[k], p.pace_prior_s)
            self.learned.pace_gate.learn(said * expected, excess, at)
            for vehicle, more, of in zip(row[k].tolist(), excess.tolist(), expected.tolist()):
                j.excess_s[vehicle] = p.pace_keep * j.excess_s[vehicle] + more
                j.expected_s[vehicle] = p.pace_keep * j.expected_s[vehicle] + of
        hit = (j.sample_pos[row] == seen.stop_pos) & (j.slot[row] == slot)
        hit &= (seen.stop_pos > 0) & (seen.bracket_s <= p.max_bracket_s)
        if hit.any():
            cells, said, came = j.take_places(row[hit], seen.at[hit])
            self.learned.places.learn(cells, said, came)
