"""What the buses' receivers see of the truth, and when they report it.

Noise: an error of some metres that wanders over half a minute (multipath and satellite geometry change slowly, so
neighbouring fixes are wrong alike), now and then a stray fix, and short stretches without any, as under a bridge deck.
Fixes are taken on whole seconds, because that is what the clock of JT/T 808 can say; each bus has its own interval.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

from busd.types import TripHint, VehiclePosition
from replay.city import dice
from replay.city.streets import to_lat_lon, to_xy
from replay.city.traffic import Traffic
from replay.city.truth import BusState

ERROR_M = 3.6
"""standard deviation on each axis: 5 m together"""
ERROR_PERIOD_S = 30.0
STRAY_SHARE = 0.001
BLIND_SHARE = 0.004
"""share of one-minute windows with half a minute without a fix"""
SOURCE = "city"


def plate(vehicle: int) -> str:
    """Number plate of a bus by its row in the fleet; also its vehicle id."""
    return f"甘A-{801 + vehicle:04d}"


def phone(vehicle: int) -> str:
    """Number of the SIM card in its terminal."""
    return f"1380931{vehicle:04d}"


@dataclass(frozen=True)
class Report:
    """One fix as the terminal sends it, with the truth it was made from."""

    vehicle: int
    measured_at: float
    lat: float
    lon: float
    speed_mps: float
    bearing_deg: float
    positioned: bool
    """False without satellites: the place is that of the last fix"""
    truth: BusState

    @property
    def hint(self) -> TripHint | None:
        """The trip the driver has entered."""
        run = self.truth.run
        if run is None:
            return None
        return TripHint(trip_id=run.trip.trip_id, service_date=self.truth.service_date, start_s=run.start_s)

    def to_position(self) -> VehiclePosition:
        return VehiclePosition(
            source=SOURCE,
            vehicle_id=plate(self.vehicle),
            lat=self.lat,
            lon=self.lon,
            measured_at=self.measured_at,
            received_at=self.measured_at,
            bearing_deg=self.bearing_deg,
            speed_mps=self.speed_mps,
            odometer_m=math.floor(self.truth.odometer_m / 100.0) * 100.0,
            door_open=self.truth.doors_open,
            ignition=True,
            hint=self.hint,
        )


class Receivers:
    """All receivers of the fleet. ``interval_s`` None: every bus its own, 5 to 10 s."""

    def __init__(self, traffic: Traffic, seed: int, start: float, interval_s: int | None = None) -> None:
        self.traffic = traffic
        self._keys = [dice.mix(seed, 808, vehicle) for vehicle in range(traffic.plan.buses)]
        self._interval_s = [interval_s or 5 + int(6 * dice.uniform(key, 1)) for key in self._keys]
        self._delay_s = [0.02 + 0.9 * dice.uniform(key, 2) for key in self._keys]
        self._last: dict[int, tuple[float, float, float]] = {}
        self._due: list[tuple[float, int, int]] = []
        for vehicle, every in enumerate(self._interval_s):
            first = math.ceil(start) + int(every * dice.uniform(self._keys[vehicle], 3))
            self._due.append((first + self._delay_s[vehicle], vehicle, first))
        heapq.heapify(self._due)

    def due(self, now: float) -> Iterator[Report]:
        """Reports that leave the buses up to ``now``, in that order; each some tenths of a second after its fix."""
        self.traffic.advance(now)
        silent = self.traffic.scenario.silent_buses
        while self._due and self._due[0][0] <= now:
            _, vehicle, measured_at = self._due[0]
            following = measured_at + self._interval_s[vehicle]
            heapq.heapreplace(self._due, (following + self._delay_s[vehicle], vehicle, following))
            state = None if vehicle in silent else self.traffic.state(vehicle, measured_at)
            if state is not None:
                yield self._observe(state, float(measured_at))

    def _observe(self, state: BusState, at: float) -> Report:
        key = self._keys[state.vehicle]
        window = int(at // 60)
        blind = dice.uniform(key, 4, window) < BLIND_SHARE and at % 60 < 30.0
        last = self._last.get(state.vehicle)
        if blind and last is not None:
            lat, lon, bearing = last
            return Report(state.vehicle, at, lat, lon, 0.0, bearing, False, state)
        east, north = to_xy(state.lat, state.lon)
        east += ERROR_M * dice.wander(dice.mix(key, 5), at, ERROR_PERIOD_S)
        north += ERROR_M * dice.wander(dice.mix(key, 6), at, ERROR_PERIOD_S)
        if dice.uniform(key, 7, int(at)) < STRAY_SHARE:
            away, angle = 40.0 + 120.0 * dice.uniform(key, 8, int(at)), math.tau * dice.uniform(key, 9, int(at))
            east, north = east + away * math.cos(angle), north + away * math.sin(angle)
        lat, lon = (round(value, 6) for value in to_lat_lon((east, north)))
        moving = state.speed_mps > 0.5
        bearing = state.bearing_deg + 4.0 * dice.gauss(key, 10, int(at))
        if not moving and last is not None:
            bearing = last[2]  # a receiver that stands keeps its last course
        speed = max(state.speed_mps + 0.3 * dice.gauss(key, 11, int(at)), 0.0) if moving else 0.0
        bearing = round(bearing) % 360.0
        self._last[state.vehicle] = (lat, lon, bearing)
        return Report(state.vehicle, at, lat, lon, round(speed, 2), bearing, True, state)
