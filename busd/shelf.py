"""Tables of structs that live in memory and are kept in SQLite behind.

Nobody waits for the disk: what has changed is collected and written in one transaction (`Store.take_changes` on the
loop, `Store.write_changes` in any thread). A crash loses what changed since the last write, never a half of it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from busd.errors import BusdError

T = TypeVar("T", bound=msgspec.Struct)

AUDIT_ROWS = 100_000
"""Older entries of the audit log go."""
_AUDIT = """
CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, role TEXT NOT NULL, what TEXT NOT NULL,
    target TEXT NOT NULL, before BLOB, after BLOB
);
"""


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what. ``before`` and ``after`` are the thing as it was and is; None = it was not there."""

    at: float
    who: str
    role: str
    what: str
    target: str
    before: Any = None
    after: Any = None
    seq: int = 0
    """0 until it is written"""


class Shelf(Generic[T]):
    """One table: key -> struct. A struct that was changed in place has to be `touch`ed."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name = name
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(kind).decode
        self._rows: dict[str, T] = {}
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[T]:
        return iter(self._rows.values())

    def find(self, key: str) -> T | None:
        return self._rows.get(key)

    def keys(self) -> Sequence[str]:
        return list(self._rows)

    def items(self) -> Sequence[tuple[str, T]]:
        return list(self._rows.items())

    def put(self, key: str, row: T) -> None:
        self._rows[key] = row
        self._changed.add(key)

    def touch(self, key: str) -> None:
        self._changed.add(key)

    def drop(self, key: str) -> T | None:
        row = self._rows.pop(key, None)
        if row is not None:
            self._changed.add(key)
        return row

    # ---- for the store -----------------------------------------------------------------------------------------------

    def read(self, rows: Iterator[tuple[str, bytes]]) -> None:
        for key, data in rows:
            self._rows[key] = self._decode(data)

    def take(self) -> list[tuple[str, bytes | None]]:
        rows = self._rows
        taken = [(key, self._encode(rows[key]) if key in rows else None) for key in self._changed]
        self._changed.clear()
        return taken


class Changes(msgspec.Struct):
    """Rows to write; a snapshot, so that another thread may write it. Data None = gone."""

    rows: dict[str, list[tuple[str, bytes | None]]]
    audit: list[AuditEntry]


class Store:
    """All shelves of one SQLite file, and the audit log. ``path`` None keeps them in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._shelves: dict[str, Shelf[Any]] = {}
        self._audit: list[AuditEntry] = []
        self._kept: list[AuditEntry] = []  # the whole log where there is no file
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, check_same_thread=False)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.executescript(_AUDIT)
            except (OSError, sqlite3.Error) as error:
                raise BusdError(f"{path} cannot be used ({error}); move it away to begin anew") from error
        self._path = path

    def shelf(self, name: str, kind: type[T]) -> Shelf[T]:
        """The table of this name, filled from the file. BusdError if what is there is not of this kind."""
        shelf = Shelf(name, kind)
        self._shelves[name] = shelf
        if self._db is not None:
            try:
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {name} (key TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID")
                shelf.read(self._db.execute(f"SELECT key, data FROM {name} ORDER BY key"))
            except (sqlite3.Error, msgspec.DecodeError) as error:
                raise BusdError(f"{self._path}, table {name}: {error}; move the file away to begin anew") from error
        return shelf

    # ---- the log of who did what -----------------------------------------------------------------------------------------

    def note(self, entry: AuditEntry) -> None:
        self._audit.append(entry)

    def audit(self, limit: int = 100, before_seq: int | None = None, about: str = "") -> list[AuditEntry]:
        """Of what has been written, newest first; ``about``: only entries whose person, deed or target has this in it.
        Reads the disk; in any thread."""
        if self._db is None:
            rows = [entry for entry in reversed(self._kept) if before_seq is None or entry.seq < before_seq]
            return [entry for entry in rows if about in f"{entry.who} {entry.what} {entry.target}"][:limit]
        like = "%" + about.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        with self._lock:
            found = self._db.execute(
                "SELECT at, who, role, what, target, before, after, seq FROM audit WHERE seq < ? AND"
                " (who || ' ' || what || ' ' || target) LIKE ? ESCAPE '\\' ORDER BY seq DESC LIMIT ?",
                (before_seq or 1 << 62, like, limit),
            ).fetchall()
        return [
            AuditEntry(at, who, role, what, target, _load(before), _load(after), seq)
            for at, who, role, what, target, before, after, seq in found
        ]

    # ---- disk --------------------------------------------------------------------------------------------------------

    def take_changes(self) -> Changes | None:
        """What is to be written, once; None if nothing is."""
        rows = {name: taken for name, shelf in self._shelves.items() if (taken := shelf.take())}
        if not rows and not self._audit:
            return None
        entries, self._audit = self._audit, []
        return Changes(rows, entries)

    def write_changes(self, changes: Changes) -> None:
        """One transaction, in the calling thread. sqlite3.Error leaves the file as it was: give the changes back."""
        if self._db is None:
            first = len(self._kept) + 1
            self._kept += [msgspec.structs.replace(e, seq=first + i) for i, e in enumerate(changes.audit)]
            return
        with self._lock, self._db as db:
            for name, rows in changes.rows.items():
                kept = [row for row in rows if row[1] is not None]
                gone = [(key,) for key, data in rows if data is None]
                db.executemany(f"INSERT OR REPLACE INTO {name} VALUES (?, ?)", kept)
                db.executemany(f"DELETE FROM {name} WHERE key = ?", gone)
            db.executemany(
                "INSERT INTO audit (at, who, role, what, target, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(e.at, e.who, e.role, e.what, e.target, _dump(e.before), _dump(e.after)) for e in changes.audit],
            )
            if changes.audit:
                db.execute("DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?", (AUDIT_ROWS,))

    def give_back(self, changes: Changes) -> None:
        """After a write that failed: they are changes again."""
        for name, rows in changes.rows.items():
            for key, _ in rows:
                self._shelves[name].touch(key)
        self._audit = changes.audit + self._audit

    def flush(self) -> None:
        """Writes what has changed, now and here."""
        changes = self.take_changes()
        if changes is not None:
            try:
                self.write_changes(changes)
            except sqlite3.Error:
                self.give_back(changes)
                raise

    def close(self) -> None:
        """Writes and closes. sqlite3.Error if the last changes cannot be written; it is closed all the same."""
        try:
            self.flush()
        finally:
            if self._db is not None:
                with self._lock:
                    self._db.close()
                self._db = None


def _dump(value: Any) -> bytes | None:
    return None if value is None else msgspec.json.encode(value)


def _load(data: bytes | None) -> Any:
    return None if data is None else msgspec.json.decode(data)
