"""A run of inputs as columns: how sealed segments hold the 86 million positions of a day in a gigabyte, exactly.

zstd alone leaves about 33 bytes of a position, because neighbouring records come from different vehicles and the low
bytes of their floats look random. By column and by vehicle the same numbers are small steps:

- rows are sorted by vehicle (stable); the vehicle of each row in order of arrival is itself a column, which gives the
  order back;
- a float column becomes the steps of ``value x scale`` where the values are decimals of few places (the 1e-6 degree of
  terminals), else numbers of a dictionary where few values occur (speeds), else the steps of the bit patterns;
- integers are laid out byte by byte (all low bytes, then all next ones), which is what lets zstd see them.

Every float comes back with the same bits: a scale is used only where ``round(value x scale) / scale`` proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import repeat
from operator import attrgetter
from types import GenericAlias
from typing import Any, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from busd.types import AnyInput, PositionReceived, Tick, VehiclePosition

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

LEVEL = 6
MAX_ROWS = 1 << 20
_CHUNK = 4096
_SCALES = (1, 10, 1_000, 1_000_000, 10_000_000)
_MAX_MISFITS = 0.02
"""this part of a column may fit no scale and is then kept as bits beside it"""
_POSITION, _TICK, _OTHER = 0, 1, 2


class Column(msgspec.Struct, array_like=True, frozen=True):
    """One packed array. ``codec``: ``step`` differences, ``plain`` the integers themselves, ``scale`` steps of
    value x ``scale``, ``bits`` steps of float bit patterns, ``dict`` numbers of ``values``."""

    codec: str
    data: bytes
    width: int
    scale: int = 0
    values: bytes = b""
    misfit_rows: bytes = b""
    misfit_bits: bytes = b""
    null: bytes = b""


class Block(msgspec.Struct, array_like=True, frozen=True):
    """``count`` inputs: what each is (``kinds``), ticks, positions by column, all others as they are."""

    count: int
    kinds: bytes
    ticks: Column
    keys: bytes
    vehicles: Column
    at: Column
    columns: dict[str, Column]
    others: bytes


_TYPES: dict[str, Any] = get_type_hints(VehiclePosition)
_FIELDS = VehiclePosition.__struct_fields__
_DEFAULTS = {f.name: f.default for f in msgspec.structs.fields(VehiclePosition) if not f.required}
_FLOATS = tuple(name for name in _FIELDS if _TYPES[name] in (float, float | None))
_CODED = tuple(name for name in _FIELDS if name not in _FLOATS and name not in ("source", "vehicle_id"))
_KEY = attrgetter("source", "vehicle_id")
_others = msgspec.msgpack.Decoder(list[AnyInput])
_keys = msgspec.msgpack.Decoder(list[tuple[str, str]])
_block = msgspec.msgpack.Decoder(Block)
_coded: dict[str, msgspec.msgpack.Decoder[Any]] = {
    name: msgspec.msgpack.Decoder(GenericAlias(list, (_TYPES[name],))) for name in _CODED
}


def pack(inputs: Sequence[AnyInput]) -> bytes:
    """A block of at most `MAX_ROWS` inputs. `unpack` gives equal inputs in the same order."""
    squeeze = zstandard.ZstdCompressor(level=LEVEL).compress
    kinds = np.empty(len(inputs), np.uint8)
    ticks: list[float] = []
    reports: list[PositionReceived] = []
    others: list[AnyInput] = []
    for i, entry in enumerate(inputs):
        if type(entry) is PositionReceived:
            kinds[i] = _POSITION
            reports.append(entry)
        elif type(entry) is Tick:
            kinds[i] = _TICK
            ticks.append(entry.at)
        else:
            kinds[i] = _OTHER
            others.append(entry)

    positions = [report.position for report in reports]
    codes, keys = _number(map(_KEY, positions))
    order = np.argsort(codes, kind="stable")
    at = np.array([report.at for report in reports], np.float64)
    columns: dict[str, Column] = {}
    for name in _FLOATS:
        values = list(map(attrgetter(name), positions))
        if name == "received_at":
            column = _pack_ints((np.array(values, np.float64).view(np.int64) - at.view(np.int64))[order], squeeze)
        elif name in _DEFAULTS and all(value is None for value in values):
            continue
        else:
            column = _pack_floats(values, order, squeeze)
        columns[name] = column
    for name in _CODED:
        values = list(map(attrgetter(name), positions))
        if all(value == _DEFAULTS[name] for value in values):
            continue
        numbers, known = _number(values[row] for row in order.tolist())
        columns[name] = msgspec.structs.replace(
            _pack_ints(numbers, squeeze), values=squeeze(msgspec.msgpack.encode(known))
        )
    historical = np.array([report.historical for report in reports], bool)
    if historical.any():
        columns["historical"] = _pack_ints(historical.astype(np.int64), squeeze)
    block = Block(
        count=len(inputs),
        kinds=squeeze(kinds.tobytes()),
        ticks=_pack_float_array(np.array(ticks, np.float64), squeeze),
        keys=squeeze(msgspec.msgpack.encode(keys)),
        vehicles=_smaller(_pack_ints(codes, squeeze), _pack_ints(codes, squeeze, "plain")),
        at=_pack_float_array(at, squeeze),
        columns=columns,
        others=squeeze(msgspec.msgpack.encode(others)),
    )
    return msgspec.msgpack.encode(block)


def unpack(data: bytes) -> Iterator[AnyInput]:
    """The inputs of a block, in order. Raises ValueError (msgspec, zstandard or numpy) for bytes `pack` never made."""
    block = _block.decode(data)
    kinds = np.frombuffer(_inflate(block.kinds), np.uint8)
    if len(kinds) != block.count:
        raise ValueError(f"{len(kinds)} kinds for {block.count} inputs")
    total = int(np.count_nonzero(kinds == _POSITION))
    keys = _keys.decode(_inflate(block.keys))
    codes = _unpack_ints(block.vehicles, total)
    order = np.argsort(codes, kind="stable")
    back = np.empty(total, np.int64)
    back[order] = np.arange(total)
    at = _unpack_floats(block.at, total)
    columns = [_column(name, block, keys, codes, back, at) for name in _FIELDS]
    historical = block.columns.get("historical")
    late = _unpack_ints(historical, total).astype(bool) if historical else np.zeros(total, bool)
    ticks = iter(_unpack_floats(block.ticks, int(np.count_nonzero(kinds == _TICK))).tolist())
    others = iter(_others.decode(_inflate(block.others)))
    done = 0
    for start in range(0, block.count, _CHUNK):
        part = kinds[start : start + _CHUNK]
        stop = done + int(np.count_nonzero(part == _POSITION))
        positions = map(VehiclePosition, *[column(done, stop) for column in columns])
        reports = map(PositionReceived, at[done:stop].tolist(), positions, late[done:stop].tolist())
        done = stop
        for kind in part.tolist():
            if kind == _POSITION:
                yield next(reports)
            elif kind == _TICK:
                yield Tick(next(ticks))
            else:
                yield next(others)


def _column(
    name: str, block: Block, keys: list[tuple[str, str]], codes: I64, back: I64, at: F64
) -> Callable[[int, int], Iterable[Any]]:
    """Gives the values of the field ``name`` for a range of rows in order of arrival."""
    if name in ("source", "vehicle_id"):
        names = [key[name == "vehicle_id"] for key in keys]
        return lambda start, stop: [names[code] for code in codes[start:stop].tolist()]
    column = block.columns.get(name)
    if column is None:
        value = _DEFAULTS[name]
        return lambda start, stop: repeat(value, stop - start)
    if name in _CODED:
        known = _coded[name].decode(_inflate(column.values))
        numbers = _unpack_ints(column, len(codes))[back]
        return lambda start, stop: [known[number] for number in numbers[start:stop].tolist()]
    if name == "received_at":
        received = (_unpack_ints(column, len(codes))[back] + at.view(np.int64)).view(np.float64)
        return lambda start, stop: received[start:stop].tolist()
    floats = _unpack_floats(column, len(codes))[back]
    if not column.null:
        return lambda start, stop: floats[start:stop].tolist()
    null = np.unpackbits(np.frombuffer(_inflate(column.null), np.uint8), count=len(codes)).astype(bool)[back]

    def with_none(start: int, stop: int) -> list[Any]:
        values: list[Any] = floats[start:stop].tolist()
        for row in np.flatnonzero(null[start:stop]).tolist():
            values[row] = None
        return values

    return with_none


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _number(values: Iterable[Hashable]) -> tuple[I64, list[Any]]:
    """Each value's number in order of first appearance, and the values."""
    known: dict[Hashable, int] = {}
    codes = [known.setdefault(value, len(known)) for value in values]
    return np.array(codes, np.int64), list(known)


def _pack_ints(numbers: I64, squeeze: Callable[[bytes], bytes], codec: str = "step") -> Column:
    steps = np.diff(numbers, prepend=np.int64(0)) if codec == "step" else numbers
    folded = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    width = (int(folded.max(initial=0)).bit_length() + 7) // 8
    planes = folded.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width]
    return Column(codec, squeeze(np.ascontiguousarray(planes.T).tobytes()), width)


def _unpack_ints(column: Column, count: int) -> I64:
    planes = np.frombuffer(_inflate(column.data), np.uint8)
    if not 0 <= column.width <= 8 or len(planes) != column.width * count:
        raise ValueError(f"{len(planes)} bytes are not {count} numbers of {column.width}")
    wide = np.zeros((count, 8), np.uint8)
    wide[:, : column.width] = planes.reshape(column.width, count).T
    folded = wide.reshape(-1).view("<u8").astype(np.uint64)
    steps = (folded >> np.uint64(1)).view(np.int64) ^ -(folded & np.uint64(1)).view(np.int64)
    return np.cumsum(steps, dtype=np.int64) if column.codec != "plain" else steps


def _pack_floats(values: Sequence[float | None], order: I64, squeeze: Callable[[bytes], bytes]) -> Column:
    null = np.array([value is None for value in values], bool)[order]
    array = np.array([0.0 if value is None else value for value in values], np.float64)[order]
    column = _pack_float_array(array, squeeze)
    return msgspec.structs.replace(column, null=squeeze(np.packbits(null).tobytes())) if null.any() else column


def _pack_float_array(array: F64, squeeze: Callable[[bytes], bytes]) -> Column:
    bits = array.view(np.int64)
    for scale in _SCALES:
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = np.rint(array * scale)
            whole = np.where(np.abs(scaled) < 2.0**52, scaled, 0.0).astype(np.int64)
        fits = (whole / scale).view(np.int64) == bits
        misfits = np.flatnonzero(~fits)
        if len(misfits) <= len(array) * _MAX_MISFITS:
            column = _pack_ints(np.where(fits, whole, 0), squeeze)
            return msgspec.structs.replace(
                column,
                codec="scale",
                scale=scale,
                misfit_rows=misfits.astype("<i8").tobytes(),
                misfit_bits=bits[misfits].astype("<i8").tobytes(),
            )
    known, codes = np.unique(bits, return_inverse=True)
    if len(known) <= len(array) // 8:
        column = _pack_ints(codes.astype(np.int64), squeeze, "plain")
        return msgspec.structs.replace(column, codec="dict", values=squeeze(known.astype("<i8").tobytes()))
    return msgspec.structs.replace(_pack_ints(bits, squeeze), codec="bits")


def _unpack_floats(column: Column, count: int) -> F64:
    if column.codec == "dict":
        known = np.frombuffer(_inflate(column.values), "<i8")
        return known[_unpack_ints(msgspec.structs.replace(column, codec="plain"), count)].view(np.float64)
    numbers = _unpack_ints(column, count)
    if column.codec == "bits":
        return numbers.view(np.float64)
    array = numbers / column.scale
    array[np.frombuffer(column.misfit_rows, "<i8")] = np.frombuffer(column.misfit_bits, "<i8").view(np.float64)
    return array


def _smaller(a: Column, b: Column) -> Column:
    return a if len(a.data) <= len(b.data) else b


def _inflate(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)
