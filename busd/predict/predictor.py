"""Predictions of the stops ahead for the vehicles that moved: their run, and the runs their block does next.

    link times (links.py, residual.py, pace) -> the stop ahead (places.py, terminals.py) -> along the trip (walk.py)
    -> median and interval (calibrate.py) -> order, stability (kernels.py) -> the table of the runs

Learns from the stop visits of the tick before it predicts; `tend` does what time alone asks for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from busd.days import Timetable
from busd.parameters import Parameters
from busd.predict import outcomes as put
from busd.predict.calibrate import Calibration, group_of
from busd.predict.forecast import Ahead, Forecaster
from busd.predict.journeys import Journeys
from busd.predict.kernels import departures, first_and_last, in_order, rising, settled
from busd.predict.learning import Learned
from busd.predict.outcomes import Outcomes
from busd.predict.visits import VisitReader
from busd.track.assign import Assigner
from busd.track.fleet import DEPARTURE, LIVE, P10, P50, P90, PREDICTED, RAW, RIDER, SCALE, TOLD, Runs, Vehicles
from busd.types import Basis, Predicted, PredictionTable, PredictionTables, StopVisit
from gtfs.network import F64, I64, Bool, Network

MAX_FOLLOWING = 4  # runs of the block looked ahead; the horizon ends sooner in all but shuttle services
BLOCK = 1024
"""vehicles predicted at once: their arrays stay in the processor's cache"""
SAMPLE_S = 30.0
ORDER = [P10, RIDER, P50, P90, DEPARTURE]
"""columns of `Runs.wide` in the order of a prediction table's times"""


class Predictor:
    def __init__(
        self,
        network: Network,
        timetable: Timetable,
        vehicles: Vehicles,
        runs: Runs,
        assigner: Assigner,
        parameters: Parameters,
    ) -> None:
        self.network, self.timetable = network, timetable
        self.vehicles, self.runs, self.assigner = vehicles, runs, assigner
        self.p, self.parts, self.hysteresis_s = parameters.predicting, parameters.parts, parameters.boards.hysteresis_s
        self.learned = Learned(network, parameters)
        self.calibration = Calibration(parameters.calibrating)
        self.journeys = Journeys()
        self.outcomes = Outcomes(parameters.calibrating.pending, max(runs.width, 1))
        self.forecaster = Forecaster(network, vehicles, runs, self.journeys, self.learned, self.calibration, parameters)
        self.visits = VisitReader(network, vehicles, runs, self.journeys, self.learned, parameters)
        self._samples, self._stride = parameters.calibrating.samples, parameters.calibrating.sample_stride
        self._tended_at = 0.0
        self._sampled_at = 0.0
        self._phase = 0

    # ---- learning ----------------------------------------------------------------------------------------------------

    def learn(self, visits: list[StopVisit], at: float) -> None:
        """Take in what was observed in this tick."""
        if not visits:
            return
        self.journeys.reach(self.vehicles.size)
        seen = self.visits.learn(visits, at)
        if seen is None or not self.parts.calibration:
            return
        slots, run_ids, read = seen
        found = []
        for slot, run, pos, actual, bracket in zip(
            slots.tolist(), run_ids.tolist(), read.stop_pos.tolist(), read.at.tolist(), read.bracket_s.tolist()
        ):
            values = self.outcomes.take(slot, pos, run)
            if len(values) and bracket <= self.learned.p.max_bracket_s:
                found.append(np.column_stack([values, np.full(len(values), actual)])[values[:, put.AT] < actual])
        if not found:
            return
        rows = np.concatenate(found)
        actual = rows[:, -1]
        z = (actual - rows[:, put.RAW_AT]) / rows[:, put.SCALE]
        self.calibration.learn(
            rows[:, put.GROUP].astype(np.int64),
            z,
            actual < rows[:, put.LOW_AT],
            actual < rows[:, put.RIDER_AT],
            actual > rows[:, put.HIGH_AT],
        )

    # ---- predicting --------------------------------------------------------------------------------------------------

    def predict(self, rows: I64, at: float) -> tuple[list[Predicted], list[I64]]:
        """Re-predict the vehicles ``rows`` (all on a run). Outputs in row order, and what changed: arrays [k, 3] of a
        slot and the stop positions [from, to) whose predictions are others."""
        outputs: list[Predicted] = []
        changed: list[I64] = []
        if len(rows) > BLOCK:
            for first in range(0, len(rows), BLOCK):
                told, news = self.predict(rows[first : first + BLOCK], at)
                outputs.extend(told)
                changed.extend(news)
            return outputs, changed
        if not len(rows):
            return outputs, changed
        self.journeys.reach(self.vehicles.size)
        if not math.isfinite(self.learned.table_at):
            self._refresh(at)
        slots = self.vehicles.slot[rows]
        left = self.runs.stops[slots] - self.vehicles.next_pos[rows]
        self.journeys.follow(rows, self.vehicles, left, self.forecaster.places.standing_m)
        ahead = self.forecaster.ahead(rows, slots, self._next_pos(rows, slots, at))
        leg_s = self.forecaster.leg_times(rows, ahead, at)
        first_at = self.forecaster.first_arrivals(rows, ahead, leg_s, at)
        for depth in range(MAX_FOLLOWING + 1):
            raw = self.forecaster.along(ahead, first_at, leg_s)
            ends_at, more = self._publish(rows, slots, ahead, raw, at, depth > 0, outputs, changed)
            if depth == MAX_FOLLOWING or not self.parts.blocks:
                break
            keep, following = self._following(rows, slots, more, at)
            if not len(keep):
                break
            self.runs.following[following], self.runs.vehicle[following] = slots[keep], rows[keep]
            rows, slots = rows[keep], following
            ahead = self.forecaster.ahead(rows, slots, np.zeros(len(rows), np.int64))
            leg_s = self.forecaster.leg_times(rows, ahead, at)
            first_at = self.forecaster.next_departures(ahead, ends_at[keep], at)
        return outputs, changed

    def _next_pos(self, rows: I64, slots: I64, at: float) -> I64:
        """The stop ahead. A vehicle whose place on its run nobody knows has it all ahead before the run begins and while it
        waits to, and nothing of it afterwards: sources go on naming a finished trip through the layover."""
        begins_at = self.runs.base_at[slots] + self.network.departure_s[self.runs.time_row[slots]]
        lost = ~np.isfinite(self.vehicles.distance_m[rows]) & (at > begins_at)
        if lost.any():
            lost[lost] = ~self.visits.not_begun(rows[lost], slots[lost], at)
        return np.where(lost, self.runs.stops[slots], self.vehicles.next_pos[rows])

    def _publish(
        self,
        rows: I64,
        slots: I64,
        ahead: Ahead,
        raw: F64,
        at: float,
        follows: bool,
        outputs: list[Predicted],
        changed: list[I64],
    ) -> tuple[F64, I64]:
        """One run each, into the table. Returns when it ends and 1 where the horizon reaches beyond the run."""
        runs, p = self.runs, self.p
        ends_at = np.where(ahead.stops > 0, raw[np.maximum(ahead.start + ahead.stops - 1, 0)] if len(raw) else 0.0, at)
        times = np.empty((len(ORDER), len(raw)))
        quantiles, leaves = times[:-1], times[-1]
        scale = self.forecaster.quantiles(ahead, raw, at, follows, quantiles)
        _, rider, p50, _ = quantiles
        cell = np.repeat(slots * runs.width, ahead.stops) + ahead.pos
        if self.parts.stability:
            held = np.empty_like(quantiles)
            for column, values in zip(ORDER, held):
                np.take(runs.flat[column], cell, out=values, mode="clip")
            settled(quantiles, held, at, p)
        np.maximum(p50, at + p.overdue_s, out=p50)
        first = ahead.start[(ahead.first_pos == 0) & (ahead.stops > 0)]
        earliest = np.full(len(raw), at)
        earliest[first] = np.maximum(ahead.departure_at[first], at)
        in_order(quantiles, ahead.owner, at, earliest)
        departures(p50, ahead.arrival_at, ahead.departure_at, p.min_dwell_s, out=leaves)
        leaves[first] = p50[first]
        rising(leaves, ahead.owner, at)
        shown = p50 <= at + p.horizon_s
        all_shown = bool(shown.all())
        end = ahead.stops if all_shown else np.bincount(ahead.owner[shown], minlength=len(slots))
        news, told = self._news(slots, ahead, end, shown, leaves - p50 + rider, runs.flat[TOLD].take(cell), at)
        changed.append(news)
        if not all_shown:
            np.copyto(times, np.nan, where=~shown)
        for column, values in zip((*ORDER, TOLD, RAW, SCALE), (*times, told, raw, scale)):
            runs.flat[column][cell] = values
        runs.first_pos[slots], runs.end_pos[slots], runs.made_at[slots] = ahead.first_pos, ahead.first_pos + end, at
        outputs.extend(self._tables(rows, slots, ahead.start, end, ahead.pos, times, at))
        return ends_at, (end == ahead.stops).astype(np.int64)

    def _news(self, slots: I64, ahead: Ahead, end: I64, shown: Bool, told: F64, old: F64, at: float) -> tuple[I64, F64]:
        """The stop positions of each run whose boards may differ by this prediction, and what those boards will have
        been told; ``end``: of how many stops times are published, [n]; ``shown``: of which; ``told``, ``old``: the
        departures for riders, now and when the boards were last worked out, [rows].

        Of a run whose bus has passed no stop, only what moved by half the hysteresis or into another minute: most
        boards of a city never hear of most reports."""
        runs, k = self.runs, ahead.first_pos
        begun = runs.following[slots] < 0
        first, old_end = runs.first_pos[slots], runs.end_pos[slots]
        anew = (begun & (first != k)) | (old_end != k + end) | (at - runs.made_at[slots] > self.p.frozen_s / 2)
        moved = ~(np.abs(told - old) < self.hysteresis_s / 2)
        moved |= np.floor((told - at) / 60.0) != np.floor((old - at) / 60.0)
        kept = np.where(moved | np.repeat(anew, ahead.stops), told, old)
        moved &= shown
        low, high = first_and_last(moved, ahead.start, ahead.stops)
        low, high = np.where(high >= 0, k + low, k), k + high + 1
        # the bus may have come to stand at the next stop, or left the one before
        low = np.where(anew, np.minimum(first, k) - 1, np.where(begun, k - 1, low))
        near = np.maximum(high, np.minimum(k + 1, k + end))
        high = np.where(anew, np.maximum(old_end, k + end), np.where(begun, near, high))
        return np.column_stack([slots, low, high]), kept

    def _tables(
        self, rows: I64, slots: I64, start: I64, count: I64, pos: I64, times: F64, at: float
    ) -> list[Predicted]:
        """What is told of each run with anything to tell: ``count`` columns of ``times`` from ``start`` on, [n], at the
        stop positions ``pos``."""
        runs = self.runs
        _, one, which = np.unique(runs.day[slots], return_index=True, return_inverse=True)
        dates = [self.assigner.service_date(slot) for slot in slots[one].tolist()]
        tables = PredictionTables(
            at,
            self.vehicles.ids,
            rows,
            runs.trip[slots],
            runs.start_s[slots],
            dates,
            which,
            self.vehicles.measured_at[rows],
            start,
            start + count,
            pos,
            times,
        )
        return [Predicted(tables, i) for i in np.flatnonzero(count).tolist()]

    def _table(self, row: int, slot: int, pos: I64, times: F64, at: float, basis: Basis = Basis.REALTIME) -> Predicted:
        table = PredictionTable(
            self.vehicles.ids[row],
            self.runs.dated(slot, self.assigner.service_date(slot)),
            at,
            float(self.vehicles.measured_at[row]),
            pos,
            times,
            basis,
        )
        return Predicted(PredictionTables.of(table))

    def _following(self, rows: I64, slots: I64, more: I64, at: float) -> tuple[I64, I64]:
        """Which of the runs are continued within the horizon, and by which slot."""
        keep, following = [], []
        for i in np.flatnonzero(more).tolist():
            after = self.assigner.open_next(int(slots[i]))
            if after is None or self.runs.vehicle[after] not in (-1, rows[i]):
                continue  # another bus has come for it
            if self.vehicles.slot[rows[i]] == after:
                continue
            starts = self.runs.base_at[after] + self.network.departure_s[self.runs.time_row[after]]
            if float(starts) <= at + self.p.horizon_s:
                keep.append(i)
                following.append(after)
            elif self.runs.vehicle[after] < 0:
                self.runs.release(after)
        return np.array(keep, np.int64), np.array(following, np.int64)

    # ---- time alone --------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """The next point of the grid on which overdue times move on and published ones are put aside; while any
        vehicle is on a run."""
        if not (self.runs.vehicle[: self.runs.size] >= 0).any():
            return math.inf
        return (math.floor(self._tended_at / self.p.tend_s) + 1) * self.p.tend_s

    def tend(self, at: float) -> tuple[list[Predicted], list[I64]]:
        """What time asks for: the tables renewed, overdue times moved on, predictions put aside to be judged."""
        outputs: list[Predicted] = []
        changed: list[I64] = []
        if at // self.p.tend_s == self._tended_at // self.p.tend_s:
            return outputs, changed
        self._tended_at = at
        if at >= self.learned.table_at + self.learned.p.refresh_s:
            self._refresh(at)
        runs, n = self.runs, self.runs.size
        used = np.flatnonzero((runs.vehicle[:n] >= 0) & (runs.end_pos[:n] > runs.first_pos[:n]))
        if not len(used):
            return outputs, changed
        late = runs.p50[used, runs.first_pos[used]] < at + self.p.tend_s
        waiting = late & (runs.first_pos[used] == 0) & (self.vehicles.slot[runs.vehicle[used]] == used)
        again, changed = self.predict(np.sort(runs.vehicle[used[waiting]]), at)
        if (late & ~waiting).any():
            outputs, news = self._move_on(used[late & ~waiting], at)
            changed.append(news)
        if self.parts.calibration and at >= self._sampled_at + SAMPLE_S:
            self._sampled_at = at
            self.calibration.settle()
            self._sample(used, at)
        return again + outputs, changed

    def _move_on(self, slots: I64, at: float) -> tuple[list[Predicted], I64]:
        """The buses should have passed but were not seen to: they come any moment. Stops behind keep their times.
        Returns the same as `predict`."""
        runs, due = self.runs, at + self.p.overdue_s
        first, held = runs.first_pos[slots], runs.p50[slots]
        place = np.arange(runs.width)
        owner, pos = np.nonzero((held < due) & (place >= first[:, None]) & (place < runs.end_pos[slots, None]))
        count = np.bincount(owner, minlength=len(slots))
        cell = slots[owner] * runs.width + pos
        times = np.stack([runs.flat[column].take(cell) for column in ORDER])
        p10, rider, p50, p90, leaves = times
        np.maximum(p10, at, out=p10)
        np.maximum(rider, at, out=rider)
        np.minimum(rider, due, out=rider)
        p50[:] = due
        for values in (p90, leaves):
            np.maximum(values, due, out=values)
        for column, values in zip(ORDER, times):
            runs.flat[column][cell] = values
        start = np.cumsum(count) - count
        told = self._tables(runs.vehicle[slots], slots, start, count, pos, times, at)
        return told, np.column_stack([slots, first, first + count])

    def _refresh(self, at: float) -> None:
        day = self.timetable.current(at)
        start, ordinal = (day.start_at, day.ordinal) if day is not None else (math.floor(at / 86400) * 86400.0, 1)
        self.learned.refresh(at, ordinal, at + 900.0 - start)
        self.forecaster.set_hour(ordinal, at - start)

    def _sample(self, used: I64, at: float) -> None:
        """Put aside about `Calibrating.samples` of the published predictions, evenly over all."""
        runs = self.runs
        first, count = runs.first_pos[used], runs.end_pos[used] - runs.first_pos[used]
        live = self.vehicles.liveness[runs.vehicle[used]] == LIVE
        count = np.where(live, count, 0)
        stride = max(self._stride, math.ceil(int(count.sum()) / self._samples))
        self._phase = (self._phase + 1) % 7919
        owner = np.repeat(np.arange(len(used)), count)
        place = np.arange(len(owner))
        chosen = (place + self._phase * 3) % stride == 0
        owner, place = owner[chosen], place[chosen]
        pos = place - (np.cumsum(count) - count)[owner] + first[owner]
        slot = used[owner]
        published = runs.wide[slot, pos]
        raw = np.maximum(runs.raw[slot, pos], at + self.p.overdue_s)
        from_terminal = (runs.following[slot] >= 0) | (runs.first_pos[slot] == 0)
        group = group_of(np.maximum(published[:, P50] - at, 0.0), self.forecaster.kind(from_terminal))
        run = self.visits.run_ids(slot)
        values = np.column_stack(
            [
                np.full(len(slot), at),
                published[:, P10],
                published[:, RIDER],
                raw,
                published[:, P90],
                runs.scale[slot, pos],
                group,
                run,
            ]
        )
        self.outcomes.put(slot, pos, values)

    def withdraw(self, slot: int, at: float) -> Predicted | None:
        """Take back what is still predicted for a run: its rows once more, all NaN. None if there is nothing."""
        runs = self.runs
        k, end = int(runs.first_pos[slot]), int(runs.end_pos[slot])
        row = int(runs.vehicle[slot])
        if end <= k or row < 0:
            return None
        runs.wide[slot, k:end, PREDICTED] = np.nan
        runs.end_pos[slot] = k
        return self._table(row, slot, np.arange(k, end), np.full((len(ORDER), end - k), np.nan), at, Basis.SCHEDULE)

    # ---- keeping -----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        return {
            "learned": self.learned.dump(),
            "calibration": self.calibration.dump(),
            "journeys": self.journeys.dump(),
            "outcomes": self.outcomes.dump(),
            "tended_at": self._tended_at,
            "sampled_at": self._sampled_at,
            "phase": self._phase,
            "peak": self.forecaster.peak,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.learned.load(state["learned"])
        self.calibration.load(state["calibration"])
        self.journeys.load(state["journeys"])
        self.outcomes.load(state["outcomes"])
        self._tended_at, self._sampled_at = float(state["tended_at"]), float(state["sampled_at"])
        self._phase, self.forecaster.peak = int(state["phase"]), int(state["peak"])

    def carry_over(self, old: Predictor) -> None:
        """Another timetable comes in: what was learned goes on where the links are the same."""
        self.learned.carry_over(old.learned)
        self.calibration.load(old.calibration.dump())
