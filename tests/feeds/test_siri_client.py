"""The SIRI client against a producer of our own over real HTTP: polls, a subscription's whole life, and strangers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from defusedxml.ElementTree import fromstring

from busd import metrics
from busd.clock import ManualClock
from busd.config import FeedConfig
from busd.errors import FeedError
from busd.feeds import open_feeds
from busd.feeds.siri import Decoded, decode
from busd.feeds.siri_client import MAX_MORE, SiriPoller, SiriSubscriber, Subscription
from busd.types import VehiclePosition

NOW = 1_763_800_000.0
WAIT_S = 20.0
VECTORS: dict[str, str] = {
    vector["id"]: vector["xml"]
    for vector in map(
        json.loads,
        (Path(__file__).parents[1] / "vectors/siri.jsonl").read_text(encoding="utf-8").splitlines(),
    )
}
GOOD = VECTORS["s001"]


def delivery(vehicle: str = "20014", recorded: str = "08:26:30", subscription: str = "", head: str = "") -> str:
    """A delivery of one bus."""
    xml = GOOD.replace("20014", vehicle).replace("T08:26:30Z", f"T{recorded}Z")
    if subscription:
        xml = xml.replace("<VehicleActivity>", f"<SubscriptionRef>{subscription}</SubscriptionRef><VehicleActivity>")
    return xml.replace("<VehicleMonitoringDelivery", head + "<VehicleMonitoringDelivery", 1)


def siri(content: str) -> str:
    return f'<Siri xmlns="http://www.siri.org.uk/siri">{content}</Siri>'


def heartbeat(started: str = "", status: str = "true") -> str:
    since = f"<ServiceStartedTime>{started}</ServiceStartedTime>" if started else ""
    return siri(f"<HeartbeatNotification><Status>{status}</Status>{since}</HeartbeatNotification>")


class Line:
    def __init__(self) -> None:
        self.got: list[VehiclePosition] = []

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        assert not historical
        self.got.extend(positions)

    @property
    def vehicles(self) -> list[str]:
        return [position.vehicle_id for position in self.got]


class Producer:
    """Answers what is queued, or grants and ends subscriptions."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, str]] = []
        self.methods: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[str | web.Response] = []
        self.came = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        fields = {} if not body else {node.tag.partition("}")[2]: node.text or "" for node in fromstring(body).iter()}
        self.requests.append(fields)
        self.methods.append(request.method)
        self.headers.append(dict(request.headers))
        self.came.set()
        answer: str | web.Response
        if self.answers:
            answer = self.answers.pop(0)
        elif "TerminateSubscriptionRequest" in fields:
            answer = siri("<TerminateSubscriptionResponse><Status>true</Status></TerminateSubscriptionResponse>")
        else:
            answer = siri(
                "<SubscriptionResponse><ResponseStatus><Status>true</Status></ResponseStatus></SubscriptionResponse>"
            )
        return answer if isinstance(answer, web.Response) else web.Response(text=answer, content_type="text/xml")

    @property
    def kinds(self) -> list[str]:
        return [list(fields)[1] for fields in self.requests]

    async def asked(self, number: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.requests) < number:
                self.came.clear()
                await self.came.wait()


@pytest.fixture
async def producer() -> AsyncIterator[Producer]:
    producer = Producer()
    app = web.Application()
    app.router.add_route("*", "/siri", producer.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    producer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/siri"
    yield producer
    await runner.cleanup()


def config_of(url: str, **options: Any) -> FeedConfig:
    return FeedConfig(
        **{"name": "vm", "type": "siri-vm", "url": url, "allow_private": True, "timeout_s": 5.0} | options
    )


def sample(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


# ---- polls -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def poller(producer: Producer) -> AsyncIterator[Callable[..., tuple[SiriPoller, Line]]]:
    opened: list[SiriPoller] = []

    def make(**options: Any) -> tuple[SiriPoller, Line]:
        line = Line()
        config = config_of(**{"url": producer.url} | options)
        opened.append(SiriPoller(config, line.submit, ManualClock(NOW), jitter=lambda: 0.0))
        return opened[-1], line

    yield make
    for one in opened:
        await one.close()


async def test_a_get_with_its_own_headers(producer: Producer, poller: Callable[..., tuple[SiriPoller, Line]]) -> None:
    feed, line = poller(headers={"X-Api-Key": "secret"})
    producer.answers = [delivery(), delivery(), delivery(recorded="08:26:38")]
    assert [await feed.poll_once() for _ in range(3)] == [1, 0, 1]
    assert producer.methods == ["GET"] * 3
    assert producer.headers[0]["X-Api-Key"] == "secret"
    assert line.vehicles == ["ATB/20014"] * 2
    assert (line.got[0].received_at, line.got[0].source) == (NOW, "vm")


async def test_a_producer_that_writes_local_time_as_utc(producer: Producer) -> None:
    """Ten answers, ten seconds apart, with a fix of ten seconds ago, everything eight hours ahead."""
    clock, line = ManualClock(NOW), Line()
    feed = SiriPoller(config_of(producer.url), line.submit, clock, jitter=lambda: 0.0)
    for k in range(10):
        at = f"16:{26 + (40 + 10 * k) // 60}:{(40 + 10 * k) % 60:02}"
        fix = f"16:{26 + (30 + 10 * k) // 60}:{(30 + 10 * k) % 60:02}"
        xml = delivery(str(k % 3), fix).replace("T08:26:40Z", f"T{at}Z").replace("T08:36:30Z", "T16:59:00Z")
        producer.answers = [xml]
        assert await feed.poll_once() == 1
        clock.advance(10.0)
    await feed.close()
    assert {position.clock for position in line.got[:3]} == {"receiver"}
    assert {position.clock for position in line.got[-3:]} == {"corrected"}
    assert all(position.received_at - 15.0 <= position.measured_at <= position.received_at for position in line.got)


async def test_a_service_request_is_posted_until_there_is_no_more(
    producer: Producer, poller: Callable[..., tuple[SiriPoller, Line]]
) -> None:
    feed, line = poller(mode="post", requestor="me")
    more = "<MoreData>true</MoreData>"
    producer.answers = [delivery("1", head=more), delivery("2", head=more), delivery("3")]
    assert await feed.poll_once() == 3
    assert line.vehicles == ["ATB/1", "ATB/2", "ATB/3"]
    assert producer.methods == ["POST"] * 3
    assert producer.kinds == ["ServiceRequest"] * 3
    assert producer.requests[0]["RequestorRef"] == "me"
    assert producer.requests[0]["RequestTimestamp"] == "2025-11-22T08:26:40.000Z"
    assert producer.headers[0]["Content-Type"].startswith("text/xml")


async def test_a_producer_that_always_has_more(
    producer: Producer, poller: Callable[..., tuple[SiriPoller, Line]]
) -> None:
    feed, _ = poller(mode="post")
    producer.answers = [delivery(head="<MoreData>true</MoreData>")] * (MAX_MORE + 5)
    await feed.poll_once()
    assert len(producer.requests) == MAX_MORE


@pytest.mark.parametrize(
    "answer",
    [
        VECTORS["x001"],
        VECTORS["m001"],
        "<html>maintenance</html>",
        "",
        siri(
            "<ServiceDelivery><Status>false</Status><ErrorCondition><AccessNotAllowedError/></ErrorCondition>"
            "</ServiceDelivery>"
        ),
        web.Response(status=503),
        web.Response(status=302, headers={"Location": "/siri"}),
    ],
)
async def test_what_is_no_delivery_is_a_failure(
    producer: Producer, poller: Callable[..., tuple[SiriPoller, Line]], answer: str | web.Response
) -> None:
    feed, line = poller(mode="post")
    producer.answers = [answer]
    assert await feed.poll_once() == 0
    assert (feed.failures, line.got) == (1, [])
    producer.answers = [delivery()]
    assert await feed.poll_once() == 1
    assert feed.failures == 0


async def test_a_private_address_is_refused_unless_allowed(
    producer: Producer, poller: Callable[..., tuple[SiriPoller, Line]]
) -> None:
    for mode in ("get", "post"):
        feed, _ = poller(mode=mode, allow_private=False)
        assert await feed.poll_once() == 0
        assert feed.failures == 1
    assert producer.requests == []


async def test_a_file(tmp_path: Path, poller: Callable[..., tuple[SiriPoller, Line]]) -> None:
    path = tmp_path / "vm.xml"
    path.write_text(GOOD, encoding="utf-8")
    feed, line = poller(url=path.as_uri())
    assert await feed.poll_once() == 1
    assert line.vehicles == ["ATB/20014"]


# ---- what is known of a subscription ---------------------------------------------------------------------------------


def said(xml: str) -> Decoded:
    return decode(xml.encode(), source="vm", received_at=NOW)


def test_a_subscription_is_lost_when_it_is_silent_or_over() -> None:
    subscription = Subscription("x-1", heartbeat_s=60.0, ends_at=3600.0, heard_at=0.0)
    assert subscription.trouble(150.0) is None
    assert subscription.trouble(151.0) == "nothing heard for 151 s"
    subscription.hear(said(heartbeat()), 149.0)
    assert subscription.trouble(299.0) is None
    subscription.hear(said(GOOD), 3599.0)
    assert subscription.trouble(3599.0) is None
    assert subscription.trouble(3600.0) == "its term is over"


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (VECTORS["m005"], "ended by the producer"),
        (heartbeat("2025-11-22T08:00:00Z"), "the producer began anew"),
        (VECTORS["m002"], "the producer says that it is out of order: ServiceNotAvailableError; maintenance"),
        (VECTORS["m005"].replace("x-1", "x-2"), None),
        (heartbeat("2025-11-20T00:00:00Z"), None),
        (heartbeat(), None),
    ],
)
def test_a_subscription_is_lost_when_the_producer_says_so(xml: str, why: str | None) -> None:
    subscription = Subscription("x-1", heartbeat_s=60.0, ends_at=3600.0, heard_at=0.0)
    subscription.hear(said(VECTORS["m003"]), 0.0)
    subscription.hear(said(xml), 1.0)
    assert subscription.trouble(1.0) == why


# ---- a subscription's life -------------------------------------------------------------------------------------------


class Running:
    """A subscriber that runs; its clock goes on only when the test says so."""

    def __init__(self, url: str, **options: Any) -> None:
        self.line = Line()
        self.clock = ManualClock(NOW)
        self.waits: asyncio.Queue[float] = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)
        config = config_of(url, mode="subscribe", **options)
        self.feed = SiriSubscriber(config, self.line.submit, self.clock, jitter=lambda: 0.0, sleep=self._sleep)
        self.task = asyncio.create_task(self.feed.run())

    async def _sleep(self, seconds: float) -> None:
        self.waits.put_nowait(seconds)
        await self.go_on.acquire()
        self.clock.advance(seconds)

    async def waited(self) -> float:
        return await asyncio.wait_for(self.waits.get(), WAIT_S)

    async def pass_time(self, times: int) -> float:
        """Lets so many waits end and comes back in the next."""
        seconds = 0.0
        for _ in range(times):
            self.go_on.release()
            seconds = await self.waited()
        return seconds

    async def post(self, body: str | bytes, path: str | None = None, method: str = "POST") -> tuple[int, str]:
        """As the producer does; status and body."""
        url = self.feed.consumer_address
        if path is not None:
            url = url.rpartition("/")[0] + path
        async with aiohttp.ClientSession() as session, session.request(method, url, data=body) as response:
            return response.status, await response.text()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=WAIT_S)
        assert self.task.cancelled()


@pytest.fixture
async def run(producer: Producer) -> AsyncIterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(**options: Any) -> Running:
        started.append(Running(**{"url": producer.url} | options))
        return started[-1]

    yield start
    for one in started:
        if not one.task.done():
            await one.stop()


async def test_it_subscribes_takes_and_acknowledges(producer: Producer, run: Callable[..., Running]) -> None:
    running = run(heartbeat_s=60.0, interval_s=15.0, requestor="me", name="sub1")
    assert await running.waited() == 15.0
    (request,) = producer.requests
    ref = request["SubscriptionIdentifier"]
    assert ref.startswith("me-")
    assert request["ConsumerAddress"] == running.feed.consumer_address
    assert (request["HeartbeatInterval"], request["UpdateInterval"]) == ("PT60S", "PT15S")
    assert request["InitialTerminationTime"] == "2025-11-23T08:29:10.000Z"
    for vehicle in ("1", "2"):
        status, answer = await running.post(delivery(vehicle, subscription=ref))
        assert status == 200
        assert "<Status>true</Status>" in answer
    assert running.line.vehicles == ["ATB/1", "ATB/2"]
    assert sample("busd_feed_up", feed="sub1") == 1
    assert (await running.post(heartbeat()))[0] == 200
    assert sample("busd_feed_ignored_total", feed="sub1", kind="HeartbeatNotification") == 1


async def test_a_delivery_without_a_reference_is_known_by_its_address(run: Callable[..., Running]) -> None:
    running = run()
    await running.waited()
    assert (await running.post(delivery()))[0] == 200
    assert running.line.vehicles == ["ATB/20014"]


async def test_a_missed_heartbeat_ends_it_and_begins_another(producer: Producer, run: Callable[..., Running]) -> None:
    running = run(heartbeat_s=60.0)
    await running.waited()
    first = producer.requests[0]["SubscriptionIdentifier"]
    await running.pass_time(9)
    await running.post(heartbeat())
    await running.pass_time(10)
    assert len(producer.requests) == 1
    await running.pass_time(1)
    assert producer.kinds == ["SubscriptionRequest", "TerminateSubscriptionRequest", "SubscriptionRequest"]
    assert producer.requests[1]["SubscriptionRef"] == first
    second = producer.requests[2]["SubscriptionIdentifier"]
    assert second != first
    status, answer = await running.post(delivery("1", subscription=first))
    assert (status, "UnknownSubscriptionError" in answer) == (403, True)
    assert (await running.post(delivery("2", subscription=second)))[0] == 200
    assert running.line.vehicles == ["ATB/2"]


async def test_the_producers_end_and_its_new_start(producer: Producer, run: Callable[..., Running]) -> None:
    running = run()
    await running.waited()
    ref = producer.requests[0]["SubscriptionIdentifier"]

    def ended(subscription: str) -> str:
        reference = f"<SubscriptionRef>{subscription}</SubscriptionRef>"
        return siri(f"<SubscriptionTerminatedNotification>{reference}</SubscriptionTerminatedNotification>")

    assert (await running.post(ended("of somebody else")))[0] == 403
    await running.pass_time(1)
    assert producer.kinds.count("SubscriptionRequest") == 1
    assert (await running.post(ended(ref)))[0] == 200
    await running.pass_time(1)
    assert producer.kinds.count("SubscriptionRequest") == 2
    await running.post(heartbeat("2025-11-22T08:00:00Z"))
    await running.post(heartbeat("2025-11-22T08:26:00Z"))
    await running.pass_time(1)
    assert producer.kinds.count("SubscriptionRequest") == 3


async def test_the_term_is_renewed(producer: Producer, run: Callable[..., Running]) -> None:
    running = run(heartbeat_s=60.0, subscription_s=120.0)
    await running.waited()
    await running.pass_time(8)
    assert producer.kinds == ["SubscriptionRequest", "TerminateSubscriptionRequest", "SubscriptionRequest"]


async def test_the_end_of_the_process_ends_the_subscription(producer: Producer, run: Callable[..., Running]) -> None:
    running = run()
    await running.waited()
    await running.stop()
    assert producer.kinds == ["SubscriptionRequest", "TerminateSubscriptionRequest"]
    with pytest.raises(aiohttp.ClientConnectionError):
        await running.post(heartbeat())


async def test_a_refusal_is_asked_again_later_and_later(producer: Producer, run: Callable[..., Running]) -> None:
    producer.answers = [VECTORS["m004"], web.Response(status=500), "", GOOD, VECTORS["x002"]]
    running = run(name="refused")
    assert [await running.waited(), *[await running.pass_time(1) for _ in range(4)]] == [5.0, 10.0, 20.0, 40.0, 80.0]
    assert running.feed.failures == 5
    assert sample("busd_feed_up", feed="refused") == 0
    assert await running.pass_time(1) == 15.0
    assert running.feed.failures == 0
    assert sample("busd_feed_up", feed="refused") == 1
    assert set(producer.kinds) == {"SubscriptionRequest"}


async def test_a_private_producer_is_refused_unless_allowed(producer: Producer, run: Callable[..., Running]) -> None:
    running = run(allow_private=False)
    await running.waited()
    assert (running.feed.failures, producer.requests) == (1, [])


async def test_a_port_that_is_taken_is_tried_again(producer: Producer, run: Callable[..., Running]) -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    running = run(port=port)
    assert await running.waited() == 5.0
    server.close()
    await server.wait_closed()
    assert await running.pass_time(1) == 15.0
    assert running.feed.consumer_address.startswith(f"http://127.0.0.1:{port}/")


async def test_the_way_of_a_proxy(producer: Producer, run: Callable[..., Running]) -> None:
    running = run(public_url="https://bus.example/in/siri/", port=0)
    await running.waited()
    address = producer.requests[0]["ConsumerAddress"]
    assert address.startswith("https://bus.example/in/siri/")
    token = address.rpartition("/")[2]
    assert running.feed._runner is not None
    port = running.feed._runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:
        for path in ("", "/in/siri"):
            async with session.post(f"http://127.0.0.1:{port}{path}/{token}", data=heartbeat()) as response:
                assert response.status == 200


# ---- strangers at the door -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/x", "/../etc/passwd", "/%00", "/" + "a" * 5000])
async def test_who_does_not_know_the_address_finds_nothing(run: Callable[..., Running], path: str) -> None:
    running = run(name="door")
    await running.waited()
    status, _ = await running.post(delivery(), path)
    assert status == 404
    assert running.line.got == []


async def test_harm_is_answered_and_nobody_else_disturbed(run: Callable[..., Running]) -> None:
    running = run(name="harm")
    await running.waited()
    for body in ("", "not xml", VECTORS["x001"], VECTORS["x002"], "<a>" * 200_000):
        assert (await running.post(body))[0] == 400
    assert (await running.post(bytes(9 * 1024 * 1024)))[0] == 413
    assert (await running.post("", method="GET"))[0] == 405
    assert (await running.post(siri("<DataReadyNotification/>")))[0] == 501
    assert (await running.post(delivery()))[0] == 200
    assert running.line.vehicles == ["ATB/20014"]
    assert sample("busd_feed_polls_total", feed="harm", result="error") == 5


async def test_who_is_slow_is_let_go(run: Callable[..., Running]) -> None:
    running = run(timeout_s=0.1)
    await running.waited()
    address = running.feed.consumer_address
    host, _, path = address.removeprefix("http://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n<Siri>".encode())
    assert (await asyncio.wait_for(reader.readline(), WAIT_S)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_nothing_is_taken_before_there_is_a_subscription(producer: Producer, run: Callable[..., Running]) -> None:
    producer.answers = [web.Response(status=500)]
    running = run()
    await running.waited()
    assert (await running.post(delivery()))[0] == 403
    assert running.line.got == []


async def test_the_configuration_opens_what_its_mode_says() -> None:
    kinds = {"get": SiriPoller, "post": SiriPoller, "subscribe": SiriSubscriber}
    configs = [config_of("https://example.org/", mode=mode) for mode in kinds]
    feeds = open_feeds(configs, Line().submit, ManualClock(NOW))
    assert [type(feed) for feed in feeds] == list(kinds.values())
    with pytest.raises(FeedError, match="instead of a ServiceDelivery"):
        await SiriPoller(configs[0], Line().submit, ManualClock(NOW)).decode(heartbeat().encode())
