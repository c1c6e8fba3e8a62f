"""Columns to CSV: the same text as a loop over rows would give, and bytes that depend on the content alone."""

from __future__ import annotations

import csv
import gzip
import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import columns


@given(st.lists(st.one_of(st.floats(1e8, 9e9), st.just(math.nan), st.just(1_771_257_491.95)), max_size=50))
def test_epoch_times(values: list[float]) -> None:
    got = (
        columns.lines([columns.tenths(np.array(values, float)), columns.texts(["x"] * len(values))]) if values else b""
    )
    assert got.decode().splitlines() == [("" if v != v else f"{np.rint(v * 10) / 10:.1f}") + ",x" for v in values]


@pytest.mark.parametrize("value", [0.0, 0.1, 12.34, 99_999_999.9, 1e8, 1e12, 123456789012.3])
def test_small_and_large_numbers(value: float) -> None:
    assert columns.lines([columns.tenths(np.array([value]))]).decode() == f"{value:.1f}\n"


def test_all_unknown() -> None:
    assert columns.lines([columns.tenths(np.full(2, np.nan)), columns.integers(np.array([3, 12]))]) == b",3\n,12\n"


@given(
    st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12), min_size=1)
)
def test_strings_are_escaped(values: list[str]) -> None:
    text = columns.lines([columns.texts(values), columns.texts(["end"] * len(values))]).decode()
    assert [row[0] for row in csv.reader(io.StringIO(text, newline=""))] == values


def test_the_bytes_of_a_file_depend_on_its_content_alone(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with columns.CsvGz(tmp_path / name / f"{name}.csv.gz", ["x", "y"]) as file:
            file.write_rows([["1", "a,b"], ["2", ""]])
        made.append(((tmp_path / name / f"{name}.csv.gz").read_bytes(), file.digest, file.rows))
    assert made[0] == made[1]
    assert gzip.decompress(made[0][0]) == b'x,y\n1,"a,b"\n2,\n'
    assert made[0][2] == 2


def test_a_file_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), columns.CsvGz(tmp_path / "a.csv.gz", ["x"]) as file:
        file.write_rows([["1"]])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
