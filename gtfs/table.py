"""Bytes of one CSV file -> a typed table. Every fault costs at most its row, and is counted as a finding.

Texts are kept dictionary-encoded (`Codes`): a column of 1.5 million trip ids is an int32 array and 50,000 strings, and
whatever must be done to a value (strip, parse a time, look up a parent) is done once for each distinct one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtfs.archive import ReaderLimits
from gtfs.errors import GtfsError
from gtfs.findings import EXAMPLES_KEPT, Findings
from gtfs.schema import MAX_TIME_S, MISSING, Column, File, Kind

I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Cells = npt.NDArray[Any]
"""an object array of str; equal strings are mostly one object, so it is small"""

_TIME = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)", re.ASCII)
_DATE = re.compile(r"\d{8}", re.ASCII)
_INT = re.compile(r"[+-]?\d{1,10}(\.0*)?", re.ASCII)
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_COLOR = re.compile(r"#?([0-9A-Fa-f]{6})", re.ASCII)
MAX_HEADER_BYTES = 65_536

_ATOMIC = frozenset({Kind.ID, Kind.INT, Kind.TIME, Kind.DATE})
"""kinds in which a line break can only come from a stray quote"""
_CODED = frozenset({Kind.ID, Kind.TEXT, Kind.COLOR})


@dataclass
class Codes:
    """A column of strings: row i is ``values[code[i]]``."""

    code: I32
    values: list[str]

    def __getitem__(self, i: int) -> str:
        return self.values[int(self.code[i])]

    def to_list(self) -> list[str]:
        return [self.values[code] for code in self.code.tolist()]

    def take(self, rows: npt.NDArray[Any]) -> Codes:
        return Codes(self.code[rows], self.values)


@dataclass
class Table:
    """Columns of equal length; ``row`` is the record in the file (the header being 1)."""

    file: File
    row: I32
    text: dict[str, Codes] = field(default_factory=dict)
    number: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    """names of the columns that the file has"""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def filename(self) -> str:
        return f"{self.file.name}.txt"

    def take(self, rows: npt.NDArray[Any]) -> None:
        """Keeps ``rows`` (a mask or an order) in place, so that the dropped columns are freed one by one."""
        self.row = self.row[rows]
        for name in self.text:
            self.text[name] = self.text[name].take(rows)
        for name in self.number:
            self.number[name] = self.number[name][rows]

    def report(self, findings: Findings, code: str, field: str, bad: Bool, text: Callable[[int], str]) -> int:
        """Counts the rows of mask ``bad``; ``text`` gives the words for a row index. Returns how many there are."""
        where = np.flatnonzero(bad)
        examples = [(int(self.row[i]), text(int(i))) for i in where[:EXAMPLES_KEPT]]
        findings.add_many(code, self.filename, field, len(where), examples)
        return len(where)

    def drop(self, findings: Findings, code: str, field: str, bad: Bool, text: Callable[[int], str]) -> None:
        if self.report(findings, code, field, bad, text):
            self.take(~bad)


def empty_table(file: File) -> Table:
    table = Table(file, np.zeros(0, np.int32))
    for column in file.columns:
        _fill_default(table, column)
    return table


def parse_table(data: bytes, file: File, limits: ReaderLimits, findings: Findings) -> Table:
    """Raises `GtfsError` where a required column is absent or a limit is passed."""
    filename = f"{file.name}.txt"
    data = _to_utf8(data, filename, findings)
    header, start = _header(data, filename, findings)
    missing = [column.name for column in file.columns if column.required and column.name not in header]
    if missing:
        raise GtfsError(f"{filename} lacks the column {', '.join(missing)}; its header is: {', '.join(header)[:200]}")
    wanted = [column for column in file.columns if column.name in header]
    data = data[start:]
    cells, rows = _read_cells(data, header, wanted, filename, findings)
    del data
    if len(rows) > limits.rows:
        raise GtfsError(f"{filename} has {len(rows)} rows, at most {limits.rows} are read (ReaderLimits.rows)")
    table = Table(file, rows, present=frozenset(column.name for column in wanted))
    bad_rows = np.zeros(len(rows), np.bool_)
    for column in wanted:
        _convert(table, column, cells.pop(column.name), bad_rows, findings)
    for column in file.columns:
        if column.name not in table.present:
            _fill_default(table, column)
    if bad_rows.any():
        table.take(~bad_rows)
    if len(table) == 0:
        findings.add("empty_file", filename)
    return table


# ---- bytes -> cells --------------------------------------------------------------------------------------------------


def _to_utf8(data: bytes, filename: str, findings: Findings) -> bytes:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        findings.add("not_utf8", filename, text="decoded as UTF-16")
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        findings.add("nul_bytes", filename)
        data = data.replace(b"\0", b"")
    if data.isascii():
        return data
    try:
        data.decode("utf-8")
        return data
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
    # Chinese operators still export GBK, of which GB 18030 is the superset; what is not even that is taken for Latin-1.
    for encoding in ("gb18030", "latin-1"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        findings.add("not_utf8", filename, row, text=f"decoded as {encoding}")
        return text.encode("utf-8", "replace")
    raise AssertionError("Latin-1 decodes everything")


def _header(data: bytes, filename: str, findings: Findings) -> tuple[list[str], int]:
    """Column names and the place of the first row."""
    line = re.match(rb"[^\r\n]*", data)
    end = line.end() if line else 0
    if end > MAX_HEADER_BYTES:
        raise GtfsError(f"the first line of {filename} has {end} bytes: that is no header")
    names = next(csv.reader([data[:end].decode("utf-8", "replace")], skipinitialspace=True), [])
    header = [name.strip().lower() for name in names]
    for name in sorted({name for name in header if name and header.count(name) > 1}):
        findings.add("duplicate_column", filename, 1, name)
    start = end + (2 if data[end : end + 2] == b"\r\n" else 1)
    return header, start


def _read_cells(
    data: bytes, header: list[str], wanted: list[Column], filename: str, findings: Findings
) -> tuple[dict[str, Cells], I32]:
    """Wanted column -> its cells as strings, and the record number of each row."""
    if not wanted or not data.strip():
        return {column.name: np.zeros(0, object) for column in wanted}, np.zeros(0, np.int32)
    places = {column.name: header.index(column.name) for column in wanted}
    frame: pd.DataFrame | None = None
    try:
        frame = _pandas(data, len(header), wanted, places)
        if b'"' in data and any(_has_newline(frame[c.name]) for c in wanted if c.kind in _ATOMIC):
            findings.add("stray_quote", filename, text="a quoted field swallows rows")
            frame = None
    except (pd.errors.ParserError, ValueError) as error:
        findings.add("stray_quote", filename, text=str(error))
    if frame is not None:
        rows = np.arange(2, 2 + len(frame), dtype=np.int32)
    else:
        lines, rows = _line_by_line(data, filename, findings)
        if len(rows) == 0:
            return {column.name: np.zeros(0, object) for column in wanted}, rows
        try:
            frame = _pandas(lines, len(header), wanted, places)
        except (pd.errors.ParserError, ValueError) as error:
            raise GtfsError(f"{filename} cannot be read as CSV: {error}") from error
    return {column.name: frame.pop(column.name).to_numpy(object) for column in wanted}, rows


def _pandas(data: bytes, width: int, wanted: list[Column], places: dict[str, int]) -> pd.DataFrame:
    names = [f" {i}" for i in range(width)]  # unwanted columns may have any name, even one that is there twice
    for name, place in places.items():
        names[place] = name
    # The first line is as wide as the header: pandas refuses names for columns that no row reaches.
    frame = pd.read_csv(
        io.BytesIO(b"," * (width - 1) + b"\n" + data),
        header=None,
        names=names,
        usecols=[column.name for column in wanted],
        dtype=object,
        index_col=False,
        keep_default_na=False,
        na_filter=False,
        skip_blank_lines=False,
        skipinitialspace=True,
        low_memory=False,
        engine="c",
        encoding="utf-8",
    )
    return frame.iloc[1:]


def _has_newline(cells: Any) -> bool:
    return any("\n" in value or "\r" in value for value in pd.unique(cells))


def _line_by_line(data: bytes, filename: str, findings: Findings) -> tuple[bytes, I32]:
    """A stray quote makes the rest of the file one cell; read alone, each line costs at most itself."""
    out, rows = io.StringIO(), []
    writer = csv.writer(out)
    text = data.decode("utf-8", "replace")
    for number, line in enumerate(_LINE_BREAK.split(text.rstrip("\r\n")), 2):
        try:
            cells = next(csv.reader([line], strict=True, skipinitialspace=True), [])
        except csv.Error as error:
            findings.add("bad_row", filename, number, text=f"{error}: {line}")
            continue
        writer.writerow(cells)
        rows.append(number)
    return out.getvalue().encode(), np.array(rows, np.int32)


# ---- cells -> typed columns ------------------------------------------------------------------------------------------


def _convert(table: Table, column: Column, cells: Cells, bad_rows: Bool, findings: Findings) -> None:
    if column.kind is Kind.FLOAT:
        values, empty, bad = _floats(cells, column)
        table.number[column.name] = values
    else:
        codes, distinct = pd.factorize(cells)
        code = np.asarray(codes, np.int32)
        stripped = [str(value).strip() for value in distinct]
        if column.kind in _CODED:
            table.text[column.name], bad_value = _texts(code, stripped, column)
        else:
            table.number[column.name], bad_value = _numbers(code, stripped, column)
        empty = np.array([not value for value in stripped], np.bool_)[code]
        bad = bad_value[code]
    if column.required:
        table.report(findings, "missing_value", column.name, empty & ~_trailing(empty), lambda i: "")
        table.report(findings, "bad_value", column.name, bad, lambda i: str(cells[i]))
        bad_rows |= empty | bad
    else:
        table.report(findings, "bad_optional_value", column.name, bad, lambda i: str(cells[i]))


def _trailing(empty: Bool) -> Bool:
    """The empty lines that many files end with are no fault."""
    return np.logical_and.accumulate(empty[::-1])[::-1]


def _texts(code: I32, stripped: list[str], column: Column) -> tuple[Codes, Bool]:
    """Values that are equal once stripped share a code; empty ones become the default."""
    bad = np.zeros(len(stripped), np.bool_)
    default = str(column.default or "")
    place: dict[str, int] = {}
    remap = np.zeros(len(stripped), np.int32)
    for k, value in enumerate(stripped):
        if column.kind is Kind.COLOR and value:
            color = _COLOR.fullmatch(value)
            bad[k] = color is None
            value = color.group(1).upper() if color else default
        remap[k] = place.setdefault(value or default, len(place))
    return Codes(remap[code], list(place)), bad


def _numbers(code: I32, stripped: list[str], column: Column) -> tuple[I32, Bool]:
    parse = _PARSERS[column.kind]
    bad = np.zeros(len(stripped), np.bool_)
    parsed = np.full(len(stripped), _number_default(column), np.int64)
    for k, value in enumerate(stripped):
        if value:
            number = parse(value)
            bad[k] = number is None or not _in_range(number, column)
            if number is not None and not bad[k]:
                parsed[k] = number
    return parsed.astype(np.int32)[code], bad


def _floats(cells: Cells, column: Column) -> tuple[F64, Bool, Bool]:
    empty = np.fromiter((not cell or cell.isspace() for cell in cells), np.bool_, len(cells))
    default = np.nan if column.default is None else float(column.default)
    values = np.full(len(cells), default, np.float64)
    filled = ~empty
    try:
        values[filled] = cells[filled].astype(np.float64)
    except ValueError:
        values[filled] = [_float(cell) for cell in compress(cells, filled)]
    bad = filled & ~np.isfinite(values)
    if column.low is not None:
        bad |= filled & (values < column.low)
    if column.high is not None:
        bad |= filled & (values > column.high)
    values[bad] = default
    return values, empty, bad


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _parse_int(text: str) -> int | None:
    """Spreadsheets turn 3 into 3.0; that is still 3."""
    return int(float(text)) if _INT.fullmatch(text) else None


def parse_time(text: str) -> int | None:
    """``H:MM:SS`` -> seconds of the service day; None for garbage. Hours may pass 24."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    total = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return total if total <= MAX_TIME_S else None


def parse_date(text: str) -> int | None:
    """``YYYYMMDD`` -> proleptic ordinal; None for garbage."""
    if _DATE.fullmatch(text) is None:
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal()
    except ValueError:
        return None


_PARSERS: dict[Kind, Callable[[str], int | None]] = {
    Kind.INT: _parse_int,
    Kind.TIME: parse_time,
    Kind.DATE: parse_date,
}


def _in_range(number: int, column: Column) -> bool:
    return (column.low is None or number >= column.low) and (column.high is None or number <= column.high)


def _number_default(column: Column) -> int:
    return MISSING if column.default is None else int(column.default)


def _fill_default(table: Table, column: Column) -> None:
    n = len(table)
    if column.kind in _CODED:
        table.text[column.name] = Codes(np.zeros(n, np.int32), [str(column.default or "")])
    elif column.kind is Kind.FLOAT:
        table.number[column.name] = np.full(n, np.nan if column.default is None else float(column.default), np.float64)
    else:
        table.number[column.name] = np.full(n, _number_default(column), np.int32)


def iter_rows(table: Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Python values of some columns, row by row: for the small tables."""
    columns = [table.text[n].to_list() if n in table.text else table.number[n].tolist() for n in names]
    return zip(*columns)
