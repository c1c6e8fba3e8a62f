"""One fix against each hypothesis of its vehicle.

match    a place in a window of the hypothesis's own shape
phase    it waits at its first stop, leaves that, comes back to it, drives, or has ended
weigh    place, timetable and departure are evidence, which adds up and fades; fixes that do not fit are counted
"""

from __future__ import annotations

import numpy as np

from busd.parameters import Parameters
from busd.track import evidence
from busd.track.bases import Bases
from busd.track.beliefs import ENDED, FREE, LAYOVER, SERVICE, Beliefs
from busd.track.beside import drives_beside
from busd.track.candidates import Ends, Reports
from busd.track.match import Fixes, ShapeIndex, match
from gtfs.network import F64, I64, Bool

GIVEN_UP = 8
"""so many fixes in a row that do not fit end a hypothesis"""
MOVED_M = 30.0
ENDED_M = 150.0
"""one that has ended its run is still there this near to its last stop"""
LONGEST_S = 600.0
"""a longer silence fades nothing further"""
LEAST_FADE = 0.85
"""sparse fixes are worth as much as dense ones, each: memory counts fixes, at least ten of them"""


class Step:
    """The hypotheses of the vehicles of one round; parallel arrays [n]: place ``k`` of vehicle ``r``, seen by report
    ``i`` of ``now``."""

    def __init__(self, beliefs: Beliefs, index: ShapeIndex, ends: Ends, parameters: Parameters, now: Reports) -> None:
        self.b, self.index, self.ends, self.now = beliefs, index, ends, now
        self.p, self.t = parameters, parameters.tracking
        self.i, self.k = np.nonzero(beliefs.phase[now.rows] != FREE)
        self.r: I64 = now.rows[self.i]

    def take(self, punctuality: evidence.Punctuality, bases: Bases) -> None:
        if len(self.i):
            self._match()
            self._judge_phase()
            self._weigh(self._place(), punctuality)
            self._count_misses(bases)
            self._move()

    def _match(self) -> None:
        b, r, k, i, now = self.b, self.r, self.k, self.i, self.now
        at = now.at[i]
        self.last_m = b.distance_m[r, k]
        self.elapsed_s: F64 = np.where(np.isfinite(b.at[r, k]), at - b.at[r, k], 0.0)
        self.known: Bool = np.isfinite(self.last_m) & (self.elapsed_s <= self.p.matching.reset_s)
        self.fixes = Fixes(
            x=now.x[i],
            y=now.y[i],
            at=at,
            heading_deg=now.heading_deg[i],
            speed_mps=now.speed_mps[i],
            pattern=b.pattern[r, k],
            time_row=b.time_row[r, k],
            base_at=b.base_at[r, k],
            last_m=np.where(self.known, self.last_m, np.nan),
            last_at=b.at[r, k],
            last_x=b.x[r, k],
            last_y=b.y[r, k],
            last_deviation_s=np.where(self.known, b.deviation_s[r, k], np.nan),
        )
        self.m = match(self.index, self.fixes, self.p.matching, self.p.visits)

    def _judge_phase(self) -> None:
        b, t, fixes, m, ends = self.b, self.t, self.fixes, self.m, self.ends
        pattern, phase = fixes.pattern, b.phase[self.r, self.k]
        starts_at = fixes.base_at + self.index.network.departure_s[fixes.time_row]
        late = np.maximum(fixes.at - starts_at, 0.0)
        self.start_m = ends.start_m[pattern]
        self.away_m: F64 = np.hypot(fixes.x - ends.first_x[pattern], fixes.y - ends.first_y[pattern])
        moved = np.hypot(fixes.x - fixes.last_x, fixes.y - fixes.last_y)
        self.moves = ~(moved < MOVED_M) | (fixes.speed_mps > 2.0) | (self.now.gone_m[self.i] > t.course_m)
        near = self.away_m <= t.wait_reach_m

        driven = m.distance_m > self.start_m + self.p.visits.depart_zone_m
        leaves = (phase == LAYOVER) & m.found & driven & self.moves
        # before its time a bus is free to move about the terminal, on the shape too
        leaves &= (fixes.at >= starts_at - t.leave_early_s) | ~near
        # and it comes back to its first stop from where it waited
        self.leaves = leaves & ~(np.cos(b.course[self.r] - m.heading) < 0.0)
        hardly_left = (self.last_m - self.start_m <= t.wait_reach_m) & (late <= t.next_early_s)
        self.back = (phase == SERVICE) & ~m.found & hardly_left & near
        self.phase: I64 = np.where(self.back, LAYOVER, phase)
        waits = (self.phase == LAYOVER) & ~self.leaves
        self.stays = waits & near
        self.ended = self.phase == ENDED
        gone_m = np.hypot(fixes.x - ends.last_x[pattern], fixes.y - ends.last_y[pattern])
        fits = np.where(waits, self.stays, m.found)
        self.fits: Bool = np.where(self.ended, gone_m <= ENDED_M, fits)
        deviation = np.where(self.stays, late, m.deviation_s)
        self.deviation_s: F64 = np.where(self.ended | ~self.fits, b.deviation_s[self.r, self.k], deviation)

    def _place(self) -> F64:
        """What the place of each fix is evidence of."""
        t, m, ends, drives = self.t, self.m, self.ends, self.phase == SERVICE
        on_shape = evidence.of_place(self.fits & ~self.ended, m.offset_m, m.reach_m, m.turned, t)
        place = np.where(self.stays, evidence.of_waiting(self.away_m, t), on_shape)
        stood_s = self.fixes.at - self.b.stands_since[self.r]
        lost = drives & ~self.fits & self.known & (stood_s < t.parked_s)
        # a bus that is where another of its hypotheses has it is on no detour
        lost &= ~np.isin(self.i, self.i[drives & self.fits])
        self.beside = np.zeros(len(self.i), bool)
        if lost.any():
            joined_m, end_m = self.b.joined_m[self.r, self.k], ends.end_m[self.fixes.pattern]
            self.beside[lost] = drives_beside(
                self.index,
                self.fixes.take(np.flatnonzero(lost)),
                joined_m[lost],
                self.start_m[lost],
                end_m[lost],
                self.p,
            )
        place = np.where(self.beside, t.beside, place)
        return np.where(self.ended, np.where(self.fits, 0.0, -t.miss), place)

    def _weigh(self, place: F64, punctuality: evidence.Punctuality) -> None:
        b, r, k, t = self.b, self.r, self.k, self.t
        span = np.minimum(self.elapsed_s, LONGEST_S)
        fade = np.maximum(np.exp(-span / t.path_memory_s), LEAST_FADE)
        # a bus that waits says the same thing again: where it does so counts once
        place = np.where(self.stays & ~self.moves, (1.0 - fade) * place, place)
        # one that leaves was not waiting when it drove off: where it would have waited is no evidence any more
        b.waited[r, k] = np.where(self.stays, np.maximum(b.waited[r, k] * fade + place, -t.miss), 0.0)
        b.path[r, k] = np.maximum(b.path[r, k] * fade + np.where(self.stays, 0.0, place), t.path_floor)

        on_way = (self.fits & (self.phase == SERVICE) | self.leaves) & np.isfinite(self.deviation_s)
        fit = punctuality.fit(np.nan_to_num(self.deviation_s))
        habit = b.habit[r, k] * np.exp(-self.elapsed_s / t.habit_memory_s)
        habit += np.where(on_way, span / t.habit_s * fit, 0.0)
        # a bus that came in late leaves late
        behind = self.m.deviation_s
        excess = np.where(behind > 0, np.maximum(behind - b.ready_s[r, k], 0.0), behind)
        departure = np.where(self.leaves, evidence.of_departure(excess, t), 0.0)
        # what was no departure is no evidence
        b.habit[r, k] = habit + departure - np.where(self.back, b.departure[r, k], 0.0)
        b.departure[r, k] = np.where(self.leaves | self.back, departure, b.departure[r, k])

        b.prior[r, k] *= np.exp(-span / t.prior_memory_s)
        # a bus that has nothing more to do goes home: one that stays waits for its next run
        b.prior[r, k] -= np.where(self.ended & self.fits, span / t.ended_stays_s, 0.0)

    def _count_misses(self, bases: Bases) -> None:
        b, r, k = self.b, self.r, self.k
        misses = np.minimum(b.misses[r, k] + 1, np.where(self.beside, GIVEN_UP - 1, GIVEN_UP))
        # one that has left its line for a garage, and is still there, has gone home
        home = bases.near(self.now.x, self.now.y)[self.i] & (misses >= 2)
        b.misses[r, k] = np.where(self.fits, 0, np.where(home, GIVEN_UP, misses))

    def _move(self) -> None:
        """What fits takes its new place."""
        b, now, m = self.b, self.now, self.m
        b.phase[self.r, self.k] = np.where(self.leaves, SERVICE, self.phase)
        b.deviation_s[self.r, self.k] = self.deviation_s
        along_m = np.where(self.ended, self.last_m, np.where(self.stays, self.start_m, m.distance_m))
        offset_m = np.where(m.found, m.offset_m, np.nan)
        hit = np.flatnonzero(self.fits)
        r, k, i = self.r[hit], self.k[hit], self.i[hit]
        b.distance_m[r, k], b.offset_m[r, k] = along_m[hit], offset_m[hit]
        b.x[r, k], b.y[r, k], b.at[r, k] = now.x[i], now.y[i], now.at[i]
