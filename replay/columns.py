"""CSV written by columns: rows of fixed-width bytes are made with numpy, and the padding is dropped in one pass.

A million rows of eleven fields cost about a second; a loop over rows costs ten.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
"""(rows, width); zero bytes are padding and never written"""

_PLAIN = np.array([list(b"%04d" % k) for k in range(10_000)], np.uint8)
_LEADING = np.array([list((b"%d" % k if k else b"").rjust(4, b"\0")) for k in range(10_000)], np.uint8)
_ZERO, _DOT = ord("0"), ord(".")


class CsvGz:
    """A gzip CSV whose bytes depend on its content alone (no name, no time). ``digest`` is of the plain text.

    It appears under its name only when it is complete (`close`)."""

    LEVEL = 1  # a log of a million rows: level 6 takes four times as long for three quarters of the size

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self.path = path
        self.rows = 0
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("wb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, mtime=0, compresslevel=self.LEVEL)
        self._hash = hashlib.sha256()
        self._put(",".join(header).encode() + b"\n")

    def write(self, text: bytes, rows: int) -> None:
        """Whole lines."""
        self.rows += rows
        self._put(text)

    def write_rows(self, rows: Iterable[Sequence[str]]) -> None:
        """Fields as text, escaped here; for tables of moderate length."""
        lines = [",".join(map(escape, row)) for row in rows]
        if lines:
            self.write(("\n".join(lines) + "\n").encode(), len(lines))

    def close(self) -> None:
        self._gzip.close()
        self._file.close()
        self._part.replace(self.path)

    def discard(self) -> None:
        self._gzip.close()
        self._file.close()
        self._part.unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def _put(self, text: bytes) -> None:
        self._hash.update(text)
        self._gzip.write(text)

    def __enter__(self) -> CsvGz:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


_MARKS = re.compile('[,"\n\r]')


def escape(text: str) -> str:
    """RFC 4180."""
    if _MARKS.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def texts(values: Sequence[str]) -> Bytes:
    """Escaped strings as rows of bytes."""
    if not values:
        return np.zeros((0, 0), np.uint8)
    packed = np.array([escape(value).encode() for value in values], dtype=np.bytes_)
    width = max(packed.dtype.itemsize, 1)
    return (
        packed.view(np.uint8).reshape(len(values), width)
        if packed.dtype.itemsize
        else np.zeros((len(values), 1), np.uint8)
    )


def integers(values: npt.NDArray[np.integer]) -> Bytes:
    """Non-negative integers; many rows of few different values are cheap."""
    different, row = np.unique(values, return_inverse=True)
    return texts([str(int(value)) for value in different])[row]


def tenths(values: npt.NDArray[np.float64]) -> Bytes:
    """Numbers with one decimal, e.g. epoch seconds; NaN becomes an empty field. Infinity is not allowed."""
    known = ~np.isnan(values)
    scaled = np.rint(np.where(known, values, 1e9) * 10.0).astype(np.int64)
    if len(scaled) and (scaled.min() < 10**9 or scaled.max() >= 10**13):
        return texts([f"{value:.1f}" if value == value else "" for value in values.tolist()])
    seconds, tenth = np.divmod(scaled, 10)
    upper, lowest = np.divmod(seconds, 10_000)
    top, middle = np.divmod(upper, 10_000)
    out = np.empty((len(values), 14), np.uint8)
    out[:, 0:4] = _LEADING[top]
    out[:, 4:8] = _PLAIN[middle]
    out[:, 8:12] = _PLAIN[lowest]
    out[:, 12] = _DOT
    out[:, 13] = tenth + _ZERO
    out[~known] = 0
    return out


def lines(columns: Sequence[Bytes]) -> bytes:
    """The rows as CSV text."""
    count = len(columns[0])
    width = sum(column.shape[1] for column in columns) + len(columns)
    page = np.empty((count, width), np.uint8)
    at = 0
    for column in columns:
        end = at + column.shape[1]
        page[:, at:end] = column
        page[:, end] = ord(",")
        at = end + 1
    page[:, -1] = ord("\n")
    flat = page.ravel()
    return bytes(flat[flat != 0])
