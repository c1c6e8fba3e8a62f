from __future__ import annotations

from pathlib import Path

import pytest

from busd.errors import JournalError
from busd.journal import load_snapshot, write_snapshot


def test_the_newest_is_loaded_and_three_are_kept(tmp_path: Path) -> None:
    assert load_snapshot(tmp_path / "none") is None
    for seq in (5, 40, 300, 2000):
        write_snapshot(tmp_path, seq, f"state {seq}".encode())
    assert load_snapshot(tmp_path) == (2000, b"state 2000")
    assert sorted(int(p.stem) for p in tmp_path.iterdir()) == [40, 300, 2000]


def test_a_damaged_one_falls_back_to_the_one_before(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 1, b"old state" * 5)
    newest = write_snapshot(tmp_path, 2, b"new state" * 5)
    whole = newest.read_bytes()
    for offset in range(len(whole)):
        newest.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        assert load_snapshot(tmp_path) == (1, b"old state" * 5)
        newest.write_bytes(whole[:offset])
        assert load_snapshot(tmp_path) == (1, b"old state" * 5)
    newest.write_bytes(whole)
    assert load_snapshot(tmp_path) == (2, b"new state" * 5)
    newest.replace(tmp_path / f"{3:020d}.snapshot")  # under another name it would be another state
    assert load_snapshot(tmp_path) == (1, b"old state" * 5)
    (tmp_path / f"{1:020d}.snapshot").write_bytes(b"")
    assert load_snapshot(tmp_path) is None


def test_a_disk_that_refuses_leaves_the_old_ones(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 1, b"old")
    (tmp_path / f"{2:020d}.tmp").mkdir()
    with pytest.raises(JournalError):
        write_snapshot(tmp_path, 2, b"new")
    assert load_snapshot(tmp_path) == (1, b"old")
