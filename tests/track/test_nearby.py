"""The tree of streets against a twin that looks at every segment of every shape."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.track.match import ShapeIndex, project
from busd.track.nearby import ShapeTree
from busd.tracking_parameters import Matching, Visits
from gtfs.testing import network_from_map

MAP = """
A---B---C---D
    |       |
G---F---E---H
"""
LINES = {"1": "ABCDHEFG", "2": "ABCBA", "3": "DCBA", "4": "ABFBA", "5": "GFEHDCBA"}
NETWORK = network_from_map(MAP, LINES, trips=1, shapes=LINES)
INDEX = ShapeIndex(NETWORK, Matching(), Visits())
TREE = ShapeTree(NETWORK, INDEX)


def slow_twin(x: float, y: float) -> list[tuple[int, float, float]]:
    """(shape, metres along, metres off) of each pass: a run of segments in reach, at its nearest point."""
    out = []
    for shape in range(len(NETWORK.shape_offset) - 1):
        best: tuple[float, float] | None = None
        for k in range(int(NETWORK.shape_offset[shape]), int(NETWORK.shape_offset[shape + 1]) - 1):
            along, off = project(NETWORK, np.array([k]), np.array([x]), np.array([y]))
            if off[0] <= INDEX.reach_m[k]:
                if best is None or off[0] < best[1]:
                    best = (float(along[0]), float(off[0]))
            elif best is not None:
                out.append((shape, *best))
                best = None
        if best is not None:
            out.append((shape, *best))
    return out


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-0.1, 1.1), st.floats(-0.3, 1.3)), min_size=1, max_size=6))
def test_all_passes_are_found_once(places: list[tuple[float, float]]) -> None:
    low_x, high_x = NETWORK.shape_x.min(), NETWORK.shape_x.max()
    low_y, high_y = NETWORK.shape_y.min(), NETWORK.shape_y.max()
    x = np.array([low_x + (high_x - low_x) * a for a, _ in places])
    y = np.array([low_y + (high_y - low_y) * b for _, b in places])
    found = TREE.near(x, y)
    for i in range(len(places)):
        mine = np.flatnonzero(found.who == i)
        got = sorted(zip(found.shape[mine].tolist(), found.along_m[mine].tolist(), found.offset_m[mine].tolist()))
        want = sorted(slow_twin(float(x[i]), float(y[i])))
        assert len(got) == len(want)
        for (shape, along, off), (shape_, along_, off_) in zip(got, want):
            assert shape == shape_
            assert math.isclose(off, off_, abs_tol=1e-6)
            assert math.isclose(along, along_, abs_tol=1e-3)


def test_equal_segments_are_one_entry() -> None:
    segments = int((NETWORK.shape_offset[1:] - NETWORK.shape_offset[:-1] - 1).sum())
    assert len(TREE.near(np.array([1e7]), np.array([1e7])).who) == 0
    assert TREE.streets < segments
