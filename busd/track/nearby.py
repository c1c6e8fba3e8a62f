"""Which shapes pass near a fix, and where? For vehicles of which nothing is known; a tracked one is matched in a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from busd.track.match import ShapeIndex, heading_of, project, ragged
from gtfs.network import F64, I64, Network


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
    """A Shapely STRtree over the segments of all shapes that a pattern uses. Lines that run down one street share its
    drawing more often than not, so equal segments are one entry: near a trunk road there are hundreds of them."""

    def __init__(self, network: Network, index: ShapeIndex) -> None:
        self._network, self._reach_m = network, index.reach_m
        used = np.unique(network.pattern_shape[network.pattern_shape >= 0]).astype(np.int64)
        piece, segment = ragged(network.shape_offset[used], network.shape_offset[used + 1] - 2)
        x, y = network.shape_x, network.shape_y
        drawn = np.stack([x[segment], y[segment], x[segment + 1], y[segment + 1], self._reach_m[segment]])
        order = np.lexsort((segment, *drawn))
        self._segment, self._shape = segment[order], used[piece[order]]  # by street, within one by shape and place
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(drawn[:, order], axis=1) != 0).any(axis=0)
        self._first = np.append(np.flatnonzero(first), len(order))
        x0, y0, x1, y1, reach = drawn[:, order[first]]
        low_x, low_y, high_x, high_y = np.minimum(x0, x1), np.minimum(y0, y1), np.maximum(x0, x1), np.maximum(y0, y1)
        self._tree = shapely.STRtree(shapely.box(low_x - reach, low_y - reach, high_x + reach, high_y + reach))

    @property
    def streets(self) -> int:
        """Distinct segments."""
        return len(self._first) - 1

    def near(self, x: F64, y: F64) -> Passes:
        """All passes within reach of the points; by point, shape and distance along."""
        who, street = self._tree.query(shapely.points(x, y))
        model = self._segment[self._first[street]]  # any of the equal ones
        along, offset = project(self._network, model, x[who], y[who])
        on = np.flatnonzero(offset <= self._reach_m[model])
        who, street, model, along, offset = who[on], street[on], model[on], along[on], offset[on]
        if not len(who):
            return Passes(who, street, along, offset, along, along)
        metres = self._network.shape_m
        share = (along - metres[model]) / np.maximum(metres[model + 1] - metres[model], 1e-9)
        owner, place = ragged(self._first[street], self._first[street + 1] - 1)
        segment = self._segment[place]
        order = np.argsort(who[owner] * len(metres) + segment, kind="stable")
        owner, place, segment = owner[order], place[order], segment[order]
        who, shape, offset = who[owner], self._shape[place], offset[owner]
        along = metres[segment] + share[owner] * (metres[segment + 1] - metres[segment])
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
