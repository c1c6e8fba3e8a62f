"""Pure functions over all rows of a tick at once. Each has a slow twin in tests/predict that says the same in a loop."""

from __future__ import annotations

import numpy as np

from busd.parameters import Predicting
from gtfs.network import F64, I64, Bool


def running_sums(values: F64, owner: I64) -> F64:
    """Sum of the values of the same owner up to and with each row: [n], owners contiguous."""
    if not len(values):
        return np.zeros(0)
    total = np.cumsum(values)
    first = np.ones(len(owner), bool)
    np.not_equal(owner[1:], owner[:-1], out=first[1:])
    before = (total - values)[first]
    sums: F64 = total - before[np.cumsum(first) - 1]
    return sums


def rising(values: F64, owner: I64) -> F64:
    """The largest value of the same owner so far: [.., n], owners contiguous and ascending; values below 1e7.

    Most trips rise by themselves, and looking is much cheaper than accumulating: only the others are worked on."""
    falls = (values[..., 1:] < values[..., :-1]) & (owner[1:] == owner[:-1])
    if not falls.any():
        return values
    where = np.flatnonzero(falls.reshape(-1, falls.shape[-1]).any(axis=0)) + 1
    worked = np.zeros(int(owner[-1]) + 1, bool)
    worked[owner[where]] = True
    rows = np.flatnonzero(worked[owner])
    offset = owner[rows] * 1e8
    risen = values.copy()
    risen[..., rows] = np.maximum.accumulate(values[..., rows] + offset, axis=-1) - offset
    return risen


def departures(arrival: F64, arrival_at: F64, departure_at: F64, min_dwell_s: float) -> F64:
    """When a bus that arrives at ``arrival`` leaves a stop planned from ``arrival_at`` to ``departure_at``: it stays as
    planned, a late one at least ``min_dwell_s`` of that; [rows], epoch seconds."""
    dwell = departure_at - arrival_at
    leaves = np.maximum(arrival + np.minimum(dwell, min_dwell_s), np.minimum(departure_at, arrival + dwell))
    return np.asarray(np.maximum(leaves, arrival))


def fan(p50: F64, at: float, p: Predicting) -> F64:
    """(p10, rider point, median, p90) without calibration, widening with the horizon; [4, rows]."""
    ahead = np.maximum(p50 - at, 0.0)
    low = p50 - p.low_base_s - p.low_share * ahead
    high = p50 + p.high_base_s + p.high_share * ahead
    return np.stack([low, p50 - p.rider_share * (p50 - low), p50, high])


def in_order(quantiles: F64, owner: I64, at: float, earliest: F64) -> F64:
    """The four quantiles made honest; [4, rows] of (p10, rider point, median, p90), epoch seconds.

    p10 <= rider point <= median <= p90; the first two not before ``earliest`` (the past, or the timetable at a first
    stop) unless the median is; and none earlier than at the stop before (a bus does not overtake itself)."""
    p10, rider, median, p90 = quantiles
    bound = np.minimum(earliest, median)
    ordered = np.empty_like(quantiles)
    ordered[0] = np.maximum(np.minimum(p10, median), bound)
    ordered[1] = np.maximum(np.minimum(rider, median), ordered[0])
    ordered[2] = median
    ordered[3] = np.maximum(p90, median)
    return rising(ordered - at, owner) + at


def settled(new: F64, old: F64, at: float, p: Predicting) -> F64:
    """``new`` where its median left the noise around the published one, else ``old``; [4, rows], row 2 the median.

    No wobble: a time on a sign changes only for a reason larger than noise_s + noise_share x horizon."""
    noise = p.noise_s + p.noise_share * np.maximum(new[2] - at, 0.0)
    return np.where(np.abs(new[2] - old[2]) < noise, old, new)


def first_and_last(chosen: Bool, start: I64, count: I64) -> tuple[I64, I64]:
    """Of each run of rows ``start`` .. ``start + count``, which rows hold the first and the last chosen one, counted
    from its start; [n] each. (count, -1) where none is."""
    before = np.concatenate([[0], np.cumsum(chosen)])
    where = np.flatnonzero(chosen)
    low, high = before[start], before[start + count]
    some = high > low
    if not len(where):
        return count.copy(), np.full(len(count), -1)
    first = where[np.minimum(low, len(where) - 1)] - start
    last = where[np.maximum(high, 1) - 1] - start
    return np.where(some, first, count), np.where(some, last, -1)
