"""Clocks and batches: whose time a position carries, and whether it may move the live bus."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.errors import Reason
from busd.feeds.jt808.events import PositionReported
from busd.feeds.jt808.message import decode_batch, decode_location
from busd.feeds.jt808.reports import FUTURE_S, LIVE_AGE_S, STORED_AGE_S, Reporter
from busd.feeds.jt808.terminal import encode_batch, encode_location
from busd.registry import Device
from busd.types import Rejected

NOW = 1_795_400_000.0
HOUR = 3600.0


def live(reporter: Reporter, device: Device, measured_at: float | None, at: float = NOW, lat: float = 36.0) -> Any:
    body = encode_location(lat, 103.0, measured_at=measured_at or 0.0)
    if measured_at is None:
        body = body[:22] + bytes(6)
    location = decode_location(body)
    assert location is not None
    return reporter.live(device, location, body, at)


def batch(reporter: Reporter, device: Device, times: list[float], at: float = NOW) -> list[Any]:
    decoded = decode_batch(
        encode_batch(encode_location(36.0 + k / 1e3, 103.0, measured_at=t) for k, t in enumerate(times))
    )
    assert decoded is not None
    return reporter.batch(device, decoded, at)


def outcome(event: Any) -> tuple[float, str, bool]:
    return event.position.measured_at, event.position.clock, event.historical


@pytest.mark.parametrize(
    ("offset", "wanted"),
    [
        (0.0, (0.0, "device", False)),
        (-30.0, (-30.0, "device", False)),
        (FUTURE_S, (FUTURE_S, "device", False)),
        (-LIVE_AGE_S, (-LIVE_AGE_S, "device", False)),
        (-LIVE_AGE_S - 1, (-LIVE_AGE_S - 1, "device", True)),  # stored, sent late: never "now"
        (-6 * HOUR, (-6 * HOUR, "device", True)),
        (-30 * 24 * HOUR, (-30 * 24 * HOUR, "device", True)),
        (-8 * HOUR, (0.0, "receiver", False)),  # sends UTC as if it were Beijing time
        (-8 * HOUR + 90, (0.0, "receiver", False)),
        (8 * HOUR, (0.0, "receiver", False)),  # adds the offset twice
        (FUTURE_S + 1, (0.0, "receiver", False)),
        (365 * 24 * HOUR, (0.0, "receiver", False)),
        (-STORED_AGE_S - 1, (0.0, "receiver", False)),  # years behind: a counter of weeks that rolled over
        (946684800.0 - NOW + 86400, (0.0, "receiver", False)),  # the year 2000
        (None, (0.0, "receiver", False)),
    ],
)
def test_whose_clock(offset: float | None, wanted: tuple[float, str, bool]) -> None:
    event = live(Reporter("jt808"), Device("1391"), None if offset is None else NOW + offset)
    measured_at, clock, historical = outcome(event)
    assert (measured_at - NOW, clock, historical) == wanted
    assert event.position.received_at == NOW


def test_eight_hours_behind_is_a_stored_fix_once_the_clock_was_right() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    live(reporter, device, NOW)
    assert outcome(live(reporter, device, NOW + 10 - 8 * HOUR, NOW + 10)) == (NOW + 10 - 8 * HOUR, "device", True)


def test_old_after_new_never_moves_the_bus_back() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    assert not live(reporter, device, NOW).historical
    assert live(reporter, device, NOW - 20, NOW + 1).historical
    assert live(reporter, device, NOW, NOW + 2, lat=36.5).historical
    assert not live(reporter, device, NOW + 3, NOW + 3).historical


def test_a_fast_clock_that_is_set_right_is_live_again_at_once() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    live(reporter, device, NOW + 55)
    assert not live(reporter, device, NOW + 5, NOW + 5).historical


def test_batch_is_history_in_the_order_of_time() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    live(reporter, device, NOW)
    events = batch(reporter, device, [NOW - 100, NOW - 4 * 86400, NOW - 200])
    assert [outcome(event) for event in events] == [
        (NOW - 4 * 86400, "device", True),
        (NOW - 200, "device", True),
        (NOW - 100, "device", True),
    ]


def test_newest_of_a_batch_is_live_if_it_is_fresh_and_newer_than_the_bus() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    events = batch(reporter, device, [NOW - 5, NOW - 65, NOW - 35])
    assert [event.historical for event in events] == [True, True, False]
    assert device.live_at == NOW - 5
    assert [event.historical for event in batch(reporter, device, [NOW - 6, NOW - 7])] == [True, True]
    stale = batch(reporter, Device("1392"), [NOW - LIVE_AGE_S - 1])
    assert [event.historical for event in stale] == [True]


def test_batch_items_need_a_believable_time() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    events = batch(reporter, device, [NOW + FUTURE_S + 1, NOW - STORED_AGE_S - 2, NOW - 10])
    assert [event.reason for event in events if isinstance(event, Rejected)] == [Reason.FUTURE, Reason.STALE]
    assert len([event for event in events if isinstance(event, PositionReported)]) == 1
    item = encode_location(36.0, 103.0)
    decoded = decode_batch(encode_batch([item[:22] + bytes(6) + item[28:]]))
    assert decoded is not None
    assert [event.reason for event in reporter.batch(device, decoded, NOW) if isinstance(event, Rejected)] == [
        Reason.NO_TIME
    ]


def test_one_bad_item_does_not_cost_the_others() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    items = [
        encode_location(36.0, 103.0, measured_at=NOW - 30),
        b"short",
        encode_location(0.0, 0.0, measured_at=NOW - 20),
        encode_location(36.0, 103.1, measured_at=NOW - 10, positioned=False),
        encode_location(36.0, 103.2, measured_at=NOW - 5),
    ]
    decoded = decode_batch(encode_batch(items))
    assert decoded is not None
    events = reporter.batch(device, decoded, NOW)
    assert [event.reason for event in events if isinstance(event, Rejected)] == [
        Reason.MALFORMED,
        Reason.ZERO_ISLAND,
        Reason.NOT_POSITIONED,
    ]
    assert len([event for event in events if isinstance(event, PositionReported)]) == 2


def test_resent_batch_is_stored_once() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    times = [NOW - 60 + k for k in range(40)]
    batch(reporter, device, times)
    again = batch(reporter, device, times)
    assert {event.reason for event in again} == {Reason.DUPLICATE}


def test_batch_of_a_terminal_that_sends_utc_is_put_right() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    live(reporter, device, NOW - 8 * HOUR)
    events = batch(reporter, device, [NOW - 8 * HOUR - 600, NOW - 8 * HOUR - 1200], NOW + 1)
    assert [outcome(event) for event in events] == [(NOW - 1200, "corrected", True), (NOW - 600, "corrected", True)]


@pytest.mark.parametrize(
    "offset", [-8 * HOUR, 8 * HOUR, -7 * HOUR, 90.0, -70.0, 700.0, -(NOW - 1e6), 5 * 365 * 86400.0]
)
def test_a_steady_offset_is_learned_and_taken_off(offset: float) -> None:
    """Hours, minutes, 1970, years ahead: after a few reports the fixes are live, in order and dated right."""
    reporter, device = Reporter("jt808"), Device("1391")
    events = [live(reporter, device, NOW + 10 * k + offset, NOW + 10 * k, 36.0 + k / 1e4) for k in range(20)]
    for k, event in enumerate(events[8:], 8):
        assert outcome(event) == (pytest.approx(NOW + 10 * k, abs=1.0), "corrected", False)
    stored = live(reporter, device, NOW - 1800 + offset, NOW + 300, 37.0)
    assert outcome(stored) == (pytest.approx(NOW - 1800, abs=2.0), "corrected", True)
    items = batch(reporter, device, [NOW - 600 + offset, NOW - 900 + offset], NOW + 310)
    assert [outcome(event)[1:] for event in items] == [("corrected", True)] * 2
    assert outcome(items[0])[0] == pytest.approx(NOW - 900, abs=2.0)


def test_a_clock_that_drifts_two_seconds_a_minute_stays_live() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    clocks = set()
    for k in range(720):  # two hours: four minutes of drift
        at = NOW + 10 * k
        event = live(reporter, device, at - k / 3, at, 36.0 + k / 1e5)
        assert not event.historical
        clocks.add(event.position.clock)
        if k > 100:
            assert event.position.measured_at == pytest.approx(at, abs=5.0)
    assert clocks == {"device", "corrected"}


def test_a_clock_that_stands_still_gives_way_to_the_receivers() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    events = [live(reporter, device, NOW, NOW + 10 * k, 36.0 + k / 1e4) for k in range(1, 30)]
    assert [outcome(event) for event in events[-5:]] == [(NOW + 10 * k, "receiver", False) for k in range(25, 30)]


def test_a_clock_that_was_set_right_is_the_devices_again() -> None:
    reporter, device = Reporter("jt808"), Device("1391")
    for k in range(12):
        live(reporter, device, NOW + 10 * k - 3600, NOW + 10 * k, 36.0 + k / 1e4)
    for k in range(12, 20):
        event = live(reporter, device, NOW + 10 * k, NOW + 10 * k, 36.0 + k / 1e4)
    assert outcome(event) == (NOW + 190, "device", False)


@given(st.lists(st.tuples(st.integers(-1000, 100), st.integers(0, 30), st.booleans()), max_size=30))
def test_live_positions_only_go_forward(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever comes in whatever order: a live fix is newer than the ones before it, of which a clock that runs ahead
    counts as no newer than its receipt; and none lies ahead of the receiver's limit."""
    reporter, device, at, newest = Reporter("jt808"), Device("1391"), NOW, float("-inf")
    for offset, wait, is_batch in steps:
        at += wait
        events = (
            batch(reporter, device, [at + offset, at + offset - 7], at)
            if is_batch
            else [live(reporter, device, at + offset, at)]
        )
        for event in events:
            if isinstance(event, PositionReported):
                assert event.position.measured_at <= at + FUTURE_S
                if not event.historical:
                    assert event.position.measured_at > newest
                    newest = min(event.position.measured_at, at)
