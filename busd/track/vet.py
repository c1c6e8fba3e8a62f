"""Is a report usable at all? One named policy each; the first that objects gives the reason.

Each policy compares with the last ACCEPTED report, so every one that could shut out a vehicle for good has an escape:
a jump that repeats itself consistently is believed, and so is anything after a long silence.
"""

from __future__ import annotations

import math

from busd.errors import Reason
from busd.track.fleet import Vehicles
from busd.tracking_parameters import Vetting, Watching
from busd.types import VehiclePosition

DEGREE_M = math.pi / 180 * 6_371_008.8


def vet_alone(position: VehiclePosition, at: float, p: Vetting, *, historical: bool = False) -> Reason | None:
    """What can be said without knowing the vehicle. ``at``: when the report came in."""
    lat, lon, measured_at = position.lat, position.lon, position.measured_at
    if not (math.isfinite(lat) and math.isfinite(lon) and math.isfinite(measured_at)):
        return Reason.NOT_A_NUMBER
    if abs(lat) > 90 or abs(lon) > 180:
        return Reason.OUT_OF_RANGE
    if abs(lat) < 1e-3 and abs(lon) < 1e-3:
        return Reason.ZERO_ISLAND
    if measured_at > at + p.future_s:
        return Reason.FUTURE
    if measured_at < at - p.stale_s and not historical:
        return Reason.STALE
    return None


def vet_against_last(position: VehiclePosition, vehicles: Vehicles, row: int, p: Vetting) -> Reason | None:
    """What the vehicle's last report says about this one; keeps the memory that the escapes need."""
    last_at = float(vehicles.measured_at[row])
    if last_at == -math.inf:
        return None
    same_place = position.lat == vehicles.lat[row] and position.lon == vehicles.lon[row]
    if position.measured_at <= last_at:
        return Reason.DUPLICATE if position.measured_at == last_at and same_place else Reason.OUT_OF_ORDER
    if reason := _jump(position, vehicles, row, p):
        return reason
    return _frozen(position, vehicles, row, p, same_place)


def _jump(position: VehiclePosition, vehicles: Vehicles, row: int, p: Vetting) -> Reason | None:
    elapsed = position.measured_at - float(vehicles.measured_at[row])
    if elapsed > p.jump_memory_s or _reachable(
        position, float(vehicles.lat[row]), float(vehicles.lon[row]), elapsed, p
    ):
        vehicles.jumps[row] = 0
        return None
    elapsed = position.measured_at - float(vehicles.jump_at[row])
    agrees = elapsed > 0 and _reachable(
        position, float(vehicles.jump_lat[row]), float(vehicles.jump_lon[row]), elapsed, p
    )
    vehicles.jumps[row] = vehicles.jumps[row] + 1 if agrees else 1
    vehicles.jump_lat[row], vehicles.jump_lon[row] = position.lat, position.lon
    vehicles.jump_at[row] = position.measured_at
    # a second source does not outvote the one that goes on telling of the vehicle
    rival = position.source != vehicles.latest[row].source
    if vehicles.jumps[row] >= p.jump_escape and not (rival and _is_fresh(position, vehicles, row, p)):
        vehicles.jumps[row] = 0
        return None
    return Reason.JUMP


def _is_fresh(position: VehiclePosition, vehicles: Vehicles, row: int, p: Vetting) -> bool:
    return position.received_at - float(vehicles.received_at[row]) <= p.source_hold_s


def note_elsewhere(position: VehiclePosition, vehicles: Vehicles, row: int, p: Watching) -> str | None:
    """After a report was refused as a jump: words for a vehicle that is told of at two places by turns, once."""
    if position.received_at - float(vehicles.elsewhere_at[row]) > p.twin_s:
        vehicles.elsewhere[row], vehicles.elsewhere_at[row] = 0, position.received_at
    latest = vehicles.latest[row]
    rival = position.source != latest.source
    if vehicles.jumps[row] > 1 and not rival:
        return None  # the same excursion goes on
    vehicles.elsewhere[row] += 1
    if vehicles.elsewhere[row] >= p.twin_jumps:
        vehicles.elsewhere_at[row] = position.received_at  # told once, until it has stopped for as long
    if vehicles.elsewhere[row] != p.twin_jumps:
        return None
    dy = (position.lat - latest.lat) * DEGREE_M
    dx = ((position.lon - latest.lon + 180) % 360 - 180) * DEGREE_M * math.cos(math.radians(latest.lat))
    apart = f"{math.hypot(dx, dy) / 1000:.1f} km apart"
    if rival:
        return f"{latest.source}, which is followed, and {position.source} tell of it {apart}"
    return f"{position.source} tells of it at two places {apart} by turns: two devices with one vehicle id?"


def _reachable(position: VehiclePosition, lat: float, lon: float, elapsed_s: float, p: Vetting) -> bool:
    dy = (position.lat - lat) * DEGREE_M
    dx = ((position.lon - lon + 180) % 360 - 180) * DEGREE_M * math.cos(math.radians(position.lat))
    return math.hypot(dx, dy) <= p.jump_slack_m + p.max_speed_mps * elapsed_s


def _frozen(position: VehiclePosition, vehicles: Vehicles, row: int, p: Vetting, same_place: bool) -> Reason | None:
    """Identical coordinates to the last digit while driving: the receiver has lost the sky and repeats itself."""
    moving = position.speed_mps is not None and position.speed_mps > p.frozen_speed_mps
    vehicles.repeats[row] = vehicles.repeats[row] + 1 if same_place and moving else 0
    return Reason.FROZEN if vehicles.repeats[row] >= p.frozen_count - 1 else None
