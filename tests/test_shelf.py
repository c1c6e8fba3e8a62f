from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from busd.errors import BusdError
from busd.shelf import AUDIT_ROWS, AuditEntry, Store


class Pot(msgspec.Struct):
    name: str
    size: int = 0


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s.sqlite"
    store = Store(path)
    pots = store.shelf("pot", Pot)
    pots.put("a", Pot("a", 1))
    pots.put("b", Pot("b", 2))
    store.note(AuditEntry(5.0, "anna", "admin", "pot.set", "a", None, {"size": 1}))
    store.flush()
    pots.drop("b")
    row = pots.find("a")
    assert row is not None
    row.size = 9
    pots.touch("a")
    store.close()
    again = Store(path)
    assert dict(again.shelf("pot", Pot).items()) == {"a": Pot("a", 9)}
    (entry,) = again.audit()
    assert (entry.who, entry.before, entry.after, entry.seq) == ("anna", None, {"size": 1}, 1)
    again.close()


def test_a_failed_write_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = Store(path)
    pots = store.shelf("pot", Pot)
    store.flush()
    other = sqlite3.connect(path)
    other.execute("DROP TABLE pot")
    other.commit()
    pots.put("a", Pot("a"))
    store.note(AuditEntry(1.0, "anna", "admin", "x", "y"))
    with pytest.raises(sqlite3.Error):
        store.flush()
    assert store.audit() == [], "all or nothing"
    other.execute("CREATE TABLE pot (key TEXT PRIMARY KEY, data BLOB)")
    other.commit()
    store.flush()
    assert [entry.what for entry in store.audit()] == ["x"]
    assert other.execute("SELECT key FROM pot").fetchall() == [("a",)]
    store.close()


@pytest.mark.parametrize("on_disk", [True, False])
def test_the_audit_log_is_read_newest_first_in_parts(tmp_path: Path, on_disk: bool) -> None:
    store = Store(tmp_path / "s.sqlite" if on_disk else None)
    for k in range(10):
        store.note(AuditEntry(float(k), "anna" if k % 2 else "100%", "admin", "set", f"thing_{k}"))
    assert store.audit() == [], "only what is written"
    store.flush()
    assert [entry.target for entry in store.audit(limit=3)] == ["thing_9", "thing_8", "thing_7"]
    (seq,) = [entry.seq for entry in store.audit(about="thing_7")]
    assert [entry.target for entry in store.audit(limit=2, before_seq=seq)] == ["thing_6", "thing_5"]
    assert len(store.audit(about="%")) == 5, "the signs of LIKE are letters"
    store.close()


def test_the_audit_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    for k in range(AUDIT_ROWS + 50):
        store.note(AuditEntry(float(k), "a", "admin", "set", "t"))
    store.flush()
    store.note(AuditEntry(0.0, "a", "admin", "last", "t"))
    store.flush()
    oldest = store.audit(limit=AUDIT_ROWS * 2)[-1]
    assert oldest.at == 51.0
    store.close()


def test_a_file_that_is_none_of_ours_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(BusdError, match="move it away"):
        Store(path)
    good = tmp_path / "g.sqlite"
    store = Store(good)
    store.shelf("pot", Pot).put("a", Pot("a"))
    store.close()
    db = sqlite3.connect(good)
    db.execute("UPDATE pot SET data = '[1'")
    db.commit()
    db.close()
    again = Store(good)
    with pytest.raises(BusdError, match="table pot"):
        again.shelf("pot", Pot)
    again.close()
