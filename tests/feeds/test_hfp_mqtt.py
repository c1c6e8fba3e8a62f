"""HFP over a real mosquitto: what comes in, what is dropped, and what happens when the broker goes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from busd import metrics
from busd.clock import ManualClock
from busd.config import FeedConfig
from busd.errors import FeedError
from busd.feeds import open_feeds
from busd.feeds.mqtt import Inbox, Message, MqttFeed
from busd.types import VehiclePosition

NOW = 1_763_800_000.0
WAIT_S = 20.0
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors/hfp.jsonl").read_text(encoding="utf-8").splitlines()
]


def need(what: str | None, name: str) -> str:
    """Skips where a program is missing; on a build server that is a failure, because skipped tests would look green."""
    if what is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed; `make system` does that")
        pytest.skip(f"{name} is not installed")
    return what


class Broker:
    """A mosquitto of our own; can be stopped and started again on the same port."""

    def __init__(self, folder: Path, lines: Sequence[str]) -> None:
        self.program = need(MOSQUITTO, "mosquitto")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.file = folder / "mosquitto.conf"
        settings = [f"listener {self.port} 127.0.0.1", *lines, "user root", "persistence false", "log_dest stderr"]
        self.file.write_text("\n".join(settings) + "\n", encoding="utf-8")
        self.process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            self.program, "-c", str(self.file), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert self.process.stderr is not None
        log = self.process.stderr
        async with asyncio.timeout(WAIT_S):
            while b"running" not in (line := await log.readline()):
                assert line, "mosquitto ended at its start"

        async def read() -> None:
            while await log.readline():
                pass

        self._reading = asyncio.create_task(read())

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
        if self._reading is not None:
            await self._reading

    def url(self, scheme: str = "mqtt", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path, ["allow_anonymous true"])
    await broker.start()
    yield broker
    await broker.stop()


class Line:
    """Takes positions; `count` waits for a number of them."""

    def __init__(self) -> None:
        self.got: list[VehiclePosition] = []
        self.batches: list[int] = []
        self._more = asyncio.Event()
        self.refuses = False

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        assert not historical
        if self.refuses:
            raise OSError(28, "No space left on device")
        self.got.extend(positions)
        self.batches.append(len(positions))
        self._more.set()

    async def count(self, number: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.got) < number:
                self._more.clear()
                await self._more.wait()


class Recording(MqttFeed):
    """Keeps the quality of service that messages came with."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.qos: list[int] = []

    def take(self, messages: Iterable[Message]) -> int:
        messages = list(messages)
        self.qos += [message.qos for message in messages]
        return super().take(messages)


class Running:
    """A feed that runs, whose waits last until the test lets them end."""

    def __init__(self, url: str, **options: Any) -> None:
        self.line = Line()
        self.waits: asyncio.Queue[float] = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)
        config = FeedConfig(
            **{"name": "hsl", "type": "hfp", "url": url, "allow_private": True, "timeout_s": 5.0} | options
        )
        self.feed = Recording(config, self.line.submit, ManualClock(NOW), jitter=lambda: 0.0, sleep=self._sleep)
        self.task = asyncio.create_task(self.feed.run())

    async def _sleep(self, seconds: float) -> None:
        self.waits.put_nowait(seconds)
        await self.go_on.acquire()

    async def connected(self) -> None:
        await asyncio.wait_for(self.feed.connected.wait(), WAIT_S)

    async def waited(self) -> float:
        """Seconds that the feed wants to wait now."""
        return await asyncio.wait_for(self.waits.get(), WAIT_S)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=WAIT_S)
        assert self.task.cancelled()


@pytest.fixture
async def run() -> AsyncIterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(url: str, **options: Any) -> Running:
        started.append(Running(url, **options))
        return started[-1]

    yield start
    for one in started:
        await one.stop()


async def publish(broker: Broker, *messages: tuple[str, bytes], qos: int = 1, **options: Any) -> None:
    async with aiomqtt.Client("localhost", broker.port, **options) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=qos)


def vp(vehicle: int, lat: float = 60.2) -> tuple[str, bytes]:
    """A report of one bus."""
    body = {"tst": "2025-11-22T08:26:39Z", "lat": lat, "long": 25.0, "route": "1057", "dir": "1"}
    topic = f"/hfp/v2/journey/ongoing/vp/bus/0012/{vehicle:05}/1057/1/Itäkeskus (M)/10:20/1453601/3/60;24/29/11/97"
    return topic, json.dumps({"VP": body}).encode()


def sample(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_all_vectors_through_a_broker(broker: Broker, run: Callable[..., Running]) -> None:
    running = run(broker.url(), topic="#", name="all")
    await running.connected()
    await publish(broker, *((v["topic"], v["payload"].encode()) for v in VECTORS), vp(9999))
    good = [v for v in VECTORS if v["class"] == "position"]
    await running.line.count(len(good) + 1)
    assert [p.vehicle_id for p in running.line.got] == ["12/801"] * len(good) + ["12/9999"]
    stated = {v["expect"]["measured_at"] for v in good if "measured_at" in v["expect"]}
    assert stated <= {p.measured_at for p in running.line.got}
    assert all(p.received_at == NOW and p.source == "all" for p in running.line.got)
    for reason in ("not_positioned", "not_a_number", "out_of_range", "malformed"):
        expected = sum(v["class"] == reason for v in VECTORS)
        assert sample("busd_rejected_total", source="all", reason=reason) == expected > 0
    for kind in ("due", "arr", "other"):
        assert sample("busd_feed_ignored_total", feed="all", kind=kind) == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_only_positions_are_subscribed_to(broker: Broker, run: Callable[..., Running], qos: int) -> None:
    running = run(broker.url(), qos=qos, name=f"qos{qos}")
    await running.connected()
    other = next(v for v in VECTORS if v["class"] == "due")
    await publish(broker, (other["topic"], other["payload"].encode()), vp(1), qos=2)
    await running.line.count(1)
    assert [p.vehicle_id for p in running.line.got] == ["12/1"]
    assert sample("busd_feed_ignored_total", feed=f"qos{qos}", kind="due") == 0
    assert running.feed.qos == [qos]


async def test_more_messages_than_a_broker_leaves_open(broker: Broker, run: Callable[..., Running]) -> None:
    running = run(broker.url(), qos=1, name="acks")
    await running.connected()
    await publish(broker, *(vp(k) for k in range(100)))
    await running.line.count(100)


async def test_nothing_is_acknowledged_that_was_not_kept(run: Callable[..., Running]) -> None:
    """A broker of a few bytes: each connection gets one message of QoS 1 and writes down what comes back."""
    heard: list[bytes] = []
    topic, payload = vp(1)
    body = len(topic.encode()).to_bytes(2, "big") + topic.encode() + b"\0\7" + payload
    publication = b"\x32" + bytes((len(body) & 127 | 128, len(body) >> 7)) + body
    ended = asyncio.Event()

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await reader.read(1000)
        writer.write(b"\x20\2\0\0")
        subscription = await reader.read(1000)
        writer.write(b"\x90\3" + subscription[2:4] + b"\1" + publication)
        got = b""
        while b"\x40\2\0\7" not in got and (more := await reader.read(1000)):
            got += more
        heard.append(got)
        writer.close()
        if len(heard) == 2:
            ended.set()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    running = run(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", qos=1)
    running.line.refuses = True
    assert await running.waited() == 1.0
    running.line.refuses = False
    running.go_on.release()
    await asyncio.wait_for(ended.wait(), WAIT_S)
    assert [b"\x40\2\0\7" in got for got in heard] == [False, True]
    assert len(running.line.got) == 1
    server.close()


async def test_a_broker_that_goes_and_comes_back(broker: Broker, run: Callable[..., Running]) -> None:
    running = run(broker.url(), name="gone")
    await running.connected()
    await publish(broker, vp(1))
    await running.line.count(1)
    await broker.stop()
    assert await running.waited() == 1.0
    assert sample("busd_feed_up", feed="gone") == 0
    for expected in (2.0, 4.0, 8.0):
        running.go_on.release()
        assert await running.waited() == expected
    await broker.start()
    running.go_on.release()
    await running.connected()
    assert sample("busd_feed_up", feed="gone") == 1
    await publish(broker, vp(2))
    await running.line.count(2)
    assert running.feed.failures == 0


async def test_waits_have_an_end(run: Callable[..., Running]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        running = run(f"mqtt://127.0.0.1:{closed.getsockname()[1]}")
        waits = []
        for _ in range(8):
            waits.append(await running.waited())
            running.go_on.release()
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


async def test_who_is_no_broker(run: Callable[..., Running]) -> None:
    """A server that accepts and says HTTP, and one that says nothing."""

    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for answer in (http, nothing):
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        running = run(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.2)
        assert [await running.waited(), running.feed.failures] == [1.0, 1]
        server.close()


async def test_a_private_address_is_refused_unless_allowed(broker: Broker) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254"):
        config = FeedConfig(name="hsl", type="hfp", url=f"mqtt://{host}:{broker.port}")
        feed = MqttFeed(config, Line().submit, ManualClock(NOW))
        with pytest.raises(FeedError, match="private address"):
            await feed.session()


async def test_a_password_and_a_name_that_is_refused(tmp_path: Path, run: Callable[..., Running]) -> None:
    tool = need(shutil.which("mosquitto_passwd"), "mosquitto_passwd")
    passwords = tmp_path / "passwords"
    subprocess.run([tool, "-b", "-c", str(passwords), "busd", "s3cr3t"], check=True, capture_output=True)
    broker = Broker(tmp_path, ["allow_anonymous false", f"password_file {passwords}"])
    await broker.start()
    try:
        stranger = run(broker.url(), username="busd", password="wrong")
        assert await stranger.waited() == 1.0
        running = run(broker.url(), username="busd", password="s3cr3t")
        await running.connected()
        await publish(broker, vp(1), username="busd", password="s3cr3t")
        await running.line.count(1)
    finally:
        await broker.stop()


async def test_tls_checks_the_certificate_against_the_name(tmp_path: Path, run: Callable[..., Running]) -> None:
    openssl = need(shutil.which("openssl"), "openssl")
    ca, key, cert, request = (tmp_path / name for name in ("ca.pem", "key.pem", "cert.pem", "request.pem"))

    def make(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], check=True, capture_output=True)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"]
    make(*new, str(tmp_path / "ca.key"), "-x509", "-subj", "/CN=test authority", "-days", "2", "-out", str(ca))
    make(*new, str(key), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", str(request))
    make(
        *("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(tmp_path / "ca.key"), "-CAcreateserial"),
        *("-copy_extensions", "copy", "-days", "2", "-out", str(cert)),
    )
    broker = Broker(tmp_path, ["allow_anonymous true", f"certfile {cert}", f"keyfile {key}"])
    await broker.start()
    try:
        running = run(broker.url("mqtts", "localhost"), ca_file=str(ca))
        await running.connected()
        await publish(broker, vp(1), tls_context=ssl.create_default_context(cafile=str(ca)))
        await running.line.count(1)
        wrong_name = run(broker.url("mqtts", "127.0.0.1"), ca_file=str(ca))
        unknown_authority = run(broker.url("mqtts", "localhost"))
        assert [await wrong_name.waited(), await unknown_authority.waited()] == [1.0, 1.0]
    finally:
        await broker.stop()


# ---- overload --------------------------------------------------------------------------------------------------------


def message(vehicle: int) -> Message:
    topic, payload = vp(vehicle)
    return Message(topic, payload, 0, False, vehicle, None)


async def test_a_full_inbox_drops_its_oldest() -> None:
    dropped: list[int] = []
    inbox = Inbox(3, lambda message: dropped.append(message.mid))
    for vehicle in range(10):
        inbox.put_nowait(message(vehicle))
    assert [m.mid for m in inbox.drain(2)] == [7, 8]
    assert [m.mid for m in inbox.drain(2)] == [9]
    assert dropped == list(range(7))


async def test_a_burst_is_one_batch() -> None:
    line = Line()
    config = FeedConfig(name="hsl", type="hfp", url="mqtt://example.org")
    feed = MqttFeed(config, line.submit, ManualClock(NOW))
    bad = Message("/hfp/v2/x", b"", 0, False, 1, None)
    feed.take([*map(message, range(5)), bad])
    feed.take([bad])
    assert line.batches == [5]


async def test_a_flood_keeps_its_order_and_what_is_dropped_is_counted(
    broker: Broker, run: Callable[..., Running]
) -> None:
    running = run(broker.url(), queue=50, name="flood")
    await running.connected()
    await publish(broker, *(vp(k) for k in range(500)), qos=0)
    await publish(broker, vp(999))
    while not running.line.got or running.line.got[-1].vehicle_id != "12/999":
        await running.line.count(len(running.line.got) + 1)
    dropped = sample("busd_rejected_total", source="flood", reason="overload")
    assert len(running.line.got) + dropped == 501
    numbers = [int(p.vehicle_id.partition("/")[2]) for p in running.line.got]
    assert numbers == sorted(numbers)


async def test_the_configuration_opens_it() -> None:
    config = FeedConfig(name="hsl", type="hfp", url="mqtts://mqtt.example.org")
    (feed,) = open_feeds([config], Line().submit, ManualClock(NOW))
    assert isinstance(feed, MqttFeed)
    assert feed.config is config
