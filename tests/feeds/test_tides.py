"""TIDES vehicle_locations to positions: labels stay out, bad rows cost themselves only."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.errors import FeedError
from busd.feeds.tides import decode_rows, read_positions
from busd.types import Rejected, TripHint, VehiclePosition

DATA = Path(__file__).parents[2] / "../shared/data"
HEADER = (
    "location_ping_id,service_date,event_timestamp,vehicle_id,trip_id_scheduled,scheduled_stop_sequence,"
    "latitude,longitude,heading,speed,trip_type,label_shape_dist_m,sign_code"
)
GOOD = "p1,2026-02-16,2026-02-16T10:58:11-05:00,7146,20942100,2,38.984589,-77.095901,133.0,8.84,Layover,123.4,4630"


def rows(*lines: str, **options: bool) -> list[VehiclePosition | Rejected]:
    return list(decode_rows([HEADER, *lines], **options))


def test_a_good_row() -> None:
    (got,) = rows(GOOD)
    assert got == VehiclePosition(
        source="tides",
        vehicle_id="7146",
        lat=38.984589,
        lon=-77.095901,
        measured_at=1771257491.0,
        received_at=1771257491.0,
        bearing_deg=133.0,
        speed_mps=8.84,
        hint=TripHint(trip_id="20942100", stop_sequence=2),
        report_id="p1",
    )


def test_labels_never_reach_the_position() -> None:
    (a,) = rows(GOOD)
    (b,) = rows(GOOD.replace("2026-02-16,", "1999-01-01,", 1).replace("Layover,123.4,4630", "In service,9.9,0"))
    assert a == b


def test_hidden_trips() -> None:
    (got,) = rows(GOOD, hide_trips=True)
    assert isinstance(got, VehiclePosition)
    assert got.hint is None
    assert got.report_id == "p1"


def test_empty_and_nan_values_are_unknown() -> None:
    (got,) = rows("p1,,2026-02-16T10:58:11Z,7146,,,38.98,-77.09,NaN,,,,")
    assert isinstance(got, VehiclePosition)
    assert (got.bearing_deg, got.speed_mps, got.hint) == (None, None, None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("p1,,yesterday,7146,,,38.98,-77.09,,,,,", "no_time"),
        ("p1,,2026-02-16T10:58:11,7146,,,38.98,-77.09,,,,,", "no_time"),
        ("p1,,2026-02-16T10:58:11Z,7146,,,north,-77.09,,,,,", "not_a_number"),
        ("p1,,2026-02-16T10:58:11Z,7146,,,nan,-77.09,,,,,", "not_a_number"),
        ("p1,,2026-02-16T10:58:11Z,7146,,,,,,,,,", "not_a_number"),
        ("p1,,2026-02-16T10:58:11Z,,,,38.98,-77.09,,,,,", "malformed"),
        ("p1,2026-02-16", "malformed"),
    ],
)
def test_a_bad_row_is_a_reject_with_its_number(line: str, reason: str) -> None:
    first, bad, last = rows(GOOD, line, GOOD)
    assert isinstance(bad, Rejected)
    assert bad.reason == reason
    assert bad.detail.startswith("row 3:")
    assert bad.report_id == "p1"
    assert first == last
    assert isinstance(first, VehiclePosition)


def test_columns_in_any_order_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(
        "\ufefflongitude,latitude,vehicle_id,event_timestamp\r\n-77.09,38.98,7,2026-02-16T10:58:11Z\r\n".encode()
    )
    (got,) = read_positions(path)
    assert isinstance(got, VehiclePosition)
    assert (got.lat, got.lon, got.vehicle_id, got.report_id) == (38.98, -77.09, "7", None)


def test_gzip_is_known_by_its_bytes_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode()))
    assert list(read_positions(path)) == rows(GOOD)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"latitude,longitude,vehicle_id\n", "no column event_timestamp"),
        (b"\xff\xfe\x00\x01\n", "not UTF-8"),
        (gzip.compress(f"{HEADER}\n{GOOD}\n".encode())[:-9], "cannot be read"),
        (f"{HEADER}\n{'x' * 200_000}\n".encode(), "row 2"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "p.csv.gz"
    path.write_bytes(content)
    with pytest.raises(FeedError, match=why):
        list(read_positions(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="cannot be read"):
        list(read_positions(tmp_path / "none.csv"))


@given(st.lists(st.text(), max_size=15))
def test_no_row_raises(cells: list[str]) -> None:
    clean = [cell.replace('"', "").replace("\n", " ").replace("\r", " ").replace(",", " ") for cell in cells]
    for got in rows(",".join(clean)):
        assert isinstance(got, (VehiclePosition, Rejected))


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("name", "count"), [("wmata-2026-02-16/small/positions.csv.gz", 3068), ("nyc-b63/positions.csv.gz", 16554)]
)
def test_recorded_files(name: str, count: int) -> None:
    got = list(read_positions(DATA / name))
    assert len(got) == count
    assert all(isinstance(p, VehiclePosition) for p in got)
