"""`busd replay excursions` on the made-up line: buses that leave its street for the next one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from replay import cli

City = Any  # of conftest.py
DEG_LAT_M = 111_195.0
DEG_LON_M = 89_900.0
LON_0 = 103.80


def run(city: City, *more: str | Path, code: int = 0) -> Result:
    files = ("--gtfs", city.gtfs, "--positions", city.positions, "--out", city.folder / "out")
    arguments = ("excursions", *files, "--cache-dir", city.cache_dir, *more)
    result = CliRunner().invoke(cli.replay, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def shifted(rows: list[str], bus: str, from_m: float, to_m: float, by_m: float) -> list[str]:
    """The rows of one bus moved to the street ``by_m`` north between two places of the line."""
    out = []
    for row in rows:
        fields = row.split(",")
        if fields[2] == bus and from_m <= (float(fields[6]) - LON_0) * DEG_LON_M <= to_m:
            fields[5] = f"{float(fields[5]) + by_m / DEG_LAT_M:.6f}"
        out.append(",".join(fields))
    return out


def detoured(city: City) -> list[str]:
    """Two buses take the next street past Stop 2, a third one does so past Stop 4."""
    rows = city.fixes(0, 5)
    for bus in ("bus0", "bus1"):
        rows = shifted(rows, bus, 700.0, 1350.0, 150.0)
    return shifted(rows, "bus3", 1750.0, 2250.0, 200.0)


def test_each_alarm_is_listed_with_the_stops_that_it_misses(city: City) -> None:
    city.write("positions.csv", detoured(city))
    rows = json.loads(run(city, "--json", "--no-pictures").output)
    assert [(row["number"], row["place"], row["vehicle_id"], row["trip_id"]) for row in rows] == [
        (1, 1, "bus0", "t00"),
        (2, 1, "bus1", "t01"),
        (3, 2, "bus3", "t03"),
    ]
    for row in rows[:2]:
        assert row["ended_by"] == "back on route" and row["stops_missed"] == ["s2"]
        assert 500 < row["left_m"] < 700 and 1350 < row["back_m"] < 1750
        assert 130 < row["farthest_m"] < 170 and row["fixes"] >= 3
        assert row["left_at"] < row["told_at"] < row["ended_at"]
    assert rows[2]["stops_missed"] == ["s4"] and 180 < rows[2]["farthest_m"] < 220
    with (city.folder / "out" / "excursions.csv").open(encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert [row["vehicle_id"] for row in listed] == ["bus0", "bus1", "bus3"]
    assert [row["stops_missed"] for row in listed] == ["s2", "s2", "s4"]


def test_each_alarm_is_drawn(city: City) -> None:
    image = pytest.importorskip("matplotlib.image", reason="pictures need the extra 'plots'")
    city.write("positions.csv", detoured(city))
    output = run(city).output
    assert "place 1: line r1 direction 0" in output and "2 alarms of 2 buses" in output
    sheets = sorted((city.folder / "out").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["excursions-001.png"]
    colours = image.imread(str(sheets[0]))[..., :3]
    red = (colours[..., 0] > 0.7) & (colours[..., 1] < 0.3)
    height, width = red.shape
    # three of the twelve places have fixes of an excursion in them
    panels = [bool(red[: height // 3, k * width // 4 : (k + 1) * width // 4].any()) for k in range(4)]
    assert panels == [True, True, True, False] and not red[height // 3 :].any()


def test_a_day_without_alarms_and_a_file_that_is_none(city: City) -> None:
    assert json.loads(run(city, "--json").output) == []
    assert not list((city.folder / "out").glob("*.png"))
    city.write("positions.csv", [])
    assert "no position can be read" in run(city, code=1).output
