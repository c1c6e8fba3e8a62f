"""Columns of strings that can be memory-mapped: one UTF-8 blob and offsets, plus translations beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Strings:
    """An immutable column of strings: ``blob[offset[i]:offset[i + 1]]`` is UTF-8. `find` maps a string to its row."""

    offset: I64
    blob: npt.NDArray[np.uint8]

    @classmethod
    def pack(cls, values: Iterable[str]) -> Strings:
        """Lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
        encoded = [value.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode() for value in values]
        offset = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(item) for item in encoded], out=offset[1:])
        return cls(offset, np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __getitem__(self, i: int) -> str:
        """The string of row ``i``; raises IndexError outside of 0 .. len - 1 (-1 means none here, never the last row)."""
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        return self._bytes[self.offset[i] : self.offset[i + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        blob, offset = self._bytes, self.offset.tolist()
        return (blob[start:end].decode() for start, end in pairwise(offset))

    def find(self, value: str) -> int | None:
        """Row of ``value`` (first one), None if absent. The index is built at first use."""
        return self._index.get(value)

    @cached_property
    def _bytes(self) -> bytes:
        return self.blob.tobytes()

    @cached_property
    def _index(self) -> dict[str, int]:
        index: dict[str, int] = {}
        for row, value in enumerate(self):
            index.setdefault(value, row)
        return index


@dataclass(frozen=True, eq=False)
class Translations:
    """translations.txt of one column: rows ``offset[i]:offset[i + 1]`` belong to row i of that column."""

    offset: I64
    lang: I32
    """row of `Network.lang`"""
    text: Strings

    @classmethod
    def pack(cls, rows: list[dict[int, str]]) -> Translations:
        """``rows[i]`` is language row -> text, in the order to keep."""
        offset = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offset[1:])
        lang = np.array([key for row in rows for key in row], np.int32)
        return cls(offset, lang, Strings.pack(text for row in rows for text in row.values()))

    def of(self, i: int) -> Iterator[tuple[int, str]]:
        for k in range(int(self.offset[i]), int(self.offset[i + 1])):
            yield int(self.lang[k]), self.text[k]
