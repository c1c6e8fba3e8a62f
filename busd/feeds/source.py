"""What the feeds that go out and ask have in common: the way in, how success and failure are told, how long to wait.

Times: between the buses and these sources is a platform or a broker, see `busd.feeds.intake`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

import structlog

from busd import metrics
from busd.clock import Clock
from busd.config import FeedConfig
from busd.errors import FeedError
from busd.feeds import Submit
from busd.feeds.intake import Intake, Roll

log = structlog.get_logger(__name__)

MAX_BACKOFF_S = 300.0
MAX_RETRY_AFTER_S = 3600.0
JITTER = 0.2


def wait_s(interval_s: float, failures: int, jitter: float, retry_after_s: float = 0.0) -> float:
    """Seconds until the next try; ``jitter`` in [0, 1) comes from outside."""
    base = interval_s if failures == 0 else max(interval_s, min(MAX_BACKOFF_S, interval_s * 2.0 ** min(failures, 20)))
    return max(base, min(retry_after_s, MAX_RETRY_AFTER_S)) * (1.0 + JITTER * jitter)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet. IPv6 has more than one way to write an IPv4 address into its
    own; what is meant is what such a one leads to."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if ip in _EMBEDDING:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return ip.is_global and not ip.is_multicast and ip not in _COMPATIBLE


_EMBEDDING = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64: the last 32 bits are an IPv4 address"""
_COMPATIBLE = ipaddress.IPv6Network("::/96")
"""IPv4-compatible addresses, long given up"""


def no_vehicle(device_id: str) -> str | None:
    """Nothing is entered: vehicles keep the ids they come with."""
    return None


class Surroundings(TypedDict, total=False):
    """What a source may be given besides its configuration. ``vehicle_of`` and ``roll`` are those of `Intake`; ``jitter``
    in [0, 1) and ``sleep`` are chance and time, for tests."""

    vehicle_of: Callable[[str], str | None]
    roll: Roll
    jitter: Callable[[], float]
    sleep: Callable[[float], Awaitable[Any]]


class Source:
    """One ``[[feeds]]`` entry of the configuration."""

    failure = "feed could not be read"

    def __init__(
        self,
        config: FeedConfig,
        submit: Submit,
        clock: Clock,
        *,
        vehicle_of: Callable[[str], str | None] = no_vehicle,
        roll: Roll | None = None,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self.config = config
        self.failures = 0
        """in a row"""
        self._clock = clock
        self._jitter = jitter
        self._sleep = sleep
        roll = Roll() if roll is None else roll
        self._intake = Intake(config.name, submit, clock, vehicle_of, roll, direct=False)

    def _worked(self) -> None:
        if self.failures:
            log.info("feed is back", feed=self.config.name, failures=self.failures)
        self.failures = 0
        metrics.FEED_UP.labels(self.config.name).set(1)

    def _failed(self, error: Exception) -> None:
        name = self.config.name
        self.failures += 1
        metrics.FEED_UP.labels(name).set(0)
        metrics.FEED_POLLS.labels(name, "error").inc()
        log.warning(self.failure, feed=name, why=self._why(error), failures=self.failures)

    def _why(self, error: Exception) -> str:
        """The text of an HTTP client's error may hold the URL, and with it an API key."""
        return str(error) if isinstance(error, FeedError) else type(error).__name__
