"""The port the terminals call: moves bytes between sockets and `Session`s, and keeps everything bounded.

Order: bytes -> session -> positions submitted (the journal has them) -> acknowledgements, one write a connection; for all
reads of one turn of the loop together (jt808_batch.py). If `submit` raises, nothing of these reads is acknowledged and
the connections are dropped; the terminals send it again.

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
from busd.errors import FeedError
from busd.feeds import Submit
from busd.feeds.jt808.commands import Command, CommandResult
from busd.feeds.jt808.conflicts import Conflict
from busd.feeds.jt808.events import (
    Authenticated,
    CommandAnswered,
    Deregistered,
    Event,
    PositionReported,
    Refused,
)
from busd.feeds.jt808.message import ACKNOWLEDGED_ONLY, MessageId
from busd.feeds.jt808.shared import Shared
from busd.feeds.jt808_batch import Batch
from busd.feeds.jt808_link import Link
from busd.feeds.jt808_rivals import Rivals
from busd.registry import Device, DeviceRegistry, normal_phone
from busd.types import Rejected, VehiclePosition

log = structlog.get_logger(__name__)

READ_BYTES = 65536
BACKLOG = 1024
SWEEP_S = 1.0
COMMAND_S = 20.0
"""A terminal has this long to answer a command."""
BURST_S = 10.0
"""A catch-up may take this many seconds' worth of ``max_messages_per_s`` at once; then reading pauses, nothing is lost."""
PENDING_GRACE_S = 5.0
"""Where an address has too many unauthenticated connections, the oldest gives way if it has had this long."""

_KNOWN_IDS = ACKNOWLEDGED_ONLY | set(MessageId)


class ConnectedTerminal(msgspec.Struct, frozen=True):
    """An authenticated connection, for lists."""

    phone: str
    vehicle_id: str
    address: str
    standard: int
    connected_at: float
    silent_s: float
    frames: int = 0
    """good ones of this connection"""
    last_fix_at: float | None = None
    """measured_at of the latest live position of this connection"""
    lat: float | None = None
    lon: float | None = None
    rejects: dict[str, int] = {}
    """reason -> reports of this connection that were not used"""
    ack_s: float | None = None
    """mean of sampled times from read to acknowledgement"""
    ack_max_s: float = 0.0
    clock_offset_s: float | None = None
    """what is added to the terminal's times; None = its clock is right, or its offset not known"""
    driver: str = ""
    is_quarantined: bool = False


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
        self.now, self.monotonic = clock.now, clock.monotonic
        self.shared = Shared()
        self.rivals = Rivals(config, clock)
        self.tally = self.shared.tally
        self.view = memoryview(bytearray(READ_BYTES))
        self.make_code = make_code
        self.burst = config.max_messages_per_s * BURST_S
        self.submit = submit
        self.batch = Batch(self)
        self._links: set[Link] = set()
        self._pending: dict[str, dict[Link, None]] = {}
        self._by_phone: dict[str, Link] = {}
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
            lambda: Link(self), self.config.host, self.config.port, backlog=BACKLOG, reuse_address=True
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
        return [self._describe(phone, link) for phone, link in sorted(self._by_phone.items())]

    def _describe(self, phone: str, link: Link) -> ConnectedTerminal:
        device, last, now = link.session.device, link.last, self.clock.now()
        return ConnectedTerminal(
            phone,
            device.name if device else phone,
            link.address,
            link.standard,
            link.connected_at,
            self.clock.monotonic() - link.heard_at,
            link.session.good_frames,
            None if last is None else last.measured_at,
            None if last is None else last.lat,
            None if last is None else last.lon,
            dict(link.rejects or {}),
            link.ack_s,
            link.ack_max_s,
            self.shared.clocks.corrected((self.config.name, phone), 0.0, now),
            device.driver if device else "",
            self.rivals.watch.holds(phone, now),
        )

    def conflicts(self) -> list[Conflict]:
        """Phones that two terminals seem to have (see jt808/conflicts.py), until quiet or released."""
        return self.rivals.conflicts()

    def release(self, phone: str) -> bool:
        """An operator's word that the phone is one terminal; its positions are used again. False: no such conflict."""
        return self.rivals.release(phone)

    async def send_command(self, phone: str, command: Command, timeout_s: float = COMMAND_S) -> CommandResult:
        """Sends a command to a connected terminal and waits for its answer. FeedError: it is not connected, or the
        connection ended before; TimeoutError: no answer; ValueError: a command that cannot be encoded."""
        link = self._by_phone.get(normal_phone(phone))
        if link is None:
            raise FeedError(f"terminal {normal_phone(phone)} is not connected")
        return await asyncio.wait_for(link.send_command(command), timeout_s)

    def pending(self, address: str) -> int:
        """Connections of an address that have not authenticated yet."""
        return len(self._pending.get(address, ()))

    async def close(self) -> None:
        """Stops listening, lets waiting answers out, closes every connection and writes the registry."""
        self._closed = True
        self.batch.run()
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

    def opened(self, link: Link) -> None:
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

    def lost(self, link: Link, cause: str) -> None:
        """A connection has ended. Only that of the newest login of a phone takes the terminal offline."""
        metrics.JT808_CLOSED.labels(cause).inc()
        self._links.discard(link)
        self._not_pending(link)
        metrics.JT808_CONNECTIONS.set(len(self._links))
        phone = link.phone
        if phone is not None and self._by_phone.get(phone) is link:
            self.rivals.left(link)
            del self._by_phone[phone]
            device = self.registry.find_device(phone)
            if device is not None:
                self.registry.seen(device, self.clock.now())
        if not self._links:
            self._empty.set()

    def handle(self, link: Link, events: list[Event]) -> None:
        """Events of one read, in their order; positions that follow each other go in together."""
        run: list[VehiclePosition] = []
        historical = False
        for event in events:
            if type(event) is PositionReported:
                if run and event.historical is not historical:
                    self._pass_on(link, run, historical)
                    run = []
                historical = event.historical
                run.append(event.position)
            elif type(event) is Rejected:
                link.reject(event.reason)
            elif type(event) is Authenticated:
                self._claim(link, event.device, event.standard)
            elif type(event) is Deregistered:
                self._release(link)
            elif type(event) is Refused:
                metrics.JT808_REFUSED.labels(event.cause).inc()
            elif type(event) is CommandAnswered:
                link.answered(event)
        if run:
            self._pass_on(link, run, historical)

    def _pass_on(self, link: Link, run: list[VehiclePosition], historical: bool) -> None:
        if not historical:
            link.last = run[-1]
        if link.is_watched:
            run = self.judge(link, run, historical)
        if run:
            self.submit(run, historical)

    # ---- which connection a phone has --------------------------------------------------------------------------------

    def judge(self, link: Link, positions: list[VehiclePosition], historical: bool = False) -> list[VehiclePosition]:
        """The positions that may be used; asked for phones under watch only."""
        return self.rivals.judge(link, positions, historical)

    def admit(self, link: Link, phone: str) -> bool:
        """A terminal has shown the right code: may this connection be it?"""
        older = self._by_phone.get(phone)
        return older is None or older is link or self.rivals.admits(older, link, phone)

    def _claim(self, link: Link, device: Device, standard: int) -> None:
        """The newest login of a phone wins; the older connection is closed, and its end changes nothing any more."""
        if link.phone is not None and link.phone != device.phone:
            self._release(link)
        older = self._by_phone.get(device.phone)
        if older is not None and older is not link:
            self.rivals.left(older)
            older.close("superseded")
        link.phone, link.standard = device.phone, standard
        self._by_phone[device.phone] = link
        self._not_pending(link)
        link.is_watched = self.rivals.watch.is_watching(device.phone, self.clock.now())

    def _release(self, link: Link) -> None:
        """The connection stays, the terminal behind it has signed off."""
        if link.phone is not None and self._by_phone.get(link.phone) is link:
            del self._by_phone[link.phone]
        link.phone = None

    def _not_pending(self, link: Link) -> None:
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
        self.tally.settle()
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
