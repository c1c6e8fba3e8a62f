"""Which hypothesis has which of a vehicle's places: there are `beliefs.PLACES`, and the lighter gives way."""

from __future__ import annotations

import numpy as np

from busd.track.beliefs import FREE, LAYOVER, PLACES, Beliefs
from busd.track.candidates import Candidates, Ends, Reports
from busd.track.service import Service
from busd.tracking_parameters import Tracking
from gtfs.network import F64, I64, Bool


class Places:
    """Puts runs into the rows and places [vehicle, place] of `Beliefs`."""

    def __init__(self, beliefs: Beliefs, ends: Ends, service: Service, t: Tracking) -> None:
        self.beliefs, self.ends, self.service, self.t = beliefs, ends, service, t

    def holds(self, rows: I64, number: I64) -> Bool:
        """Is the run one of the vehicle's hypotheses already? Parallel arrays [n]."""
        b, s = self.beliefs, self.service
        day, run = s.day[number], s.run[number]
        same = (b.day[rows] == day[:, None]) & (b.run[rows] == run[:, None]) & (b.phase[rows] != FREE)
        held: Bool = np.any(same, axis=1)
        return held

    def put(self, now: Reports, r: I64, k: I64, i: I64, number: I64) -> None:
        """Put the hypothesis (r, k), which keeps its evidence, on another run, before its start; ``i`` into ``now``."""
        b, s = self.beliefs, self.service
        self._name(r, k, number)
        b.phase[r, k] = LAYOVER
        b.prior[r, k] = np.minimum(b.prior[r, k] - self.t.ended_prior, 0.0)
        b.distance_m[r, k] = b.joined_m[r, k] = self.ends.start_m[s.pattern[number]]
        b.offset_m[r, k] = np.nan
        b.deviation_s[r, k] = b.ready_s[r, k] = np.maximum(now.at[i] - s.starts_at[number], 0.0)
        b.x[r, k], b.y[r, k], b.at[r, k], b.misses[r, k] = now.x[i], now.y[i], now.at[i], 0
        b.departure[r, k] = b.waited[r, k] = 0.0

    def insert(self, now: Reports, new: Candidates, weight: F64) -> None:
        """Give candidates the free places of their vehicles, or those of lighter hypotheses; the heaviest first."""
        b = self.beliefs
        chosen, rank = heaviest(new.who, weight, new.number)
        new, weight = new.take(chosen), weight[chosen]
        r = now.rows[new.who]
        total = np.where(b.phase[r] == FREE, -np.inf, b.total[r])
        k = np.argsort(total, axis=1, kind="stable")[np.arange(len(r)), rank]
        ok = weight > total[np.arange(len(r)), k]
        new, weight, r, k = new.take(ok), weight[ok], r[ok], k[ok]
        b.clear(r, k)
        self._name(r, k, new.number)
        b.phase[r, k] = new.phase
        b.distance_m[r, k], b.offset_m[r, k], b.deviation_s[r, k] = new.distance_m, new.offset_m, new.deviation_s
        b.joined_m[r, k] = new.distance_m
        b.path[r, k], b.waited[r, k], b.habit[r, k], b.prior[r, k] = new.path, new.waited, new.habit, new.prior
        b.x[r, k], b.y[r, k], b.at[r, k] = now.x[new.who], now.y[new.who], now.at[new.who]
        b.ready_s[r, k] = np.maximum(new.deviation_s, 0.0)
        b.total[r, k] = weight

    def _name(self, r: I64, k: I64, number: I64) -> None:
        b, s = self.beliefs, self.service
        b.day[r, k], b.run[r, k], b.trip[r, k] = s.day[number], s.run[number], s.trip[number]
        b.start_s[r, k], b.pattern[r, k] = s.start_s[number], s.pattern[number]
        b.time_row[r, k], b.base_at[r, k] = s.time_row[number], s.base_at[number]


def heaviest(who: I64, weight: F64, number: I64) -> tuple[I64, I64]:
    """Of each vehicle's candidates the `PLACES` heaviest, and their ranks; of equals the lower run number first.

    A thousand runs may pass by in a trunk road: they are sorted by one key, and only the few that remain by all three."""
    order = np.argsort(who * 1e6 - weight)
    begin = np.flatnonzero(np.diff(who[order], prepend=-1))
    count = np.diff(begin, append=len(order))
    least = np.full(int(who.max()) + 1, np.inf)
    least[who[order[begin]]] = weight[order[begin + np.minimum(count, PLACES) - 1]]
    near = np.flatnonzero(weight >= least[who])
    near = near[np.lexsort((number[near], -weight[near], who[near]))]
    begin = np.flatnonzero(np.diff(who[near], prepend=-1))
    rank = np.arange(len(near)) - np.repeat(begin, np.diff(begin, append=len(near)))
    return near[rank < PLACES], rank[rank < PLACES]
