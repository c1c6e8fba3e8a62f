"""Edge in: every kind of source turns into `VehiclePosition`s, which are submitted to the line.

A feed is a sans-I/O codec (bytes or text in, positions and rejects out) and, where bytes have to be fetched, a thin
transport. Reports that cannot be read are counted (`metrics.REJECTED`) and never raised.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from busd.types import VehiclePosition

Submit = Callable[[Sequence[VehiclePosition], bool], None]
"""Hands positions to the line; the second argument says that they are historical (a blind-zone batch), which never
moves the live bus. When it returns, the journal has them: only then may a device get its acknowledgement."""


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
    "jt808": FeedKind("JT/T 808-2013/2019", "busd.feeds.jt808.session:Session", "busd.feeds.transport:serve_jt808"),
    "tides": FeedKind("TIDES 1.0 vehicle_locations", "busd.feeds.tides:decode_rows", None),
}
"""Every kind of feed there is; the names are the values of ``type`` in the configuration."""
