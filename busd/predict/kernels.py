"""Pure functions over all rows of a tick at once. Each has a slow twin in tests/predict that says the same in a loop."""

from __future__ import annotations

import numpy as np

from busd.parameters import Predicting
from gtfs.network import F64, I64, Bool


def running_sums(values: F64, owner: I64) -> F64:
    """Sum of the earlier values of the same owner: [n], owners contiguous. The first of each owner is 0."""
    total = np.cumsum(values) - values
    first = np.ones(len(owner), bool)
    np.not_equal(owner[1:], owner[:-1], out=first[1:])
    group = np.cumsum(first) - 1
    sums: F64 = total - total[first][group]
    return sums


def schedule_plus_delay(
    arrival_at: F64, departure_at: F64, delay_s: F64, owner: I64, now: float, p: Predicting
) -> tuple[F64, F64]:
    """Arrivals and departures to come: schedule + delay, with recovery at time points; [rows] each, epoch seconds.

    ``arrival_at``/``departure_at``: the timetable of the stops ahead, [rows], grouped by ``owner`` (one bus each);
    ``delay_s``: the owner's delay before its first row, [rows]. A late bus makes up at each time point what its
    scheduled dwell exceeds `Predicting.min_dwell_s` by; an early bus is not held (it departs as it came). Never in
    the past. The open default of GTFS-Realtime consumers (OneBusAway, OpenTripPlanner), plus the recovery.
    """
    spare = np.maximum(departure_at - arrival_at - p.min_dwell_s, 0.0)
    recovered = running_sums(spare, owner)
    late = delay_s > 0
    before = np.where(late, np.maximum(delay_s - recovered, 0.0), delay_s)
    after = np.where(late, np.maximum(delay_s - recovered - spare, 0.0), delay_s)
    arrival = np.maximum(arrival_at + before, now)
    return arrival, np.maximum(departure_at + after, arrival)


def delay_after_layover(delay_s: F64, layover_s: F64, p: Predicting) -> F64:
    """Delay at the start of the next trip of the block: what the layover beyond its minimum does not take up; [n]."""
    return np.maximum(delay_s - np.maximum(layover_s - p.min_layover_s, 0.0), 0.0)


def interval(p50: F64, now: float, earliest: F64, p: Predicting) -> tuple[F64, F64, F64]:
    """(p10, p90, rider point) around the median, widening with the horizon; [rows]. Not before ``now`` and
    ``earliest`` (-inf: no such bound)."""
    ahead = np.maximum(p50 - now, 0.0)
    p10 = np.maximum(p50 - p.low_base_s - p.low_share * ahead, np.maximum(np.minimum(p50, now), earliest))
    p90 = p50 + p.high_base_s + p.high_share * ahead
    return p10, p90, p50 - p.rider_share * (p50 - p10)


def within_horizon(p50: F64, owner: I64, now: float, p: Predicting) -> Bool:
    """Rows up to the horizon; the times of one owner rise, so this is a prefix of its rows."""
    del owner
    return p50 <= now + p.horizon_s
