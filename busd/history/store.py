"""Observed visits in SQLite: one file, written in batches by one process, read by anybody.

The tables are compact (epoch seconds, one row a run and a stop); the views ``stop_visits`` and ``trips_performed`` show
them under the names and in the types of TIDES 1.0, for whoever opens the file with another tool. Every row carries its
own timetable, so that history outlives a change of it. ``known_at`` is when busd came to know of a visit: who learns
from history must not use a row before that.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from busd.errors import HistoryError
from busd.history.tides import iso_date
from busd.history.visits import Seen, TripRow, VisitRow

VERSION = 1
_SCHEMA = """
CREATE TABLE trip (
    run INTEGER PRIMARY KEY, service_date TEXT NOT NULL, trip_id TEXT NOT NULL, start_s INTEGER NOT NULL,
    vehicle_id TEXT NOT NULL, trip_id_performed TEXT NOT NULL, route_id TEXT NOT NULL, route_type TEXT NOT NULL,
    shape_id TEXT NOT NULL, direction_id INTEGER, block_id TEXT NOT NULL, first_stop_id TEXT NOT NULL,
    last_stop_id TEXT NOT NULL, stops INTEGER NOT NULL, scheduled_start REAL, scheduled_end REAL,
    UNIQUE (service_date, trip_id, start_s, vehicle_id)
);
CREATE TABLE visit (
    run INTEGER NOT NULL REFERENCES trip (run) ON DELETE CASCADE, pos INTEGER NOT NULL, stop_sequence INTEGER NOT NULL,
    stop_id TEXT NOT NULL, timepoint INTEGER NOT NULL, scheduled_arrival REAL, scheduled_departure REAL,
    arrival REAL, departure REAL, bracket_s REAL NOT NULL, known_at REAL NOT NULL,
    PRIMARY KEY (run, pos)
) WITHOUT ROWID;
CREATE TABLE score (
    service_date TEXT NOT NULL, part TEXT NOT NULL, sums TEXT NOT NULL, PRIMARY KEY (service_date, part)
) WITHOUT ROWID;
CREATE VIEW stop_visits AS SELECT
    service_date, trip_id_performed, pos + 1 AS trip_stop_sequence, stop_sequence AS scheduled_stop_sequence, vehicle_id,
    CASE WHEN departure >= arrival THEN CAST(round(departure - arrival) AS INTEGER) END AS dwell, stop_id,
    timepoint, strftime('%Y-%m-%dT%H:%M:%SZ', scheduled_arrival, 'unixepoch') AS schedule_arrival_time,
    strftime('%Y-%m-%dT%H:%M:%SZ', scheduled_departure, 'unixepoch') AS schedule_departure_time,
    strftime('%Y-%m-%dT%H:%M:%SZ', arrival, 'unixepoch') AS actual_arrival_time,
    strftime('%Y-%m-%dT%H:%M:%SZ', departure, 'unixepoch') AS actual_departure_time,
    'Scheduled' AS schedule_relationship
    FROM visit JOIN trip USING (run);
CREATE VIEW trips_performed AS SELECT
    service_date, trip_id_performed, vehicle_id, trip_id AS trip_id_scheduled, route_id, route_type, shape_id,
    direction_id, block_id, first_stop_id AS trip_start_stop_id, last_stop_id AS trip_end_stop_id,
    strftime('%Y-%m-%dT%H:%M:%SZ', scheduled_start, 'unixepoch') AS schedule_trip_start,
    strftime('%Y-%m-%dT%H:%M:%SZ', scheduled_end, 'unixepoch') AS schedule_trip_end,
    strftime('%Y-%m-%dT%H:%M:%SZ', (SELECT departure FROM visit WHERE run = trip.run AND pos = 0), 'unixepoch')
        AS actual_trip_start,
    strftime('%Y-%m-%dT%H:%M:%SZ', (SELECT arrival FROM visit WHERE run = trip.run AND pos = trip.stops - 1), 'unixepoch')
        AS actual_trip_end,
    'In service' AS trip_type, 'Scheduled' AS schedule_relationship
    FROM trip;
"""
_ADD_TRIP = f"INSERT INTO trip VALUES (NULL{', ?' * 15}) ON CONFLICT DO NOTHING"
_ADD_VISIT = """
INSERT INTO visit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, pos) DO UPDATE SET
    arrival = coalesce(excluded.arrival, arrival), departure = coalesce(excluded.departure, departure),
    bracket_s = excluded.bracket_s, known_at = max(known_at, excluded.known_at)
"""


class DayRow(NamedTuple):
    """What is held of one service day."""

    service_date: str
    trips: int
    vehicles: int
    visits: int
    scored: bool


@dataclass(frozen=True)
class Pruned:
    days: int
    bytes: int
    """of the file afterwards"""


class HistoryStore:
    """``read_only`` for commands beside a running daemon. `HistoryError` where the file is no history of this version
    or cannot be opened; later trouble with the disk is a HistoryError too."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            if read_only:
                if not path.exists():
                    raise HistoryError(f"{path}: no history there yet")
                self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, check_same_thread=False)
            self._set_up(read_only)
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"{path}: {error}") from None

    def _set_up(self, read_only: bool) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if version not in (0, VERSION) or (version == 0 and tables):
            raise HistoryError(f"{self.path}: is not a history that this version of busd can use")
        if read_only and not version:
            raise HistoryError(f"{self.path}: no history there yet")
        if read_only:
            return
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA foreign_keys=ON")
        if not version:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # ---- writing -----------------------------------------------------------------------------------------------------

    def write(self, batch: Sequence[Seen]) -> int:
        """Add or complete visits in one transaction; returns how many rows that touched. Any thread."""
        if not batch:
            return 0
        with self._lock, self._writing():
            runs: dict[tuple[str, str, int, str], int] = {}
            for seen in batch:
                trip, visit = seen.trip, seen.visit
                if trip.key not in runs:
                    runs[trip.key] = self._run(trip)
                self._db.execute(_ADD_VISIT, (runs[trip.key], *visit))
        return len(batch)

    def _writing(self) -> Any:
        return _Transaction(self._db, self.path)

    def _run(self, trip: TripRow) -> int:
        find = "SELECT run FROM trip WHERE service_date = ? AND trip_id = ? AND start_s = ? AND vehicle_id = ?"
        row = self._db.execute(find, trip.key).fetchone()
        if row is None:
            other = "SELECT 1 FROM trip WHERE service_date = ? AND trip_id_performed = ?"
            name = trip.trip_id_performed
            if self._db.execute(other, (trip.service_date, name)).fetchone():
                trip = trip._replace(trip_id_performed=f"{name}#{trip.vehicle_id}")
            self._db.execute(_ADD_TRIP, trip)
            row = self._db.execute(find, trip.key).fetchone()
        return int(row[0])

    def put_score(self, service_date: str, part: str, sums: dict[str, Any]) -> None:
        """Sums of one process (``part``) about one service day (YYYYMMDD)."""
        with self._lock, self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO score VALUES (?, ?, ?)",
                (iso_date(service_date), part, orjson.dumps(sums).decode()),
            )

    def forget(self, service_date: str) -> None:
        """All of one day (YYYY-MM-DD)."""
        with self._lock, self._writing():
            self._forget(service_date)

    def _forget(self, service_date: str) -> None:
        self._db.execute("DELETE FROM trip WHERE service_date = ?", (service_date,))
        self._db.execute("DELETE FROM score WHERE service_date = ?", (service_date,))

    def prune(self, before: str, max_bytes: int) -> Pruned:
        """Lets go of days before ``before`` (YYYY-MM-DD), and of the oldest while the file is larger than
        ``max_bytes``; the newest day stays."""
        gone = 0
        with self._lock, self._writing():
            days = self._days()
            while days and (days[0] < before or (len(days) > 1 and self._size() > max_bytes)):
                self._forget(days.pop(0))
                gone += 1
        if gone:
            with self._lock:
                try:
                    self._db.execute("PRAGMA incremental_vacuum").fetchall()
                except sqlite3.Error as error:
                    raise HistoryError(f"{self.path}: {error}") from None
        return Pruned(gone, self._size())

    def _days(self) -> list[str]:
        query = "SELECT service_date FROM trip UNION SELECT service_date FROM score ORDER BY service_date"
        return [day for (day,) in self._db.execute(query)]

    def _size(self) -> int:
        """Bytes of the pages in use."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def days(self) -> list[DayRow]:
        with self._lock:
            scored = {day for (day,) in self._db.execute("SELECT DISTINCT service_date FROM score")}
            query = (
                "SELECT service_date, count(*), count(DISTINCT vehicle_id), "
                "sum((SELECT count(*) FROM visit WHERE visit.run = trip.run)) FROM trip GROUP BY service_date"
            )
            rows = {day: (trips, buses, visits) for day, trips, buses, visits in self._db.execute(query)}
        return [DayRow(day, *rows.get(day, (0, 0, 0)), day in scored) for day in sorted(rows.keys() | scored)]

    def read(self, first: str = "", last: str = "9999") -> Iterator[Seen]:
        """Visits of the service days ``first`` to ``last`` (YYYY-MM-DD), in the order in which they became known."""
        columns = ", ".join(f"trip.{name}" for name in TripRow._fields)
        query = (
            f"SELECT {columns}, visit.* FROM visit JOIN trip USING (run) WHERE service_date BETWEEN ? AND ? "
            "ORDER BY known_at, visit.run, pos"
        )
        with self._lock:
            cursor = self._db.execute(query, (first, last))
        width = len(TripRow._fields)
        while True:
            with self._lock:
                rows = cursor.fetchmany(10_000)
            if not rows:
                return
            for row in rows:
                yield Seen(TripRow(*row[:width]), VisitRow(*row[width + 1 :]))

    def scores(self, service_date: str) -> list[dict[str, Any]]:
        """The parts of one day (YYYY-MM-DD)."""
        with self._lock:
            rows = self._db.execute("SELECT sums FROM score WHERE service_date = ? ORDER BY part", (service_date,))
            return [orjson.loads(text) for (text,) in rows]

    def trips(self, service_dates: Iterable[str]) -> Iterator[TripRow]:
        columns = ", ".join(TripRow._fields)
        for day in service_dates:
            with self._lock:
                rows = self._db.execute(
                    f"SELECT {columns} FROM trip WHERE service_date = ? ORDER BY run", (day,)
                ).fetchall()
            yield from (TripRow(*row) for row in rows)


class _Transaction:
    """``with`` around writes: all or nothing, and the disk's complaints under our name."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._db.commit()
            else:
                self._db.rollback()
        except sqlite3.Error as problem:
            raise HistoryError(f"{self._path}: {problem}") from problem
        if isinstance(error, sqlite3.Error):
            raise HistoryError(f"{self._path}: {error}") from error
