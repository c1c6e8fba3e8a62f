"""What the predictor has learned of the network, and how it learns from stop visits.

One state for live learning, for a warm start and for priors from history: all go through `Learned.observe`, so nothing
learned can have used what was not yet known. Predictions read `Learned.table`, which is renewed on a grid of half a
minute, because its thousands of rows cost more than one bus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from busd.parameters import Parameters
from busd.predict.holding import Holding
from busd.predict.legs import Legs
from busd.predict.links import LinkTimes, bin_of
from busd.predict.places import PlaceProfile
from busd.predict.residual import Gate, RecentExcess
from busd.predict.terminals import Departures
from gtfs.network import F64, I64, Network

RATIO, SLOPE, HELD, SIGMA2, RECENT = range(5)
"""rows of `Learned.table`, a column a leg; HELD is the slope times the mean earliness (holding.py)"""


@dataclass
class Seen:
    """Stop visits as the learned state takes them, parallel arrays [n]; epoch seconds."""

    pattern: I64
    stop_pos: I64
    time_row: I64  # of the stop times
    base_at: F64  # start of the service day, plus the shift of a frequency run
    day: I64  # ordinal of the service day
    at: F64  # arrival; departure at first stops
    before_at: F64  # its arrival at the stop before (departure at the first one; at first stops the end of its run
    # before); NaN unknown
    bracket_s: F64
    habit_s: F64  # at first stops how late the bus left its last one, else 0


class Learned:
    def __init__(self, network: Network, parameters: Parameters) -> None:
        self.network, self.p = network, parameters.links
        self.parts = parameters.parts
        self.legs = Legs.of(network, self.p)
        self.links = LinkTimes(network, self.legs, self.p)
        self.holding = Holding(len(network.link_from), self.p)
        self.recent = RecentExcess(network, self.p)
        self.pace_gate = Gate(self.p)
        self.places = PlaceProfile(len(network.link_from), parameters.places)
        self.departures = Departures(network, parameters.terminals)
        self._typical_s = _typical(network, self.legs)
        self.table = np.zeros((5, len(network.pattern_stop)))
        self.table_at = -np.inf
        self.refresh(-np.inf, 0, 0.0)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def refresh(self, at: float, day: int, second: float) -> None:
        """Renew `table` for ``second`` of service day ``day``."""
        legs, link = np.arange(self.table.shape[1]), np.maximum(self.legs.link, 0)
        time_bin = int(bin_of(np.array([day]), np.array([second]))[0])
        self.table[RATIO] = self.links.ratios(legs, np.full(len(legs), time_bin)) if self.parts.links else 1.0
        slope, early, sigma2 = self.holding.slopes(self._typical_s)
        if len(slope):
            slope = slope if self.parts.holding else np.zeros_like(slope)
            self.table[SLOPE], self.table[HELD] = slope[link], (slope * early)[link]
            self.table[SIGMA2] = sigma2[link]
        self.table[RECENT] = self.recent.table(self.legs.link, at) if np.isfinite(at) else 0.0
        self.table_at = at

    # ---- learning ----------------------------------------------------------------------------------------------------

    def observe(self, seen: Seen, known_at: float) -> tuple[I64, F64, F64]:
        """Learn from visits that became known at ``known_at``. Returns (index into them, excess, expected time) of
        those that told a link time."""
        p, network = self.p, self.network
        first = np.flatnonzero((seen.stop_pos == 0) & (seen.bracket_s <= p.max_bracket_s))
        if len(first):
            due = seen.base_at[first] + network.departure_s[seen.time_row[first]]
            self.departures.learn(seen.pattern[first], due, seen.before_at[first], seen.at[first], seen.habit_s[first])
        took = seen.at - seen.before_at
        useful = (took >= p.shortest_s) & (took <= p.longest_s) & (seen.bracket_s <= p.max_bracket_s)
        k = np.flatnonzero(useful & (seen.stop_pos > 0))
        if not len(k):
            return k, np.zeros(0), np.zeros(0)
        leg = network.pattern_stop_offset[seen.pattern[k]] + seen.stop_pos[k]
        link, planned = self.legs.link[leg], self.legs.planned_s[seen.time_row[k]]
        time_bin = bin_of(seen.day[k], seen.before_at[k] - seen.base_at[k])
        expected = planned * self.links.ratios(leg, time_bin)
        believed = self.links.believed(took[k], expected)
        excess = believed - expected
        before_row = seen.time_row[k] - 1
        times = np.where(seen.stop_pos[k] == 1, network.departure_s[before_row], network.arrival_s[before_row])
        self.holding.learn(link, seen.before_at[k] - seen.base_at[k] - times, excess)
        self.recent.learn(link, excess, expected, self.table[RECENT, leg], known_at)
        day = int(seen.day[k].max())
        if self.links.learned_day >= 0 and day > self.links.learned_day:
            self._fade(0.5 ** ((day - self.links.learned_day) / p.half_life_days))
        self.links.learn(leg, believed, planned, time_bin, day)
        return k, excess, expected

    def _fade(self, keep: float) -> None:
        self.holding.fade(keep)
        self.places.fade(keep)
        self.departures.fade(keep)

    # ---- keeping -----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        return {
            "links": self.links.dump(),
            "holding": self.holding.dump(),
            "recent": self.recent.dump(),
            "pace": self.pace_gate.state,
            "places": self.places.dump(),
            "departures": self.departures.dump(),
            "table": self.table,
            "table_at": self.table_at,
        }

    def load(self, state: dict[str, Any]) -> None:
        for name in ("links", "holding", "recent", "places", "departures"):
            getattr(self, name).load(state[name])
        self.pace_gate.state = state["pace"]
        self.table, self.table_at = state["table"], float(state["table_at"])

    def carry_over(self, old: Learned) -> None:
        """Another timetable: what is known of links and stops that are still there (by stop_id) goes on."""
        stops = _same_stops(old.network, self.network)
        here, there = _same_links(old.network, self.network, stops)
        longer = np.maximum(self._typical_s[here], 1.0) / np.maximum(old._typical_s[there], 1.0)
        self.links.carry_over(old.links, here, there, longer)
        self.holding.carry_over(old.holding, here, there)
        self.recent.gate.state, self.pace_gate.state = old.recent.gate.state.copy(), old.pace_gate.state.copy()
        self.places.carry_over(old.places, here, there)
        kept = np.flatnonzero(stops >= 0)
        self.departures.carry_over(old.departures, stops[kept], kept)
        self.table_at = -np.inf


def _typical(network: Network, legs: Legs) -> F64:
    """Link -> mean planned seconds over all its trips."""
    offset = network.trip_time_offset
    trip = np.repeat(np.arange(len(offset) - 1), np.diff(offset))
    links = len(network.link_from)
    if not len(trip):
        return np.zeros(links)
    link = legs.link[network.pattern_stop_offset[network.trip_pattern[trip]] + np.arange(len(trip)) - offset[trip]]
    inner = link >= 0
    total = np.bincount(link[inner], legs.planned_s[inner], links)
    typical: F64 = total / np.maximum(np.bincount(link[inner], minlength=links), 1)
    return typical


def _same_stops(old: Network, new: Network) -> I64:
    """Stop of ``old`` -> stop of ``new`` with the same stop_id, -1 none."""
    found = [new.find_stop(old.stop_id[k]) for k in range(len(old.stop_lat))]
    return np.array([-1 if k is None else k for k in found], np.int64)


def _same_links(old: Network, new: Network, stops: I64) -> tuple[I64, I64]:
    """(links of ``new``, the same of ``old``)."""
    if not len(old.link_from) or not len(new.link_from):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    width = len(new.stop_lat) + 1
    key_old = stops[old.link_from] * width + stops[old.link_to]
    key_old[(stops[old.link_from] < 0) | (stops[old.link_to] < 0)] = -1
    key_new = new.link_from.astype(np.int64) * width + new.link_to
    order = np.argsort(key_new, kind="stable")
    place = np.minimum(np.searchsorted(key_new[order], key_old), len(order) - 1)
    there = np.flatnonzero(key_new[order][place] == key_old)
    return order[place[there]], there
