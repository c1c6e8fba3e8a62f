"""What a connection answers and reports, requirement by requirement."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busd.errors import Reason
from busd.feeds.jt808.events import (
    Authenticated,
    CommandAnswered,
    Deregistered,
    PositionReported,
    Refused,
    Registered,
)
from busd.feeds.jt808.frame import encode_frame, encode_raw, phone_bytes
from busd.feeds.jt808.message import MessageId
from busd.feeds.jt808.packets import MAX_AGE_S, MAX_MESSAGES, MAX_PACKETS
from busd.feeds.jt808.terminal import Status, encode_batch, encode_location, encode_packets
from busd.types import Rejected


def reasons(events: list[Any]) -> list[str]:
    return [event.reason for event in events if isinstance(event, Rejected)]


def positions(events: list[Any]) -> list[Any]:
    return [event.position for event in events if isinstance(event, PositionReported)]


@pytest.mark.parametrize("version", [2011, 2013, 2019])
def test_life_of_a_terminal(bench: Any, make_terminal: Any, now: float, version: int) -> None:
    terminal = make_terminal(version=version)
    events, out = bench.say(terminal.register())
    assert events == [Registered("13912345678", "甘A12345D")]
    assert terminal.take_code(out) == 0
    assert terminal.code == b"code-0001"
    events, out = bench.say(terminal.authenticate())
    assert [type(event) for event in events] == [Authenticated]
    assert terminal.results(out) == [(terminal.serial, MessageId.AUTHENTICATE, 0)]
    events, out = bench.say(terminal.location(now - 2, odometer_m=1234500.0))
    assert terminal.results(out) == [(terminal.serial, MessageId.LOCATION, 0)]
    (position,) = positions(events)
    assert (position.source, position.vehicle_id, position.label) == ("jt808", "甘A12345D", None)
    assert (position.lat, position.lon, position.speed_mps, position.bearing_deg) == (36.061089, 103.834304, 10.0, 88.0)
    assert (position.measured_at, position.received_at, position.clock) == (now - 2, now, "device")
    assert (position.odometer_m, position.ignition, position.door_open) == (1234500.0, True, None)
    events, out = bench.say(terminal.frame(MessageId.DEREGISTER))
    assert events == [Deregistered("13912345678")]
    assert terminal.results(out) == [(terminal.serial, MessageId.DEREGISTER, 0)]
    events, out = bench.say(terminal.location(now))
    assert (positions(events), terminal.results(out)[0][2]) == ([], 1)
    assert terminal.results(bench.say(terminal.authenticate())[1])[0][2] == 1, "the code has been given back"


def test_platform_serials_are_consecutive(bench: Any, terminal: Any) -> None:
    bench.login(terminal)
    out = bench.say(b"".join(terminal.frame(MessageId.HEARTBEAT) for _ in range(5)))[1]
    assert [frame.serial for frame in terminal.read(out)] == [2, 3, 4, 5, 6]


def test_answers_survive_every_serial(bench: Any, terminal: Any) -> None:
    """Serials run through all values that need escaping, and round the corner."""
    bench.login(terminal)
    for start in (0x7CFE, 0x7DFE, 0xFFFC):
        terminal.serial = start
        for _ in range(0x110 if start < 0xFF00 else 8):
            serial = (terminal.serial + 1) & 0xFFFF
            assert terminal.results(bench.say(terminal.frame(MessageId.HEARTBEAT))[1]) == [(serial, 2, 0)]


def test_flagless_2019_is_answered_as_it_speaks(bench: Any, make_terminal: Any) -> None:
    terminal = make_terminal(version=2019)
    wire = encode_raw(MessageId.HEARTBEAT, 0, 1, terminal.raw, 9, b"")
    (answer,) = terminal.read(bench.say(wire)[1])
    assert (answer.is_2019, answer.is_flagless) == (True, True)


def test_both_widths_of_a_phone_are_one_terminal(bench: Any, make_terminal: Any, now: float) -> None:
    old, new = make_terminal(version=2013), make_terminal(version=2019)
    bench.login(old)
    events, out = bench.say(new.location(now))
    assert len(positions(events)) == 1
    assert new.results(out)[0][2] == 0
    assert old.results(bench.say(old.location(now + 1))[1])[0][2] == 0


def test_hex_digits_in_a_phone(bench: Any, make_terminal: Any) -> None:
    terminal = make_terminal(phone="4fa0b1c2d3e4", plate="")
    bench.login(terminal)
    assert bench.session.device.name == "4fa0b1c2d3e4"


# ---- who may speak ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message_id", [0x0200, 0x0704, 0x0201, 0x0702, 0x0900, 0x0F01])
def test_nothing_is_used_before_authentication(bench: Any, terminal: Any, message_id: int) -> None:
    events, out = bench.say(terminal.frame(message_id, encode_location(36.0, 103.0)))
    assert reasons(events) == [Reason.UNAUTHENTICATED]
    assert positions(events) == []
    assert terminal.results(out) == [(terminal.serial, message_id, 1)]


@pytest.mark.parametrize("message_id", [MessageId.HEARTBEAT, MessageId.DEREGISTER])
def test_served_before_authentication(bench: Any, terminal: Any, message_id: int) -> None:
    events, out = bench.say(terminal.frame(message_id))
    assert events == []
    assert terminal.results(out) == [(terminal.serial, message_id, 0)]


def test_a_stranger_cannot_give_a_code_back(bench: Any, terminal: Any) -> None:
    bench.login(terminal)
    stranger = bench.new_session()
    stranger.receive_data(terminal.frame(MessageId.DEREGISTER), 0.0)
    assert bench.registry.check_code(terminal.phone, terminal.code) is not None


def test_time_query(bench: Any, make_terminal: Any) -> None:
    terminal = make_terminal(version=2019)
    at = 1_795_400_000.0  # 2026-11-23 02:13:20 UTC
    (answer,) = terminal.read(bench.say(terminal.frame(MessageId.TIME_QUERY), at)[1])
    assert (answer.message_id, answer.body.hex()) == (0x8004, "261123021320")


def test_wrong_code(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    bench.session = bench.new_session()
    events, out = bench.say(terminal.authenticate(b"wrong"))
    assert events == [Refused(terminal.phone, "wrong-code")]
    assert terminal.results(out)[0][2] == 1
    assert terminal.results(bench.say(terminal.location(now))[1])[0][2] == 1
    assert terminal.results(bench.say(terminal.authenticate())[1])[0][2] == 0, "no lock-out"


@pytest.mark.parametrize("code", [b"", b"\0", b"\0" * 32])
def test_a_terminal_without_a_code_has_no_empty_one(bench: Any, terminal: Any, code: bytes) -> None:
    bench.registry.list_device(terminal.phone, "bus-1")
    assert terminal.results(bench.say(terminal.authenticate(code))[1])[0][2] == 1


def test_guessing_ends_the_connection(bench: Any, terminal: Any) -> None:
    for _ in range(10):
        bench.say(terminal.authenticate(b"guess"))
    assert bench.session.closing == "errors"


def test_repeated_registration_gets_the_same_code(bench: Any, terminal: Any) -> None:
    """The answer may have been lost or late; either one must open the door."""
    terminal.take_code(bench.say(terminal.register())[1])
    first = terminal.code
    terminal.take_code(bench.say(terminal.register())[1])
    assert terminal.code == first
    assert terminal.results(bench.say(terminal.authenticate())[1])[0][2] == 0


def test_codes_are_not_the_phone_and_differ(bench: Any, make_terminal: Any) -> None:
    codes = set()
    for n in range(3):
        bench.session = bench.new_session()
        terminal = make_terminal(phone=f"1391234567{n}")
        bench.login(terminal)
        codes.add(terminal.code)
    assert len(codes) == 3


def test_other_phone_on_the_same_connection_is_a_stranger(bench: Any, make_terminal: Any, now: float) -> None:
    bench.login(make_terminal())
    other = make_terminal(phone="13900000000")
    events, out = bench.say(other.location(now))
    assert (positions(events), other.results(out)[0][2]) == ([], 1)


def test_closed_door(make_bench: Any, make_terminal: Any) -> None:
    bench = make_bench(mode="closed")
    bench.registry.list_device("013912345678", "bus-7")
    stranger, known = make_terminal(phone="13900000000"), make_terminal()
    events, out = bench.say(stranger.register())
    assert events == [Refused("13900000000", "unknown-phone")]
    assert stranger.take_code(out) == 4
    bench.login(known)
    assert (bench.session.device.name, bench.session.device.plate) == ("bus-7", "甘A12345D")
    thief = make_terminal(terminal_id="T666666")
    assert thief.take_code(bench.say(thief.register())[1]) == 3


def test_enrol_trusts_the_first_terminal(make_bench: Any, make_terminal: Any) -> None:
    bench = make_bench(mode="enrol")
    bench.login(make_terminal())
    bench.session = bench.new_session()
    thief = make_terminal(terminal_id="T666666")
    events, out = bench.say(thief.register())
    assert events == [Refused(thief.phone, "other-terminal")]
    assert thief.take_code(out) == 3
    bench.login(make_terminal())


# ---- what is answered ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message_id", "body", "result"),
    [
        (0x0002, b"\x01\x02vendor", 0),
        (0x0702, b"anything", 0),
        (0x0005, b"", 0),
        (0x0900, b"", 0),
        (0x0801, b"\x00", 0),
        (0x0F42, b"vendor", 3),
        (0xE000 - 0xD000, b"", 3),
        (0x0200, b"short", 2),
        (0x0704, b"\x00", 2),
        (0x0201, b"short", 2),
    ],
)
def test_results(bench: Any, terminal: Any, message_id: int, body: bytes, result: int) -> None:
    bench.login(terminal)
    assert terminal.results(bench.say(terminal.frame(message_id, body))[1]) == [(terminal.serial, message_id, result)]
    assert bench.session.closing is None


def test_what_is_never_answered(bench: Any, terminal: Any) -> None:
    bench.login(terminal)
    assert bench.say(terminal.frame(0x8104)) == ([], b"")
    events, out = bench.say(terminal.frame(0x0001, b"\x00\x1f\x81\x04\x00"))
    assert (events, out) == ([CommandAnswered(31, 0x8104, 0)], b"")
    assert bench.say(terminal.frame(0x0001, b"\x00\x1f\x81\x04\x00", encryption=1)) == ([], b"")


def test_encrypted_body_is_not_read(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    body = encode_location(36.0, 103.0, measured_at=now)
    events, out = bench.say(terminal.frame(MessageId.LOCATION, body, encryption=1))
    assert (events, terminal.results(out)[0][2]) == ([], 3)


def test_bad_frames_get_no_answer_and_change_nothing(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    wire = terminal.location(now)
    spoiled = wire[:20] + bytes((wire[20] ^ 1,)) + wire[21:]
    events, out = bench.say(spoiled)
    assert (reasons(events), out) == ([Reason.BAD_CHECKSUM], b"")
    assert len(positions(bench.say(wire)[0])) == 1


def test_error_budget(bench: Any, terminal: Any) -> None:
    """One bad frame in five goes on for ever; a run of them ends the connection."""
    bench.login(terminal)
    bad = terminal.frame(2)[:-2] + b"\x01\x7e"
    for _ in range(200):
        bench.say(bad + b"".join(terminal.frame(2) for _ in range(4)))
    assert bench.session.closing is None
    for _ in range(30):
        bench.say(bad)
    assert bench.session.closing == "errors"
    assert bench.say(terminal.frame(2)) == ([], b"")


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.0\r\n" * 8, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 500]
)
def test_scanners_get_nothing(bench: Any, first: bytes) -> None:
    assert bench.say(first) == ([], b"")
    assert bench.session.closing == "junk"


# ---- fixes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"positioned": False}, Reason.NOT_POSITIONED),
        ({"lat": 0.0, "lon": 0.0}, Reason.ZERO_ISLAND),
        ({"lat": 103.8, "lon": 36.0}, Reason.OUT_OF_RANGE),
        ({"lat": 36.0, "lon": 200.0}, Reason.OUT_OF_RANGE),
    ],
)
def test_unusable_fix_is_counted_and_acknowledged(
    bench: Any, terminal: Any, now: float, options: dict[str, Any], reason: Reason
) -> None:
    bench.login(terminal)
    events, out = bench.say(terminal.location(now, **options))
    assert (reasons(events), positions(events)) == ([reason], [])
    assert terminal.results(out)[0][2] == 0


def test_resent_frame_is_acknowledged_again_and_stored_once(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    wire = terminal.location(now)
    assert len(positions(bench.say(wire)[0])) == 1
    bench.session = bench.new_session()
    bench.say(terminal.authenticate())
    events, out = bench.say(wire + wire)
    assert (reasons(events), positions(events)) == ([Reason.DUPLICATE] * 2, [])
    assert [result for _, _, result in terminal.results(out)] == [0, 0]


def test_reports_that_could_not_be_kept_are_no_duplicates(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    wire = terminal.location(now)
    bench.say(wire)
    bench.session.forget_recent()
    assert len(positions(bench.say(wire)[0])) == 1


def test_vendor_items_never_cost_the_position(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    for extra in (b"\xeb", b"\xeb\xff\x00", b"\x01\x02\x00\x05", b"\x01\x04\x00", b"\x00" * 9, b"\x30\x01\x1c\x31"):
        body = encode_location(36.0, 103.0 + extra[0] / 1000 + len(extra) / 1e5, measured_at=now) + extra
        events, _ = bench.say(terminal.frame(MessageId.LOCATION, body))
        (position,) = positions(events)
        assert position.odometer_m is None


def test_doors_are_unknown_until_one_has_opened(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    seen = []
    for k, status in enumerate((0, Status.FRONT_DOOR_OPEN, 0, Status.REAR_DOOR_OPEN)):
        (position,) = positions(bench.say(terminal.location(now + k, status=status), now + k)[0])
        seen.append(position.door_open)
    assert seen == [None, True, False, True]


def test_encrypted_coordinates_are_flagged_and_left_alone(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    (event,) = bench.say(terminal.location(now, status=Status.ENCRYPTED))[0]
    assert (event.encrypted, event.position.lat) == (True, 36.061089)


def test_datum_is_converted_only_when_configured(make_bench: Any, terminal: Any, now: float) -> None:
    bench = make_bench(datum="gcj02")
    bench.login(terminal)
    (position,) = positions(bench.say(terminal.location(now))[0])
    assert 1e-4 < abs(position.lat - 36.061089) < 1e-2


def test_impossible_direction_is_no_direction(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    body = bytearray(encode_location(36.0, 103.0, measured_at=now))
    body[20:22] = (400).to_bytes(2, "big")
    (position,) = positions(bench.say(terminal.frame(MessageId.LOCATION, bytes(body)))[0])
    assert position.bearing_deg is None


def test_label_is_the_plate_where_the_operator_names_the_bus(make_bench: Any, terminal: Any, now: float) -> None:
    bench = make_bench()
    bench.registry.list_device(terminal.phone, "1042")
    bench.login(terminal)
    (position,) = positions(bench.say(terminal.location(now))[0])
    assert (position.vehicle_id, position.label) == ("1042", "甘A12345D")


# ---- sub-packets -----------------------------------------------------------------------------------------------------


def big_batch(now: float, count: int = 60) -> bytes:
    return encode_batch(encode_location(36.0 + k / 1e4, 103.8, measured_at=now - 3600 + k) for k in range(count))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [0, 0, 2, 1]])
def test_sub_packets_in_any_order(bench: Any, terminal: Any, now: float, order: list[int]) -> None:
    bench.login(terminal)
    frames = encode_packets(MessageId.LOCATION_BATCH, terminal.raw, 0xFFFF, big_batch(now), size=640)
    assert len(frames) == 3
    events, out = [], b""
    for index in order:
        more, answer = bench.say(frames[index])
        events += more
        out += answer
    assert len(positions(events)) == 60
    assert [result for _, _, result in terminal.results(out)] == [0] * len(order)


def test_flood_of_begun_messages_is_bounded(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    events = []
    for _ in range(MAX_MESSAGES + 6):
        terminal.serial += 5
        events += bench.say(terminal.frame(MessageId.LOCATION_BATCH, bytes(1000), packet=(MAX_PACKETS, 1)))[0]
    assert reasons(events) == [Reason.OVERLOAD] * 6
    assert reasons(bench.say(terminal.frame(0x0704, b"", packet=(2, 1)), now + MAX_AGE_S + 1)[0]) == (
        [Reason.OVERLOAD] * MAX_MESSAGES
    )


@pytest.mark.parametrize("packet", [(2, 0), (2, 3), (MAX_PACKETS + 1, 1), (65535, 65535)])
def test_packets_that_cannot_be(bench: Any, terminal: Any, packet: tuple[int, int]) -> None:
    bench.login(terminal)
    events, out = bench.say(terminal.frame(MessageId.LOCATION_BATCH, b"x", packet=packet))
    assert reasons(events) == [Reason.MALFORMED]
    assert terminal.results(out)[0][2] == 2


@pytest.mark.parametrize("packet", [(0, 0), (1, 1)])
def test_packet_flag_on_a_whole_message(bench: Any, terminal: Any, now: float, packet: tuple[int, int]) -> None:
    bench.login(terminal)
    body = encode_location(36.0, 103.0, measured_at=now)
    assert len(positions(bench.say(terminal.frame(MessageId.LOCATION, body, packet=packet))[0])) == 1


def test_pictures_are_acknowledged_and_not_kept(bench: Any, terminal: Any) -> None:
    bench.login(terminal)
    for number in range(1, 200):
        out = bench.say(terminal.frame(0x0801, bytes(900), packet=(199, number)))[1]
        assert terminal.results(out)[0][2] == 0


# ---- any stream ------------------------------------------------------------------------------------------------------


def typical_stream(make_terminal: Any, now: float) -> bytes:
    a = make_terminal()
    a.code = b"code-0001"
    batch = encode_batch(encode_location(36.0, 103.0 + k / 100, measured_at=now - 600 - k) for k in range(5))
    return b"".join(
        (
            a.register(),
            b"noise",
            a.authenticate(),
            a.location(now),
            a.location(now)[:-3] + b"\x7e",
            a.frame(MessageId.LOCATION_BATCH, batch),
            *encode_packets(MessageId.LOCATION_BATCH, a.raw, 70, big_batch(now, 30), size=500),
            a.frame(0x0F42, b"\x7d\x7e"),
            a.frame(MessageId.HEARTBEAT),
        )
    )


def run(bench: Any, chunks: list[bytes], now: float) -> tuple[list[Any], bytes, str | None]:
    events, out = [], b""
    for chunk in chunks:
        more, answer = bench.say(chunk, now)
        events += more
        out += answer
    return events, out, bench.session.closing


def test_chunks_of_every_size(make_bench: Any, make_terminal: Any, now: float) -> None:
    stream = typical_stream(make_terminal, now)
    wanted = run(make_bench(), [stream], now)
    assert len(positions(wanted[0])) == 36
    for size in (1, 2, 3, 7, 64, 513):
        assert run(make_bench(), [stream[at : at + size] for at in range(0, len(stream), size)], now) == wanted


message = st.tuples(
    st.sampled_from([0x0001, 0x0002, 0x0003, 0x0004, 0x0100, 0x0102, 0x0200, 0x0201, 0x0704, 0x0801, 0x0F01, 0x8001]),
    st.one_of(
        st.binary(max_size=120), st.just(b"code-0001"), st.just(encode_location(36.0, 103.0, measured_at=1.79e9))
    ),
    st.sampled_from([2013, 2019]),
    st.none() | st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.sampled_from([0, 0, 0, 1]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixtures give classes
@given(
    st.lists(st.one_of(message, st.binary(max_size=60)), max_size=25),
    st.lists(st.integers(0, 200), max_size=20),
    st.sampled_from(["open", "enrol", "closed"]),
)
def test_no_stream_raises_and_chunks_never_matter(
    make_bench: Any, make_terminal: Any, parts: list[Any], sizes: list[int], mode: str
) -> None:
    stream = b"".join(
        part
        if isinstance(part, bytes)
        else encode_frame(part[0], phone_bytes("1391", part[2]), k, part[1], part[2], part[3], encryption=part[4])
        for k, part in enumerate(parts)
    )
    chunks, at = [], 0
    for size in sizes:
        chunks.append(stream[at : at + size])
        at += size
    chunks.append(stream[at:])
    wanted = run(make_bench(mode=mode), [stream], 1.79e9)
    assert run(make_bench(mode=mode), chunks, 1.79e9) == wanted
    make_terminal().answers.receive_data(wanted[1])
