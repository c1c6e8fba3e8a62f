"""The reference sign: the two-line apply rule against any network, and honesty after silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.bus import BoardBus
from busd.signs.client import ReferenceSign, ServerClock

AT_MS = 1_795_000_000_000
Make = Callable[..., Any]


def welcome(now_ms: int = AT_MS) -> dict[str, Any]:
    return {
        "type": "welcome",
        "v": 1,
        "session": "x",
        "now": now_ms,
        "lang": "zh",
        "hb": 30,
        "grace": 30,
        "ack": 30,
        "offline": 900,
    }


def board(rev: int, epoch: str = "e", now_ms: int = AT_MS, **changes: Any) -> dict[str, Any]:
    at = now_ms // 1000
    dep = {
        "key": "T:1:1",
        "line": "8",
        "head": {"zh": "站"},
        "sched": at + 300,
        "pred": at + 240,
        "src": "realtime",
        "st": "arriving",
        "away": 1,
        "dist": 200,
    }
    return {
        "type": "board", "stop": "S1", "epoch": epoch, "rev": rev, "at": now_ms, "now": now_ms, "ttl": 90, "state": "live",
        "name": {"zh": "站"}, "lines": [], "deps": [dep, dep | {"key": "U:1:1", "sched": at + 100}, dep | {"key": "V:1:1", "sched": None}], "msgs": [],
    } | changes  # fmt: skip


def same(rev: int, now_ms: int = AT_MS, epoch: str = "e") -> dict[str, Any]:
    return {"type": "same", "stop": "S1", "epoch": epoch, "rev": rev, "now": now_ms, "ttl": 90}


@pytest.fixture
def sign() -> ReferenceSign:
    sign = ReferenceSign("LS-1", ["S1"])
    sign.connected(0.0)
    feed(sign, welcome())
    sign.messages_to_send()
    return sign


def feed(sign: ReferenceSign, message: Any, mono: float = 0.0) -> list[dict[str, Any]]:
    sign.receive(orjson.dumps(message), mono)
    return [orjson.loads(data) for data in sign.messages_to_send()]


@settings(max_examples=200, deadline=None)
@given(
    revs=st.lists(st.integers(1, 30), min_size=1, max_size=60),
    kinds=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_loss_duplication_and_reordering_end_in_the_newest_board(revs: list[int], kinds: list[bool]) -> None:
    """``revs`` is what the network lets through of 1..30, in any order and number; the server repeats its last one."""
    sign = ReferenceSign("LS-1", ["S1"])
    sign.connected(0.0)
    feed(sign, welcome())
    applied = 0
    for rev, is_board in zip(revs, kinds):
        feed(sign, board(rev) if is_board else same(rev))
        if is_board:
            applied = max(applied, rev)
        assert (sign.boards["S1"].revision[1] if "S1" in sign.boards else 0) == applied
    newest = max(revs)
    asked = feed(sign, same(newest), mono=10.0)  # a refresher of a board that was lost makes the sign ask
    if applied < newest:
        assert asked[-1]["type"] == "sub" and "S1" not in asked[-1]["have"]
        feed(sign, board(newest), mono=10.0)
    assert sign.boards["S1"].revision == ("e", max(applied, newest))


@settings(max_examples=100, deadline=None)
@given(delays=st.lists(st.floats(0, 20), min_size=1, max_size=30), quiet=st.floats(0, 400))
def test_after_silence_no_realtime_is_shown(delays: list[float], quiet: float) -> None:
    sign = ReferenceSign("LS-1", ["S1"])
    sign.connected(0.0)
    feed(sign, welcome())
    last_sent = 0.0
    for k, delay in enumerate(delays):
        last_sent = 30.0 * k
        feed(sign, board(k + 1, now_ms=AT_MS + int(last_sent * 1000)), mono=last_sent + delay)
    mono = last_sent + delays[-1] + quiet
    shown = sign.shown("S1", mono)
    assert shown is not None
    if mono - last_sent > 90 + 20:  # the clock estimate may be late by the smallest delay seen
        assert shown["state"] == "schedule"
    if shown["state"] == "schedule":
        assert [d["sched"] for d in shown["deps"]] == sorted(d["sched"] for d in shown["deps"])
        for d in shown["deps"]:
            assert d["pred"] is None and d["src"] == "schedule" and d["st"] == "ok"
            assert not d.keys() & {"away", "dist", "lo", "hi", "age", "veh"}
    elif quiet > 0:
        now = sign.clock.now(mono)
        assert now is not None and now <= AT_MS / 1000 + last_sent + 90


def test_same_extends_the_validity(sign: ReferenceSign) -> None:
    feed(sign, board(1))
    feed(sign, same(1, AT_MS + 80_000), mono=80.0)
    assert sign.shown("S1", 165.0)["state"] == "live"  # type: ignore[index]
    assert sign.shown("S1", 171.0)["state"] == "schedule"  # type: ignore[index]


def test_a_new_epoch_is_accepted_at_once(sign: ReferenceSign) -> None:
    feed(sign, board(500))
    feed(sign, board(1, epoch="f"))
    assert sign.boards["S1"].revision == ("f", 1)


def test_resume_names_what_is_held_and_drops_an_unknown_same(sign: ReferenceSign) -> None:
    feed(sign, board(7))
    sign.connected(5.0)
    assert orjson.loads(sign.messages_to_send()[0])["type"] == "hello"
    sub = feed(sign, welcome(), mono=5.0)[-1]
    assert sub["have"] == {"S1": {"epoch": "e", "rev": 7}}
    assert feed(sign, same(9), mono=6.0)[-1]["have"] == {}
    assert feed(sign, same(9), mono=6.5) == []


def test_acks_say_what_is_on_the_glass_at_the_asked_pace(sign: ReferenceSign) -> None:
    assert [m["type"] for m in feed(sign, board(1))] == ["ack"]
    assert feed(sign, board(2), mono=29.0) == []
    assert feed(sign, board(3), mono=30.0)[0]["rev"] == 3


def test_heartbeats_and_giving_up(sign: ReferenceSign) -> None:
    assert sign.tick(29.0) and sign.messages_to_send() == []
    assert sign.tick(30.0)
    assert orjson.loads(sign.messages_to_send()[0])["seq"] == 1
    assert sign.tick(89.0)
    assert not sign.tick(90.0)


@pytest.mark.parametrize(
    "junk", [b"", b"[]", b"\xff", b'{"type":"board"}', b'{"type":"same","stop":1}', b'{"type":"welcome"}', b"[" * 5000]
)
def test_odd_messages_change_nothing(sign: ReferenceSign, junk: bytes) -> None:
    feed(sign, board(1))
    sign.receive(junk, 1.0)
    assert sign.boards["S1"].revision == ("e", 1)


def test_the_largest_clock_sample_wins_and_time_never_jumps_back() -> None:
    clock = ServerClock()
    assert clock.now(0) is None
    clock.sample(100_000, 10.0)
    clock.sample(101_000, 15.0)  # was 4 s under way
    assert clock.now(20.0) == 110.0
    shown = clock.now(20.0)
    for k in range(12):
        clock.sample(50_000 + 1000 * k, 20.0 + k)  # the server's clock was set back by 60 s
        after = clock.now(20.0)
        assert shown - 2.0 <= after <= shown
        shown = after
    assert shown < 104.0, "it does follow in the end"


def test_waiting_before_the_next_connection(sign: ReferenceSign) -> None:
    assert sign.retry_after(None, 3, 0.5) == 4.0
    assert sign.retry_after(None, 50, 1.0) == 60.0
    assert sign.retry_after(4400, 0, 0.0) == 900.0
    assert sign.retry_after(4409, 0, 0.0) == 60.0
    sign.bye = {"code": 4001, "retry": 5, "jitter": 30}
    assert sign.retry_after(4001, 0, 0.5) == 20.0


def test_the_reference_sign_understands_the_server(peer_class: Any, hub: Any, bus: BoardBus) -> None:
    server = peer_class(hub)
    sign = ReferenceSign("LS-1", ["S1", "nowhere"], token="demo")
    sign.connected(0.0)
    for _ in range(3):
        for data in sign.messages_to_send():
            server.send(server.frame(data))
        for message in server.read():
            sign.receive(orjson.dumps(message), 0.0)
    assert sign.refused == {"nowhere": "unknown_stop"}
    assert sign.boards["S1"].revision == ("k3f9", 18)
    assert sign.clock.now(0.0) == hub.clock.now()
