"""Multi-hypothesis tracking: every fix moves the weights of what may be true of its vehicle.

    step    each hypothesis is matched in a window of its own shape; place, timetable and heading weigh it
    arrive  at the end of a run its successors come in: the block's next run, and rivals that start there too
    seek    a vehicle that nothing fits gets candidates from the shapes and terminals around it
    weigh   weights are compared, one run belongs to one bus, the hopeless are dropped

All vehicles of a round at once, in numpy; a round holds a vehicle at most once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.parameters import Parameters
from busd.track import evidence
from busd.track.bases import Bases
from busd.track.beliefs import ENDED, FREE, LAYOVER, PLACES, SERVICE, Beliefs
from busd.track.candidates import Candidates, Ends, Finder, Reports
from busd.track.claims import Claims
from busd.track.hints import learn_trust, of_hints
from busd.track.match import ShapeIndex
from busd.track.places import Places
from busd.track.service import Service
from busd.track.step import GIVEN_UP, Step
from gtfs.network import F64, I64, Network


class Hypotheses:
    """The belief state of all vehicles and the way it changes."""

    def __init__(self, network: Network, index: ShapeIndex, service: Service, parameters: Parameters) -> None:
        self.network, self.index, self.p = network, index, parameters
        self.t = parameters.tracking
        self.beliefs = Beliefs()
        self.punctuality = evidence.Punctuality(self.t)
        self.ends = Ends.of(network)
        self._finder = Finder(network, index, self.ends, self.beliefs, parameters)
        self.service = service
        self.places = Places(self.beliefs, self.ends, service, self.t)
        self.claims = Claims(self.beliefs, service, self.t)
        self.bases = Bases(self.t)

    def serve(self, service: Service) -> None:
        """The held service days have changed."""
        self.service = self.places.service = service
        self.claims.serve(service)

    def forget(self, row: int) -> None:
        """Nothing is believed of the vehicle any more, but how far its source may be trusted."""
        self.claims.move(np.array([row]), -1.0)
        self.beliefs.clear(row)
        doubted = self.beliefs.doubted[row]
        for name, (_, fill) in self.beliefs.VEHICLE.items():
            getattr(self.beliefs, name)[row] = fill
        self.beliefs.doubted[row] = doubted
        self.beliefs.trust[row] = max(self.t.hint - doubted, 0.0)

    def release(self, row: int) -> None:
        """The vehicle says nothing any more: its runs are free for others, but it may come back to them."""
        self.claims.move(np.array([row]), -1.0)
        self.beliefs.claim[row] = self.beliefs.share[row] = 0.0

    def dump(self) -> dict[str, Any]:
        p = self.punctuality
        return {
            "beliefs": self.beliefs.dump(),
            "claims": self.claims.dump(),
            "bases": self.bases.dump(),
            "punctuality": [p.weight, p.share, p.width_s],
        }

    def load(self, state: dict[str, Any]) -> None:
        self.beliefs.load(state["beliefs"])
        self.claims.load(state["claims"])
        self.bases.load(state["bases"])
        p = self.punctuality
        p.weight, p.share, p.width_s = state["punctuality"]

    # ---- a round -----------------------------------------------------------------------------------------------------

    def update(self, now: Reports) -> None:
        b = self.beliefs
        b.hold(int(now.rows.max(initial=-1)) + 1)
        self.claims.move(now.rows, -1.0)
        b.clear(now.rows[now.at - b.last_at[now.rows] > self.t.remember_s])
        self._move(now)
        self._hear(now)
        Step(b, self.index, self.ends, self.p, now).take(self.punctuality, self.bases)
        self._arrive(now)
        self._seek(now)
        self._weigh(now)
        learn_trust(now, self.beliefs, self.service, self.t)
        self.claims.move(now.rows, 1.0)

    def _move(self, now: Reports) -> None:
        """Which way each vehicle has gone, and does it stand? By places it has really left: a fix every second moves
        no bus far, and what moves it less is noise."""
        b, rows = self.beliefs, now.rows
        now.moved_m = np.hypot(now.x - b.last_x[rows], now.y - b.last_y[rows])
        dx, dy = now.x - b.from_x[rows], now.y - b.from_y[rows]
        now.gone_m = np.hypot(dx, dy)
        goes = ~(now.gone_m <= self.t.course_m)
        b.course[rows] = np.where(goes & np.isfinite(dx), np.arctan2(dx, dy), b.course[rows])
        b.from_x[rows], b.from_y[rows] = np.where(goes, now.x, b.from_x[rows]), np.where(goes, now.y, b.from_y[rows])
        leaves = ~(np.hypot(now.x - b.stand_x[rows], now.y - b.stand_y[rows]) < self.t.stand_m)
        b.stand_x[rows] = np.where(leaves, now.x, b.stand_x[rows])
        b.stand_y[rows] = np.where(leaves, now.y, b.stand_y[rows])
        b.stands_since[rows] = np.where(leaves, now.at, b.stands_since[rows])
        now.is_new = ~np.isfinite(b.last_at[rows])
        now.elapsed_s = np.where(np.isfinite(b.last_at[rows]), now.at - b.last_at[rows], 0.0)
        b.last_x[rows], b.last_y[rows], b.last_at[rows] = now.x, now.y, now.at

    def _hear(self, now: Reports) -> None:
        """The run that a source names becomes a hypothesis, if it is none yet."""
        who = np.flatnonzero(now.hint_run >= 0)
        if not len(who):
            return
        number = now.hint_run[who]
        fresh = ~self.places.holds(now.rows[who], number)
        who, number = who[fresh], number[fresh]
        n = len(who)
        zero, nan = np.zeros(n), np.full(n, np.nan)
        self._insert(
            now,
            Candidates(who, number, np.full(n, SERVICE), nan, nan, nan, zero, zero, zero, zero),
        )

    def _arrive(self, now: Reports) -> None:
        """Runs that are over: the block's next run takes the place, rivals that start around here come in beside it."""
        b, t, s = self.beliefs, self.t, self.service
        i, k = np.nonzero(b.phase[now.rows] == SERVICE)
        r = now.rows[i]
        ahead = self.ends.end_m[b.pattern[r, k]] - b.distance_m[r, k]
        stands = now.at[i] - b.stands_since[r] >= t.stand_s
        on = b.misses[r, k] == 0
        over = on & ((ahead <= t.end_zone_m) | (stands & (ahead <= t.end_stand_m)))
        over |= ~on & (ahead <= t.end_stand_m)
        # the shape may pass its last stop before it ends there: around a block, or there and back
        gone = np.hypot(now.x[i] - self.ends.last_x[b.pattern[r, k]], now.y[i] - self.ends.last_y[b.pattern[r, k]])
        there = on & stands & (gone <= t.near_m)
        over |= there & (b.distance_m[r, k] > self.ends.before_last_m[b.pattern[r, k]])
        seems = (there & ~over)[over | there]
        i, k, r = i[over | there], k[over | there], r[over | there]
        if not len(i):
            return
        number = s.number(b.day[r, k], b.run[r, k])
        after = np.where(number >= 0, s.next[number], -1)
        waits = np.where(after >= 0, s.starts_at[after] - now.at[i], np.inf)
        has = (after >= 0) & (waits < 3 * 3600.0)
        path, habit, share = b.path[r, k], b.habit[r, k], b.share[r, k]
        ends, goes = np.flatnonzero(~seems), np.flatnonzero(has & ~seems)
        b.phase[r[ends], k[ends]] = ENDED
        b.prior[r[ends], k[ends]] += t.ended_prior
        self.places.put(now, r[goes], k[goes], i[goes], after[goes])
        # rivals: also for a bus that changes block, and for networks without blocks
        x, y, at = now.x[i], now.y[i], now.at[i]
        who, rival = s.runs_near(x, y, t.wait_reach_m, at - t.next_early_s, at + t.next_late_s)
        wait = s.starts_at[rival] - at[who]
        prior = np.where(has[who] & (rival != after[who]), t.switch_prior, -0.5)
        prior += np.where(seems[who], t.ended_prior, 0.0) + evidence.of_patience(np.maximum(wait, 0.0), t)
        prior = prior + self._other_line(r[who], rival)
        fresh = ~self.places.holds(r[who], rival) & (share[who] > 0.05)
        who, rival, wait, prior = who[fresh], rival[fresh], wait[fresh], prior[fresh]
        start = self.ends.start_m[s.pattern[rival]]
        late, zero = np.maximum(-wait, 0.0), np.zeros(len(who))
        phase, nowhere = np.full(len(who), LAYOVER), np.full(len(who), np.nan)
        self._insert(now, Candidates(i[who], rival, phase, start, nowhere, late, path[who], zero, habit[who], prior))

    def _seek(self, now: Reports) -> None:
        """Candidates for the vehicles that nothing fits."""
        b, t = self.beliefs, self.t
        phase, misses = b.phase[now.rows], b.misses[now.rows]
        fits = ((phase == SERVICE) | (phase == LAYOVER)) & (misses == 0)
        since = now.at - self.beliefs.sought_at[now.rows]
        # a bus that stands shows nothing new, and at a terminal the other direction's end fits it as well
        waits = ((phase == LAYOVER) & (misses == 0)).any(axis=1)
        doubts = (b.total[now.rows].max(axis=1) < t.doubt) & (now.moved_m >= 30.0) & ~waits
        lost = (~fits.any(axis=1) & (since >= t.seek_every_s)) | (doubts & (since >= t.doubt_every_s)) | now.is_new
        who = np.flatnonzero(lost)
        if not len(who):
            return
        self.beliefs.sought_at[now.rows[who]] = now.at[who]
        new = self._finder.around(now, who, self.service)
        if not len(new.who):
            return
        rows, mine = now.rows[who], np.searchsorted(who, new.who)
        # one that has ended its run, and has none to follow, may do anything
        knows = ((phase[who] != FREE) & (phase[who] != ENDED)).any(axis=1) & ~now.is_new[who]
        if (b.line[rows] >= 0).any():
            new.prior = new.prior + self._other_line(rows[mine], new.number) + self._other_block(rows[mine], new.number)
        if knows.any():
            # what a rival would have had to keep up all the way is worth more than the deviation of this moment
            lead = b.total[rows].argmax(axis=1)
            held = self.punctuality.fit(np.nan_to_num(b.deviation_s[rows, lead]))
            behind = np.minimum(self.punctuality.fit(new.deviation_s) - held[mine], 0.0)
            new.habit = np.where((knows & (b.misses[rows, lead] == 0))[mine], t.habit_of_rival * behind, 0.0)
            new.prior = new.prior + np.where(knows, t.seek_prior, 0.0)[mine]
        held = (phase[who] != FREE).any(axis=1)
        if held.any():
            again = held[mine]
            again[again] = self.places.holds(rows[mine[again]], new.number[again])
            new = new.take(~again)
        self._insert(now, new)

    # ---- weights -----------------------------------------------------------------------------------------------------

    def _weigh(self, now: Reports) -> None:
        b, t = self.beliefs, self.t
        i, k = np.nonzero(b.phase[now.rows] != FREE)
        if not len(i):
            return
        r = now.rows[i]
        number = self.service.number(b.day[r, k], b.run[r, k])
        alone = self._alone(now, i, r, k, number)
        b.alone[r, k] = alone + self.claims.expected_of_others(number)
        taken = self.claims.taken(number)
        total = alone + taken
        grid = np.full((len(now.rows), PLACES), -np.inf)
        grid[i, k] = total
        self._merge(now, grid)
        total = grid[i, k]
        best = grid.max(axis=1)
        drop = (total < best[i] - t.keep) | (b.misses[r, k] >= GIVEN_UP) | ~np.isfinite(total)
        b.clear(r[drop], k[drop])
        grid[i[drop], k[drop]] = -np.inf
        # only differences of habit matter: the steadiest of a vehicle's hypotheses is the measure of the others
        habit = np.where(b.phase[now.rows] != FREE, b.habit[now.rows], -np.inf)
        steady = habit.max(axis=1, keepdims=True)
        b.habit[now.rows] = np.where(
            b.phase[now.rows] != FREE, b.habit[now.rows] - np.where(np.isfinite(steady), steady, 0.0), 0.0
        )
        top = np.maximum(grid.max(axis=1), t.nothing)
        weight = np.exp(grid - top[:, None])
        share = weight / (weight.sum(axis=1) + np.exp(t.nothing - top))[:, None]
        b.total[now.rows], b.share[now.rows] = grid, share
        odds = np.zeros_like(share)
        odds[i, k] = evidence.claim_of(share[i, k], taken, t)
        b.claim[now.rows] = odds
        on = (b.phase[now.rows] == SERVICE) & (b.misses[now.rows] == 0) & np.isfinite(b.deviation_s[now.rows])
        minutes = np.where(on, share * (np.minimum(now.elapsed_s, 120.0) / 60.0)[:, None], 0.0)
        self.punctuality.observe(b.deviation_s[now.rows][on], minutes[on])
        sure = share.argmax(axis=1)
        each = np.arange(len(now.rows))
        on = (share[each, sure] > 0.8) & (b.phase[now.rows, sure] == SERVICE)
        rows, sure = now.rows[on], sure[on]
        b.line[rows] = self.network.pattern_route[b.pattern[rows, sure]]
        b.block[rows] = self.network.trip_block[b.trip[rows, sure]]

    def _merge(self, now: Reports, grid: F64) -> None:
        """A run that two hypotheses of a vehicle have come to stays with the heavier."""
        b = self.beliefs
        several = np.flatnonzero((b.phase[now.rows] != FREE).sum(axis=1) > 1)
        r = now.rows[several]
        key = np.where(b.phase[r] != FREE, b.day[r] * 10**7 + b.run[r], -1 - np.arange(PLACES))
        same = (key[:, :, None] == key[:, None, :]) & ~np.eye(PLACES, dtype=bool)
        if not same.any():
            return
        weight = grid[several]
        place = np.arange(PLACES)
        lighter = weight[:, :, None] < weight[:, None, :]
        lighter |= (weight[:, :, None] == weight[:, None, :]) & (place[:, None] > place)
        owner, k = np.nonzero((same & lighter).any(axis=2))
        b.clear(r[owner], k)
        grid[several[owner], k] = -np.inf

    def _alone(self, now: Reports, i: I64, r: I64, k: I64, number: I64) -> F64:
        """Weights without what other vehicles say."""
        b = self.beliefs
        fit = self.punctuality.fit(np.nan_to_num(b.deviation_s[r, k]))
        return b.path[r, k] + b.waited[r, k] + b.habit[r, k] + b.prior[r, k] + fit + self._told(now, i, number)

    def _told(self, now: Reports, i: I64, number: I64) -> F64:
        return of_hints(now, i, number, self.beliefs, self.service, self.network, self.t)

    def _other_line(self, rows: I64, number: I64) -> F64:
        """Buses keep to their line: a run of another one is less likely to come next."""
        line = self.beliefs.line[rows]
        other = (line >= 0) & (line != self.network.pattern_route[self.service.pattern[number]])
        return np.where(other, self.t.other_line, 0.0)

    def _other_block(self, rows: I64, number: I64) -> F64:
        """And to the work they came out with."""
        block = self.beliefs.block[rows]
        other = (block >= 0) & (block != self.network.trip_block[self.service.trip[number]])
        return np.where(other, self.t.other_block, 0.0)

    def _insert(self, now: Reports, new: Candidates) -> None:
        """Candidates take the places that their weight earns."""
        if not len(new.who):
            return
        # a source that names trips is not guessed to be on an extra run that it does not name
        extra = np.where(now.names_trip[new.who], -np.inf, self.t.unplanned)
        new.prior = new.prior + np.where(self.service.unplanned[new.number], extra, 0.0)
        weight = new.path + new.waited + new.habit + new.prior + self.punctuality.fit(np.nan_to_num(new.deviation_s))
        weight += self.claims.taken(new.number)
        weight += self._told(now, new.who, new.number)
        self.places.insert(now, new, weight)
