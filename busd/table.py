"""Growing struct-of-arrays tables, and their bytes for the snapshot.

The engine's mutable numbers live in a few of these (law 2). A row is an index; rows are reused only by the table's
owner. Two-dimensional columns share one width, for arrays that hold a value per stop of a pattern.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

Column = tuple[str, float]
"""numpy dtype name and the value of a fresh row"""


class Table:
    """Columns named in COLUMNS (one value a row) become array attributes; so do those named in WIDE, each [row, width].

    The wide ones are float64 and views of one array ``wide`` [row, width, column]. In memory each column lies by itself
    (``flat``), because most are read alone and for many rows."""

    COLUMNS: ClassVar[dict[str, Column]] = {}
    WIDE: ClassVar[tuple[str, ...]] = ()

    wide: npt.NDArray[np.float64]
    flat: npt.NDArray[np.float64]  # [column, row x width]

    def __init__(self, width: int = 0, capacity: int = 16) -> None:
        self.width = width
        self.size = 0
        self._capacity = capacity
        for name, (dtype, fill) in self.COLUMNS.items():
            setattr(self, name, np.full(capacity, fill, dtype))
        self._widen(capacity)

    def _widen(self, capacity: int, held: npt.NDArray[np.float64] | None = None) -> None:
        """Room for ``capacity`` rows, the first of them ``held``."""
        columns = np.full((len(self.WIDE), capacity, self.width), np.nan)
        self.flat, self.wide = columns.reshape(len(self.WIDE), capacity * self.width), columns.transpose(1, 2, 0)
        if held is not None:
            self.wide[: len(held)] = held
        for name, column in zip(self.WIDE, columns):
            setattr(self, name, column)

    def add(self) -> int:
        """A fresh row at the end; capacity doubles, so that adding stays cheap."""
        if self.size == self._capacity:
            self._capacity *= 2
            for name, (dtype, fill) in self.COLUMNS.items():
                old: npt.NDArray[Any] = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.full(len(old), fill, dtype)]))
            self._widen(self._capacity, self.wide)
        self.size += 1
        return self.size - 1

    def clear_row(self, row: int) -> None:
        for name, (_, fill) in self.COLUMNS.items():
            getattr(self, name)[row] = fill
        self.wide[row] = np.nan

    def dump(self) -> dict[str, Any]:
        columns = {name: getattr(self, name)[: self.size].copy() for name in self.COLUMNS}
        return columns | {"size": self.size, "width": self.width, "wide": self.wide[: self.size].copy()}

    def load(self, state: dict[str, Any]) -> None:
        self.width, self.size = int(state["width"]), int(state["size"])
        self._capacity = max(16, self.size)
        for name, (dtype, fill) in self.COLUMNS.items():
            column = np.full(self._capacity, fill, dtype)
            column[: self.size] = state[name]
            setattr(self, name, column)
        self._widen(self._capacity, state["wide"])


_ARRAY = 1  # msgpack extension type of an ndarray


def _encode(value: object) -> object:
    if isinstance(value, np.ndarray):
        head = msgspec.msgpack.encode((value.dtype.str, value.shape))
        return msgspec.msgpack.Ext(_ARRAY, len(head).to_bytes(2, "big") + head + np.ascontiguousarray(value).tobytes())
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot keep {type(value).__name__} in a snapshot")


def _decode(code: int, data: memoryview) -> object:
    if code != _ARRAY:
        raise ValueError(f"unknown extension {code} in a snapshot")
    n = int.from_bytes(data[:2], "big")
    dtype, shape = msgspec.msgpack.decode(data[2 : 2 + n])
    return np.frombuffer(data[2 + n :], dtype).reshape(shape).copy()


def pack_state(state: dict[str, Any]) -> bytes:
    """Plain values, strings, lists, dicts and arrays -> bytes; exact, so that restored == kept."""
    return msgspec.msgpack.encode(state, enc_hook=_encode)


def unpack_state(data: bytes) -> dict[str, Any]:
    state = msgspec.msgpack.decode(data, ext_hook=_decode)
    if not isinstance(state, dict):
        raise ValueError("a snapshot is a map")
    return state
