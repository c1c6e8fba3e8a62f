"""A made-up line for replays: six stops on a straight street, a bus every ten minutes, fixes every 20 s."""

from __future__ import annotations

import datetime as dt
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

DAY = "20260216"
ZONE = dt.timezone(dt.timedelta(hours=8))
MIDNIGHT = dt.datetime(2026, 2, 16, tzinfo=ZONE).timestamp()
STOP_M = 500.0
LON_0, LAT = 103.80, 36.06
DEG_M = 89_900.0  # metres of a degree of longitude there
HEADER = (
    "location_ping_id,event_timestamp,vehicle_id,trip_id_scheduled,scheduled_stop_sequence,latitude,longitude,speed"
)


def lon_at(metres: float) -> float:
    return LON_0 + metres / DEG_M


def gtfs_tables(headsign: str = "East") -> dict[str, str]:
    stops = "".join(f"s{k},Stop {k},{LAT},{lon_at(k * STOP_M):.6f}\n" for k in range(6))
    trips, times = "", ""
    for k in range(12):
        trips += f"r1,daily,t{k:02d},{headsign},0,b{k},sh1\n"
        for pos in range(6):
            second = 8 * 3600 + 600 * k + 90 * pos
            clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            times += f"t{k:02d},{clock},{clock},s{pos},{pos * 10 + 10}\n"
    shape = "".join(f"sh1,{LAT},{lon_at(k * STOP_M):.6f},{k}\n" for k in range(6))
    return {
        "agency.txt": "agency_id,agency_name,agency_url,agency_timezone\na,Line,http://line.example,Asia/Shanghai\n",
        "calendar.txt": "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\n"
        "daily,1,1,1,1,1,1,1,20260101,20261231\n",
        "routes.txt": "route_id,agency_id,route_short_name,route_long_name,route_type\nr1,a,1,Main Street,3\n",
        "stops.txt": "stop_id,stop_name,stop_lat,stop_lon\n" + stops,
        "trips.txt": "route_id,service_id,trip_id,trip_headsign,direction_id,block_id,shape_id\n" + trips,
        "stop_times.txt": "trip_id,arrival_time,departure_time,stop_id,stop_sequence\n" + times,
        "shapes.txt": "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n" + shape,
    }


def write_gtfs(path: Path, tables: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in tables.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
    return path


def fixes(first: int, last: int, seed: int = 1, day: int = 0) -> list[str]:
    """Rows of trips ``first`` to ``last`` (not included), each by a bus of its own, some minutes late."""
    dice = random.Random(seed)
    rows = []
    for k in range(first, last):
        start = MIDNIGHT + day * 86400 + 8 * 3600 + 600 * k + dice.uniform(0, 120)
        speed = dice.uniform(4.5, 6.5)
        for step in range(-3, 40):
            at = start + 20 * step + dice.choice([0.0, 0.05, 0.3])
            metres = min(max(0.0, (at - start) * speed), 5 * STOP_M)
            time = dt.datetime.fromtimestamp(round(at, 3), ZONE).isoformat()
            lat = LAT + dice.gauss(0, 4) / 111_195
            ahead = min(int(metres // STOP_M) + 1, 5) * 10 + 10
            rows.append(
                f"bus{k}-{step},{time},bus{k},t{k:02d},{ahead},{lat:.6f},{lon_at(metres + dice.gauss(0, 4)):.6f},{speed:.1f}"
            )
    return sorted(rows, key=lambda row: row.split(",")[1])


@dataclass(frozen=True)
class City:
    """Files of the made-up line, and a place for compiled timetables."""

    folder: Path
    gtfs: Path
    positions: Path
    cache_dir: Path

    def timetable(self, name: str, headsign: str) -> Path:
        """The same line with another destination, so that its digest differs."""
        return write_gtfs(self.folder / name, gtfs_tables(headsign))

    def fixes(self, first: int, last: int, seed: int = 1, day: int = 0) -> list[str]:
        return fixes(first, last, seed, day)

    def write(self, name: str, rows: list[str]) -> Path:
        path = self.folder / name
        path.write_text("\n".join([HEADER, *rows]) + "\n")
        return path


@pytest.fixture(scope="session")
def timetables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled timetables of all replays of a test session."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def city(tmp_path: Path, timetables: Path) -> City:
    made = City(tmp_path, write_gtfs(tmp_path / "gtfs.zip", gtfs_tables()), tmp_path / "positions.csv", timetables)
    made.write("positions.csv", fixes(0, 6))
    return made
