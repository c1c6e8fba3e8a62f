"""`busd explain` and `busd detours` against a daemon on a real port."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner, Result

from busd.cli import cli
from busd.clock import SystemClock
from busd.config import load_config
from busd.daemon import Daemon
from busd.types import TripHint, VehiclePosition
from gtfs.testing import frame_of_map, zip_from_map

MAP = "A--------B--------C--------D--------E--------F"
CONFIG = """
[gtfs]
path = "city.zip"
cache_dir = "cache"
[state]
dir = "state"
[web]
port = {web}
admin_token = "operators only"
[signs]
host = "127.0.0.1"
port = 0
[jt808]
enabled = false
"""
SPEED = 20.0
NOON = 1764561600.0
"""12:00 in the town's zone: the day must not end while a test runs"""


class Town:
    """The daemon with a line whose buses always run: every 5 min, days through."""

    def __init__(self, daemon: Daemon, file: Path, clock: SystemClock) -> None:
        self.daemon, self.file, self.clock = daemon, file, clock

    def report(self, vehicle: str, x: float, y: float, at: float, hint: TripHint) -> None:
        lat, lon = frame_of_map(MAP).xy(x, y)
        self.daemon.submit([VehiclePosition("feed", vehicle, lat, lon, at, at, speed_mps=8.0, hint=hint)])

    def drive(self, vehicle: str, start: str, off_m: float) -> None:
        """Reports of the run that began at ``start``, sent at once."""
        start_s = int(start[:2]) * 3600 + int(start[3:]) * 60
        hint, began = TripHint(trip_id="1-0", start_s=start_s), NOON - 12 * 3600 + start_s
        for i in range(15):
            x = i * 300.0
            self.report(vehicle, x, off_m if 1400 < x < 3200 else 0.0, began + 15 * i, hint)

    async def settle(self) -> None:
        while self.daemon.line.engine._waiting:
            await asyncio.sleep(0.01)

    async def run(self, *arguments: str, configured: bool = True) -> Result:
        words = [*arguments[:1], *(["--config", str(self.file)] if configured and arguments[0] == "detours" else [])]
        words += arguments[1:]
        if configured and arguments[0] == "explain":
            words += ["--config", str(self.file)]
        return await asyncio.to_thread(CliRunner().invoke, cli, words)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    wall = SystemClock()
    ahead_s = NOON - wall.now()
    clock = SystemClock(lambda: wall.now() + ahead_s)
    rows = "trip_id,start_time,end_time,headway_secs,exact_times\n1-0,00:00:00,23:59:00,300,0\n"
    data = zip_from_map(
        MAP,
        {"1": "ABCDEF"},
        speed_mps=SPEED,
        trips=4,
        days=("20200101", "20401231"),
        shapes={"1": "ABCDEF"},
        tables={"frequencies.txt": rows},
    )
    (tmp_path / "city.zip").write_bytes(data)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "busd.toml"
    file.write_text(CONFIG.format(web=port))
    daemon = Daemon(load_config(file), clock)
    stop, ready = asyncio.Event(), asyncio.Event()
    life = asyncio.create_task(daemon.run(stop, lambda _: ready.set()))
    await asyncio.wait([asyncio.create_task(ready.wait()), life], return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        life.result()
    yield Town(daemon, file, clock)
    stop.set()
    await life


async def test_a_bus_is_explained(town: Town) -> None:
    town.drive("bus 7", "11:55", 0.0)
    await town.settle()
    shown = await town.run("explain", "vehicle", "bus 7")
    assert shown.exit_code == 0, shown.output
    assert "bus 7: predicted" in shown.output
    assert "which its source names" in shown.output
    assert "last events" in shown.output
    answer = json.loads((await town.run("explain", "vehicle", "bus 7", "--json")).output)
    assert answer["predicted"] is True
    assert answer["run"]["trip_id"] == "1-0"
    assert answer["hint"]["verdict"] == "believed"
    assert [event["event"] for event in answer["events"]][-1] == "found"


async def test_why_a_bus_is_not_predicted(town: Town) -> None:
    now = town.clock.now()
    for i in range(5):
        town.report("ghost", -9000.0 - 100 * i, 7000.0, now - 100 + 20 * i, TripHint("no-such-trip"))
    await town.settle()
    shown = await town.run("explain", "vehicle", "ghost")
    assert "ghost: not predicted" in shown.output
    assert "no-such-trip" in shown.output
    answer = json.loads((await town.run("explain", "vehicle", "ghost", "--json")).output)
    assert answer["predicted"] is False
    assert "no trip of the timetable passes here" in answer["why"]
    assert answer["hint"]["verdict"] == "names a trip that the timetable does not have"


async def test_an_unknown_vehicle_and_a_silent_daemon_say_what_to_do(town: Town) -> None:
    town.drive("bus7", "11:55", 0.0)
    await town.settle()
    shown = await town.run("explain", "vehicle", "bus8")
    assert shown.exit_code == 1
    assert "did you mean bus7?" in shown.output
    shown = await town.run("explain", "vehicle", "bus7", "--url", "http://127.0.0.1:9", configured=False)
    assert shown.exit_code == 1
    assert "is `busd run` up?" in shown.output
    shown = await town.run("explain", "vehicle", "x", "--url", town.daemon.web.url, configured=False)
    assert shown.exit_code == 1
    assert "--config" in shown.output


async def test_without_the_token_nothing_is_told(town: Town) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/v1/vehicles/a/explain", "/v1/detours"):
            async with session.get(town.daemon.web.url + path) as answer:
                assert answer.status == 401
        async with session.post(town.daemon.web.url + "/v1/detours/1", json={"verdict": "confirm"}) as answer:
            assert answer.status == 401


async def test_detours_are_listed_confirmed_and_dismissed(town: Town) -> None:
    assert "no detours" in (await town.run("detours")).output
    town.drive("a", "11:50", 200.0)
    town.drive("b", "11:55", 200.0)
    await town.settle()
    shown = await town.run("detours")
    assert "1 detours" in shown.output
    assert "C, D" in shown.output
    assert (await town.run("detours", "confirm", "1")).output == "detour 1 of line 1 is confirmed\n"
    assert (await town.run("detours", "dismiss", "1", "--operator", "li")).output == "detour 1 of line 1 is dismissed\n"
    (found,) = json.loads((await town.run("detours", "--all", "--json")).output)["detours"]
    assert (found["status"], found["decided_by"]) == ("dismissed", "li")
    assert "no detours" in (await town.run("detours")).output
    shown = await town.run("detours", "confirm", "9")
    assert shown.exit_code == 1
    assert "no detour '9'" in shown.output
