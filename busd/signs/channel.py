"""One WebSocket connection of the sign door without I/O: handshake, frames, limits, closing. No sign messages yet.

The handshake is websockets' `ServerProtocol`; after it the smaller `Protocol` takes over for control frames, size limits
and the closing handshake (a `ServerProtocol` kept for the life of a connection costs 3 kB of memory each). UTF-8,
reassembly and rates are ours.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import IntEnum

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from busd.signs.deflate import FACTORIES, Window
from busd.signs.hub import SignHub
from busd.signs.messages import MAX_CLIENT_BYTES, PATH, SUBPROTOCOL, CloseCode, bye_frame

MAX_HEAD_BYTES = 8192
MAX_CONTROL_BYTES = 64 * 1024
"""Unsent answers beyond this mean that the peer writes but does not read."""
CLOSE_S = 5.0
"""Time for the closing handshake."""
RATE_BURST = 64.0
FRAGMENT_COST = 0.25
"""Of a message: what a control frame or a fragment takes from the rate allowance."""

_ABRUPT = frozenset(
    {CloseCode.BINARY, CloseCode.NOT_UTF8, CloseCode.TOO_BIG, CloseCode.RATE, CloseCode.BAD_MESSAGE, CloseCode.TOO_SLOW}
)
"""After these nothing that the peer sends is read any more."""

_HOST = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

_wire_log = logging.getLogger("busd.signs.wire")
_wire_log.setLevel(logging.WARNING)  # websockets tells of every connection at INFO


class Phase(IntEnum):
    HEADERS = 0
    HELLO = 1
    READY = 2
    CLOSING = 3


class Channel(ABC):
    """Bytes in, text messages out to `on_text`; answers queue in order for the next write."""

    __slots__ = (
        "__weakref__",
        "_bearer",
        "_blocked_at",
        "_close_code",
        "_control",
        "_control_bytes",
        "_deadline",
        "_fragments",
        "_head",
        "_host",
        "_proto",
        "_rate_at",
        "_tokens",
        "bytes_in",
        "bytes_out",
        "eof",
        "hub",
        "must_abort",
        "phase",
        "timer_bucket",
        "window",
        "write_now",
    )

    def __init__(self, hub: SignHub) -> None:
        mono = hub.clock.monotonic()
        self.hub = hub
        self.phase = Phase.HEADERS
        self.timer_bucket = 0
        self.eof = False
        """the rim must end its side of the TCP connection once everything is written"""
        self.must_abort = False
        """the rim must drop the TCP connection now"""
        self.window: Window | None = None
        """of the peer's decompressor, where permessage-deflate was agreed on"""
        self.write_now: Callable[[bytes], object] | None = None
        """the rim's own way to the socket; a session never uses it"""
        self.bytes_in = self.bytes_out = 0
        """since somebody was told of them"""
        self._head: bytearray | None = bytearray()
        self._proto: Protocol | None = None
        self._bearer: str | None = None
        self._host = ""
        self._fragments: list[bytes] | None = None
        self._control: list[bytes] = []
        self._control_bytes = 0
        self._close_code: int | None = None
        self._blocked_at: float | None = None
        self._deadline = mono + hub.config.hello_timeout_s
        self._rate_at = mono
        self._tokens = RATE_BURST
        hub.wheel.schedule(self, self._deadline)

    # ---- what a session adds -----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def rate_per_s(self) -> float:
        """Messages a second that the peer may send in the long run."""

    @abstractmethod
    def on_text(self, data: bytes) -> None:
        """A whole text message."""

    @abstractmethod
    def leave(self) -> None:
        """The session is over: let go of everything."""

    @abstractmethod
    def on_time(self, mono: float) -> None:
        """Do what is due."""

    @abstractmethod
    def next_deadline(self) -> float:
        """Monotonic instant at which `on_time` has something to do, if nothing else happens before."""

    # ---- bytes in ----------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Bytes from the peer, cut anywhere."""
        self.bytes_in += len(data)
        if self._head is not None:
            self._receive_head(data)
        elif self._proto is not None and not self._proto.reader.eof:
            self._receive_frames(data)
        self.hub.dirty[self] = None

    def receive_eof(self) -> None:
        """The peer ended its side."""
        if self._proto is not None and not self._proto.reader.eof:
            self._proto.receive_eof()
            self._pump()
        self.leave()
        self.phase = Phase.CLOSING
        self.eof = True
        self.hub.dirty[self] = None

    def connection_lost(self) -> int:
        """The TCP connection is gone. Returns the close code to count: ours, else the peer's, else 1006."""
        self.leave()
        self.phase = Phase.CLOSING
        self.hub.wheel.forget(self)
        self.hub.dirty.pop(self, None)
        return self.close_code

    @property
    def close_code(self) -> int:
        """Ours, else the peer's, else 1006."""
        if self._close_code is not None:
            return self._close_code
        received = self._proto.close_rcvd if self._proto is not None else None
        return received.code if received is not None else 1006

    def _receive_head(self, data: bytes) -> None:
        head = self._head
        assert head is not None
        head += data
        end = head.find(b"\r\n\r\n")
        if end < 0 and len(head) <= MAX_HEAD_BYTES:
            return
        rest = bytes(head[end + 4 :]) if end >= 0 else b""
        # No logger at INFO; our own extension: websockets' default deflate costs 98 kB a connection.
        shake = ServerProtocol(
            extensions=FACTORIES, subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=0, logger=_wire_log
        )
        shake.receive_data(bytes(head[: end + 4]) if end >= 0 else bytes(head) + b"\r\n\r\n")
        self._head = None
        events = shake.events_received()
        if events and isinstance(request := events[0], Request):
            if request.path.partition("?")[0] != PATH:
                response = shake.reject(404, f"signs connect to {PATH}\n")
            elif end > MAX_HEAD_BYTES:
                response = shake.reject(431, "request too large\n")
            else:
                response = shake.accept(request)
            shake.send_response(response)
            if shake.state is State.OPEN:
                self._bearer = _bearer(request)
                self._host = _host(request)
                self._proto = Protocol(Side.SERVER, state=State.OPEN, max_size=MAX_CLIENT_BYTES, logger=_wire_log)
                self._proto.extensions = shake.extensions
                self.window = next((Window(e) for e in shake.extensions if isinstance(e, PerMessageDeflate)), None)
        self._pump(shake)
        mono = self.hub.clock.monotonic()
        if self._proto is None:
            self.phase = Phase.CLOSING
            self._deadline = mono + CLOSE_S
        else:
            self.phase = Phase.HELLO
            self._deadline = mono + self.hub.config.hello_timeout_s
        self.hub.wheel.schedule(self, self._deadline)
        if rest and self._proto is not None:
            self._receive_frames(rest)

    def _receive_frames(self, data: bytes) -> None:
        proto = self._proto
        assert proto is not None
        proto.receive_data(data)
        for event in proto.events_received():
            if self.phase is Phase.CLOSING:
                break
            assert isinstance(event, Frame)
            self._on_frame(event)
        self._pump()
        if self.phase is not Phase.CLOSING and proto.state is not State.OPEN:  # a broken frame, or the peer's close
            if proto.close_rcvd is None and proto.close_sent is not None:
                self._close_code = proto.close_sent.code
            self.begin_closing()

    def _pump(self, proto: Protocol | None = None) -> None:
        """Move what websockets wants written behind what is queued already."""
        proto = proto or self._proto
        if proto is None:
            return
        for data in proto.data_to_send():
            if data:
                self._send(data)
            else:
                self.eof = True

    def _on_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        whole = frame.fin and opcode in (Opcode.TEXT, Opcode.CONT)
        if not self._allow(1.0 if whole else FRAGMENT_COST):
            self.close(CloseCode.RATE, "too many messages")
        elif opcode is Opcode.BINARY:
            self.close(CloseCode.BINARY, "text only")
        elif opcode is Opcode.TEXT:
            if frame.fin:
                self.on_text(bytes(frame.data))
            else:
                self._fragments = [bytes(frame.data)]
        elif opcode is Opcode.CONT and self._fragments is not None:
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                data, self._fragments = b"".join(self._fragments), None
                self.on_text(data)

    def _allow(self, cost: float) -> bool:
        mono = self.hub.clock.monotonic()
        earned = (mono - self._rate_at) * self.rate_per_s
        self._tokens = min(RATE_BURST, self._tokens + earned) - cost
        self._rate_at = mono
        return self._tokens >= 0

    # ---- bytes out ---------------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        self._control.append(data)
        self._control_bytes += len(data)
        if self._control_bytes > MAX_CONTROL_BYTES:
            self._close_code = CloseCode.TOO_SLOW
            self.must_abort = True

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End this session: bye, then the close frame with the same code, then nothing."""
        proto = self._proto
        if self.phase is Phase.CLOSING:
            return
        if proto is None:
            self._close_code = code
            self.must_abort = True
        elif proto.state is State.OPEN:  # else the peer or a broken frame has ended it already
            self._close_code = code
            if code >= 4000:
                self.hub.answers_sent["bye"] += 1
                self._send(bye_frame(code, reason))
            if code in _ABRUPT:
                proto.fail(code, reason)
            else:
                proto.send_close(code, reason)
            self._pump()
        self.begin_closing()

    def begin_closing(self) -> None:
        self.leave()
        self.phase = Phase.CLOSING
        self._deadline = self.hub.clock.monotonic() + CLOSE_S
        self.hub.wheel.schedule(self, self._deadline)
        self.hub.dirty[self] = None

    def write_blocked(self) -> None:
        """The transport holds bytes it cannot get rid of; nothing more may be written until `write_resumed`."""
        if self._blocked_at is None:
            self._blocked_at = self.hub.clock.monotonic()
            self.hub.wheel.schedule(self, self._blocked_at + self.hub.config.write_deadline_s)

    def write_resumed(self) -> None:
        self._blocked_at = None
        self.hub.wheel.schedule(self, self.hub.clock.monotonic())  # meanwhile nobody looked at the slots
        self.hub.dirty[self] = None

    @property
    def blocked(self) -> bool:
        return self._blocked_at is not None


def _host(request: Request) -> str:
    """The name under which the sign knows this machine; a header that is no name counts as none."""
    names = [found[1] for value in request.headers.get_all("Host") if (found := _HOST.fullmatch(value))]
    return names[0] if len(names) == 1 else ""


def _bearer(request: Request) -> str | None:
    for value in request.headers.get_all("Authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
    return None
