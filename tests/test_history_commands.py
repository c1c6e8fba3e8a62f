"""`busd history` as a user calls it."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from busd.engine import Engine
from busd.history.store import HistoryStore
from busd.history_commands import history
from busd.journal import Journal
from busd.parameters import Parameters
from busd.types import AnyInput, Output, TripHint, VehiclePosition
from gtfs.calendar import service_day_start
from gtfs.testing import frame_of_map, network_from_map, zip_from_map
from replay.grid import GridDriver

MAP = "A---B---C---D"
PLACES = frame_of_map(MAP)
LINES = {"1": "ABCD"}
START = service_day_start("20260302", "Asia/Shanghai") + 8 * 3600


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose state holds the journal of five buses."""
    (tmp_path / "feed.zip").write_bytes(zip_from_map(MAP, LINES, trips=8))
    (tmp_path / "busd.toml").write_text('[gtfs]\npath = "feed.zip"\ncache_dir = "cache"\n[state]\ndir = "state"\n')
    network = network_from_map(MAP, LINES, trips=8)
    journal = Journal(tmp_path / "state/journal", {"network": network.digest})
    engine = Engine({network.digest: network}.__getitem__, Parameters(), boards=False)

    def sink(entry: AnyInput, outputs: list[Output]) -> None:
        journal.append_many([entry])

    driver = GridDriver(engine, sink)
    driver.start(START - 60, "e")
    driver.load_network(START - 60, network.digest)
    for k in range(5):
        for t in range(-20, 200, 10):
            metres = min(max(t * 7.0, 0.0), 1199.0)
            lat, lon = PLACES.between("ABCD"[int(metres // 400)], "ABCD"[int(metres // 400) + 1], metres % 400 / 400)
            at = START + 600 * k + t
            driver.feed(VehiclePosition("t", f"bus{k}", lat, lon, at, at, hint=TripHint(trip_id=f"1-{k}")))
    driver.drain()
    journal.close()
    return tmp_path / "busd.toml"


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(history, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_from_journal_to_tides(config: Path, tmp_path: Path) -> None:
    made = run("rebuild", "--config", config).output
    assert "20 stop visits of 2026-03-02 to 2026-03-02" in made
    (day,) = json.loads(run("days", "--config", config, "--json").output)
    assert day == {"service_date": "2026-03-02", "trips": 5, "vehicles": 5, "visits": 20, "scored": True}
    assert "2026-03-02" in run("days", "--config", config).output

    out = tmp_path / "out"
    assert "20 stop visits of 5 trips" in run("export", "--config", config, "--out", out).output
    with gzip.open(out / "stop_visits.csv.gz", "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 20 and rows[0]["schedule_departure_time"] == "2026-03-02T08:00:00+08:00"
    db = config.parent / "state/history.sqlite"
    run("export", "--db", db, "--timezone", "UTC", "--from", "20260303", "--out", out)
    with gzip.open(out / "stop_visits.csv.gz", "rt", newline="") as lines:
        assert list(csv.DictReader(lines)) == []


def test_the_score_of_a_day(config: Path) -> None:
    run("rebuild", "--config", config)
    score = json.loads(run("score", "2026-03-02", "--config", config, "--json").output)
    assert score["figures"]["trips"] == 5 and score["figures"]["all"]["n"] > 20
    assert list(score["lines"]) == ["1"] and score["lines"]["1"] == score["figures"]
    text = run("score", "20260302", "--config", config).output
    assert "by line" in text and "coverage" in text


def test_what_is_wrong_is_said(config: Path, tmp_path: Path) -> None:
    missing = CliRunner().invoke(history, ["days", "--config", str(config)])
    assert "no history there yet" in str(missing.exception)
    HistoryStore(tmp_path / "empty.sqlite").close()
    assert run("days", "--db", tmp_path / "empty.sqlite").output == "nothing yet\n"
    assert "were measured" in run("score", "2026-03-02", "--db", tmp_path / "empty.sqlite", code=1).output
    assert "is no date" in run("score", "yesterday", "--db", tmp_path / "empty.sqlite", code=2).output
    assert (
        "no time zone"
        in run("export", "--db", tmp_path / "empty.sqlite", "--timezone", "Mars/X", "--out", "x", code=2).output
    )
    assert "--config or --gtfs" in run("export", "--db", tmp_path / "empty.sqlite", "--out", "x", code=2).output
    assert "--config or --db" in run("days", code=2).output
