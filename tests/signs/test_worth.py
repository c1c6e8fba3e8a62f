"""Signs that pay by the byte: what cannot wait comes at once, everything else with the next refresher."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.signs.frames import FrameCache
from busd.signs.hub import SignHub, token_authenticator
from busd.signs.worth import is_urgent
from busd.types import Basis, Board, BoardMessage, LineAtStop, StopStatus

Make = Callable[..., Any]


def changed(board: Board, **fields: Any) -> Board:
    return msgspec.structs.replace(board, rev=board.rev + 1, **fields)


@pytest.fixture
def base(board: Make, departure: Make) -> Board:
    at = 1_795_000_000.0
    deps = [
        departure(k, sched_at=at + 60 + 240 * k, pred_at=at + 90 + 240 * k, low_at=None, high_at=None) for k in range(5)
    ]
    made: Board = board(at=at, departures=deps, messages=[])
    return made


def with_departure(board: Board, k: int, **fields: Any) -> Board:
    deps = list(board.departures)
    deps[k] = msgspec.structs.replace(deps[k], **fields)
    return changed(board, departures=deps)


def test_news(base: Board, departure: Make) -> None:
    far, near = base.at + 1050, base.at + 330
    cases = {
        "nothing": (changed(base), False),
        "a stop nearer": (with_departure(base, 1, stops_away=1, distance_m=200.0), False),
        "a little later": (with_departure(base, 1, pred_at=near + 12), False),
        "much later": (with_departure(base, 1, pred_at=near + 90), True),
        "much later, but far away": (with_departure(base, 4, pred_at=far + 120), False),
        "arriving": (with_departure(base, 0, status=StopStatus.ARRIVING), False),
        "cancelled": (with_departure(base, 3, status=StopStatus.CANCELLED, pred_at=None), True),
        "lost": (with_departure(base, 1, basis=Basis.SCHEDULE, pred_at=None), True),
        "lost, far away": (with_departure(base, 4, basis=Basis.SCHEDULE, pred_at=None), False),
        "vanished": (changed(base, departures=base.departures[1:]), True),
        "the last one moved in": (changed(base, departures=[*base.departures, departure(9, pred_at=base.at + 2000)]), False),
        "one turned up": (changed(base, departures=[departure(9, pred_at=base.at + 80), *base.departures]), True),
        "a message": (changed(base, messages=[BoardMessage("m", 1, {"en": "x"})]), True),
        "positions late": (changed(base, state="degraded"), True),
        "suspended": (changed(base, lines=[LineAtStop(0, 0, None, None, status="suspended")]), True),
    }  # fmt: skip
    for what, (newest, expected) in cases.items():
        assert is_urgent(base, newest) is expected, what


def test_a_bus_that_was_due_has_come(base: Board) -> None:
    later = changed(base, at=base.at + 100, departures=base.departures[1:])
    assert not is_urgent(base, later)


def test_an_economical_sign_is_never_far_behind(
    hand_network: Any, board: Make, departure: Make, peer_class: Any
) -> None:
    """Whatever moves: never two boards within min_interval [30], something every ttl/2 [27], the newest within ttl/3."""
    at, min_interval, ttl = 1_795_000_000.0, 15.0, 90.0

    @settings(max_examples=40, deadline=None)
    @given(steps=st.lists(st.tuples(st.integers(1, 40), st.integers(-200, 200)), min_size=1, max_size=25))
    def check(steps: list[tuple[int, int]]) -> None:
        clock = ManualClock(at)
        bus = BoardBus(hand_network)
        config = SignsConfig(shared_token="demo", ttl=90)
        hub = SignHub(config, bus, FrameCache(bus), clock, token_authenticator(config), lambda: "x")
        rev, moved = 1, 0
        bus.publish([board(1, rev, at=at)])
        sign = peer_class(hub)
        sign.hello()
        sign.sub("S1", min_interval=min_interval, have={})
        seen: list[tuple[float, int, str]] = []

        def look() -> None:
            seen.extend((clock.now(), m["rev"], m["type"]) for m in sign.read() if m["type"] in ("board", "same"))

        look()
        stale_since: float | None = None
        for seconds, step in [*steps, (100, 0)]:
            for _ in range(4 * seconds):
                sign.pass_time(0.25)
                look()
                if seen[-1][1] == rev:
                    stale_since = None
                assert clock.now() - seen[-1][0] <= ttl / 3 + 0.5
                assert stale_since is None or clock.now() - stale_since <= ttl / 3 + 0.5
                if int(clock.now()) % 10 == 0:
                    sign.say(type="hb", seq=1)
            if step:
                moved += step
                rev += 1
                stale_since = stale_since if stale_since is not None else clock.now()
                news = departure(1, sched_at=at + 60, pred_at=at + 900 + moved, low_at=None, high_at=None)
                bus.publish([board(1, rev, at=clock.now(), departures=[news])])
                for audience in list(hub.changed):
                    audience.spread()
                hub.changed.clear()
        assert seen[-1][1] == rev
        boards = [when for when, _, kind in seen if kind == "board"]
        assert all(later - earlier >= min_interval for earlier, later in pairwise(boards))

    check()
