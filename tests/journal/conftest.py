"""Inputs like those of a live line."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from busd.types import AnyInput, PositionReceived, Tick, TripHint, VehiclePosition

START_AT = 1_795_000_000.0


def _traffic(count: int, vehicles: int = 50, interval_s: float = 10.0) -> list[AnyInput]:
    """``count`` positions of buses that drive, stop and turn, with the ticks between them; always the same ones."""
    noise = 12345

    def dice(limit: int) -> int:
        nonlocal noise
        noise = (noise * 6364136223846793005 + 1442695040888963407) % 2**64
        return (noise >> 33) % limit

    lat = [36_030_000 + dice(100_000) for _ in range(vehicles)]
    lon = [103_600_000 + dice(400_000) for _ in range(vehicles)]
    course = [dice(360) for _ in range(vehicles)]
    odometer = [dice(3_000_000) for _ in range(vehicles)]
    inputs: list[AnyInput] = []
    tick = 0
    for i in range(count):
        v = i % vehicles
        at = START_AT + i * interval_s / vehicles + dice(1000) / 1_234_567
        while START_AT + tick / 10 < at:
            inputs.append(Tick(at=(START_AT * 10 + tick) / 10))
            tick += 1
        step = 0 if dice(5) == 0 else dice(120)
        course[v] = (course[v] + dice(31) - 15) % 360
        lat[v] += round(step * 9 * math.cos(math.radians(course[v])))
        lon[v] += round(step * 11 * math.sin(math.radians(course[v])))
        odometer[v] += step
        position = VehiclePosition(
            source="jt808",
            vehicle_id=str(1000 + v),
            lat=lat[v] / 1e6,
            lon=lon[v] / 1e6,
            measured_at=float(math.floor(at - 1.3)),
            received_at=at,
            bearing_deg=float(course[v]),
            speed_mps=step * 36 / 36.0,
            odometer_m=odometer[v] * 100.0,
            door_open=step == 0,
            label=f"甘A{v:05}",
            hint=TripHint(trip_id=f"T{v}", service_date="20261118") if v % 7 == 0 else None,
        )
        inputs.append(PositionReceived(at=at, position=position, historical=v % 11 == 0))
    return inputs


@pytest.fixture(scope="session")
def traffic() -> Callable[..., list[AnyInput]]:
    return _traffic
