"""Which trip a terminal says it is on: items and the driver's log-on, mapped as the operator says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.feeds.jt808.events import DriverChanged, PositionReported
from busd.feeds.jt808.hints import decode_driver
from busd.feeds.jt808.message import MessageId


def log_on(name: str, certificate: str, status: int = 1, result: int = 0) -> bytes:
    raw = name.encode("gbk")
    return (
        bytes((status,))
        + bytes.fromhex("261123101320")
        + bytes((result, len(raw)))
        + raw
        + certificate.encode().ljust(20, b"\0")
        + b"\x04city"
        + bytes.fromhex("20300101")
    )


def hint_of(events: list[Any]) -> Any:
    (event,) = [event for event in events if isinstance(event, PositionReported)]
    return event.position.hint


def test_driver() -> None:
    assert decode_driver(log_on("王芳", "6201000042"), False) == "6201000042"
    assert decode_driver(log_on("王芳", ""), True) == "王芳"
    assert decode_driver(log_on("王芳", "62", result=2), False) is None, "the card could not be read"
    assert decode_driver(b"\x02" + bytes.fromhex("261123101320"), False) == ""
    assert decode_driver(b"\x04" + "王芳".encode("gbk") + b"62".ljust(60, b"\0"), False) == "王芳"
    assert decode_driver(b"", False) is None


@given(st.binary(max_size=80), st.booleans())
def test_driver_never_raises(body: bytes, is_2019: bool) -> None:
    decode_driver(body, is_2019)


def test_driver_becomes_the_block(make_bench: Any, terminal: Any, now: float) -> None:
    bench = make_bench(driver_field="block_id", hint_values={"block_id": {"6201000042": "B7"}})
    bench.login(terminal)
    assert hint_of(bench.say(terminal.location(now))[0]) is None
    events, out = bench.say(terminal.frame(MessageId.DRIVER, log_on("王芳", "6201000042")))
    assert events == [DriverChanged(terminal.phone, "6201000042")]
    assert terminal.results(out)[0][2] == 0
    assert hint_of(bench.say(terminal.location(now + 1))[0]).block_id == "B7"
    bench.session = bench.new_session()
    bench.say(terminal.authenticate())
    assert hint_of(bench.say(terminal.location(now + 2))[0]).block_id == "B7", "a new connection, the same driver"
    bench.say(terminal.frame(MessageId.DRIVER, b"\x02" + bytes(6)))
    assert hint_of(bench.say(terminal.location(now + 3))[0]) is None


def test_driver_is_known_without_a_mapping(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    bench.say(terminal.frame(MessageId.DRIVER, log_on("王芳", "62")))
    assert bench.session.device.driver == "62"
    assert hint_of(bench.say(terminal.location(now))[0]) is None


@pytest.mark.parametrize(
    ("kind", "value", "route"),
    [
        ("route_id:number", b"\x00\x89", "R137"),
        ("route_id:number", b"\x01", "1"),
        ("route_id", b"137", "R137"),
        ("route_id", "环线".encode("gbk"), "环线"),
        ("route_id", "环线".encode(), "环线"),
    ],
)
def test_line_number(make_bench: Any, terminal: Any, now: float, kind: str, value: bytes, route: str) -> None:
    bench = make_bench(hint_items={"0xE8": kind}, hint_values={"route_id": {"137": "R137"}})
    bench.login(terminal)
    assert hint_of(bench.say(terminal.location(now, items=[(0xE8, value)]))[0]).route_id == route


def test_item_is_nearer_than_the_driver(make_bench: Any, terminal: Any, now: float) -> None:
    bench = make_bench(hint_items={"0xE8": "route_id"}, driver_field="route_id")
    bench.login(terminal)
    bench.say(terminal.frame(MessageId.DRIVER, log_on("x", "from-driver")))
    assert hint_of(bench.say(terminal.location(now))[0]).route_id == "from-driver"
    assert hint_of(bench.say(terminal.location(now + 1, items=[(0xE8, b"5")]))[0]).route_id == "5"
