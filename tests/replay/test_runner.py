"""Whole replays of a made-up line: the files, their columns, their meaning, and the command."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from busd.errors import FeedError
from replay import cli
from replay.runner import ReplayRun
from replay.source import parse_instant

City = Any  # of conftest.py

SCHEMAS = Path(__file__).parents[2] / "../shared/data/tides"
OURS = {"shape_dist_m"}


def table(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def job(city: City, **options: Any) -> ReplayRun:
    options = {"out": city.folder / "out", "positions": (city.positions,)} | options
    return ReplayRun(gtfs=city.gtfs, cache_dir=city.cache_dir, **options)


def test_predictions(city: City) -> None:
    job(city).run()
    rows = table(city.folder / "out/predictions.csv.gz")
    assert len(rows) > 500
    assert ",".join(rows[0]) == (
        "generated_at,service_date,trip_id,stop_sequence,stop_id,vehicle_id,"
        "arrival_p50,arrival_p10,arrival_p90,arrival_rider,departure_p50"
    )
    made = [float(row["generated_at"]) for row in rows]
    assert made == sorted(made)
    told = [row for row in rows if row["arrival_p50"] and row["trip_id"] == "t02"]
    assert told
    for row in told:
        assert row["service_date"] == "20260216"
        assert row["stop_id"] == f"s{int(row['stop_sequence']) // 10 - 1}"
        low, rider, mid, high = (float(row[c]) for c in ("arrival_p10", "arrival_rider", "arrival_p50", "arrival_p90"))
        assert low <= rider <= mid <= high
    assert {row["vehicle_id"] for row in told} == {"bus2"}


def test_the_files_are_the_same_with_and_without_boards(city: City) -> None:
    plain, shown = job(city).run(), job(city, boards=True, out=city.folder / "shown").run()
    assert plain["boards"] == 0 and shown["boards"] > 50
    assert plain["digests"]["files"] == shown["digests"]["files"]
    assert plain["digests"]["outputs"] != shown["digests"]["outputs"]


def test_one_row_a_position_and_what_was_held_after_it(city: City) -> None:
    summary = job(city).run()
    rows = table(city.folder / "out/vehicle_locations.csv.gz")
    pings = [line.split(",")[0] for line in city.positions.read_text().splitlines()[1:]]
    assert [row["location_ping_id"] for row in rows] == pings
    assert summary["positions"]["read"] == len(pings)
    right = [row for row in rows if row["trip_id_scheduled"] == f"t{int(row['vehicle_id'][3:]):02d}"]
    assert len(right) > 0.95 * len(rows)
    moving = [row for row in right if row["trip_type"] == "In service" and row["shape_dist_m"]]
    assert moving
    assert all(-100 <= float(row["shape_dist_m"]) <= 2600 for row in moving)
    assert all(row["trip_id_performed"] == row["trip_id_scheduled"] for row in moving)


def test_a_rejected_position_has_a_row_without_a_trip(city: City) -> None:
    rows = city.positions.read_text().splitlines()[1:]
    wild = rows[60].split(",")
    wild[0], wild[5], wild[6] = "wild", "0", "0"
    city.write("positions.csv", [*rows[:60], ",".join(wild), "x,nonsense,bus1,t01,10,36,103,0", *rows[60:]])
    summary = job(city).run()
    (row,) = [row for row in table(city.folder / "out/vehicle_locations.csv.gz") if row["location_ping_id"] == "wild"]
    assert (row["trip_id_scheduled"], row["trip_type"], row["shape_dist_m"]) == ("", "", "")
    assert summary["rejected"] == {"no_time": 1, "zero_island": 1}
    assert summary["positions"]["unreadable"] == 1
    assert len(summary["positions"]["examples"]) == 1


def test_stop_visits_and_trips(city: City) -> None:
    job(city).run()
    visits = table(city.folder / "out/stop_visits.csv.gz")
    trips = table(city.folder / "out/trips_performed.csv.gz")
    assert {row["trip_id_performed"] for row in trips} == {f"t{k:02d}" for k in range(6)}
    keys = [(row["service_date"], row["trip_id_performed"], row["trip_stop_sequence"]) for row in visits]
    assert len(set(keys)) == len(keys) >= 25
    one = next(row for row in visits if (row["trip_id_performed"], row["trip_stop_sequence"]) == ("t03", "4"))
    assert (one["service_date"], one["scheduled_stop_sequence"], one["stop_id"]) == ("2026-02-16", "40", "s3")
    assert one["schedule_arrival_time"] == "2026-02-16T08:34:30+08:00"
    late = parse_instant(one["actual_arrival_time"]) - parse_instant(one["schedule_arrival_time"])
    assert -60 < late < 240
    trip = next(row for row in trips if row["trip_id_performed"] == "t03")
    assert (trip["route_id"], trip["route_type"], trip["block_id"], trip["direction_id"]) == ("r1", "Bus", "b3", "0")
    assert (trip["trip_start_stop_id"], trip["trip_end_stop_id"]) == ("s0", "s5")
    assert trip["schedule_trip_start"] == "2026-02-16T08:30:00+08:00"


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="needs ../shared/data/tides")
@pytest.mark.parametrize("name", ["vehicle_locations", "stop_visits", "trips_performed"])
def test_columns_and_words_are_those_of_tides(city: City, name: str) -> None:
    job(city).run()
    schema = {f["name"]: f for f in json.loads((SCHEMAS / f"{name}.schema.json").read_text())["fields"]}
    rows = table(city.folder / f"out/{name}.csv.gz")
    assert rows
    assert set(rows[0]) - OURS <= set(schema)
    assert [c for c in schema if c in rows[0]] == [c for c in rows[0] if c in schema]
    for row in rows:
        for column, value in row.items():
            field = schema.get(column, {"type": "number"})
            rules = field.get("constraints") or {}
            assert value or not rules.get("required"), column
            if not value:
                continue
            assert value in rules.get("enum", [value]) or int(value) in rules["enum"]
            if field["type"] in ("integer", "number"):
                assert (int if field["type"] == "integer" else float)(value) >= rules.get("minimum", float("-inf"))
            elif field["type"] == "datetime":
                assert parse_instant(value)


def test_hidden_trips_are_not_told(city: City) -> None:
    blind = [",".join(field if k not in (3, 4) else "" for k, field in enumerate(line.split(",")))
             for line in city.positions.read_text().splitlines()[1:]]  # fmt: skip
    hidden = job(city, hide_trips=True).run()
    removed = job(city, positions=(city.write("blind.csv", blind),)).run()
    assert hidden["digests"]["outputs"] == removed["digests"]["outputs"]
    assert hidden["digests"]["files"] == removed["digests"]["files"]


def test_until_is_the_same_as_a_shorter_file(city: City) -> None:
    lines = city.positions.read_text().splitlines()[1:]
    cut = parse_instant("2026-02-16T08:21:00+08:00")
    short = [line for line in lines if parse_instant(line.split(",")[1]) <= cut]
    assert 0 < len(short) < len(lines)
    a = job(city, until=cut).run()
    b = job(city, positions=(city.write("short.csv", short),)).run()
    assert a["digests"] == b["digests"]
    assert a["positions"]["read"] == len(short)


def test_history_warms_and_is_not_written(city: City) -> None:
    yesterday = city.write("yesterday.csv", city.fixes(0, 6, seed=9, day=-1))
    other = city.timetable("old.zip", "East Station")
    summary = job(city, history=((yesterday, other),)).run()
    (past,) = summary["history"]
    assert past["positions"] == 6 * 43
    assert past["network"] != summary["digests"]["network"]
    dates = {row["service_date"] for row in table(city.folder / "out/predictions.csv.gz")}
    assert dates == {"20260216"}
    with pytest.raises(FeedError, match="history must be earlier"):
        job(city, history=((city.positions, None),), positions=(yesterday,)).run()


def test_a_file_without_positions_gives_empty_tables(city: City) -> None:
    summary = job(city, positions=(city.write("none.csv", []),)).run()
    assert summary["rows"] == dict.fromkeys(["predictions", "vehicle_locations", "stop_visits", "trips_performed"], 0)


def test_what_the_summary_says(city: City) -> None:
    run = job(city)
    summary = run.run()
    assert json.loads((run.out / "summary.json").read_text()) == summary
    assert summary["digests"]["parameters"] == run.parameters.digest
    assert summary["seconds"]["wall"] > 0
    assert summary["peak_memory_bytes"] > 10_000_000
    assert summary["rows"]["predictions"] == len(table(run.out / "predictions.csv.gz"))
    assert summary["digests"] == replace(run, out=run.out / "again").run()["digests"]


def test_the_command(city: City) -> None:
    args = ["run", "--gtfs", str(city.gtfs), "--positions", str(city.positions), "--cache-dir", str(city.cache_dir)]
    result = CliRunner().invoke(
        cli.replay, [*args, "--out", str(city.folder / "o"), "--until", "2026-02-16T08:30:00+08:00"]
    )
    assert result.exit_code == 0, result.output
    assert "positions" in result.output
    assert len(result.output.splitlines()) == 1
    assert sorted(p.name for p in (city.folder / "o").iterdir()) == [
        "predictions.csv.gz",
        "stop_visits.csv.gz",
        "summary.json",
        "trips_performed.csv.gz",
        "vehicle_locations.csv.gz",
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"--positions": "bad.csv"}, "no column"),
        ({"--positions": "absent.csv"}, "does not exist"),
        ({"--gtfs": "bad.csv"}, "zip"),
        ({"--until": "noon"}, "neither unix seconds"),
        ({"--history-gtfs": "gtfs.zip"}, "needs its --history"),
    ],
)
def test_a_wrong_argument_gets_one_clear_line(city: City, change: dict[str, str], why: str) -> None:
    (city.folder / "bad.csv").write_text("a,b\n1,2\n")
    options = {"--gtfs": "gtfs.zip", "--positions": "positions.csv", "--out": "o"} | change
    args = [
        part
        for key, value in options.items()
        for part in (key, value if key == "--until" else str(city.folder / value))
    ]
    result = CliRunner().invoke(cli.replay, ["run", *args, "--cache-dir", str(city.cache_dir)])
    assert result.exit_code != 0
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert why in result.output.lower() if why == "zip" else why in result.output
    assert not list((city.folder).glob("o/*"))


def test_a_journal_is_replayed_as_it_is(city: City) -> None:
    args = ["run", "--gtfs", str(city.gtfs), "--journal", str(city.folder), "--out", str(city.folder / "o")]
    result = CliRunner().invoke(cli.replay, [*args, "--hide-trips"])
    assert result.exit_code == 2
    assert "exactly as it is" in result.output
    result = CliRunner().invoke(cli.replay, [*args, "--positions", str(city.positions)])
    assert "either --positions or --journal" in result.output
