"""Snapshots of the engine beside the journal: a restart is the newest good one and the inputs after it.

    "busdsnp1" | seq u64 | size u64 | sha256 (32) of seq, size and what follows | zstd(state)

A snapshot appears by rename, so it is whole or not there; the checksum is for what the disk does to it later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from pathlib import Path

import structlog
import zstandard

from busd import metrics
from busd.errors import JournalError

log = structlog.get_logger(__name__)

KEEP = 3
_HEAD = struct.Struct("<8sQQ32s")
_SUMMED = struct.Struct("<QQ")
_MAGIC = b"busdsnp1"
_SUFFIX = ".snapshot"


def write_snapshot(directory: Path, seq: int, state: bytes) -> Path:
    """Makes ``state``, the engine right after input ``seq``, the newest snapshot, and keeps the last `KEEP`.

    May run in a thread. `JournalError` if it cannot be written; the earlier ones are then untouched."""
    path = directory / f"{seq:020d}{_SUFFIX}"
    tmp = path.with_suffix(".tmp")
    try:
        with metrics.SNAPSHOT_SECONDS.time():
            directory.mkdir(parents=True, exist_ok=True)
            packed = zstandard.ZstdCompressor(level=3).compress(state)
            with tmp.open("wb") as file:
                file.write(_HEAD.pack(_MAGIC, seq, len(state), _sum(seq, len(state), packed)))
                file.write(packed)
                file.flush()
                os.fsync(file.fileno())
            tmp.replace(path)
            sync_directory(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            tmp.unlink(missing_ok=True)
        metrics.SNAPSHOTS.labels("failed").inc()
        raise JournalError(f"{path}: cannot be written: {error.strerror}") from error
    metrics.SNAPSHOTS.labels("written").inc()
    for old in _snapshots(directory)[:-KEEP]:
        with contextlib.suppress(OSError):
            old.unlink(missing_ok=True)
    return path


def load_snapshot(directory: Path) -> tuple[int, bytes] | None:
    """(seq, state) of the newest snapshot that is whole; None if there is none. Damaged ones are logged and counted."""
    for path in reversed(_snapshots(directory)):
        try:
            data = path.read_bytes()
        except OSError as error:
            log.error("snapshot cannot be read", path=str(path), error=error.strerror)
            continue
        state = _state(path, data)
        if state is not None:
            return int(path.stem), state
        metrics.SNAPSHOTS.labels("damaged").inc()
        log.error("snapshot is damaged, taking the one before", path=str(path))
    return None


def snapshot_seq(directory: Path) -> int:
    """Sequence number of the newest snapshot by its name, whole or not; 0 if there is none."""
    paths = _snapshots(directory)
    return int(paths[-1].stem) if paths else 0


def sync_directory(directory: Path) -> None:
    """Makes a rename or a new name in ``directory`` survive a power failure. May raise OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _state(path: Path, data: bytes) -> bytes | None:
    if len(data) < _HEAD.size:
        return None
    magic, seq, size, digest = _HEAD.unpack_from(data)
    packed = data[_HEAD.size :]
    if magic != _MAGIC or seq != int(path.stem) or _sum(seq, size, packed) != digest:
        return None
    return zstandard.ZstdDecompressor().decompress(packed)


def _sum(seq: int, size: int, packed: bytes) -> bytes:
    return hashlib.sha256(_SUMMED.pack(seq, size) + packed).digest()


def _snapshots(directory: Path) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if p.suffix == _SUFFIX and p.stem.isdecimal())
    except OSError:
        return []
