"""HFP over MQTT: keeps a connection to the broker, takes what comes, submits what is a position.

Connection: aiomqtt on MQTT 3.1.1 with a clean session. The broker's name is resolved here, every address is checked
(no private ones unless the configuration allows it), and the connection goes to that very address, so a name that
changes its mind in between leads nowhere; TLS still checks the certificate against the name. After a failure the next
try comes 1, 2, 4 ... `MAX_WAIT_S` later, stretched by up to 20 %; only a connection that brought a message, or lasted
`STEADY_S`, counts as a success.

Overload: an `Inbox` of ``queue`` messages holds what came in while the line was busy. When it is full the oldest go,
counted as ``overload``: of a bus that reports each second the newest place is the one that matters. What waits is
submitted as one batch, so that a burst costs one write of the journal.

A message of QoS 1 or 2 is acknowledged after the line, and so the journal, has its position, and one that was dropped
when it was dropped: the broker sends on only as long as few (20, mosquitto) are open.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Unpack, cast
from urllib.parse import urlsplit

import aiomqtt
import structlog

from busd import metrics
from busd.clock import Clock
from busd.config import FeedConfig
from busd.errors import FeedError, Reason
from busd.feeds import Submit
from busd.feeds.hfp import Ignored, decode
from busd.feeds.report import Reports
from busd.feeds.source import Source, Surroundings, is_public, wait_s
from busd.types import Rejected, VehiclePosition

log = structlog.get_logger(__name__)

FIRST_WAIT_S = 1.0
MAX_WAIT_S = 60.0
STEADY_S = 30.0
KEEPALIVE_S = 30
MAX_BATCH = 1000
PORTS = {"mqtt": 1883, "mqtts": 8883}

Message = aiomqtt.Message


class Inbox(asyncio.Queue[Message]):
    """Messages that wait for the line. A full one drops its oldest."""

    def __init__(self, maxsize: int, dropped: Callable[[Message], object]) -> None:
        super().__init__(maxsize)
        self._dropped = dropped

    def put_nowait(self, item: Message) -> None:
        if self.full():
            self._dropped(self.get_nowait())
        super().put_nowait(item)

    def drain(self, most: int) -> list[Message]:
        """Up to ``most`` of the messages that are there already."""
        return [self.get_nowait() for _ in range(min(most, self.qsize()))]


class Client(aiomqtt.Client):
    """Leaves it to us when a message is acknowledged."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._client.manual_ack_set(True)

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """On a connection that is over this does nothing."""
        for message in messages:
            if message.qos:
                self._client.ack(message.mid, message.qos)


class NamedHost(ssl.SSLContext):
    """A client context that checks the certificate against ``host``, whatever address the connection goes to."""

    host: str = ""

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        kwargs["server_hostname"] = self.host
        return super().wrap_socket(sock, *args, **kwargs)


class MqttFeed(Source):
    """One broker of the configuration. `run` until cancelled; `session` is one connection."""

    failure = "feed is not connected"

    def __init__(self, config: FeedConfig, submit: Submit, clock: Clock, **around: Unpack[Surroundings]) -> None:
        super().__init__(config, submit, clock, **around)
        self.connected = asyncio.Event()
        """set while subscribed"""
        self._attempts = 0
        self._overload = metrics.REJECTED.labels(config.name, Reason.OVERLOAD.value)
        url = urlsplit(config.url)
        self._host = url.hostname or ""
        self._tls = url.scheme == "mqtts"
        self._port = url.port or PORTS[url.scheme]

    async def run(self) -> None:
        """Listens for ever; nothing that the broker or the network does ends it."""
        while True:
            try:
                await self.session()
            except (aiomqtt.MqttError, FeedError, OSError, ValueError) as error:
                self._failed(error)
            wait = wait_s(FIRST_WAIT_S, max(self.failures - 1, 0), self._jitter())
            await self._sleep(min(wait, MAX_WAIT_S))

    async def session(self) -> None:
        """Connects, subscribes and submits until the connection ends, which is always an exception:
        `aiomqtt.MqttError`, OSError (no such name, no route) or `FeedError` (only private addresses)."""
        config, name = self.config, self.config.name
        address = await self._address()

        def drop(message: Message) -> None:
            self._overload.inc()
            client.acknowledge([message])

        inbox = Inbox(config.queue, drop)
        client = Client(
            address,
            self._port,
            username=config.username or None,
            password=config.password or None,
            # aiomqtt calls this with the size; the feed keeps its hands on the very queue
            queue_type=cast("type[asyncio.Queue[Message]]", lambda maxsize: inbox),
            timeout=config.timeout_s,
            keepalive=KEEPALIVE_S,
            tls_context=self._tls_context() if self._tls else None,
        )
        started = self._clock.monotonic()
        try:
            async with client:
                await client.subscribe(config.topic, qos=config.qos)
                log.info("feed is connected", feed=name, failures=self.failures)
                metrics.FEED_UP.labels(name).set(1)
                metrics.FEED_POLLS.labels(name, "ok").inc()
                self.connected.set()
                async for message in client.messages:
                    self.failures = 0
                    batch = [message, *inbox.drain(MAX_BATCH - 1)]
                    self.take(batch)
                    client.acknowledge(batch)
        finally:
            self.take(inbox.drain(config.queue))
            self.connected.clear()
            metrics.FEED_UP.labels(name).set(0)
            if self._clock.monotonic() - started >= STEADY_S:
                self.failures = 0

    def take(self, messages: Iterable[Message]) -> int:
        """Decodes and submits as one batch; how many positions went in."""
        config, now = self.config, self._clock.now()
        reports = Reports([], [])
        for message in messages:
            result = decode(
                message.topic.value, message.payload, source=config.name, received_at=now, datum=config.datum
            )
            if isinstance(result, VehiclePosition):
                reports.positions.append(result)
            elif isinstance(result, Rejected):
                reports.rejects.append(result)
            elif isinstance(result, Ignored):
                metrics.FEED_IGNORED.labels(config.name, result.kind).inc()
        taken = self._intake.take(reports)
        return taken.live + taken.historical

    async def _address(self) -> str:
        """An address of the broker, another one at each try."""
        found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = [str(where[0]) for *_, where in found]
        if not self.config.allow_private:
            addresses = [a for a in addresses if is_public(a)]
            if not addresses:
                raise FeedError(
                    f"{self.config.name}: the URL leads to a private address; set allow_private = true to let it"
                )
        self._attempts += 1
        return addresses[(self._attempts - 1) % len(addresses)]

    def _tls_context(self) -> ssl.SSLContext:
        context = NamedHost(ssl.PROTOCOL_TLS_CLIENT)
        context.host = self._host
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.config.ca_file:
            context.load_verify_locations(self.config.ca_file)
        else:
            context.load_default_certs()
        return context

    def _why(self, error: Exception) -> str:
        return str(error) or type(error).__name__
