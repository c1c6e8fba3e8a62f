"""Which departures a stop could show: the timetable's rows around now, overlaid with the predictions of the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from busd.days import STOP_KEY, ServiceDay
from busd.shown import (
    AGE,
    CODES,
    DISTANCE,
    FLOATS,
    HEADSIGN,
    HIGH,
    INTEGERS,
    KEY,
    KEY_SHIFT,
    LOW,
    PRED,
    PRED_S,
    SCHED,
    SCHEDULED_CODES,
    TRIP,
    VEHICLE,
    pack_codes,
)
from busd.track.fleet import ARRIVED, DEPARTURE, FINISHING, P10, P50, P90, RIDER
from busd.types import Basis, StopStatus
from gtfs.network import F64, I64, Bool

if TYPE_CHECKING:
    from busd.board import BoardKeeper


class Rows(NamedTuple):
    """Flat rows sorted by owner (index into the stops asked for), then by shown time; at most `places` an owner."""

    owner: I64
    place: I64  # 0, 1, 2 ... within the owner
    integers: I64  # [n, INTEGERS]
    floats: F64  # [n, FLOATS]
    wake_at: F64  # when time alone changes the row
    idle: F64  # [stops] when a departure not yet in reach comes into it


def candidate_rows(keeper: BoardKeeper, stops: I64, at: float, places: int, *, frozen: bool) -> Rows:
    """The rows of all ``stops`` at ``at``; ``frozen``: no position is fresh, so no prediction is."""
    idle = np.full(len(stops), np.inf)
    parts = []
    slack = _slack(keeper, at)
    for day in keeper.timetable:
        row, owner, slot = _window(keeper, day, stops, at, slack, idle)
        if len(row):
            parts.append(_overlay(keeper, day, row, owner, slot, at, frozen))
    if not parts:
        none = np.zeros(0, np.int64)
        return Rows(none, none, np.zeros((0, INTEGERS), np.int64), np.zeros((0, FLOATS)), np.zeros(0), idle)
    ends = np.cumsum([len(part.owner) for part in parts])
    owner = np.concatenate([part.owner for part in parts])
    second = np.concatenate([part.shown for part in parts]).astype(np.int64) - int(at)
    # one key sorts faster than two; a stable sort leaves equal seconds in timetable order
    order = ((owner << 32) + second).argsort(kind="stable")
    owner = owner[order]
    place = places_within(owner)
    if place.size and place.max() >= places:
        fits = place < places
        order, owner, place = order[fits], owner[fits], place[fits]
    integers = np.empty((len(order), INTEGERS), np.int64)
    floats = np.full((len(order), FLOATS), np.nan)
    wake = np.empty(len(order))
    for part, end in zip(parts, ends.tolist()):
        here = slice(None) if len(parts) == 1 else (order < end) & (order >= end - len(part.owner))
        part.write(order[here] - (end - len(part.owner)), here, integers, floats, wake)
    return Rows(owner, place, integers, floats, wake, idle)


def group_starts(owner: I64) -> I64:
    """Index of the first row of each owner; owners contiguous."""
    first = np.empty(len(owner), bool)
    first[:1] = True
    np.not_equal(owner[1:], owner[:-1], out=first[1:])
    return first.nonzero()[0]


def places_within(owner: I64) -> I64:
    """0, 1, 2 ... within each owner; owners contiguous."""
    first = group_starts(owner)
    count = np.empty(len(first), np.int64)
    np.subtract(first[1:], first[:-1], out=count[:-1])
    count[-1:] = len(owner) - first[-1:]
    return np.arange(len(owner)) - np.repeat(first, count)


def _slack(keeper: BoardKeeper, at: float) -> tuple[float, float]:
    """How late and how early the most extreme bus is now, s: so far around the timetable departures may be found."""
    b, runs, used = keeper.p.boards, keeper.runs, keeper.runs.used()
    if not len(used):
        return 0.0, 0.0
    ahead = np.minimum(runs.first_pos[used], runs.stops[used] - 1)
    due = runs.base_at[used] + keeper.network.departure_s[runs.time_row[used] + np.maximum(ahead - 1, 0)]
    deviation = keeper.vehicles.deviation_s[runs.vehicle[used]]
    early = -float(np.fmin.reduce(deviation, initial=0.0))
    return min(max(at - float(due.min()), 0.0) + 1.0, b.max_late_s), min(early + 1.0, b.max_early_s)


def _window(
    keeper: BoardKeeper, day: ServiceDay, stops: I64, at: float, slack: tuple[float, float], idle: F64
) -> tuple[I64, I64, I64]:
    """(row, owner, slot): what the timetable puts within reach, and what a bus makes of the rest by being late or
    early. ``idle`` learns when the next departure comes into reach."""
    b, (late_s, early_s) = keeper.p.boards, slack
    now_s = at - day.start_at
    base = stops * STOP_KEY
    first, end = day.stop_offset[stops], day.stop_offset[stops + 1]

    def place(second: float) -> I64:
        found = np.searchsorted(day.stop_key, base + min(max(second, -1e6), STOP_KEY - 1e6))
        return np.minimum(np.maximum(found, first), end)

    begin, reach = place(now_s - max(late_s, b.drop_after_s)), place(now_s + b.horizon_s)
    beyond = (reach < end).nonzero()[0]
    due = day.row_departure_at[day.stop_rows[reach[beyond]]] - b.horizon_s
    idle[beyond] = np.minimum(idle[beyond], due)
    count = place(now_s + b.horizon_s + early_s) - begin
    owner = np.repeat(np.arange(len(stops)), count)
    index = np.arange(len(owner)) + (begin - np.cumsum(count) + count)[owner]
    rows = day.stop_rows[index]
    slot = _slots_of(keeper, day)[day.row_run[rows]]
    sched = day.row_departure_at[rows]
    still = (slot >= 0) | ((sched >= at - b.drop_after_s) & (sched <= at + b.horizon_s))
    return rows[still], owner[still], slot[still]


def _slots_of(keeper: BoardKeeper, day: ServiceDay) -> I64:
    """run -> slot of `Runs`, -1 where nobody performs it, or an operator does not want it to be seen. A run that is kept
    in case its bus comes back is nobody's here: one bus is on a board once."""
    runs, hidden = keeper.runs, keeper.notices.hidden
    slot_of = np.full(len(day.run_trip), -1, np.int64)
    n = runs.size
    mine = (runs.day[:n] == day.ordinal) & (runs.run[:n] >= 0) & (runs.vehicle[:n] >= 0)
    mine = (mine & np.isinf(runs.kept_until[:n])).nonzero()[0]
    if hidden.any():
        mine = mine[~hidden[runs.pattern[mine]]]
    slot_of[runs.run[mine]] = mine
    return slot_of


class _DayRows(NamedTuple):
    """What one service day offers: candidates, and the buses among them."""

    day: ServiceDay
    owner: I64
    row: I64
    sched: F64
    shown: F64  # the second that orders it: the prediction's, else the timetable's
    wake_at: F64
    bus_of: I64  # index into the arrays of bus, -1 none
    bus: _Live

    def write(self, pick: I64, to: slice | Bool, integers: I64, floats: F64, wake: F64) -> None:
        """The picked candidates as board rows, into ``to`` of the arrays."""
        row = self.row[pick]
        block = np.empty((len(pick), INTEGERS), np.int64)
        block[:, KEY] = (self.day.ordinal << KEY_SHIFT) | row
        block[:, VEHICLE:TRIP] = (-1, SCHEDULED_CODES, 0)
        block[:, TRIP : HEADSIGN + 1] = self.day.row_call[row]
        block[:, DISTANCE] = -1
        times = np.full((len(pick), FLOATS), np.nan)
        times[:, SCHED] = self.sched[pick]
        bus_of = self.bus_of[pick]
        at = (bus_of >= 0).nonzero()[0]
        bus, k = self.bus, bus_of[at]
        block[at, VEHICLE], block[at, CODES], block[at, DISTANCE] = bus.vehicle[k], bus.codes[k], bus.metres[k]
        block[at, PRED_S] = bus.pred[k]
        times[at, PRED], times[at, LOW], times[at, HIGH], times[at, AGE] = (
            bus.pred[k],
            bus.low[k],
            bus.high[k],
            bus.age[k],
        )
        integers[to], floats[to], wake[to] = block, times, self.wake_at[pick]


def _overlay(
    keeper: BoardKeeper, day: ServiceDay, row: I64, owner: I64, slot: I64, at: float, frozen: bool
) -> _DayRows:
    """The timetable's rows that a board can show, with what buses make of them."""
    b = keeper.p.boards
    sched = day.row_departure_at[row]
    headway = day.run_headway[day.row_run[row]]
    keep = (sched >= at - b.drop_after_s) & (sched <= at + b.horizon_s) & ~headway
    shown = np.floor(sched)
    performed = (slot >= 0).nonzero()[0]
    bus = _live_rows(keeper, slot[performed], day.row_call[row[performed], 2].astype(np.int64), at, frozen)
    known = performed[bus.call]
    shown[known] = np.floor(bus.pred)
    keep[performed[bus.gone]] = False
    keep[known] = (bus.pred <= at + b.horizon_s) & ((bus.pred >= at - b.drop_after_s) | bus.standing)
    wake = shown + (1 + b.drop_after_s)
    wake[known] = bus.wake_at
    bus_of = np.full(len(row), -1)
    bus_of[known] = np.arange(len(known))
    if headway.any():
        sched = np.where(headway, np.nan, sched)
    k = keep.nonzero()[0]
    return _DayRows(day, owner[k], row[k], sched[k], shown[k], wake[k], bus_of[k], bus)


class _Live(NamedTuple):
    """What buses say of some calls. ``call`` and ``gone`` point into the calls asked for."""

    call: I64  # calls with a prediction, [n]; the other arrays follow it
    gone: I64  # calls that their bus has passed
    pred: F64
    low: F64
    high: F64
    age: F64
    wake_at: F64
    vehicle: I64
    codes: I64
    metres: I64
    standing: Bool


def _live_rows(keeper: BoardKeeper, slot: I64, pos: I64, at: float, frozen: bool) -> _Live:
    b, runs, vehicles, network = keeper.p.boards, keeper.runs, keeper.vehicles, keeper.network
    vehicle, first = runs.vehicle[slot], runs.first_pos[slot]
    begun = runs.following[slot] < 0
    current = vehicles.slot[vehicle]
    standing = begun & (vehicles.standing_pos[vehicle] == pos) & (current == slot)
    gone = (begun & (pos < first) & ~standing).nonzero()[0]
    calls = runs.wide[slot, pos]
    pred = _rider_departure(calls, standing, at)
    live = (((pos >= first) & (pos < runs.end_pos[slot])) | standing) & np.isfinite(pred)
    k = live.nonzero()[0]
    slot, pos, vehicle, current, pred, standing = slot[k], pos[k], vehicle[k], current[k], pred[k], standing[k]
    calls = calls[k]

    shift = calls[:, DEPARTURE] - calls[:, P50]
    age = np.maximum(at - vehicles.measured_at[vehicle], 0.0)
    here = current == slot
    # how many stops a bus passes before it begins another run is nothing that a rider can see coming
    ahead = np.where(here, np.maximum(pos - vehicles.next_pos[vehicle], 0), -1)
    ahead = np.where(runs.following[slot] == FINISHING, pos - first[k], ahead)
    ahead = np.where(standing, 0, ahead)
    stop_m = network.pattern_stop_m[network.pattern_stop_offset[runs.pattern[slot]] + pos]
    metres = stop_m - vehicles.distance_m[vehicle]
    metres = np.where(standing, 0, np.where(here & np.isfinite(metres), np.maximum(metres, 0), -1)).astype(np.int64)
    stale = frozen | (age > keeper.p.predicting.frozen_s)
    near = ~stale & (ahead == 0) & (pred - at <= b.arriving_s)
    codes = pack_codes(
        ahead,
        np.where(stale, Basis.FROZEN, Basis.REALTIME),
        np.where(standing, StopStatus.AT_STOP, np.where(near, StopStatus.ARRIVING, StopStatus.OK)),
        vehicles.occupancy[vehicle].astype(np.int64),
    )
    wake = np.where(standing, np.inf, np.floor(pred) + 1 + b.drop_after_s)
    wake = np.where(~near & ~stale & ~standing & (ahead == 0), np.minimum(wake, pred - b.arriving_s), wake)
    wake = np.where(stale, wake, np.minimum(wake, at - age + keeper.p.predicting.frozen_s + 1e-3))
    low, high = np.fmin(calls[:, P10] + shift, pred), np.fmax(calls[:, P90] + shift, pred)
    return _Live(k, gone, pred, low, high, age, wake, vehicle, codes, metres, standing)


def _rider_departure(calls: F64, standing: Bool, at: float) -> F64:
    """The departure to show: as far before the expected one as the rider point is before the median arrival. A bus
    that stands at the stop goes any moment: its time is when it came. ``calls``: rows of `Runs.wide`."""
    rider: F64 = calls[:, DEPARTURE] - calls[:, P50] + calls[:, RIDER]
    if not standing.any():
        return rider
    came = np.fmin(calls[:, ARRIVED], at)
    return np.where(standing & ~(rider > at), np.where(np.isfinite(came), came, at), rider)
