"""Along the trip: arrivals from link times, each link shorter or longer by how early the bus comes to it.

With d the deviation (actual - scheduled) at a stop, s the timetable's and t the expected time of the next leg:

    d' = d + t - s + b (clip(d, -early_max, 0) - mean)

b and mean are the link's (holding.py). A late bus keeps its delay but for what t - s says; an early one drifts back.
The recursion is exact and the same to the bit in both forms: `walk_one` in plain floats, which is faster for a few
buses, and `walk_all` by columns of stops for many.
"""

from __future__ import annotations

import numpy as np

from gtfs.network import F64, I64

FEW_ROWS = 600
"""up to so many rows the loop over floats is faster than numpy by columns"""


def walk(first_s: F64, start: I64, count: I64, gain_s: F64, slope: F64, mean_s: F64, early_max_s: float) -> F64:
    """Deviations at the stops ahead; [rows].

    ``first_s``: the deviation at the first row of each bus, [n]; ``start``, ``count``: its rows, [n]; ``gain_s``: t - s
    of the leg that ends at the row, ``slope`` and ``mean_s`` of its link, [rows] (not read at first rows)."""
    if len(gain_s) <= FEW_ROWS:
        return walk_one(first_s, start, count, gain_s, slope, mean_s, early_max_s)
    return walk_all(first_s, start, count, gain_s, slope, mean_s, early_max_s)


def walk_one(first_s: F64, start: I64, count: I64, gain_s: F64, slope: F64, mean_s: F64, early_max_s: float) -> F64:
    """As `walk`, bus by bus in plain floats."""
    out = np.empty(len(gain_s))
    gains, slopes, means = gain_s.tolist(), slope.tolist(), mean_s.tolist()
    for d, a, n in zip(first_s.tolist(), start.tolist(), count.tolist()):
        if not n:
            continue
        deviations = [d]
        for k in range(a + 1, a + n):
            early = min(max(d, -early_max_s), 0.0)
            d = d + gains[k] + slopes[k] * (early - means[k])
            deviations.append(d)
        out[a : a + n] = deviations
    return out


def walk_all(first_s: F64, start: I64, count: I64, gain_s: F64, slope: F64, mean_s: F64, early_max_s: float) -> F64:
    """As `walk`, stop by stop for all buses at once: gathered by columns of stops, the buses with most stops first, so
    that each column is a prefix of the one before."""
    out = np.empty(len(gain_s))
    order = np.argsort(-count, kind="stable")
    stops = count[order]
    alive = int((stops > 0).sum())
    if not alive:
        return out
    places = np.arange(int(stops[0]))[:, None]
    row = start[order][:alive] + places
    inside = places < stops[:alive]
    np.minimum(row, len(out) - 1, out=row)
    gains, slopes, means = gain_s.take(row), slope.take(row), mean_s.take(row)
    deviations = np.empty(row.shape)
    deviations[0] = d = first_s[order][:alive]
    for k, n in enumerate(inside.sum(axis=1).tolist()[1:], 1):
        d = d[:n]
        early = np.minimum(np.maximum(d, -early_max_s), 0.0)
        d = d + gains[k, :n] + slopes[k, :n] * (early - means[k, :n])
        deviations[k, :n] = d
    out[row[inside]] = deviations[inside]
    return out
