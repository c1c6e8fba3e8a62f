"""Where on the shape of its run is each fix? One ragged numpy window over all fixes of a tick.

Every segment of a fix's window is a candidate: the point of the segment nearest to the fix. The cheapest candidate
wins, and the cost is a negative log likelihood in the manner of Newson & Krumm (2009):

    (offset / sigma)^2 / 2  +  |step - displacement| / beta  +  |change of schedule deviation| / pace  +  heading

*step* is along the shape, *displacement* straight from the last fix: they agree on the bus's own pass of a loop and
not on the other one, even where both run down the same street.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from busd.tracking_parameters import Matching, Visits
from gtfs.network import F64, I64, Bool, Network


class ShapeIndex:
    """Distances of all shapes and patterns as two rising sequences, so that one searchsorted serves many fixes."""

    def __init__(self, network: Network, matching: Matching, visits: Visits) -> None:
        self.network = network
        n_shapes = len(network.shape_offset) - 1
        self._first = network.shape_offset[:-1]
        last = np.maximum(network.shape_offset[1:] - 1, 0)
        has = network.shape_offset[1:] > self._first
        length = np.where(has, network.shape_m[last] if len(network.shape_m) else 0.0, 0.0)
        # a gap of a kilometre keeps the search for one shape out of its neighbours
        self.shape_base = np.concatenate([[0.0], np.cumsum(length + 1000.0)])[:n_shapes]
        owner = np.repeat(np.arange(n_shapes), np.diff(network.shape_offset))
        self._shape_key = network.shape_m + self.shape_base[owner]
        self.reach_m, self.sigma_m = tolerances(network, matching)
        self.target_m = stop_targets(network, visits)
        per_pattern = np.repeat(np.arange(len(network.pattern_shape)), np.diff(network.pattern_stop_offset))
        tail = network.pattern_stop_offset[1:] - 1
        reach = np.concatenate([[0.0], np.cumsum(self.target_m[tail] + 1000.0)])
        self.pattern_base = reach[: len(tail)]
        self._pattern_key = self.target_m + self.pattern_base[per_pattern]
        self._stop_key = network.pattern_stop_m + self.pattern_base[per_pattern]

    def segments(self, shape: I64, low_m: F64, high_m: F64) -> tuple[I64, I64]:
        """First and last segment (index of its first shape point, last inclusive) that touch [low, high]; shape [n]."""
        base = self.shape_base[shape]
        first = self.network.shape_offset[shape]
        last = self.network.shape_offset[shape + 1] - 2
        a = np.searchsorted(self._shape_key, base + np.maximum(low_m, 0.0), side="right") - 1
        b = np.searchsorted(self._shape_key, base + np.maximum(high_m, 0.0), side="left") - 1
        a = np.clip(a, first, last)
        return a, np.clip(b, a, last)

    def targets_behind(self, pattern: I64, along_m: F64) -> I64:
        """How many of the pattern's stop targets a bus at ``along_m`` has reached."""
        return self._behind(self._pattern_key, pattern, along_m)

    def stops_behind(self, pattern: I64, along_m: F64) -> I64:
        """The same of the stops themselves."""
        return self._behind(self._stop_key, pattern, along_m)

    def _behind(self, key: F64, pattern: I64, along_m: F64) -> I64:
        first = self.network.pattern_stop_offset[pattern]
        # a micrometre more than the sum may lose to rounding: who is at a stop has reached it
        found = np.searchsorted(key, self.pattern_base[pattern] + along_m + 1e-6, side="right")
        behind: I64 = np.clip(found - first, 0, self.network.pattern_stop_offset[pattern + 1] - first)
        return behind

    def scheduled_s(self, pattern: I64, time_row: I64, along_m: F64) -> F64:
        """Seconds (trip time) at which the timetable puts a bus at ``along_m``; linear between stop targets.

        The first stop counts by its departure, the others by their arrivals."""
        return self.time_at(time_row, *self.link_at(pattern, along_m))

    def link_at(self, pattern: I64, along_m: F64) -> tuple[I64, F64]:
        """(position of the stop behind, share of the way to the next one): the same for all trips of a pattern."""
        network = self.network
        first = network.pattern_stop_offset[pattern]
        count = network.pattern_stop_offset[pattern + 1] - first
        k = np.searchsorted(self._pattern_key, self.pattern_base[pattern] + along_m, side="right") - 1 - first
        k = np.clip(k, 0, np.maximum(count - 2, 0))
        low = self.target_m[first + k]
        high = self.target_m[first + np.minimum(k + 1, count - 1)]
        return k, np.minimum(np.maximum((along_m - low) / np.maximum(high - low, 1e-9), 0.0), 1.0)

    def time_at(self, time_row: I64, k: I64, share: F64) -> F64:
        """Trip time at a place that `link_at` gave."""
        network, row = self.network, time_row + k
        start = np.where(k == 0, network.departure_s[row], network.arrival_s[row]).astype(np.float64)
        end = network.arrival_s[np.minimum(row + 1, len(network.arrival_s) - 1)].astype(np.float64)
        scheduled: F64 = start + share * (end - start)
        return scheduled


def tolerances(network: Network, p: Matching) -> tuple[F64, F64]:
    """Segment (row of its first shape point) -> how far from it a bus may be, and one standard deviation of that.

    Where a trip has no shape, straight lines between its stops stand for a road that nobody knows: the longer the
    line, the farther off the road may be."""
    length = np.diff(network.shape_m, append=network.shape_m[-1:]) if len(network.shape_m) else np.zeros(0)
    made_up = np.array([not network.shape_id[i] for i in range(len(network.shape_offset) - 1)], bool)
    loose = np.repeat(made_up, np.diff(network.shape_offset))
    reach = np.where(loose, np.clip(length * p.made_up_share, p.max_offset_m, p.made_up_reach_m), p.max_offset_m)
    return reach, reach * (p.sigma_m / p.max_offset_m)


def stop_targets(network: Network, visits: Visits) -> F64:
    """Pattern position -> metres along the shape where the arrival counts: a little before the stop, so that a dwell
    short of the pole is not driving; the first stop is its own place."""
    m, offset = network.pattern_stop_m, network.pattern_stop_offset
    first = np.repeat(m[offset[:-1]], np.diff(offset)) if len(m) else m
    target = np.maximum(m - visits.arrive_zone_m, first + 1.0)
    target[offset[:-1]] = m[offset[:-1]]
    rising = np.maximum.accumulate(target + np.repeat(np.arange(len(offset) - 1) * 1e9, np.diff(offset)))
    return rising - np.repeat(np.arange(len(offset) - 1) * 1e9, np.diff(offset))


@dataclass
class Fixes:
    """The fixes of one round, parallel arrays [n]; NaN where unknown."""

    x: F64
    y: F64
    at: F64
    heading_deg: F64
    speed_mps: F64
    pattern: I64
    time_row: I64
    base_at: F64
    last_m: F64  # NaN: nothing known, the whole shape is searched
    last_at: F64
    last_x: F64
    last_y: F64
    last_deviation_s: F64

    def take(self, chosen: npt.NDArray[np.int64]) -> Fixes:
        return Fixes(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass
class Matched:
    found: Bool
    distance_m: F64
    offset_m: F64
    reach_m: F64  # how far off the shape still counts as on it, there
    deviation_s: F64
    turned: F64  # 1 - cos(heading of the fix - heading of the shape); 0 where unknown or slow
    heading: F64  # of the shape there, radians clockwise from north


def match(index: ShapeIndex, fixes: Fixes, p: Matching, visits: Visits, reach_m: float = 0.0) -> Matched:
    """The most likely place of each fix on its shape, or found=False where nothing in reach is near enough.

    ``reach_m``: how far from the shape a place may be, if that is more than the tolerance there."""
    network, n = index.network, len(fixes.x)
    known = np.isfinite(fixes.last_m)
    elapsed = np.where(known, fixes.at - fixes.last_at, 0.0)
    low = np.where(known, fixes.last_m - p.back_slack_m, 0.0)
    high = np.where(known, fixes.last_m + p.max_speed_mps * elapsed + p.forward_slack_m, np.inf)
    shape = network.pattern_shape[fixes.pattern].astype(np.int64)
    first, last = index.segments(shape, low, np.minimum(high, 1e7))
    owner, segment = ragged(first, last)

    along, offset = project(network, segment, fixes.x[owner], fixes.y[owner])
    deviation = _deviation(index, fixes, owner, along, visits)
    cost = (offset / index.sigma_m[segment]) ** 2 / 2
    known_here = known[owner]
    displacement = np.hypot(fixes.x - fixes.last_x, fixes.y - fixes.last_y)[owner]
    step = along - fixes.last_m[owner]
    change = np.abs(deviation - fixes.last_deviation_s[owner])
    moving = np.where(known_here, np.abs(np.maximum(step, 0.0) - displacement) / p.detour_scale_m, 0.0)
    pace = np.where(np.isfinite(change), change / p.pace_scale_s, np.abs(deviation) / p.first_pace_scale_s)
    cost = cost + moving + pace
    turned = np.zeros(len(owner))
    turning = np.isfinite(fixes.heading_deg) & (fixes.speed_mps > p.heading_speed_mps)
    if turning.any():
        turn = np.radians(fixes.heading_deg[owner]) - heading_of(network, segment)
        turned = np.where(turning[owner], 1 - np.cos(turn), 0.0)
        cost = cost + p.heading_weight * turned
    allowed = (offset <= np.maximum(index.reach_m[segment], reach_m)) & (
        ~known_here | ((along >= low[owner]) & (along <= high[owner]))
    )
    cost = np.where(allowed, cost, np.inf)

    starts = np.concatenate([[0], np.cumsum(last - first + 1)])[:n]
    best = np.minimum.reduceat(cost, starts)
    is_best = (cost == best[owner]).nonzero()[0]
    pick = is_best[np.searchsorted(owner[is_best], np.arange(n))]  # the first of equals
    found = np.isfinite(best)
    # GPS noise is not driving backwards: the place never falls behind the last one
    distance = np.where(known & found, np.fmax(along[pick], fixes.last_m), along[pick])
    deviation = deviation[pick]
    held = (distance != along[pick]).nonzero()[0]
    if len(held):
        deviation[held] = _deviation(index, fixes, held, distance[held], visits)
    there = segment[pick]
    return Matched(
        found, distance, offset[pick], index.reach_m[there], deviation, turned[pick], heading_of(network, there)
    )


def ragged(first: I64, last: I64) -> tuple[I64, I64]:
    """[first, last] per fix -> parallel (fix, segment), fixes in order."""
    count = last - first + 1
    owner = np.repeat(np.arange(len(first)), count)
    start = np.cumsum(count) - count
    return owner, np.arange(len(owner)) - start[owner] + first[owner]


def project(network: Network, segment: I64, x: F64, y: F64) -> tuple[F64, F64]:
    """Nearest point of each segment: metres along the shape, metres off it."""
    ax, ay = network.shape_x[segment], network.shape_y[segment]
    dx, dy = network.shape_x[segment + 1] - ax, network.shape_y[segment + 1] - ay
    length2 = dx * dx + dy * dy
    share = ((x - ax) * dx + (y - ay) * dy) / np.maximum(length2, 1e-9)
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    offset = np.hypot(x - ax - share * dx, y - ay - share * dy)
    start = network.shape_m[segment]
    along = start + share * (network.shape_m[segment + 1] - start)
    return along, offset


def from_shape(network: Network, pattern: int, x: F64, y: F64) -> tuple[F64, F64]:
    """Nearest place on the whole shape of each point [n]: metres along, metres off. NaN where the pattern has no shape."""
    shape = int(network.pattern_shape[pattern])
    segment: I64 = np.arange(int(network.shape_offset[shape]), int(network.shape_offset[shape + 1]) - 1)
    along, offset = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for i in range(len(x) if len(segment) else 0):
        m, d = project(network, segment, np.full(len(segment), x[i]), np.full(len(segment), y[i]))
        near = int(d.argmin())
        along[i], offset[i] = m[near], d[near]
    return along, offset


def heading_of(network: Network, segment: I64) -> F64:
    """Radians clockwise from north."""
    dx = network.shape_x[segment + 1] - network.shape_x[segment]
    heading: F64 = np.arctan2(dx, network.shape_y[segment + 1] - network.shape_y[segment])
    return heading


def _deviation(index: ShapeIndex, fixes: Fixes, owner: npt.NDArray[np.int64], along: F64, visits: Visits) -> F64:
    """Actual - scheduled at ``along``; a bus that waits at its first stop is not early."""
    pattern = fixes.pattern[owner]
    at = fixes.at[owner] - fixes.base_at[owner]
    deviation = at - index.scheduled_s(pattern, fixes.time_row[owner], along)
    start = index.target_m[index.network.pattern_stop_offset[pattern]]
    departs = index.network.departure_s[fixes.time_row[owner]]
    return np.where(along <= start + visits.depart_zone_m, np.maximum(at - departs, 0.0), deviation)
