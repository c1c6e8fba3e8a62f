from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.feeds.jt808.frame import FrameReader, phone_bytes
from busd.feeds.jt808.message import (
    decode_answer,
    decode_authentication,
    decode_batch,
    decode_location,
    decode_registration,
    decode_registration_answer,
    decode_text,
    decode_time,
    encode_answer,
    encode_registration_answer,
)
from busd.feeds.jt808.terminal import (
    encode_auth,
    encode_batch,
    encode_location,
    encode_packets,
    encode_registration,
    encode_time,
)

JUNK = st.binary(max_size=400)
Y2000, Y2100 = 946684800, 4102444800 - 86400


@given(st.integers(Y2000, Y2100 - 1), st.sampled_from([8 * 3600.0, 0.0, -5 * 3600.0, 20700.0]))
def test_time_comes_back(at: int, offset: float) -> None:
    if at + offset >= Y2000:
        assert decode_time(encode_time(at, offset), offset) == at


def test_time_is_beijing_time() -> None:
    assert decode_time(bytes.fromhex("261122073005")) == datetime(2026, 11, 21, 23, 30, 5, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "digits",
    ["000000000000", "261301000000", "260230000000", "261122240000", "261122006000", "261122000060", "2611220000ff"]
    + ["ffffffffffff", "26112a000000", "260001000000"],
)
def test_no_time(digits: str) -> None:
    assert decode_time(bytes.fromhex(digits)) is None


@given(
    lat=st.floats(-90, 90),
    lon=st.floats(-180, 180),
    speed=st.floats(0, 1800),
    bearing=st.floats(0, 359.4),
    altitude=st.floats(-32768, 32767),
    at=st.integers(Y2000 + 86400, Y2100),
    doors=st.booleans(),
    odometer=st.none() | st.floats(0, 4e8),
    items=st.lists(st.tuples(st.integers(2, 255), st.binary(max_size=255)), max_size=5),
)
def test_location_comes_back(
    lat: float,
    lon: float,
    speed: float,
    bearing: float,
    altitude: float,
    at: int,
    doors: bool,
    odometer: float | None,
    items: list[tuple[int, bytes]],
) -> None:
    body = encode_location(lat, lon, speed, bearing, altitude, at, items, doors_open=doors, odometer_m=odometer)
    location = decode_location(body)
    assert location is not None
    assert (location.lat, location.lon) == (pytest.approx(lat, abs=5.1e-7), pytest.approx(lon, abs=5.1e-7))
    assert location.speed_mps == pytest.approx(speed, abs=0.5 / 36 + 1e-9)
    assert location.bearing_deg == round(bearing) % 360
    assert location.altitude_m == round(altitude)
    assert location.measured_at == at
    assert (location.is_positioned, location.passenger_doors_open) == (True, doors)
    assert location.items_end_well
    assert location.items()[-len(items) :] == items or not items
    value = location.find_item(1, 4)
    assert (value is None) == (odometer is None)
    if value is not None and odometer is not None:
        assert int.from_bytes(value, "big") == round(odometer / 100)


@pytest.mark.parametrize("version", [2011, 2013, 2019])
def test_registration_comes_back(version: int) -> None:
    body = encode_registration("甘A12345D", version, "T000042", maker="LZBUS", model="BEIDOU-3")
    got = decode_registration(body, version == 2019)
    assert (got.standard, got.plate, got.terminal_id) == (version, "甘A12345D", "T000042")
    assert (got.maker, got.model, got.plate_color) == ("LZBUS", "BEIDOU-3", 2)


@given(JUNK, st.booleans())
def test_registration_is_never_refused_for_its_length(body: bytes, is_2019: bool) -> None:
    got = decode_registration(body, is_2019)
    assert all(text.isprintable() for text in (got.maker, got.model, got.terminal_id, got.plate))


def test_authentication() -> None:
    assert decode_authentication(b"K7wq2\0", False).code == b"K7wq2"
    got = decode_authentication(encode_auth(b"K7wq2", 2019, "861234567890123", "v4.2"), True)
    assert (got.code, got.imei, got.software) == (b"K7wq2", "861234567890123", "v4.2")
    assert decode_authentication(b"K7wq2", True).code == b"K7wq2"  # a 2019 header, a 2013 body: 0x4b is no length
    assert decode_authentication(b"", True).code == b""


def test_batch_trusts_the_items_not_the_count() -> None:
    bodies = [encode_location(36.0 + k, 103.8, measured_at=1.7e9 + k) for k in range(3)]
    batch = decode_batch(b"\x00\x09" + encode_batch(bodies)[2:])
    assert batch is not None
    assert (batch.announced, batch.kind, len(batch.items), batch.bad_items) == (9, 1, 3, 0)
    assert [body for _, body in batch.items] == bodies
    cut = decode_batch(encode_batch([bodies[0], b"short", bodies[2]]) + b"\x00")
    assert cut is not None
    assert (len(cut.items), cut.bad_items) == (2, 2)


@given(JUNK)
def test_no_body_raises(body: bytes) -> None:
    decode_batch(body)
    decode_answer(body)
    decode_registration_answer(body)
    decode_authentication(body, True)
    location = decode_location(body)
    assert (location is None) == (len(body) < 28)
    if location is not None:
        location.items()
        assert sum(len(value) for _, value in location.items()) <= len(body)


def test_answers_come_back() -> None:
    assert decode_answer(encode_answer(7, 0x0200, 3)) == (7, 0x0200, 3)
    assert decode_registration_answer(encode_registration_answer(7, 0, b"K7wq2")) == (7, 0, b"K7wq2")
    assert encode_registration_answer(7, 4, b"secret") == b"\0\x07\x04"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("甘A12345D".encode("gbk") + b"\0\0", "甘A12345D"),
        (b"\x1b[31mRED\x07\r\n", "[31mRED"),
        (b"\xff\xff\xff", ""),
        ("藏A·00001".encode("gb18030"), "藏A·00001"),
        (b"A\x00B", "AB"),
    ],
)
def test_text(raw: bytes, text: str) -> None:
    assert decode_text(raw) == text


def test_packets_have_consecutive_serials() -> None:
    body = bytes(range(256)) * 9
    frames = FrameReader().receive_data(b"".join(encode_packets(0x0704, phone_bytes("1391"), 0xFFFF, body, size=1000)))
    assert [frame.serial for frame in frames] == [0xFFFF, 0, 1]  # type: ignore[union-attr]
    assert [(frame.total, frame.number) for frame in frames] == [(3, 1), (3, 2), (3, 3)]  # type: ignore[union-attr]
    assert b"".join(frame.body for frame in frames) == body  # type: ignore[union-attr]
