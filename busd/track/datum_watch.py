"""Do the positions of a source fit the streets, or would they fit if they were in another datum?

Buses that are shifted by the 100 to 700 m of GCJ-02 or BD-09 are off every shape, so nothing that rests on matching
can tell a wrong datum from a strike. Here every sampled fix is held against ALL shapes in several readings: as
configured, and as what it would be if the source spoke another datum. A reading fits if it lies within `NEAR_M` of a
shape. Fixes of one place say one thing once (cells of `CELL_M`), since a bus in a queue is no evidence.

A reading is named when clearly more places fit it than fit the configured one (a paired sign test over places where
the two disagree), nearly all places fit it, closely, and few fit the configured one. GPS noise and a street that is
drawn to one side stay within `NEAR_M` as configured; a detour fits no reading, or by chance one street that happens to
run parallel: hence places on one straight line need more evidence.

On a straight street most of a shift can lie along it (in Lanzhou 217 m of GCJ-02 point east and 36 m south), and nearly
every fix is near the shape in both readings. There the other question is asked: how far would the whole map have to be
moved for the fixes to lie on it? A map is drawn metres off, not tens of metres (`_judge_move`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import shapely

from gtfs.network import F64, I64, Network

NEAR_M = 30.0
REACH_M = 60.0
"""distances are not told beyond this"""
CELL_M = 60.0
MAX_CELLS = 400
"""the latest places; a source that is put right is trusted again when these have gone by"""
PIECE = 16
"""shape points of one entry of the search tree"""

LEAD = 15
"""places by which a reading must be ahead"""
LEAD_ON_A_LINE = 30
SIGN_TEST = 3.0
"""standard deviations of a fair coin"""
FITS = 0.7
"""share of all places that must fit the reading named"""
MISFITS = 0.35
"""share of all places that may fit the configured one"""
MISFITS_ON_A_LINE = 0.2
AGAINST = 0.1
"""places that only the configured reading fits, as a share of those that only the other one fits, at most"""
LEAD_WHERE_ALL_FIT = 9
ALL_FIT = 0.95
AGAINST_WHERE_ALL_FIT = 0.04
"""The same where every place fits the reading named, in more than one direction. Then it does not matter how many fit the
configured one as well: a shift along the streets that most buses use leaves them on these streets."""
CLOSE_M = 15.0
"""mean distance from the shapes of the places that fit"""
STRAIGHT_DEG = 20.0
OFF_THE_LINE = 4
"""places in another direction that make it more than one line"""

MOVE_PLACES = 15
"""places that say by how much the map would have to be moved"""
MOVE_FITS = 0.9
"""share of all places that must lie beside a shape, in both readings"""
MOVE_M = 25.0
"""a map is not drawn this far beside the streets as a whole"""
MOVE_NONE_M = 10.0
"""it may be so far off in the reading named"""
MOVE_SPREAD_M = 20.0
"""typical distance from the moved map, at most"""
PAST_THE_END_M = 5.0
"""a fix that is farther from a shape than to its side is past its end, and says nothing about a side"""


class ShapeDistance:
    """Distance from points to the nearest shape of a network."""

    def __init__(self, network: Network) -> None:
        self._frame = network.frame
        starts: list[int] = []
        ends: list[int] = []
        for first, end in zip(network.shape_offset[:-1].tolist(), network.shape_offset[1:].tolist()):
            for start in range(first, end - 1, PIECE - 1):
                starts.append(start)
                ends.append(min(start + PIECE, end))
        sizes = np.asarray(ends, np.int64) - np.asarray(starts, np.int64)
        owner = np.repeat(np.arange(len(starts)), sizes)
        rows = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.asarray(starts)[owner]
        x, y = network.shape_x[rows], network.shape_y[rows]
        self._tree = shapely.STRtree(shapely.linestrings(np.column_stack((x, y)), indices=owner) if len(rows) else [])
        self._first = np.asarray(starts, np.int64)
        self._last_segment = np.asarray(ends, np.int64) - 2
        self._x, self._y = network.shape_x, network.shape_y

    def cells(self, lat: Sequence[float], lon: Sequence[float]) -> list[tuple[int, int]]:
        """Places of `CELL_M` metres, in which a fix lies."""
        x, y = self._frame.xy_array(np.asarray(lat, np.float64), np.asarray(lon, np.float64))
        return list(zip((x // CELL_M).astype(np.int64).tolist(), (y // CELL_M).astype(np.int64).tolist()))

    def nearest(self, lat: Sequence[float], lon: Sequence[float]) -> tuple[list[float], list[float], list[float]]:
        """(metres to the nearest shape, its heading in degrees modulo 180, metres to the right of that heading) of each
        point; (inf, nan, nan) beyond `REACH_M`, and no metres to the right past the end of a shape."""
        metres: F64 = np.full(len(lat), np.inf)
        heading: F64 = np.full(len(lat), np.nan)
        right: F64 = np.full(len(lat), np.nan)
        if len(lat) and len(self._first):
            x, y = self._frame.xy_array(np.asarray(lat, np.float64), np.asarray(lon, np.float64))
            found, distance = self._tree.query_nearest(
                shapely.points(x, y), max_distance=REACH_M, return_distance=True, all_matches=False
            )
            metres[found[0]] = distance
            heading[found[0]], right[found[0]] = self._beside(found[1], x[found[0]], y[found[0]])
            right[np.abs(right) < metres - PAST_THE_END_M] = np.nan
        return metres.tolist(), heading.tolist(), right.tolist()

    def _beside(self, piece: I64, x: F64, y: F64) -> tuple[F64, F64]:
        """Heading of the segment of each point's piece that is nearest to it, and how far the point is to its right."""
        rows = np.minimum(self._first[piece][:, None] + np.arange(PIECE - 1), self._last_segment[piece][:, None])
        east, north = self._x[rows + 1] - self._x[rows], self._y[rows + 1] - self._y[rows]
        to_x, to_y = x[:, None] - self._x[rows], y[:, None] - self._y[rows]
        share = np.clip((to_x * east + to_y * north) / np.maximum(east**2 + north**2, 1e-9), 0.0, 1.0)
        best = np.argmin(np.hypot(to_x - share * east, to_y - share * north), axis=1)
        pick = np.arange(len(piece)), best
        headings: F64 = np.degrees(np.arctan2(east[pick], north[pick])) % 180.0
        toward = np.radians(headings)
        right: F64 = to_x[pick] * np.cos(toward) - to_y[pick] * np.sin(toward)
        return headings, right


@dataclass(frozen=True)
class Verdict:
    """``reading`` fits, the configured one does not. Counts are places."""

    reading: str
    places: int
    fits: int
    fits_configured: int
    mean_m: float


class Votes:
    """The evidence about one source. ``readings``: the configured one first."""

    def __init__(self, readings: Sequence[str]) -> None:
        self.readings = tuple(readings)
        self._cells: OrderedDict[tuple[int, int], tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = (
            OrderedDict()
        )

    def __len__(self) -> int:
        return len(self._cells)

    def add(
        self, cell: tuple[int, int], metres: Sequence[float], heading: Sequence[float], right: Sequence[float]
    ) -> None:
        """One fix: what `ShapeDistance.nearest` says of it, in each reading."""
        self._cells[cell] = (tuple(metres), tuple(heading), tuple(right))
        self._cells.move_to_end(cell)
        if len(self._cells) > MAX_CELLS:
            self._cells.popitem(last=False)

    def share_as_configured(self) -> float:
        """Share of the places that fit as configured."""
        return sum(metres[0] <= NEAR_M for metres, _, _ in self._cells.values()) / max(len(self._cells), 1)

    def verdict(self) -> Verdict | None:
        """The reading that the source seems to speak, where that is not the configured one; None = nothing to say."""
        others = range(1, len(self.readings))
        found = [verdict for k in others if (verdict := self._judge(k) or self._judge_move(k)) is not None]
        return max(found, key=lambda verdict: (verdict.fits, -verdict.mean_m), default=None)

    def _judge(self, k: int) -> Verdict | None:
        places = len(self._cells)
        near = [(metres[k], heading[k]) for metres, heading, _ in self._cells.values() if metres[k] <= NEAR_M]
        as_configured = sum(metres[0] <= NEAR_M for metres, _, _ in self._cells.values())
        both = sum(metres[0] <= NEAR_M and metres[k] <= NEAR_M for metres, _, _ in self._cells.values())
        ahead, behind = len(near) - both, as_configured - both
        on_a_line = _on_a_line([h[k] for metres, h, _ in self._cells.values() if metres[k] <= NEAR_M < metres[0]])
        all_fit = not on_a_line and len(near) >= ALL_FIT * places
        lead = LEAD_ON_A_LINE if on_a_line else LEAD_WHERE_ALL_FIT if all_fit else LEAD
        if ahead - behind < max(lead, SIGN_TEST * (ahead + behind) ** 0.5):
            return None
        if behind > (AGAINST_WHERE_ALL_FIT if all_fit else AGAINST) * ahead or len(near) < FITS * places:
            return None
        if not all_fit and as_configured > (MISFITS_ON_A_LINE if on_a_line else MISFITS) * places:
            return None
        mean_m = sum(metres for metres, _ in near) / len(near)
        if mean_m > CLOSE_M:
            return None
        return Verdict(self.readings[k], places, len(near), as_configured, mean_m)

    def _judge_move(self, k: int) -> Verdict | None:
        """Nearly all fixes lie beside shapes in both readings, but only in the other one does the map lie right."""
        places = len(self._cells)
        beside = [
            (heading[0], right[0], heading[k], right[k])
            for _, heading, right in self._cells.values()
            if isfinite(right[0]) and isfinite(right[k])
        ]
        if len(beside) < max(MOVE_PLACES, MOVE_FITS * places):
            return None
        heading_0, right_0, heading_k, right_k = np.asarray(beside).T
        moved_m, _ = _move(heading_0, right_0)
        other_m, spread_m = _move(heading_k, right_k)
        if moved_m < MOVE_M or other_m > MOVE_NONE_M or spread_m > MOVE_SPREAD_M:
            return None
        as_configured = sum(metres[0] <= NEAR_M for metres, _, _ in self._cells.values())
        near = [metres[k] for metres, _, _ in self._cells.values() if metres[k] <= NEAR_M]
        if as_configured > len(near) or len(near) < FITS * places:
            return None
        return Verdict(self.readings[k], places, len(near), as_configured, sum(near) / len(near))


def _move(heading: F64, right: F64) -> tuple[float, float]:
    """(metres by which all shapes would have to be moved together to lie under the fixes, typical distance then). Least
    squares with one more place that says "not at all", so that nothing is moved along a street that nobody leaves."""
    toward = np.radians(heading)
    normals = np.column_stack((np.cos(toward), -np.sin(toward)))
    kept = np.ones(len(right), bool)
    for _ in range(2):  # once more without the worst tenth
        fixed = normals[kept]
        move = np.linalg.solve(fixed.T @ fixed + np.eye(2), fixed.T @ right[kept])
        away = np.abs(right - normals @ move)
        kept = away <= np.quantile(away, 0.9)
    return float(np.hypot(*move)), float(np.median(away))


def _on_a_line(headings: Sequence[float]) -> bool:
    """Whether all but a few headings (modulo 180) lie within `STRAIGHT_DEG` of the most central one."""
    if not headings:
        return True
    angles = np.asarray(headings)
    away = np.abs((angles[:, None] - angles + 90.0) % 180.0 - 90.0)
    main = away[np.argmin(np.median(away, axis=1))]
    return bool((main > STRAIGHT_DEG).sum() < OFF_THE_LINE)
