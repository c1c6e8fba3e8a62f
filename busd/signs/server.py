"""The rim of the sign door: sockets, one timer, one joined write per connection and flush. All rules are in protocol.py."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import socket
from typing import cast

import structlog

from busd.bus import BoardBus
from busd.clock import Clock
from busd.config import SignsConfig
from busd.metrics import (
    SIGN_BYTES,
    SIGN_CLOSED,
    SIGN_CONFLATED,
    SIGN_CONNECTIONS,
    SIGN_FRAMES,
    SIGN_PENDING,
)
from busd.signs.channel import Channel
from busd.signs.fanout import fan_out
from busd.signs.frames import FrameCache
from busd.signs.hub import Authenticate, SignHub
from busd.signs.messages import CloseCode
from busd.signs.modes import SignModes
from busd.signs.protocol import SignSession
from busd.signs.sink import SignSink

SEND_BUFFER = 16 * 1024
"""SO_SNDBUF; Linux doubles it. Boards queued in the kernel are boards that no newer one can replace."""
READ_BUFFER = 64 * 1024
STOP_S = 4.0
"""After this a stopping server drops whoever has not closed yet; the protocol allows 5 s."""
MAX_TIMER_S = 60.0
_COUNTED_CODES = frozenset(int(code) for code in CloseCode) | {1000, 1001, 1002, 1005, 1006}

_log = structlog.get_logger(__name__)


class _Connection(asyncio.BufferedProtocol):
    """Moves bytes between one socket and its session."""

    __slots__ = ("_ended", "_server", "_transport", "session")

    def __init__(self, server: SignServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._ended = False
        self.session: SignSession | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of asyncio's
        if not self._server.admit():
            SIGN_CLOSED.labels("refused").inc()
            self._transport.abort()
            return
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the peer may be gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        # Anything the kernel does not take at once blocks the session: its slots conflate instead of a buffer growing.
        self._transport.set_write_buffer_limits(high=0)
        self.session = SignSession(self._server.hub)
        self.session.write_now = self._transport.write
        self._server.connections[self.session] = self

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.session is not None:
            self.session.receive_data(bytes(self._server.read_buffer[:nbytes]))
            self._server.flush()

    def eof_received(self) -> bool:
        if self.session is not None:
            self.session.receive_eof()
            self._server.flush()
        return False

    def pause_writing(self) -> None:
        if self.session is not None:
            self.session.write_blocked()

    def resume_writing(self) -> None:
        if self.session is not None:
            self.session.write_resumed()
            self._server.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        session = self.session
        if session is not None:
            code = session.connection_lost()
            SIGN_CLOSED.labels(str(code) if code in _COUNTED_CODES else "other").inc()
            self._server.forget(session)

    def write(self, mono: float, now_ms: int) -> None:
        """Write what the session owes, as far as the socket takes it."""
        session, transport = self.session, self._transport
        if session is None or transport is None:
            return
        if not (session.must_abort or self._ended):
            while not session.blocked:
                data = session.next_write(mono, now_ms)
                if data:
                    transport.write(data)
                if not session.more:
                    break
            if session.eof and not session.blocked and not transport.is_closing():
                self._ended = True
                if transport.can_write_eof():
                    transport.write_eof()  # half-closed: a close could reset the connection before the bye is read
                else:
                    transport.close()
        if session.must_abort:
            transport.abort()

    def fileno(self) -> int:
        return int(self._transport.get_extra_info("socket").fileno()) if self._transport is not None else -1

    @property
    def held_bytes(self) -> int:
        """Of the last write, what the kernel has not taken yet."""
        return int(self._transport.get_write_buffer_size()) if self._transport is not None else 0

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class SignServer:
    """The sign door of one process: ``await start()``, ``await stop()``. It flushes whenever the bus does.

    ``authenticate(sign_id, token)`` decides who may connect, see `busd.signs.hub.token_authenticator`. ``frames`` is
    shared with the HTTP doors; a cache of its own is made if none is given. ``sink`` hears of every sign, ``modes`` are
    asked what it should show; commands to signs go by ``hub.commands``.
    """

    def __init__(
        self,
        config: SignsConfig,
        bus: BoardBus,
        clock: Clock,
        authenticate: Authenticate,
        frames: FrameCache | None = None,
        sink: SignSink | None = None,
        modes: SignModes | None = None,
    ) -> None:
        self.hub = SignHub(
            config, bus, frames or FrameCache(bus), clock, authenticate, lambda: secrets.token_hex(6), sink, modes
        )
        self.connections: dict[Channel, _Connection] = {}
        self.read_buffer = memoryview(bytearray(READ_BUFFER))
        self._listener: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._gone = asyncio.Event()
        self._flushing = False

    @property
    def frames(self) -> FrameCache:
        return self.hub.frames

    @property
    def port(self) -> int:
        """The port that is listened on; RuntimeError before `start`."""
        if self._listener is None:
            raise RuntimeError("the sign server is not started")
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def connected(self) -> int:
        """Signs that said hello."""
        return len(self.hub.signs)

    async def start(self) -> None:
        """Listen. OSError if the port is taken."""
        config = self.hub.config
        _allow_files()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: _Connection(self), config.host, config.port, backlog=4096, reuse_address=True
        )
        self.hub.bus.on_flush(self.flush)
        self._arm()
        _log.info("signs_listening", host=config.host, port=self.port)

    async def stop(self) -> None:
        """Say bye 4001 to everybody and wait until they are gone, at most `STOP_S`; then drop the rest. Idempotent."""
        if self._listener is None:
            return
        self._listener.close()
        self.hub.bus.off_flush(self.flush)
        self._gone.clear()
        for session in list(self.connections):
            session.close(CloseCode.RESTART, "restart")
        self.flush()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), STOP_S)
        for connection in list(self.connections.values()):
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._listener.wait_closed()
        self._listener = None

    def admit(self) -> bool:
        """Room for one more connection? Some more than signs, so that a sign can replace its own dead session."""
        return len(self.connections) < self.hub.config.max_connections * 9 // 8 + 64

    def forget(self, session: SignSession) -> None:
        self.connections.pop(session, None)
        self._gauge()
        if not self.connections:
            self._gone.set()

    def flush(self) -> None:
        """One joined write for every connection that has something to write."""
        hub = self.hub
        if self._flushing:
            return  # a write may call back (pause_writing, connection_lost); the loop below sees what it adds
        self._flushing = True
        try:
            while hub.dirty or hub.changed:
                # The pace counts from the write itself: on a busy machine a flush takes a good part of min_interval.
                monotonic, now_ms = hub.clock.monotonic, hub.now_ms()
                dirty, hub.dirty = hub.dirty, {}
                connections = self.connections
                for session in dirty:
                    connection = connections.get(session)
                    if connection is not None:
                        connection.write(monotonic(), now_ms)
                changed, hub.changed = hub.changed, {}
                for audience in changed:
                    fan_out(audience, hub, now_ms)
        finally:
            self._flushing = False
        self._count()
        self._arm()

    def tick(self) -> None:
        """Let every deadline that has come do its work; called by the one timer."""
        hub = self.hub
        mono = hub.clock.monotonic()
        hub.commands.on_time(mono)
        due = hub.wheel.due(mono)
        for session in due:
            session.on_time(mono)
        self.flush()
        for session in due:
            if session in self.connections and not session.must_abort:
                hub.wheel.schedule(session, session.next_deadline())
        self._arm()

    def _arm(self) -> None:
        wheels = (self.hub.wheel.next_at, self.hub.commands.wheel.next_at)
        at = min((at for at in wheels if at is not None), default=None)
        if self._listener is None or at is None or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        delay = min(max(0.0, at - self.hub.clock.monotonic()), MAX_TIMER_S)
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.tick()

    def _count(self) -> None:
        """Plain numbers become metrics once per flush: a labelled counter costs as much as a tenth of a write."""
        hub = self.hub
        if hub.bytes_sent or hub.conflated:
            for kind, count in (*hub.answers_sent.items(), ("board", hub.boards_sent), ("same", hub.sames_sent)):
                SIGN_FRAMES.labels(kind).inc(count)
            hub.answers_sent.clear()
            hub.boards_sent = hub.sames_sent = 0
            SIGN_BYTES.inc(hub.bytes_sent)
            SIGN_CONFLATED.inc(hub.conflated)
            hub.bytes_sent = hub.conflated = 0
        self._gauge()

    def _gauge(self) -> None:
        signs = len(self.hub.signs)
        SIGN_CONNECTIONS.set(signs)
        SIGN_PENDING.set(max(0, len(self.connections) - signs))


def _allow_files() -> None:
    """As many sockets as the machine gives us without asking root: the usual default of 1,024 is a tenth of a city."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
