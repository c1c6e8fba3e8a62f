"""One CSV file: every fault costs at most its row and is counted with file, row and field."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.archive import ReaderLimits
from gtfs.errors import GtfsError
from gtfs.findings import EXAMPLES_KEPT, Findings
from gtfs.schema import FILE, MISSING
from gtfs.table import Table, parse_date, parse_table, parse_time


def _parse(name: str, data: bytes | str, findings: Findings | None = None, limits: ReaderLimits | None = None) -> Table:
    if isinstance(data, str):
        data = data.encode()
    return parse_table(data, FILE[name], limits or ReaderLimits(), findings if findings is not None else Findings())


STOPS = "stop_id,stop_name,stop_lat,stop_lon\n"


def test_types_defaults_and_row_numbers() -> None:
    table = _parse("stops", STOPS + "a,Alpha,36.5,103.5\nb,,,\n")
    assert table.text["stop_id"].to_list() == ["a", "b"]
    assert table.text["stop_name"].to_list() == ["Alpha", ""]
    assert table.number["stop_lat"][0] == 36.5
    assert str(table.number["stop_lat"][1]) == "nan"
    assert table.number["location_type"].tolist() == [0, 0]
    assert table.row.tolist() == [2, 3]


def test_na_is_a_string_like_any_other() -> None:
    table = _parse("stops", STOPS + "NA,null,1,1\nnan,None,1,1\nNULL,N/A,1,1\n01,1e5,1,1\n1,inf,1,1\n")
    assert table.text["stop_id"].to_list() == ["NA", "nan", "NULL", "01", "1"]
    assert table.text["stop_name"].to_list() == ["null", "None", "N/A", "1e5", "inf"]


def test_spaces_quotes_crlf_and_bom() -> None:
    data = b'\xef\xbb\xbfstop_id, "stop_name" ,stop_lat,stop_lon \r\n a , "One, two ""3""" ,1.0 , 2\r\n"a2",x,1,1\r\n'
    table = _parse("stops", data)
    assert table.text["stop_id"].to_list() == ["a", "a2"]
    assert table.text["stop_name"].to_list() == ['One, two "3"', "x"]
    assert table.number["stop_lon"].tolist() == [2.0, 1.0]


def test_gbk_is_decoded_with_a_finding() -> None:
    findings = Findings()
    table = _parse("stops", (STOPS + "a,省政府,36,103\nb,西关十字,36,103\n").encode("gbk"), findings)
    assert table.text["stop_name"].to_list() == ["省政府", "西关十字"]
    (group,) = list(findings)
    assert (group.code, group.examples[0].row, group.examples[0].text) == ("not_utf8", 2, "decoded as gb18030")


def test_latin1_and_utf16() -> None:
    assert _parse("stops", (STOPS + "a,Café,36,103\n").encode("latin-1")).text["stop_name"][0] == "Café"
    assert _parse("stops", (STOPS + "a,Café,36,103\n").encode("utf-16")).text["stop_name"][0] == "Café"


def test_bad_rows_are_left_out_and_counted() -> None:
    findings = Findings()
    data = "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\nx,1,1,1\n,1,1,2\nx,north,1,3\nx,91,1,4\nx,1,1,-5\nx,1\nx,2,2,6,7,8\n"
    table = _parse("shapes", data, findings)
    assert table.number["shape_pt_sequence"].tolist() == [1, 6]
    counted = {(group.code, group.field): (group.count, group.examples[0].row) for group in findings}
    assert counted[("missing_value", "shape_id")] == (1, 3)
    assert counted[("bad_value", "shape_pt_lat")] == (2, 4)
    assert counted[("bad_value", "shape_pt_sequence")] == (1, 6)
    assert counted[("missing_value", "shape_pt_lon")] == (1, 7)


def test_bad_optional_values_fall_back() -> None:
    findings = Findings()
    table = _parse(
        "routes", "route_id,route_type,route_color,route_sort_order\n1,bus,green,3.0\n2,3,#c8102e,\n", findings
    )
    assert table.number["route_type"].tolist() == [3, 3]
    assert table.text["route_color"].to_list() == ["FFFFFF", "C8102E"]
    assert table.number["route_sort_order"].tolist() == [3, 2**31 - 1]
    assert findings.count("bad_optional_value") == 2


def test_stray_quote_costs_its_line_only() -> None:
    findings = Findings()
    table = _parse("stops", STOPS + 'a,One,1,1\nb,"Two,1,1\nc,Three,1,1\n', findings)
    assert table.text["stop_id"].to_list() == ["a", "c"]
    assert table.row.tolist() == [2, 4]
    assert findings.count("bad_row") == 1


def test_stray_quote_that_is_closed_by_a_later_one() -> None:
    """pandas reads this without complaint as one row that swallows the next."""
    table = _parse(
        "stops", 'stop_name,stop_id,stop_lat,stop_lon\n"One,a,1,1\nTwo"x,b,1,1\n"y,c",d,1,1\nz,"e,1,1\nq",f,1,1\n'
    )
    assert "d" in table.text["stop_id"].to_list()


def test_line_break_in_a_name_is_legal() -> None:
    findings = Findings()
    table = _parse("stops", STOPS + 'a,"One\nTwo",1,1\nb,Three,1,1\n', findings)
    assert table.text["stop_name"].to_list() == ["One\nTwo", "Three"]
    assert len(findings) == 0


def test_columns() -> None:
    with pytest.raises(GtfsError, match=r"stop_times.txt lacks the column stop_sequence"):
        _parse("stop_times", "trip_id,stop_id\n1,2\n")
    with pytest.raises(GtfsError, match=r"lacks the column"):
        _parse("stops", "")
    findings = Findings()
    table = _parse("stops", "stop_id,stop_lat,stop_id\na,1,b\n", findings)
    assert table.text["stop_id"].to_list() == ["a"]
    assert findings.count("duplicate_column") == 1


def test_empty_lines_and_nul_bytes() -> None:
    findings = Findings()
    table = _parse("stops", STOPS.encode() + b"a,x\0y,1,1\n\nb,z,1,1\n\n\n", findings)
    assert table.text["stop_name"].to_list() == ["xy", "z"]
    assert table.row.tolist() == [2, 4]
    assert findings.count("missing_value") == 1, "the empty line in the middle, not those at the end"
    assert findings.count("nul_bytes") == 1


def test_header_only_and_row_limit() -> None:
    findings = Findings()
    assert len(_parse("stops", STOPS, findings)) == 0
    assert findings.count("empty_file") == 1
    with pytest.raises(GtfsError, match="at most 1 are read"):
        _parse("stops", STOPS + "a,,1,1\nb,,1,1\n", limits=ReaderLimits(rows=1))


def test_a_million_equal_faults_are_one_finding() -> None:
    findings = Findings()
    _parse("stops", STOPS + ",x,1,1\n" * 10_000 + "a,x,1,1\n", findings)
    (group,) = list(findings)
    assert group.count == 10_000
    assert len(group.examples) == EXAMPLES_KEPT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7:05:00", 25_500),
        ("07:05:00", 25_500),
        ("24:00:00", 86_400),
        ("48:00:00", 172_800),
        ("168:00:00", 604_800),
        ("168:00:01", None),
        ("07:60:00", None),
        ("07:05", None),
        ("7.05.00", None),
        ("-1:00:00", None),
        ("٠٧:٠٥:٠٠", None),
        ("", None),
        ("noon", None),
    ],
)
def test_times(text: str, seconds: int | None) -> None:
    assert parse_time(text) == seconds


@given(st.integers(0, 7 * 86_400))
def test_times_round_trip(seconds: int) -> None:
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    assert parse_time(text) == seconds
    assert parse_time(text.removeprefix("0")) == seconds


@given(st.dates())
def test_dates_round_trip(day: object) -> None:
    import datetime

    assert isinstance(day, datetime.date)
    assert parse_date(f"{day.year:04d}{day.month:02d}{day.day:02d}") == day.toordinal()


@pytest.mark.parametrize("text", ["20260230", "2026-02-03", "20261301", "00000101", "2026020", "202602033"])
def test_no_dates(text: str) -> None:
    assert parse_date(text) is None


_CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(_CELL, min_size=1, max_size=12), max_size=8))
def test_any_text_gives_a_table_of_equal_columns(rows: list[list[str]]) -> None:
    """Whatever the cells hold: no exception, every required field filled, every number in its range."""
    header = "trip_id,stop_sequence,stop_id,arrival_time,departure_time,stop_headsign,timepoint,shape_dist_traveled\n"
    table = _parse("stop_times", header + "\n".join(",".join(row) for row in rows))
    columns = [column.code for column in table.text.values()] + list(table.number.values())
    assert {len(column) for column in columns} == {len(table)}
    assert all(table.text["trip_id"].to_list()) and all(table.text["stop_id"].to_list())
    assert (table.number["stop_sequence"] >= 0).all()
    assert all(value == MISSING or 0 <= value <= 604_800 for value in table.number["arrival_time"].tolist())
