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
from busd.predict.kernels import departures, in_order, rising, settled
from busd.predict.learning import Learned
from busd.predict.outcomes import Outcomes
from busd.predict.visits import VisitReader
from busd.track.assign import Assigner
from busd.track.fleet import LIVE, P10, P50, P90, PREDICTED, RIDER, Runs, Vehicles
from busd.types import Basis, Predicted, PredictionTable, StopVisit
from gtfs.network import F64, I64, Network

MAX_FOLLOWING = 4  # runs of the block looked ahead; the horizon ends sooner in all but shuttle services
SAMPLE_S = 30.0

Changed = tuple[int, int, int]
"""slot, and the stop positions [from, to) of which the predictions changed"""


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
        self._samples = parameters.calibrating.samples
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

    def predict(self, rows: I64, at: float) -> tuple[list[Predicted], list[Changed]]:
        """Re-predict the vehicles ``rows`` (all on a run). Outputs in row order, and what changed."""
        outputs: list[Predicted] = []
        changed: list[Changed] = []
        if not len(rows):
            return outputs, changed
        self.journeys.reach(self.vehicles.size)
        if not math.isfinite(self.learned.table_at):
            self._refresh(at)
        self.journeys.follow(rows, self.vehicles, self.forecaster.places.standing_m)
        slots = self.vehicles.slot[rows]
        ahead = self.forecaster.ahead(rows, slots, self.vehicles.next_pos[rows])
        first_at = self.forecaster.first_arrivals(rows, ahead, at)
        for depth in range(MAX_FOLLOWING + 1):
            ends_at, more = self._publish(rows, slots, ahead, first_at, at, depth > 0, outputs, changed)
            if depth == MAX_FOLLOWING or not self.parts.blocks:
                break
            keep, following = self._following(rows, slots, more, at)
            if not len(keep):
                break
            self.runs.following[following], self.runs.vehicle[following] = slots[keep], rows[keep]
            rows, slots = rows[keep], following
            ahead = self.forecaster.ahead(rows, slots, np.zeros(len(rows), np.int64))
            first_at = self.forecaster.next_departures(ahead, ends_at[keep], at)
        return outputs, changed

    def _publish(
        self,
        rows: I64,
        slots: I64,
        ahead: Ahead,
        first_at: F64,
        at: float,
        follows: bool,
        outputs: list[Predicted],
        changed: list[Changed],
    ) -> tuple[F64, I64]:
        """One run each, into the table. Returns when it ends and 1 where the horizon reaches beyond the run."""
        runs, p = self.runs, self.p
        raw = self.forecaster.along(rows, ahead, first_at, at)
        ends_at = np.where(ahead.stops > 0, raw[np.maximum(ahead.start + ahead.stops - 1, 0)] if len(raw) else 0.0, at)
        quantiles, scale = self.forecaster.quantiles(ahead, raw, at, follows)
        slot = slots[ahead.owner]
        published = runs.wide[slot, ahead.pos]
        columns = quantiles[:, [0, 2, 3, 1]]  # p10, median, p90, rider point, as in `Runs.wide`
        if self.parts.stability:
            columns = settled(columns, published[:, : RIDER + 1], at, p)
        columns[:, P50] = np.maximum(columns[:, P50], at + p.overdue_s)
        first = ahead.pos == 0
        earliest = np.where(first, ahead.departure_at, at)
        honest = in_order(columns[:, [P10, RIDER, P50, P90]], ahead.owner, at, earliest)
        p50 = honest[:, 2]
        leaves = np.where(first, p50, departures(p50, ahead.arrival_at, ahead.departure_at, p.min_dwell_s))
        leaves = rising(leaves - at, ahead.owner) + at
        predicted = np.column_stack([honest[:, 0], p50, honest[:, 3], honest[:, 1], leaves])
        shown = p50 <= at + p.horizon_s
        end = np.bincount(ahead.owner[shown], minlength=len(slots))
        told = leaves - p50 + honest[:, 1]
        for i, slot_i in enumerate(slots.tolist()):
            a, n, k = int(ahead.start[i]), int(end[i]), int(ahead.first_pos[i])
            part = slice(a, a + n)
            old_end = int(runs.end_pos[slot_i])
            changed.append((slot_i, *self._news(slot_i, k, n, told[part], at)))
            runs.wide[slot_i, k : k + n, PREDICTED] = predicted[part]
            runs.raw[slot_i, k : k + n], runs.scale[slot_i, k : k + n] = raw[part], scale[part]
            runs.wide[slot_i, k + n : max(old_end, k + n), PREDICTED] = np.nan
            runs.first_pos[slot_i], runs.end_pos[slot_i], runs.made_at[slot_i] = k, k + n, at
            if n:
                outputs.append(self._table(int(rows[i]), slot_i, ahead.pos[part], predicted[part], at))
        return ends_at, (end == ahead.stops).astype(np.int64)

    def _news(self, slot: int, k: int, n: int, told: F64, at: float) -> tuple[int, int]:
        """Stop positions [from, to) whose boards may differ by this prediction of positions k..k + n.

        Of a run whose bus has passed no stop, only what moved by half the hysteresis or into another minute: most
        boards of a city never hear of most reports. ``told``: the departures for riders, [n]."""
        runs = self.runs
        begun = runs.following[slot] < 0
        first, end = int(runs.first_pos[slot]), int(runs.end_pos[slot])
        old = runs.told[slot, k : k + n].copy()
        runs.told[slot, k : k + n] = told
        if (begun and first != k) or end != k + n or at - float(runs.made_at[slot]) > self.p.frozen_s / 2:
            return min(first, k) - 1, max(end, k + n)
        moved = ~(np.abs(told - old) < self.hysteresis_s / 2) | ((told - at) // 60 != (old - at) // 60)
        where = moved.nonzero()[0]
        low, high = (k + int(where[0]), k + int(where[-1]) + 1) if len(where) else (k, k)
        runs.told[slot, k : k + n] = np.where(moved, told, old)
        # the bus may have come to stand at the next stop, or left the one before
        return (k - 1, max(high, min(k + 1, k + n))) if begun else (low, high)

    def _table(
        self, row: int, slot: int, pos: I64, columns: F64, at: float, basis: Basis = Basis.REALTIME
    ) -> Predicted:
        return Predicted(
            PredictionTable(
                self.vehicles.ids[row],
                self.runs.dated(slot, self.assigner.service_date(slot)),
                at,
                float(self.vehicles.measured_at[row]),
                pos,
                columns[:, 0],
                columns[:, 1],
                columns[:, 2],
                columns[:, 3],
                columns[:, 4],
                basis,
            )
        )

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

    def tend(self, at: float) -> tuple[list[Predicted], list[Changed]]:
        """What time asks for: the tables renewed, overdue times moved on, predictions put aside to be judged."""
        outputs: list[Predicted] = []
        changed: list[Changed] = []
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
        outputs.extend(self._move_on(slot, at, changed) for slot in used[late & ~waiting].tolist())
        if self.parts.calibration and at >= self._sampled_at + SAMPLE_S:
            self._sampled_at = at
            self.calibration.settle()
            self._sample(used, at)
        return again + outputs, changed

    def _move_on(self, slot: int, at: float, changed: list[Changed]) -> Predicted:
        """The bus should have passed but was not seen to: it comes any moment. Stops behind keep their times."""
        runs = self.runs
        k, end = int(runs.first_pos[slot]), int(runs.end_pos[slot])
        due = at + 2 * self.p.tend_s
        n = int((runs.p50[slot, k:end] < due).sum())
        rows = runs.wide[slot, k : k + n, PREDICTED]
        rows[:, P10] = np.maximum(rows[:, P10], at)
        rows[:, P50] = due
        for column in (P90, 4):
            rows[:, column] = np.maximum(rows[:, column], due)
        rows[:, RIDER] = np.minimum(np.maximum(rows[:, RIDER], at), due)
        changed.append((slot, k, k + n))
        return self._table(int(runs.vehicle[slot]), slot, np.arange(k, k + n), rows.copy(), at)

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
        stride = max(1, math.ceil(int(count.sum()) / self._samples))
        self._phase = (self._phase + 1) % 7919
        owner = np.repeat(np.arange(len(used)), count)
        place = np.arange(len(owner))
        chosen = (place + self._phase * 5) % stride == 0
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
        return self._table(row, slot, np.arange(k, end), np.full((end - k, 5), np.nan), at, Basis.SCHEDULE)

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
