"""Two connections of one phone: what the port does about it. The rules are in jt808/conflicts.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from busd import metrics
from busd.clock import Clock
from busd.config import Jt808Config
from busd.errors import Reason
from busd.feeds.jt808.conflicts import Conflict, ConflictWatch, speaks_within_s
from busd.registry import normal_phone
from busd.types import VehiclePosition

if TYPE_CHECKING:
    from busd.feeds.jt808_link import Link

log = structlog.get_logger(__name__)


class Rivals:
    """Of one port. Connections come as `Link`s; who is the terminal of a phone now is the server's to know."""

    def __init__(self, config: Jt808Config, clock: Clock) -> None:
        self._policy = config.duplicate_policy
        self._clock = clock
        self.watch = ConflictWatch(self._policy == "quarantine", config.duplicate_quiet_s)

    def conflicts(self) -> list[Conflict]:
        return self.watch.conflicts(self._clock.now())

    def release(self, phone: str) -> bool:
        phone = normal_phone(phone)
        released = self.watch.release(phone)
        if released:
            log.info("jt808_conflict_released", phone=phone)
        return released

    def admits(self, older: Link, newer: Link, phone: str) -> bool:
        """The phone has logged in on ``newer``: may it have it? With the policy "oldest" not while ``older`` speaks. A
        link that has missed its own rhythm is dead, and no sign of anything: the bus comes back on another."""
        now = self._clock.monotonic()
        if now - older.heard_at > speaks_within_s(older.heard_at - older.opened_at, older.session.good_frames):
            return True
        self.left(older)
        addresses = (older.address, newer.address)
        self._report(self.watch.second_connection(phone, addresses, self._clock.now()))
        return self._policy != "oldest"

    def left(self, link: Link) -> None:
        """The connection is over, or about to be."""
        if link.phone is not None and link.last is not None:
            self.watch.left(link.phone, id(link), link.last.lat, link.last.lon, link.last.received_at)

    def judge(self, link: Link, positions: list[VehiclePosition], historical: bool) -> list[VehiclePosition]:
        """The positions that may be used; asked for phones under watch only."""
        phone, now = link.phone or "", self._clock.now()
        if not historical:
            newest = positions[-1]
            conflict = self.watch.moved(phone, id(link), link.address, newest.lat, newest.lon, newest.received_at)
            if conflict is not None:
                self._report(conflict)
        if self.watch.holds(phone, now):
            link.reject(Reason.QUARANTINED.value, len(positions))
            return []
        link.is_watched = self.watch.is_watching(phone, now)
        return positions

    def _report(self, conflict: Conflict) -> None:
        metrics.JT808_CONFLICTS.labels(conflict.kind).inc()
        # A link that broke without a word looks like a second connection for a while; two places do not.
        (log.warning if conflict.kind == "two-places" else log.info)(
            "jt808_conflict",
            phone=conflict.phone,
            kind=conflict.kind,
            signs=conflict.signs,
            addresses=conflict.addresses,
            distance_m=round(conflict.distance_m),
            policy=self._policy,
        )
