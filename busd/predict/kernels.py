"""Pure functions over all rows of a tick at once. Each has a slow twin in tests/predict that says the same in a loop."""

from __future__ import annotations

import numpy as np

from busd.parameters import Predicting
from gtfs.network import F64, I64


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
    """The largest value of the same owner so far: [n] or [n, k], owners contiguous and ascending; values below 1e7."""
    offset = owner * 1e8 if values.ndim == 1 else (owner * 1e8)[:, None]
    risen: F64 = np.maximum.accumulate(values + offset, axis=0) - offset
    return risen


def departures(arrival: F64, arrival_at: F64, departure_at: F64, min_dwell_s: float) -> F64:
    """When a bus that arrives at ``arrival`` leaves a stop planned from ``arrival_at`` to ``departure_at``: it stays as
    planned, a late one at least ``min_dwell_s`` of that; [rows], epoch seconds."""
    dwell = departure_at - arrival_at
    leaves = np.maximum(arrival + np.minimum(dwell, min_dwell_s), np.minimum(departure_at, arrival + dwell))
    return np.asarray(np.maximum(leaves, arrival))


def fan(p50: F64, at: float, p: Predicting) -> F64:
    """(p10, rider point, median, p90) without calibration, widening with the horizon; [rows, 4]."""
    ahead = np.maximum(p50 - at, 0.0)
    low = p50 - p.low_base_s - p.low_share * ahead
    high = p50 + p.high_base_s + p.high_share * ahead
    return np.stack([low, p50 - p.rider_share * (p50 - low), p50, high], axis=1)


def in_order(quantiles: F64, owner: I64, at: float, earliest: F64) -> F64:
    """The four quantiles made honest; [rows, 4] of (p10, rider point, median, p90), epoch seconds.

    Each at least the one before it, none before ``earliest`` (the past, or the timetable at a first stop) unless the
    median is, and none earlier than at the stop before (a bus does not overtake itself)."""
    ordered = np.maximum.accumulate(quantiles, axis=1)
    ordered[:, 2] = quantiles[:, 2]
    ordered[:, :2] = np.minimum(ordered[:, :2], quantiles[:, 2:3])
    ordered[:, 3] = np.maximum(ordered[:, 3], quantiles[:, 2])
    bound = np.minimum(earliest, ordered[:, 2])[:, None]
    ordered[:, :2] = np.maximum(ordered[:, :2], bound)
    return rising(ordered - at, owner) + at


def settled(new: F64, old: F64, at: float, p: Predicting) -> F64:
    """``new`` where its median left the noise around the published one, else ``old``; [rows, k], column 1 the median.

    No wobble: a time on a sign changes only for a reason larger than noise_s + noise_share x horizon."""
    noise = p.noise_s + p.noise_share * np.maximum(new[:, 1] - at, 0.0)
    keep = np.abs(new[:, 1] - old[:, 1]) < noise
    return np.where(keep[:, None], old, new)
