"""What each stop shows: which departures, in which order, and when a difference is worth a new revision.

All touched stops of a tick are worked out together, as flat rows; a `Board` is cut out only for a stop whose revision
is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from busd.candidates import Rows, candidate_rows, group_starts
from busd.days import Timetable
from busd.lines import LineBook
from busd.notices import Notices
from busd.parameters import Parameters
from busd.shown import FLOATS, INTEGERS, KEY, KEY_SHIFT, NEWS, PRED_S, DepartureRows
from busd.track.fleet import Runs, Vehicles
from busd.types import Board
from gtfs.network import F64, I64, Bool, Network

STATES = ("live", "degraded", "schedule")
KEPT = ("rev", "computed_at", "state", "count", "deadline_at", "lines_until")


class BoardKeeper:
    """Keeps what every stop shows. ``epoch`` names the series of revisions (busd.sign.v1)."""

    def __init__(
        self,
        network: Network,
        timetable: Timetable,
        vehicles: Vehicles,
        runs: Runs,
        p: Parameters,
        epoch: str,
        notices: Notices,
    ) -> None:
        self.network, self.timetable, self.vehicles, self.runs, self.p = network, timetable, vehicles, runs, p
        self.epoch, self.notices = epoch, notices
        stops, places = len(network.stop_lat), p.boards.max_departures
        self.rev = np.zeros(stops, np.int64)
        self.computed_at = np.zeros(stops)
        self.state = np.zeros(stops, np.int8)
        self.count = np.zeros(stops, np.int64)
        self.deadline_at = np.full(stops, np.inf)
        self.lines_until = np.zeros(stops)
        self.integers = np.zeros((stops, places, INTEGERS), np.int64)
        self.floats = np.zeros((stops, places, FLOATS))
        self.lines = LineBook(network, timetable)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def board(self, stop: int) -> Board | None:
        """What the stop shows now, None before its first computation."""
        if self.rev[stop] == 0:
            return None
        n, at = int(self.count[stop]), float(self.computed_at[stop])
        return self.cut_out(stop, int(self.rev[stop]), at, self.integers[stop, :n], self.floats[stop, :n])

    def cut_out(self, stop: int, rev: int, at: float, integers: I64, floats: F64) -> Board:
        """The board of one stop; ``integers`` and ``floats`` are its rows."""
        lines = self.lines.at(stop, at, self.lines.days_of(set((integers[:, KEY] >> KEY_SHIFT).tolist()), at))
        return Board(
            stop_idx=stop,
            epoch=self.epoch,
            rev=rev,
            at=at,
            ttl_s=self.p.boards.ttl_s,
            state=STATES[self.state[stop]],
            departures=DepartureRows(integers.tobytes(), floats.tobytes(), self.network, self.vehicles.ids, lines),
            lines=lines,
            messages=self.notices.at(stop),
        )

    # ---- writing -----------------------------------------------------------------------------------------------------

    def due(self, at: float) -> I64:
        """Stops whose board changes by time alone."""
        return (self.deadline_at <= at).nonzero()[0]

    def next_deadline(self) -> float:
        return float(self.deadline_at.min(initial=np.inf))

    def stops_of(self, touched: I64) -> I64:
        """The stops of runs, sorted, unique; ``touched``: slot, and the stop positions [from, to) of it, [n, 3]."""
        slot, low, high = touched.T
        low = np.maximum(low, 0)
        count = np.maximum(high - low, 0)
        first = self.network.pattern_stop_offset[self.runs.pattern[slot]] + low
        row = np.arange(int(count.sum())) + np.repeat(first - (np.cumsum(count) - count), count)
        return np.unique(self.network.pattern_stop[row]).astype(np.int64)

    def update(self, stops: I64, at: float, state: int, restated: I64 | None = None) -> BoardBatch:
        """Work out the boards of ``stops`` (sorted, unique) and return those that deserve a new revision; those of
        ``restated`` do, whatever their departures are."""
        places = self.integers.shape[1]
        rows = candidate_rows(self, stops, at, places, frozen=state == STATES.index("degraded"))
        count = np.bincount(rows.owner, minlength=len(stops))
        differs = self._differs(stops, rows, count, at, state)
        if restated is not None and len(restated):
            differs |= np.isin(stops, restated)
        self._set_deadlines(stops, rows, at)
        chosen = stops[differs]
        mine = differs[rows.owner].nonzero()[0]
        where = stops[rows.owner[mine]], rows.place[mine]
        integers, floats = rows.integers[mine], rows.floats[mine]
        self.integers[where], self.floats[where] = integers, floats
        self.count[chosen] = count[differs]
        self.state[chosen] = state
        self.rev[chosen] += 1
        self.computed_at[chosen] = at
        return BoardBatch(self, at, chosen, self.rev[chosen], count[differs], integers, floats)

    def _differs(self, stops: I64, rows: Rows, count: I64, at: float, state: int) -> Bool:
        """The hysteresis of busd.sign.v1: a prediction that moved a little within the same minute is no news."""
        differs = (self.rev[stops] == 0) | (self.count[stops] != count) | (self.state[stops] != state)
        differs |= self.lines_until[stops] <= at
        old = self.integers[stops[rows.owner], rows.place]
        news = (old[:, :NEWS] != rows.integers[:, :NEWS]).any(axis=1)
        before, now = old[:, PRED_S], rows.integers[:, PRED_S]
        news |= np.abs(now - before) >= self.p.boards.hysteresis_s
        news |= (now - at) // 60 != (before - at) // 60
        differs[rows.owner[news]] = True
        return np.asarray(differs)

    def _set_deadlines(self, stops: I64, rows: Rows, at: float) -> None:
        """When time alone changes these boards next, on the board grid."""
        b = self.p.boards
        expired = stops[self.lines_until[stops] <= at]
        if len(expired):
            self.lines_until[expired] = self.lines.expire_at(expired, at)
        wake = np.minimum(np.minimum(rows.idle, self.lines_until[stops]), at + b.max_early_s)
        if len(rows.owner):
            first = group_starts(rows.owner)
            owners = rows.owner[first]
            wake[owners] = np.minimum(wake[owners], np.minimum.reduceat(rows.wake_at, first))
        self.deadline_at[stops] = np.ceil(np.maximum(wake, at + 0.05) / b.grid_s) * b.grid_s

    def continue_revisions(self, old: BoardKeeper) -> None:
        """Take over the revisions of another network's boards, so that no stop's ``rev`` goes back in the epoch."""
        for stop in np.flatnonzero(old.rev).tolist():
            here = self.network.find_stop(old.network.stop_id[stop])
            if here is not None:
                self.rev[here] = old.rev[stop]

    # ---- snapshot ----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in KEPT}
        return plain | {"epoch": self.epoch, "integers": self.integers, "floats": self.floats}

    def load(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        for name in (*KEPT, "integers", "floats"):
            setattr(self, name, state[name])


class BoardBatch(Sequence[Board]):
    """The new revisions of one tick; a board is cut out of the rows when it is read.

    Read it before the keeper's next update: lines and states are the keeper's present ones."""

    def __init__(
        self, keeper: BoardKeeper, at: float, stops: I64, revs: I64, counts: I64, integers: I64, floats: F64
    ) -> None:
        self._keeper, self._at = keeper, at
        self.stops, self._revs = stops, revs
        self._integers, self._floats = integers, floats
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts

    def digest_bytes(self) -> bytes:
        """All that makes these boards differ from the ones before, without making objects."""
        states = self._keeper.state[self.stops]
        parts = (np.array([self._at]), self.stops, self._revs, states, self._ends, self._integers, self._floats)
        return b"".join(part.tobytes() for part in parts) + self._keeper.notices.digest_bytes(self.stops)

    def __len__(self) -> int:
        return len(self.stops)

    @overload
    def __getitem__(self, index: int) -> Board: ...
    @overload
    def __getitem__(self, index: slice) -> list[Board]: ...
    def __getitem__(self, index: int | slice) -> Board | list[Board]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        rows = slice(int(self._starts[index]), int(self._ends[index]))
        return self._keeper.cut_out(
            int(self.stops[index]), int(self._revs[index]), self._at, self._integers[rows], self._floats[rows]
        )
