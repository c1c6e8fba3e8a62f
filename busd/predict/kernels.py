"""Pure functions over all rows of a tick at once. Each has a slow twin in tests/predict that says the same in a loop."""

from __future__ import annotations

import numpy as np

from busd.parameters import Predicting
from gtfs.network import F64, I64, Bool


def running_sums(values: F64, start: I64, count: I64) -> F64:
    """Sum of the values of the same run up to and with each row: [rows]; ``start``, ``count``: its rows, [n], in order."""
    total = np.cumsum(values)
    if len(total):
        row = np.minimum(start, len(total) - 1)  # a run without rows may begin behind the last
        total -= np.repeat(total[row] - values[row], count)
    return total


def rising(values: F64, owner: I64, origin: float) -> F64:
    """The largest value of the same owner so far, in place: [.., n], owners contiguous and ascending; values within 1e7
    of ``origin``.

    Most trips rise by themselves, and looking is much cheaper than accumulating: only the others are worked on."""
    falls = values[..., 1:] < values[..., :-1]
    falls &= owner[1:] == owner[:-1]
    if falls.any():
        where = np.flatnonzero(falls.reshape(-1, falls.shape[-1]).any(axis=0)) + 1
        worked = np.zeros(int(owner[-1]) + 1, bool)
        worked[owner[where]] = True
        rows = np.flatnonzero(worked[owner])
        offset = owner[rows] * 1e8
        risen = np.maximum.accumulate(values[..., rows] - origin + offset, axis=-1)
        values[..., rows] = risen - offset + origin
    return values


def departures(arrival: F64, arrival_at: F64, departure_at: F64, min_dwell_s: float, out: F64) -> F64:
    """When a bus that arrives at ``arrival`` leaves a stop planned from ``arrival_at`` to ``departure_at``: it stays as
    planned, a late one at least ``min_dwell_s`` of that; [rows], epoch seconds, into ``out``."""
    dwell = departure_at - arrival_at
    np.add(arrival, dwell, out=out)
    np.minimum(out, departure_at, out=out)
    np.minimum(dwell, min_dwell_s, out=dwell)
    dwell += arrival
    np.maximum(out, dwell, out=out)
    return np.maximum(out, arrival, out=out)


def fan(p50: F64, at: float, p: Predicting, out: F64) -> None:
    """(p10, rider point, median, p90) without calibration, widening with the horizon; into ``out`` [4, rows]."""
    ahead = np.maximum(p50 - at, 0.0)
    low = p50 - p.low_base_s - p.low_share * ahead
    high = p50 + p.high_base_s + p.high_share * ahead
    out[:] = low, p50 - p.rider_share * (p50 - low), p50, high


def in_order(quantiles: F64, owner: I64, at: float, earliest: F64) -> F64:
    """The four quantiles made honest, in place; [4, rows] of (p10, rider point, median, p90), epoch seconds.

    p10 <= rider point <= median <= p90; the first two not before ``earliest`` (the past, or the timetable at a first
    stop) unless the median is; and none earlier than at the stop before (a bus does not overtake itself)."""
    p10, rider, median, p90 = quantiles
    np.minimum(p10, median, out=p10)
    np.maximum(p10, np.minimum(earliest, median), out=p10)
    np.minimum(rider, median, out=rider)
    np.maximum(rider, p10, out=rider)
    np.maximum(p90, median, out=p90)
    return rising(quantiles, owner, at)


def settled(new: F64, old: F64, at: float, p: Predicting) -> F64:
    """``new`` where its median left the noise around the published one, else ``old``, in place; [4, rows], row 2 the
    median.

    No wobble: a time on a sign changes only for a reason larger than noise_s + noise_share x horizon."""
    noise = p.noise_s + p.noise_share * np.maximum(new[2] - at, 0.0)
    held = np.abs(new[2] - old[2]) < noise
    for values, before in zip(new, old):
        np.copyto(values, before, where=held)
    return new


def first_and_last(chosen: Bool, start: I64, count: I64) -> tuple[I64, I64]:
    """Of each run of rows ``start`` .. ``start + count``, which rows hold the first and the last chosen one, counted
    from its start; [n] each. (count, -1) where none is."""
    where = np.flatnonzero(chosen)
    if not len(where):
        return count.copy(), np.full(len(count), -1)
    low, high = np.searchsorted(where, start), np.searchsorted(where, start + count)
    some = high > low
    first = where[np.minimum(low, len(where) - 1)] - start
    last = where[np.maximum(high, 1) - 1] - start
    return np.where(some, first, count), np.where(some, last, -1)
