"""How long the links of the road take: learned from stop visits, shared by all lines, the timetable being the prior.

For a leg with planned time q (legs.py) the expected time is q x ratio, with the ratio shrunk from the coarse to the fine:

    network   c = (sum T + w0) / (sum q + w0)
    link      l = (sum T + k1 q c) / (sum q + k1 q)            all lines over the link
    leg       r = (sum T + k2 q l) / (sum q + k2 q)            one pattern alone: its dwell, its turn at the end
    bin       f = (sum T + k3 q r) / (sum E + k3 q r)          the link in this two-hour bin of this day type

with E = q r as it was expected then. The ratio is r f / (f of all bins together): what the hour adds to the level.

Ratios of sums, so that the hour comes from the timetable and the level from the street; one observation counts within
[1 - clip_low, 1 + clip_high] of what was expected, because under 1 % of the links hold a third of all variance. What
early buses lose on a link is in holding.py, what the last ones met in residual.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.parameters import Links
from busd.predict.legs import Legs
from gtfs.network import F64, I64, Network

BINS_A_DAY = 12
DAY_TYPES = 3  # Monday to Friday, Saturday, Sunday
T, Q = 0, 1


class LinkTimes:
    """Sums of observed and planned (in bins: expected) seconds, [.., 2], per network, link, leg, link and bin."""

    def __init__(self, network: Network, legs: Legs, p: Links) -> None:
        self.network, self.legs, self.p = network, legs, p
        links, rows = len(network.link_from), len(network.pattern_stop)
        self.total = np.zeros(2)
        self.link = np.zeros((links, 2))
        self.bin = np.zeros((DAY_TYPES * BINS_A_DAY, links, 2), np.float32)
        self.hours = np.zeros((links, 2))  # all bins of a link together
        self.leg = np.zeros((rows, 2))
        self.visits = np.zeros(links)
        self.mean_q = _mean_planned(network, legs)
        self.learned_day = -1

    # ---- reading -----------------------------------------------------------------------------------------------------

    def ratios(self, leg: I64, time_bin: int | I64) -> F64:
        """Expected / planned time of legs (pattern rows) in a bin of `bin_of`; [n]. 1 before anything is known."""
        p, link, q = self.p, np.maximum(self.legs.link[leg], 0), self.mean_q[leg]
        level = self.levels(leg)
        weight = p.bin_visits * q * level
        hour, day = self.bin[time_bin, link], self.hours[link]
        of_hour = (hour[..., T] + weight) / (hour[..., Q] + weight)
        ratio: F64 = level * of_hour * (day[..., Q] + weight) / (day[..., T] + weight)
        return ratio

    def levels(self, leg: I64) -> F64:
        """The ratio r, all hours alike; [n]."""
        p, q = self.p, self.mean_q[leg]
        c = (self.total[T] + p.network_s) / (self.total[Q] + p.network_s)
        ratio = _shrunk(self.link[np.maximum(self.legs.link[leg], 0)], p.link_visits * q, c)
        return _shrunk(self.leg[leg], p.leg_visits * q, ratio)

    # ---- learning ----------------------------------------------------------------------------------------------------

    def believed(self, took_s: F64, expected_s: F64) -> F64:
        """The time that an observation counts for (winsorised around the expected one); [n]."""
        p = self.p
        low = expected_s * (1 - p.clip_low) - p.clip_low_s
        high = expected_s * (1 + p.clip_high) + p.clip_high_s
        return np.minimum(np.maximum(took_s, low), high)

    def learn(self, leg: I64, took_s: F64, planned_s: F64, time_bin: I64, service_day: int) -> None:
        """Take believed times of legs; all arrays [n]. Older days fade with `Links.half_life_days`."""
        self._fade(service_day)
        link = self.legs.link[leg]
        expected = planned_s * self.levels(leg)
        hourly = np.stack([took_s, expected], axis=1)
        np.add.at(self.bin, (time_bin, link), hourly.astype(np.float32))
        np.add.at(self.hours, link, hourly)
        both = np.stack([took_s, planned_s], axis=1)
        self.total += both.sum(axis=0)
        np.add.at(self.link, link, both)
        np.add.at(self.leg, leg, both)
        np.add.at(self.visits, link, 1.0)

    def _fade(self, service_day: int) -> None:
        if self.learned_day >= 0 and service_day > self.learned_day:
            keep = 0.5 ** ((service_day - self.learned_day) / self.p.half_life_days)
            for sums in (self.total, self.link, self.bin, self.hours, self.leg, self.visits):
                sums *= keep
        self.learned_day = max(self.learned_day, service_day)

    # ---- keeping -----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        used = np.flatnonzero(self.bin.any(axis=(1, 2)))  # most bins of a young state are empty
        return {
            "total": self.total,
            "link": self.link,
            "bins": used,
            "bin": self.bin[used],
            "hours": self.hours,
            "leg": self.leg,
            "visits": self.visits,
            "day": self.learned_day,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.total, self.link, self.leg, self.hours = (state[name] for name in ("total", "link", "leg", "hours"))
        self.bin[:] = 0
        self.bin[state["bins"]] = state["bin"]
        self.visits, self.learned_day = state["visits"], int(state["day"])

    def carry_over(self, old: LinkTimes, here: I64, there: I64, longer: F64) -> None:
        """What ``old`` knows of the links ``there`` is known of the links ``here`` of this network, whose plan for them
        is ``longer`` times as long: the street takes what it took, so the planned sums change; [links]."""
        self.learned_day = old.learned_day
        self.link[here], self.visits[here] = old.link[there], old.visits[there]
        self.link[here, Q] *= longer
        before = float(old.link[there, Q].sum())
        self.total = old.total * np.array([1.0, float(self.link[here, Q].sum()) / before if before > 0 else 1.0])
        self.bin[:, here], self.hours[here] = old.bin[:, there], old.hours[there]


def bin_of(service_day: I64, second: F64) -> I64:
    """Bin of (proleptic ordinal of the service day, second of that day); [n]."""
    weekday = (np.asarray(service_day) - 1) % 7  # ordinal 1 was a Monday
    day_type = np.maximum(weekday - 4, 0)
    two_hours = (np.asarray(second) // (86400 / BINS_A_DAY)).astype(np.int64) % BINS_A_DAY
    bins: I64 = day_type * BINS_A_DAY + two_hours
    return bins


def _shrunk(sums: F64, prior_s: F64, prior: F64 | float) -> F64:
    ratio: F64 = (sums[..., T] + prior_s * prior) / (sums[..., Q] + prior_s)
    return ratio


def _mean_planned(network: Network, legs: Legs) -> F64:
    """Pattern row -> mean planned seconds of its trips (at least 1): what one visit weighs."""
    offset = network.trip_time_offset
    trip = np.repeat(np.arange(len(offset) - 1), np.diff(offset))
    rows = len(network.pattern_stop)
    if not len(trip):
        return np.ones(rows)
    row = network.pattern_stop_offset[network.trip_pattern[trip]] + np.arange(len(trip)) - offset[trip]
    total = np.bincount(row, legs.planned_s, rows)
    return np.maximum(total / np.maximum(np.bincount(row, minlength=rows), 1), 1.0)
