"""The short way says exactly what the long way says, for any stream, and is really taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busd.feeds.jt808.events import PositionReported
from busd.feeds.jt808.message import MessageId
from busd.feeds.jt808.terminal import Status, encode_batch, encode_location

NEVER_SENT = {"hint_items": {"0xFE": "trip_id"}}
"""A terminal that may say its trip goes the long way; one that never does says the same by either."""

item = st.tuples(st.sampled_from([0x01, 0x02, 0x30, 0x7D, 0x7E, 0xE1]), st.binary(max_size=9))
report = st.tuples(
    st.just("report"),
    st.sampled_from([0, 1, 1, 1, 5, 10, 29, 31, -3, -40, -400, 28800, -28800, 70]),  # its time against the receiver's
    st.sampled_from([36.0, 36.061089, 0.0, 0.0009, 90.0, 103.8, -36.5]),
    st.sampled_from([103.8, 103.834304, 0.0, 180.0, 190.0, -70.25]),
    st.sampled_from([0, 0, Status.FRONT_DOOR_OPEN, Status.ENCRYPTED, Status.GPS]),
    st.booleans(),  # positioned
    st.none() | st.floats(0, 4e8),
    st.lists(item, max_size=4),
    st.integers(0, 60),  # seconds until the next
)
other = st.tuples(
    st.sampled_from(["again", "beat", "spoiled", "cut", "noise", "flag", "batch", "wide", "rename", "bearing", "tail"])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(report | report | other, max_size=25),
    st.sampled_from([2013, 2019]),
    st.lists(st.integers(0, 300), max_size=6),
    st.sampled_from([0x007A, 0x7D7A, 0x7E7A, 0xFFF0]),
    st.sampled_from(["wgs84", "gcj02", "bd09"]),
)
def test_both_ways_agree(
    make_bench: Any,
    make_terminal: Any,
    now: float,
    steps: list[Any],
    version: int,
    sizes: list[int],
    serial: int,
    datum: str,
) -> None:
    benches = [make_bench(datum=datum), make_bench(datum=datum, **NEVER_SENT)]
    terminal = make_terminal(version=version)
    wide = make_terminal(version=4032 - version, serial=500)
    for bench in benches:
        copy = make_terminal(version=version)
        bench.login(copy)
        wide.code = terminal.code = copy.code
    terminal.serial = serial
    at, last = now, b""
    for step in steps:
        match step[0]:
            case "report":
                _, off, lat, lon, status, positioned, odometer, items, wait = step
                data = last = terminal.location(
                    at + off, lat, lon, status=status, positioned=positioned, odometer_m=odometer, items=items
                )
                at += wait
            case "again":
                data = last
            case "beat":
                data = terminal.frame(MessageId.HEARTBEAT)
            case "spoiled":
                data = last[:9] + bytes((last[9] ^ 1,)) + last[10:] if last else b""
            case "cut":
                data = last[:-1]
            case "noise":
                data = b"noise"
            case "flag":
                data = b"\x7e"
            case "batch":
                data = terminal.frame(
                    MessageId.LOCATION_BATCH,
                    encode_batch(encode_location(36.0, 103.0, measured_at=at + k) for k in (-5, -50, 2)),
                )
            case "wide":
                data = wide.location(at)
            case "bearing":
                body = bytearray(encode_location(36.0, 103.0, measured_at=at + 1))
                body[20:22] = b"\x01\x90"
                data = terminal.frame(MessageId.LOCATION, bytes(body))
            case "tail":
                data = terminal.frame(
                    MessageId.LOCATION, encode_location(36.0, 103.0, measured_at=at + 2) + b"\x01\x04"
                )
            case _:
                for bench in benches:
                    bench.registry.list_device(terminal.phone, f"bus-{at}")
                data = b""
        pieces = [data[: sizes[0]], data[sizes[0] :]] if sizes else [data]
        sizes = sizes[1:]
        for piece in pieces:
            short, long = (bench.say(piece, at) for bench in benches)
            assert short == long
            assert benches[0].session.closing == benches[1].session.closing
            assert benches[0].session.good_frames == benches[1].session.good_frames


@pytest.mark.parametrize("version", [2013, 2019])
def test_plain_reports_go_the_short_way(make_bench: Any, make_terminal: Any, now: float, version: int) -> None:
    bench, terminal = make_bench(), make_terminal(version=version)
    bench.login(terminal)
    bench.say(terminal.location(now))
    live: list[Any] = []
    data = b"".join(terminal.location(now + k, odometer_m=1000.0 * k, items=[(0x30, b"\x1c")]) for k in range(1, 8))
    assert bench.session.receive_data(data, now + 8, live) is False
    assert [position.measured_at - now for position in live] == [1, 2, 3, 4, 5, 6, 7]
    assert bench.session.events() == []
    assert len(terminal.results(bench.session.data_to_send())) == 7


def test_what_follows_in_the_same_read_is_an_event(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    bench.say(terminal.location(now))
    live: list[Any] = []
    data = terminal.location(now + 1) + terminal.frame(MessageId.HEARTBEAT) + terminal.location(now + 2)
    assert bench.session.receive_data(data, now + 3, live) is True
    assert [position.measured_at for position in live] == [now + 1]
    events = bench.session.events()
    assert [type(event) for event in events] == [PositionReported]
    assert events[0].position.measured_at == now + 2
    assert len(terminal.results(bench.session.data_to_send())) == 3


def test_a_frame_in_two_reads_goes_the_short_way_too(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    bench.say(terminal.location(now))
    data = b"".join(terminal.location(now + k) for k in range(1, 4))
    live: list[Any] = []
    for at in range(0, len(data), 50):
        assert bench.session.receive_data(data[at : at + 50], now + 4, live) is False
    assert len(live) == 3
