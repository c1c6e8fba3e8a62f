"""busd's own JSON: what is read, what a bad field costs."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.errors import FeedError
from busd.feeds.datum import wgs84_to_gcj02
from busd.feeds.jsonpush import MAX_REPORTS, Report, decode
from busd.types import TripHint

NOW = 1_795_303_810.0
GOOD: dict[str, Any] = {"id": "1207", "lat": 36.061, "lon": 103.834}


def take(message: object, datum: str = "wgs84"):  # type: ignore[no-untyped-def]
    return decode(json.dumps(message).encode(), source="j", received_at=NOW, datum=datum)


def test_every_field() -> None:
    (got,) = take(
        {
            **GOOD,
            "time": NOW - 4,
            "speed_mps": 8.5,
            "bearing_deg": 88,
            "accuracy_m": 5,
            "odometer_m": 1e6,
            "door_open": True,
            "ignition": True,
            "occupancy": 3,
            "label": "甘A12345",
            "report_id": "r1",
            "trip_id": "t1",
            "service_date": "20261122",
            "route_id": "8",
            "direction_id": 1,
            "block_id": "b",
            "stop_sequence": 5,
            "unknown": {"is": "left alone"},
        }
    ).positions
    assert (got.vehicle_id, got.lat, got.lon, got.measured_at, got.clock) == (
        "1207",
        36.061,
        103.834,
        NOW - 4,
        "device",
    )
    assert (got.speed_mps, got.bearing_deg, got.accuracy_m, got.odometer_m) == (8.5, 88.0, 5.0, 1e6)
    assert (got.door_open, got.ignition, got.occupancy, got.label, got.report_id) == (True, True, 3, "甘A12345", "r1")
    assert got.hint == TripHint("t1", "20261122", None, "8", 1, "b", 5)


def test_what_must_be_given_is_enough() -> None:
    (got,) = take({**GOOD, "id": 1207}).positions
    assert (got.vehicle_id, got.measured_at, got.clock, got.hint) == ("1207", NOW, "receiver", None)


@pytest.mark.parametrize(
    ("time", "wanted"),
    [
        (NOW, NOW),
        (int(NOW * 1000) + 250, NOW + 0.25),
        (str(int(NOW)), NOW),
        ("2026-11-21T23:30:10Z", NOW),
        ("2026-11-22T07:30:10+08:00", NOW),
        ("2026-11-21T23:30:10", NOW),
    ],
)
def test_times(time: object, wanted: float) -> None:
    assert take({**GOOD, "time": time}).positions[0].measured_at == pytest.approx(wanted)


@pytest.mark.parametrize("time", ["yesterday", "", 0, -5, "2026-99-99T00:00:00Z"])
def test_times_that_are_none(time: object) -> None:
    assert take({**GOOD, "time": time}).positions[0].clock == "receiver"


def test_kilometres_an_hour() -> None:
    assert take({**GOOD, "speed_kmh": 36}).positions[0].speed_mps == 10.0
    assert take({**GOOD, "speed_kmh": 36, "speed_mps": 3}).positions[0].speed_mps == 3.0


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ({"lat": 1, "lon": 2}, "malformed"),
        ({**GOOD, "id": ""}, "malformed"),
        ({**GOOD, "id": "x" * 200}, "malformed"),
        ({**GOOD, "id": "a\nb"}, "malformed"),
        ({**GOOD, "lat": "36"}, "malformed"),
        ({**GOOD, "speed_mps": "fast"}, "malformed"),
        ({**GOOD, "lat": 90.1}, "out_of_range"),
        ({**GOOD, "lat": 0, "lon": 0}, "zero_island"),
        ({**GOOD, "valid": False}, "not_positioned"),
        (7, "malformed"),
        (None, "malformed"),
    ],
)
def test_a_bad_report_costs_itself(report: object, reason: str) -> None:
    got = take({"positions": [report, GOOD]})
    assert [r.reason for r in got.rejects] == [reason]
    assert len(got.positions) == 1


def test_nonsense_in_optional_fields_is_left_out() -> None:
    (got,) = take(
        {
            **GOOD,
            "speed_mps": -1,
            "bearing_deg": 720,
            "accuracy_m": -3,
            "occupancy": 99,
            "trip_id": "a\x1b[2J",
            "label": "",
        }
    ).positions
    assert (got.speed_mps, got.bearing_deg, got.accuracy_m, got.occupancy, got.hint, got.label) == (None,) * 6


def test_the_datum_of_the_source_is_taken_off() -> None:
    lat, lon = wgs84_to_gcj02(36.06, 103.83)
    (got,) = take({**GOOD, "lat": lat, "lon": lon}, "gcj02").positions
    assert (got.lat, got.lon) == pytest.approx((36.06, 103.83), abs=1e-8)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 200_000, b"\xff", b"[1" * 9])
def test_what_is_no_json_is_one_feed_error(body: bytes) -> None:
    with pytest.raises(FeedError, match="no JSON"):
        decode(body, source="j", received_at=NOW)
    with pytest.raises(FeedError, match="more than"):
        decode(b"[" + b"1," * MAX_REPORTS + b"1]", source="j", received_at=NOW)


@given(st.binary(max_size=200))
def test_no_bytes_crash(body: bytes) -> None:
    with contextlib.suppress(FeedError):
        decode(body, source="j", received_at=NOW)


def test_every_field_is_documented() -> None:
    schema = msgspec.json.schema(Report)["$defs"]["Report"]["properties"]
    undocumented = [name for name, field in schema.items() if "description" not in field]
    assert set(undocumented) <= {"ignition", "block_id"}
