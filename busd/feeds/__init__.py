"""Edge in: every kind of source turns into `VehiclePosition`s, which are submitted to the line.

A feed is a sans-I/O codec (bytes or text in, positions and rejects out) and, where bytes have to be fetched, a thin
transport. Reports that cannot be read are counted (`metrics.REJECTED`) and never raised.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Unpack, cast

from busd.clock import Clock
from busd.config import FeedConfig
from busd.types import VehiclePosition

if TYPE_CHECKING:
    from busd.feeds.source import Surroundings

Submit = Callable[[Sequence[VehiclePosition], bool], None]
"""Hands positions to the line; the second argument says that they are historical (a blind-zone batch), which never
moves the live bus. When it returns, the journal has them: only then may a device get its acknowledgement."""


class Feed(Protocol):
    """A source of the configuration that is asked or subscribed to."""

    config: FeedConfig

    async def run(self) -> None:
        """Until cancelled; nothing that the source does ends it."""
        ...


@dataclass(frozen=True)
class FeedKind:
    """How one kind of source gets in; ``codec`` and ``transport`` are ``module:attribute``, loaded when asked for."""

    standard: str
    codec: str
    transport: str | None

    def load_codec(self) -> object:
        return _load(self.codec)

    def load_transport(self) -> object:
        """ValueError for a kind that only comes from files."""
        if self.transport is None:
            raise ValueError("this kind of feed is read from files and has no transport")
        return _load(self.transport)


def _load(path: str) -> object:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


KINDS: dict[str, FeedKind] = {
    "gtfs-rt": FeedKind(
        "GTFS-Realtime 2.0 VehiclePositions", "busd.feeds.gtfsrt:decode", "busd.feeds.gtfsrt_poll:Poller"
    ),
    "hfp": FeedKind("HFP v2 over MQTT", "busd.feeds.hfp:decode", "busd.feeds.mqtt:MqttFeed"),
    "siri-vm": FeedKind("SIRI-VM 2.0", "busd.feeds.siri:decode", "busd.feeds.siri_client:open_siri"),
    "jt808": FeedKind("JT/T 808-2013/2019", "busd.feeds.jt808.session:Session", "busd.feeds.transport:serve_jt808"),
    "nmea": FeedKind("NMEA 0183 RMC and GGA", "busd.feeds.nmea:decode", "busd.feeds.nmea_server:serve_nmea"),
    "traccar": FeedKind("Traccar forwarding and Client", "busd.feeds.traccar:decode", "busd.web.push:PushDoor"),
    "osmand": FeedKind("OsmAnd query", "busd.feeds.traccar:decode", "busd.web.push:PushDoor"),
    "json": FeedKind("busd's own JSON", "busd.feeds.jsonpush:decode", "busd.web.push:PushDoor"),
    "tides": FeedKind("TIDES 1.0 vehicle_locations", "busd.feeds.tides:decode_rows", None),
}
"""Every kind of feed there is; the names are the values of ``type`` in the configuration."""


def open_feeds(
    configs: Iterable[FeedConfig], submit: Submit, clock: Clock, **around: Unpack[Surroundings]
) -> list[Feed]:
    """A transport, not yet running, for each ``[[feeds]]`` of the configuration."""
    opened = []
    for config in configs:
        transport = cast(Callable[..., Feed], KINDS[config.type].load_transport())
        opened.append(transport(config, submit, clock, **around))
    return opened
