"""The files of a journal, and reading them: rows while they are written, columns once they are sealed.

    00000000000000000001.columns    sealed: the same inputs as blocks of columns (a twentieth of the size)
    00000000000000270001.rows       newest: being written

The number is the sequence number of the first input. Reading takes both kinds, also while the newest grows and while a
closed one is being sealed. What cannot be read is skipped, logged, counted in busd_journal_damaged_total and entered in
the `ReadReport`; what is yielded is always exactly what was appended under that sequence number.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from busd import metrics
from busd.errors import JournalError
from busd.journal import columns
from busd.journal.records import FORMAT, Damage, Gap, Header, Kind, Record, scan
from busd.types import AnyInput

log = structlog.get_logger(__name__)

ROWS, COLUMNS, DAMAGED, TMP = ".rows", ".columns", ".damaged", ".tmp"
_rows = msgspec.msgpack.Decoder(list[AnyInput])
_raw = msgspec.msgpack.Decoder(list[msgspec.Raw])
_one = msgspec.msgpack.Decoder(AnyInput)


class Segment(msgspec.Struct, frozen=True):
    path: Path
    first_seq: int
    sealed: bool
    bytes: int


class ReadReport(msgspec.Struct):
    """What a reading came across; filled while the reading goes on."""

    inputs: int = 0
    missing: int = 0
    """inputs between the first and the last one read that are not in the journal any more, gaps included"""
    gaps: int = 0
    """of these, inputs that the writer said it could not write"""
    unknown: int = 0
    """inputs that this version cannot decode"""
    damages: list[Damage] = []


def segments(directory: Path) -> list[Segment]:
    """In order. Of a segment that exists in both forms (sealed a moment ago) the sealed one: it came by rename."""
    found: dict[int, Segment] = {}
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalError(f"{directory}: cannot be read: {error.strerror}") from error
    for path in entries:
        if path.suffix not in (ROWS, COLUMNS) or not path.stem.isdecimal():
            continue
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            continue
        first_seq, sealed = int(path.stem), path.suffix == COLUMNS
        if sealed or first_seq not in found:
            found[first_seq] = Segment(path, first_seq, sealed, size)
    return [found[first_seq] for first_seq in sorted(found)]


def read_header(path: Path) -> Header | None:
    """The header of a segment; None if it is damaged or not there yet. `JournalError` for a format this version does
    not know."""
    with path.open("rb") as file:
        first = next(scan(file, str(path)), None)
    return _header(first, path) if isinstance(first, Record) and first.kind == Kind.HEADER else None


def read(directory: Path, after_seq: int = 0, report: ReadReport | None = None) -> Iterator[tuple[int, AnyInput]]:
    """(sequence number, input) of everything after ``after_seq``, in order, numbers strictly increasing.

    `JournalError` if the directory or a file cannot be read at all, or was written by a newer version."""
    report = report if report is not None else ReadReport()
    expected = after_seq + 1 if after_seq else 0
    done: set[int] = set()
    while True:
        todo = [s for s in segments(directory) if s.first_seq not in done]
        if not todo:
            return
        segment, newest = todo[0], len(todo) == 1
        opened = None if not newest and todo[1].first_seq <= after_seq + 1 else _open(segment)
        if opened is None:
            done.add(segment.first_seq)
            continue
        with opened as file:
            for seq, entry in _entries(file, segment.path, newest, report):
                if seq <= after_seq or seq < expected:
                    continue
                if expected and seq > expected:
                    report.missing += seq - expected
                    log.warning("journal has a hole", first_missing=expected, missing=seq - expected)
                expected = seq + 1
                report.inputs += 1
                yield seq, entry
        if not newest or (segments(directory) or [segment])[-1].first_seq == segment.first_seq:
            done.add(segment.first_seq)  # else it grew and was closed meanwhile: once more, for what came last


def _open(segment: Segment) -> BinaryIO | None:
    """The file, or the sealed one that took its place since it was listed; None if it was pruned."""
    for path in (segment.path, segment.path.with_suffix(COLUMNS)):
        try:
            return path.open("rb")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise JournalError(f"{path}: cannot be read: {error.strerror}") from error
    return None


def _entries(file: BinaryIO, path: Path, newest: bool, report: ReadReport) -> Iterator[tuple[int, AnyInput]]:
    for item in scan(file, str(path)):
        if isinstance(item, Damage):
            if item.kind == "tail" and newest:
                continue  # perhaps being written at this moment; the writer repairs it at its start
            found_damage(item, report)
        elif item.kind == Kind.HEADER:
            _header(item, path)
        elif item.kind == Kind.GAP:
            report.gaps += item.count
            reason = msgspec.msgpack.decode(item.payload, type=Gap).reason
            log.warning("journal has a gap", seq=item.seq, lost=item.count, reason=reason)
        else:
            yield from decode(item, path, report)


def found_damage(damage: Damage, report: ReadReport) -> None:
    report.damages.append(damage)
    metrics.JOURNAL_DAMAGED.labels(damage.kind).inc()
    log.error("journal is damaged", **msgspec.structs.asdict(damage))


def decode(record: Record, path: Path, report: ReadReport) -> Iterator[tuple[int, AnyInput]]:
    """The inputs of a whole record. One that this version does not know is left out, the others are not."""
    try:
        if record.kind == Kind.BLOCK:
            yield from enumerate(columns.unpack(record.payload), record.seq)
            return
        if record.kind == Kind.INPUTS:
            yield from enumerate(_rows.decode(record.payload), record.seq)
            return
        raw: list[msgspec.Raw] = []
    except (ValueError, msgspec.MsgspecError):
        raw = _raw.decode(record.payload) if record.kind == Kind.INPUTS else []
    unknown = record.count
    for seq, data in enumerate(raw, record.seq):
        try:
            entry = _one.decode(data)
        except msgspec.MsgspecError:
            continue
        unknown -= 1
        yield seq, entry
    report.unknown += unknown
    metrics.JOURNAL_DAMAGED.labels("unknown").inc()
    log.error("journal has inputs of another version", path=str(path), seq=record.seq, inputs=unknown)


def _header(record: Record, path: Path) -> Header:
    try:
        header = msgspec.msgpack.decode(record.payload, type=Header)
    except msgspec.MsgspecError as error:
        raise JournalError(f"{path}: its header is of another version: {error}") from error
    if header.format > FORMAT:
        raise JournalError(f"{path}: has format {header.format}; this version of busd knows {FORMAT}")
    return header
