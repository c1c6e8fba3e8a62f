"""The port the terminals call: moves bytes between sockets and `Session`s, and keeps everything bounded.

Order of one read: bytes -> session -> positions submitted (the journal has them) -> all acknowledgements in one write.
If `submit` raises, nothing of that read is acknowledged and the connection is dropped; the terminal sends it again.

Reads go through one buffer that all connections share (`asyncio.BufferedProtocol`): plain protocols allocate up to
256 KiB for every read, and trimming that costs more than reading. Timers are shared too: one sweep looks after all
connections, whose own share of memory is the session and a few numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import Callable
from typing import cast

import msgspec
import structlog

from busd import metrics
from busd.clock import Clock
from busd.config import Jt808Config
from busd.feeds import Submit
from busd.feeds.jt808.events import Authenticated, Deregistered, Event, PositionReported, Refused
from busd.feeds.jt808.message import MessageId
from busd.feeds.jt808.session import ACKNOWLEDGED_ONLY, Session, Tally
from busd.registry import Device, DeviceRegistry
from busd.types import Rejected, VehiclePosition

log = structlog.get_logger(__name__)

READ_BYTES = 65536
WRITE_BUFFER_BYTES = 16384
"""Answers waiting for a peer that does not read; beyond this its own requests are not read either."""
BACKLOG = 1024
SWEEP_S = 1.0
BURST_S = 10.0
"""A catch-up may take this many seconds' worth of ``max_messages_per_s`` at once; then reading pauses, nothing is lost."""
PENDING_GRACE_S = 5.0
"""Where an address has too many unauthenticated connections, the oldest gives way if it has had this long."""
ACK_SAMPLE = 16
"""Every so many reads are timed."""

_KNOWN_IDS = ACKNOWLEDGED_ONLY | set(MessageId)


class ConnectedTerminal(msgspec.Struct, frozen=True):
    """An authenticated connection, for lists."""

    phone: str
    vehicle_id: str
    address: str
    standard: int
    connected_at: float
    silent_s: float


class Jt808Server:
    """The open port. `serve_jt808` makes one; `close` ends it."""

    def __init__(
        self,
        config: Jt808Config,
        submit: Submit,
        clock: Clock,
        registry: DeviceRegistry,
        make_code: Callable[[], bytes],
    ) -> None:
        self.config = config
        self.clock = clock
        self.registry = registry
        self.tally = Tally()
        self.view = memoryview(bytearray(READ_BYTES))
        self.make_code = make_code
        self.burst = config.max_messages_per_s * BURST_S
        self._submit = submit
        self._links: set[_Link] = set()
        self._pending: dict[str, dict[_Link, None]] = {}
        self._by_phone: dict[str, _Link] = {}
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._closed = False
        self._counted: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._swept_at = clock.monotonic()

    # ---- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens; OSError if the address cannot be had."""
        self.registry.list_devices(self.config.terminals)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Link(self), self.config.host, self.config.port, backlog=BACKLOG, reuse_address=True
        )
        self._schedule()
        log.info("jt808 listening", host=self.config.host, port=self.port, mode=self.config.mode)

    @property
    def port(self) -> int:
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the server is not listening")
        return cast(int, self._server.sockets[0].getsockname()[1])

    def connected(self) -> list[ConnectedTerminal]:
        """Every terminal that is connected now, once, by phone."""
        now = self.clock.monotonic()
        return [
            ConnectedTerminal(
                phone,
                link.session.device.name if link.session.device else phone,
                link.address,
                link.standard,
                link.connected_at,
                now - link.heard_at,
            )
            for phone, link in sorted(self._by_phone.items())
        ]

    def pending(self, address: str) -> int:
        """Connections of an address that have not authenticated yet."""
        return len(self._pending.get(address, ()))

    async def close(self) -> None:
        """Stops listening, lets waiting answers out, closes every connection and writes the registry."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        if self._timer is not None:
            self._timer.cancel()
        for link in list(self._links):
            link.close("shutdown")
        if self._links:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), self.config.write_deadline_s)
        for link in list(self._links):
            link.abort("shutdown")
        if self._writer is not None:
            await self._writer
        self._count()
        await self._write_registry()

    # ---- what connections tell ---------------------------------------------------------------------------------------

    def opened(self, link: _Link) -> None:
        """Takes a connection in, or turns it away."""
        metrics.JT808_ACCEPTED.inc()
        self._links.add(link)
        self._empty.clear()
        metrics.JT808_CONNECTIONS.set(len(self._links))
        if self._closed or len(self._links) > self.config.max_connections:
            link.abort("too-many")
            return
        waiting = self._pending.setdefault(link.address, {})
        if len(waiting) >= self.config.max_pending_per_address:
            oldest = next(iter(waiting))
            if link.opened_at - oldest.opened_at < PENDING_GRACE_S:
                link.abort("too-many-pending")
                return
            oldest.abort("too-many-pending")
        waiting[link] = None

    def lost(self, link: _Link, cause: str) -> None:
        """A connection has ended. Only that of the newest login of a phone takes the terminal offline."""
        metrics.JT808_CLOSED.labels(cause).inc()
        self._links.discard(link)
        self._not_pending(link)
        metrics.JT808_CONNECTIONS.set(len(self._links))
        phone = link.phone
        if phone is not None and self._by_phone.get(phone) is link:
            del self._by_phone[phone]
            device = self.registry.find_device(phone)
            if device is not None:
                self.registry.seen(device, self.clock.now())
        if not self._links:
            self._empty.set()

    def handle(self, link: _Link, events: list[Event]) -> None:
        """Events of one read, in their order; positions that follow each other go in together."""
        run: list[VehiclePosition] = []
        historical = False
        for event in events:
            if type(event) is PositionReported:
                if run and event.historical is not historical:
                    self._submit(run, historical)
                    run = []
                historical = event.historical
                run.append(event.position)
            elif type(event) is Rejected:
                metrics.REJECTED.labels(self.config.name, event.reason).inc()
            elif type(event) is Authenticated:
                self._claim(link, event.device, event.standard)
            elif type(event) is Deregistered:
                self._release(link)
            elif type(event) is Refused:
                metrics.JT808_REFUSED.labels(event.cause).inc()
        if run:
            self._submit(run, historical)

    def _claim(self, link: _Link, device: Device, standard: int) -> None:
        """The newest login of a phone wins; the older connection is closed, and its end changes nothing any more."""
        if link.phone is not None and link.phone != device.phone:
            self._release(link)
        link.phone, link.standard = device.phone, standard
        older = self._by_phone.get(device.phone)
        self._by_phone[device.phone] = link
        self._not_pending(link)
        if older is not None and older is not link:
            older.close("superseded")

    def _release(self, link: _Link) -> None:
        """The connection stays, the terminal behind it has signed off."""
        if link.phone is not None and self._by_phone.get(link.phone) is link:
            del self._by_phone[link.phone]
        link.phone = None

    def _not_pending(self, link: _Link) -> None:
        waiting = self._pending.get(link.address)
        if waiting is not None:
            waiting.pop(link, None)
            if not waiting:
                del self._pending[link.address]

    # ---- the sweep ---------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """One timer for all connections; a short idle time-out (tests, trials) makes it run more often."""
        every = min(SWEEP_S, self.config.idle_timeout_s / 4, self.config.auth_timeout_s / 4)
        self._timer = asyncio.get_running_loop().call_later(every, self._sweep)

    def _sweep(self) -> None:
        now = self.clock.monotonic()
        elapsed, self._swept_at = now - self._swept_at, now
        for link in list(self._links):
            link.sweep(now, elapsed)
        self._count()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write_registry())
        self._schedule()

    def _count(self) -> None:
        """Plain integers to Prometheus, once a sweep: a labelled counter costs as much as decoding a frame."""
        for tallied, counted, counter in zip(
            (self.tally.frames, self.tally.replies), self._counted, (metrics.JT808_FRAMES, metrics.JT808_REPLIES)
        ):
            for message_id, count in tallied.items():
                more = count - counted.get(message_id, 0)
                if more:
                    counter.labels(f"{message_id:04x}" if message_id in _KNOWN_IDS else "other").inc(more)
                    counted[message_id] = count

    async def _write_registry(self) -> None:
        changes = self.registry.take_changes()
        if changes is None:
            return
        try:
            await asyncio.to_thread(self.registry.write_changes, changes)
        except sqlite3.Error as error:
            self.registry.give_back(changes)
            log.warning("device registry not written", error=str(error))


class _Link(asyncio.BufferedProtocol):
    """One TCP connection."""

    __slots__ = (
        "_blocked_at",
        "_cause",
        "_closed_at",
        "_load",
        "_paused",
        "_reads",
        "_server",
        "_transport",
        "address",
        "connected_at",
        "heard_at",
        "opened_at",
        "phone",
        "session",
        "standard",
    )

    def __init__(self, server: Jt808Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._cause: str | None = None
        self._blocked_at: float | None = None
        self._closed_at: float | None = None
        self._load = 0.0
        self._paused = False
        self._reads = 0
        self.session = Session(server.config, server.registry, server.make_code, server.tally)
        self.address = ""
        self.phone: str | None = None
        self.standard = 0
        self.connected_at = 0.0
        self.opened_at = self.heard_at = 0.0

    # ---- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self.connected_at = self._server.clock.now()
        self.opened_at = self.heard_at = self._server.clock.monotonic()
        self._server.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.view

    def buffer_updated(self, nbytes: int) -> None:
        server, session = self._server, self.session
        if self._cause is not None or self._transport is None:
            return
        began = server.clock.monotonic()
        frames = session.good_frames
        session.receive_data(server.view[:nbytes].tobytes(), server.clock.now())
        frames = session.good_frames - frames
        if frames:
            self.heard_at = began
            self._load += frames
        try:
            server.handle(self, session.events())
        except BaseException as error:
            log.error("positions not kept, connection dropped", error=repr(error))
            session.forget_recent()
            self.abort("submit")
            raise
        out = session.data_to_send()
        if out:
            self._transport.write(out)
            self._reads += 1
            if self._reads % ACK_SAMPLE == 1:
                metrics.ACK_SECONDS.observe(server.clock.monotonic() - began)
        if session.closing is not None:
            self.close(session.closing)
        elif self._load > server.burst:
            self._pause()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.lost(self, self._cause or ("reset" if exc else "peer"))

    def pause_writing(self) -> None:
        self._blocked_at = self._server.clock.monotonic()
        self._pause()

    def resume_writing(self) -> None:
        self._blocked_at = None

    # ---- for the server ----------------------------------------------------------------------------------------------

    def sweep(self, now: float, elapsed: float) -> None:
        """Looks after time: silence, deadlines, pauses."""
        config = self._server.config
        self._load = max(0.0, self._load - elapsed * config.max_messages_per_s)
        if self._closed_at is not None:
            if now - self._closed_at > config.write_deadline_s:
                self.abort(self._cause or "deadline")
        elif self._blocked_at is not None:
            if now - self._blocked_at > config.write_deadline_s:
                self.abort("slow-reader")
        elif self._paused:
            if self._load <= self._server.burst / 2 and self._transport is not None:
                self._paused = False
                self.heard_at = now
                self._transport.resume_reading()
        elif now - self.heard_at > config.idle_timeout_s:
            self.close("idle")
        elif self.phone is None and now - self.opened_at > config.auth_timeout_s:
            self.close("not-authenticated")

    def close(self, cause: str) -> None:
        """Lets the answers out, then closes; the sweep sees to it that this ends."""
        if self._cause is None and self._transport is not None:
            self._cause = cause
            self._closed_at = self._server.clock.monotonic()
            self._transport.close()

    def abort(self, cause: str) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._cause = self._cause or cause
            self._transport.abort()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()


async def serve_jt808(
    config: Jt808Config,
    submit: Submit,
    clock: Clock,
    registry: DeviceRegistry,
    make_code: Callable[[], bytes] | None = None,
) -> Jt808Server:
    """Opens the port of ``config`` (0 = any free one) for terminals. ``make_code`` gives new authentication codes;
    by default 16 random hex digits. OSError if the port cannot be had."""
    server = Jt808Server(config, submit, clock, registry, make_code or new_code)
    await server.start()
    return server


def new_code() -> bytes:
    """An authentication code: 64 random bits in 16 characters, which every terminal can store."""
    return secrets.token_hex(8).encode()
