"""Where devices, their names and tokens are kept over a restart: SQLite (WAL), written in one transaction at a time."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import msgspec

_SCHEMA = """
CREATE TABLE IF NOT EXISTS device (
    phone TEXT PRIMARY KEY, vehicle_id TEXT, plate TEXT NOT NULL, terminal_id TEXT NOT NULL, code_hash BLOB NOT NULL,
    listed INTEGER NOT NULL, first_seen_at REAL, last_seen_at REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alias (
    kind TEXT NOT NULL, key TEXT NOT NULL, vehicle_id TEXT NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS token (
    kind TEXT NOT NULL, owner TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (kind, owner)
) WITHOUT ROWID;
"""

Row = tuple[str, str | None, str, str, bytes, int, float | None, float | None]
Token = tuple[str, str, bytes | None]
"""(kind, owner, hash); hash None = gone"""
Alias = tuple[str, str, str | None]
"""(kind, key, vehicle id); vehicle id None = gone"""


class Changes(msgspec.Struct):
    """Rows to write; a snapshot, so that another thread may write it."""

    devices: list[Row]
    tokens: list[Token]
    gone: list[str] = []
    """phones"""
    aliases: list[Alias] = []


class DeviceStore:
    """One file. `write` may be called in any thread; the rest belongs to the thread that opened it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def devices(self) -> list[Row]:
        return self._db.execute("SELECT * FROM device").fetchall()

    def aliases(self) -> list[tuple[str, str, str]]:
        """(kind, key, vehicle id)"""
        return self._db.execute("SELECT kind, key, vehicle_id FROM alias").fetchall()

    def tokens(self) -> list[tuple[str, str, bytes]]:
        """(kind, owner, hash)"""
        return self._db.execute("SELECT kind, owner, hash FROM token").fetchall()

    def write(self, changes: Changes) -> None:
        """One transaction, in the calling thread. sqlite3.Error leaves the tables as they were."""
        with self._lock, self._db:
            self._db.executemany("INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?)", changes.devices)
            self._db.executemany(
                "INSERT OR REPLACE INTO token VALUES (?, ?, ?)", [token for token in changes.tokens if token[2]]
            )
            self._db.executemany(
                "DELETE FROM token WHERE kind = ? AND owner = ?",
                [token[:2] for token in changes.tokens if not token[2]],
            )
            self._db.executemany("DELETE FROM device WHERE phone = ?", [(phone,) for phone in changes.gone])
            self._db.executemany(
                "INSERT OR REPLACE INTO alias VALUES (?, ?, ?)", [alias for alias in changes.aliases if alias[2]]
            )
            self._db.executemany(
                "DELETE FROM alias WHERE kind = ? AND key = ?", [alias[:2] for alias in changes.aliases if not alias[2]]
            )

    def close(self) -> None:
        with self._lock:
            self._db.close()
