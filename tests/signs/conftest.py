"""A small timetable that is written down by hand, and boards for it."""

from __future__ import annotations

import array
import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import uvloop

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.signs.frames import FrameCache
from busd.signs.hub import SignHub
from busd.types import (
    Basis,
    Board,
    BoardMessage,
    DatedTrip,
    Departure,
    LineAtStop,
    StopStatus,
)

AT = 1_795_000_000.0
TRIPS = 40
STOPS = 24


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """Everything with a socket runs on both loops: uvloop's transports are not quite asyncio's."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Column(list):
    """As `gtfs.Strings`."""

    def find(self, value: str) -> int | None:
        return self.index(value) if value in self else None


class HandNetwork:
    """The part of `gtfs.Network` that boards are rendered from: 24 stops in a row, one route each way, 40 trips."""

    timezone = "Asia/Shanghai"
    default_lang = "zh"

    def __init__(self, stops: int = STOPS) -> None:
        self.stop_id = Column(f"S{k}" for k in range(stops))
        self.route_id = Column(["R8", "K1"])
        self.route_short_name = Column(["8", "K1"])
        self.route_color = Column(["0055A4", "FFFFFF"])
        self.trip_id = Column(f"T{k}" for k in range(TRIPS))
        self.trip_time_offset = array.array("q", [stops * k for k in range(TRIPS + 1)])
        self.stop_sequence = array.array("i", [10 * (k + 1) for _ in range(TRIPS) for k in range(stops)])
        self.trip_wheelchair = array.array("b", [k % 3 for k in range(TRIPS)])
        self.frequency_trip = array.array("i", [38, 39])
        self.frequency_exact = array.array("b", [0, 1])

    def find_stop(self, stop_id: str) -> int | None:
        return self.stop_id.find(stop_id)

    def stop_text(self, stop_idx: int) -> dict[str, str]:
        return {"zh": f"第{stop_idx}站", "en": f"Stop {stop_idx}", "bo": f"འབབ་ཚུགས་{stop_idx}"}

    def headsign_text(self, headsign_idx: int) -> dict[str, str]:
        return [{"zh": "火车站", "en": "Railway\x07 Station"}, {"zh": "西关什字"}][headsign_idx]


def make_departure(trip: int | DatedTrip = 17, **changes: Any) -> Departure:
    values: dict[str, Any] = {
        "trip": DatedTrip(trip, "20261118") if isinstance(trip, int) else trip,
        "stop_pos": 4,
        "route_idx": 0,
        "headsign_idx": 0,
        "sched_at": AT + 80,
        "pred_at": AT + 140.7,
        "low_at": AT + 110.2,
        "high_at": AT + 190.2,
        "basis": Basis.REALTIME,
        "status": StopStatus.OK,
        "age_s": 7.4,
        "stops_away": 2,
        "distance_m": 640.2,
        "vehicle_id": "1207",
        "occupancy": 2,
    }
    return Departure(**(values | changes))


def make_board(stop_idx: int = 4, rev: int = 18, **changes: Any) -> Board:
    values: dict[str, Any] = {
        "stop_idx": stop_idx,
        "epoch": "k3f9",
        "rev": rev,
        "at": AT + 0.123,
        "ttl_s": 90.0,
        "state": "live",
        "departures": [
            make_departure(),
            make_departure(
                18, sched_at=AT + 680, pred_at=None, basis=Basis.SCHEDULE, status=StopStatus.CANCELLED, vehicle_id=None
            ),
            make_departure(20, sched_at=AT + 1200, pred_at=None, basis=Basis.SCHEDULE, last=True),
        ],
        "lines": [LineAtStop(0, 0, AT - 41800, AT + 12200)],
        "messages": [
            BoardMessage("m1", 0, {"zh": "信息"}),
            BoardMessage("m7", 1, {"zh": "8路绕行庆阳路", "en": "Line 8 diverted via Qingyang Road"}, AT + 40000),
        ],
    }
    return Board(**(values | changes))


@pytest.fixture
def network() -> HandNetwork:
    return HandNetwork()


@pytest.fixture(scope="session")
def hand_network() -> HandNetwork:
    """The same for properties, which run their examples within one fixture."""
    return HandNetwork()


@pytest.fixture
def departure() -> Callable[..., Departure]:
    return make_departure


@pytest.fixture
def board() -> Callable[..., Board]:
    return make_board


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(AT + 1)


@pytest.fixture
def bus(network: HandNetwork) -> BoardBus:
    bus = BoardBus(network)
    bus.publish(make_board(k) for k in range(STOPS))
    return bus


@pytest.fixture
def config() -> SignsConfig:
    return SignsConfig(
        host="127.0.0.1", port=0, shared_token="demo", tokens={"own": "secret"}, hb=30, grace=30, ack=30, offline=900
    )


@pytest.fixture
def hub(config: SignsConfig, bus: BoardBus, clock: ManualClock) -> SignHub:
    from busd.signs.hub import token_authenticator

    hub = SignHub(config, bus, FrameCache(bus), clock, token_authenticator(config), lambda: "9f3a1c")
    bus.on_flush(hub.spread)  # as a rim would
    return hub


class Peer:
    """The sign's end of a session, without sockets: says JSON, reads frames."""

    KEY = "dGhlIHNhbXBsZSBub25jZQ=="

    def __init__(self, hub: SignHub, shake: bool = True) -> None:
        from busd.signs.protocol import SignSession

        self.hub = hub
        self.session = SignSession(hub)
        self.raw = b""
        self.close_code: int | None = None
        self.pings = 0
        if shake:
            self.session.receive_data(self.request())
            head, _, rest = self.take().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"Sec-WebSocket-Protocol: busd.sign.v1" in head
            self.raw = rest

    def request(self, path: str = "/v1/sign", protocol: str | None = "busd.sign.v1", extra: str = "") -> bytes:
        offer = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        return (
            f"GET {path} HTTP/1.1\r\nHost: busd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {self.KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}{extra}\r\n"
        ).encode()

    @staticmethod
    def frame(payload: bytes, opcode: int = 1, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
        size = len(payload)
        head = bytes([(0x80 if fin else 0) | rsv | opcode])
        bit = 0x80 if mask else 0
        if size < 126:
            head += bytes([bit | size])
        elif size < 65536:
            head += bytes([bit | 126]) + size.to_bytes(2, "big")
        else:
            head += bytes([bit | 127]) + size.to_bytes(8, "big")
        key = b"\x01\x02\x03\x04"
        return head + (key + bytes(x ^ key[i & 3] for i, x in enumerate(payload)) if mask else payload)

    def send(self, data: bytes) -> None:
        self.session.receive_data(data)

    def say(self, **message: Any) -> None:
        self.send(self.frame(orjson.dumps(message)))

    def hello(self, **changes: Any) -> None:
        self.say(**({"type": "hello", "v": 1, "sign": "LS-1", "token": "demo", "lang": ["en", "zh-Hans"]} | changes))

    def sub(self, *stops: str, **changes: Any) -> None:
        self.say(**({"type": "sub", "id": 1, "stops": list(stops)} | changes))

    def take(self) -> bytes:
        """What the rim would write now."""
        data = b""
        while not self.session.blocked:
            data += self.session.next_write(self.hub.clock.monotonic(), self.hub.now_ms())
            if not self.session.more:
                break
        return data

    def read(self) -> list[dict[str, Any]]:
        """Messages that came; notes close code and pings."""
        buffer, self.raw = self.raw + self.take(), b""
        messages = []
        while buffer:
            opcode, size, at = buffer[0] & 15, buffer[1], 2
            assert buffer[0] & 0xF0 == 0x80
            assert size < 128, "a server never masks"
            if size == 126:
                size, at = int.from_bytes(buffer[2:4], "big"), 4
            elif size == 127:
                size, at = int.from_bytes(buffer[2:10], "big"), 10
            payload, buffer = buffer[at : at + size], buffer[at + size :]
            if opcode == 1:
                assert self.close_code is None, "nothing follows a close"
                messages.append(orjson.loads(payload))
            elif opcode == 8:
                self.close_code = int.from_bytes(payload[:2], "big")
            elif opcode == 9:
                self.pings += 1
        return messages

    def types(self) -> list[str]:
        return [message["type"] for message in self.read()]

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        """Let the clock run and the wheel turn, as the server's timer does."""
        end = self.hub.clock.monotonic() + seconds
        while self.hub.clock.monotonic() < end - 1e-9:
            self.hub.clock.advance(step)
            turn(self.hub)


def turn(hub: SignHub) -> None:
    mono = hub.clock.monotonic()
    for session in hub.wheel.due(mono):
        session.on_time(mono)
        if not session.must_abort:
            hub.wheel.schedule(session, session.next_deadline())


@pytest.fixture
def peer(hub: SignHub) -> Callable[..., Peer]:
    def connect(ready: bool = True, **changes: Any) -> Peer:
        peer = Peer(hub)
        if ready:
            peer.hello(**changes)
            assert peer.types() == ["welcome"]
        return peer

    return connect


@pytest.fixture
def peer_class() -> type[Peer]:
    return Peer
