"""A guarded zip -> typed tables whose keys are unique and whose references exist.

Order of the faults: a hostile or damaged zip, a missing required file or column and a passed limit are errors
(`GtfsError`), since nothing sensible can be made of them; everything else is a finding and costs a row or less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gtfs.archive import Archive, ReaderLimits
from gtfs.errors import GtfsError
from gtfs.findings import Findings
from gtfs.schema import FILES, Column
from gtfs.table import Codes, Table, empty_table, parse_table

I32 = npt.NDArray[np.int32]


@dataclass
class Feed:
    """Typed tables by name; every table of the schema is there, absent files as tables without rows."""

    tables: dict[str, Table]
    findings: Findings

    def __getitem__(self, name: str) -> Table:
        return self.tables[name]


def read_feed(data: bytes, limits: ReaderLimits | None = None, findings: Findings | None = None) -> Feed:
    """Reads the bytes of a zip. Raises `GtfsError` (see above)."""
    limits = limits or ReaderLimits()
    findings = findings if findings is not None else Findings()
    archive = Archive(data, limits, findings)
    absent = [f"{file.name}.txt" for file in FILES if file.required and file.name not in archive]
    if absent:
        raise GtfsError(f"the feed lacks {', '.join(absent)}")
    if "calendar" not in archive and "calendar_dates" not in archive:
        raise GtfsError("the feed has neither calendar.txt nor calendar_dates.txt: no trip would ever run")
    tables: dict[str, Table] = {}
    for file in FILES:
        if file.name not in archive:
            tables[file.name] = empty_table(file)
            continue
        table = parse_table(archive.read(file.name), file, limits, findings)
        for column in file.columns:
            if column.parent is not None and column.name in table.present:
                _check_parent(table, column, tables, findings)
        _drop_duplicates(table, findings)
        tables[file.name] = table
        if file.required and len(table) == 0:
            raise GtfsError(f"{file.name}.txt has no usable row")
    return Feed(tables, findings)


def row_in(codes: Codes, parent: Codes) -> I32:
    """For each row of ``codes`` the first row of ``parent`` with that value, -1 where there is none."""
    first = np.full(len(parent.values), -1, np.int32)
    # Written backwards, so that of equal keys the first row stays.
    first[parent.code[::-1]] = np.arange(len(parent.code) - 1, -1, -1, dtype=np.int32)
    place = {value: int(row) for value, row in zip(parent.values, first)}
    lookup = np.array([place.get(value, -1) for value in codes.values], np.int32)
    return lookup[codes.code] if len(codes.values) else np.zeros(0, np.int32)


def _check_parent(table: Table, column: Column, tables: dict[str, Table], findings: Findings) -> None:
    assert column.parent is not None
    file, key = column.parent
    codes = table.text[column.name]
    parent = table if file == table.file.name else tables[file]
    if column.required:
        orphan = row_in(codes, parent.text[key]) < 0
        table.drop(findings, "missing_parent", column.name, orphan, lambda i: codes[i])
        return
    known = set(parent.text[key].values)
    lost = np.array([bool(value) and value not in known for value in codes.values], np.bool_)
    if not lost.any():
        return
    table.report(findings, "missing_optional_parent", column.name, lost[codes.code], lambda i: codes[i])
    table.text[column.name] = Codes(codes.code, ["" if bad else value for value, bad in zip(codes.values, lost)])


def _drop_duplicates(table: Table, findings: Findings) -> None:
    """Of rows with equal keys the first stays."""
    key = table.file.key
    if not key or len(table) < 2:
        return
    packed = np.zeros(len(table), np.int64)
    for name in key:
        part = table.text[name].code if name in table.text else table.number[name]
        packed = (packed << 32) | part.astype(np.int64)
    if bool((packed[1:] > packed[:-1]).all()):
        return
    order = np.argsort(packed, kind="stable")
    repeated = np.zeros(len(table), np.bool_)
    repeated[order[1:]] = packed[order[1:]] == packed[order[:-1]]

    def text(i: int) -> str:
        values = [table.text[name][i] if name in table.text else str(table.number[name][i]) for name in key]
        return ", ".join(values)

    table.drop(findings, "duplicate_key", ", ".join(key), repeated, text)
