"""The history's file: batches, completions, days, retention, TIDES."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from busd.errors import HistoryError
from busd.history.export import export_tides
from busd.history.store import HistoryStore
from busd.history.tides import TRIPS, VISITS, Day
from busd.history.visits import Describer, Seen
from busd.types import DatedTrip, StopVisit
from gtfs.testing import network_from_map

Line = Any  # of conftest.py
SCHEMAS = Path(__file__).parents[2] / "../shared/data/tides"


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = HistoryStore(tmp_path / "deep" / "history.sqlite")
    yield made
    made.close()


def seen(
    line: Line, trip: DatedTrip, pos: int, arrival: float | None, departure: float | None = None, bus: str = "b1"
) -> Seen:
    known = max(at for at in (arrival, departure) if at is not None) + 10
    return Describer(line.network).seen(StopVisit(trip, pos, bus, arrival, departure, 20.0), known)


def table(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def test_visits_come_back_in_the_order_in_which_they_became_known(store: HistoryStore, line: Line) -> None:
    zero = line.start
    rows = [
        seen(line, line.trip(1), 1, zero + 400),
        seen(line, line.trip(0), 1, zero + 60),
        seen(line, line.trip(0), 2, zero + 500),
    ]
    assert store.write(rows) == 3 and store.write([]) == 0
    back = list(store.read())
    assert back == [rows[1], rows[0], rows[2]]
    assert back[0].visit.scheduled_arrival == zero + 50 and back[0].trip.trip_id_performed == "1-0"


def test_a_later_word_completes_the_earlier_one(store: HistoryStore, line: Line) -> None:
    store.write([seen(line, line.trip(0), 1, line.start + 60)])
    store.write([seen(line, line.trip(0), 1, None, line.start + 75)])
    (row,) = store.read()
    assert (row.visit.arrival, row.visit.departure) == (line.start + 60, line.start + 75)
    assert row.visit.known_at == line.start + 85  # nobody may learn the whole before


def test_a_second_vehicle_on_a_trip_has_a_name_of_its_own(store: HistoryStore, line: Line) -> None:
    store.write([seen(line, line.trip(0), 1, line.start + 60), seen(line, line.trip(0), 2, line.start + 90, bus="b2")])
    assert {row.trip.trip_id_performed for row in store.read()} == {"1-0", "1-0#b2"}
    (day,) = store.days()
    assert (day.trips, day.vehicles, day.visits, day.scored) == (2, 2, 2, False)


def test_the_export_is_that_of_a_replay(store: HistoryStore, line: Line, tmp_path: Path) -> None:
    """History, written and read again, gives the tables that the replay writes straight from the engine."""
    day = Day(line.network)
    for number, bus in ((0, "b1"), (1, "b2"), (1, "b3")):
        for pos, arrival in enumerate((None, 60.25, 110.0, 170.0)):
            at = line.start + 300 * number
            departure = at + 5.0 if pos == 0 else at + 120.0 if pos == 2 else None
            visit = StopVisit(line.trip(number), pos, bus, None if arrival is None else at + arrival, departure, 20.0)
            day.add(visit)
            store.write([Describer(line.network).seen(visit, at + 200)])
    counts = export_tides(store, tmp_path / "out", "Asia/Shanghai")
    assert counts == {"stop_visits": 12, "trips_performed": 3}
    for name, header, rows in (("stop_visits", VISITS, day.visit_rows()), ("trips_performed", TRIPS, day.trip_rows())):
        got = [list(row.values()) for row in table(tmp_path / "out" / f"{name}.csv.gz")]
        assert list(table(tmp_path / "out" / f"{name}.csv.gz")[0]) == list(header)
        assert sorted(got) == sorted(rows)
    assert export_tides(store, tmp_path / "none", "UTC", first="2030-01-01")["stop_visits"] == 0


def test_the_views_are_tides(store: HistoryStore, line: Line) -> None:
    store.write([seen(line, line.trip(0), 0, None, line.start + 5), seen(line, line.trip(0), 3, line.start + 160)])
    db = sqlite3.connect(store.path)
    db.row_factory = sqlite3.Row
    visits = [dict(row) for row in db.execute("SELECT * FROM stop_visits ORDER BY trip_stop_sequence")]
    (trip,) = [dict(row) for row in db.execute("SELECT * FROM trips_performed")]
    db.close()
    assert set(visits[0]) == set(VISITS) and set(trip) == set(TRIPS)
    assert visits[1]["actual_arrival_time"] == "2026-03-02T00:02:40Z"
    assert (trip["actual_trip_start"], trip["actual_trip_end"]) == ("2026-03-02T00:00:05Z", "2026-03-02T00:02:40Z")
    for name, row in (("stop_visits", visits[0]), ("trips_performed", trip)):
        path = SCHEMAS / f"{name}.schema.json"
        if path.exists():
            fields = {field["name"] for field in json.loads(path.read_text())["fields"]}
            assert set(row) <= fields


def test_retention(store: HistoryStore, line: Line) -> None:
    for day in range(1, 7):
        trips = [line.trip(k, date=f"2026030{day}") for k in range(90)]
        store.write([seen(line, trip, pos, line.start + pos) for trip in trips for pos in range(1, 4)])
        store.put_score(f"2026030{day}", "p", {"x": 1})
    assert store.prune("2026-03-03", 10**9).days == 2
    assert [row.service_date for row in store.days()] == ["2026-03-03", "2026-03-04", "2026-03-05", "2026-03-06"]
    full = store.prune("", 10**9).bytes
    pruned = store.prune("", full // 2)
    assert pruned.days >= 1 and pruned.bytes <= full // 2
    store.prune("", 1)
    assert [row.service_date for row in store.days()] == ["2026-03-06"]  # the newest day stays
    assert store.scores("2026-03-01") == [] and store.scores("2026-03-06") == [{"x": 1}]


def test_rows_outlive_their_timetable(store: HistoryStore, line: Line) -> None:
    store.write([seen(line, line.trip(0), 1, line.start + 60)])
    other = network_from_map("A---B", {"1": "AB"}, tables={}, days=("20260101", "20261231"))
    store.write([Describer(other).seen(StopVisit(DatedTrip(0, "20260303"), 1, "b1", 5.0, None, 1.0), 6.0)])
    assert {row.trip.stops for row in store.read()} == {2, 4}


def test_a_reader_beside_the_writer(store: HistoryStore, line: Line) -> None:
    store.write([seen(line, line.trip(0), 1, line.start + 60)])
    reader = HistoryStore(store.path, read_only=True)
    assert len(list(reader.read())) == 1
    store.write([seen(line, line.trip(0), 2, line.start + 90)])
    assert len(list(reader.read())) == 2
    with pytest.raises(HistoryError, match="readonly"):
        reader.write([seen(line, line.trip(0), 3, line.start + 90)])
    reader.close()


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no history there yet"):
        HistoryStore(tmp_path / "none.sqlite", read_only=True)
    (tmp_path / "text.sqlite").write_text("not a database " * 100)
    with pytest.raises(HistoryError, match=r"text\.sqlite"):
        HistoryStore(tmp_path / "text.sqlite")
    db = sqlite3.connect(tmp_path / "other.sqlite")
    db.execute("CREATE TABLE x (y)")
    db.commit()
    db.close()
    with pytest.raises(HistoryError, match="not a history"):
        HistoryStore(tmp_path / "other.sqlite")
    db = sqlite3.connect(tmp_path / "newer.sqlite")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(HistoryError, match="this version"):
        HistoryStore(tmp_path / "newer.sqlite")


def test_a_failed_batch_leaves_nothing_behind(store: HistoryStore, line: Line) -> None:
    good = seen(line, line.trip(0), 1, line.start + 60)
    with pytest.raises(HistoryError):
        store.write([good, Seen(good.trip, good.visit._replace(pos=2, bracket_s=None))])  # type: ignore[arg-type]
    assert list(store.read()) == []
