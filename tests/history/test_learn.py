"""From observed visits to priors: the columns, the files, the commands, and the daemon that takes them up."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from busd.clock import SystemClock
from busd.config import Config, parse_config
from busd.daemon import Daemon
from busd.errors import BusdError, HistoryError
from busd.history.export import export_tides
from busd.history.learning import VisitTable
from busd.history.priors import KEEP, PriorsStore
from busd.history.store import HistoryStore
from busd.history.visits import Describer
from busd.history_commands import learn
from busd.parameters import Parameters
from busd.predict import priors as predict_priors
from busd.predict.priors import Priors
from busd.types import DatedTrip, StopVisit
from gtfs.testing import zip_from_map

Line = Any  # of conftest.py
LINES = {"1": "ABCD", "2": "DCBA"}


def filled(line: Line, path: Path, days: tuple[str, ...] = ("20260302", "20260303"), trips: int = 20) -> HistoryStore:
    """Buses that need 70 s for a link of 50 s."""
    store, describer = HistoryStore(path), Describer(line.network)
    batch = []
    for k, date in enumerate(days):
        for number in range(trips):
            zero = line.start + 86_400 * k + 300 * number
            trip = line.trip(number, date=date)
            for pos in range(4):
                at = zero + 70.0 * pos
                visit = StopVisit(trip, pos, f"bus{number}", None if pos == 0 else at, at if pos == 0 else None, 20.0)
                batch.append(describer.seen(visit, at + 12.0))
    store.write(batch)
    return store


def test_columns_of_history(line: Line, tmp_path: Path) -> None:
    store = filled(line, tmp_path / "h.sqlite")
    table = VisitTable(line.network)
    table.add_history(store.read())
    store.close()
    columns = table.columns()
    assert len(table) == len(columns.trip_idx) == 160 and not table.dropped
    assert (np.diff(columns.known_at) >= 0).all()
    assert (columns.known_at >= np.fmax(columns.arrival_at, columns.departure_at)).all()
    assert columns.stop_pos[:4].tolist() == [0, 1, 2, 3]
    assert np.isnan(columns.arrival_at[0]) and columns.departure_at[0] == line.start
    assert set(columns.start_s.tolist()) == {-1} and len(set(columns.vehicle.tolist())) == 20
    assert len(set(columns.service_ordinal.tolist())) == 2 and (columns.bracket_s == 20.0).all()


def test_tides_files_give_the_same_columns(line: Line, tmp_path: Path) -> None:
    store = filled(line, tmp_path / "h.sqlite")
    export_tides(store, tmp_path, "Asia/Shanghai")
    mine, theirs = VisitTable(line.network), VisitTable(line.network)
    mine.add_history(store.read())
    store.close()
    theirs.add_tides(tmp_path / "stop_visits.csv.gz")
    a, b = mine.columns(), theirs.columns()
    for name in ("trip_idx", "stop_pos", "service_ordinal", "start_s", "arrival_at", "departure_at"):
        assert np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name.endswith("_at")), name
    # the file does not say when: at the visit itself at the earliest
    assert np.array_equal(b.known_at, np.fmax(b.arrival_at, b.departure_at)) and (b.bracket_s == 0).all()


def test_what_the_timetable_does_not_have_is_counted(line: Line, tmp_path: Path) -> None:
    head = "service_date,trip_id_performed,scheduled_stop_sequence,stop_id,actual_arrival_time,actual_departure_time"
    sequence = int(line.network.stop_sequence[1])
    rows = [
        f"2026-03-02,1-0,{sequence},B,2026-03-02T08:01:00+08:00,",
        f"2026-03-02,1-0@08:00:00#bus9,{sequence},B,2026-03-02T08:01:00+08:00,",
        f"2026-03-02,gone,{sequence},B,2026-03-02T08:01:00+08:00,",
        f"2026-03-02,1-0,{sequence},C,2026-03-02T08:01:00+08:00,",
        "2026-03-02,1-0,977,B,2026-03-02T08:01:00+08:00,",
        f"2026-03-02,1-0,{sequence},B,,",
        f"2026-03-02,1-0,{sequence},B,2026-03-02T08:01:00,",
        f"someday,1-0,{sequence},B,2026-03-02T08:01:00+08:00,",
    ]
    (tmp_path / "v.csv").write_text("\n".join([head, *rows]) + "\n")
    table = VisitTable(line.network)
    table.add_tides(tmp_path / "v.csv")
    assert len(table) == 2 and sum(table.dropped.values()) == 6
    assert sorted(table.columns().start_s.tolist()) == [-1, 8 * 3600]
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(HistoryError, match="stop_visits is expected"):
        table.add_tides(tmp_path / "x.csv")
    with pytest.raises(HistoryError, match=r"none\.csv"):
        table.add_tides(tmp_path / "none.csv")


def learned(line: Line, path: Path, trips: int = 20) -> Priors:
    store = filled(line, path, trips=trips)
    table = VisitTable(line.network)
    table.add_history(store.read())
    store.close()
    return predict_priors.learn(line.network, table.columns(), Parameters())


def test_versions_are_kept_and_the_newest_is_current(line: Line, tmp_path: Path) -> None:
    store = PriorsStore(tmp_path / "priors")
    assert store.current is None
    first, second = (learned(line, tmp_path / f"{n}.sqlite", n) for n in (10, 20))
    assert first.digest != second.digest
    assert first.digest == learned(line, tmp_path / "again.sqlite", 10).digest
    for priors in (first, second):
        store.put(priors)
        assert store.current == priors.digest
    other = PriorsStore(tmp_path / "priors")
    assert other(first.digest).digest == first.digest and other(second.digest).digest == second.digest
    with pytest.raises(LookupError, match="not in"):
        other("f" * 64)
    for k in range(KEEP + 3):
        (tmp_path / "priors" / f"{k:032d}.priors").write_bytes(b"old")
    store.put(first)
    assert len(list((tmp_path / "priors").glob("*.priors"))) <= KEEP + 1


def test_a_damaged_file_is_one_error(line: Line, tmp_path: Path) -> None:
    priors = learned(line, tmp_path / "h.sqlite")
    priors.save(tmp_path / "p.priors")
    whole = (tmp_path / "p.priors").read_bytes()
    for damage in (b"", whole[: len(whole) // 2], b"nothing" * 50):
        (tmp_path / "p.priors").write_bytes(damage)
        with pytest.raises(BusdError, match=r"p\.priors"):
            Priors.load(tmp_path / "p.priors")


# ---- the command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(line: Line, tmp_path: Path) -> Path:
    (tmp_path / "feed.zip").write_bytes(zip_from_map("A---B---C---D", LINES, trips=100, headway_s=300))
    filled(line, tmp_path / "state/history.sqlite").close()
    (tmp_path / "busd.toml").write_text('[gtfs]\npath = "feed.zip"\ncache_dir = "cache"\n[state]\ndir = "state"\n')
    return tmp_path / "busd.toml"


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(learn, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_learning_from_history_and_from_its_export_is_nearly_the_same(config: Path, line: Line, tmp_path: Path) -> None:
    told = json.loads(run("--config", config, "--json").output)
    store = PriorsStore(tmp_path / "state/priors")
    assert store.current == told["digest"] and told["used"] == 160 and told["dropped"] == {}
    again = json.loads(run("--config", config, "--json", "--out", tmp_path / "p.priors").output)
    assert again["digest"] == told["digest"] == Priors.load(tmp_path / "p.priors").digest
    half = json.loads(run("--config", config, "--to", "2026-03-02", "--json").output)
    assert half["used"] == 80 and half["digest"] != told["digest"]
    assert store.current == half["digest"]
    history = HistoryStore(tmp_path / "state/history.sqlite", read_only=True)
    export_tides(history, tmp_path, "Asia/Shanghai")
    history.close()
    files = run("--config", config, "--visits", tmp_path / "stop_visits.csv.gz", "--out", tmp_path / "v.priors").output
    assert files.startswith("160 stop visits -> priors")


def test_learning_from_positions(config: Path, line: Line, tmp_path: Path) -> None:
    import datetime as dt

    from gtfs.testing import frame_of_map

    places, rows = frame_of_map("A---B---C---D"), []
    for k in range(4):
        for t in range(-20, 240, 10):
            metres = min(max(t * 6.0, 0.0), 1199.0)
            lat, lon = places.between("ABCD"[int(metres // 400)], "ABCD"[int(metres // 400) + 1], metres % 400 / 400)
            time = dt.datetime.fromtimestamp(line.start + 300 * k + t, dt.UTC).isoformat()
            rows.append([time, f"bus{k}", f"1-{k}", lat, lon])
    with (tmp_path / "p.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["event_timestamp", "vehicle_id", "trip_id_scheduled", "latitude", "longitude"])
        out.writerows(sorted(rows))
    told = json.loads(
        run("--config", config, "--positions", tmp_path / "p.csv", "--json", "--out", tmp_path / "q").output
    )
    assert Priors.load(tmp_path / "q").digest == told["digest"]


def test_what_is_wrong_is_said(config: Path, tmp_path: Path) -> None:
    assert "--config" in run(code=2).output
    assert "one of --db" in run("--config", config, "--visits", config, "--positions", config, code=2).output
    nothing = run("--config", config, "--from", "2030-01-01", code=1).output
    assert "nothing to learn from" in nothing


async def test_a_running_daemon_takes_new_priors_up_and_remembers(config: Path, line: Line, tmp_path: Path) -> None:
    settings = parse_config(
        {
            "gtfs": {"path": "feed.zip", "cache_dir": "cache"},
            "state": {"dir": "state", "snapshot_s": 3600},
            "web": {"port": 0},
            "signs": {"host": "127.0.0.1", "port": 0},
            "jt808": {"enabled": False},
        },
        tmp_path,
    )
    for expected in (True, False):  # taken once, and not again after a restart
        assert await taken_up(settings, config if expected else None) == expected


async def taken_up(settings: Config, learns: Path | None) -> bool:
    """Whether a daemon that ran until its priors are the current ones has written anything to its journal."""
    stop, ready = asyncio.Event(), asyncio.Event()
    daemon = Daemon(settings, SystemClock())
    task = asyncio.create_task(daemon.run(stop, lambda _: ready.set()))
    await asyncio.wait_for(ready.wait(), 20)
    before = daemon.journal.seq
    if learns is not None:
        await asyncio.to_thread(run, "--config", learns)
    async with asyncio.timeout(20):
        while daemon.priors.taken is None or daemon.priors.taken != daemon.priors.current:
            await asyncio.sleep(0.02)
    stop.set()
    await asyncio.wait_for(task, 20)
    return daemon.journal.seq > before


def test_another_trip_of_the_timetable_is_another_row(line: Line) -> None:
    table = VisitTable(line.network)
    visit = StopVisit(DatedTrip(line.trip(3).trip_idx, "20260302"), 2, "b", 5.0, None, 1.0)
    table.add_history([Describer(line.network).seen(visit, 6.0)])
    columns = table.columns()
    assert (columns.trip_idx[0], columns.stop_pos[0], columns.known_at[0]) == (line.trip(3).trip_idx, 2, 6.0)
