"""Buses on real sockets, and the whole demo as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from busd.clock import ManualClock
from busd.config import Jt808Config
from busd.feeds.transport import Jt808Server, serve_jt808
from busd.registry import DeviceRegistry
from busd.types import VehiclePosition
from replay.city.demo import DemoOptions, demo_config
from replay.city.fleet import Fleet, FleetOptions, city_clock
from replay.city.gps import plate
from replay.city.terminal import HINT_ITEMS
from replay.city.timetable import Plan
from replay.city.traffic import Traffic


async def eventually(condition: Callable[[], bool], step: Callable[[], None] = lambda: None) -> None:
    async with asyncio.timeout(30.0):
        while not condition():
            step()
            await asyncio.sleep(0.005)


class Gateway:
    """The real gateway with a list behind it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.registry = DeviceRegistry()
        self.live: list[VehiclePosition] = []
        self.historical: list[VehiclePosition] = []
        self.server: Jt808Server | None = None
        self.port = 0

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        (self.historical if historical else self.live).extend(positions)

    async def open(self) -> None:
        config = Jt808Config(host="127.0.0.1", port=self.port, hint_items=HINT_ITEMS)
        self.server = await serve_jt808(config, self.submit, self.clock, self.registry)
        self.port = self.server.port

    async def close(self) -> None:
        if self.server is not None:
            await self.server.close()
            self.server = None


@pytest.fixture
async def city(plan: Plan, midnight: float) -> AsyncIterator[tuple[Fleet, Gateway, ManualClock]]:
    clock = ManualClock(midnight + 7 * 3600)
    gateway = Gateway(clock)
    await gateway.open()
    traffic = Traffic(plan, 7, clock.now())
    fleet = Fleet(traffic, 7, "127.0.0.1", gateway.port, clock, retry_s=0.01)
    yield fleet, gateway, clock
    await fleet.close()
    await gateway.close()


async def test_all_buses_report_at_once_and_mid_trip(city: tuple[Fleet, Gateway, ManualClock]) -> None:
    fleet, gateway, clock = city
    fleet.step()
    await eventually(lambda: fleet.online == 120)
    for _ in range(12):
        clock.advance(1.0)
        fleet.step()
        await eventually(lambda: fleet.acknowledged == fleet.sent)
    assert {position.vehicle_id for position in gateway.live} == {plate(bus) for bus in range(120)}
    assert fleet.refused == 0
    unpositioned = fleet.sent - len(gateway.live) - len(gateway.historical)
    assert 0 <= unpositioned < 0.02 * fleet.sent
    hinted = [position for position in gateway.live if position.hint is not None]
    assert len(hinted) > 0.6 * len(gateway.live), "buses are on their trips from the start"
    assert all(position.hint.service_date == "20260302" for position in hinted if position.hint is not None)


async def test_a_lost_gateway_gets_everything_later(city: tuple[Fleet, Gateway, ManualClock]) -> None:
    fleet, gateway, clock = city
    fleet.step()
    await eventually(lambda: fleet.online == 120)
    await gateway.close()
    await eventually(lambda: fleet.online == 0, fleet.step)
    for _ in range(30):
        clock.advance(1.0)
        fleet.step()
    away = fleet.sent
    assert away > 300 and not gateway.live
    await gateway.open()
    await eventually(lambda: fleet.acknowledged == away, fleet.step)
    unpositioned = away - len(gateway.live) - len(gateway.historical)
    assert 0 <= unpositioned < 0.02 * away
    assert len(gateway.live) <= 120 < len(gateway.historical)


@pytest.mark.parametrize(("hour", "grows"), [(5.5, True), (22.6, False)], ids=["morning", "evening"])
async def test_buses_log_on_and_off(plan: Plan, midnight: float, hour: float, grows: bool) -> None:
    clock = ManualClock(midnight + hour * 3600)
    gateway = Gateway(clock)
    await gateway.open()
    traffic = Traffic(plan, 7, clock.now())
    fleet = Fleet(traffic, 7, "127.0.0.1", gateway.port, clock, retry_s=0.01)
    fleet.step()
    before = len(traffic.out(clock.now()))
    await eventually(lambda: fleet.online == before > 0)
    clock.advance(900.0)
    fleet.step()
    after = len(traffic.out(clock.now()))
    assert (after > before) if grows else (after < before)
    await eventually(lambda: fleet.online == after, fleet.step)
    await fleet.close()
    await gateway.close()


def test_both_processes_read_the_same_city_time() -> None:
    parent = ManualClock(1000.0)
    options = FleetOptions(speed=10.0, city_at=1000.0, real_at=1000.0)
    parent.advance(3.0)
    child = city_clock(options, parent)
    assert child.now() == 1030.0
    parent.advance(2.0)
    assert child.now() == 1050.0
    assert city_clock(FleetOptions(), parent) is parent


def test_config_of_the_demo(tmp_path: Path) -> None:
    config = demo_config(DemoOptions(), tmp_path, {})
    assert (config.web.port, config.signs.port, config.jt808.port) == (8080, 8081, 6808)
    assert {config.web.host, config.signs.host, config.jt808.host} == {"127.0.0.1"}
    assert config.demo.simulated and config.signs.shared_token == "demo" and config.jt808.mode == "open"
    base: dict[str, Any] = {"web": {"host": "0.0.0.0", "port": 9000}, "demo": {"simulated": False, "seed": 5}}
    config = demo_config(DemoOptions(web_port=9001, speed=20.0), tmp_path, base)
    assert (config.web.host, config.web.port, config.demo.seed, config.demo.speed) == ("0.0.0.0", 9001, 5, 20.0)
    assert config.demo.simulated, "nobody can pass the demo off as real"
    assert base == {"web": {"host": "0.0.0.0", "port": 9000}, "demo": {"simulated": False, "seed": 5}}


COMMAND = (sys.executable, "-c", "from busd.cli import main; main()", "demo", "--buses", "40")
ANY_PORT = ("--web-port", "0", "--sign-port", "0", "--jt808-port", "0")


async def start_demo(tmp_path: Path, *more: str) -> tuple[asyncio.subprocess.Process, str]:
    """The demo once it is ready, and its rider address."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *ANY_PORT, *more, "--state-dir", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60.0):
        line = (await process.stdout.readline()).decode()
    assert line.startswith("busd demo ready") and "simulated" in line, line
    return process, next(word for word in line.split() if word.startswith("http://"))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def test_the_demo_serves_live_boards_and_ends_cleanly(tmp_path: Path) -> None:
    process, address = await start_demo(tmp_path, "--speed", "5")
    fleet = children(process.pid)
    assert fleet

    def get(path: str) -> Any:
        with urllib.request.urlopen(address + path, timeout=10.0) as answer:
            return json.loads(answer.read())

    stops = await asyncio.to_thread(get, "v1/stops")
    assert len(stops) > 200
    live: list[str] = []

    async def look() -> None:
        for stop in stops[:60]:
            board = await asyncio.to_thread(get, f"v1/boards/{stop['id']}")
            live.extend(d["src"] for d in board["deps"] if d["src"] == "realtime")

    async with asyncio.timeout(30.0):
        while not live:
            await look()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20.0):
        assert await process.wait() == 0
    assert not any(is_running(pid) for pid in fleet)


async def test_a_killed_demo_leaves_no_fleet_behind(tmp_path: Path) -> None:
    process, _ = await start_demo(tmp_path)
    fleet = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await eventually(lambda: not any(is_running(pid) for pid in fleet))
