"""Which shapes pass near a fix, and where? For vehicles of which nothing is known; a tracked one is matched in a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from busd.track.match import ShapeIndex, heading_of, project, ragged
from gtfs.network import F64, I64, Network

CHUNK = 8
"""segments of a shape that share an entry of the tree"""


@dataclass(frozen=True)
class Passes:
    """One row a pass of a shape within reach of a fix; parallel arrays."""

    who: I64  # index of the fix
    shape: I64
    along_m: F64
    offset_m: F64
    reach_m: F64  # how far off the shape still counts as on it, there
    heading: F64  # radians clockwise from north


class ShapeTree:
    """A Shapely STRtree over pieces of all shapes that a pattern uses."""

    def __init__(self, network: Network, index: ShapeIndex) -> None:
        self._network, self._reach_m = network, index.reach_m
        used = np.unique(network.pattern_shape[network.pattern_shape >= 0]).astype(np.int64)
        first, last = network.shape_offset[used], network.shape_offset[used + 1] - 1  # points
        pieces = np.maximum((last - first + CHUNK - 1) // CHUNK, 0)
        owner = np.repeat(np.arange(len(used)), pieces)
        start = first[owner] + CHUNK * (np.arange(len(owner)) - (np.cumsum(pieces) - pieces)[owner])
        end = np.minimum(start + CHUNK, last[owner])
        self._shape, self._start, self._end = used[owner], start, end  # points start..end, both inclusive
        piece, point = ragged(start, end)
        self._farthest = float(index.reach_m.max(initial=0.0))
        lines = shapely.linestrings(network.shape_x[point], network.shape_y[point], indices=piece)
        self._tree = shapely.STRtree(lines)

    def near(self, x: F64, y: F64) -> Passes:
        """All passes within reach of the points; by point, shape and distance along."""
        who, piece = self._tree.query(shapely.points(x, y), predicate="dwithin", distance=self._farthest)
        pair, segment = ragged(self._start[piece], self._end[piece] - 1)
        who, shape = who[pair], self._shape[piece[pair]]
        along, offset = project(self._network, segment, x[who], y[who])
        order = np.lexsort((segment, shape, who))
        order = order[offset[order] <= self._reach_m[segment[order]]]
        who, shape, segment, along, offset = who[order], shape[order], segment[order], along[order], offset[order]
        if not len(who):
            return Passes(who, shape, along, offset, along, along)
        # a new pass begins where the shape has been out of reach in between
        fresh = np.ones(len(who), bool)
        fresh[1:] = (np.diff(who) != 0) | (np.diff(shape) != 0) | (np.diff(segment) > 1)
        begin = np.flatnonzero(fresh)
        least = np.minimum.reduceat(offset, begin)
        group = np.cumsum(fresh) - 1
        nearest = np.flatnonzero(offset == least[group])
        pick = nearest[np.searchsorted(group[nearest], np.arange(len(begin)))]
        segment = segment[pick]
        heading = heading_of(self._network, segment)
        return Passes(who[pick], shape[pick], along[pick], offset[pick], self._reach_m[segment], heading)
