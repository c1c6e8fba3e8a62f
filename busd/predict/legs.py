"""The timetable as the predictor reads it: for each stop call, the time planned since the stop before it.

A *leg* is a pattern position with the link that ends there. Its planned time is smoothed along the trip, because most
agencies round stop times to minutes: a link of 40 s is planned as 0, 60 or 120 s, which says nothing about the hour. What
does say something is how the times of many neighbouring links together differ from the ones of other trips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from busd.parameters import Links
from gtfs.network import F64, I64, Network

LEAST_S = 5.0
"""no link takes less, whatever a timetable in whole minutes says"""


@dataclass(frozen=True, eq=False)
class Legs:
    """Immutable; made once a network."""

    link: I64  # pattern row -> link that ends there, -1 at first stops
    planned_s: F64  # stop time row -> smoothed seconds since the stop before, 0 at first stops

    @classmethod
    def of(cls, network: Network, p: Links) -> Legs:
        """O(stop times)."""
        rows = len(network.pattern_stop)
        link = np.full(rows, -1, np.int64)
        if rows:
            link[1:] = network.pattern_link[:-1]
            link[network.pattern_stop_offset[:-1]] = -1
        return cls(link, planned_times(network, p))


def planned_times(network: Network, p: Links) -> F64:
    """Stop time row -> seconds planned for the link that ends there:

        q_j = mean_j * (sum of s over j-K..j+K + c) / (sum of mean over j-K..j+K + c)

    with s the timetable's time of a link on this trip, mean the same over all trips that run over the link, K
    `Links.smooth_stops` and c `Links.smooth_floor_s`; sums stay inside the trip. 0 at first stops."""
    offset = network.trip_time_offset
    n = len(network.arrival_s)
    if not n:
        return np.zeros(0)
    trip = np.repeat(np.arange(len(offset) - 1), np.diff(offset))
    pos = np.arange(n) - offset[trip]
    at = network.arrival_s.astype(np.float64)
    at[offset[:-1][np.diff(offset) > 0]] = network.departure_s[offset[:-1][np.diff(offset) > 0]]
    s = np.diff(at, prepend=0.0)
    s[pos == 0] = 0.0
    link = network.pattern_link[np.maximum(network.pattern_stop_offset[network.trip_pattern[trip]] + pos - 1, 0)]
    inner = pos > 0
    links = len(network.link_from)
    total = np.bincount(link[inner], s[inner], links)
    mean = np.maximum(total / np.maximum(np.bincount(link[inner], minlength=links), 1), LEAST_S)
    mean_here = np.where(inner, mean[link], 0.0)
    sums, means = np.concatenate([[0.0], np.cumsum(s)]), np.concatenate([[0.0], np.cumsum(mean_here)])
    low = np.maximum(np.arange(n) - p.smooth_stops, offset[trip] + 1)
    high = np.minimum(np.arange(n) + p.smooth_stops, offset[trip + 1] - 1) + 1
    low = np.minimum(low, high)
    ratio = (sums[high] - sums[low] + p.smooth_floor_s) / (means[high] - means[low] + p.smooth_floor_s)
    return np.where(inner, mean_here * ratio, 0.0)
