"""Stops projected to shapes in the order in which they are served.

The nearest point of the shape is the wrong one wherever a shape passes a stop twice: loops, out-and-back on one
street, lollipops, crossings. So all stops of a pattern are placed together by dynamic programming over the shape's
segments: every segment's nearest point is a candidate, so every local minimum of the distance is among them; positions
never go backwards, and no choice of candidates in order has a smaller sum of squared offsets. Where two places are
equally near, a weak pull towards the expected distance (shape_dist_traveled, else the schedule's proportion) decides;
it moves a chosen place by decimetres at most.

Offsets are metres of the local frame, distances along the shape haversine metres (``shape_m``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

PULL_OF_SCHEDULE_M = 30.0
"""What being wrong by the whole length of the shape costs, as an offset: timetables are coarse."""
PULL_OF_DISTANCE = 0.1
"""What a metre away from shape_dist_traveled costs, as an offset."""
PULL_CAP_M = 50.0
"""No hint outweighs a stop that lies this much nearer elsewhere."""

_MAX_CELLS = 4_000_000
"""stops x segments that are looked at together; longer shapes are thinned first"""


@dataclass(frozen=True)
class Polyline:
    """At least two points, no two neighbours equal: x, y metres of the frame, m haversine metres from the start."""

    x: F64
    y: F64
    m: F64


def project_stops(shape: Polyline, x: F64, y: F64, expected_m: F64 | None, pull: float) -> tuple[F64, F64]:
    """Places the stops (``x``, ``y``: S) on the shape in their order.

    ``expected_m`` (S, NaN unknown) is where they should be along the shape, ``pull`` the cost of a metre away from it,
    as metres of offset. Returns metres along the shape (S, never decreasing) and the offsets (S).
    """
    shape = _thinned(shape, len(x))
    segments = _Segments(shape, x, y)
    hint = segments.pull(expected_m, pull)
    chosen, held = _cheapest_order(segments, hint)
    rows = np.arange(len(x))
    along = _in_order(chosen, held, segments.foot[rows, chosen])
    metres = shape.m[chosen] + along * (shape.m[chosen + 1] - shape.m[chosen])
    offset2 = segments.across2[rows, chosen] + ((segments.foot[rows, chosen] - along) * segments.length[chosen]) ** 2
    # The end of one segment and the start of the next may differ in the last digit.
    return np.maximum.accumulate(metres), np.sqrt(offset2)


def _cheapest_order(segments: _Segments, hint: F64) -> tuple[I32, F64]:
    """(segment of each stop, fraction of it).

    Two states a stop and segment: *near*, at the segment's nearest point, and *held*, at the place of the stop before
    because the nearest point lies behind that. Near states are all there, so no choice of nearest points in order is
    better than the answer; held ones are for stops that are drawn in the wrong order.
    """
    count, width = segments.along.shape
    columns = np.arange(width, dtype=np.int32)
    # A state is 2 * segment + (1 where held); these say which state came before.
    before_near, before_held = np.zeros((count, width), np.int32), np.zeros((count, width), np.int32)
    held_at = np.zeros((count, width), np.float64)
    near, held = segments.offset2[0] + hint[0], np.full(width, np.inf)
    for s in range(1, count):
        along, last, last_held = segments.along[s], segments.along[s - 1], held_at[s - 1]
        is_held = held < near
        either = np.where(is_held, held, near)
        # the best of all earlier segments, the first of equals
        least = np.minimum.accumulate(either)
        fresh = np.empty(width, np.bool_)
        fresh[0] = True
        np.less(either[1:], least[:-1], out=fresh[1:])
        where = np.maximum.accumulate(np.where(fresh, columns, 0))
        best = np.full(width, np.inf)
        best[1:] = least[:-1]
        before_near[s, 1:] = (2 * where + is_held[where])[:-1]
        # the same segment, if that is not backwards
        for cost, place, kind in ((near, last, 0), (held, last_held, 1)):
            better = (place <= along) & (cost <= best)
            best = np.where(better, cost, best)
            before_near[s, better] = 2 * columns[better] + kind
        stays_near = np.where(last > along, near + segments.offset2_at(s, last), np.inf)
        stays_held = np.where(last_held > along, held + segments.offset2_at(s, last_held), np.inf)
        from_held = stays_held < stays_near
        before_held[s] = 2 * columns + from_held
        held_at[s] = np.where(from_held, last_held, last)
        near = best + segments.offset2[s] + hint[s]
        held = np.where(from_held, stays_held, stays_near) + hint[s]
    chosen, place = np.empty(count, np.int32), np.empty(count, np.float64)
    last_state = int(np.argmin(np.minimum(near, held)))
    state = 2 * last_state + int(held[last_state] < near[last_state])
    for s in range(count - 1, -1, -1):
        column, kind = state >> 1, state & 1
        chosen[s] = column
        place[s] = held_at[s, column] if kind else segments.along[s, column]
        state = int(before_held[s, column] if kind else before_near[s, column])
    return chosen, place


def _in_order(chosen: I32, held: F64, foot: F64) -> F64:
    """The best places on the chosen segments: stops in the wrong order on one segment meet between their feet.

    While the segments are chosen such a stop is held at the place of the stop before, which is simple and never
    backwards but not the best; isotonic regression (pool adjacent violators) of the feet is.
    """
    along = held.copy()
    for start, end in _runs(chosen):
        if (np.diff(foot[start:end]) >= 0).all():
            continue
        pools: list[tuple[float, int]] = []  # (mean of the feet, how many)
        for value in foot[start:end].tolist():
            mean, size = value, 1
            while pools and pools[-1][0] > mean:
                before, count = pools.pop()
                mean, size = (mean * size + before * count) / (size + count), size + count
            pools.append((mean, size))
        along[start:end] = np.clip(np.repeat([mean for mean, _ in pools], [size for _, size in pools]), 0.0, 1.0)
    return along


def _runs(chosen: I32) -> list[tuple[int, int]]:
    """(start, end) of the stops that lie on one segment, where these are several."""
    edges = np.flatnonzero(np.diff(chosen, prepend=-1, append=-1)).tolist()
    return [(start, end) for start, end in pairwise(edges) if end - start > 1]


class _Segments:
    """Distances of S stops to the G segments of a shape. ``foot``, ``along``: fractions of the segment."""

    def __init__(self, shape: Polyline, x: F64, y: F64) -> None:
        dx, dy = np.diff(shape.x), np.diff(shape.y)
        self.length: F64 = np.hypot(dx, dy)
        to_x, to_y = x[:, None] - shape.x[:-1], y[:, None] - shape.y[:-1]
        squared = np.maximum(self.length**2, 1e-12)
        self.foot: F64 = (to_x * dx + to_y * dy) / squared
        self.along: F64 = np.clip(self.foot, 0.0, 1.0)
        self.across2: F64 = (to_x * dy - to_y * dx) ** 2 / squared
        self.offset2: F64 = self.across2 + ((self.foot - self.along) * self.length) ** 2
        self._m = shape.m

    def offset2_at(self, s: int, along: F64) -> F64:
        result: F64 = self.across2[s] + ((self.foot[s] - along) * self.length) ** 2
        return result

    def pull(self, expected_m: F64 | None, pull: float) -> F64:
        if expected_m is None or pull == 0.0:
            return np.zeros_like(self.along)
        metres = self._m[:-1] + self.along * np.diff(self._m)
        away = np.nan_to_num(np.abs(metres - expected_m[:, None]), nan=0.0)
        result: F64 = np.minimum(away * pull, PULL_CAP_M) ** 2
        return result


def _thinned(shape: Polyline, stops: int) -> Polyline:
    """The shape itself, or its Douglas-Peucker simplification where the table of distances would be huge."""
    tolerance = 0.25
    while stops * len(shape.x) > _MAX_CELLS and len(shape.x) > 2:
        # The third coordinate carries the point's row through.
        line = shapely.linestrings(np.column_stack((shape.x, shape.y, np.arange(len(shape.x), dtype=np.float64))))
        simple = shapely.simplify(line, tolerance, preserve_topology=False)
        rows = shapely.get_coordinates(simple, include_z=True)[:, 2].astype(np.int64)
        shape = Polyline(shape.x[rows], shape.y[rows], shape.m[rows])
        tolerance *= 2.0
    return shape
