"""What is done to closed segments in the background: rows become columns, the oldest go.

Everything here may run in a thread or another process beside the writer and readers; a lock keeps it to one at a time.
Sealing is work for the interpreter (about 6 us an input), so a process of its own is the better place on a busy line.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from busd.errors import JournalError
from busd.journal import columns
from busd.journal.records import FORMAT, Damage, Header, Kind, frame, frame_header, scan
from busd.journal.segments import (
    COLUMNS,
    DAMAGED,
    ROWS,
    TMP,
    ReadReport,
    Segment,
    decode,
    found_damage,
    read_header,
    segments,
)
from busd.journal.snapshots import snapshot_seq, sync_directory
from busd.types import AnyInput

log = structlog.get_logger(__name__)

BLOCK_INPUTS = 1 << 16
APART_S = 900.0
"""time for the process that seals; a day's backlog takes minutes"""


class Maintained(msgspec.Struct, frozen=True):
    sealed: int = 0
    """segments that became columns"""
    pruned: int = 0
    """segments deleted"""
    bytes: int = 0
    """of all segments afterwards"""


def maintain(directory: Path, max_bytes: int, max_days: float, now: float | None = None) -> Maintained:
    """Seals every closed segment, then deletes the oldest while the journal is larger than ``max_bytes`` or their newest
    input is more than ``max_days`` older than ``now`` (epoch seconds; default: the newest sealed segment).

    Never touches the newest segment nor what a restart from the newest snapshot needs. `JournalError` if the disk
    refuses; nothing is lost then."""
    try:
        with _alone(directory) as alone:
            if not alone:
                return Maintained(bytes=_total(directory))
            _tidy(directory)
            closed = [segment for segment in segments(directory)[:-1] if not segment.sealed]
            for segment in closed:
                seal(segment.path)
            pruned = _prune(directory, max_bytes, max_days * 86400.0, now)
            return Maintained(len(closed), pruned, _total(directory))
    except OSError as error:
        raise JournalError(f"{directory}: cannot be maintained: {error.strerror}") from error


def maintain_apart(directory: Path, max_bytes: int, max_days: float, now: float) -> Maintained:
    """`maintain`, in a process of its own if there is something to seal: that would else hold the interpreter, and with
    it the event loop, for seconds. Blocks, so call it in a thread."""
    if all(segment.sealed for segment in segments(directory)[:-1]):
        return maintain(directory, max_bytes, max_days, now)
    command = [sys.executable, "-m", "busd.journal", str(directory), str(max_bytes), str(max_days), repr(now)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=APART_S, check=True
        )
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"ended with {error.returncode}"])[-1]
        raise JournalError(reason) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JournalError(f"{directory}: cannot be maintained: {error}") from error
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Maintained)


def seal(path: Path) -> Path:
    """Turns a closed segment of rows into one of columns, which takes its place by rename. Rows with damage are kept
    beside it under the name ``.damaged``: they may hold what this reading did not find. May raise OSError."""
    header = read_header(path)
    report = ReadReport()
    records: list[bytes] = []
    batch: list[AnyInput] = []
    batch_seq = 0
    last_seq, last_at = int(path.stem) - 1, 0.0
    with path.open("rb") as file:
        for item in scan(file, str(path)):
            if isinstance(item, Damage):
                found_damage(item, report)
            elif item.kind == Kind.GAP:
                records += _block(batch_seq, batch)
                records.append(frame(Kind.GAP, item.seq, item.count, item.payload))
                last_seq = item.seq + item.count - 1
                batch = []
            elif item.kind != Kind.HEADER:
                for seq, entry in decode(item, path, report):
                    if len(batch) >= BLOCK_INPUTS or seq != batch_seq + len(batch):
                        records += _block(batch_seq, batch)
                        batch, batch_seq = [], seq
                    batch.append(entry)
                    last_seq, last_at = seq, entry.at
    records += _block(batch_seq, batch)
    info = header.info if header else {}
    sealed = path.with_suffix(COLUMNS)
    tmp = path.with_suffix(COLUMNS + TMP)
    try:
        with tmp.open("wb") as out:
            out.write(frame_header(Header(FORMAT, int(path.stem), info, last_seq, last_at)))
            out.writelines(records)
            out.flush()
            os.fsync(out.fileno())
        tmp.replace(sealed)
    except OSError:
        with contextlib.suppress(OSError):
            tmp.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    if report.damages or report.unknown:
        path.replace(path.with_suffix(DAMAGED))
    else:
        path.unlink(missing_ok=True)
    return sealed


def _block(seq: int, batch: list[AnyInput]) -> list[bytes]:
    return [frame(Kind.BLOCK, seq, len(batch), columns.pack(batch))] if batch else []


def _tidy(directory: Path) -> None:
    """Removes what an interrupted run left: half-written files, rows whose columns are already in place."""
    for left_over in directory.glob(f"*{COLUMNS}{TMP}"):
        left_over.unlink(missing_ok=True)
    for segment in segments(directory):
        if segment.sealed:
            segment.path.with_suffix(ROWS).unlink(missing_ok=True)


def _prune(directory: Path, max_bytes: int, max_age_s: float, now: float | None) -> int:
    pruned = 0
    total = _total(directory)
    needed_from = snapshot_seq(directory) + 1
    sealed = [segment for segment in segments(directory) if segment.sealed]
    newest_at = now if now is not None else max((_last_at(segment) for segment in sealed[-1:]), default=0.0)
    for segment, following in itertools.pairwise(segments(directory)):
        restart_needs_it = needed_from > 1 and following.first_seq > needed_from
        too_old = segment.sealed and newest_at - _last_at(segment) > max_age_s
        if restart_needs_it or not (too_old or total > max_bytes):
            break
        damaged = segment.path.with_suffix(DAMAGED)
        total -= segment.bytes + (damaged.stat().st_size if damaged.exists() else 0)
        damaged.unlink(missing_ok=True)
        segment.path.unlink(missing_ok=True)
        pruned += 1
        log.info("journal segment deleted", path=str(segment.path), bytes=segment.bytes, too_old=too_old)
    return pruned


def _last_at(segment: Segment) -> float:
    header = read_header(segment.path)
    return header.last_at if header and header.last_at is not None else 0.0


def _total(directory: Path) -> int:
    total = 0
    for path in directory.iterdir():
        if path.suffix in (ROWS, COLUMNS, DAMAGED):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    with (directory / "maintain.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
