"""What operators have ordered: messages on boards, and lines whose predictions are not shown. Part of the engine's state.

Orders name stops and routes by their ids, because an id outlives the row number when the timetable is reloaded. Signs,
groups and people are the rim's business (busd/signs/control.py): it turns them into stops before an order comes here.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from busd.types import BoardMessage
from gtfs.calendar import service_day_at, service_day_start
from gtfs.network import I64, Bool, Network

DAY_BEGINS_S = 3 * 3600.0
"""Riders' "today" goes on until so long after midnight: Friday's message still stands for Friday's night buses."""


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message and where it stands. No stops and no routes: on every board."""

    notice_id: str
    text: dict[str, str]
    """BCP 47 tag -> text"""
    priority: int = 0
    """0 information, 1 disruption, 2 emergency"""
    takeover: bool = False
    """nothing but this text is to be shown"""
    stops: tuple[str, ...] = ()
    routes: tuple[tuple[str, int | None], ...] = ()
    """(route id, direction id; None = both): every stop of the line"""
    everywhere: bool = False
    start_at: float | None = None
    end_at: float | None = None
    days: tuple[int, ...] = ()
    """service days it stands on, 0 = Monday; empty = every day"""

    def stands(self, at: float, timezone: str) -> bool:
        if (self.start_at is not None and at < self.start_at) or (self.end_at is not None and at >= self.end_at):
            return False
        return not self.days or dt.date.fromordinal(day_of(at, timezone)).weekday() in self.days

    def next_change(self, at: float, timezone: str) -> float:
        """The next instant after ``at`` at which `stands` may be another."""
        times = [t for t in (self.start_at, self.end_at) if t is not None and t > at]
        if self.days:
            times.append(day_ends(at, timezone))
        return min(times, default=math.inf)


class Suppression(msgspec.Struct, frozen=True, omit_defaults=True):
    """Until ``until_at`` boards show the timetable for this line, whatever its buses report."""

    route_id: str
    direction_id: int | None
    """None = both"""
    until_at: float

    @property
    def key(self) -> str:
        return f"{self.route_id}/{'' if self.direction_id is None else self.direction_id}"


def day_of(at: float, timezone: str) -> int:
    """Ordinal of the service day that riders mean by "today"."""
    return service_day_at(at - DAY_BEGINS_S, timezone)


def day_ends(at: float, timezone: str) -> float:
    """When that day gives way to the next one."""
    return service_day_start(day_of(at, timezone) + 1, timezone) + DAY_BEGINS_S


class Notices:
    """The orders in force. ``restated`` are stops whose board needs a new revision though its departures are the same."""

    def __init__(self) -> None:
        self.messages: dict[str, Notice] = {}
        self.suppressions: dict[str, Suppression] = {}
        self.next_change = math.inf
        self.hidden = np.zeros(0, bool)
        """pattern -> its predictions are not shown"""
        self._network: Network | None = None
        self._standing: dict[str, tuple[Notice, I64]] = {}
        self._everywhere: tuple[BoardMessage, ...] = ()
        self._at_stop: dict[int, tuple[BoardMessage, ...]] = {}

    def bind(self, network: Network) -> None:
        """From here on row numbers are those of ``network``."""
        self._network = network
        self._settle({notice_id: notice for notice_id, (notice, _) in self._standing.items()})

    # ---- reading -----------------------------------------------------------------------------------------------------

    def at(self, stop: int) -> tuple[BoardMessage, ...]:
        """What stands on the board of a stop, most urgent first."""
        here = self._at_stop.get(stop)
        if here is None:
            return self._everywhere
        return tuple(sorted(here + self._everywhere, key=_urgency))

    def digest_bytes(self, stops: I64) -> bytes:
        """The messages of these boards; empty where none stands."""
        if not (self._everywhere or self._at_stop):
            return b""
        return msgspec.json.encode([self.at(stop) for stop in stops.tolist()], order="deterministic")

    # ---- orders ------------------------------------------------------------------------------------------------------

    def take(self, name: str, args: Mapping[str, Any], at: float) -> tuple[I64, I64]:
        """Carry out an `OperatorCommand`; returns stops whose messages are others now, and stops whose departures may
        be. A command that is unknown or makes no sense changes nothing: an old journal must stay readable."""
        lifted = np.zeros(0, np.int64)
        try:
            if name == "message":
                notice = msgspec.convert(args, Notice)
                self.messages[notice.notice_id] = notice
            elif name == "message.end":
                self.messages.pop(str(args.get("notice_id")), None)
            elif name == "suppress":
                order = msgspec.convert(args, Suppression)
                self.suppressions[order.key] = order
                lifted = self._stops_of_route(order.route_id, order.direction_id)
            elif name == "suppress.end":
                ended = self.suppressions.pop(str(args.get("key")), None)
                if ended is not None:
                    lifted = self._stops_of_route(ended.route_id, ended.direction_id)
        except msgspec.ValidationError:
            return lifted, lifted
        restated, freed = self.advance(at)
        return restated, np.union1d(lifted, freed)

    def advance(self, at: float) -> tuple[I64, I64]:
        """What begins and ends by time alone; returns the same as `take`. Call it at ``next_change`` or later."""
        if self._network is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        zone = self._network.timezone
        over = [order for order in self.suppressions.values() if order.until_at <= at]
        for order in over:
            del self.suppressions[order.key]
        freed = [self._stops_of_route(order.route_id, order.direction_id) for order in over]
        self.messages = {k: n for k, n in self.messages.items() if n.end_at is None or n.end_at > at}
        before = self._standing
        self._settle({k: n for k, n in self.messages.items() if n.stands(at, zone)})
        changed = [
            stops
            for one, other in ((before, self._standing), (self._standing, before))
            for key, (notice, stops) in one.items()
            if key not in other or other[key][0] != notice
        ]
        changes = [n.next_change(at, zone) for n in self.messages.values()]
        self.next_change = min([*changes, *(order.until_at for order in self.suppressions.values())], default=math.inf)
        return _union(changed), _union(freed)

    def _settle(self, standing: Mapping[str, Notice]) -> None:
        """Lay out what stands by stop, and which patterns are hidden."""
        network = self._network
        assert network is not None
        self._standing = {key: (notice, self._stops_of(notice)) for key, notice in standing.items()}
        everywhere, at_stop = list[BoardMessage](), dict[int, tuple[BoardMessage, ...]]()
        for notice, stops in self._standing.values():
            message = BoardMessage(notice.notice_id, notice.priority, notice.text, notice.end_at, notice.takeover)
            if notice.everywhere:
                everywhere.append(message)
            else:
                for stop in stops.tolist():
                    at_stop[stop] = (*at_stop.get(stop, ()), message)
        self._everywhere = tuple(sorted(everywhere, key=_urgency))
        self._at_stop = {stop: tuple(sorted(messages, key=_urgency)) for stop, messages in at_stop.items()}
        self.hidden = np.zeros(len(network.pattern_route), bool)
        for order in self.suppressions.values():
            self.hidden |= self._patterns_of(order.route_id, order.direction_id)

    def _stops_of(self, notice: Notice) -> I64:
        network = self._network
        assert network is not None
        if notice.everywhere:
            return np.arange(len(network.stop_lat))
        rows = [row for stop_id in notice.stops if (row := network.find_stop(stop_id)) is not None]
        return _union([np.array(rows, np.int64), *(self._stops_of_route(*route) for route in notice.routes)])

    def _stops_of_route(self, route_id: str, direction_id: int | None) -> I64:
        network = self._network
        if network is None:
            return np.zeros(0, np.int64)
        patterns = np.flatnonzero(self._patterns_of(route_id, direction_id))
        return _union([network.pattern_stop[network.pattern_rows(int(p))].astype(np.int64) for p in patterns])

    def _patterns_of(self, route_id: str, direction_id: int | None) -> Bool:
        network = self._network
        assert network is not None
        route = network.find_route(route_id)
        mask: Bool = network.pattern_route == (-1 if route is None else route)
        return mask if direction_id is None else mask & (network.pattern_direction == direction_id)

    # ---- snapshot ----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """What stands is kept too: something may be due that the tick has not carried out yet."""
        return {
            "messages": [msgspec.to_builtins(notice) for notice in self.messages.values()],
            "standing": [msgspec.to_builtins(notice) for notice, _ in self._standing.values()],
            "suppressions": [msgspec.to_builtins(order) for order in self.suppressions.values()],
            "next_change": self.next_change,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """After `bind`, where there is a network."""
        self.messages = {n.notice_id: n for n in msgspec.convert(state["messages"], list[Notice])}
        self.suppressions = {s.key: s for s in msgspec.convert(state["suppressions"], list[Suppression])}
        self.next_change = float(state["next_change"])
        if self._network is not None:
            self._settle({n.notice_id: n for n in msgspec.convert(state["standing"], list[Notice])})


def _urgency(message: BoardMessage) -> tuple[int, str]:
    return -message.priority, message.message_id


def _union(parts: list[I64]) -> I64:
    return np.unique(np.concatenate(parts)).astype(np.int64) if parts else np.zeros(0, np.int64)
