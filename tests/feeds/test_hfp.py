"""HFP v2 messages whose contents are known, and messages that nobody should send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.feeds.datum import TO_WGS84, wgs84_to_gcj02
from busd.feeds.hfp import EVENTS, MAX_TOPIC_CHARS, Ignored, decode
from busd.types import Rejected, TripHint, VehiclePosition

NOW = 1_763_800_000.0
VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors/hfp.jsonl").read_text(encoding="utf-8").splitlines()
]
TOPIC, PAYLOAD = VECTORS[0]["topic"], json.loads(VECTORS[0]["payload"])


def take(topic: str, payload: bytes, datum: str = "wgs84") -> VehiclePosition | Rejected | Ignored:
    return decode(topic, payload, source="hsl", received_at=NOW, datum=datum)


def with_vp(**values: Any) -> bytes:
    return json.dumps({"VP": PAYLOAD["VP"] | values}).encode()


@pytest.mark.parametrize("vector", [pytest.param(v, id=f"{v['id']} {v['what']}") for v in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    got = take(vector["topic"], vector["payload"].encode())
    kind, expect = vector["class"], dict(vector["expect"])
    if kind == "position":
        assert isinstance(got, VehiclePosition)
        assert (got.source, got.received_at) == ("hsl", NOW)
        if "hint" in expect:
            hint = expect.pop("hint")
            assert got.hint == (None if hint is None else TripHint(**hint))
        assert {key: getattr(got, key) for key in expect} == expect
    elif isinstance(got, Ignored):
        assert got.kind == kind
        assert kind in EVENTS or kind == "other"
    else:
        assert isinstance(got, Rejected)
        assert got.reason == kind
        assert (got.at, got.source) == (NOW, "hsl")


def test_a_capture_as_published() -> None:
    got = take(
        "/hfp/v2/journey/ongoing/vp/bus/0018/00423/2159/2/Matinkylä (M)/09:32/2442201/3/60;24/16/58/67",
        b'{"VP":{"dir":"2","oper":6,"veh":423,"tst":"2021-05-15T06:40:28.629Z","spd":21.71,"hdg":67,"lat":60.156949,'
        b'"long":24.687111,"acc":0,"odo":null,"drst":null,"oday":"2021-05-15","start":"09:32","route":"2159"}}',
    )
    assert isinstance(got, VehiclePosition)
    assert (got.vehicle_id, got.lat, got.lon, got.speed_mps) == ("18/423", 60.156949, 24.687111, 21.71)
    assert got.measured_at == pytest.approx(1_621_060_828.629)
    assert got.hint == TripHint(service_date="20210515", start_s=34_320, route_id="2159", direction_id=1)


def test_the_datum_of_the_feed_is_taken_off() -> None:
    lat, lon = wgs84_to_gcj02(36.06, 103.83)
    got = take(TOPIC, with_vp(lat=lat, long=lon), "gcj02")
    assert isinstance(got, VehiclePosition)
    assert (got.lat, got.lon) == pytest.approx((36.06, 103.83), abs=1e-7)
    with pytest.raises(ValueError, match="unknown datum"):
        take(TOPIC, b"", "mars")


@pytest.mark.parametrize("lon", [-122.0, 0.0, 25.0, 103.8, 174.0])
@pytest.mark.parametrize("hour", [0, 3, 4, 12, 23])
def test_a_start_is_found_on_its_side_of_midnight_wherever_the_city_is(lon: float, hour: int) -> None:
    """Reports from 20 minutes before the start to 2 hours after it, local time within 2 h of the sun's."""
    zone = round(lon / 15)
    for day_after in (0, 1):
        start_local = (20_414 + day_after) * 86_400 + hour * 3600 + 1800
        for since_s in (-1200, 0, 7200):
            tsi = start_local - zone * 3600 + since_s
            got = take(TOPIC, with_vp(tst=None, tsi=tsi, start=f"{hour:02}:30", oday="2025-11-22", long=lon))
            assert isinstance(got, VehiclePosition)
            assert got.hint is not None
            assert got.hint.start_s == (hour + 24 * day_after) * 3600 + 1800


def test_a_topic_that_is_too_long() -> None:
    got = take(TOPIC + "x" * MAX_TOPIC_CHARS, with_vp())
    assert isinstance(got, Rejected)
    assert got.reason == "malformed"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def check(got: VehiclePosition | Rejected | Ignored) -> None:
    """What is handed on can be kept in the journal, and is a place on earth."""
    if isinstance(got, Ignored):
        assert got.kind in EVENTS or got.kind == "other"
        return
    msgspec.json.encode(got)
    if isinstance(got, VehiclePosition):
        assert -91 < got.lat < 91 and -181 < got.lon < 181
        assert got.speed_mps is None or got.speed_mps >= 0
        assert got.bearing_deg is None or 0 <= got.bearing_deg < 360
        assert got.hint is None or got.hint.direction_id in (None, 0, 1)


@settings(deadline=None)
@given(st.text(max_size=200), st.binary(max_size=300), st.sampled_from(sorted(TO_WGS84)))
def test_no_bytes_crash(topic: str, payload: bytes, datum: str) -> None:
    check(take(topic, payload, datum))
    check(take(TOPIC, payload, datum))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(PAYLOAD["VP"])), JSON), st.sampled_from(sorted(TO_WGS84)))
def test_no_value_crashes(values: dict[str, Any], datum: str) -> None:
    check(take(TOPIC, with_vp(**values), datum))


@settings(deadline=None)
@given(st.lists(st.sampled_from([*TOPIC.split("/"), "", "v2", "vp", "/", "é", "0"]), max_size=20))
def test_no_topic_crashes(levels: list[str]) -> None:
    check(take("/".join(levels), with_vp()))
