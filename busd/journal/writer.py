"""The writing end: one process appends, one write a call, and a full disk never stops the line.

Every input has a sequence number, counted from 1 over the life of the journal, also those that could not be written:
then `append_many` raises `JournalError`, the caller counts and goes on, and the next write that succeeds begins with a
gap record that says how many are missing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from busd import metrics
from busd.clock import Clock, SystemClock
from busd.errors import JournalError
from busd.journal.maintain import maintain_apart
from busd.journal.records import FORMAT, Damage, Gap, Header, Kind, Record, frame, frame_header, scan
from busd.journal.segments import DAMAGED, ROWS, ReadReport, found_damage, read_header, segments
from busd.journal.snapshots import snapshot_seq, sync_directory
from busd.types import AnyInput

log = structlog.get_logger(__name__)

MAX_RECORD_INPUTS = 2048
_COMPLAIN_S = 60.0


class RepairReport(msgspec.Struct, frozen=True):
    """What opening the journal found of the last run."""

    last_seq: int = 0
    """newest input that is in the journal or under a snapshot; numbers go on from here"""
    cut_bytes: int = 0
    """torn record at the end, removed"""
    damages: tuple[Damage, ...] = ()


class Journal:
    """Appends inputs to the newest segment of ``directory``; a new one for every start and every ``segment_bytes``.

    ``header`` (versions, digests; plain msgpack values) is written into each segment. A directory that cannot be written
    is no error here but at each append. `JournalError`: another process has it open, or a newer version wrote it.

    All methods are for one thread, but `sync` and `maintain` may run in others."""

    def __init__(
        self,
        directory: Path,
        header: Mapping[str, Any] | None = None,
        *,
        segment_bytes: int = 64_000_000,
        clock: Clock | None = None,
    ) -> None:
        self.directory = directory
        self._info = dict(header or {})
        self._segment_bytes = segment_bytes
        self._clock = clock or SystemClock()
        self._encode = msgspec.msgpack.Encoder().encode
        self._lock: int | None = None
        self._fd: int | None = None
        self._end = 0
        self._closed: deque[int] = deque()
        """segments that are full but not synced yet"""
        self._new_name = False
        self._missing = 0
        self._reason = ""
        self._complained_at = float("-inf")
        self.repair = RepairReport()
        self.seq = 0
        """number of the newest input, written or lost"""
        try:
            self._ready()
        except OSError as error:
            self._failed(error)

    @property
    def missing(self) -> int:
        """Inputs lost since the last successful write."""
        return self._missing

    @property
    def healthy(self) -> bool:
        """The last write succeeded."""
        return self._lock is not None and not self._missing

    def append(self, entry: AnyInput) -> None:
        """`append_many` of one."""
        self.append_many((entry,))

    def append_many(self, inputs: Sequence[AnyInput]) -> None:
        """Appends with one write; when it returns, a crash of the process loses nothing, and ``seq`` is the number of the
        last one. `JournalError`: not written; the numbers are used up all the same."""
        if not inputs:
            return
        try:
            self._ready()
            parts = self._gap()
            for start in range(0, len(inputs), MAX_RECORD_INPUTS):
                batch = inputs[start : start + MAX_RECORD_INPUTS]
                parts.append(frame(Kind.INPUTS, self.seq + 1 + start, len(batch), self._encode(batch)))
            self._write(parts)
        except (JournalError, OSError, ValueError, OverflowError, TypeError) as error:
            # the last three: what msgpack cannot hold, such as half a surrogate pair in a name
            self._missing += len(inputs)
            self.seq += len(inputs)
            raise self._failed(error) from error
        self.seq += len(inputs)
        metrics.JOURNAL_INPUTS.inc(len(inputs))

    def flush(self) -> None:
        """Writes what waits: after lost inputs, the gap record; else nothing, since every append writes. `JournalError`
        as there. Worth a call now and then, so that a disk with room again is noticed without traffic."""
        if self._missing:
            try:
                self._ready()
                self._write(self._gap())
            except (JournalError, OSError) as error:
                raise self._failed(error) from error

    def sync(self) -> None:
        """Forces what was appended so far to the disk; may take long, so call it in a thread, one at a time.
        `JournalError` if the disk reports an error."""
        try:
            with metrics.JOURNAL_SYNC_SECONDS.time():
                while self._closed:
                    fd = self._closed[0]
                    os.fsync(fd)
                    self._closed.popleft()
                    os.close(fd)
                fd_now = self._fd
                if fd_now is not None:
                    os.fdatasync(fd_now)
                if self._new_name:
                    self._new_name = False
                    sync_directory(self.directory)
        except OSError as error:
            raise JournalError(f"{self.directory}: cannot be synced: {error.strerror}") from error

    def maintain(self, now: float, max_bytes: int, max_days: float) -> None:
        """The background work on closed segments (`busd.journal.maintain`); may take long, so call it in a thread. A
        disk that refuses is logged, not raised: it will be asked again."""
        try:
            done = maintain_apart(self.directory, max_bytes, max_days, now)
        except JournalError as error:
            log.error("journal cannot be maintained", reason=str(error))
            return
        metrics.JOURNAL_DISK_BYTES.set(done.bytes)
        if done.sealed or done.pruned:
            log.info("journal maintained", sealed=done.sealed, deleted=done.pruned, bytes=done.bytes)

    def rotate(self) -> None:
        """Closes the newest segment, so that `maintain` may seal it; the next append opens another."""
        if self._fd is not None:
            self._closed.append(self._fd)
            self._fd = None

    def close(self) -> None:
        """Writes a waiting gap, syncs and lets the directory go. Never raises; no `sync` may be running."""
        with contextlib.suppress(JournalError):
            self.flush()
        self.rotate()
        try:
            self.sync()
        except JournalError as error:
            log.error("journal not synced at its end", error=str(error))
        while self._closed:
            os.close(self._closed.popleft())
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        """Locks the directory and looks at what the last run left; again at each append until that works."""
        if self._lock is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory / "journal.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.repair = _repair(self.directory)
        except BlockingIOError as error:
            os.close(lock)
            raise JournalError(f"{self.directory}: another process writes this journal") from error
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        self.seq = max(self.seq - self._missing, self.repair.last_seq) + self._missing
        metrics.JOURNAL_UP.set(1)

    def _gap(self) -> list[bytes]:
        if not self._missing:
            return []
        payload = msgspec.msgpack.encode(Gap(self._reason))
        return [frame(Kind.GAP, self.seq - self._missing + 1, self._missing, payload)]

    def _write(self, parts: list[bytes]) -> None:
        fd = self._fd if self._fd is not None else self._open()
        data = b"".join(parts) if len(parts) > 1 else parts[0]
        try:
            written = os.write(fd, data)
            while written < len(data):  # the disk is nearly full
                written += os.write(fd, data[written:])
        except OSError:
            self._cut_back(fd)
            raise
        self._end += len(data)
        metrics.JOURNAL_BYTES.inc(len(data))
        if self._missing:
            log.warning("journal can be written again", lost=self._missing)
            metrics.JOURNAL_UP.set(1)
            self._missing = 0
        if self._end >= self._segment_bytes:
            self.rotate()

    def _open(self) -> int:
        first_seq = self.seq - self._missing + 1
        path = self.directory / f"{first_seq:020d}{ROWS}"
        data = frame_header(Header(FORMAT, first_seq, self._info))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._fd, self._end, self._new_name = fd, len(data), True
        return fd

    def _cut_back(self, fd: int) -> None:
        """Removes half a record; where even that fails, a new segment begins and readers skip the torn end."""
        try:
            os.ftruncate(fd, self._end)
        except OSError:
            self.rotate()

    def _failed(self, error: Exception) -> JournalError:
        self._reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        metrics.JOURNAL_UP.set(0)
        now = self._clock.monotonic()
        if now - self._complained_at >= _COMPLAIN_S:
            self._complained_at = now
            log.error(
                "journal cannot be written", directory=str(self.directory), reason=self._reason, lost=self._missing
            )
        return error if isinstance(error, JournalError) else JournalError(f"{self.directory}: {self._reason}")


def _repair(directory: Path) -> RepairReport:
    """Finds the newest whole record, cuts what is torn behind it, removes segments in which nothing was written."""
    known = snapshot_seq(directory)
    cut = 0
    report = ReadReport()
    for segment in reversed(segments(directory)):
        header = read_header(segment.path)
        if segment.sealed and header and header.last_seq is not None:
            return RepairReport(max(known, header.last_seq), cut, tuple(report.damages))
        last_seq = 0
        with segment.path.open("rb") as file:
            for item in scan(file, str(segment.path)):
                if isinstance(item, Record):
                    last_seq = item.seq + item.count - 1 if item.count else last_seq
                    continue
                found_damage(item, report)
                if item.kind == "tail" and last_seq:
                    cut += _cut(segment.path, item)
        if last_seq:
            return RepairReport(max(known, last_seq), cut, tuple(report.damages))
        empty = segment.path.with_suffix(DAMAGED) if report.damages else None
        with contextlib.suppress(OSError):
            segment.path.replace(empty) if empty else segment.path.unlink()
    return RepairReport(known, cut, tuple(report.damages))


def _cut(path: Path, damage: Damage) -> int:
    try:
        os.truncate(path, damage.offset)
    except OSError as error:
        log.error("torn end of the journal cannot be cut", path=str(path), reason=error.strerror)
        return 0
    log.warning("torn end of the journal cut", path=str(path), bytes=damage.bytes)
    return damage.bytes
