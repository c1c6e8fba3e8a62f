"""Where a replay's inputs come from: files of recorded positions, or a journal."""

from __future__ import annotations

import csv
import heapq
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from busd.errors import FeedError
from busd.feeds.tides import open_text, read_positions
from busd.journal import read as read_journal
from busd.journal import read_header, segments
from busd.types import AnyInput, NetworkLoaded, Rejected, Started, VehiclePosition


@dataclass(frozen=True)
class Extent:
    """What one pass over the times of a file says."""

    count: int
    first_at: float
    last_at: float
    in_order: bool


@dataclass
class PositionFiles:
    """TIDES vehicle_locations of one or several files, read in the order of event_timestamp (stable: rows of one
    instant keep the order of file and row). A file that is in order is streamed, another is sorted in memory."""

    paths: Sequence[Path]
    hide_trips: bool = False
    until: float | None = None
    """positions later than this (epoch seconds) are not read"""
    rejected: Counter[str] = field(default_factory=Counter)
    """reason -> rows that could not be read, of the last `read`"""
    examples: list[str] = field(default_factory=list)
    """the first few of them, in words"""

    def __post_init__(self) -> None:
        self._extents = [scan(path, self.until) for path in self.paths]

    @property
    def count(self) -> int:
        """Rows with a readable time up to ``until``."""
        return sum(extent.count for extent in self._extents)

    @property
    def first_at(self) -> float | None:
        return min((extent.first_at for extent in self._extents if extent.count), default=None)

    @property
    def last_at(self) -> float | None:
        return max((extent.last_at for extent in self._extents if extent.count), default=None)

    def read(self) -> Iterator[VehiclePosition]:
        self.rejected.clear()
        self.examples.clear()
        files = [self._one(path, extent) for path, extent in zip(self.paths, self._extents, strict=True)]
        return files[0] if len(files) == 1 else heapq.merge(*files, key=_received_at)

    def _one(self, path: Path, extent: Extent) -> Iterator[VehiclePosition]:
        rows = self._good(path)
        return rows if extent.in_order else iter(sorted(rows, key=_received_at))

    def _good(self, path: Path) -> Iterator[VehiclePosition]:
        for number, row in enumerate(read_positions(path, hide_trips=self.hide_trips), start=1):
            if isinstance(row, Rejected):
                self.rejected[str(row.reason)] += 1
                if len(self.examples) < 5:
                    self.examples.append(f"{path.name}, {row.detail}")
            elif self.until is None or row.received_at <= self.until:
                yield row if row.report_id else msgspec.structs.replace(row, report_id=f"{path.name}:{number}")


def _received_at(position: VehiclePosition) -> float:
    return position.received_at


def scan(path: Path, until: float | None) -> Extent:
    """Reads the times of a file alone. `FeedError` if the file cannot be read or has no such column."""
    count, first, last, previous, in_order = 0, float("inf"), float("-inf"), float("-inf"), True
    try:
        with open_text(path) as lines:
            reader = csv.reader(lines)
            header = [name.strip() for name in next(reader, [])]
            if "event_timestamp" not in header:
                raise FeedError(f"{path} has no column event_timestamp; TIDES vehicle_locations is expected")
            column = header.index("event_timestamp")
            for row in reader:
                try:
                    at = datetime.fromisoformat(row[column].strip())
                except (ValueError, IndexError):
                    continue
                if at.tzinfo is None:
                    continue
                now = at.timestamp()
                if until is not None and now > until:
                    continue
                in_order = in_order and now >= previous
                previous = now
                count += 1
                first, last = min(first, now), max(last, now)
    except csv.Error as error:
        raise FeedError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise FeedError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FeedError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return Extent(count, first, last, in_order)


def journal_inputs(directory: Path) -> Iterator[AnyInput]:
    """The inputs of a journal in their order. `busd.errors.JournalError` if it cannot be used."""
    for _, entry in read_journal(directory):
        yield entry


def journal_from_the_start(directory: Path) -> Iterator[AnyInput]:
    """As `journal_inputs`; where retention took the journal's beginning, with a start of its own and the timetable that
    was in use then."""
    first = True
    for entry in journal_inputs(directory):
        if first and not isinstance(entry, Started):
            yield Started(entry.at, epoch="journal")
            found = segments(directory)
            header = read_header(found[0].path) if found else None
            digest = str(header.info.get("network", "")) if header is not None else ""
            if digest and not isinstance(entry, NetworkLoaded):
                yield NetworkLoaded(entry.at, digest)
        first = False
        yield entry


def parse_instant(text: str) -> float:
    """Unix seconds or ISO 8601 with an offset -> epoch seconds; ValueError with words for anything else."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither unix seconds nor an ISO 8601 time") from None
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset; write e.g. {text}+08:00")
    return at.timestamp()
