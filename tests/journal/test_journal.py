"""Appending, reading, rotating, sealing, pruning: what is read is what was appended, whatever form it has by now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from busd.errors import JournalError
from busd.journal import Journal, ReadReport, maintain, read, read_header, seal, segments, write_snapshot
from busd.journal.records import FORMAT, Header, Kind, frame, frame_header
from busd.types import AnyInput, OperatorCommand, Tick

Inputs = Callable[..., list[AnyInput]]
FOREVER = 1e6


def numbered(entries: list[AnyInput], first: int = 1) -> list[tuple[int, AnyInput]]:
    return list(enumerate(entries, first))


def test_reads_what_was_appended(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(500)
    journal = Journal(tmp_path, {"network": "abc"})
    for seq, entry in enumerate(entries[:10], 1):
        journal.append(entry)
        assert journal.seq == seq
    journal.append_many(entries[10:])
    journal.append_many([])
    assert journal.seq == len(entries)
    assert journal.healthy
    assert list(read(tmp_path)) == numbered(entries)
    assert list(read(tmp_path, 100)) == numbered(entries)[100:]
    assert list(read(tmp_path, len(entries))) == []
    (segment,) = segments(tmp_path)
    assert read_header(segment.path) == Header(FORMAT, 1, {"network": "abc"})
    journal.close()


def test_one_append_many_is_one_record_on_disk_at_once(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(100)
    journal = Journal(tmp_path)
    journal.append_many(entries)
    assert list(read(tmp_path)) == numbered(entries)  # nothing waits in the process
    journal.close()


def test_a_start_goes_on_with_the_numbers(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(60)
    for part in (entries[:20], entries[20:40], entries[40:]):
        journal = Journal(tmp_path)
        journal.append_many(part)
        journal.close()
    Journal(tmp_path).close()  # a start without inputs leaves nothing
    assert list(read(tmp_path)) == numbered(entries)
    assert len(segments(tmp_path)) == 3


def test_numbers_go_on_behind_a_snapshot_that_is_ahead(tmp_path: Path, traffic: Inputs) -> None:
    """Power failed after the snapshot was synced and before the journal was."""
    journal = Journal(tmp_path)
    journal.append_many(traffic(10))
    journal.close()
    write_snapshot(tmp_path, 5000, b"state")
    journal = Journal(tmp_path)
    journal.append(Tick(at=9e9))
    assert journal.seq == 5001
    journal.close()
    assert list(read(tmp_path, 5000)) == [(5001, Tick(at=9e9))]


def test_only_one_process_writes(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match="another process"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_rotated_sealed_and_read_in_any_form(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(3000)
    journal = Journal(tmp_path, {"run": 1}, segment_bytes=65536)
    for start in range(0, len(entries), 7):
        journal.append_many(entries[start : start + 7])
        if start % 700 == 0:
            journal.sync()
    before = segments(tmp_path)
    assert len(before) > 5
    assert list(read(tmp_path)) == numbered(entries)

    done = maintain(tmp_path, 1 << 40, FOREVER)
    after = segments(tmp_path)
    assert done.sealed == len(before) - 1
    assert [s.sealed for s in after] == [True] * (len(before) - 1) + [False]
    assert [s.first_seq for s in after] == [s.first_seq for s in before]
    assert done.bytes == sum(s.bytes for s in after) < sum(s.bytes for s in before) / 4
    report = ReadReport()
    assert list(read(tmp_path, 0, report)) == numbered(entries)
    assert report == ReadReport(inputs=len(entries))
    middle = len(entries) // 2
    assert list(read(tmp_path, middle)) == numbered(entries)[middle:]
    header = read_header(after[0].path)
    assert header is not None
    assert (header.info, header.last_seq) == ({"run": 1}, after[1].first_seq - 1)
    assert maintain(tmp_path, 1 << 40, FOREVER).sealed == 0
    journal.append_many(entries[:5])
    assert len(list(read(tmp_path))) == len(entries) + 5
    journal.close()


def test_reading_while_writing_rotating_and_sealing_misses_nothing(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(2500)
    journal = Journal(tmp_path, segment_bytes=65536)
    journal.append_many(entries[:200])
    written = 200
    got: list[tuple[int, AnyInput]] = []
    for item in read(tmp_path):
        got.append(item)
        if written < len(entries):
            journal.append_many(entries[written : written + 3])
            written = min(written + 3, len(entries))
        if len(got) % 400 == 0:
            maintain(tmp_path, 1 << 40, FOREVER)
    assert got == numbered(entries)[: len(got)]
    assert len(got) > 200
    rest = list(read(tmp_path, len(got)))
    assert got + rest == numbered(entries)
    journal.close()


def test_sealing_interrupted_anywhere_loses_nothing(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(1500)
    journal = Journal(tmp_path, segment_bytes=65536)
    for start in range(0, len(entries), 50):
        journal.append_many(entries[start : start + 50])
    first = segments(tmp_path)[0].path
    rows = first.read_bytes()
    first.with_suffix(".columns.tmp").write_bytes(b"half")  # died while writing
    assert list(read(tmp_path)) == numbered(entries)
    seal(first)
    first.write_bytes(rows)  # died between the rename and the removal
    assert list(read(tmp_path)) == numbered(entries)
    maintain(tmp_path, 1 << 40, FOREVER)
    assert not first.exists()
    assert not list(tmp_path.glob("*.tmp"))
    assert list(read(tmp_path)) == numbered(entries)
    journal.close()


def test_oldest_segments_go_by_size(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(3000)
    journal = Journal(tmp_path, segment_bytes=65536)
    for start in range(0, len(entries), 50):
        journal.append_many(entries[start : start + 50])
    maintain(tmp_path, 1 << 40, FOREVER)
    total = sum(s.bytes for s in segments(tmp_path))
    done = maintain(tmp_path, total * 2 // 3, FOREVER)
    assert done.pruned > 0
    assert done.bytes <= total * 2 // 3
    got = list(read(tmp_path))
    assert got == numbered(entries)[-len(got) :]
    report = ReadReport()
    list(read(tmp_path, 1, report))
    assert report.missing == got[0][0] - 2
    journal.close()


def test_oldest_segments_go_by_age_but_not_what_a_restart_needs(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(3000)  # 600 s
    journal = Journal(tmp_path, segment_bytes=65536)
    for start in range(0, len(entries), 50):
        journal.append_many(entries[start : start + 50])
    needed = segments(tmp_path)[1].first_seq + 3
    write_snapshot(tmp_path, needed, b"state")
    maintain(tmp_path, 1 << 40, 100 / 86400)
    assert list(read(tmp_path, needed)) == numbered(entries)[needed:]
    assert segments(tmp_path)[0].first_seq > 1
    write_snapshot(tmp_path, len(entries), b"state")
    maintain(tmp_path, 1 << 40, 100 / 86400)
    oldest = next(read(tmp_path))[1]
    assert 100 < entries[-1].at - oldest.at < 300
    journal.close()


def test_an_input_of_a_later_version_costs_itself_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(Tick(at=1.0))
    payload = msgspec.msgpack.encode([Tick(at=2.0), {"in": "telepathy", "at": 3.0}, Tick(at=4.0)])
    (segment,) = segments(tmp_path)
    with segment.path.open("ab") as file:
        file.write(frame(Kind.INPUTS, 2, 3, payload))
    report = ReadReport()
    assert list(read(tmp_path, 0, report)) == [(1, Tick(at=1.0)), (2, Tick(at=2.0)), (4, Tick(at=4.0))]
    assert report.unknown == 1
    journal.close()


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{1:020d}.rows").write_bytes(frame_header(Header(FORMAT + 1, 1)))
    with pytest.raises(JournalError, match="format"):
        list(read(tmp_path))
    with pytest.raises(JournalError, match="format"):
        Journal(tmp_path)


def test_what_cannot_be_encoded_is_a_gap(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(Tick(at=1.0))
    with pytest.raises(JournalError):
        journal.append(OperatorCommand(at=2.0, name="half a character \ud800"))
    assert journal.missing == 1
    journal.append(Tick(at=3.0))
    report = ReadReport()
    assert list(read(tmp_path, 0, report)) == [(1, Tick(at=1.0)), (3, Tick(at=3.0))]
    assert (report.gaps, report.missing, report.damages) == (1, 1, [])
    journal.close()


def test_maintained_in_a_process_of_its_own(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(800)
    journal = Journal(tmp_path, segment_bytes=65536)
    for start in range(0, len(entries), 50):
        journal.append_many(entries[start : start + 50])
    journal.maintain(entries[-1].at, 1 << 40, FOREVER)
    assert [s.sealed for s in segments(tmp_path)[:-1]] == [True] * (len(segments(tmp_path)) - 1)
    assert list(read(tmp_path)) == numbered(entries)
    journal.maintain(entries[-1].at + 10 * 86400, 1 << 40, 5.0)
    assert len(segments(tmp_path)) == 1  # all but the newest are too old
    journal.close()


def test_maintaining_what_cannot_be_is_logged_only(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"")
    Journal(place).maintain(0.0, 1 << 40, FOREVER)
    with pytest.raises(JournalError):
        maintain(place, 1 << 40, FOREVER)


def test_reading_no_journal_is_reading_nothing(tmp_path: Path) -> None:
    assert list(read(tmp_path / "none")) == []
