"""Position files: in order, sorted, merged, cut."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from busd.errors import FeedError
from replay.source import PositionFiles, parse_instant

HEADER = "location_ping_id,event_timestamp,vehicle_id,trip_id_scheduled,latitude,longitude\n"
START = 1_771_257_600


def write(path: Path, rows: list[tuple[str, int]]) -> Path:
    lines = [f"{ping},2026-02-16T16:{s // 60:02d}:{s % 60:02d}Z,7,t,36,103\n" for ping, s in rows]
    path.write_text(HEADER + "".join(lines))
    return path


def pings(files: PositionFiles) -> list[str | None]:
    return [position.report_id for position in files.read()]


def test_a_file_out_of_order_is_sorted_and_ties_keep_their_order(tmp_path: Path) -> None:
    rows = [(f"{s}-{k}", s) for s in range(20) for k in range(3)]
    shuffled = rows[:]
    random.Random(3).shuffle(shuffled)
    got = pings(PositionFiles([write(tmp_path / "a.csv", shuffled)]))
    assert got == [ping for ping, _ in sorted(shuffled, key=lambda row: row[1])]
    assert pings(PositionFiles([write(tmp_path / "b.csv", rows)])) == [ping for ping, _ in rows]


def test_several_files_are_merged(tmp_path: Path) -> None:
    a = write(tmp_path / "a.csv", [("a0", 0), ("a5", 5), ("a9", 9)])
    b = write(tmp_path / "b.csv", [("b7", 7), ("b5", 5)])
    files = PositionFiles([a, b])
    assert pings(files) == ["a0", "a5", "b5", "b7", "a9"]
    assert (files.count, files.first_at, files.last_at) == (5, START, START + 9)


@pytest.mark.parametrize("order", [1, -1])
def test_until(tmp_path: Path, order: int) -> None:
    path = write(tmp_path / "a.csv", [("a", 0), ("b", 5), ("c", 6)][::order])
    files = PositionFiles([path], until=START + 5)
    assert pings(files) == ["a", "b"]
    assert (files.count, files.last_at) == (2, START + 5)
    assert PositionFiles([path], until=START - 1).first_at is None


def test_unreadable_rows_are_counted_with_their_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("a", 0), ("b", 1)])
    path.write_text(path.read_text() + "c,soon,7,,36,103\nd,2026-02-16T16:00:02Z,7,,x,103\n")
    files = PositionFiles([path])
    assert pings(files) == ["a", "b"]
    assert files.rejected == {"no_time": 1, "not_a_number": 1}
    assert files.examples[0].startswith("a.csv, row 4:")


def test_rows_without_an_id_get_one(tmp_path: Path) -> None:
    assert pings(PositionFiles([write(tmp_path / "a.csv", [("", 0), ("x", 1), ("", 2)])])) == [
        "a.csv:1",
        "x",
        "a.csv:3",
    ]


def test_a_file_without_times_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("vehicle_id,latitude,longitude\n7,36,103\n")
    with pytest.raises(FeedError, match="no column event_timestamp"):
        PositionFiles([tmp_path / "a.csv"])
    (tmp_path / "b.csv.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    with pytest.raises(FeedError, match="cannot be read"):
        PositionFiles([tmp_path / "b.csv.gz"])


def test_instants() -> None:
    assert parse_instant("1771257600") == START
    assert parse_instant("2026-02-17T00:00:00+08:00") == START
    for bad in ("noon", "2026-02-17T00:00:00"):
        with pytest.raises(ValueError, match=bad):
            parse_instant(bad)
