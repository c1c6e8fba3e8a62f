"""The numbers of a prediction, for all rows of all buses at once: expected arrivals, their scale, their quantiles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from busd.parameters import Parameters
from busd.predict.calibrate import MEDIAN, Calibration
from busd.predict.journeys import Journeys
from busd.predict.kernels import fan, running_sums
from busd.predict.learning import HELD, RATIO, RECENT, SIGMA2, SLOPE, Learned
from busd.predict.places import Within
from busd.predict.walk import walk
from busd.track.fleet import Runs, Vehicles
from busd.track.match import stop_targets
from gtfs.network import F64, I64, Bool, Network

PEAKS_S = ((7 * 3600.0, 9.5 * 3600.0), (16 * 3600.0, 19 * 3600.0))
"""of Monday to Friday"""
LEAD_FROM_S = 180.0
TERMINAL, PEAK = 1, 2
"""bits of a group's kind"""


class Ahead(NamedTuple):
    """The stops ahead of some runs, flat: [n] one a run, [rows] one a stop, rows of a run contiguous."""

    start: I64  # [n] its first row
    stops: I64  # [n] how many
    first_pos: I64  # [n]
    slots: I64  # [n]
    owner: I64  # [rows] index into the runs
    pos: I64  # [rows] stop position
    arrival_at: F64  # [rows] planned; the departure at first stops, where a bus cannot be early
    departure_at: F64
    planned_s: F64  # [rows] since the stop before (legs.py)
    leg: F64  # [rows of `Learned.table`, rows]


class Forecaster:
    def __init__(
        self,
        network: Network,
        vehicles: Vehicles,
        runs: Runs,
        journeys: Journeys,
        learned: Learned,
        calibration: Calibration,
        parameters: Parameters,
    ) -> None:
        self.network, self.vehicles, self.runs = network, vehicles, runs
        self.journeys, self.learned, self.calibration = journeys, learned, calibration
        self.p, self.parts, self.links = parameters.predicting, parameters.parts, parameters.links
        self.places, self.calibrating = parameters.places, parameters.calibrating
        self.target_m = stop_targets(network, parameters.visits)
        self.peak = 0

    def set_hour(self, service_day: int, second: float) -> None:
        """The group of this hour: peak or not."""
        weekday = (service_day - 1) % 7 < 5
        self.peak = PEAK if weekday and any(a <= second < b for a, b in PEAKS_S) else 0

    def kind(self, from_terminal: Bool) -> I64:
        """Group kind of predictions (calibrate.py); [n]."""
        return np.where(from_terminal, TERMINAL, 0) + self.peak

    # ---- the stops ahead ---------------------------------------------------------------------------------------------

    def ahead(self, rows: I64, slots: I64, first_pos: I64) -> Ahead:
        """The stops of ``slots`` from ``first_pos`` on."""
        runs, network = self.runs, self.network
        count = np.maximum(runs.stops[slots] - first_pos, 0)
        owner = np.repeat(np.arange(len(slots)), count)
        start = np.cumsum(count) - count
        pos = np.arange(len(owner)) - np.repeat(start - first_pos, count)
        time = np.repeat(runs.time_row[slots], count) + pos
        base = np.repeat(runs.base_at[slots], count)
        departure_at = base + network.departure_s.take(time)
        arrival_at = base + network.arrival_s.take(time)
        at_first = start[(first_pos == 0) & (count > 0)]
        arrival_at[at_first] = departure_at[at_first]
        row = np.repeat(network.pattern_stop_offset[runs.pattern[slots]], count) + pos
        leg = self.learned.table.take(row, axis=1)
        return Ahead(
            start,
            count,
            first_pos.copy(),
            slots,
            owner,
            pos,
            arrival_at,
            departure_at,
            self.learned.legs.planned_s.take(time),
            leg,
        )

    def leg_times(self, rows: I64, ahead: Ahead, at: float) -> F64:
        """Expected seconds of each leg, what early buses lose left out; [rows].

            t = q ratio (1 + g_r u exp(-h / theta_r) + g_p w exp(-h / theta_p))

        with u the link's recent excess, w the bus's pace, g their gates (residual.py) and h how far ahead it is."""
        expected: F64 = ahead.planned_s * ahead.leg[RATIO]
        learned, links = self.learned, self.links
        said: F64 | None = None
        h: F64 | None = None
        if self.parts.residual and (gate := learned.recent.gate.value) > 0:
            h = self._time_ahead(ahead)
            said = gate * ahead.leg[RECENT] * np.exp(-h / links.residual_fade_s)
        if self.parts.pace and (gate := learned.pace_gate.value) > 0:
            h = self._time_ahead(ahead) if h is None else h
            pace = self.journeys.pace(rows, links.pace_prior_s)[ahead.owner]
            by_pace = gate * pace * np.exp(-h / links.pace_fade_s)
            said = by_pace if said is None else said + by_pace
        if said is not None:
            expected *= np.maximum(1.0 + said, 0.3)
        return expected

    def _time_ahead(self, ahead: Ahead) -> F64:
        """Planned seconds from the first row of each run."""
        return np.maximum(ahead.arrival_at - ahead.arrival_at[ahead.start[ahead.owner]], 0.0)

    # ---- the first of them -------------------------------------------------------------------------------------------

    def first_arrivals(self, rows: I64, ahead: Ahead, leg_s: F64, at: float) -> F64:
        """When the vehicles reach the stop ahead of them, or leave the first stop they wait at; [n], epoch seconds.
        ``leg_s``: of `leg_times`."""
        vehicles, p = self.vehicles, self.places
        has = ahead.stops > 0
        row = np.where(has, ahead.start, 0)
        if not has.any():
            return np.full(len(rows), at)
        waits = ahead.first_pos == 0
        leg = ahead.leg[:, row]
        deviation = vehicles.deviation_s[rows]
        deviation = np.where(np.isfinite(deviation), deviation, 0.0)
        early = np.minimum(np.maximum(deviation, -self.links.early_max_s), 0.0)
        link_s = np.maximum(leg_s[row] - leg[HELD] + leg[SLOPE] * early, 1.0)
        share = self.share_done(rows, ahead)
        standing_s = self.journeys.standing_s(rows, vehicles)
        hurries = deviation >= -p.early_s
        if self.parts.place:
            profile, said = self.learned.places, self.learned.places.said(share, link_s)
            cells = profile.cells(self._within(rows, ahead, share, link_s, standing_s))
            self.journeys.keep_place(rows, ahead.first_pos, vehicles.matched_at[rows], said, cells, hurries)
            left = profile.left(said, cells)
        else:
            left = (1.0 - share) * link_s
        if self.parts.holding:
            holds = (standing_s >= p.wait_s) & (deviation < -p.wait_early_s)
            left = np.where(holds, np.maximum(left, -deviation), left)
        arrives = vehicles.matched_at[rows] + left
        if waits.any():
            k = np.flatnonzero(waits & has)
            arrives[k] = self._departs(ahead, k, self.journeys.ended_at[rows[k]], np.full(len(k), at))
        return np.where(np.isfinite(arrives), arrives, at)

    def next_departures(self, ahead: Ahead, inbound_at: F64, at: float) -> F64:
        """When buses that arrive at ``inbound_at`` leave for their next run; [n], epoch seconds."""
        return self._departs(ahead, np.arange(len(ahead.start)), inbound_at, np.maximum(inbound_at, at))

    def _departs(self, ahead: Ahead, k: I64, inbound_at: F64, here_until: F64) -> F64:
        """Departures of the runs ``k`` from their first stop, given that their bus is there at ``here_until``."""
        due = ahead.departure_at[ahead.start[k]]
        if not self.parts.terminals:
            return np.maximum(due, here_until)
        pattern, departures = self.runs.pattern[ahead.slots[k]], self.learned.departures
        habit_s = self.journeys.habit_s(self.runs.vehicle[ahead.slots[k]], here_until, departures.p.habit_s)
        return departures.expected(pattern, due, inbound_at, here_until, habit_s)

    def share_done(self, rows: I64, ahead: Ahead) -> F64:
        """Share of the current link's way that lies behind; [n], 0 at first stops."""
        first = self.network.pattern_stop_offset[self.runs.pattern[ahead.slots]]
        stop = first + np.minimum(ahead.first_pos, self.runs.stops[ahead.slots] - 1)
        low, high = self.target_m[np.maximum(stop - 1, first)], self.target_m[stop]
        share = (self.vehicles.distance_m[rows] - low) / np.maximum(high - low, 1.0)
        return np.where(ahead.first_pos > 0, np.fmin(np.fmax(share, 0.0), 1.0), 0.0)

    def _within(self, rows: I64, ahead: Ahead, share: F64, link_s: F64, standing_s: F64) -> Within:
        """Where the vehicles are within the link to the stop ahead."""
        runs, slots, behind = self.runs, ahead.slots, np.maximum(ahead.first_pos - 1, 0)
        entered_at = np.where(behind == 0, runs.departed_at[slots, behind], runs.arrived_at[slots, behind])
        stop = self.network.pattern_stop_offset[runs.pattern[slots]] + np.minimum(
            ahead.first_pos, runs.stops[slots] - 1
        )
        return Within(
            link=np.maximum(self.learned.legs.link[stop], 0),
            share=share,
            link_s=link_s,
            spent_s=self.vehicles.matched_at[rows] - entered_at,
            standing=standing_s >= self.places.standing_s,
            speed_mps=self.vehicles.speed_mps[rows],
        )

    # ---- along the trip ----------------------------------------------------------------------------------------------

    def along(self, ahead: Ahead, first_at: F64, leg_s: F64) -> F64:
        """Expected arrivals; [rows], epoch seconds (walk.py)."""
        if not len(ahead.owner):
            return np.zeros(0)
        first_s = first_at - ahead.arrival_at[np.minimum(ahead.start, len(ahead.owner) - 1)]
        drift_s = leg_s - ahead.leg[HELD]
        drift_s[1:] -= np.diff(ahead.arrival_at)
        arrivals = walk(first_s, ahead.start, ahead.stops, drift_s, ahead.leg[SLOPE], self.links.early_max_s)
        arrivals += ahead.arrival_at
        return arrivals

    def quantiles(self, ahead: Ahead, raw: F64, at: float, follows: bool, out: F64) -> F64:
        """(p10, rider point, median, p90) into ``out`` [4, rows]; returns their scale [rows].

        The scale of an error: s^2 = base^2 + sum of the links' variances + (share x horizon)^2."""
        c = self.calibrating
        h = np.maximum(raw - at, 0.0)
        variance = running_sums(ahead.leg[SIGMA2], ahead.start, ahead.stops)
        variance += c.sigma_base_s**2
        variance += (c.sigma_share * h) ** 2
        scale = np.sqrt(variance, out=variance)
        if not self.parts.calibration:
            fan(raw, at, self.p, out)
            return scale
        kind = np.repeat(self.kind((ahead.first_pos == 0) | follows), ahead.stops)
        self.calibration.quantiles(h, kind, out)
        out *= scale
        out[MEDIAN, ahead.start[(ahead.first_pos == 0) & (ahead.stops > 0)]] = 0.0  # terminals.py says their medians
        out += raw
        h /= LEAD_FROM_S
        np.minimum(h, 1.0, out=h)
        h *= c.lead_s
        out[MEDIAN] -= h
        return scale
