"""The bytes of a segment: a header and records, each of which proves by itself that it is whole.

    record  = magic (3) kind (1) | length u32 | crc32 u32 | count u32 | seq u64 | payload (length bytes)

Little-endian. ``seq`` is the number of the record's first input (from 1, over the whole life of the journal), ``count``
how many inputs it stands for; the checksum covers kind, count, seq and payload. The magic lets a reader find the next
whole record behind a damaged place, so that one bad sector costs what lies on it and not the rest of the segment.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, BinaryIO

import msgspec

MAGIC = b"\xb5bj"
FORMAT = 1
MAX_PAYLOAD = 1 << 26
"""longer than any record is written; a damaged length must not ask for memory"""
_HEAD = struct.Struct("<3sBIIIQ")
_SUMMED = struct.Struct("<BIQ")
HEAD_BYTES = _HEAD.size
_READ = 1 << 20


class Kind(IntEnum):
    HEADER = 0
    INPUTS = 1
    """msgpack array of inputs"""
    GAP = 2
    """msgpack of `Gap`: ``count`` inputs were applied but could not be written"""
    BLOCK = 3
    """busd.journal.columns"""


class Header(msgspec.Struct, frozen=True):
    """First record of a segment. ``info`` is what the writer's owner wants to be known: versions, digests."""

    format: int
    first_seq: int
    info: dict[str, Any] = {}
    last_seq: int | None = None
    """of a sealed segment"""
    last_at: float | None = None
    """of a sealed segment: instant of its newest input"""


class Gap(msgspec.Struct, frozen=True):
    reason: str


class Record(msgspec.Struct, frozen=True, gc=False):
    kind: int
    seq: int
    count: int
    payload: bytes
    offset: int
    """of the record in its file"""


class Damage(msgspec.Struct, frozen=True):
    """Bytes that are no whole record. ``kind``: ``tail`` (nothing whole follows) or ``middle``."""

    path: str
    offset: int
    bytes: int
    kind: str


def frame(kind: Kind, seq: int, count: int, payload: bytes) -> bytes:
    crc = zlib.crc32(payload, zlib.crc32(_SUMMED.pack(kind, count, seq)))
    return _HEAD.pack(MAGIC, kind, len(payload), crc, count, seq) + payload


def frame_header(header: Header) -> bytes:
    return frame(Kind.HEADER, header.first_seq, 0, msgspec.msgpack.encode(header))


def scan(file: BinaryIO, name: str) -> Iterator[Record | Damage]:
    """Whole records in order, and the damaged places between them, of the file as long as it is now.

    An incomplete tail is a `Damage` too: only the caller knows whether the file is still being written. Every checksum
    is verified, also of records the caller will skip: a damaged count would else hide inputs. Memory: one record."""
    size = file.seek(0, 2)
    offset, seq = 0, 0
    buffer, start = b"", 0  # start: offset in the file of the buffer's first byte
    while offset < size:
        at = offset - start
        if not 0 <= at <= len(buffer) - HEAD_BYTES:
            file.seek(offset)
            buffer, start, at = file.read(_READ), offset, 0
        record = _record(buffer, at, offset, size, seq) or _record_at(file, offset, size, seq)
        if record is None:
            found = _find_whole(file, offset + 1, size, seq)
            if found is None:
                yield Damage(name, offset, size - offset, "tail")
                return
            yield Damage(name, offset, found - offset, "middle")
            offset = found
            continue
        yield record
        seq = record.seq + record.count
        offset += HEAD_BYTES + len(record.payload)


def _record(buffer: bytes, at: int, offset: int, size: int, seq: int) -> Record | None:
    """The record at ``buffer[at:]`` if it is whole, all there, and does not go back behind ``seq``."""
    if len(buffer) - at < HEAD_BYTES:
        return None
    magic, kind, length, crc, count, first = _HEAD.unpack_from(buffer, at)
    end = at + HEAD_BYTES + length
    if magic != MAGIC or end > len(buffer) or offset + HEAD_BYTES + length > size or first < seq:
        return None
    payload = buffer[at + HEAD_BYTES : end]
    if zlib.crc32(payload, zlib.crc32(_SUMMED.pack(kind, count, first))) != crc:
        return None
    return Record(kind, first, count, payload, offset)


def _record_at(file: BinaryIO, offset: int, size: int, seq: int) -> Record | None:
    """The same, read from the file."""
    file.seek(offset)
    head = file.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES or not head.startswith(MAGIC):
        return None
    length = _HEAD.unpack(head)[2]
    if length > MAX_PAYLOAD or offset + HEAD_BYTES + length > size:
        return None
    return _record(head + file.read(length), 0, offset, size, seq)


def _find_whole(file: BinaryIO, offset: int, size: int, seq: int) -> int | None:
    """Where the next whole record begins."""
    while offset < size:
        file.seek(offset)
        chunk = file.read(_READ)
        at = chunk.find(MAGIC)
        while at >= 0:
            if _record_at(file, offset + at, size, seq) is not None:
                return offset + at
            at = chunk.find(MAGIC, at + 1)
        if len(chunk) < _READ:
            break
        offset += len(chunk) - len(MAGIC) + 1
    return None
