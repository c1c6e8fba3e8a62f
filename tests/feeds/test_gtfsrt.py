"""GTFS-Realtime: a recorded message, made-up traps, and a poller against a real HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp import web
from google.transit import gtfs_realtime_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from busd.clock import ManualClock
from busd.config import FeedConfig
from busd.errors import FeedError
from busd.feeds import KINDS
from busd.feeds.datum import wgs84_to_gcj02
from busd.feeds.gtfsrt import decode
from busd.feeds.gtfsrt_poll import Memory, Poller, public_socket, refuse_downgrade
from busd.feeds.source import is_public, wait_s
from busd.types import TripHint, VehiclePosition

RECORDED = Path(__file__).parents[2] / "../shared/data/metrotransit-2019/vehiclePositions"
NOW = 1_700_000_000.0


def message(*vehicles: tuple[str, int], header_at: int = int(NOW)) -> pb.FeedMessage:
    """A message with (vehicle id, timestamp) at made-up places."""
    feed = pb.FeedMessage()
    feed.header.gtfs_realtime_version = "2.0"
    feed.header.timestamp = header_at
    for k, (vehicle, at) in enumerate(vehicles):
        entity = feed.entity.add(id=f"e{k}")
        entity.vehicle.vehicle.id = vehicle
        entity.vehicle.timestamp = at
        entity.vehicle.position.latitude = 36.06 + k / 100
        entity.vehicle.position.longitude = 103.83
    return feed


def take(feed: pb.FeedMessage, datum: str = "wgs84"):  # type: ignore[no-untyped-def]
    return decode(feed.SerializePartialToString(), source="rt", received_at=NOW, datum=datum)


# ---- codec -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not RECORDED.is_file(), reason="needs ../shared/data")
def test_a_recorded_message() -> None:
    got = decode(RECORDED.read_bytes(), source="metro", received_at=1556740315.0)
    assert (got.header_at, len(got.positions), got.rejects, got.differential) == (1556740312.0, 11, [], False)
    first = got.positions[0]
    assert first.vehicle_id == "1011"
    assert (first.lat, first.lon) == pytest.approx((44.9733086, -93.2387466), abs=1e-6)
    assert first.bearing_deg == pytest.approx(256.645111)
    assert (first.measured_at, first.received_at, first.clock) == (1556740289.0, 1556740315.0, "device")
    assert first.label is None
    assert first.hint == TripHint(
        trip_id="14497343-MAR19-MVS-BUS-Weekday-01", service_date="20190501", route_id="2-110", stop_sequence=13
    )


def test_all_fields() -> None:
    feed = message(("7", int(NOW) - 5))
    vehicle = feed.entity[0].vehicle
    vehicle.vehicle.label = "甘A12345"
    vehicle.position.bearing, vehicle.position.speed, vehicle.position.odometer = 370.0, 8.5, 1200.0
    vehicle.occupancy_status = pb.VehiclePosition.STANDING_ROOM_ONLY
    vehicle.trip.trip_id, vehicle.trip.start_time, vehicle.trip.start_date = "t1", "25:01:30", "20220628"
    vehicle.trip.direction_id = 1
    (got,) = take(feed).positions
    assert (got.bearing_deg, got.speed_mps, got.odometer_m, got.occupancy) == (10.0, 8.5, 1200.0, 3)
    assert got.label == "甘A12345"
    assert got.hint == TripHint(trip_id="t1", service_date="20220628", start_s=90090, direction_id=1)


def test_the_time_falls_back_to_the_header_and_then_to_the_receipt() -> None:
    feed = message(("7", 0))
    (got,) = take(feed).positions
    assert (got.measured_at, got.clock) == (NOW, "receiver")
    feed.header.ClearField("timestamp")
    assert (take(feed).positions[0].measured_at, take(feed).header_at) == (NOW, None)


def test_milliseconds_are_understood() -> None:
    (got,) = take(message(("7", 1_699_999_990_500))).positions
    assert got.measured_at == 1_699_999_990.5


def test_bad_entities_are_rejects_and_the_rest_is_used() -> None:
    feed = message(("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5), ("6", 6))
    feed.entity[1].vehicle.position.latitude = math.nan
    feed.entity[2].vehicle.ClearField("position")
    feed.entity[3].vehicle.vehicle.id = "x" * 500
    feed.entity[4].is_deleted = True
    feed.entity[5].ClearField("vehicle")
    feed.entity[5].alert.header_text.translation.add(text="detour")
    got = take(feed)
    assert [p.vehicle_id for p in got.positions] == ["1"]
    assert [str(r.reason) for r in got.rejects] == ["not_a_number", "not_positioned", "malformed"]
    assert (got.deleted, got.other_entities) == (1, 1)


def test_nonsense_in_optional_fields_is_left_out() -> None:
    feed = message(("7", 1))
    vehicle = feed.entity[0].vehicle
    vehicle.position.bearing, vehicle.position.speed = math.inf, -1.0
    vehicle.occupancy_status = pb.VehiclePosition.NO_DATA_AVAILABLE
    vehicle.trip.start_time, vehicle.trip.start_date = "soon", "2022-6-28"
    (got,) = take(feed).positions
    assert (got.bearing_deg, got.speed_mps, got.occupancy, got.hint) == (None, None, None, None)


def test_a_vehicle_without_an_id_goes_by_its_label_then_its_entity() -> None:
    feed = message(("", 1), ("", 1))
    feed.entity[0].vehicle.vehicle.label = "bus 9"
    assert [p.vehicle_id for p in take(feed).positions] == ["bus 9", "e1"]


def test_the_datum_of_the_feed_is_taken_off() -> None:
    feed = message(("7", 1))
    place = feed.entity[0].vehicle.position
    place.latitude, place.longitude = wgs84_to_gcj02(36.06, 103.83)
    (got,) = take(feed, "gcj02").positions
    assert (got.lat, got.lon) == pytest.approx((36.06, 103.83), abs=1e-5)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<!DOCTYPE html><html>maintenance</html>", "web page"),
        (b'{"header": {}}', "JSON"),
        (b"", "empty"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (bytes(range(256)), "not a GTFS-Realtime message"),
        (bytes(2_000_000), "more than the limit"),
    ],
)
def test_what_is_no_message_is_one_feed_error(body: bytes, why: str) -> None:
    with pytest.raises(FeedError, match=why):
        decode(body, source="rt", received_at=NOW, max_bytes=1_000_000)


@given(st.binary(max_size=300))
def test_no_bytes_crash(body: bytes) -> None:
    with contextlib.suppress(FeedError):
        decode(body, source="rt", received_at=NOW)


@given(st.data())
def test_no_damage_of_a_good_message_crashes(data: st.DataObject) -> None:
    body = bytearray(message(("1", 5), ("2", 6)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = decode(bytes(body), source="rt", received_at=NOW)
    except FeedError:
        return
    assert all(math.isfinite(p.lat) and math.isfinite(p.lon) for p in got.positions)


# ---- memory ----------------------------------------------------------------------------------------------------------


def news(memory: Memory, feed: pb.FeedMessage) -> list[tuple[str, float]]:
    return [(p.vehicle_id, p.measured_at - NOW) for p in memory.news(take(feed), NOW)]


def test_only_newer_positions_are_news() -> None:
    memory = Memory("rt", 10)
    t = int(NOW)
    assert news(memory, message(("a", t - 9), ("b", t - 20))) == [("b", -20), ("a", -9)]
    assert news(memory, message(("a", t - 9), ("b", t - 5))) == [("b", -5)]
    assert news(memory, message(("a", t - 30), ("b", t - 5))) == []


def test_a_clock_in_the_future_does_not_shut_the_vehicle_out() -> None:
    memory = Memory("rt", 10)
    t = int(NOW)
    assert news(memory, message(("a", t + 9999))) == [("a", 9999)]
    assert news(memory, message(("a", t - 1))) == [("a", -1)]


def test_a_message_older_than_the_last_is_left_out_until_it_insists() -> None:
    memory = Memory("rt", 10)
    t = int(NOW)
    assert news(memory, message(("a", t - 9), header_at=t)) == [("a", -9)]
    assert news(memory, message(("a", t - 7), header_at=t - 60)) == []
    assert news(memory, message(("a", t - 6), header_at=t + 1)) == [("a", -6)]
    for _ in range(2):
        assert news(memory, message(("a", t - 600), header_at=t - 600)) == []
    assert news(memory, message(("a", t - 590), header_at=t - 590)) == [("a", -590)]
    assert news(memory, message(("a", t - 580), header_at=t - 580)) == [("a", -580)]


def test_a_source_that_stands_still_is_stale() -> None:
    memory = Memory("rt", 10)
    memory.news(take(message(("a", int(NOW)))), NOW)
    assert not memory.stale
    memory.note_age(NOW + 121)
    assert memory.stale
    memory.news(take(message(("a", int(NOW) + 125), header_at=int(NOW) + 125)), NOW + 126)
    assert not memory.stale


def test_a_clock_that_is_ahead_shuts_nobody_out_and_makes_nothing_new() -> None:
    memory = Memory("rt", 10)
    ahead = int(NOW) + 8 * 3600
    seen = []
    for k, measured_at in enumerate((ahead, ahead, ahead + 10, ahead + 10, int(NOW) + 40)):
        message_ = take(message(("a", measured_at), header_at=int(NOW) + 10 * k))
        seen += [p.measured_at for p in memory.news(message_, NOW + 10 * k)]
    assert seen == [ahead, ahead + 10, NOW + 40]


def test_the_schedule_of_waiting() -> None:
    assert [wait_s(10, k, 0.0) for k in range(7)] == [10, 20, 40, 80, 160, 300, 300]
    assert wait_s(10, 0, 0.5) == pytest.approx(11)
    assert wait_s(600, 3, 0.0) == 600
    assert wait_s(10, 1, 0.0, retry_after_s=120) == 120
    assert wait_s(10, 1, 0.0, retry_after_s=1e9) == 3600
    assert wait_s(1, 10**6, 0.0) == 300


# ---- poller ----------------------------------------------------------------------------------------------------------


class Source:
    """An HTTP server on a free port whose next answers are queued."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.answer = web.Response
        self.answers: list[web.StreamResponse] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return self.answers.pop(0)

    def gives(self, feed: pb.FeedMessage, **headers: str) -> None:
        body = feed.SerializeToString()
        self.answers.append(web.Response(body=body, headers={k.replace("_", "-"): v for k, v in headers.items()}))


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    source = Source()
    app = web.Application()
    app.router.add_get("/vp.pb", source.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    source.url = f"http://127.0.0.1:{port}/vp.pb"
    yield source
    await runner.cleanup()


class Line:
    def __init__(self) -> None:
        self.got: list[VehiclePosition] = []
        self.calls = 0

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        assert not historical
        self.calls += 1
        self.got.extend(positions)


def poller(source: Source, line: Line, **options: object) -> Poller:
    config = FeedConfig(**{"name": "rt", "url": source.url, "allow_private": True} | options)  # type: ignore[arg-type]
    return Poller(config, line.submit, ManualClock(NOW), jitter=lambda: 0.0)


async def test_conditional_requests_and_own_headers(source: Source) -> None:
    line = Line()
    feed = poller(source, line, headers={"X-Api-Key": "secret"})
    source.gives(message(("a", int(NOW) - 1)), ETag='"v1"', Last_Modified="Tue, 14 Nov 2023 22:13:20 GMT")
    source.answers.append(web.Response(status=304))
    assert [await feed.poll_once(), await feed.poll_once()] == [1, 0]
    first, second = source.requests
    assert first.headers["X-Api-Key"] == "secret"
    assert "If-None-Match" not in first.headers
    assert second.headers["If-None-Match"] == '"v1"'
    assert second.headers["If-Modified-Since"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert (line.calls, feed.failures) == (1, 0)
    assert line.got[0].received_at == NOW
    await feed.close()


async def test_failures_back_off_and_an_unreadable_body_is_asked_for_again(source: Source) -> None:
    line = Line()
    feed = poller(source, line)
    source.answers.append(web.Response(text="<html>sorry</html>", headers={"ETag": '"bad"'}))
    source.answers.append(web.Response(status=503, headers={"Retry-After": "77"}))
    source.gives(message(("a", int(NOW))))
    assert await feed.poll_once() == 0
    assert await feed.poll_once() == 0
    assert (feed.failures, feed._retry_after_s) == (2, 77.0)
    assert await feed.poll_once() == 1
    assert feed.failures == 0
    assert "If-None-Match" not in source.requests[2].headers
    await feed.close()


async def test_an_answer_that_is_too_large_is_cut_off(source: Source) -> None:
    feed = poller(source, Line(), max_bytes=100_000)
    source.answers.append(web.Response(body=bytes(5_000_000)))
    assert await feed.poll_once() == 0
    assert feed.failures == 1
    await feed.close()


async def test_a_server_that_is_slow_or_gone() -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/vp.pb", hang)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/vp.pb"
    config = FeedConfig(name="rt", url=url, timeout_s=0.05, allow_private=True)
    feed = Poller(config, Line().submit, ManualClock(NOW))
    assert await feed.poll_once() == 0
    await runner.cleanup()
    assert await feed.poll_once() == 0
    assert feed.failures == 2
    await feed.close()


async def test_a_private_address_is_refused_unless_allowed(source: Source) -> None:
    feed = poller(source, Line(), allow_private=False)
    source.gives(message(("a", int(NOW))))
    assert await feed.poll_once() == 0
    assert (feed.failures, source.requests) == (1, [])
    await feed.close()
    for address in ("10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0"):
        with pytest.raises(PermissionError):
            public_socket((2, 1, 6, "", (address, 80)))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("fd00::1", False),
    ],
)
def test_what_is_a_public_address(address: str, public: bool) -> None:
    """169.254.169.254 by any name is the door to a cloud's secrets."""
    assert is_public(address) is public


def test_a_redirect_may_not_leave_https() -> None:
    secure, plain = (FeedConfig(name="rt", url=f"{scheme}://feed.example/vp.pb") for scheme in ("https", "http"))
    for config, scheme in ((secure, "https"), (plain, "http"), (plain, "https")):
        refuse_downgrade(config, scheme)
    with pytest.raises(FeedError, match="from https to http"):
        refuse_downgrade(secure, "http")


async def test_a_name_that_leads_inside_is_refused(source: Source) -> None:
    feed = poller(source, Line(), allow_private=False, url=source.url.replace("127.0.0.1", "localhost"))
    assert await feed.poll_once() == 0
    assert (feed.failures, source.requests) == (1, [])
    await feed.close()


async def test_a_redirect_does_not_carry_own_headers_away(source: Source) -> None:
    feed = poller(source, Line(), headers={"X-Api-Key": "secret"})
    source.answers.append(web.Response(status=302, headers={"Location": source.url}))
    source.gives(message(("a", int(NOW))))
    assert await feed.poll_once() == 0
    assert len(source.requests) == 1
    await feed.close()


async def test_a_file_can_be_polled(tmp_path: Path) -> None:
    path = tmp_path / "a b.pb"
    path.write_bytes(message(("a", int(NOW))).SerializeToString())
    line = Line()
    config = FeedConfig(name="rt", url=path.as_uri(), allow_private=True)
    feed = Poller(config, line.submit, ManualClock(NOW))
    assert [await feed.poll_once(), await feed.poll_once()] == [1, 0]
    path.unlink()
    assert await feed.poll_once() == 0
    assert feed.failures == 1


async def test_the_loop_goes_on_after_anything(source: Source) -> None:
    line = Line()
    waits: list[float] = []
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            done.set()
            await asyncio.Event().wait()

    config = FeedConfig(name="rt", url=source.url, allow_private=True)
    feed = Poller(config, line.submit, ManualClock(NOW), jitter=lambda: 0.0, sleep=sleep)
    source.answers.append(web.Response(status=500))
    source.answers.append(web.Response(body=b"\x00"))
    source.gives(message(("a", int(NOW)), ("b", int(NOW))))
    task = asyncio.create_task(feed.run())
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert waits == [20.0, 40.0, 10.0]
    assert [p.vehicle_id for p in line.got] == ["a", "b"]
    assert line.calls == 1


def test_every_kind_of_feed_in_the_registry_can_be_loaded() -> None:
    assert {"gtfs-rt", "jt808", "tides"} <= set(KINDS)
    for kind in KINDS.values():
        assert callable(kind.load_codec())
        if kind.transport is not None:
            assert callable(kind.load_transport())
    with pytest.raises(ValueError, match="files"):
        KINDS["tides"].load_transport()
