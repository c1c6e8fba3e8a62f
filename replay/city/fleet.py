"""The fleet: every bus that is out holds a TCP connection to the gateway and reports over it.

Runs in a process of its own (`main`), so that the daemon's loop has the machine's other core and the two meet only on
the wire. The parent says on standard input what to do, one JSON value a line: `FleetOptions`, so that the traffic can be
made while the daemon starts, then the gateway's port. When that pipe ends, the parent is gone and so is the fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import msgspec
import structlog

from busd.clock import Clock, ScaledClock, SystemClock
from busd.log import set_up_logging
from replay.city import dice
from replay.city.feed import SHANGHAI
from replay.city.gps import Receivers
from replay.city.roads import Scenario
from replay.city.terminal import Terminal
from replay.city.timetable import make_plan
from replay.city.traffic import Traffic

log = structlog.get_logger(__name__)

STEP_S = 0.1
"""real seconds between two looks at the city; reports of one step leave together"""
CONNECT_TIMEOUT_S = 5.0
RETRY_FIRST_S, RETRY_LONGEST = 0.5, 40
"""the first wait before a new connect, and how many times longer it may become"""
KEEP_S = 60.0
"""city seconds that traffic remembers"""


class FleetOptions(msgspec.Struct, frozen=True):
    """What the parent tells the fleet."""

    host: str = "127.0.0.1"
    seed: int = 1
    buses: int = 120
    timezone: str = SHANGHAI
    speed: float = 1.0
    city_at: float | None = None
    """city time that belongs to ``real_at``; None = the city's time is the real one"""
    real_at: float = 0.0
    slow_lines: dict[str, float] = {}
    late_s: float = 0.0


class Fleet:
    """Buses of one `Traffic` as terminals. ``clock.now()`` is the city's time, ``monotonic()`` that of the sockets."""

    def __init__(
        self, traffic: Traffic, seed: int, host: str, port: int, clock: Clock, retry_s: float = RETRY_FIRST_S
    ) -> None:
        self.clock = clock
        self._retry_s = retry_s
        self._traffic = traffic
        self._receivers = Receivers(traffic, seed, clock.now())
        self._host, self._port = host, port
        self._links: dict[int, _Link] = {}
        self._terminals: dict[int, Terminal] = {}
        self.sent = 0

    @property
    def online(self) -> int:
        return sum(terminal.online for terminal in self._terminals.values())

    @property
    def acknowledged(self) -> int:
        return sum(terminal.acknowledged for terminal in self._terminals.values())

    @property
    def refused(self) -> int:
        return sum(terminal.refused for terminal in self._terminals.values())

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self.step()
                await asyncio.sleep(STEP_S)
        finally:
            await self.close()

    async def close(self) -> None:
        """Hang up everywhere."""
        await asyncio.gather(*(link.close() for link in self._links.values()))
        self._links.clear()

    def step(self) -> None:
        """Connect buses that have logged on, send what is due, hang up those that are parked."""
        now = self.clock.now()
        self._traffic.advance(now)
        out = self._traffic.out(now)
        for vehicle in out - self._links.keys():
            terminal = self._terminals.setdefault(vehicle, Terminal(vehicle))
            self._links[vehicle] = _Link(terminal, self._host, self._port, self.clock, self._retry_s)
        for vehicle in self._links.keys() - out:
            self._links.pop(vehicle).hang_up()
        for report in self._receivers.due(now):
            if report.vehicle in self._links:
                self._terminals[report.vehicle].report(report, self.clock.monotonic())
                self.sent += 1
        for link in self._links.values():
            link.flush()
        self._traffic.forget(now - KEEP_S)
        self._traffic.take_passages()


class _Link:
    """The connection of one terminal: connects, comes back after a loss, later each time."""

    def __init__(self, terminal: Terminal, host: str, port: int, clock: Clock, retry_s: float) -> None:
        self._terminal, self._host, self._port, self._clock, self._retry_s = terminal, host, port, clock, retry_s
        self._writer: asyncio.StreamWriter | None = None
        self._task = asyncio.create_task(self._run(), name=f"terminal {terminal.vehicle}")

    async def _run(self) -> None:
        failures = 0
        while True:
            was_online = False
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    reader, self._writer = await asyncio.open_connection(self._host, self._port)
                was_online = await self._talk(reader)
            except (OSError, TimeoutError):
                pass
            finally:
                self._terminal.disconnected()
                if self._writer is not None:
                    self._writer.close()
                    self._writer = None
            failures = 0 if was_online else failures + 1
            spread = 0.5 + dice.uniform(self._terminal.vehicle, failures, 5)
            await asyncio.sleep(self._retry_s * min(2.0**failures, RETRY_LONGEST) * spread)

    async def _talk(self, reader: asyncio.StreamReader) -> bool:
        """Until the link ends; true if the terminal got through to reporting."""
        terminal, was_online = self._terminal, False
        terminal.connected(self._clock.monotonic())
        self.flush()
        while data := await reader.read(4096):
            terminal.receive_data(data, self._clock.monotonic())
            was_online = was_online or terminal.online
            self.flush()
        return was_online

    def flush(self) -> None:
        now = self._clock.monotonic()
        self._terminal.tick(now)
        if self._writer is None or self._writer.is_closing():
            return
        if self._terminal.is_stuck(now):
            self._writer.transport.abort()
            return
        data = self._terminal.data_to_send()
        if data:
            self._writer.write(data)

    def hang_up(self) -> None:
        self._task.cancel()

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


def city_clock(options: FleetOptions, clock: Clock) -> Clock:
    """The clock of the city that the parent has started; both processes read the same instant from it."""
    if options.city_at is None:
        return clock
    return ScaledClock(options.speed, clock, options.city_at + (clock.now() - options.real_at) * options.speed)


def start_traffic(options: FleetOptions, city: Clock) -> Traffic:
    """The city as if it had run since the service day began; takes a second or some, more in the evening."""
    scenario = Scenario(slow_lines=options.slow_lines, late_s=options.late_s)
    return Traffic(make_plan(options.seed, options.buses), options.seed, city.now(), options.timezone, scenario)


async def _main() -> None:
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    line = await orders.readline()
    if not line:
        return
    options = msgspec.json.decode(line, type=FleetOptions)
    city = city_clock(options, SystemClock())
    traffic = start_traffic(options, city)
    line = await orders.readline()
    if not line:
        return
    fleet = Fleet(traffic, options.seed, options.host, msgspec.json.decode(line, type=int), city)
    driving = asyncio.create_task(fleet.run(), name="fleet")
    parent_gone = asyncio.create_task(orders.read(), name="parent")
    await asyncio.wait((driving, parent_gone), return_when=asyncio.FIRST_COMPLETED)
    parent_gone.cancel()
    driving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await driving
    log.info("fleet_ended", sent=fleet.sent, acknowledged=fleet.acknowledged, refused=fleet.refused)


def main() -> None:
    """``python -m replay.city.fleet``. Ctrl-C in the parent's terminal is the parent's to handle."""
    set_up_logging()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_main())


if __name__ == "__main__":
    main()
