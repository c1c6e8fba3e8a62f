"""The daemon keeps what it sees, and says how good it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from busd.clock import SystemClock
from busd.config import parse_config
from busd.daemon import Daemon
from busd.history.store import HistoryStore
from busd.types import TripHint, VehiclePosition
from gtfs.calendar import service_day_at, service_day_start
from gtfs.testing import frame_of_map, zip_from_map

MAP = "A---B---C---D"
PLACES = frame_of_map(MAP)
WAIT_S = 20.0


async def test_history_and_quality_of_a_running_daemon(tmp_path: Path) -> None:
    (tmp_path / "feed.zip").write_bytes(
        zip_from_map(MAP, {"1": "ABCD"}, start="00:00:00", headway_s=300, trips=290, days=("20200101", "20991231"))
    )
    config = parse_config(
        {
            "gtfs": {"path": "feed.zip", "cache_dir": "cache"},
            "state": {"dir": "state", "snapshot_s": 3600},
            "web": {"port": 0},
            "signs": {"host": "127.0.0.1", "port": 0},
            "jt808": {"enabled": False},
            "history": {"write_s": 0.02},
        },
        tmp_path,
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    daemon = Daemon(config, SystemClock())
    task = asyncio.create_task(daemon.run(stop, lambda _: ready.set()))
    await asyncio.wait_for(ready.wait(), WAIT_S)
    try:
        now, zone = daemon.clock.now(), daemon.bus.network.timezone
        day = service_day_at(now, zone)
        trip = int(now - service_day_start(day, zone)) // 300
        for ago, metres in ((40.0, 200.0), (1.0, 600.0)):
            place = PLACES.between("AB"[int(metres // 400)], "BC"[int(metres // 400)], metres % 400 / 400)
            hint = TripHint(trip_id=f"1-{trip}")
            at = daemon.clock.now() - ago
            daemon.submit([VehiclePosition("t", "bus1", *place, at, daemon.clock.now(), hint=hint)])
            passed = daemon.line.engine.live_vehicles
            async with asyncio.timeout(WAIT_S):
                while daemon.line.engine._waiting:
                    await asyncio.sleep(0.01)
            assert daemon.line.engine.live_vehicles >= passed
        assert daemon.historian.store is not None
        async with asyncio.timeout(WAIT_S):
            while not daemon.historian.store.days():
                await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as http, http.get(f"{daemon.web.url}/v1/quality") as answer:
            quality = await answer.json()
        assert quality["measured"] is True and quality["alarms"] == [] and "told" in quality["figures"]
        async with aiohttp.ClientSession() as http, http.get(f"{daemon.web.url}/metrics") as answer:
            page = await answer.text()
        assert "busd_history_visits_total" in page and "busd_outcomes_total" in page
    finally:
        stop.set()
        await asyncio.wait_for(task, WAIT_S)
    store = HistoryStore(tmp_path / "state/history.sqlite", read_only=True)
    (row,) = store.read()
    store.close()
    assert (row.visit.pos, row.visit.stop_id, row.trip.vehicle_id) == (1, "B", "bus1")
    assert 38.0 <= row.visit.bracket_s <= 41.0
