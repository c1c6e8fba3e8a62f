"""Prediction logs held against the truth on a fixed grid of instants.

Every passage is asked about at each multiple of 30 s in the half hour before it: what was the latest word then? So a
log that writes every second weighs as much as one that writes when something changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from busd.errors import FeedError
from gtfs.network import F64, I64, Bool, Network
from replay.truth import Passages

STEP_S = 30
WINDOW_S = 1800
TIMES = ("arrival_p50", "arrival_p10", "arrival_p90", "arrival_rider", "departure_p50")
GHOST_TOLD_S = (540.0, 660.0)
"""ghosts are counted among what was told to be 9 to 11 minutes away"""
_MS = 1000.0


def call_of(day: I64, time_row: I64, network: Network) -> I64:
    """One number for a stop call of a dated trip; ``time_row`` is its row of the stop times."""
    return day * max(len(network.arrival_s), 1) + time_row


@dataclass(frozen=True, eq=False)
class PredictionRows:
    """One log. A row holds from ``made_at`` until the next row of its call; NaN in ``p50`` takes the word back."""

    name: str
    call: I64
    """-1: a trip or stop that the timetable does not have"""
    made_at: F64
    p50: F64
    p10: F64
    p90: F64
    rider: F64
    departure: F64

    def __len__(self) -> int:
        return len(self.call)


def read_predictions(path: Path, network: Network, name: str | None = None) -> PredictionRows:
    """The ``predictions.csv[.gz]`` of a replay. `FeedError` where it cannot be read."""
    types: dict[str, Any] = dict.fromkeys((*TIMES, "generated_at", "stop_sequence"), float)
    types |= {"service_date": str, "trip_id": str}
    try:
        table = pd.read_csv(path, dtype=types, usecols=lambda column: column in types)
    except (ValueError, OSError, EOFError) as error:
        raise FeedError(f"{path} cannot be read: {error}") from None
    lacking = {"generated_at", "service_date", "trip_id", "stop_sequence", "arrival_p50"} - set(table)
    if lacking:
        raise FeedError(f"{path} has no column {', '.join(sorted(lacking))}; a prediction log is expected")
    call = _calls(table, network)
    times = {c: table[c].to_numpy(np.float64) if c in table else np.full(len(table), np.nan) for c in TIMES}
    made_at = table["generated_at"].to_numpy(np.float64)
    return PredictionRows(name or path.name.partition(".")[0], call, made_at, *(times[column] for column in TIMES))


def _calls(table: pd.DataFrame, network: Network) -> I64:
    """The call of each row; -1 where the timetable has none such."""
    codes, ids = pd.factorize(table["trip_id"])
    trip = np.array([-1 if (row := network.find_trip(str(name))) is None else row for name in ids] or [-1], np.int64)[
        codes
    ]
    codes, texts = pd.factorize(table["service_date"])
    day = np.array([ordinal_of(str(text)) for text in texts] or [-1], np.int64)[codes]
    # stop sequences rise along a trip, so (trip, sequence) rises with the row
    wide = float(network.stop_sequence.max(initial=0)) + 2.0
    owner = np.repeat(np.arange(len(network.trip_id)), np.diff(network.trip_time_offset))
    keys = owner * wide + network.stop_sequence
    sequence = np.nan_to_num(table["stop_sequence"].to_numpy(np.float64), nan=-1.0)
    wanted = trip * wide + sequence
    row = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    known = (trip >= 0) & (day >= 0) & (sequence >= 0) & (sequence < wide)
    if len(keys):
        known &= keys[row] == wanted
    return np.where(known, call_of(day, row, network), -1)


def ordinal_of(text: str) -> int:
    try:
        return date.fromisoformat(text if "-" in text else f"{text[:4]}-{text[4:6]}-{text[6:]}").toordinal()
    except ValueError:
        return -1


@dataclass(frozen=True, eq=False)
class Grid:
    """The instants at which passages are asked about; ``row`` is ascending, ``at`` ascending in each row."""

    passages: Passages
    row: I64
    at: F64

    @classmethod
    def around(cls, passages: Passages, skip_s: float = 0.0) -> Grid:
        """``skip_s``: nothing is asked in so long after the first passage of all (a model that begins cold)."""
        first = np.ceil((passages.arrival_at - WINDOW_S) / STEP_S).astype(np.int64)
        count = np.floor(passages.arrival_at / STEP_S).astype(np.int64) - first + 1
        row = np.repeat(np.arange(len(passages)), count)
        at = (np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)) * float(STEP_S)
        late = at >= passages.arrival_at.min(initial=np.inf) + skip_s
        return cls(passages, row[late], at[late])

    @property
    def arrival_at(self) -> F64:
        return self.passages.arrival_at[self.row]

    @property
    def actual_s(self) -> F64:
        return self.arrival_at - self.at

    @property
    def run(self) -> I64:
        return self.passages.run[self.row]


@dataclass(frozen=True, eq=False)
class Told:
    """What one log said at each point of a grid; epoch seconds, NaN where it said nothing."""

    name: str
    p50: F64
    p10: F64
    p90: F64
    rider: F64
    ghosts: dict[str, float] = field(default_factory=dict)
    """see `count_ghosts`"""


def latest_words(log: PredictionRows, grid: Grid, network: Network, ghosts: dict[str, float] | None = None) -> Told:
    """The latest row made at or before each grid point; of rows made at one instant the last in the log. At the first
    stop of a trip the departure is what counts, where it is given."""
    passages = grid.passages
    begin = network.trip_time_offset[passages.trip]
    call = call_of(passages.day, begin + passages.pos, network)
    by_call = np.argsort(call, kind="stable")
    found = np.minimum(np.searchsorted(call[by_call], log.call), max(len(call) - 1, 0))
    about = np.flatnonzero((call[by_call][found] == log.call) & (log.call >= 0)) if len(call) else np.zeros(0, np.int64)
    passage = by_call[found[about]] if len(call) else about
    zero = min(grid.at.min(initial=np.inf), log.made_at[about].min(initial=np.inf)) - 1.0
    stamp = _stamp(passage, log.made_at[about], zero)
    order = np.argsort(stamp, kind="stable")
    about, passage, stamp = about[order], passage[order], stamp[order]
    where = np.searchsorted(stamp, _stamp(grid.row, grid.at, zero), side="right") - 1
    if not len(about):
        nothing = np.full(len(grid.at), np.nan)
        return Told(log.name, nothing, nothing, nothing, nothing, ghosts or {})
    has = (where >= 0) & (passage[np.maximum(where, 0)] == grid.row)
    source = about[np.maximum(where, 0)]

    def pick(values: F64) -> F64:
        return np.where(has, values[source], np.nan)

    departs = np.where(passages.first[grid.row], pick(log.departure), np.nan)
    p50 = np.where(np.isnan(departs), pick(log.p50), departs)
    return Told(log.name, p50, pick(log.p10), pick(log.p90), pick(log.rider), ghosts or {})


def _stamp(row: I64, at: F64, zero: float) -> I64:
    """Sorts by (row, time to the millisecond)."""
    return (row.astype(np.int64) << 40) + np.round((at - zero) * _MS).astype(np.int64)


def count_ghosts(
    log: PredictionRows, passages: Passages, network: Network, until_at: float = np.inf
) -> dict[str, float]:
    """Predictions of buses that never came, among those told to be ten minutes away.

    Each row counts once for every grid instant at which it held and its bus was told to be 9-11 min away. ``came``: the
    bus was seen at this stop or a later one of the trip; ``never``: it was not, though the recording goes on to a
    quarter of an hour beyond the time told; ``unknown``: the recording ends first. Share = never / (came + never).
    ``passages``: all, whatever their bracket; ``until_at``: end of the recorded positions."""
    known = np.flatnonzero(log.call >= 0)
    order = known[np.lexsort((known, log.made_at[known], log.call[known]))]
    call, made, told = log.call[order], log.made_at[order], log.p50[order]
    if not len(order):
        return {"came": 0.0, "never": 0.0, "unknown": 0.0, "share": float("nan")}
    until = np.r_[made[1:], np.inf]
    until[:-1][call[1:] != call[:-1]] = np.inf
    low, high = np.maximum(made, told - GHOST_TOLD_S[1]), np.minimum(until, told - GHOST_TOLD_S[0])
    points = np.where(np.isnan(told), 0.0, np.maximum(np.ceil(high / STEP_S) - np.ceil(low / STEP_S), 0.0))
    rows = max(len(network.arrival_s), 1)
    owner = np.repeat(np.arange(len(network.trip_id)), np.diff(network.trip_time_offset))
    seen_run = passages.day * len(network.trip_id) + passages.trip
    runs, which = np.unique(seen_run, return_inverse=True)
    farthest = np.full(len(runs), -1)
    np.maximum.at(farthest, which, passages.pos)
    trip = owner[call % rows]
    pos = call % rows - network.trip_time_offset[trip]
    run = call // rows * len(network.trip_id) + trip
    at = np.minimum(np.searchsorted(runs, run), max(len(runs) - 1, 0))
    came: Bool = (runs[at] == run) & (farthest[at] >= pos) if len(runs) else np.zeros(len(run), bool)
    over = told + 900.0 <= until_at
    counted = {
        "came": float(points[came].sum()),
        "never": float(points[~came & over].sum()),
        "unknown": float(points[~came & ~over].sum()),
    }
    judged = counted["came"] + counted["never"]
    return counted | {"share": counted["never"] / judged if judged else float("nan")}
