"""Lines made simple enough to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence


def simplify(xs: Sequence[float], ys: Sequence[float], tolerance_m: float) -> list[int]:
    """Douglas-Peucker (1973): indices of the points to keep, so that no dropped one lies further than ``tolerance_m``
    from the line. First and last stay. Iterative, because a shape may have more points than Python has stack."""
    count = len(xs)
    if count <= 2:
        return list(range(count))
    keep = bytearray(count)
    keep[0] = keep[-1] = 1
    spans = [(0, count - 1)]
    while spans:
        first, last = spans.pop()
        x0, y0, x1, y1 = xs[first], ys[first], xs[last], ys[last]
        dx, dy = x1 - x0, y1 - y0
        square = dx * dx + dy * dy
        worst, at = tolerance_m, -1
        for i in range(first + 1, last):
            px, py = xs[i] - x0, ys[i] - y0
            # To the segment, not to the endless line: a loop comes back past its own start.
            t = 0.0 if square == 0.0 else min(1.0, max(0.0, (px * dx + py * dy) / square))
            away = math.hypot(px - t * dx, py - t * dy)
            if away > worst:
                worst, at = away, i
        if at >= 0:
            keep[at] = 1
            spans.append((first, at))
            spans.append((at, last))
    return [i for i in range(count) if keep[i]]
