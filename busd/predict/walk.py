"""Along the trip: arrivals from link times, each link shorter or longer by how early the bus comes to it.

With d the deviation (actual - scheduled) at a stop, s the timetable's and t the expected time of the next leg:

    d' = d + (t - s - b mean) + b clip(d, -early_max, 0)

b and mean are the link's (holding.py). A late bus keeps its delay but for what t - s says; an early one drifts back.
The recursion is exact and the same to the bit in both forms: `walk_one` in plain floats, which is faster for a few
buses, and `walk_all` by columns of stops for many.
"""

from __future__ import annotations

import numpy as np

from gtfs.network import F64, I64

FEW_ROWS = 600
"""up to so many rows the loop over floats is faster than numpy by columns"""


def walk(first_s: F64, start: I64, count: I64, drift_s: F64, slope: F64, early_max_s: float) -> F64:
    """Deviations at the stops ahead; [rows].

    ``first_s``: the deviation at the first row of each bus, [n]; ``start``, ``count``: its rows, [n]; ``drift_s``:
    t - s - b mean of the leg that ends at the row, ``slope``: b of its link, [rows] (not read at first rows)."""
    form = walk_one if len(drift_s) <= FEW_ROWS else walk_all
    return form(first_s, start, count, drift_s, slope, early_max_s)


def walk_one(first_s: F64, start: I64, count: I64, drift_s: F64, slope: F64, early_max_s: float) -> F64:
    """As `walk`, bus by bus in plain floats."""
    out = np.empty(len(drift_s))
    drifts, slopes = drift_s.tolist(), slope.tolist()
    for d, a, n in zip(first_s.tolist(), start.tolist(), count.tolist()):
        if not n:
            continue
        deviations = [d]
        for k in range(a + 1, a + n):
            d = d + (drifts[k] + slopes[k] * min(max(d, -early_max_s), 0.0))
            deviations.append(d)
        out[a : a + n] = deviations
    return out


def walk_all(first_s: F64, start: I64, count: I64, drift_s: F64, slope: F64, early_max_s: float) -> F64:
    """As `walk`, stop by stop for all buses at once. The buses with most stops come first, so that those still on their
    way at a stop are a prefix of those at the stop before."""
    out = np.empty(len(drift_s))
    order = np.argsort(-count, kind="stable")
    stops = count[order]
    alive = len(stops) - np.searchsorted(stops[::-1], np.arange(int(stops.max(initial=0))), side="right")
    row, d = start[order], first_s[order]
    for k, n in enumerate(alive.tolist()):
        row, d = row[:n], d[:n]
        if k:
            row += 1  # a copy of ``start``
            step = np.minimum(np.maximum(d, -early_max_s), 0.0)
            step *= slope.take(row)
            step += drift_s.take(row)
            step += d
            d = step
        out[row] = d
    return out
