"""What a dispatcher wants to be told of a vehicle beside where it is: late, standing, waiting too long, done.

All vehicles of a tick are looked at together; a bit a vehicle remembers what has been told, so that each state is told
once, when it begins."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from zoneinfo import ZoneInfo

import numpy as np

from busd.days import Timetable
from busd.parameters import Parameters
from busd.track.events import Event
from busd.track.fleet import LIVE, Runs, Vehicles
from busd.types import Output, VehicleEvent
from gtfs.network import I64, Bool, Network

PREDICTABLE, STANDING, DELAYED, WAITING, DONE, SILENT = 1, 2, 4, 8, 16, 32
"""bits of `Vehicles.told`"""

Reason = Callable[[int], str]


class Watcher:
    """Tells the events that follow from a vehicle's place and time alone."""

    def __init__(
        self, network: Network, timetable: Timetable, vehicles: Vehicles, runs: Runs, parameters: Parameters
    ) -> None:
        self.network, self.timetable, self.vehicles, self.runs = network, timetable, vehicles, runs
        self.p, self.zone = parameters.watching, ZoneInfo(network.timezone)
        self.start_zone_m = parameters.visits.depart_zone_m

    def look(self, moved: set[int], at: float, outputs: list[Output]) -> None:
        """After the fixes of a tick: ``moved`` are the rows of their vehicles."""
        if not moved:
            return
        v, runs, p = self.vehicles, self.runs, self.p
        rows = np.array(sorted(moved), np.int64)
        slot, distance, now = v.slot[rows], v.distance_m[rows], v.measured_at[rows]
        on = (slot >= 0) & np.isfinite(distance) & (v.liveness[rows] == LIVE)
        came_on = ~(np.abs(distance - v.progress_m[rows]) <= p.no_progress_m)
        fresh = rows[came_on]
        v.progress_m[fresh], v.progress_at[fresh] = distance[came_on], now[came_on]
        ahead, stops = v.next_pos[rows], runs.stops[slot]
        first, last = ahead == 0, ahead >= stops
        late = v.deviation_s[rows]
        told = v.told[rows]

        starts_at = runs.base_at[slot] + self.network.departure_s[runs.time_row[slot]]
        stands = now - v.progress_at[rows] >= p.no_progress_s
        stands &= on & ~first & ~last & (late > 0) & (v.off_route[rows] == 0)
        slow = on & ~first & ~last & (late >= np.where(told & DELAYED, p.recovered_s, p.delayed_s))
        # away from its run a bus is as late as it was
        slow |= ~(on & ~first & ~last) & ((told & DELAYED) > 0)
        waits = on & first & (now - starts_at >= p.not_leaving_s)
        tell = self._tell
        tell(rows, told, on, PREDICTABLE, Event.PREDICTABLE, self._predicted, at, outputs)
        tell(rows, told, stands, STANDING, Event.NO_PROGRESS, self._stands, at, outputs)
        tell(rows, told, slow, DELAYED, Event.DELAYED, self._late, at, outputs, Event.RECOVERED)
        tell(rows, told, waits, WAITING, Event.NOT_LEAVING, self._waits, at, outputs)
        done = on & last
        if done.any():
            done &= np.array([self._ends_block(int(s)) for s in slot])
        tell(rows, told, done, DONE, Event.END_OF_BLOCK, self._done, at, outputs)

    def departed(self, row: int, slot: int, departed_at: float, at: float, outputs: list[Output]) -> None:
        """A bus was seen to leave its first stop."""
        planned = self._starts_at(slot)
        late = departed_at - planned
        if self._is_headway(slot) or -self.p.left_early_s < late < self.p.left_late_s:
            return
        kind = Event.LEFT_EARLY if late < 0 else Event.LEFT_LATE
        reason = f"{_minutes(abs(late))} {'before' if late < 0 else 'after'} {self._clock(planned)}"
        self.tell(row, kind, reason, at, outputs)

    def went_off(self, row: int, at: float, outputs: list[Output]) -> None:
        """A bus has left its route."""
        vehicles = self.vehicles
        vehicles.off_route[row] = 1
        where = f"at {vehicles.distance_m[row] / 1000:.1f} km of {self.words(int(vehicles.slot[row]))}"
        self.tell(row, Event.OFF_ROUTE, f"left its route {where}", at, outputs)

    def tell(self, row: int, kind: Event, reason: str, at: float, outputs: list[Output]) -> None:
        """One event of one vehicle."""
        self.vehicles.log.tell(row, VehicleEvent(at, self.vehicles.ids[row], kind, reason), outputs)

    def _tell(
        self,
        rows: I64,
        told: I64,
        holds: Bool,
        bit: int,
        kind: Event,
        reason: Reason,
        at: float,
        outputs: list[Output],
        over: Event | None = None,
    ) -> None:
        """Event for the vehicles whose state has begun; ``over`` for those whose has ended."""
        changed = holds != ((told & bit) > 0)
        for row in rows[changed].tolist():
            began = not self.vehicles.told[row] & bit
            if began and bit in (DELAYED, WAITING) and self._is_headway(int(self.vehicles.slot[row])):
                continue  # nominal times: nobody is late by them
            self.vehicles.told[row] ^= bit
            if began:
                self.tell(row, kind, reason(row), at, outputs)
            elif over is not None:
                self.tell(row, over, reason(row), at, outputs)

    # ---- reasons -----------------------------------------------------------------------------------------------------

    def _predicted(self, row: int) -> str:
        return f"on {self.words(int(self.vehicles.slot[row]))}"

    def _stands(self, row: int) -> str:
        vehicles = self.vehicles
        since = vehicles.measured_at[row] - vehicles.progress_at[row]
        return f"at {vehicles.distance_m[row] / 1000:.1f} km of {self.words(int(vehicles.slot[row]))} for {_minutes(since)}"

    def _late(self, row: int) -> str:
        return f"{_minutes(float(self.vehicles.deviation_s[row]))} late on {self.words(int(self.vehicles.slot[row]))}"

    def _waits(self, row: int) -> str:
        slot = int(self.vehicles.slot[row])
        return f"at its first stop, was to leave at {self._clock(self._starts_at(slot))}"

    def _done(self, row: int) -> str:
        return f"{self.words(int(self.vehicles.slot[row]))} is over, nothing follows"

    def words(self, slot: int) -> str:
        """A run in words: line, destination, departure, trip."""
        network, trip = self.network, int(self.runs.trip[slot])
        route = int(network.pattern_route[int(self.runs.pattern[slot])])
        line = network.route_short_name[route] or network.route_id[route]
        return f"line {line}, {self._clock(self._starts_at(slot))}, trip {network.trip_id[trip]}"

    # ---- runs --------------------------------------------------------------------------------------------------------

    def _starts_at(self, slot: int) -> float:
        return float(self.runs.base_at[slot] + self.network.departure_s[self.runs.time_row[slot]])

    def _is_headway(self, slot: int) -> bool:
        day, run = self.timetable.days.get(int(self.runs.day[slot])), int(self.runs.run[slot])
        return slot >= 0 and day is not None and run >= 0 and bool(day.run_headway[run])

    def _ends_block(self, slot: int) -> bool:
        day, run = self.timetable.days.get(int(self.runs.day[slot])), int(self.runs.run[slot])
        return slot < 0 or day is None or run < 0 or int(day.run_next[run]) < 0

    def _clock(self, at: float) -> str:
        return dt.datetime.fromtimestamp(at, self.zone).strftime("%H:%M")


def _minutes(seconds: float) -> str:
    minutes = math.floor(seconds / 60 + 0.5)
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
