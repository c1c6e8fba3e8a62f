"""The whole process: what survives an end, clean or not; what a bad timetable may not do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from busd.clock import SystemClock
from busd.config import Config, parse_config
from busd.daemon import Daemon
from busd.types import TripHint, VehiclePosition
from gtfs.calendar import service_day_at, service_day_start
from gtfs.testing import frame_of_map, zip_from_map

MAP = "A---B---C---D"
PLACES = frame_of_map(MAP)
WAIT_S = 20.0


def write_timetable(path: Path, lines: dict[str, str] | None = None) -> None:
    """Trips all around the clock, so that the test passes at any hour of any day."""
    path.write_bytes(
        zip_from_map(
            MAP, lines or {"1": "ABCD"}, start="00:00:00", headway_s=300, trips=290, days=("20200101", "20991231")
        )
    )


def config_in(folder: Path, **gtfs: Any) -> Config:
    data = {
        "gtfs": {"path": "feed.zip", "cache_dir": "cache", **gtfs},
        "state": {"dir": "state", "snapshot_s": 3600},
        "web": {"port": 0},
        "signs": {"host": "127.0.0.1", "port": 0, "shared_token": "t"},
        "jt808": {"host": "127.0.0.1", "port": 0},
    }
    return parse_config(data, folder)


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Daemon]:
    stop, ready = asyncio.Event(), asyncio.Event()
    daemon = Daemon(config, SystemClock())
    task = asyncio.create_task(daemon.run(stop, lambda _: ready.set()))
    started = asyncio.create_task(ready.wait())
    await asyncio.wait({task, started}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        started.cancel()
        task.result()
    try:
        yield daemon
    finally:
        stop.set()
        await asyncio.wait_for(task, WAIT_S)


async def until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            told = true()
            if told if isinstance(told, bool) else await told:
                return
            await asyncio.sleep(0.02)


def bus_now(daemon: Daemon, vehicle: str = "bus1") -> VehiclePosition:
    """A bus on the trip that is between A and B just now."""
    now = daemon.clock.now()
    timezone = daemon.bus.network.timezone
    second = now - service_day_start(service_day_at(now, timezone), timezone)
    trip = int(second // 300)
    place = PLACES.between("A", "B", 0.2)
    return VehiclePosition("t", vehicle, *place, now, now, speed_mps=8.0, hint=TripHint(trip_id=f"1-{trip}"))


async def test_a_report_becomes_a_board_and_survives_a_clean_restart(tmp_path: Path) -> None:
    write_timetable(tmp_path / "feed.zip")
    async with running(config_in(tmp_path)) as daemon:
        daemon.line.submit([bus_now(daemon)])
        await until(lambda: daemon.line.engine.live_vehicles == 1)
        await until(lambda: any(d.vehicle_id == "bus1" for _, b in daemon.bus.boards() for d in b.departures))
        async with aiohttp.ClientSession() as http, http.get(f"{daemon.web.url}/healthz") as answer:
            health = await answer.json()
        assert answer.status == 200 and health["vehicles"] == 1 and health["journal"] is True
        before = {stop: (b.epoch, b.rev) for stop, b in daemon.bus.boards()}
    async with running(config_in(tmp_path)) as daemon:
        assert daemon.line.engine.live_vehicles == 1
        for stop, board in daemon.bus.boards():
            assert board.epoch == before[stop][0] and board.rev >= before[stop][1]


async def test_a_timetable_that_cannot_be_loaded_leaves_the_old_one_serving(tmp_path: Path) -> None:
    feed = tmp_path / "feed.zip"
    write_timetable(feed)
    async with running(config_in(tmp_path, reload_s=0.05)) as daemon:
        old = daemon.line.engine.network.digest
        refused = daemon.store.refused
        feed.write_bytes(b"PK\x03\x04 this is no timetable")
        await until(lambda: daemon.store.refused > refused)
        assert daemon.line.engine.network.digest == old
        assert sum(1 for _ in daemon.bus.boards()) == 4
        write_timetable(feed, {"1": "ABCD", "2": "DCBA"})
        await until(lambda: daemon.line.engine.network.digest != old)
        await until(lambda: daemon.bus.network is daemon.line.engine.network)
        assert len(daemon.bus.network.route_id) == 2


async def test_a_first_timetable_that_cannot_be_loaded_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "feed.zip").write_bytes(b"nothing")
    (tmp_path / "busd.toml").write_text('[gtfs]\npath = "feed.zip"\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "busd", "run", "--config", str(tmp_path / "busd.toml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("busd: ") and "Traceback" not in done.stderr


TOML = """
[gtfs]
path = "feed.zip"
[web]
port = {web}
[signs]
host = "127.0.0.1"
port = 0
[jt808]
host = "127.0.0.1"
port = 0
[state]
dir = "state"
"""


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def _board(http: aiohttp.ClientSession, port: int) -> dict[str, Any] | None:
    try:
        async with http.get(f"http://127.0.0.1:{port}/v1/boards/B") as answer:
            return await answer.json() if answer.status == 200 else None
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_the_process_goes_on_where_it_was(tmp_path: Path, end: signal.Signals) -> None:
    write_timetable(tmp_path / "feed.zip")
    port = free_port()
    (tmp_path / "busd.toml").write_text(TOML.format(web=port), encoding="utf-8")
    seen: list[dict[str, Any]] = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "busd", "run", "--config", str(tmp_path / "busd.toml"), stderr=subprocess.DEVNULL
        )
        try:
            async with aiohttp.ClientSession() as http:

                async def answers(http: aiohttp.ClientSession = http) -> bool:
                    board = await _board(http, port)
                    if board is not None:
                        seen.append(board)
                    return board is not None

                await until(answers)
            os.kill(process.pid, end)
            code = await asyncio.wait_for(process.wait(), WAIT_S)
            assert code == (0 if end is signal.SIGTERM else -signal.SIGKILL)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    first, second = seen[0], seen[-1]
    assert second["epoch"] == first["epoch"] and second["rev"] >= first["rev"]
