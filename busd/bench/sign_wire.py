"""One sign and its server without sockets, and every byte between them; the reference sign speaks with real sessions.

Every frame in both directions is counted as it would be on the wire, compressed where the two have agreed on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import orjson
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.signs.fanout import fan_out
from busd.signs.frames import FrameCache
from busd.signs.hub import SignHub
from busd.signs.messages import PATH, SUBPROTOCOL
from busd.signs.protocol import SignSession
from busd.signs.reference import ReferenceSign
from busd.types import Board
from gtfs.network import Network

LANGS = ("zh-Hans", "en", "bo")
DEPARTURES = 10


@dataclass(frozen=True)
class Profile:
    """What server and sign agree on."""

    name: str
    config: SignsConfig
    min_interval: float
    tele_s: float
    deflate: bool


@dataclass
class Wire:
    """One sign and its session, and every byte between them."""

    profile: Profile
    hub: SignHub
    stop_id: str
    messages: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    writes: int = 0

    def __post_init__(self) -> None:
        profile = self.profile
        self.sign = ReferenceSign(
            f"BILL-{profile.name}-{self.stop_id}",
            [self.stop_id],
            LANGS,
            token="bill",
            max_deps=DEPARTURES,
            min_interval=profile.min_interval,
            tele_s=profile.tele_s,
        )
        self.session = SignSession(self.hub)
        offer = [ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5})] if profile.deflate else None
        self._client = ClientProtocol(
            parse_uri(f"ws://signs.example{PATH}"), subprotocols=[Subprotocol(SUBPROTOCOL)], extensions=offer
        )
        self._client.send_request(self._client.connect())
        self._count("handshake", self._to_server())
        self._count("handshake", self._to_sign())
        self.sign.connected(self.hub.clock.monotonic())
        self.speak()

    def speak(self) -> None:
        """What the sign has to say goes to the server, its answers come back, until nobody has anything left."""
        while messages := self.sign.messages_to_send():
            for message in messages:
                self._client.send_text(message)
                self._count("sign:" + orjson.loads(message)["type"], self._to_server())
            self.listen()

    def listen(self) -> None:
        """What the server owes now goes to the sign, which shows it."""
        before = self.sign.boards.get(self.stop_id)
        if self._to_sign() == 0:
            return
        mono = self.hub.clock.monotonic()
        if self.sign.boards.get(self.stop_id) is not before:
            self.sign.drawn(self.sign.glass(self.stop_id, mono), mono, 20)
        self.speak()

    def tick(self) -> None:
        if not self.sign.tick(self.hub.clock.monotonic()):
            raise RuntimeError(f"the sign at {self.stop_id} lost its server")
        self.speak()

    def _to_server(self) -> int:
        data = b"".join(self._client.data_to_send())
        if data:
            self.session.receive_data(data)
        return len(data)

    def _to_sign(self) -> int:
        """One write of the server; its frames are counted one by one."""
        clock = self.hub.clock
        data = b""
        while part := self.session.next_write(clock.monotonic(), self.hub.now_ms()):
            data += part
            if not self.session.more:
                break
        if not data:
            return 0
        self.writes += 1
        self._client.receive_data(data)
        frames = [event for event in self._client.events_received() if isinstance(event, Frame)]
        for frame, size in zip(frames, _frame_sizes(data) if frames else (), strict=True):
            if frame.opcode is Opcode.TEXT:
                self.sign.receive(bytes(frame.data), clock.monotonic())
                self._count("server:" + orjson.loads(frame.data)["type"], size)
            else:
                self.sign.heard(clock.monotonic())
                self._count("server:ping", size)
        if frames and (answer := self._to_server()):
            self._count("sign:pong", answer)
        return len(data)

    def _count(self, kind: str, size: int) -> None:
        self.messages[kind] += 1
        self.sizes[kind] += size


def _frame_sizes(data: bytes) -> Iterator[int]:
    """Of unmasked WebSocket frames (RFC 6455 5.2)."""
    at = 0
    while at < len(data):
        size, head = data[at + 1], 2
        if size == 126:
            size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
        yield head + size
        at += head + size


class Office:
    """The sign door of one profile, without sockets."""

    def __init__(self, profile: Profile, network: Network, clock: ManualClock) -> None:
        self.profile = profile
        self.bus = BoardBus(network)
        frames = FrameCache(self.bus)
        self.hub = SignHub(profile.config, self.bus, frames, clock, lambda sign, token: token == "bill", lambda: "b111")
        self.wires: list[Wire] = []

    def connect(self, stop_ids: Sequence[str]) -> None:
        self.wires = [Wire(self.profile, self.hub, stop_id) for stop_id in stop_ids]

    def publish(self, boards: Sequence[Board]) -> None:
        ttl_s = float(self.profile.config.ttl)
        self.bus.publish(msgspec.structs.replace(board, ttl_s=ttl_s) for board in boards)
        self._flush()

    def on_time(self) -> None:
        hub, mono = self.hub, self.hub.clock.monotonic()
        due = hub.wheel.due(mono)
        for channel in due:
            channel.on_time(mono)
        self._flush()
        for channel in due:
            hub.wheel.schedule(channel, channel.next_deadline())
        for wire in self.wires:
            wire.tick()

    def _flush(self) -> None:
        hub = self.hub
        while hub.changed or hub.dirty:
            changed, hub.changed = hub.changed, {}
            for audience in changed:
                fan_out(audience, hub, hub.now_ms())
            hub.dirty = {}
            for wire in self.wires:
                wire.listen()
