"""Simplified lines stay within the tolerance."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from busd.web.geo import simplify

metres = st.floats(-5_000, 5_000)


def off_segment(p: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> float:
    dx, dy = b[0] - a[0], b[1] - a[1]
    square = dx * dx + dy * dy
    t = 0.0 if square == 0 else max(0.0, min(1.0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / square))
    return math.hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy)


@given(st.lists(st.tuples(metres, metres), min_size=1, max_size=60), st.floats(0.5, 200))
def test_no_dropped_point_is_far_from_the_line(points: list[tuple[float, float]], tolerance: float) -> None:
    kept = simplify([x for x, _ in points], [y for _, y in points], tolerance)
    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert kept[-1] == len(points) - 1
    for first, last in pairwise(kept):
        for i in range(first + 1, last):
            assert off_segment(points[i], points[first], points[last]) <= tolerance + 1e-6


def test_a_loop_is_not_folded_away() -> None:
    xs, ys = [0.0, 100.0, 100.0, 0.0, 0.0], [0.0, 0.0, 100.0, 100.0, 0.0]
    assert simplify(xs, ys, 5.0) == [0, 1, 2, 3, 4]


def test_a_long_line_needs_no_stack() -> None:
    count = 20_000
    xs = [float(i) for i in range(count)]
    ys = [0.0] * (count - 1) + [50.0]
    assert simplify(xs, ys, 1.0)[0] == 0
