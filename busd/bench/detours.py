"""Detours cut into recorded trips: the bus leaves the shape to one side and comes back, all else stays as it was.

Between two places along the trip the fixes are moved sideways, at right angles to the street. What is true of them is
measured afterwards, against the whole shape: the first fix farther than `FAR_M` begins the detour, the first one behind
it that is on the street again ends it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from busd.track.match import from_shape
from busd.types import VehiclePosition
from gtfs.network import F64, Network

FAR_M, ON_M = 40.0, 25.0
FAR_FIXES = 3
"""a detour that fewer fixes saw did not happen, as far as anybody can know"""
LENGTH_M = 150.0
"""nor one that is shorter along the route"""
LONGEST_S = 600.0
GAP_S = 150.0
"""a detour with a longer silence in it is one nobody could have seen in time"""
MARGIN_M = 400.0
"""of the trip's ends, where leaving the shape is going home"""


@dataclass(frozen=True)
class Trip:
    """The fixes of one vehicle that name one trip, with their places on its shape."""

    vehicle_id: str
    trip_id: str
    pattern: int
    fixes: Sequence[VehiclePosition]
    x: F64
    y: F64
    along_m: F64
    offset_m: F64


@dataclass(frozen=True)
class Cut:
    """One detour. Instants are epoch seconds of fixes."""

    vehicle_id: str
    trip_id: str
    shift_m: float
    leave_m: float
    rejoin_m: float
    first: int
    """index of the first moved fix in the trip"""
    last: int
    left_at: float
    """of the first fix farther than FAR_M"""
    back_at: float
    """of the first fix on the street afterwards"""
    fixes: tuple[VehiclePosition, ...]
    """of the whole trip, moved"""


def trips_of(network: Network, positions: Iterable[VehiclePosition]) -> Iterator[Trip]:
    """Recorded positions whose trip is named -> trips in the order of their first fix."""
    runs: dict[tuple[str, str], list[VehiclePosition]] = {}
    for position in positions:
        if position.hint is not None and position.hint.trip_id is not None:
            runs.setdefault((position.vehicle_id, position.hint.trip_id), []).append(position)
    for (vehicle_id, trip_id), fixes in runs.items():
        trip = network.find_trip(trip_id)
        if trip is None:
            continue
        pattern = int(network.trip_pattern[trip])
        if not network.shape_id[int(network.pattern_shape[pattern])]:
            continue  # nobody knows its streets
        x, y = network.frame.xy_array(np.array([f.lat for f in fixes]), np.array([f.lon for f in fixes]))
        along, offset = from_shape(network, pattern, x, y)
        yield Trip(vehicle_id, trip_id, pattern, fixes, x, y, along, offset)


def cut_detour(network: Network, trip: Trip, shift_m: float, dice: np.random.Generator) -> Cut | None:
    """A detour ``shift_m`` to the left (negative: right) somewhere on the way; None where the trip has no stretch for
    one: driven forwards, on the street, seen by enough fixes, clear of its ends."""
    rows = network.pattern_rows(trip.pattern)
    low, high = network.pattern_stop_m[rows][[0, -1]] + np.array([MARGIN_M, -2 * MARGIN_M])
    m = trip.along_m
    good = (trip.offset_m <= ON_M) & (m >= low) & (m <= high)
    at = np.array([fix.measured_at for fix in trip.fixes])
    good[1:] &= (np.diff(m) > 0) & (np.diff(at) <= GAP_S)
    # a run of good fixes, one before the detour and three behind it included
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int)))
    stretches = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if b - a >= FAR_FIXES + 5]
    if not stretches:
        return None
    a, b = stretches[int(dice.integers(len(stretches)))]
    often = float(np.median(np.diff(at[a:b])))
    most = min(b - a - 4, max(12 + FAR_FIXES, int(LONGEST_S / max(often, 1.0))))
    length = int(dice.integers(FAR_FIXES, most + 1)) if most > FAR_FIXES else FAR_FIXES
    first = int(dice.integers(a + 1, b - length - 2))
    last = first + length - 1
    if m[last] - m[first] < LENGTH_M:
        return None
    leave = float(m[first] - dice.random() * (m[first] - m[first - 1]))
    rejoin = float(m[last] + dice.random() * (m[last + 1] - m[last]))
    x, y = trip.x.copy(), trip.y.copy()
    for i in range(first, last + 1):
        nx, ny = _normal(network, trip.pattern, float(m[i]), abs(shift_m))
        x[i], y[i] = x[i] + shift_m * nx, y[i] + shift_m * ny
    _, offset = from_shape(network, trip.pattern, x, y)
    far = np.flatnonzero(offset[first : last + 1] > FAR_M) + first
    back = np.flatnonzero(offset[last + 1 :] <= ON_M) + last + 1
    if len(far) < FAR_FIXES or not len(back) or (offset[first : last + 1] <= ON_M).any():
        return None  # too few saw it, or in a bend it is on the route again
    return Cut(
        trip.vehicle_id,
        trip.trip_id,
        shift_m,
        leave,
        rejoin,
        first,
        last,
        trip.fixes[int(far[0])].measured_at,
        trip.fixes[int(back[0])].measured_at,
        tuple(moved(network, trip.fixes, x, y)),
    )


def moved(network: Network, fixes: Sequence[VehiclePosition], x: F64, y: F64) -> Iterator[VehiclePosition]:
    for fix, east, north in zip(fixes, x.tolist(), y.tolist(), strict=True):
        lat, lon = network.frame.latlon(east, north)
        yield msgspec.structs.replace(fix, lat=float(lat), lon=float(lon))


def with_noise(
    network: Network, fixes: Sequence[VehiclePosition], sigma_m: float, dice: np.random.Generator
) -> list[VehiclePosition]:
    """The same fixes from a worse receiver: ``sigma_m`` metres in east and in north."""
    x, y = network.frame.xy_array(np.array([f.lat for f in fixes]), np.array([f.lon for f in fixes]))
    noise = dice.normal(0.0, sigma_m, (2, len(fixes)))
    return list(moved(network, fixes, x + noise[0], y + noise[1]))


def _normal(network: Network, pattern: int, along_m: float, reach_m: float) -> tuple[float, float]:
    """Unit vector to the left of the way, smoothed over the shift, so that moved fixes keep their order in a bend."""
    shape = network.shape_rows(int(network.pattern_shape[pattern]))
    m = network.shape_m[shape]
    half = max(min(reach_m, 200.0), 20.0)
    ends = np.array([along_m - half, along_m + half])
    dx = float(np.diff(np.interp(ends, m, network.shape_x[shape]))[0])
    dy = float(np.diff(np.interp(ends, m, network.shape_y[shape]))[0])
    length = max(math.hypot(dx, dy), 1e-9)
    return -dy / length, dx / length
