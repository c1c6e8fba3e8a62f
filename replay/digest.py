"""A digest of everything the engine gave out: equal digests mean the same outputs in the same order, bit for bit.

Nothing is left out: an output holds no wall-clock instant of its making (only a frame on the wire carries ``now``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from busd.board import BoardBatch
from busd.shown import DepartureRows
from busd.types import Output, Predicted


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, np.ascontiguousarray(value).tobytes()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, BoardBatch | DepartureRows):
        return value.digest_bytes()
    raise TypeError(f"{type(value).__name__} has no place in an output")


class OutputDigest:
    """SHA-256 over the msgpack form of each output (its field names tell its type), of a prediction over its table;
    arrays go in as their bytes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
        self.count = 0

    def add(self, outputs: Sequence[Output]) -> None:
        told = (output.table if type(output) is Predicted else output for output in outputs)
        self._hash.update(b"".join(map(self._encode, told)))
        self.count += len(outputs)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def digest_outputs(outputs: Sequence[Output]) -> str:
    """The digest of a whole stream."""
    digest = OutputDigest()
    digest.add(outputs)
    return digest.hexdigest()
