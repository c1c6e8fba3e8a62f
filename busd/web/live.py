"""The rider websocket: rooms of boards and buses, filled once a round, read by many.

A rider says what the page shows (`Watch`); riders who watch the same thing share one *topic*, and what a topic has to
say is encoded once a round for all of them. A rider owns one slot: the newest unsent board of each stop and at most one
message of buses. A slow phone therefore misses rounds, never the newest state, and costs a fixed amount.

Messages, client to server: ``{"type":"watch","stops":[...],"lines":[...],"bbox":[south,west,north,east]}`` = the
complete wanted set. Server to client: ``hello``, ``watching`` (answer to watch), ``board`` and ``same`` as in
busd.sign.v1, ``vehicles`` (``full``: replaces all; else ``set`` and ``gone`` change what is held), ``hb``.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import orjson
import structlog

from busd.types import Board, Progress
from busd.web.boards import BoardFrames
from busd.web.catalogue import Catalogue, CatalogueCache
from busd.web.services import WebServices
from busd.web.vehicles import route_of, vehicle_row

MAX_STOPS = 16
MAX_LINES = 64
CELL_DEG = 0.02
"""buses are filed in squares of about 2 km, so that a view of the map touches few of them"""
HEARTBEAT_S = 10.0
"""a page sees no WebSocket pings; it hears something at least this often, or knows the line is dead"""

log = structlog.get_logger(__name__)
Cell = tuple[int, int]
_Key = TypeVar("_Key")


class Watch(msgspec.Struct, frozen=True, tag="watch", tag_field="type"):
    """What a rider's page shows now; replaces the previous one."""

    stops: list[str] = []
    lines: list[str] = []
    bbox: tuple[float, float, float, float] | None = None
    """south, west, north, east in degrees"""


@dataclass(frozen=True, slots=True)
class Area:
    """Which buses are wanted: those of some lines, and those in a rectangle of cells (south-west, north-east)."""

    lines: frozenset[str] = frozenset()
    cells: tuple[Cell, Cell] | None = None


@dataclass(eq=False)
class Rider:
    """One connection as the hub sees it; the rim (rider.py) empties the slot."""

    stops: frozenset[str] = frozenset()
    area: Area | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    heard_at: float = 0.0
    _boards: dict[str, bytes] = field(default_factory=dict)
    _vehicles: bytes | None = None
    _heartbeat: bytes | None = None
    _answer: bytes | None = None

    @property
    def behind(self) -> bool:
        """The last message of buses has not gone out: a change on top of it would be lost."""
        return self._vehicles is not None

    def put_board(self, stop_id: str, frame: bytes) -> None:
        self._boards[stop_id] = frame
        self.wake.set()

    def put_same(self, stop_id: str, frame: bytes) -> None:
        if stop_id not in self._boards:
            self.put_board(stop_id, frame)

    def put_vehicles(self, frame: bytes) -> None:
        self._vehicles = frame
        self.wake.set()

    def put_heartbeat(self, frame: bytes) -> None:
        self._heartbeat = frame
        self.wake.set()

    def put_answer(self, frame: bytes) -> None:
        self._answer = frame
        self.wake.set()

    def forget(self, stops: frozenset[str]) -> None:
        """Unsent boards of other stops, and unsent buses, are no longer wanted."""
        self._boards = {stop: frame for stop, frame in self._boards.items() if stop in stops}
        self._vehicles = None

    def take(self) -> list[bytes]:
        """Everything that waits, the answer to a watch before what it asked for; the slot is empty afterwards."""
        frames = [self._answer, *self._boards.values(), self._vehicles, self._heartbeat]
        self._boards, self._answer, self._vehicles, self._heartbeat = {}, None, None, None
        return [frame for frame in frames if frame is not None]


class StopTopic:
    """The newest board of one stop and who wants it."""

    def __init__(self, hub: LiveHub, stop_id: str) -> None:
        self.hub = hub
        self.stop_id = stop_id
        self.riders: set[Rider] = set()
        self.sent_at = -math.inf
        """monotonic s of the last board or same to all"""
        self.fresh_until = -math.inf
        """epoch s after which a page stops trusting what it has"""

    def board_changed(self, board: Board) -> None:
        self.hub.dirty[self.stop_id] = self


class AreaTopic:
    """The buses of one area and who watches them."""

    def __init__(self, area: Area) -> None:
        self.area = area
        self.riders: set[Rider] = set()
        self.members: set[str] = set()


@dataclass(slots=True)
class _Bus:
    progress: Progress
    fragment: bytes
    route: str
    cell: Cell


class LiveHub:
    """All topics. `round` runs once every ``services.tick_s``; `announce` after each batch of new boards."""

    def __init__(self, services: WebServices, catalogues: CatalogueCache, frames: BoardFrames) -> None:
        self.services = services
        self.dirty: dict[str, StopTopic] = {}
        self._catalogues = catalogues
        self._frames = frames
        self._riders: set[Rider] = set()
        self._stops: dict[str, StopTopic] = {}
        self._areas: dict[Area, AreaTopic] = {}
        self._buses: dict[str, _Bus] = {}
        self._by_line: dict[str, set[str]] = {}
        self._by_cell: dict[Cell, set[str]] = {}
        self._digest = ""

    def __len__(self) -> int:
        return len(self._riders)

    # ---- coming, going, choosing --------------------------------------------------------------------------------

    def join(self, rider: Rider) -> None:
        rider.heard_at = self.services.clock.monotonic()
        self._riders.add(rider)

    def leave(self, rider: Rider) -> None:
        self._riders.discard(rider)
        self._set_stops(rider, frozenset())
        self._set_area(rider, None)

    def watch(self, rider: Rider, watch: Watch) -> dict[str, str]:
        """Makes ``watch`` the rider's wanted set; boards and buses of it are put into the slot. Returns stop id ->
        reason for the stops that cannot be watched (``unknown_stop``, ``too_many``)."""
        network = self.services.bus.network
        good: list[str] = []
        bad: dict[str, str] = {}
        for stop_id in dict.fromkeys(watch.stops):
            if len(good) >= MAX_STOPS:
                bad[stop_id] = "too_many"
            elif network.find_stop(stop_id) is None:
                bad[stop_id] = "unknown_stop"
            else:
                good.append(stop_id)
        rider.forget(frozenset(good))
        self._set_stops(rider, frozenset(good))
        for stop_id in good:
            frame = self._frames.frame(stop_id)
            if frame is not None:
                rider.put_board(stop_id, frame)
                stop = self._stops[stop_id]
                stop.fresh_until = max(stop.fresh_until, self._frames.fresh_until(stop_id))
        lines = frozenset(watch.lines[:MAX_LINES])
        cells = None if watch.bbox is None else _cells(watch.bbox)
        area = Area(lines, cells) if lines or cells else None
        self._set_area(rider, area)
        if area is not None:
            topic = self._areas[area]
            if len(topic.riders) == 1:
                # Between two rounds the buses must not be refreshed: the other topics would miss what changed.
                if len(self._areas) == 1 and (catalogue := self._catalogues.ready) is not None:
                    self._refresh_buses(catalogue)
                topic.members = self._members(area)
            rider.put_vehicles(self._full(topic))
        return bad

    def _set_stops(self, rider: Rider, stops: frozenset[str]) -> None:
        for stop_id in rider.stops - stops:
            topic = self._stops[stop_id]
            topic.riders.discard(rider)
            if not topic.riders:
                del self._stops[stop_id]
                self.dirty.pop(stop_id, None)
                self.services.bus.unwatch(stop_id, topic)
        for stop_id in stops - rider.stops:
            topic = self._stops.get(stop_id) or StopTopic(self, stop_id)
            if stop_id not in self._stops:
                self._stops[stop_id] = topic
                self.services.bus.watch(stop_id, topic)
            topic.riders.add(rider)
        rider.stops = stops

    def _set_area(self, rider: Rider, area: Area | None) -> None:
        if rider.area is not None and rider.area != area:
            topic = self._areas[rider.area]
            topic.riders.discard(rider)
            if not topic.riders:
                del self._areas[rider.area]
        if area is not None:
            self._areas.setdefault(area, AreaTopic(area)).riders.add(rider)
        rider.area = area

    # ---- boards -------------------------------------------------------------------------------------------------

    def announce(self) -> None:
        """New boards are on the bus: those of stops that were quiet for a round go out at once, others wait for it."""
        if self.dirty:
            now = self.services.clock.monotonic()
            for topic in [t for t in self.dirty.values() if now - t.sent_at >= self.services.tick_s]:
                self._send_board(topic, now)

    def _send_board(self, topic: StopTopic, monotonic: float) -> None:
        self.dirty.pop(topic.stop_id, None)
        frame = self._frames.frame(topic.stop_id)
        if frame is None:
            return
        topic.sent_at = monotonic
        topic.fresh_until = self._frames.fresh_until(topic.stop_id)
        for rider in topic.riders:
            rider.put_board(topic.stop_id, frame)

    # ---- the round ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Rounds until cancelled. An error in one is logged and the next is tried: the signs share this process."""
        while True:
            await asyncio.sleep(self.services.tick_s)
            if not self._riders:
                continue
            try:
                self.round(await self._catalogues.get())
            except Exception:
                log.exception("rider_round_failed")

    def round(self, catalogue: Catalogue) -> None:
        """Boards that waited, ttl refreshers, changes of buses, heartbeats; each encoded once."""
        monotonic, now = self.services.clock.monotonic(), self.services.clock.now()
        for topic in list(self.dirty.values()):
            self._send_board(topic, monotonic)
        for topic in self._stops.values():
            same = self._frames.same(topic.stop_id, topic.fresh_until)
            if same is not None:
                topic.fresh_until = self._frames.fresh_until(topic.stop_id)
                for rider in topic.riders:
                    rider.put_same(topic.stop_id, same)
        if self._areas:
            changed = self._refresh_buses(catalogue)
            for area in self._areas.values():
                self._send_vehicles(area, changed)
        beat = orjson.dumps({"type": "hb", "now": int(now * 1000), "network": catalogue.digest[:12]})
        for rider in self._riders:
            if monotonic - rider.heard_at >= HEARTBEAT_S:
                rider.put_heartbeat(beat)

    def _refresh_buses(self, catalogue: Catalogue) -> set[str]:
        """Takes over the latest progress; returns the ids of buses that are new or have moved."""
        if catalogue.digest != self._digest:
            self._digest = catalogue.digest
            self._buses.clear()
            self._by_line.clear()
            self._by_cell.clear()
        changed: set[str] = set()
        alive: set[str] = set()
        for progress in self.services.vehicles():
            route = route_of(progress, catalogue)
            if route is None:
                continue
            vehicle_id = progress.vehicle_id
            alive.add(vehicle_id)
            bus = self._buses.get(vehicle_id)
            if bus is not None and bus.progress is progress:
                continue
            changed.add(vehicle_id)
            if bus is not None:
                self._unfile(vehicle_id, bus)
            cell = _cell(progress.lat, progress.lon)
            self._buses[vehicle_id] = _Bus(progress, orjson.dumps(vehicle_row(progress, catalogue)), route, cell)
            self._by_line.setdefault(route, set()).add(vehicle_id)
            self._by_cell.setdefault(cell, set()).add(vehicle_id)
        for vehicle_id in self._buses.keys() - alive:
            self._unfile(vehicle_id, self._buses.pop(vehicle_id))
        return changed

    def _unfile(self, vehicle_id: str, bus: _Bus) -> None:
        _drop(self._by_line, bus.route, vehicle_id)
        _drop(self._by_cell, bus.cell, vehicle_id)

    def _members(self, area: Area) -> set[str]:
        members: set[str] = set()
        for line in area.lines:
            members |= self._by_line.get(line, set())
        if area.cells is not None:
            (south, west), (north, east) = area.cells
            if (north - south + 1) * (east - west + 1) > len(self._by_cell):
                inside = [c for c in self._by_cell if south <= c[0] <= north and west <= c[1] <= east]
            else:
                inside = [(y, x) for y in range(south, north + 1) for x in range(west, east + 1)]
            for cell in inside:
                members |= self._by_cell.get(cell, set())
        return members

    def _send_vehicles(self, topic: AreaTopic, changed: set[str]) -> None:
        members = self._members(topic.area)
        new = members & changed | (members - topic.members)
        gone = topic.members - members
        topic.members = members
        if not new and not gone:
            return
        delta = self._encode(False, new, gone)
        full: bytes | None = None
        for rider in topic.riders:
            if rider.behind:
                full = full or self._full(topic)
                rider.put_vehicles(full)
            else:
                rider.put_vehicles(delta)

    def _full(self, topic: AreaTopic) -> bytes:
        return self._encode(True, topic.members, set())

    def _encode(self, full: bool, new: set[str], gone: set[str]) -> bytes:
        return b'{"type":"vehicles","now":%d,"full":%s,"set":[%s],"gone":%s}' % (
            int(self.services.clock.now() * 1000),
            b"true" if full else b"false",
            b",".join(self._buses[v].fragment for v in sorted(new)),
            orjson.dumps(sorted(gone)),
        )


def _drop(index: dict[_Key, set[str]], key: _Key, member: str) -> None:
    members = index[key]
    members.discard(member)
    if not members:
        del index[key]


def _cell(lat: float, lon: float) -> Cell:
    return math.floor(lat / CELL_DEG), math.floor(lon / CELL_DEG)


def _cells(bbox: tuple[float, float, float, float]) -> tuple[Cell, Cell]:
    south, west, north, east = bbox
    return _cell(south, west), _cell(north, east)


def valid(watch: Watch) -> bool:
    """Whether the numbers make sense; types were checked by the decoder."""
    if watch.bbox is None:
        return True
    south, west, north, east = watch.bbox
    return all(map(math.isfinite, watch.bbox)) and -90 <= south <= north <= 90 and -180 <= west <= east <= 180
