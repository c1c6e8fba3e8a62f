"""Which run a vehicle performs, from what its source says (the trip hint)."""

from __future__ import annotations

import datetime as dt

from busd.days import DAY_S, ServiceDay, Timetable, ordinal_of, service_date_of
from busd.track.fleet import Runs, Vehicles
from busd.tracking_parameters import Assigning
from busd.types import TripHint
from gtfs.calendar import service_day_start
from gtfs.network import Network


class Assigner:
    """Turns hints into slots of `Runs`; answers are cached per (trip, start), since a bus repeats its hint all trip."""

    def __init__(self, network: Network, timetable: Timetable, runs: Runs, p: Assigning) -> None:
        self.network, self.timetable, self.runs, self.p = network, timetable, runs, p

    def slot_for(self, hint: TripHint, at: float, current: int) -> int | None:
        """The slot of the run that ``hint`` means at ``at``; ``current`` (slot or -1) is kept if it fits.

        None if the network does not know the trip, or no service day brings it near ``at``."""
        if hint.trip_id is None:
            return None
        trip = self.network.find_trip(hint.trip_id)
        if trip is None:
            return None
        if current >= 0 and self._still_means(current, trip, hint, at):
            return current
        found = self._nearest_run(trip, hint, at)
        return None if found is None else self.slot_of(found[0], trip, found[2], found[1])

    def run_for(self, hint: TripHint, at: float) -> tuple[int, int] | None:
        """(service day, run of the day) that ``hint`` means; None where the calendar does not have it."""
        trip = self.network.find_trip(hint.trip_id) if hint.trip_id is not None else None
        found = self._nearest_run(trip, hint, at) if trip is not None else None
        return None if found is None or found[1] < 0 else (found[0], found[1])

    def may_mean(self, hint: TripHint, at: float) -> bool:
        """Does any service day bring the named trip near ``at``?"""
        trip = self.network.find_trip(hint.trip_id) if hint.trip_id is not None else None
        return trip is not None and self._nearest_run(trip, hint, at) is not None

    def slot_of(self, day: int, trip: int, start_s: int, run: int) -> int:
        """The slot of a run, opened if need be."""
        key = (day, trip, start_s)
        slot = self.runs.slot_of.get(key)
        return slot if slot is not None else self._open(key, run)

    def open_next(self, slot: int) -> int | None:
        """The slot of the run that the block does after ``slot``, opened if need be."""
        day = self.timetable.days.get(int(self.runs.day[slot]))
        run = int(self.runs.run[slot])
        if day is None or run < 0 or (after := int(day.run_next[run])) < 0:
            return None
        key = (day.ordinal, int(day.run_trip[after]), int(day.run_start_s[after]))
        known = self.runs.slot_of.get(key)
        return known if known is not None else self._open(key, after)

    def service_date(self, slot: int) -> str:
        """YYYYMMDD of a slot's service day."""
        ordinal = int(self.runs.day[slot])
        day = self.timetable.days.get(ordinal)
        return day.service_date if day is not None else service_date_of(ordinal)

    def _still_means(self, slot: int, trip: int, hint: TripHint, at: float) -> bool:
        runs = self.runs
        if runs.trip[slot] != trip or (hint.start_s is not None and runs.start_s[slot] not in (-1, hint.start_s)):
            return False
        ends = runs.base_at[slot] + self.network.arrival_s[runs.time_row[slot] + runs.stops[slot] - 1]
        return bool(at <= ends + self.p.late_s)

    def _nearest_run(self, trip: int, hint: TripHint, at: float) -> tuple[int, int, int] | None:
        """(day ordinal, run, start_s) whose timetable lies nearest to ``at``; a day's calendar is preferred, but a trip
        that a source insists on is believed on a day its calendar does not have (run -1)."""
        if hint.service_date is not None:
            ordinals = [ordinal_of(hint.service_date)]
        else:
            today = dt.date(1970, 1, 1).toordinal() + int(at // DAY_S)
            ordinals = list(range(today - 2, today + 2))
        best: tuple[float, int, int, int] | None = None
        for ordinal in ordinals:
            day = self.timetable.days.get(ordinal)
            for run, start_s, starts_at, ends_at in self._runs_of(trip, ordinal, day):
                if not starts_at - self.p.early_s <= at <= ends_at + self.p.late_s:
                    continue
                outside = max(starts_at - at, at - ends_at, 0.0)
                if hint.start_s is not None and start_s not in (-1, hint.start_s):
                    continue
                cost = outside + (0.0 if run >= 0 else DAY_S)
                if best is None or cost < best[0]:
                    best = (cost, ordinal, run, start_s)
        return best[1:] if best else None

    def _runs_of(self, trip: int, ordinal: int, day: ServiceDay | None) -> list[tuple[int, int, float, float]]:
        network = self.network
        first, last = int(network.trip_time_offset[trip]), int(network.trip_time_offset[trip + 1]) - 1
        length = float(network.arrival_s[last] - network.departure_s[first])
        if day is not None and (runs := day.trip_run.get(trip)):
            out = []
            for run in runs:
                starts = day.start_at + float(network.departure_s[first]) + float(day.run_shift_s[run])
                out.append((run, int(day.run_start_s[run]), starts, starts + length))
            return out
        starts = service_day_start(ordinal, network.timezone) + float(network.departure_s[first])
        return [(-1, -1, starts, starts + length)]

    def _open(self, key: tuple[int, int, int], run: int) -> int:
        ordinal, trip, start_s = key
        network, runs = self.network, self.runs
        slot = runs.take(key)
        first = int(network.trip_time_offset[trip])
        shift = 0.0 if start_s < 0 else start_s - float(network.departure_s[first])
        runs.run[slot], runs.pattern[slot], runs.time_row[slot] = run, network.trip_pattern[trip], first
        runs.stops[slot] = network.trip_time_offset[trip + 1] - first
        runs.base_at[slot] = service_day_start(ordinal, network.timezone) + shift
        return slot


def may_take(runs: Runs, vehicles: Vehicles, slot: int, measured_at: float, row: int, p: Assigning) -> bool:
    """One run, one bus: a run stays with its bus while that bus reports from it. A later claimant waits."""
    holder = int(runs.vehicle[slot])
    if holder < 0 or holder == row or vehicles.slot[holder] != slot:
        return True
    return bool(measured_at - vehicles.matched_at[holder] > p.hold_s)
