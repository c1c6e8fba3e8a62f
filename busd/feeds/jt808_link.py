"""One TCP connection of a terminal: the thin rim around a `Session`. Its server is in transport.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import structlog

from busd import metrics
from busd.errors import FeedError
from busd.feeds.jt808.commands import GENERAL_ANSWER, Command, CommandResult
from busd.feeds.jt808.events import CommandAnswered
from busd.feeds.jt808.session import Session
from busd.types import VehiclePosition

if TYPE_CHECKING:
    from busd.feeds.transport import Jt808Server

log = structlog.get_logger(__name__)

WRITE_BUFFER_BYTES = 16384
"""Answers waiting for a peer that does not read; beyond this its own requests are not read either."""
ACK_WEIGHT = 0.125
"""of the latest sample in the mean latency of a terminal"""
MAX_COMMANDS = 16
"""of one terminal that wait for an answer"""


class Link(asyncio.BufferedProtocol):
    """One TCP connection."""

    __slots__ = (
        "_blocked_at",
        "_closed_at",
        "_paused",
        "_server",
        "_waiting",
        "ack_max_s",
        "ack_s",
        "address",
        "cause",
        "connected_at",
        "heard_at",
        "is_watched",
        "last",
        "load",
        "opened_at",
        "phone",
        "reads",
        "rejects",
        "session",
        "standard",
        "transport",
    )

    def __init__(self, server: Jt808Server) -> None:
        self._server = server
        self.transport: asyncio.Transport | None = None
        self.cause: str | None = None
        self._blocked_at: float | None = None
        self._closed_at: float | None = None
        self.load = 0.0
        self._paused = False
        self.reads = 0
        self.address = ""
        self.session: Session
        self._waiting: dict[int, tuple[asyncio.Future[CommandResult], int]] | None = None
        self.last: VehiclePosition | None = None
        """the latest live position"""
        self.rejects: dict[str, int] | None = None
        """reason -> reports of this connection that were not used"""
        self.ack_s: float | None = None
        """mean of the sampled times from read to acknowledgement"""
        self.ack_max_s = 0.0
        self.is_watched = False
        """positions go through `Jt808Server.judge`: the phone may be in two places"""
        self.phone: str | None = None
        self.standard = 0
        self.connected_at = 0.0
        self.opened_at = self.heard_at = 0.0

    # ---- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        server = self._server
        self.session = Session(
            server.config, server.registry, server.make_code, server.shared, self.address, self._may_speak_for
        )
        self.connected_at = self._server.clock.now()
        self.opened_at = self.heard_at = self._server.clock.monotonic()
        self._server.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.view

    def buffer_updated(self, nbytes: int) -> None:
        if self.cause is None:
            self._server.batch.add(self, self._server.view[:nbytes].tobytes())

    def answered_in(self, seconds: float) -> None:
        """A sample of the time from read to acknowledgement."""
        self.ack_s = seconds if self.ack_s is None else self.ack_s + ACK_WEIGHT * (seconds - self.ack_s)
        self.ack_max_s = max(self.ack_max_s, seconds)

    def reject(self, reason: str, count: int = 1) -> None:
        """Reports of it that are not used."""
        metrics.REJECTED.labels(self._server.config.name, reason).inc(count)
        if self.rejects is None:
            self.rejects = {}
        self.rejects[reason] = self.rejects.get(reason, 0) + count

    def drop_unkept(self, error: Exception) -> None:
        """Its positions could not be kept: no answer, and the terminal sends them again."""
        log.error("positions not kept, connection dropped", error=repr(error))
        self.session.forget_recent()
        self.abort("submit")

    def _may_speak_for(self, phone: str) -> bool:
        return self._server.admit(self, phone)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.batch.run()  # what it sent before it went
        self.transport = None
        self._fail_commands()
        self._server.lost(self, self.cause or ("reset" if exc else "peer"))

    def pause_writing(self) -> None:
        self._blocked_at = self._server.clock.monotonic()
        self.pause()

    def resume_writing(self) -> None:
        self._blocked_at = None

    # ---- commands ----------------------------------------------------------------------------------------------------

    def send_command(self, command: Command) -> asyncio.Future[CommandResult]:
        """Writes it; the future gets what the terminal answers. FeedError, ValueError: it could not be sent."""
        if self.transport is None or self.cause is not None:
            raise FeedError("the connection is closing")
        waiting = self._waiting if self._waiting is not None else {}
        if len(waiting) >= MAX_COMMANDS:
            raise FeedError(f"{MAX_COMMANDS} commands to this terminal wait for an answer already")
        serial = self.session.send_command(command)
        future: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        answer_id = command.answer_id
        if answer_id is None:
            future.set_result(CommandResult(0))
        else:
            waiting[serial] = (future, answer_id)
            self._waiting = waiting
            future.add_done_callback(lambda _: waiting.pop(serial, None))
        self.transport.write(self.session.data_to_send())
        return future

    def answered(self, event: CommandAnswered) -> None:
        """0x0001 "ok" to a query that has an answer of its own is not that answer yet."""
        future, answer_id = (self._waiting or {}).get(event.serial, (None, 0))
        if future is None or future.done():
            return
        if event.message_id != answer_id and answer_id != GENERAL_ANSWER and event.result == 0:
            return
        future.set_result(CommandResult(event.result, event.parameters, event.position))

    def _fail_commands(self) -> None:
        for future, _ in list((self._waiting or {}).values()):
            if not future.done():
                future.set_exception(FeedError("the connection ended before the terminal answered"))

    # ---- for the server ----------------------------------------------------------------------------------------------

    def sweep(self, now: float, elapsed: float) -> None:
        """Looks after time: silence, deadlines, pauses."""
        config = self._server.config
        self.load = max(0.0, self.load - elapsed * config.max_messages_per_s)
        if self._closed_at is not None:
            if now - self._closed_at > config.write_deadline_s:
                self.abort(self.cause or "deadline")
        elif self._blocked_at is not None:
            if now - self._blocked_at > config.write_deadline_s:
                self.abort("slow-reader")
        elif self._paused:
            if self.load <= self._server.burst / 2 and self.transport is not None:
                self._paused = False
                self.heard_at = now
                self.transport.resume_reading()
        elif now - self.heard_at > config.idle_timeout_s:
            self.close("idle")
        elif self.phone is None and now - self.opened_at > config.auth_timeout_s:
            self.close("not-authenticated")

    def close(self, cause: str) -> None:
        """Lets the answers out, then closes; the sweep sees to it that this ends."""
        if self.cause is None and self.transport is not None:
            self.cause = cause
            self._closed_at = self._server.clock.monotonic()
            self.transport.close()

    def abort(self, cause: str) -> None:
        """Closes at once."""
        if self.transport is not None:
            self.cause = self.cause or cause
            self.transport.abort()

    def pause(self) -> None:
        if not self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()
