"""Traccar's forwarding, Traccar Client and OsmAnd: messages whose contents are known."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.errors import FeedError
from busd.feeds.datum import wgs84_to_gcj02
from busd.feeds.traccar import MAX_REPORTS, decode
from busd.types import VehiclePosition

VECTORS = Path(__file__).parents[1] / "vectors" / "traccar.jsonl"
NOTES = Path(__file__).parents[2] / "../shared/feeds.md"
NOW = 1_795_303_810.0
OPTIONAL = ("speed_mps", "bearing_deg", "accuracy_m", "odometer_m", "ignition", "door_open", "label", "report_id")


def vectors() -> list[Any]:
    lines = VECTORS.read_text(encoding="utf-8").splitlines()
    return [pytest.param(v, id=f"{v['id']} {v['what']}") for v in map(json.loads, lines)]


@pytest.mark.parametrize("vector", vectors())
def test_vector(vector: dict[str, Any]) -> None:
    body = vector["body"].encode()
    if vector.get("error"):
        with pytest.raises(FeedError):
            decode(body, source="t", received_at=vector["received_at"])
        return
    got = decode(body, source="t", received_at=vector["received_at"])
    assert [r.reason for r in got.rejects] == vector["expect"]["rejects"]
    assert len(got.positions) == len(vector["expect"]["positions"])
    for position, want in zip(got.positions, vector["expect"]["positions"]):
        for key in {*want, *OPTIONAL}:
            value = want.get(key)
            have = getattr(position, key)
            assert have == (pytest.approx(value, abs=1e-8) if isinstance(value, float) else value), key


def test_the_samples_of_the_field_notes() -> None:
    if not NOTES.is_file():
        pytest.skip("needs ../shared/feeds.md")
    section = NOTES.read_text(encoding="utf-8").partition("## 5. Traccar")[2].partition("## 6.")[0]
    query = section.partition("`/?id=")[2].partition("`")[0]
    (got,) = decode(f"/?id={query}".encode(), source="t", received_at=NOW).positions
    assert (got.vehicle_id, got.lat, got.lon, got.measured_at) == ("123456", 60.0, 30.0, 1377177267.0)
    text = section.partition('`{"location"')[2].partition("`")[0].replace(",...", "")
    (got,) = decode(b'{"location"' + text.encode(), source="t", received_at=NOW).positions
    assert (got.vehicle_id, got.lat, got.lon) == ("8737767034", -6.1148096, 106.6837015)
    assert (got.speed_mps, got.bearing_deg, got.accuracy_m) == (18.67, 63.0, 3.8)
    assert got.measured_at == pytest.approx(1626854794.444)


def test_the_datum_of_the_source_is_taken_off() -> None:
    lat, lon = wgs84_to_gcj02(36.06, 103.83)
    (got,) = decode(f"id=1&lat={lat}&lon={lon}".encode(), source="t", received_at=NOW, datum="gcj02").positions
    assert (got.lat, got.lon) == pytest.approx((36.06, 103.83), abs=1e-8)
    with pytest.raises(ValueError, match="unknown datum"):
        decode(b"id=1", source="t", received_at=NOW, datum="mars")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"position":' * 200_000,
        b'{"device_id": 1' + b"0" * 5000 + b', "location": {}}',
        b"&".join(b"a%d=1" % k for k in range(500)),
        json.dumps([{}] * (MAX_REPORTS + 1)).encode(),
        b"\xff\xfe",
        b'{"device_id": "\\ud800", "location": {"coords": {}}}',
    ],
)
def test_bombs_are_one_feed_error(body: bytes) -> None:
    with pytest.raises(FeedError):
        decode(body, source="t", received_at=NOW)


@given(st.binary(max_size=300))
def test_no_bytes_crash(body: bytes) -> None:
    with contextlib.suppress(FeedError):
        decode(body, source="t", received_at=NOW)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["latitude", "longitude", "fixTime", "speed", "course", "accuracy", "attributes", "deviceId", "coords", "timestamp"]
)


@given(st.sampled_from(["position", "location"]), st.dictionaries(KEYS, JSON), st.dictionaries(KEYS, JSON), JSON)
def test_no_values_crash(form: str, place: dict[str, Any], coords: dict[str, Any], device: Any) -> None:
    message = {form: {"coords": coords, **place}, "device": {"uniqueId": device}, "device_id": device}
    got = decode(json.dumps(message).encode(), source="t", received_at=NOW)
    for position in got.positions:
        assert isinstance(position, VehiclePosition)
        assert abs(position.lat) <= 90 and abs(position.lon) <= 180
