"""Brute force is slow, whatever it tries, and the terminal itself is not locked out by it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from busd.feeds.jt808.events import Refused, Registered
from busd.feeds.jt808.limits import TokenBuckets
from busd.feeds.jt808.session import Session
from busd.feeds.jt808.shared import Shared


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=80))
def test_no_key_gets_more_than_burst_and_rate(tries: list[tuple[str, float]]) -> None:
    buckets, at = TokenBuckets(5, 0.5), 0.0
    taken: dict[str, int] = {}
    for key, wait in tries:
        at += wait
        could = buckets.has(key, at)
        assert buckets.take(key, at) is could
        taken[key] = taken.get(key, 0) + could
    assert all(count <= 5 + 0.5 * at + 1e-6 for count in taken.values())


def test_the_bucket_fills_again() -> None:
    buckets = TokenBuckets(2, 0.1)
    assert [buckets.take("k", 0.0) for _ in range(3)] == [True, True, False]
    assert not buckets.take("k", 9.0)
    assert [buckets.take("k", 21.0) for _ in range(3)] == [True, True, False]
    assert not buckets.take("k", 0.0), "a clock that stepped back gives nothing"


def test_the_table_is_bounded() -> None:
    buckets = TokenBuckets(1, 0.001, max_keys=10)
    for k in range(1000):
        buckets.take(k, 0.0)
    assert len(buckets) == 10


class Port:
    """Sessions that share a port, one per try."""

    def __init__(self, bench: Any) -> None:
        self.bench, self.shared = bench, Shared()

    def say(self, data: bytes, at: float, address: str = "198.51.100.7") -> list[Any]:
        session = Session(self.bench.config, self.bench.registry, lambda: next(self.bench.codes), self.shared, address)
        session.receive_data(data, at)
        return session.events()


def test_guessing_over_many_connections(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    port = Port(bench)
    causes = [
        event.cause
        for k in range(100)
        for event in port.say(terminal.authenticate(b"guess-%d" % k), now + k / 10)
        if isinstance(event, Refused)
    ]
    assert len(causes) == 100
    assert causes.count("wrong-code") <= 12
    right = port.say(terminal.authenticate(), now + 9.9)
    assert [event.cause for event in right] == ["too-many-tries"], "not even the right one is told apart"
    elsewhere = port.say(terminal.authenticate(), now + 9.9, "203.0.113.9")
    assert not any(isinstance(event, Refused) for event in elsewhere), "the terminal itself comes from elsewhere"
    assert not any(isinstance(event, Refused) for event in port.say(terminal.authenticate(), now + 600))


def test_right_codes_cost_nothing(bench: Any, terminal: Any, now: float) -> None:
    bench.login(terminal)
    port = Port(bench)
    for _ in range(500):
        assert not any(isinstance(event, Refused) for event in port.say(terminal.authenticate(), now))


def test_storm_of_registrations_of_one_phone(bench: Any, terminal: Any, now: float) -> None:
    port = Port(bench)
    events = [event for _ in range(100) for event in port.say(terminal.register(), now)]
    assert len([event for event in events if isinstance(event, Registered)]) == 30
    assert {event.cause for event in events if isinstance(event, Refused)} == {"too-many-tries"}


def test_a_fleet_behind_one_address_registers(bench: Any, make_terminal: Any, now: float) -> None:
    port = Port(bench)
    for n in range(5000):
        (event,) = port.say(make_terminal(phone=str(13900000000 + n)).register(), now)
        assert isinstance(event, Registered)
