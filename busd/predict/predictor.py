"""Predictions of the stops ahead for the vehicles that moved: their run, and the runs their block does next."""

from __future__ import annotations

import numpy as np

from busd.days import Timetable
from busd.parameters import Parameters
from busd.predict.kernels import delay_after_layover, interval, schedule_plus_delay, within_horizon
from busd.track.assign import Assigner
from busd.track.fleet import PREDICTED, Runs, Vehicles
from busd.types import Basis, Predicted, PredictionTable
from gtfs.network import F64, I64, Network

MAX_FOLLOWING = 4  # runs of the block looked ahead; the horizon ends sooner in all but shuttle services


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
        self.p, self.hysteresis_s = parameters.predicting, parameters.boards.hysteresis_s

    def predict(self, rows: I64, at: float) -> tuple[list[Predicted], list[tuple[int, int, int]]]:
        """Re-predict the vehicles ``rows`` (all on a run). Outputs in row order, and the (slot, from, to stop
        position) of what changed."""
        outputs: list[Predicted] = []
        changed: list[tuple[int, int, int]] = []
        slots = self.vehicles.slot[rows]
        delay = self.vehicles.deviation_s[rows]
        delay = np.where(np.isfinite(delay), delay, 0.0)
        first_pos = self.vehicles.next_pos[rows].copy()
        held = np.full(len(rows), -1, np.int64)
        for depth in range(MAX_FOLLOWING + 1):
            if not len(rows):
                break
            end_delay, more = self._predict_runs(rows, slots, first_pos, delay, at, outputs, changed)
            if depth == MAX_FOLLOWING:
                break
            keep, following = self._following(rows, slots, end_delay, more, at)
            if not len(keep):
                break
            layover = self._starts_at(following) - self._ends_at(slots[keep])
            held, rows, delay = slots[keep], rows[keep], delay_after_layover(end_delay[keep], layover, self.p)
            slots, first_pos = following, np.zeros(len(following), np.int64)
            self.runs.following[slots] = held
            self.runs.vehicle[slots] = rows
        return outputs, changed

    def _predict_runs(
        self,
        rows: I64,
        slots: I64,
        first_pos: I64,
        delay: F64,
        at: float,
        outputs: list[Predicted],
        changed: list[tuple[int, int, int]],
    ) -> tuple[F64, I64]:
        """One run each. Returns the delay at its end and 1 where the horizon reaches beyond the run."""
        runs, network = self.runs, self.network
        count = np.maximum(runs.stops[slots] - first_pos, 0)
        owner = np.repeat(np.arange(len(slots)), count)
        pos = np.arange(len(owner)) - (np.cumsum(count) - count)[owner] + first_pos[owner]
        time = runs.time_row[slots][owner] + pos
        base = runs.base_at[slots][owner]
        arrival_at, departure_at = base + network.arrival_s[time], base + network.departure_s[time]
        # at its first stop a bus counts by its departure: it cannot be early there
        at_first = pos == 0
        arrival_at = np.where(at_first, departure_at, arrival_at)
        p50, departure = schedule_plus_delay(arrival_at, departure_at, delay[owner], owner, at, self.p)
        p50 = np.where(at_first, departure, p50)
        # a bus may leave its first stop late, but riders are never told a time before the timetable's
        earliest = np.where(at_first, np.minimum(p50, departure_at), -np.inf)
        p10, p90, rider = interval(p50, at, earliest, self.p)
        shown = within_horizon(p50, owner, at, self.p)
        end = np.bincount(owner[shown], minlength=len(slots)) if len(owner) else np.zeros(len(slots), np.int64)
        starts = np.cumsum(count) - count
        predicted = np.stack([p10, p50, p90, rider, departure], axis=1)
        for i, slot in enumerate(slots.tolist()):
            a, n, k = int(starts[i]), int(end[i]), int(first_pos[i])
            part = slice(a, a + n)
            old_end = int(runs.end_pos[slot])
            changed.append((slot, *self._news(slot, k, n, departure[part] - p50[part] + rider[part], at)))
            runs.wide[slot, k : k + n, PREDICTED] = predicted[part]
            runs.wide[slot, k + n : max(old_end, k + n), PREDICTED] = np.nan
            runs.first_pos[slot], runs.end_pos[slot], runs.made_at[slot] = k, k + n, at
            if n:
                outputs.append(self._table(int(rows[i]), slot, pos[part], p10, p50, p90, rider, departure, part, at))
        total = np.zeros(len(slots))
        spare = np.maximum(departure_at - arrival_at - self.p.min_dwell_s, 0.0)
        np.add.at(total, owner, spare)
        end_delay = np.where(delay > 0, np.maximum(delay - total, 0.0), delay)
        return end_delay, (end == count).astype(np.int64)

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
        self,
        row: int,
        slot: int,
        pos: I64,
        p10: F64,
        p50: F64,
        p90: F64,
        rider: F64,
        departure: F64,
        part: slice,
        at: float,
    ) -> Predicted:
        date = self.assigner.service_date(slot)
        return Predicted(
            PredictionTable(
                self.vehicles.ids[row],
                self.runs.dated(slot, date),
                at,
                float(self.vehicles.measured_at[row]),
                pos,
                p10[part],
                p50[part],
                p90[part],
                rider[part],
                departure[part],
            )
        )

    def _following(self, rows: I64, slots: I64, delay: F64, more: I64, at: float) -> tuple[I64, I64]:
        """Which of the runs are continued within the horizon, and by which slot."""
        keep, following = [], []
        for i in np.flatnonzero(more).tolist():
            after = self.assigner.open_next(int(slots[i]))
            if after is None or self.runs.vehicle[after] not in (-1, rows[i]):
                continue  # another bus has come for it
            if self.vehicles.slot[rows[i]] == after:
                continue
            if float(self._starts_at(np.array([after]))[0]) <= at + self.p.horizon_s:
                keep.append(i)
                following.append(after)
            elif self.runs.vehicle[after] < 0:
                self.runs.release(after)
        return np.array(keep, np.int64), np.array(following, np.int64)

    def _starts_at(self, slots: I64) -> F64:
        starts: F64 = self.runs.base_at[slots] + self.network.departure_s[self.runs.time_row[slots]]
        return starts

    def _ends_at(self, slots: I64) -> F64:
        last = self.runs.time_row[slots] + self.runs.stops[slots] - 1
        ends: F64 = self.runs.base_at[slots] + self.network.arrival_s[last]
        return ends

    def withdraw(self, slot: int, at: float) -> Predicted | None:
        """Take back what is still predicted for a run: its rows once more, all NaN. None if there is nothing."""
        runs = self.runs
        k, end = int(runs.first_pos[slot]), int(runs.end_pos[slot])
        row = int(runs.vehicle[slot])
        if end <= k or row < 0:
            return None
        nothing = np.full(end - k, np.nan)
        runs.wide[slot, k:end, PREDICTED] = np.nan
        runs.end_pos[slot] = k
        return Predicted(
            PredictionTable(
                self.vehicles.ids[row],
                runs.dated(slot, self.assigner.service_date(slot)),
                at,
                float(self.vehicles.measured_at[row]),
                np.arange(k, end),
                nothing,
                nothing,
                nothing,
                nothing,
                nothing,
                Basis.SCHEDULE,
            )
        )
