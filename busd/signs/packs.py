"""Offline packs: what a sign shows when nobody answers it for a long time (docs/sign-protocol.md §7).

A pack is the plain timetable of one stop for about two weeks, in all languages, named by the SHA-256 of its bytes. The
same timetable and the same first day give the same bytes, so a pack that was dropped from memory is simply made again.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from busd.clock import Clock
from busd.signs.render import choose_langs, clean
from gtfs.calendar import service_day_at
from gtfs.departures import HeadwaySpan, stop_departures
from gtfs.network import Network

DAYS = 14
"""of a new pack: a fortnight once a week costs a sign less than eight days every day"""
LEAST_DAYS = 7
"""[§7] with less than this left ahead, the next one is announced"""
MAX_BYTES = 512 * 1024
MEMORY_BYTES = 64 * 1024 * 1024
"""of packed bodies; those used last stay"""
MAX_KNOWN = 65_536
REST = 3.0
"""After each pack the maker rests this many times as long as it took: boards come first."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PackRef:
    """What a board says of a pack, and what is needed to make it again."""

    id: str
    stop_id: str
    size: int
    """of the body in identity encoding, bytes"""
    first_day: int
    days: int
    network: str
    """digest of the timetable it was made from"""
    note: bytes
    """the ``pack`` field of a board, as JSON"""


def build_pack(network: Network, stop_idx: int, first_day: int, days: int = DAYS) -> bytes | None:
    """The JSON of a pack from the service day ``first_day`` (ordinal) on; None if the timetable has nothing from there.

    As many of ``days`` as the timetable has and as `MAX_BYTES` allows.
    """
    last_day = network.service_first_day + network.service_active.shape[1]
    days = min(days, last_day - first_day)
    while days > 0:
        body = _body(network, stop_idx, first_day, days)
        if len(body) <= MAX_BYTES:
            return body
        days = min(days - 1, days * MAX_BYTES // len(body))
    return None


def _body(network: Network, stop_idx: int, first_day: int, days: int) -> bytes:
    plan = stop_departures(network, stop_idx, first_day, days)
    pairs = list(zip(plan.route.tolist(), plan.headsign.tolist()))
    keys = sorted({*pairs, *((span.route_idx, span.headsign_idx) for span in plan.spans)})
    place = {key: i for i, key in enumerate(keys)}
    stop_id = network.stop_id[stop_idx]
    return orjson.dumps(
        {
            "v": 1,
            "stop": stop_id,
            "tz": network.timezone,
            "from": plan.from_at,
            "to": plan.to_at,
            "name": choose_langs(network.stop_text(stop_idx), (), stop_id),
            "lines": [_line(network, key, plan.spans) for key in keys],
            "deps": [[at, place[pair]] for at, pair in zip(plan.at.tolist(), pairs)],
        }
    )


def _line(network: Network, key: tuple[int, int], spans: tuple[HeadwaySpan, ...]) -> dict[str, Any]:
    route, headsign = key
    name = clean(network.route_short_name[route]) or clean(network.route_id[route])
    head = network.headsign_text(headsign) if headsign >= 0 else {}
    entry: dict[str, Any] = {"line": name, "head": choose_langs(head, (), "")}
    if color := network.route_color[route]:
        entry["color"] = color
    # Beyond the protocol's example, which readers ignore: nobody may be shown a clock time of a headway line.
    promised = [[s.from_at, s.to_at, s.headway_s] for s in spans if (s.route_idx, s.headsign_idx) == key]
    if promised:
        entry["headway"] = promised
    return entry


class PackShelf:
    """The packs of the stops that somebody asks for. `find` never waits: what is missing is made by `run`, and the next
    revision of the board announces it. All calls from the loop's thread."""

    def __init__(self, network: Callable[[], Network], clock: Clock) -> None:
        self._network = network
        self._clock = clock
        self._current: OrderedDict[str, PackRef] = OrderedDict()
        self._tried: OrderedDict[str, tuple[str, int]] = OrderedDict()
        """stop id -> (timetable, day) for which nothing better could be made"""
        self._known: OrderedDict[str, PackRef] = OrderedDict()
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        """pack id -> gzip of the body"""
        self._held_bytes = 0
        self._wanted: dict[str, None] = {}
        self._wake = asyncio.Event()

    def find(self, stop_id: str) -> PackRef | None:
        """The pack that boards of this stop announce now; an old one rather than none while a newer one is made."""
        if self._is_stale(stop_id):
            self._wanted[stop_id] = None
            self._wake.set()
        return self._current.get(stop_id)

    def note(self, stop_id: str) -> bytes | None:
        """The ``pack`` field of this stop's boards, as JSON."""
        ref = self.find(stop_id)
        return None if ref is None else ref.note

    def _is_stale(self, stop_id: str) -> bool:
        digest, today = self._network().digest, self._today()
        if self._tried.get(stop_id) == (digest, today):
            return False
        ref = self._current.get(stop_id)
        return ref is None or ref.network != digest or today + LEAST_DAYS > ref.first_day + ref.days

    def _today(self) -> int:
        return service_day_at(self._clock.now(), self._network().timezone)

    def packed(self, pack_id: str) -> tuple[PackRef, bytes] | None:
        """(what it is, gzip of its body) while it is in memory; see `fetch`."""
        ref, body = self._known.get(pack_id), self._bodies.get(pack_id)
        if ref is None or body is None:
            return None
        self._bodies.move_to_end(pack_id)
        return ref, body

    async def fetch(self, pack_id: str) -> tuple[PackRef, bytes] | None:
        """As `packed`; a pack that was dropped is made again. None for an unknown id."""
        held = self.packed(pack_id)
        ref, network = self._known.get(pack_id), self._network()
        if held is not None or ref is None or ref.network != network.digest:
            return held
        made = await asyncio.to_thread(self._make, network, ref.stop_id, ref.first_day, ref.days)
        if made is None or made[0].id != pack_id:
            return None
        self._keep(*made)
        return made

    async def run(self) -> None:
        """Makes what is wanted, one at a time in a thread, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                stop_id = next(iter(self._wanted))
                began = loop.time()
                try:
                    await self.make(stop_id)
                finally:
                    self._wanted.pop(stop_id, None)
                await asyncio.sleep((loop.time() - began) * REST)

    async def make(self, stop_id: str) -> PackRef | None:
        """Make the pack of a stop now, if it has none or needs another one."""
        old = self._current.get(stop_id)
        if not self._is_stale(stop_id):
            return old
        network, first_day = self._network(), self._today()
        self._tried[stop_id] = network.digest, first_day
        self._tried.move_to_end(stop_id)
        if len(self._tried) > MAX_KNOWN:
            self._tried.popitem(last=False)
        if old is not None and first_day + LEAST_DAYS <= old.first_day + old.days:
            first_day = old.first_day  # only the timetable is new: where it says the same here, the pack stays the same
        made = await asyncio.to_thread(self._make, network, stop_id, first_day, DAYS)
        if made is None:
            self._current.pop(stop_id, None)
            return None
        self._keep(*made)
        self._current[stop_id] = made[0]
        self._current.move_to_end(stop_id)
        if len(self._current) > MAX_KNOWN:
            self._current.popitem(last=False)
        return made[0]

    @staticmethod
    def _make(network: Network, stop_id: str, first_day: int, days: int) -> tuple[PackRef, bytes] | None:
        stop_idx = network.find_stop(stop_id)
        body = None if stop_idx is None else build_pack(network, stop_idx, first_day, days)
        if body is None:
            return None
        days = service_day_at(orjson.loads(body)["to"], network.timezone) - first_day
        pack_id = hashlib.sha256(body).hexdigest()
        note = orjson.dumps({"id": pack_id, "url": f"/v1/packs/{pack_id}", "bytes": len(body)})
        ref = PackRef(pack_id, stop_id, len(body), first_day, days, network.digest, note)
        return ref, gzip.compress(body, 9, mtime=0)

    def _keep(self, ref: PackRef, packed: bytes) -> None:
        self._known[ref.id] = ref
        self._known.move_to_end(ref.id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        self._held_bytes += len(packed) - len(self._bodies.get(ref.id, b""))
        self._bodies[ref.id] = packed
        self._bodies.move_to_end(ref.id)
        while self._held_bytes > MEMORY_BYTES and len(self._bodies) > 1:
            self._held_bytes -= len(self._bodies.popitem(last=False)[1])
