"""Fixes on the line of a trip for evaluation: every way over all candidate places is weighed, with hindsight.

The engine's own matching (busd/track) may not look ahead and is what is being judged; this may, and shares nothing
with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gtfs.network import F64, I64, Network

EARTH_M = 6_371_008.8
MAX_OFFSET_M = 60.0
"""a fix farther than this from its line is left out"""
BACK_SLACK_M = 50.0
"""noise may push a fix back by this much"""
MAX_SPEED_MPS = 33.0
FORWARD_SLACK_M = 100.0
SAME_PLACE_M = 30.0
"""nearest points closer along the line than this are one place (the two sides of a bend)"""
MAX_PLACES = 8
SCALE = 200.0
"""2 sigma^2 of an offset (sigma 10 m), and the metres of wrong step that count e times less"""
FORBIDDEN = 20.0
"""what a step backwards, or faster than a bus, costs: seldom worth it, never impossible"""


@dataclass(frozen=True, eq=False)
class Line:
    """A shape in metres around its own middle; ``m`` are haversine metres from its start."""

    x: F64
    y: F64
    m: F64
    lat_0: float
    lon_0: float

    @classmethod
    def of(cls, network: Network, shape: int) -> Line:
        rows = network.shape_rows(shape)
        return cls.through(network.shape_lat[rows], network.shape_lon[rows], network.shape_m[rows])

    @classmethod
    def through(cls, lat: F64, lon: F64, m: F64) -> Line:
        moved = np.r_[True, (np.diff(lat) != 0) | (np.diff(lon) != 0)]
        lat, lon, m = lat[moved], lon[moved], m[moved]
        lat_0, lon_0 = float(lat.mean()), float(lon.mean())
        x, y = _planar(lat, lon, lat_0, lon_0)
        return cls(x, y, np.asarray(m, np.float64), lat_0, lon_0)

    def place(self, lat: F64, lon: F64) -> tuple[F64, F64]:
        return _planar(lat, lon, self.lat_0, self.lon_0)

    def at(self, metres: float) -> tuple[float, float]:
        """The point so far along the line."""
        return float(np.interp(metres, self.m, self.x)), float(np.interp(metres, self.m, self.y))

    def places(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Metres along and offset of every local minimum of the distance to the line within `MAX_OFFSET_M`, nearest
        first; [fixes, MAX_PLACES], inf where there are fewer."""
        dx, dy = np.diff(self.x), np.diff(self.y)
        to_x, to_y = x[:, None] - self.x[:-1], y[:, None] - self.y[:-1]
        foot = np.clip((to_x * dx + to_y * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        offset = np.hypot(to_x - foot * dx, to_y - foot * dy)
        along = self.m[:-1] + foot * np.diff(self.m)
        left = np.pad(offset[:, :-1], ((0, 0), (1, 0)), constant_values=np.inf)
        right = np.pad(offset[:, 1:], ((0, 0), (0, 1)), constant_values=np.inf)
        low = (offset <= left) & (offset < right) & (offset <= MAX_OFFSET_M)
        out_along = np.full((len(x), MAX_PLACES), np.inf)
        out_offset = np.full((len(x), MAX_PLACES), np.inf)
        for row in np.flatnonzero(low.any(axis=1)).tolist():
            kept: list[int] = []
            found = np.flatnonzero(low[row])
            for k in found[np.argsort(offset[row, found], kind="stable")].tolist():
                if all(abs(along[row, k] - along[row, other]) > SAME_PLACE_M for other in kept):
                    kept.append(k)
            kept = kept[:MAX_PLACES]
            out_along[row, : len(kept)], out_offset[row, : len(kept)] = along[row, kept], offset[row, kept]
        return out_along, out_offset


def _planar(lat: F64, lon: F64, lat_0: float, lon_0: float) -> tuple[F64, F64]:
    metre = np.pi / 180 * EARTH_M
    x: F64 = (np.asarray(lon, np.float64) - lon_0) * metre * np.cos(np.radians(lat_0))
    y: F64 = (np.asarray(lat, np.float64) - lat_0) * metre
    return x, y


def most_likely_way(line: Line, at: F64, lat: F64, lon: F64) -> tuple[I64, F64]:
    """(rows of the fixes that fit, their metres along the line, rising) of one bus on one trip, in order of time.

    A hidden Markov model after Newson & Krumm (2009): a place costs its squared offset, a step what it differs from
    the straight line between the fixes. The best way over all places is found backwards from its end (Viterbi); of it
    the longest part that moves forwards at the speed of a bus is kept."""
    x, y = line.place(lat, lon)
    along, offset = line.places(x, y)
    rows = np.flatnonzero(np.isfinite(offset[:, 0]))
    if len(rows) < 2:
        return rows[:0], np.zeros(0)
    x, y, at = x[rows], y[rows], at[rows]
    along, cost = along[rows], offset[rows] ** 2 / SCALE
    total, came_from = cost[0], np.zeros(along.shape, np.int64)
    straight, waited = np.hypot(np.diff(x), np.diff(y)), np.diff(at)
    real = np.isfinite(along)
    for k in range(1, len(rows)):
        step = np.where(real[k], along[k], 0.0)[:, None] - np.where(real[k - 1], along[k - 1], 0.0)[None, :]
        change = np.abs(step - straight[k - 1]) / SCALE
        change += FORBIDDEN * ((step < -BACK_SLACK_M) | (step > MAX_SPEED_MPS * waited[k - 1] + FORWARD_SLACK_M))
        weighed = total[None, :] + change
        came_from[k] = weighed.argmin(axis=1)
        total = weighed.min(axis=1) + cost[k]
    place = np.empty(len(rows), np.int64)
    place[-1] = int(total.argmin())
    for k in range(len(rows) - 1, 0, -1):
        place[k - 1] = came_from[k, place[k]]
    way = along[np.arange(len(rows)), place]
    kept = _longest_forwards(at, way)
    forwards: F64 = np.maximum.accumulate(way[kept])
    return rows[kept], forwards


def _longest_forwards(at: F64, along: F64) -> I64:
    """Rows of the longest chain in which no step falls back nor outruns a bus."""
    count = len(at)
    length, before = np.ones(count, np.int64), np.full(count, -1)
    for k in range(1, count):
        step = along[k] - along[:k]
        fits = (step >= -BACK_SLACK_M) & (step <= MAX_SPEED_MPS * (at[k] - at[:k]) + FORWARD_SLACK_M)
        if fits.any():
            score = np.where(fits, length[:k], 0)
            best = k - 1 - int(score[::-1].argmax())  # of equals the latest
            length[k], before[k] = score[best] + 1, best
    chain = [int(length.argmax())]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return np.array(chain[::-1], np.int64)
