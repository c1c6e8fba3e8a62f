from __future__ import annotations

from functools import reduce
from operator import xor as xor_op

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from busd.errors import Reason
from busd.feeds.jt808.frame import (
    JUNK_BEFORE_FIRST_FRAME,
    JUNK_BETWEEN_FRAMES,
    MAX_BODY,
    MAX_WIRE,
    BadFrame,
    Frame,
    FrameReader,
    encode_frame,
    escape,
    phone_bytes,
    phone_digits,
    unescape,
    xor,
)

PHONE = phone_bytes("13912345678")
A, B, C = (encode_frame(0x0002, PHONE, serial, b"abc") for serial in (1, 2, 3))


def serials(items: list[Frame | BadFrame]) -> list[int | str]:
    return [item.serial if isinstance(item, Frame) else item.reason.value for item in items]


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    out, at = [], 0
    for size in sizes:
        out.append(stream[at : at + size])
        at += size
    return [*out, stream[at:]]


@given(st.binary(max_size=2000))
@example(b"")
@example(b"\x7e")
def test_xor_is_the_fold_of_all_bytes(data: bytes) -> None:
    assert xor(data) == reduce(xor_op, data, 0)


@given(st.binary(max_size=300).map(lambda b: b.replace(b"\x55", b"\x7d").replace(b"\xaa", b"\x7e")))
def test_escape_and_back(data: bytes) -> None:
    assert b"\x7e" not in escape(data)
    assert unescape(escape(data)) == data


@pytest.mark.parametrize("wire", [b"\x7d", b"a\x7d", b"\x7d\x03", b"\x7d\x7d\x01", b"\x7d\x00"])
def test_bad_escape(wire: bytes) -> None:
    assert unescape(wire) is None


@given(
    message_id=st.integers(0, 0xFFFF).filter(lambda m: m not in (0x5501, 0x5502)),
    serial=st.integers(0, 0xFFFF),
    body=st.binary(max_size=MAX_BODY),
    version=st.sampled_from([2013, 2019]),
    phone=st.text("0123456789abcdef", min_size=1, max_size=12),
    packet=st.none() | st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    encryption=st.integers(0, 7),
)
def test_encoded_frame_comes_back(
    message_id: int,
    serial: int,
    body: bytes,
    version: int,
    phone: str,
    packet: tuple[int, int] | None,
    encryption: int,
) -> None:
    raw = phone_bytes(phone, version)
    wire = encode_frame(message_id, raw, serial, body, version, packet, encryption=encryption)
    assert len(wire) <= MAX_WIRE + 2
    (item,) = FrameReader().receive_data(wire)
    assert isinstance(item, Frame)
    assert (item.message_id, item.serial, item.body, item.phone_raw) == (message_id, serial, body, raw)
    assert (item.is_2019, item.is_flagless, item.encryption) == (version == 2019, False, encryption)
    assert (item.total, item.number) == (packet or (0, 0))
    assert item.phone == (phone.lstrip("0") or "0")


def test_what_no_frame_can_hold() -> None:
    with pytest.raises(ValueError, match="1023"):
        encode_frame(2, PHONE, 0, bytes(MAX_BODY + 1))
    with pytest.raises(ValueError, match="phone"):
        encode_frame(2, PHONE, 0, b"", 2019)
    with pytest.raises(ValueError, match="12 digits"):
        phone_bytes("1234567890123")


def test_widths_of_one_phone_are_one_identity() -> None:
    assert phone_digits(phone_bytes("13912345678", 2019)) == phone_digits(PHONE) == "13912345678"
    assert phone_digits(bytes(6)) == "0"


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [
        (A + B + C, [1, 2, 3]),
        (A[:-1] + B + C, [1, 2, 3]),  # closing flag lost: B's opening flag closed A
        (A + B[1:] + C, [1, 2, 3]),  # opening flag lost, or one flag shared by two frames
        (A[1:] + B + C, [2, 3]),
        (A + b"\x7e" * 5 + B, [1, 2]),
        (A + b"rubbish" + B, [1, 2]),
        (A[:8] + b"\x7e" + A[8:] + B, ["not-a-frame", 2]),  # a flag that is none
        (A[:9] + A[10:] + B, ["bad-checksum", 2]),
        (A[:-4] + b"\x7d\x09" + A[-2:] + B, ["not-a-frame", 2]),
        (b"\x7e" + b"x" * (MAX_WIRE + 1) + A, ["not-a-frame"]),
    ],
)
def test_one_fault_costs_one_frame(stream: bytes, wanted: list[int | str]) -> None:
    assert serials(FrameReader().receive_data(stream)) == wanted


def test_split_at_every_byte() -> None:
    stream = b"xx" + A + B[:-1] + C + b"\x7e\x7e" + A
    whole = FrameReader().receive_data(stream)
    for at in range(len(stream)):
        reader = FrameReader()
        assert [*reader.receive_data(stream[:at]), *reader.receive_data(stream[at:])] == whole


pieces = st.one_of(
    st.sampled_from([A, B, C, A[:-1], A[1:], b"\x7e", b"\x7e\x7e", b"\x7d", b"\x7d\x02", b"\x7d\x03"]),
    st.binary(max_size=40),
    st.integers(MAX_WIRE - 2, MAX_WIRE + 2).map(lambda n: b"\x7e" + b"y" * n),
)


@given(st.lists(pieces, max_size=12).map(b"".join), st.lists(st.integers(0, 600), max_size=12))
def test_chunks_never_change_the_frames(stream: bytes, sizes: list[int]) -> None:
    whole, parts = FrameReader(), FrameReader()
    wanted = whole.receive_data(stream)
    got = [item for chunk in cut(stream, sizes) for item in parts.receive_data(chunk)]
    assert got == wanted
    assert (parts.is_junk, parts.pending_bytes) == (whole.is_junk, whole.pending_bytes)


@given(st.lists(pieces, max_size=8).map(b"".join))
def test_what_is_kept_is_bounded(stream: bytes) -> None:
    reader = FrameReader()
    for byte in stream:
        reader.receive_data(bytes((byte,)))
        assert reader.pending_bytes <= MAX_WIRE + 1


def test_scanner_is_given_up_soon() -> None:
    reader = FrameReader()
    reader.receive_data(b"GET /robots.txt HTTP/1.1\r\nHost: 203.0.113.7\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n")
    assert reader.is_junk
    assert reader.junk_bytes > JUNK_BEFORE_FIRST_FRAME
    assert reader.receive_data(A) == []


def test_storm_of_flags_is_given_up() -> None:
    reader = FrameReader()
    reader.receive_data(A)
    assert reader.receive_data(b"\x7e" * (JUNK_BETWEEN_FRAMES + 10)) == []
    assert reader.is_junk


def test_a_good_frame_starts_the_count_of_noise_again() -> None:
    reader = FrameReader()
    for _ in range(20):
        assert serials(reader.receive_data(A + b"noise " * 30)) == [1]
    assert not reader.is_junk


def test_reasons() -> None:
    spoiled = A[:-2] + bytes((A[-2] ^ 1,)) + b"\x7e"
    short = encode_frame(0x0200, PHONE, 1, b"x")
    assert [item.reason for item in FrameReader().receive_data(spoiled) if isinstance(item, BadFrame)] == [
        Reason.BAD_CHECKSUM
    ]
    lying = bytearray(short[1:-2])
    lying[3] = 9
    wire = b"\x7e" + escape(bytes(lying) + bytes((xor(bytes(lying)),))) + b"\x7e"
    assert serials(FrameReader().receive_data(wire)) == ["bad-length"]
