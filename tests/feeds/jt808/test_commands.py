"""Downlink: what goes over the wire, and how answers are matched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.feeds.jt808.commands import (
    QueryLocation,
    QueryParameters,
    RequestPackets,
    SendText,
    SetParameters,
    SetTime,
    decode_parameters,
)
from busd.feeds.jt808.events import CommandAnswered, PositionReported
from busd.feeds.jt808.frame import Frame, FrameReader
from busd.feeds.jt808.message import MessageId
from busd.feeds.jt808.terminal import encode_batch, encode_location, encode_packets


@pytest.mark.parametrize(
    ("command", "message_id", "body_2013", "body_2019"),
    [
        (QueryLocation(), 0x8201, "", ""),
        (QueryParameters(), 0x8104, "", ""),
        (QueryParameters((0x0029, 0x0001)), 0x8106, "020000002900000001", "020000002900000001"),
        (SetParameters({0x0029: 10}), 0x8103, "0100000029040000000a", "0100000029040000000a"),
        (
            SetParameters({0x0083: "甘A1", 0x0084: 2, 0x0081: 62, 0xF001: b"\x01\x02"}),
            0x8103,
            "04" + "0000008304b8ca4131" + "000000840102" + "0000008102003e" + "0000f001020102",
            None,
        ),
        (SetTime(1_795_400_000.0), 0x8004, "261123021320", "261123021320"),
        (SendText("你好 bus", 8), 0x8300, "08c4e3bac320627573", "0801c4e3bac320627573"),
        (RequestPackets(7, (2, 5)), 0x8003, "00070200020005", "0007000200020005"),
    ],
)
def test_bodies(command: Any, message_id: int, body_2013: str, body_2019: str | None) -> None:
    assert command.message_id == message_id
    assert command.encode(False).hex() == body_2013
    if body_2019 is not None:
        assert command.encode(True).hex() == body_2019


@pytest.mark.parametrize(
    "command",
    [
        SetParameters({}),
        SetParameters({0x0029: -1}),
        SetParameters({0x0084: 256}),
        SetParameters({1 << 32: 1}),
        SetParameters({1: b"x" * 256}),
        SetParameters(dict.fromkeys(range(6), b"x" * 200)),
        QueryParameters(tuple(range(256))),
        SendText(""),
        SendText("x" * 1001),
        SendText("😀"),
        SendText("x", flags=256),
        RequestPackets(1, ()),
    ],
)
def test_what_cannot_be_said(command: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        command.encode(False)


@given(st.dictionaries(st.integers(0, 0xFFFFFFFF), st.binary(max_size=60), min_size=1, max_size=12))
def test_parameters_come_back(parameters: dict[int, bytes]) -> None:
    body = SetParameters(parameters).encode(False)
    assert decode_parameters(b"\x00\x07" + body) == (7, parameters)


@given(st.binary(max_size=100))
def test_parameters_never_raise(body: bytes) -> None:
    found = decode_parameters(body)
    assert (found is None) == (len(body) < 3)


@pytest.mark.parametrize("version", [2013, 2019])
def test_commands_have_the_terminals_layout_and_the_next_serial(bench: Any, make_terminal: Any, version: int) -> None:
    terminal = make_terminal(version=version)
    bench.login(terminal)  # two answers: serials 0 and 1
    assert bench.session.send_command(QueryLocation()) == 2
    assert bench.session.send_command(SendText("hi")) == 3
    frames = terminal.read(bench.session.data_to_send())
    assert [(frame.serial, frame.message_id) for frame in frames] == [(2, 0x8201), (3, 0x8300)]
    (answer,) = terminal.read(bench.say(terminal.frame(MessageId.HEARTBEAT))[1])
    assert answer.serial == 4


def test_no_command_before_authentication(bench: Any) -> None:
    with pytest.raises(ValueError, match="authenticated"):
        bench.session.send_command(QueryLocation())


def test_location_answer_is_a_fix_and_an_answer(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    serial = bench.session.send_command(QueryLocation())
    bench.session.data_to_send()
    body = serial.to_bytes(2, "big") + encode_location(36.0, 103.0, measured_at=now - 1)
    events, out = bench.say(terminal.frame(MessageId.LOCATION_ANSWER, body))
    assert [type(event) for event in events] == [PositionReported, CommandAnswered]
    assert events[1] == CommandAnswered(serial, 0x0201, 0, None, events[0].position)
    assert terminal.results(out)[0][2] == 0
    events, _ = bench.say(terminal.frame(MessageId.LOCATION_ANSWER, body))
    assert (events[0].reason, events[1].position.lat) == ("duplicate", 36.0), "an answer all the same"
    unusable = serial.to_bytes(2, "big") + encode_location(0.0, 0.0, measured_at=now)
    events, _ = bench.say(terminal.frame(MessageId.LOCATION_ANSWER, unusable))
    assert events[1] == CommandAnswered(serial, 0x0201, 0)


def test_parameters_answer(bench: Any, terminal: Any) -> None:
    bench.login(terminal)
    body = b"\x00\x05\x02" + bytes.fromhex("0000002904000000ff") + bytes.fromhex("00000001040000001e")
    events, out = bench.say(terminal.frame(0x0104, body))
    assert events == [CommandAnswered(5, 0x0104, 0, {0x29: b"\0\0\0\xff", 1: b"\0\0\0\x1e"})]
    assert terminal.results(out)[0][2] == 0


@pytest.mark.parametrize("version", [2013, 2019])
def test_missing_packets_are_asked_for_once(bench: Any, make_terminal: Any, now: float, version: int) -> None:
    terminal = make_terminal(version=version)
    bench.login(terminal)
    body = encode_batch(encode_location(36.0 + k / 1e4, 103.8, measured_at=now - 900 + k) for k in range(30))
    frames = encode_packets(MessageId.LOCATION_BATCH, terminal.raw, 100, body, version, size=200)
    out = b"".join(bench.say(frame)[1] for k, frame in enumerate(frames) if k not in (1, 3))
    requests = [frame for frame in FrameReader().receive_data(out) if isinstance(frame, Frame)]
    (request,) = [frame for frame in requests if frame.message_id == 0x8003]
    assert request.body == RequestPackets(100, (2, 4)).encode(version == 2019)
    serials = [frame.serial for frame in requests]
    assert serials == list(range(serials[0], serials[0] + len(serials)))
    bench.say(frames[1])
    events, _ = bench.say(frames[3])
    assert len([event for event in events if isinstance(event, PositionReported)]) == 30
