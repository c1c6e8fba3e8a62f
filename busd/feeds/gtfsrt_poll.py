"""Asks a GTFS-Realtime source again and again: conditional requests, limits, back-off, and only news are submitted.

`Memory` is what has been seen of the source and decides everything; `Poller` moves the bytes.

Waiting: ``interval_s`` after a good answer, ``min(300, interval_s x 2^failures)`` after failures, both stretched by up
to 20 % of jitter, so that many pollers do not meet; a Retry-After of the server (up to 1 h) is obeyed. Real time counts
for waiting, whatever the speed of the clock that dates positions.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Protocol, Unpack
from urllib.parse import unquote, urlsplit

import aiohttp
import structlog

from busd import metrics
from busd.clock import Clock
from busd.config import FeedConfig
from busd.errors import FeedError, Reason
from busd.feeds import Submit
from busd.feeds.gtfsrt import decode
from busd.feeds.intake import Intake
from busd.feeds.report import Reports
from busd.feeds.source import Source, Surroundings, is_public, wait_s
from busd.types import Rejected, VehiclePosition

log = structlog.get_logger(__name__)

STALE_S = 120.0
"""a header older than this (or than five intervals) means that the producer stands still"""
BACKWARDS_BELIEVED = 3
"""so many messages in a row with an earlier header are a producer that set its clock back, not a slow twin server"""
FUTURE_S = 60.0
MAX_VEHICLES = 100_000


class Message(Protocol):
    """What a polled source says at once, whatever its format."""

    @property
    def header_at(self) -> float | None: ...

    @property
    def positions(self) -> list[VehiclePosition]: ...

    @property
    def rejects(self) -> list[Rejected]: ...


class Memory:
    """What one source has said so far: validators, its header time, the newest fix of each vehicle."""

    def __init__(self, name: str, interval_s: float) -> None:
        self.name = name
        self.stale_s = max(STALE_S, 5 * interval_s)
        self.etag: str | None = None
        self.modified: str | None = None
        self.header_at: float | None = None
        self.backwards = 0
        self.stale = False
        self._newest: dict[str, float] = {}
        self._ahead: dict[str, float] = {}
        """the last time of a vehicle whose clock is ahead of ours"""

    def request_headers(self) -> dict[str, str]:
        headers = {}
        if self.etag:
            headers["If-None-Match"] = self.etag
        if self.modified:
            headers["If-Modified-Since"] = self.modified
        return headers

    def news(self, message: Message, now: float) -> list[VehiclePosition]:
        """The positions that are newer than the last of their vehicle, by measured_at. A message whose header is
        earlier than the last one's is left out as a whole, until it is clear that the producer's clock was set back."""
        if not self._in_order(message):
            metrics.REJECTED.labels(self.name, Reason.OUT_OF_ORDER.value).inc()
            return []
        self.note_age(now)
        fresh = []
        for position in sorted(message.positions, key=lambda p: p.measured_at):
            vehicle_id, measured_at = position.vehicle_id, position.measured_at
            if measured_at > now + FUTURE_S:
                # a wrong clock must not shut the vehicle out until that time has come
                if self._ahead.get(vehicle_id) != measured_at:
                    self._ahead[vehicle_id] = measured_at
                    fresh.append(position)
            elif measured_at > self._newest.get(vehicle_id, float("-inf")):
                self._newest[vehicle_id] = measured_at
                fresh.append(position)
        self._newest, self._ahead = _bounded(self._newest), _bounded(self._ahead)
        return fresh

    def note_age(self, now: float) -> None:
        """Says once when the source goes stale and once when it moves again."""
        if self.header_at is None:
            return
        age = now - self.header_at
        metrics.FEED_AGE.labels(self.name).set(age)
        if (age > self.stale_s) != self.stale:
            self.stale = not self.stale
            (log.warning if self.stale else log.info)(
                "feed is stale" if self.stale else "feed is fresh again", feed=self.name, age_s=round(age)
            )

    def _in_order(self, message: Message) -> bool:
        if message.header_at is None:
            return True
        if self.header_at is not None and message.header_at < self.header_at:
            self.backwards += 1
            if self.backwards < BACKWARDS_BELIEVED:
                return False
            log.warning("feed's clock went back", feed=self.name, by_s=self.header_at - message.header_at)
            self._newest.clear()
            self._ahead.clear()
        self.backwards = 0
        self.header_at = message.header_at
        return True


def _bounded(times: dict[str, float]) -> dict[str, float]:
    """Without the older half, if there are too many."""
    if len(times) <= MAX_VEHICLES:
        return times
    return dict(sorted(times.items(), key=lambda item: item[1])[-MAX_VEHICLES // 2 :])


class Poller(Source):
    """One source of the configuration. `run` until cancelled; `poll_once` is one request. Another format of answers, or
    a request with a body, is a subclass with its own `accept`, `decode` and `request_body`."""

    accept = "application/x-protobuf, application/octet-stream, */*;q=0.5"

    def __init__(self, config: FeedConfig, submit: Submit, clock: Clock, **around: Unpack[Surroundings]) -> None:
        super().__init__(config, submit, clock, **around)
        self.memory = Memory(config.name, config.interval_s)
        self._retry_after_s = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def run(self) -> None:
        """Polls for ever; nothing that the source does ends it."""
        try:
            while True:
                await self.poll_once()
                await self._sleep(wait_s(self.config.interval_s, self.failures, self._jitter(), self._retry_after_s))
        finally:
            await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def poll_once(self) -> int:
        """One request. The number of positions submitted; 0 on any failure, which is counted and logged."""
        name = self.config.name
        started = self._clock.monotonic()
        self._retry_after_s = 0.0
        try:
            message = await self._ask()
        except (FeedError, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._failed(error)
            return 0
        finally:
            metrics.FEED_SECONDS.labels(name).observe(self._clock.monotonic() - started)
        self._worked()
        metrics.FEED_POLLS.labels(name, "unchanged" if message is None else "ok").inc()
        if message is None:
            self._unchanged()
            return 0
        return take_news(self.memory, message, self._intake, self._clock.now())

    async def _ask(self) -> Message | None:
        """The next message; None if the source says that nothing changed. The validators are kept only for a message
        that came whole and could be read, so that a broken one is asked for again."""
        if self.config.url.startswith("file:"):
            return await self.decode(await asyncio.get_running_loop().run_in_executor(None, self._read_file))
        if self._session is None:
            self._session = open_session(self.config)
        body = self.request_body()
        headers = {"Accept": self.accept} | self.config.headers
        headers |= self.memory.request_headers() if body is None else {"Content-Type": "text/xml; charset=utf-8"}
        # a redirect could carry the operator's own headers (an API key) or a request to somebody else
        follow = not self.config.headers and body is None
        method = "GET" if body is None else "POST"
        async with self._session.request(
            method, self.config.url, data=body, headers=headers, allow_redirects=follow, max_redirects=3
        ) as response:
            refuse_downgrade(self.config, response.url.scheme)
            if response.status == 304:
                return None
            if response.status != 200:
                self._retry_after_s = _retry_after(response.headers.get("Retry-After", ""))
                raise FeedError(f"{self.config.name}: status {response.status}")
            message = await self.decode(await read_answer(response, self.config.name, self.config.max_bytes))
            self.memory.etag = response.headers.get("ETag")
            self.memory.modified = response.headers.get("Last-Modified")
            return message

    def request_body(self) -> bytes | None:
        """What to post; None asks with a GET."""
        return None

    async def decode(self, body: bytes) -> Message:
        """Reads an answer; `FeedError` if it is none."""
        return decode(
            body,
            source=self.config.name,
            received_at=self._clock.now(),
            datum=self.config.datum,
            max_bytes=self.config.max_bytes,
        )

    def _unchanged(self) -> None:
        self.memory.note_age(self._clock.now())

    def _failed(self, error: Exception) -> None:
        super()._failed(error)
        self._unchanged()

    def _read_file(self) -> bytes:
        path = Path(unquote(urlsplit(self.config.url).path))
        with path.open("rb") as file:
            return file.read(self.config.max_bytes + 1)


def take_news(memory: Memory, message: Message, intake: Intake, now: float) -> int:
    """What is new in a message goes in, its rejects are counted; how many positions went in."""
    taken = intake.take(Reports(memory.news(message, now), message.rejects))
    return taken.live + taken.historical


def open_session(config: FeedConfig) -> aiohttp.ClientSession:
    """A client for one source: few connections, no cookies, one time limit, no private addresses unless allowed."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=2, socket_factory=None if config.allow_private else public_socket),
        timeout=aiohttp.ClientTimeout(total=config.timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "busd"},
    )


async def read_answer(response: aiohttp.ClientResponse, name: str, limit: int) -> bytes:
    """The body; `FeedError` as soon as it is larger than ``limit``."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > limit:
            raise FeedError(f"{name}: the answer is larger than {limit} bytes")
    return bytes(body)


def refuse_downgrade(config: FeedConfig, scheme: str) -> None:
    """`FeedError` if a redirect has led from https to something that anybody on the way may change."""
    if config.url.startswith("https:") and scheme != "https":
        raise FeedError(f"{config.name}: redirected from https to {scheme}")


def public_socket(address: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
    """A socket for an address of the public Internet; `PermissionError` for any other. Asked for each connection, so
    redirects and names that lead inside are refused too."""
    family, kind, protocol, _, where = address
    if not is_public(str(where[0])):
        raise PermissionError("the URL leads to a private address; set allow_private = true to let it")
    return socket.socket(family, kind, protocol)


def _retry_after(text: str) -> float:
    """Seconds of a Retry-After header; the form with a date is rare and counts as none."""
    return float(text) if text.strip().isdecimal() else 0.0
