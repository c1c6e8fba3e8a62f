"""SIRI-VM over HTTP: asks again and again (`SiriPoller`), or subscribes and is told (`SiriSubscriber`).

Subscription, by direct delivery: we post a SubscriptionRequest with our ConsumerAddress, the producer posts deliveries
and heartbeats there. `Subscription` is what is known of the current one and says when it is lost: nothing heard for
`MISSED_HEARTBEATS` heartbeats, ended or declared faulty by the producer, the producer started anew, or its term over.
Then it is terminated as far as that is possible, and the next one begins under a new name; failures wait like polls do.

The door: the ConsumerAddress ends with a random path that nobody else is told, one for the life of the process;
without it the answer is 404 before a byte of the body is read. A delivery that names another subscription than the
current one is refused. A delivery is acknowledged when the line, and so the journal, has its positions.

XML is read in a thread: 8 MiB take up to a second, in which the loop has other buses to listen to.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Unpack

import aiohttp
import structlog
from aiohttp import web

from busd import metrics
from busd.clock import Clock
from busd.config import FeedConfig
from busd.errors import FeedError, Reason
from busd.feeds import Feed, Submit
from busd.feeds import siri_messages as messages
from busd.feeds.gtfsrt_poll import Memory, Poller, open_session, read_answer, take_news
from busd.feeds.siri import MAX_BYTES, Decoded, decode
from busd.feeds.source import Source, Surroundings, wait_s

log = structlog.get_logger(__name__)

MISSED_HEARTBEATS = 2.5
CHECKS_PER_HEARTBEAT = 4
FIRST_WAIT_S = 5.0
TERMINATE_S = 2.0
"""a farewell that takes longer is left unsaid: the subscription ends by its term"""
MAX_MORE = 20
"""so many times at once a producer may say MoreData"""
MAX_READERS = 4
"""deliveries read at the same time; more are told to come back"""
XML = "text/xml"


def open_siri(config: FeedConfig, submit: Submit, clock: Clock, **around: Unpack[Surroundings]) -> Feed:
    """The client that the feed's ``mode`` asks for."""
    kind = SiriSubscriber if config.mode == "subscribe" else SiriPoller
    return kind(config, submit, clock, **around)


async def read_message(config: FeedConfig, body: bytes, received_at: float) -> Decoded:
    """`decode` in a thread, as the feed is configured."""
    return await asyncio.to_thread(
        decode,
        body,
        source=config.name,
        received_at=received_at,
        timezone=config.timezone,
        datum=config.datum,
        max_bytes=min(config.max_bytes, MAX_BYTES),
    )


class SiriPoller(Poller):
    """Request and response: a GET, or a ServiceRequest posted (``mode = "post"``)."""

    accept = "application/xml, text/xml, */*;q=0.5"

    def __init__(self, config: FeedConfig, submit: Submit, clock: Clock, **around: Unpack[Surroundings]) -> None:
        super().__init__(config, submit, clock, **around)
        self._more_data = False

    def request_body(self) -> bytes | None:
        if self.config.mode == "get":
            return None
        return messages.service_request(self._clock.now(), self.config.requestor, secrets.token_hex(8))

    async def poll_once(self) -> int:
        """Asks on as long as the producer says that there is more. The number of positions submitted."""
        count = 0
        for _ in range(MAX_MORE):
            self._more_data = False
            count += await super().poll_once()
            if not self._more_data:
                break
        return count

    async def decode(self, body: bytes) -> Decoded:
        message = await read_message(self.config, body, self._clock.now())
        if message.kind != "ServiceDelivery":
            raise FeedError(f"{self.config.name}: a {message.kind} instead of a ServiceDelivery")
        if not message.ok and not message.positions:
            raise FeedError(f"{self.config.name}: the producer refuses: {message.error or 'Status is false'}")
        self._more_data = message.more_data and self.config.mode == "post"
        return message


@dataclass
class Subscription:
    """What is known of one subscription; instants are monotonic seconds."""

    ref: str
    heartbeat_s: float
    ends_at: float
    heard_at: float
    service_started: str = ""
    over: str = ""

    def hear(self, message: Decoded, now: float) -> None:
        """Anything good that the producer sends is a sign of life."""
        self.heard_at = now
        if message.kind == "SubscriptionTerminatedNotification":
            if not message.subscription_refs or self.ref in message.subscription_refs:
                self.over = "ended by the producer" + (f": {message.error}" if message.error else "")
        elif message.kind == "HeartbeatNotification" and not message.ok:
            self.over = "the producer says that it is out of order" + (f": {message.error}" if message.error else "")
        if message.service_started:
            if self.service_started not in ("", message.service_started):
                self.over = "the producer began anew"
            self.service_started = message.service_started

    def trouble(self, now: float) -> str | None:
        """Why this subscription is lost; None while it is well."""
        if self.over:
            return self.over
        if now - self.heard_at > self.heartbeat_s * MISSED_HEARTBEATS:
            return f"nothing heard for {now - self.heard_at:.0f} s"
        return "its term is over" if now >= self.ends_at else None


class SiriSubscriber(Source):
    """One subscription after the other. `run` until cancelled; `subscribe` is one request."""

    failure = "feed could not be subscribed"

    def __init__(self, config: FeedConfig, submit: Submit, clock: Clock, **around: Unpack[Surroundings]) -> None:
        super().__init__(config, submit, clock, **around)
        self.memory = Memory(config.name, config.interval_s)
        self.subscription: Subscription | None = None
        self.consumer_address = ""
        """where the producer shall post to; known while the door is open"""
        self._token = secrets.token_urlsafe(24)
        self._readers = 0
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def run(self) -> None:
        """Subscribes for ever; nothing that the producer does ends it."""
        try:
            while True:
                try:
                    await self.open_door()
                    subscription = await self.subscribe()
                    why = await self._watch(subscription)
                    log.warning("subscription is lost", feed=self.config.name, why=why)
                    metrics.FEED_UP.labels(self.config.name).set(0)
                    await self.terminate()
                except (FeedError, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                    self._failed(error)
                    await self._sleep(wait_s(FIRST_WAIT_S, self.failures - 1, self._jitter()))
        finally:
            await self.close()

    async def close(self) -> None:
        """Ends the subscription, then shuts the door."""
        await self.terminate()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
        self._runner = self._session = None

    # ---- what we ask -------------------------------------------------------------------------------------------------

    async def subscribe(self) -> Subscription:
        """One SubscriptionRequest. `FeedError` or an error of the network if it is not granted."""
        config, started = self.config, self._clock.monotonic()
        # known before the request is answered, since the first delivery may come first
        self.subscription = wanted = Subscription(
            f"{config.requestor}-{secrets.token_hex(8)}",
            config.heartbeat_s,
            ends_at=started + config.subscription_s,
            heard_at=started,
        )
        now = self._clock.now()
        try:
            answer = await self._post(
                messages.subscription_request(
                    now,
                    config.requestor,
                    wanted.ref,
                    consumer_address=self.consumer_address,
                    heartbeat_s=config.heartbeat_s,
                    update_s=config.interval_s,
                    # the term is over for us first, and a subscription that we lost sight of ends by itself
                    until=now + config.subscription_s + MISSED_HEARTBEATS * config.heartbeat_s,
                )
            )
            if answer.kind != "SubscriptionResponse":
                raise FeedError(f"{config.name}: a {answer.kind} instead of a SubscriptionResponse")
            if not answer.ok:
                raise FeedError(f"{config.name}: the producer refuses: {answer.error or 'Status is false'}")
        except BaseException:
            self.subscription = None
            raise
        wanted.hear(answer, self._clock.monotonic())
        self._worked()
        log.info("subscribed", feed=config.name)
        return wanted

    async def terminate(self) -> None:
        """Tells the producer that we want no more of the current subscription; whether it listens or not."""
        subscription, self.subscription = self.subscription, None
        if subscription is None:
            return
        request = messages.termination_request(
            self._clock.now(), self.config.requestor, subscription.ref, secrets.token_hex(8)
        )
        try:
            async with asyncio.timeout(TERMINATE_S):
                await self._post(request)
        except (FeedError, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.info("subscription was not terminated", feed=self.config.name, why=type(error).__name__)

    async def _watch(self, subscription: Subscription) -> str:
        """Until it is lost; the reason."""
        while (why := subscription.trouble(self._clock.monotonic())) is None:
            await self._sleep(self.config.heartbeat_s / CHECKS_PER_HEARTBEAT)
            self.memory.note_age(self._clock.now())
        return why

    async def _post(self, body: bytes) -> Decoded:
        config = self.config
        if self._session is None:
            self._session = open_session(config)
        headers = {"Content-Type": "text/xml; charset=utf-8", "Accept": SiriPoller.accept} | config.headers
        started = self._clock.monotonic()
        async with self._session.post(config.url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise FeedError(f"{config.name}: status {response.status}")
            answer = await read_answer(response, config.name, min(config.max_bytes, MAX_BYTES))
        metrics.FEED_SECONDS.labels(config.name).observe(self._clock.monotonic() - started)
        return await read_message(config, answer, self._clock.now())

    # ---- the door ----------------------------------------------------------------------------------------------------

    async def open_door(self) -> None:
        """Listens for deliveries, once. OSError if the port cannot be had."""
        if self._runner is not None:
            return
        config = self.config
        app = web.Application(client_max_size=min(config.max_bytes, MAX_BYTES))
        app.router.add_post("/{path:.*}", self._door)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, config.host, config.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        host = f"[{config.host}]" if ":" in config.host else config.host
        base = config.public_url or f"http://{host}:{runner.addresses[0][1]}"
        self.consumer_address = f"{base.rstrip('/')}/{self._token}"

    async def _door(self, request: web.Request) -> web.Response:
        name = self.config.name
        # a proxy in front may have taken the rest of the path away
        token = request.match_info["path"].rpartition("/")[2]
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            metrics.REJECTED.labels(name, Reason.UNAUTHENTICATED.value).inc()
            return web.Response(status=404)
        if self._readers >= MAX_READERS:
            metrics.REJECTED.labels(name, Reason.OVERLOAD.value).inc()
            return web.Response(status=503, headers={"Retry-After": "1"})
        self._readers += 1
        try:
            async with asyncio.timeout(self.config.timeout_s):
                body = await request.read()
            message = await read_message(self.config, body, self._clock.now())
        except TimeoutError:
            return web.Response(status=408)
        except FeedError as error:
            metrics.FEED_POLLS.labels(name, "error").inc()
            log.warning("delivery could not be read", feed=name, why=str(error))
            return web.Response(status=400, text="not a SIRI message that can be used\n")
        finally:
            self._readers -= 1
        return self._heard(message)

    def _heard(self, message: Decoded) -> web.Response:
        name, subscription, now = self.config.name, self.subscription, self._clock.now()
        refs = message.subscription_refs
        if subscription is None or (refs and subscription.ref not in refs):
            metrics.REJECTED.labels(name, Reason.UNAUTHENTICATED.value).inc()
            answer = messages.acknowledgement(now, self.config.requestor, ", ".join(sorted(refs))[:200])
            return web.Response(status=403, body=answer, content_type=XML)
        subscription.hear(message, self._clock.monotonic())
        if message.kind != "ServiceDelivery":
            metrics.FEED_IGNORED.labels(name, message.kind).inc()
            if message.kind == "DataReadyNotification":
                log.warning("producer wants its data fetched; only direct delivery is known here", feed=name)
                return web.Response(status=501)
            return web.Response()
        metrics.FEED_POLLS.labels(name, "ok" if message.ok else "error").inc()
        if not message.ok:
            log.warning("delivery is faulty", feed=name, why=message.error)
        take_news(self.memory, message, self._intake, now)
        return web.Response(body=messages.acknowledgement(now, self.config.requestor), content_type=XML)
