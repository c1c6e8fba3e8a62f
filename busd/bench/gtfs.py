"""Bench of the GTFS compiler: a made-up feed of a large city, compiled in the child process as the daemon does it.

The floor is pandas.read_csv of stop_times.txt alone, as strings, in the same run: what reading cannot go below.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

import gtfs
from gtfs.cache import findings_of
from gtfs.files import feed_digest

ROUTES, STOPS_A_TRIP, POINTS_A_LINK = 400, 30, 10
GRID = 71  # 71 x 71 crossings, a stop at each of the first 5,000
SEED = 808


def run(stop_times: int = 1_500_000, stops: int = 5_000) -> dict[str, Any]:
    """Compiles a feed with so many stop times; returns figures with the floor measured in the same run."""
    with tempfile.TemporaryDirectory(prefix="busd-bench-") as directory:
        path, cache = Path(directory) / "feed.zip", Path(directory) / "cache"
        write_feed(path, stop_times, stops)
        floor_s = _floor_s(path)
        compile_s, cpu_s, peak_mib = _compile(path, cache)
        cached_ms = []
        for _ in range(5):
            start = perf_counter()
            network = gtfs.load_network(path, cache)
            cached_ms.append((perf_counter() - start) * 1e3)
        findings = findings_of(network, cache)
        return {
            "bench": "gtfs",
            "stop_times": len(network.arrival_s),
            "trips": len(network.trip_id),
            "stops": len(network.stop_id),
            "patterns": len(network.pattern_route),
            "shape_points": len(network.shape_m),
            "zip_mb": round(path.stat().st_size / 1e6, 1),
            "compile_s": round(compile_s, 2),
            "compile_cpu_s": round(cpu_s, 2),
            "peak_rss_mib": round(peak_mib),
            "cached_start_ms": round(sorted(cached_ms)[2], 1),
            "floor_read_csv_s": round(floor_s, 2),
            "ratio_to_floor": round(compile_s / floor_s, 2),
            "errors_found": findings.count_severity(gtfs.Severity.ERROR),
        }


def _compile(path: Path, cache: Path) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak resident MiB) of the child process that fills the cache."""
    work = cache / feed_digest(path.read_bytes())
    work.mkdir(parents=True)
    order = {"zip": str(path), "directory": str(work), "max_memory": 0, "limits": {}}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    command = [sys.executable, "-m", "gtfs.compile", json.dumps(order)]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=600)
    wall_s, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, float(json.loads(answer.stdout)["peak_kib"]) / 1024


def _floor_s(path: Path) -> float:
    with zipfile.ZipFile(path) as archive:
        data = archive.read("stop_times.txt")
    start = perf_counter()
    pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    return perf_counter() - start


def write_feed(path: Path, stop_times: int, stops: int, headway_s: int = 900) -> None:
    """A grid city: every route turns through the grid at random and runs both ways, from 5 h on."""
    dice = np.random.default_rng(SEED)
    lat = 36.0 + np.arange(stops) // GRID * 0.0027
    lon = 103.6 + np.arange(stops) % GRID * 0.0033
    trips = stop_times // STOPS_A_TRIP
    ways = [_way(dice, stops) for _ in range(ROUTES)]
    ways = [way for forth in ways for way in (forth, forth[::-1])]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(
            "agency.txt", "agency_id,agency_name,agency_url,agency_timezone\nA,Bench,http://bench.test,Asia/Shanghai\n"
        )
        archive.writestr(
            "calendar.txt",
            "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\n"
            "week,1,1,1,1,1,0,0,20260101,20261231\nend,0,0,0,0,0,1,1,20260101,20261231\n",
        )
        rows = (f"s{i},Stop {i},{lat[i]:.6f},{lon[i]:.6f}\n" for i in range(stops))
        archive.writestr("stops.txt", "stop_id,stop_name,stop_lat,stop_lon\n" + "".join(rows))
        rows = (f"r{i},{i},Line {i},3\n" for i in range(ROUTES))
        archive.writestr("routes.txt", "route_id,route_short_name,route_long_name,route_type\n" + "".join(rows))
        archive.writestr("shapes.txt", _shapes(ways, lat, lon))
        _write_trips(archive, ways, trips, headway_s)


def _way(dice: np.random.Generator, stops: int) -> list[int]:
    """Neighbouring stops of the grid, as straight as a bus route."""
    row, column = int(dice.integers(stops // GRID)), int(dice.integers(GRID))
    step = (0, 1)
    way: list[int] = []
    while len(way) < STOPS_A_TRIP:
        at = row * GRID + column
        if at < stops and (not way or way[-1] != at):
            way.append(at)
        if dice.random() < 0.3:
            step = (step[1], -step[0]) if dice.random() < 0.5 else (-step[1], step[0])
        if (
            0 <= row + step[0] < GRID
            and 0 <= column + step[1] < GRID
            and (row + step[0]) * GRID + column + step[1] < stops
        ):
            row, column = row + step[0], column + step[1]
        else:
            step = (-step[0], -step[1])
    return way


def _shapes(ways: list[list[int]], lat: Any, lon: Any) -> str:
    parts = ["shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n"]
    places = np.arange((STOPS_A_TRIP - 1) * POINTS_A_LINK + 1) / POINTS_A_LINK
    for w, way in enumerate(ways):
        y = np.interp(places, np.arange(STOPS_A_TRIP), lat[way]) + 2e-5 * np.sin(places * 7)
        x = np.interp(places, np.arange(STOPS_A_TRIP), lon[way]) + 2e-5 * np.cos(places * 5)
        parts.extend(f"p{w},{a:.6f},{b:.6f},{i}\n" for i, (a, b) in enumerate(zip(y.tolist(), x.tolist())))
    return "".join(parts)


def _write_trips(archive: zipfile.ZipFile, ways: list[list[int]], trips: int, headway_s: int) -> None:
    clock = [f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(30 * 3600)]
    trip_rows = ["trip_id,route_id,service_id,direction_id,block_id,shape_id\n"]
    with archive.open("stop_times.txt", "w") as file:
        file.write(b"trip_id,arrival_time,departure_time,stop_id,stop_sequence,pickup_type,drop_off_type\n")
        for t in range(trips):
            way = t % len(ways)
            start = 5 * 3600 + (t // len(ways)) * headway_s + way % 60
            service = "week" if t % 3 else "end"
            trip_rows.append(f"trip{t},r{way // 2},{service},{way % 2},b{t % 9000},p{way}\n")
            lines = []
            for i, stop in enumerate(ways[way]):
                time = clock[start + 95 * i]
                lines.append(f"trip{t},{time},{clock[start + 95 * i + 15]},s{stop},{i + 1},0,0\n")
            file.write("".join(lines).encode())
    archive.writestr("trips.txt", "".join(trip_rows))
