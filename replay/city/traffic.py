"""Buses that move, and the truth about them: when each one really was at each stop.

The simulation goes from stop to stop, not from second to second: an event drives one bus from a stop to the next one
and serves it there. Events are handled in the order of time, so a bus finds the passengers that the one before it left:
buses that are late meet more of them and fall back further (bunching, Newell and Potts 1964). All chance comes from
`dice` keyed by seed, service date, duty, run and stop: the same plan, seed and scenario give the same day, whatever
the instant at which someone starts to look.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from gtfs.calendar import service_day_start
from replay.city import dice
from replay.city.feed import SHANGHAI
from replay.city.motion import Motion
from replay.city.plan import STOP_BEFORE_CROSSING_M, Path, Stop
from replay.city.roads import Roads, Scenario
from replay.city.streets import to_lat_lon
from replay.city.timetable import DAY_OPENS_S, Duty, Plan, Run, is_timepoint, pace
from replay.city.truth import BusState, Passage

LOG_ON_S = 360
"""before the first departure of the duty; and how long it stays on after the last arrival"""
SIGN_ON_S = 150
"""before a departure the driver enters the trip"""
SEATS_AND_STANDING = 85
LANE_M = 4.0
"""buses keep this far to the right of the middle of the street, which is where the shape runs"""
_SIGNAL_AFTER_STOP_M = STOP_BEFORE_CROSSING_M - 12.0


@dataclass
class _Leg:
    """One stretch of a duty: a run, or the turn at a terminal (no run)."""

    path: Path
    run: Run | None
    motion: Motion
    odometer_m: float
    served: list[float] = field(default_factory=list)
    """departure times of the stops, as far as they are known"""
    dwell: list[tuple[float, float]] = field(default_factory=list)
    load: list[int] = field(default_factory=list)


class _Bus:
    """One duty of one day under way."""

    def __init__(self, duty: Duty, service_date: str, midnight: float, key: int) -> None:
        self.duty, self.service_date, self.midnight, self.key = duty, service_date, midnight, key
        self.driver = 1.0 + 0.05 * dice.gauss(key, 1)
        self.run_no, self.pos, self.load = 0, 0, 0
        self.on_at = midnight + duty.runs[0].departure_s(0) - LOG_ON_S
        self.off_at = math.inf
        self.legs: list[_Leg] = []

    @property
    def run(self) -> Run:
        return self.duty.runs[self.run_no]

    def uniform(self, what: int) -> float:
        return dice.uniform(self.key, (self.run_no * 64 + self.pos) * 64 + what)

    def gauss(self, what: int) -> float:
        return dice.gauss(self.key, (self.run_no * 64 + self.pos) * 64 + what)


class Traffic:
    """The city at ``now``; goes forward only. Ask for any instant up to it, and not older than what `forget` dropped."""

    def __init__(
        self, plan: Plan, seed: int, start: float, timezone: str = SHANGHAI, scenario: Scenario | None = None
    ) -> None:
        self.plan, self.seed, self.timezone = plan, seed, timezone
        self.scenario = scenario or Scenario()
        self.roads = Roads(seed)
        self.now = start
        self._day = self._service_day(start)
        self._events: list[tuple[float, int, _Bus]] = []
        self._on: dict[int, list[_Bus]] = {}
        self._last_bus: dict[tuple[str, int], float] = {}
        self._passages: list[Passage] = []
        self._serial = 0
        self._open_day()
        self.advance(start)
        self.take_passages()

    # ---- time --------------------------------------------------------------------------------------------------------

    def _service_day(self, at: float) -> str:
        local = datetime.fromtimestamp(at, ZoneInfo(self.timezone)) - timedelta(seconds=DAY_OPENS_S)
        return local.strftime("%Y%m%d")

    def _open_day(self) -> None:
        midnight = service_day_start(self._day, self.timezone)
        for duty in self.plan.duties:
            bus = _Bus(duty, self._day, midnight, dice.mix(self.seed, int(self._day), dice.text_key(duty.duty_id)))
            self._on.setdefault(duty.bus, []).append(bus)
            self._push(bus.on_at, bus)
        following = datetime.strptime(self._day, "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1)
        self._day = following.strftime("%Y%m%d")
        self._next_day_at = service_day_start(self._day, self.timezone) + DAY_OPENS_S

    def _push(self, at: float, bus: _Bus) -> None:
        self._serial += 1
        heapq.heappush(self._events, (at, self._serial, bus))

    def advance(self, to: float) -> None:
        """Everything that begins before ``to`` happens."""
        while True:
            while self._events and self._events[0][0] <= min(to, self._next_day_at):
                _, _, bus = heapq.heappop(self._events)
                self._step(bus)
            if to < self._next_day_at:
                break
            self._open_day()
        self.now = max(self.now, to)

    def forget(self, before: float) -> None:
        """Free what is only needed for instants before ``before``."""
        for vehicle, buses in self._on.items():
            self._on[vehicle] = buses = [bus for bus in buses if bus.off_at >= before]
            for bus in buses:
                while len(bus.legs) > 1 and bus.legs[1].motion.t[0] < before:
                    bus.legs.pop(0)
                for leg in bus.legs[:1]:
                    leg.motion.forget(before)

    def take_passages(self) -> list[Passage]:
        """The passages that became known since the last call; departures may lie a little after `now`."""
        taken, self._passages = self._passages, []
        return taken

    # ---- one bus from stop to stop -----------------------------------------------------------------------------------

    def _step(self, bus: _Bus) -> None:
        if not bus.legs or bus.legs[-1].run is not bus.run:
            self._begin_run(bus)
        else:
            self._drive_on(bus)

    def _begin_run(self, bus: _Bus) -> None:
        """At the first stop: wait for the departure, take passengers, leave."""
        run, pattern = bus.run, bus.run.pattern
        arrived, odometer = (bus.on_at, 0.0)
        if bus.legs:
            last = bus.legs[-1]
            arrived, odometer = last.motion.end[0], last.odometer_m + last.path.length_m
        planned = bus.midnight + run.departure_s(0)
        departs = max(planned + self._departure_offset_s(bus), arrived + 20.0)
        leg = _Leg(pattern.path, run, Motion(arrived, pattern.stop_m[0]), odometer)
        bus.legs.append(leg)
        bus.load = 0
        bus.pos = 0
        bus.load += self._boarding(bus, departs)
        leg.motion.hold(departs)
        leg.dwell.append((max(arrived, departs - 45.0), departs))
        leg.served.append(departs)
        leg.load.append(bus.load)
        self._record(bus, min(arrived, departs), departs)
        self._push(departs, bus)

    def _departure_offset_s(self, bus: _Bus) -> float:
        """Late and early starts: most within half a minute, some a few minutes late, a few early."""
        u = bus.uniform(11)
        if u < 0.05:
            offset = 60.0 + 150.0 * bus.uniform(12)
        elif u < 0.08:
            offset = -30.0 - 40.0 * bus.uniform(12)
        else:
            offset = 15.0 + 15.0 * bus.gauss(13)
        return offset + self.scenario.late_s

    def _drive_on(self, bus: _Bus) -> None:
        pattern, leg = bus.run.pattern, bus.legs[-1]
        bus.pos += 1
        pos = bus.pos
        stop = pattern.stops[pos]
        last = pos == len(pattern.stops) - 1
        halts = last or (stop.stop_id not in self.scenario.skipped_stops and self._wanted(bus, leg.motion.end[0]))
        self._drive_link(bus, halts)
        arrival = leg.motion.end[0]
        departure = arrival
        if halts:
            departure = arrival + (20.0 if last else self._dwell_s(bus, arrival))
            leg.motion.hold(departure)
            leg.dwell.append((arrival, departure))
        self._last_bus[pattern.pattern_id, pos] = departure
        leg.served.append(departure)
        leg.load.append(bus.load)
        self._record(bus, arrival, departure)
        if not last:
            self._push(departure, bus)
        elif bus.run_no + 1 < len(bus.duty.runs):
            self._turn(bus, departure)
        else:
            leg.motion.hold(departure + LOG_ON_S)
            bus.off_at = departure + LOG_ON_S

    def _turn(self, bus: _Bus, at: float) -> None:
        """From the last stop of a run over to the first stop of the next one, shortly before it leaves."""
        leg = bus.legs[-1]
        bus.run_no += 1
        bus.pos = 0
        here = leg.path.points[-1]
        there = bus.run.pattern.path.points[0]
        if math.dist(here, there) < 1.0:  # a loop leaves from where it arrived
            self._push(at, bus)
            return
        path = Path((here, there))
        planned = bus.midnight + bus.run.departure_s(0)
        motion = Motion(at, 0.0)
        motion.hold(max(at + 30.0, planned - SIGN_ON_S - 60.0 * bus.uniform(14)))
        motion.drive(path.length_m, 4.0, halt=True)
        bus.legs.append(_Leg(path, None, motion, leg.odometer_m + leg.path.length_m))
        self._push(motion.end[0], bus)

    def _drive_link(self, bus: _Bus, halts: bool) -> None:
        """Over all signals and bends up to the next stop."""
        pattern, leg, pos = bus.run.pattern, bus.legs[-1], bus.pos
        goal = pattern.stop_m[pos]
        links = pattern.links_to(pos)
        share = (goal - leg.motion.end[1]) / len(links)
        for i, (a, b) in enumerate(links):
            final = i == len(links) - 1
            if i == 0:
                self._pass_signal(bus, a)
            t, s, _ = leg.motion.end
            speed = self.roads.speed_mps(a, b, t, bus.midnight) * bus.driver
            speed *= math.exp(0.07 * bus.gauss(30 + i))
            speed /= self.scenario.speed_factor(bus.duty.line.line_id, t)
            leg.motion.drive(goal if final else s + share * 0.98, max(speed, 1.2), halt=halts and final)

    def _pass_signal(self, bus: _Bus, node: str) -> None:
        """The stop is just before its crossing: halt at the line if the signal is red when the bus gets there."""
        pattern, leg = bus.run.pattern, bus.legs[-1]
        before = pattern.node_before(bus.pos)
        signal = self.roads.link(before, node).signal if before is not None else None
        t, s, v = leg.motion.end
        line_s = pattern.stop_m[bus.pos - 1] + _SIGNAL_AFTER_STOP_M
        if signal is None or line_s <= s:
            return
        wait = signal.wait_s(t + 2 * (line_s - s) / max(v + 7.0, 7.0))
        leg.motion.drive(line_s, max(v, 7.0), halt=wait > 0)
        if wait > 0:
            at = leg.motion.end[0]
            leg.motion.hold(at + signal.wait_s(at) + 1.5 + 3.0 * bus.uniform(15))

    # ---- passengers --------------------------------------------------------------------------------------------------

    def _headway_s(self, bus: _Bus, at: float) -> float:
        last = self._last_bus.get((bus.run.pattern.pattern_id, bus.pos))
        return 720.0 if last is None else min(max(at - last, 20.0), 1800.0)

    def _rate(self, bus: _Bus, stop: Stop, at: float) -> float:
        """Passengers a second who want this line here."""
        popular = 0.0015 + 0.009 * stop.popularity**2
        left = 1.0 - bus.pos / len(bus.run.pattern.stops)
        return popular * max(pace(at - bus.midnight) - 0.55, 0.1) * (0.35 + left)

    def _poisson(self, bus: _Bus, mean: float, what: int) -> int:
        """By the normal approximation above 12, else by inversion."""
        if mean > 12.0:
            return max(round(mean + math.sqrt(mean) * bus.gauss(what)), 0)
        u, n = bus.uniform(what), 0
        p = total = math.exp(-mean)
        while u > total and n < 60:
            n += 1
            p *= mean / n
            total += p
        return n

    def _boarding(self, bus: _Bus, at: float) -> int:
        stop = bus.run.pattern.stops[bus.pos]
        waiting = self._poisson(bus, self._rate(bus, stop, at) * self._headway_s(bus, at), 21)
        return min(waiting, SEATS_AND_STANDING - bus.load)

    def _alighting(self, bus: _Bus) -> int:
        left = len(bus.run.pattern.stops) - bus.pos
        return min(self._poisson(bus, 1.35 * bus.load / (left + 1), 22), bus.load)

    def _wanted(self, bus: _Bus, leaves_at: float) -> bool:
        return self._boarding(bus, leaves_at + 90.0) + self._alighting(bus) > 0 or is_timepoint(
            bus.run.pattern, bus.pos
        )

    def _dwell_s(self, bus: _Bus, at: float) -> float:
        """Doors, the slower of the two passenger streams, a tail of trouble; at timepoints an early bus waits."""
        off = self._alighting(bus)
        bus.load -= off
        on = self._boarding(bus, at)
        bus.load += on
        crowded = 1.0 + 0.5 * max(bus.load / SEATS_AND_STANDING - 0.6, 0.0)
        dwell = 6.0 + max(1.7 * on * crowded, 1.1 * off) + 3.0 * abs(bus.gauss(23))
        if bus.uniform(24) < 0.01:
            dwell += 20.0 + 60.0 * bus.uniform(25)
        run = bus.run
        if is_timepoint(run.pattern, bus.pos) and run.start_s is None:
            early = bus.midnight + run.departure_s(bus.pos) + self.scenario.late_s - (at + dwell) - 45.0
            dwell += min(max(early, 0.0), 90.0)
        return min(dwell, 160.0)

    def _record(self, bus: _Bus, arrival: float, departure: float) -> None:
        run, pos = bus.run, bus.pos
        self._passages.append(
            Passage(
                vehicle=bus.duty.bus,
                trip_id=run.trip.trip_id,
                service_date=bus.service_date,
                start_s=run.start_s,
                stop_sequence=pos + 1,
                stop_id=run.pattern.stops[pos].stop_id,
                scheduled_at=bus.midnight + run.arrival_s(pos),
                arrival_at=arrival,
                departure_at=departure,
                is_first=pos == 0,
                is_last=pos == len(run.pattern.stops) - 1,
            )
        )

    # ---- where they are ----------------------------------------------------------------------------------------------

    def state(self, vehicle: int, at: float) -> BusState | None:
        """The bus at an instant <= `now`; None while it is parked."""
        for bus in self._on.get(vehicle, ()):
            if bus.legs and bus.on_at <= at < bus.off_at:
                return self._state(bus, at)
        return None

    def out(self, at: float) -> set[int]:
        """Rows of the buses that are logged on."""
        return {
            vehicle
            for vehicle, buses in self._on.items()
            if any(bus.legs and bus.on_at <= at < bus.off_at for bus in buses)
        }

    def states(self, at: float) -> Iterator[BusState]:
        """All buses that are out, by row."""
        for vehicle in range(self.plan.buses):
            found = self.state(vehicle, at)
            if found is not None:
                yield found

    def _state(self, bus: _Bus, at: float) -> BusState:
        leg = next((leg for leg in reversed(bus.legs) if leg.motion.t[0] <= at), bus.legs[0])
        s, v = leg.motion.at(at)
        point, bearing = leg.path.locate(s)
        lat, lon = _right_lane(point, bearing)
        run, position, in_service = leg.run, 0, False
        load = 0
        if leg.run is not None:
            position = bisect_right(leg.served, at)
            planned = bus.midnight + leg.run.departure_s(0)
            in_service = position > 0 or at >= planned - 60.0
            load = leg.load[max(position - 1, 0)]
            if position == len(leg.run.pattern.stops):
                run, in_service = None, False
            elif position == 0 and at < planned - SIGN_ON_S:
                run = None
        return BusState(
            vehicle=bus.duty.bus,
            lat=lat,
            lon=lon,
            bearing_deg=bearing,
            speed_mps=v,
            run=run,
            service_date=bus.service_date,
            distance_m=s if run is not None else None,
            next_pos=position if run is not None else None,
            in_service=in_service,
            doors_open=any(arrival + 2.0 <= at < departure - 2.0 for arrival, departure in leg.dwell[-2:]),
            load=load,
            odometer_m=leg.odometer_m + s,
        )


def _right_lane(point: tuple[float, float], bearing: float) -> tuple[float, float]:
    angle = math.radians(bearing + 90.0)
    return to_lat_lon((point[0] + LANE_M * math.sin(angle), point[1] + LANE_M * math.cos(angle)))
