"""The ports for NMEA 0183 receivers: TCP streams and UDP datagrams -> `nmea.Session`s -> the line.

Everything is bounded: connections, silence, lines a second (a TCP sender is read more slowly, the datagrams of one
address are dropped and counted), and the number of addresses that UDP remembers.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import structlog

from busd import metrics
from busd.clock import Clock
from busd.config import NmeaConfig
from busd.errors import Reason
from busd.feeds import Submit
from busd.feeds.intake import Intake, Roll
from busd.feeds.nmea import Session
from busd.feeds.report import Reports
from busd.types import Rejected, VehiclePosition

log = structlog.get_logger(__name__)

MAX_SENDERS = 10_000
"""addresses whose UDP sessions are kept; the one heard longest ago gives way"""
BURST_S = 10.0
"""a sender may send this many seconds' worth of ``max_lines_per_s`` at once"""
SWEEP_S = 1.0
READ_LIMIT = 65536


class NmeaServer:
    """One ``[[nmea]]`` section. `serve_nmea` makes one; `close` ends it."""

    def __init__(
        self, config: NmeaConfig, submit: Submit, clock: Clock, vehicle_of: Callable[[str], str | None], roll: Roll
    ) -> None:
        self.config = config
        self.clock = clock
        self.intake = Intake(config.name, submit, clock, vehicle_of, roll)
        self.burst = config.max_lines_per_s * BURST_S
        self._links: set[_Stream] = set()
        self._tcp: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._swept_at = clock.monotonic()

    async def start(self) -> None:
        """Listens; OSError if an address cannot be had. With port 0 TCP and UDP get the same free one if they can."""
        config, loop = self.config, asyncio.get_running_loop()
        port = config.port
        if config.tcp:
            self._tcp = await loop.create_server(lambda: _Stream(self), config.host, port, reuse_address=True)
            port = self.port
        if config.udp:
            try:
                self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (config.host, port))
            except OSError:
                await self.close()
                raise
        self._schedule()
        log.info("nmea listening", source=config.name, host=config.host, port=self.port)

    @property
    def port(self) -> int:
        """The TCP port, else the UDP one."""
        if self._tcp is not None and self._tcp.sockets:
            return cast(int, self._tcp.sockets[0].getsockname()[1])
        return self.udp_port

    @property
    def udp_port(self) -> int:
        if self._udp is None:
            raise RuntimeError("the server is not listening")
        return cast(int, self._udp.get_extra_info("sockname")[1])

    @property
    def connections(self) -> int:
        return len(self._links)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for link in list(self._links):
            link.abort()
        await asyncio.sleep(0)

    def session(self, address: str) -> Session:
        config = self.config
        return Session(
            config.name,
            device_id=config.addresses.get(address, config.vehicle_id),
            datum=config.datum,
            checksum_required=config.checksum == "required",
        )

    def take(self, session: Session, address: str) -> None:
        """What a session has read, in to the line."""
        reports = Reports([], [])
        for event in session.events():
            if isinstance(event, VehiclePosition):
                reports.positions.append(event)
            else:
                reports.rejects.append(event)
        if reports.positions or reports.rejects:
            self.intake.take(reports, address)

    def opened(self, link: _Stream) -> bool:
        """False: there are too many."""
        if len(self._links) >= self.config.max_connections:
            return False
        self._links.add(link)
        metrics.NMEA_CONNECTIONS.labels(self.config.name).set(len(self._links))
        return True

    def lost(self, link: _Stream) -> None:
        self._links.discard(link)
        metrics.NMEA_CONNECTIONS.labels(self.config.name).set(len(self._links))

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now = self.clock.monotonic()
        elapsed, self._swept_at = now - self._swept_at, now
        for link in list(self._links):
            link.sweep(now, elapsed)
        self._schedule()


class _Stream(asyncio.Protocol):
    """One TCP connection. Nothing is ever sent."""

    def __init__(self, server: NmeaServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._address = ""
        self._load = 0.0
        self._paused = False
        self._heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._heard_at = self._server.clock.monotonic()
        if not self._server.opened(self):
            self._transport.abort()
            return
        self._session = self._server.session(self._address)

    def data_received(self, data: bytes) -> None:
        session, server = self._session, self._server
        if session is None:
            return
        self._heard_at = server.clock.monotonic()
        at = server.clock.now()
        for start in range(0, len(data), READ_LIMIT):
            session.receive_data(data[start : start + READ_LIMIT], at)
        self._load += data.count(b"\n")
        try:
            server.take(session, self._address)
        except BaseException as error:
            log.error("positions not kept, connection dropped", source=server.config.name, error=repr(error))
            self.abort()
            raise
        if session.closing is not None:
            self.abort()
        elif self._load > server.burst and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        if self._session is not None:
            self._session.end_datagram(self._server.clock.now())
            self._server.take(self._session, self._address)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.lost(self)

    def sweep(self, now: float, elapsed: float) -> None:
        self._load = max(0.0, self._load - elapsed * self._server.config.max_lines_per_s)
        if self._paused:
            if self._load <= self._server.burst / 2 and self._transport is not None:
                self._paused = False
                self._heard_at = now
                self._transport.resume_reading()
        elif now - self._heard_at > self._server.config.idle_timeout_s:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    """All UDP senders. A session each, by address and port, because a login line or a GGA counts for what follows."""

    def __init__(self, server: NmeaServer) -> None:
        self._server = server
        self._senders: OrderedDict[tuple[str, int], _Sender] = OrderedDict()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        server = self._server
        now = server.clock.monotonic()
        key = (addr[0], addr[1])
        sender = self._senders.get(key)
        if sender is None or sender.session.closing is not None:
            spent = sender.spent if sender is not None else 0.0
            sender = self._senders[key] = _Sender(server.session(addr[0]), now, spent)
            if len(self._senders) > MAX_SENDERS:
                self._senders.popitem(last=False)
        self._senders.move_to_end(key)
        sender.spent = max(0.0, sender.spent - (now - sender.at) * server.config.max_lines_per_s)
        sender.at = now
        if sender.spent > server.burst:
            dropped = Rejected(server.clock.now(), server.config.name, Reason.OVERLOAD.value)
            server.intake.take(Reports([], [dropped]), addr[0])
            return
        sender.spent += data.count(b"\n") + 1
        at = server.clock.now()
        sender.session.receive_data(data, at)
        sender.session.end_datagram(at)
        server.take(sender.session, addr[0])


class _Sender:
    __slots__ = ("at", "session", "spent")

    def __init__(self, session: Session, at: float, spent: float) -> None:
        self.session, self.at, self.spent = session, at, spent


async def serve_nmea(
    config: NmeaConfig, submit: Submit, clock: Clock, vehicle_of: Callable[[str], str | None], roll: Roll
) -> NmeaServer:
    """Opens the ports of ``config`` (0 = any free one). OSError if one cannot be had."""
    server = NmeaServer(config, submit, clock, vehicle_of, roll)
    await server.start()
    return server
