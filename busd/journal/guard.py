"""An input that ends the process must not end it for ever: after two deaths on the same one it is skipped.

The sequence number being applied stands in a file mapped into memory, so it survives every kind of death and costs a
tenth of a microsecond an input. The next start finds it, counts a strike, and at the second one skips the input.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger(__name__)

STRIKES = 2
_MARK = struct.Struct("<Q")
_strikes = msgspec.json.Decoder(dict[int, int])


class CrashGuard:
    """``enter(seq)``, apply the input, ``leave()``; ask ``skips(seq)`` before.

    Wrap recovery and the live line alike: a first death live and a second one in recovery are two. A directory that
    cannot be written makes the guard forgetful, not fail."""

    def __init__(self, directory: Path) -> None:
        self._list_path = directory / "crash-guard.json"
        self._mark: mmap.mmap | bytearray = bytearray(_MARK.size)
        self._strikes: dict[int, int] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self._strikes = _strikes.decode(self._list_path.read_bytes())
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            self._mark = _mapped(directory / "crash-guard.mark")
        (left,) = _MARK.unpack_from(self._mark)
        if left:
            self._strikes[left] = self._strikes.get(left, 0) + 1
            log.error("the last run ended while applying this input", seq=left, times=self._strikes[left])
            self._save()
            self.leave()

    def skips(self, seq: int) -> bool:
        """True if this input has ended the process `STRIKES` times."""
        return self._strikes.get(seq, 0) >= STRIKES

    def enter(self, seq: int) -> None:
        _MARK.pack_into(self._mark, 0, seq)

    def leave(self) -> None:
        _MARK.pack_into(self._mark, 0, 0)

    def forget(self, seq: int) -> None:
        """Strikes up to ``seq`` are history: a snapshot covers them now."""
        if any(old <= seq for old in self._strikes):
            self._strikes = {old: times for old, times in self._strikes.items() if old > seq}
            self._save()

    def _save(self) -> None:
        tmp = self._list_path.with_suffix(".tmp")
        try:
            tmp.write_bytes(msgspec.json.encode(self._strikes))
            tmp.replace(self._list_path)
        except OSError as error:
            log.error("strikes cannot be kept", path=str(self._list_path), reason=error.strerror)


def _mapped(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(fd).st_size < _MARK.size:
            # written, not stretched: touching a hole of a full disk through a mapping is a SIGBUS
            os.pwrite(fd, bytes(_MARK.size), 0)
        return mmap.mmap(fd, _MARK.size)
    finally:
        os.close(fd)
