"""Which runs may a vehicle perform of which nothing is known yet? Those whose shape passes by at a time that their
timetable allows, and those that start around here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from busd.parameters import Parameters
from busd.track import evidence
from busd.track.beliefs import LAYOVER, SERVICE, Beliefs
from busd.track.match import ShapeIndex
from busd.track.nearby import ShapeTree
from busd.track.service import Service
from gtfs.network import F64, I64, Bool, Network


@dataclass
class Reports:
    """The fixes of one round, parallel arrays [n]; NaN where unknown."""

    rows: I64  # of Vehicles and Beliefs
    x: F64
    y: F64
    at: F64
    heading_deg: F64
    speed_mps: F64
    names_trip: Bool  # the source names a trip, even if no day brings it
    hint_run: I64  # run number of Service that the source names; -1 none
    hint_route: I64  # rows of the network that the source names; -1 none
    hint_direction: I64
    hint_block: I64
    moved_m: F64 = field(default_factory=lambda: np.zeros(0))  # since the fix before; NaN at the first
    gone_m: F64 = field(default_factory=lambda: np.zeros(0))  # since its last real movement ended; NaN at the first
    elapsed_s: F64 = field(default_factory=lambda: np.zeros(0))
    is_new: Bool = field(default_factory=lambda: np.zeros(0, bool))  # nothing is known of the vehicle yet


@dataclass
class Candidates:
    """New hypotheses; parallel arrays."""

    who: I64  # index into Reports
    number: I64  # run number of Service
    phase: I64
    distance_m: F64
    offset_m: F64
    deviation_s: F64
    path: F64
    waited: F64
    habit: F64
    prior: F64

    def take(self, chosen: np.ndarray) -> Candidates:
        return Candidates(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Ends:
    """Pattern -> its first and last stop: metres along the shape, place in the network's frame."""

    start_m: F64
    end_m: F64
    before_last_m: F64  # of the last stop but one
    first_x: F64
    first_y: F64
    last_x: F64
    last_y: F64

    @classmethod
    def of(cls, network: Network) -> Self:
        first, last = network.pattern_stop_offset[:-1], network.pattern_stop_offset[1:] - 1
        a, b = network.pattern_stop[first], network.pattern_stop[last]
        metres = network.pattern_stop_m
        x, y = network.stop_x, network.stop_y
        return cls(metres[first], metres[last], metres[np.maximum(last - 1, first)], x[a], y[a], x[b], y[b])


class Finder:
    """Finds candidates for many vehicles at once."""

    def __init__(
        self, network: Network, index: ShapeIndex, ends: Ends, beliefs: Beliefs, parameters: Parameters
    ) -> None:
        self.network, self.index, self.ends, self.beliefs = network, index, ends, beliefs
        self.p, self.t = parameters, parameters.tracking
        self._tree = ShapeTree(network, index)
        self._shape_patterns = np.argsort(network.pattern_shape, kind="stable")
        shapes = network.pattern_shape[self._shape_patterns]
        self._shape_first = np.searchsorted(shapes, np.arange(len(network.shape_offset)))

    def around(self, now: Reports, who: I64, service: Service) -> Candidates:
        """Candidates for the reports ``who``."""
        parts = [self._on_the_way(now, who, service), self._at_terminals(now, who, service)]
        names = Candidates.__dataclass_fields__
        return Candidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _on_the_way(self, now: Reports, who: I64, s: Service) -> Candidates:
        t, network = self.t, self.network
        passes = self._tree.near(now.x[who], now.y[who])
        fix = who[passes.who]
        sure = np.isfinite(now.heading_deg[fix]) & (now.speed_mps[fix] > self.p.matching.heading_speed_mps)
        heading = np.where(sure, np.radians(now.heading_deg[fix]), self.beliefs.course[now.rows[fix]])
        turned = np.where(np.isfinite(heading), 1 - np.cos(heading - passes.heading), 0.0)
        path = evidence.of_place(np.ones(len(fix), bool), passes.offset_m, passes.reach_m, turned, t)
        # shape -> its patterns
        a, e = self._shape_first[passes.shape], self._shape_first[passes.shape + 1]
        owner = np.repeat(np.arange(len(a)), e - a)
        pattern = self._shape_patterns[np.arange(len(owner)) - (np.cumsum(e - a) - (e - a))[owner] + a[owner]]
        along, fix, path, offset = passes.along_m[owner], fix[owner], path[owner], passes.offset_m[owner]
        # before it has left its first stop a bus is none of these: it waits there
        begins_m = self.ends.start_m[pattern] + self.p.visits.depart_zone_m
        inside = (along < self.ends.end_m[pattern] - t.end_zone_m) & (along > begins_m)
        pattern, along, fix, path, offset = (a[inside] for a in (pattern, along, fix, path, offset))
        # how long after its start a run of the pattern comes by, by the pattern's first trip
        row = network.trip_time_offset[network.pattern_trip[network.pattern_trip_offset[pattern]]]
        k, share = self.index.link_at(pattern, along)
        reaches = self.index.time_at(row, k, share) - network.departure_s[row]
        slack = 600.0 + 0.25 * reaches
        at = now.at[fix]
        came = at - reaches
        owner, number = s.runs_of_patterns(pattern, came - t.late_limit_s - slack, came + t.early_limit_s + slack)
        planned = s.base_at[number] + self.index.time_at(s.time_row[number], k[owner], share[owner])
        deviation = at[owner] - planned
        ok = (deviation >= -t.early_limit_s) & (deviation <= t.late_limit_s)
        owner, number, deviation = owner[ok], number[ok], deviation[ok]
        fix, zero = fix[owner], np.zeros(len(owner))
        phase = np.full(len(owner), SERVICE)
        return Candidates(fix, number, phase, along[owner], offset[owner], deviation, path[owner], zero, zero, zero)

    def _at_terminals(self, now: Reports, who: I64, s: Service) -> Candidates:
        t = self.t
        at = now.at[who]
        owner, number = s.runs_near(now.x[who], now.y[who], t.wait_reach_m, at - 600.0, at + t.next_late_s)
        fix = who[owner]
        pattern = s.pattern[number]
        away = np.hypot(now.x[fix] - self.ends.first_x[pattern], now.y[fix] - self.ends.first_y[pattern])
        wait = s.starts_at[number] - now.at[fix]
        n = len(fix)
        return Candidates(
            fix,
            number,
            np.full(n, LAYOVER),
            self.ends.start_m[pattern],
            np.full(n, np.nan),
            np.maximum(-wait, 0.0),
            np.zeros(n),
            evidence.of_waiting(away, t),
            np.zeros(n),
            evidence.of_patience(np.maximum(wait, 0.0), t) - 0.5,
        )
