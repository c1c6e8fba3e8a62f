"""The reference sign: the two-line apply rule against any network, honesty after silence, and every duty of §6-7."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.bus import BoardBus
from busd.signs.reference import ReferenceSign, Source
from busd.signs.reference.patience import retry_after
from busd.signs.reference.sign import Door

AT = 1_795_000_000
AT_MS = AT * 1000
Make = Callable[..., Any]


def welcome(now_ms: int = AT_MS, **changes: Any) -> dict[str, Any]:
    return {
        "type": "welcome", "v": 1, "session": "x", "now": now_ms, "lang": "zh", "hb": 30, "grace": 30, "ack": 30,
        "offline": 900,
    } | changes  # fmt: skip


def board(rev: int, epoch: str = "e", now_ms: int = AT_MS, **changes: Any) -> dict[str, Any]:
    at = now_ms // 1000
    dep = {
        "key": "T:1:1", "line": "8", "head": {"zh": "站"}, "sched": at + 300, "pred": at + 240, "src": "realtime",
        "st": "arriving", "away": 1, "dist": 200, "lo": at + 200, "hi": at + 300, "veh": "7", "age": 3,
    }  # fmt: skip
    deps = [dep, dep | {"key": "U:1:1", "sched": at + 100}, dep | {"key": "V:1:1", "sched": None}]
    line = {"line": "8", "head": {"zh": "站"}, "first": at - 9000, "last": at + 9000, "passed": at - 60}
    return {
        "type": "board", "stop": "S1", "epoch": epoch, "rev": rev, "at": now_ms, "now": now_ms, "ttl": 90,
        "state": "live", "name": {"zh": "站"}, "lines": [line], "deps": deps, "msgs": [],
    } | changes  # fmt: skip


def same(rev: int, now_ms: int = AT_MS, epoch: str = "e", ttl: float = 90) -> dict[str, Any]:
    return {"type": "same", "stop": "S1", "epoch": epoch, "rev": rev, "now": now_ms, "ttl": ttl}


def make_sign(**changes: Any) -> ReferenceSign:
    sign = ReferenceSign("LS-1", ["S1"], **changes)
    sign.connected(0.0)
    feed(sign, welcome())
    return sign


@pytest.fixture
def sign() -> ReferenceSign:
    return make_sign()


def feed(sign: ReferenceSign, message: Any, mono: float = 0.0) -> list[dict[str, Any]]:
    sign.receive(orjson.dumps(message), mono)
    return said(sign)


def said(sign: ReferenceSign) -> list[dict[str, Any]]:
    return [orjson.loads(data) for data in sign.messages_to_send()]


def draw(sign: ReferenceSign, mono: float) -> list[dict[str, Any]]:
    sign.drawn(sign.glass("S1", mono), mono, 35)
    return said(sign)


def revision(sign: ReferenceSign) -> tuple[str, int]:
    return sign.boards["S1"].revision


# ---- the newest board ------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    sent=st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=60),
)
def test_loss_duplication_and_reordering_end_in_the_newest_board(sent: list[tuple[int, bool]]) -> None:
    """``sent`` is what the network lets through of 1..30, in any order and number; the server repeats its last one."""
    sign = make_sign()
    applied = 0
    for rev, is_board in sent:
        feed(sign, board(rev) if is_board else same(rev))
        if is_board:
            applied = max(applied, rev)
        assert (revision(sign)[1] if "S1" in sign.boards else 0) == applied
    newest = max(rev for rev, _ in sent)
    asked = feed(sign, same(newest), mono=10.0)  # a refresher of a board that was lost makes the sign ask
    if applied < newest:
        assert asked[-1]["type"] == "sub" and "S1" not in asked[-1]["have"]
        feed(sign, board(newest), mono=10.0)
    assert revision(sign) == ("e", newest)


class Server:
    """What §4-5 say of one stop on one connection: boards with rising revisions, a refresher every ttl/3, answers."""

    def __init__(self, epoch: str, rev: int) -> None:
        self.epoch, self.rev = epoch, rev

    def answer(self, message: dict[str, Any], now_ms: int) -> list[dict[str, Any]]:
        if message["type"] == "hello":
            return [welcome(now_ms)]
        if message["type"] == "hb":
            return [{"type": "hb", "seq": message["seq"], "now": now_ms}]
        if message["type"] != "sub":
            return []
        current = message["have"].get("S1") == {"epoch": self.epoch, "rev": self.rev}
        told = {"type": "subscribed", "id": message["id"], "ok": ["S1"], "err": {}}
        return [told, self.same(now_ms) if current else self.board(now_ms)]

    def board(self, now_ms: int) -> dict[str, Any]:
        return board(self.rev, self.epoch, now_ms)

    def same(self, now_ms: int) -> dict[str, Any]:
        return same(self.rev, now_ms, self.epoch)


Turn = st.tuples(
    st.sampled_from(["nothing", "board", "same", "lose", "repeat", "swap", "cut", "restart", "silence"]),
    st.floats(0, 120),
)


@settings(max_examples=150, deadline=None)
@given(turns=st.lists(Turn, max_size=40))
def test_whatever_happens_the_sign_is_honest_and_ends_with_the_newest_board(turns: list[tuple[str, float]]) -> None:
    """Server and sign on a network that loses, repeats, reorders, delays and cuts. After every turn nothing realtime is
    shown longer than ttl after the last word from the server; a quiet time at the end brings the newest board."""
    server, sign, mono = Server("a", 1), ReferenceSign("LS-1", ["S1"]), 0.0
    way: list[bytes] = []
    epochs = 0

    def now_ms() -> int:
        return AT_MS + int(mono * 1000)

    def converse() -> None:
        for _ in range(6):
            for data in sign.messages_to_send():
                way.extend(orjson.dumps(answer) for answer in server.answer(orjson.loads(data), now_ms()))
            while way:
                sign.receive(way.pop(0), mono)

    def check() -> None:
        held = sign.boards.get("S1")
        glass = sign.glass("S1", mono)
        if glass.source is not Source.BOARD:
            assert glass.is_timetable
            assert all(dep["pred"] is None and not dep.keys() & REALTIME for dep in glass.board["deps"])
            assert all(dep["st"] not in ("arriving", "at_stop") for dep in glass.board["deps"])
        elif held is not None:
            assert mono - last_heard <= 90

    last_heard = 0.0
    sign.connected(mono)
    converse()
    for what, seconds in turns:
        mono += seconds
        if what == "restart":
            epochs += 1
            server.epoch, server.rev = f"r{epochs}", 1
        if what in ("cut", "restart"):
            way.clear()
            sign.disconnected(None, 0.5)
            sign.connected(mono)
        if what in ("board", "lose", "repeat", "swap"):
            server.rev += 1
            way += [orjson.dumps(server.board(now_ms()))]
        if what == "swap":
            server.rev += 1
            way.insert(0, orjson.dumps(server.board(now_ms())))
        if what == "same":
            way += [orjson.dumps(server.same(now_ms()))]
        if what == "repeat":
            way += way
        if what == "lose":
            way.pop()
        elif what not in ("silence", "nothing"):
            last_heard = mono
            converse()
        check()
    mono += 100.0
    sign.disconnected(None, 0.5)
    sign.connected(mono)
    converse()
    last_heard = mono
    check()
    assert revision(sign) == (server.epoch, server.rev)
    assert sign.glass("S1", mono).source is Source.BOARD


def test_a_new_epoch_is_accepted_at_once(sign: ReferenceSign) -> None:
    feed(sign, board(500))
    feed(sign, board(1, epoch="f"))
    assert revision(sign) == ("f", 1)


def test_resume_names_what_is_held_and_drops_an_unknown_same(sign: ReferenceSign) -> None:
    feed(sign, board(7))
    sign.disconnected(None, 0.5)
    sign.connected(5.0)
    assert said(sign)[0]["type"] == "hello"
    sub = feed(sign, welcome(), mono=5.0)[-1]
    assert sub["have"] == {"S1": {"epoch": "e", "rev": 7}}
    assert feed(sign, same(9), mono=6.0)[-1]["have"] == {}
    assert feed(sign, same(9), mono=6.5) == []


def test_a_stop_that_went_silent_is_asked_for_again(sign: ReferenceSign) -> None:
    feed(sign, board(7))
    sign.heard(95.0)
    assert sign.tick(95.0)
    assert [m["type"] for m in said(sign) if m["type"] == "sub"] == ["sub"]
    sign.tick(100.0)
    assert [m["type"] for m in said(sign) if m["type"] == "sub"] == []


# ---- silence ---------------------------------------------------------------------------------------------------------

REALTIME = {"away", "dist", "lo", "hi", "age", "veh"}


@settings(max_examples=150, deadline=None)
@given(
    delays=st.lists(st.floats(0, 80), min_size=1, max_size=30),
    steps=st.lists(st.sampled_from([0, 0, 0, 3600, -3600, -60, 86_400 * 365, -AT]), min_size=30, max_size=30),
    quiet=st.floats(0, 4000),
)
def test_after_silence_no_realtime_is_shown_whatever_the_clocks_do(
    delays: list[float], steps: list[int], quiet: float
) -> None:
    """The server's clock steps by hours, years, back to 1970; messages are late. By the sign's own monotonic clock
    nothing realtime is shown ttl after the last message."""
    sign = make_sign()
    heard_at, clock = 0.0, float(AT)
    for k, delay in enumerate(delays):
        clock = max(0.0, clock + 30.0 + steps[k])
        heard_at = 30.0 * k + delay if 30.0 * k + delay > heard_at else heard_at
        feed(sign, board(k + 1, now_ms=int(clock * 1000)), mono=heard_at)
    glass = sign.glass("S1", heard_at + quiet)
    if quiet > 90:
        assert glass.source is not Source.BOARD
        assert glass.is_timetable
    if glass.is_timetable:
        for dep in glass.board["deps"]:
            assert dep["src"] == "schedule" and dep["pred"] is None and dep["sched"] is not None
            assert not dep.keys() & REALTIME
            assert dep["st"] not in ("arriving", "at_stop")
        assert all("passed" not in line for line in glass.board["lines"])


def test_a_server_clock_that_goes_back_keeps_nothing_alive(sign: ReferenceSign) -> None:
    """Only the sign's own clock knows then that the board is old: heartbeats alone do not refresh it."""
    feed(sign, board(1))
    for mono in range(1, 11):
        feed(sign, {"type": "hb", "seq": mono, "now": AT_MS - 3_000_000}, mono=float(mono))
    assert sign.glass("S1", 89.0).source is Source.BOARD
    assert sign.glass("S1", 91.0).source is Source.EXPIRED


def test_the_rows_of_section_7(sign: ReferenceSign) -> None:
    """Live, expired, offline pack, pack over."""
    feed(sign, board(1))
    pack = make_pack(AT - 3600, AT + 7200)
    assert sign.pack_received("S1", *pack, 0.0)
    assert sign.glass("S1", 90.0).source is Source.BOARD
    assert sign.glass("S1", 90.1).source is Source.EXPIRED
    assert [dep["key"] for dep in sign.glass("S1", 90.1).board["deps"]] == ["U:1:1", "T:1:1"]
    assert sign.glass("S1", 990.0).source is Source.EXPIRED
    offline = sign.glass("S1", 990.1)
    assert offline.source is Source.PACK and offline.is_timetable
    assert offline.board["deps"][0]["sched"] >= AT + 990
    over = sign.glass("S1", 7300.0)
    assert over.source is Source.NOTHING
    assert over.board["name"] == {"zh": "站"} and over.board["deps"] == []


def test_before_the_first_word_there_is_no_time_to_show() -> None:
    """After a power cut: a pack on the disk, a clock of 1970, no network."""
    sign = ReferenceSign("LS-1", ["S1"])
    assert sign.pack_received("S1", *make_pack(AT, AT + 7200), 0.0)
    glass = sign.glass("S1", 10.0)
    assert (glass.source, glass.now, glass.board["deps"]) == (Source.NOTHING, None, [])
    assert glass.board["name"] == {"zh": "站"}


def test_the_zone_of_the_clock_outlives_the_connection() -> None:
    sign = make_sign()
    assert sign.timezone("S1") is None
    feed(sign, welcome(tz="Asia/Shanghai"))
    feed(sign, welcome(tz="Mars/Base"))
    sign.disconnected(None, 0.5)
    assert sign.timezone("S1") == "Asia/Shanghai"


def test_same_extends_the_validity(sign: ReferenceSign) -> None:
    feed(sign, board(1))
    feed(sign, same(1, AT_MS + 80_000), mono=80.0)
    assert sign.glass("S1", 165.0).source is Source.BOARD
    assert sign.glass("S1", 171.0).source is Source.EXPIRED


def test_a_late_same_takes_nothing_back(sign: ReferenceSign) -> None:
    feed(sign, board(1))
    feed(sign, same(1, AT_MS + 80_000), mono=80.0)
    feed(sign, same(1, AT_MS + 20_000), mono=81.0)
    assert sign.glass("S1", 165.0).source is Source.BOARD


def test_departures_that_have_gone_leave_a_board_that_lives_long(sign: ReferenceSign) -> None:
    feed(sign, board(1, ttl=600))
    assert len(sign.glass("S1", 290.0).board["deps"]) == 3
    assert [dep["key"] for dep in sign.glass("S1", 301.0).board["deps"]] == []


def test_messages_end_at_their_time(sign: ReferenceSign) -> None:
    msgs = [
        {"id": "a", "prio": 1, "text": {"zh": "甲"}, "until": AT + 2000},
        {"id": "b", "prio": 0, "text": {"zh": "乙"}},
    ]
    feed(sign, board(1, msgs=msgs))
    sign.pack_received("S1", *make_pack(AT - 3600, AT + 7200), 0.0)
    assert [m["id"] for m in sign.glass("S1", 10.0).board["msgs"]] == ["a", "b"]
    assert [m["id"] for m in sign.glass("S1", 1500.0).board["msgs"]] == ["a"], "what nobody can take back is not kept"
    assert sign.glass("S1", 2100.0).board["msgs"] == []


# ---- what the sign says ----------------------------------------------------------------------------------------------


def test_hello_says_who_and_what(sign: ReferenceSign) -> None:
    full = ReferenceSign("LS-1", ["S1"], token="s3cr3t", panel=("led", 4, 32))
    full.connected(12.0)
    (hello,) = said(full)
    assert hello == {
        "type": "hello", "v": 1, "sign": "LS-1", "token": "s3cr3t", "lang": ["zh-Hans", "en"], "fw": "busd-reference",
        "hw": "led", "rows": 4, "cols": 32, "caps": ["cmd", "deflate"], "mono": 12000,
    }  # fmt: skip


def test_acks_say_since_when_it_is_on_the_glass_at_the_asked_pace(sign: ReferenceSign) -> None:
    feed(sign, board(1))
    (ack,) = draw(sign, 0.25)
    assert (ack["type"], ack["rev"], ack["shown_at"], ack["render_ms"]) == ("ack", 1, AT_MS + 250, 35)
    assert draw(sign, 0.5) == [], "once for a revision"
    feed(sign, board(2), mono=10.0)
    assert draw(sign, 10.0) == [], "not within the pace"
    (late,) = draw(sign, 31.0)
    assert (late["rev"], late["shown_at"]) == (2, AT_MS + 10_000)
    sign.disconnected(None, 0.5)
    sign.connected(40.0)
    feed(sign, welcome(AT_MS + 40_000), mono=40.0)
    assert [m for m in draw(sign, 70.0) if m["type"] == "ack"] == [], "nor again after a reconnect"


def test_a_board_that_could_not_be_drawn_is_reported(sign: ReferenceSign) -> None:
    feed(sign, board(1))
    sign.drawn(sign.glass("S1", 1.0), 1.0, err="no glyph")
    (ack,) = said(sign)
    assert ack["err"] == "no glyph" and "shown_at" not in ack


def test_what_is_expired_is_not_acknowledged(sign: ReferenceSign) -> None:
    feed(sign, board(1))
    assert [m["type"] for m in draw(sign, 100.0)] == []


def test_heartbeats_and_giving_up(sign: ReferenceSign) -> None:
    sign.tick(0.0)
    said(sign)
    assert sign.tick(29.0) and said(sign) == []
    assert sign.tick(30.0)
    (hb,) = said(sign)
    assert hb == {"type": "hb", "seq": 1, "mono": 30_000, "t": AT_MS + 30_000}
    assert sign.tick(89.0)
    assert not sign.tick(90.0)
    sign.heard(90.0)
    assert sign.tick(179.0)


def test_no_welcome_is_silence_too() -> None:
    sign = ReferenceSign("LS-1", ["S1"])
    sign.connected(0.0)
    assert sign.tick(14.0)
    assert not sign.tick(15.0)


def test_telemetry_is_rare_and_small(sign: ReferenceSign) -> None:
    class Panel:
        def operate(self, op: str, args: Any) -> tuple[bool, dict[str, Any]]:
            return True, {}

        def telemetry(self) -> dict[str, Any]:
            return {"volt": 12.4, "panel_err": ["x" * 100] * 20}

    sign = make_sign(hardware=Panel())
    sign.count_bytes(1000, 0.0)
    for mono in range(700):
        sign.heard(float(mono))
        sign.tick(float(mono))
    data = [m for m in sign.messages_to_send() if b'"tele"' in m]
    assert len(data) == 3
    assert max(map(len, data)) <= 512
    first = orjson.loads(data[0])
    assert (first["volt"], first["bytes_month"], first["fallback"], first["clock_src"]) == (12.4, 1000, True, "server")


def test_the_months_of_the_bill(sign: ReferenceSign) -> None:
    sign.count_bytes(1000, 0.0)
    sign.count_bytes(10, 3600.0)
    assert sign.meter.used == 1010
    sign.count_bytes(7, 31 * 86400.0)
    assert sign.meter.used == 7


# ---- commands --------------------------------------------------------------------------------------------------------


def test_a_command_is_executed_once_and_answered_every_time() -> None:
    done: list[str] = []

    class Panel:
        def operate(self, op: str, args: Any) -> tuple[bool, dict[str, Any]]:
            done.append(op)
            return True, {"level": args.get("level")}

        def telemetry(self) -> dict[str, Any]:
            return {}

    sign = make_sign(hardware=Panel())
    cmd = {"type": "cmd", "id": "c7", "op": "brightness", "args": {"level": 60}}
    for _ in range(3):
        (answer,) = feed(sign, cmd)
        assert answer == {"type": "done", "id": "c7", "ok": True, "info": {"level": 60}}
    again = make_sign(hardware=Panel())
    again.done.load(sign.done.dump())
    assert feed(again, cmd)[0]["ok"] is True
    assert done == ["brightness"]


def test_params_info_reload(sign: ReferenceSign) -> None:
    feed(sign, board(3))
    answer = feed(
        sign, {"type": "cmd", "id": "1", "op": "params", "args": {"set": {"max_deps": 4, "min_interval": 15}}}
    )
    assert answer[0]["type"] == "sub" and (answer[0]["max_deps"], answer[0]["min_interval"]) == (4, 15.0)
    assert answer[1]["ok"] is True
    bad = feed(sign, {"type": "cmd", "id": "2", "op": "params", "args": {"set": {"max_deps": 4000, "hysteresis": 5}}})
    assert [m["ok"] for m in bad] == [False] and sign.hysteresis == 10.0
    info = feed(sign, {"type": "cmd", "id": "3", "op": "info"})[0]
    assert info["info"]["stops"] == ["S1"]
    sub, done = feed(sign, {"type": "cmd", "id": "4", "op": "reload"})
    assert sub["have"] == {} and done["ok"] is True
    assert feed(sign, {"type": "cmd", "id": "5", "op": "upgrade", "args": {"url": "x"}})[0]["ok"] is False


# ---- connections -----------------------------------------------------------------------------------------------------


def test_waiting_before_the_next_connection() -> None:
    assert retry_after(None, None, 3, 0.5) == 4.0
    assert retry_after(None, None, 50, 1.0) == 60.0
    assert retry_after(4001, None, 0, 0.0) == 0.0
    for code in (4400, 4401, 4406, 4499, 4999):
        assert retry_after(code, None, 0, 0.0) == 900.0
    assert retry_after(4409, None, 0, 0.0) == 60.0
    assert retry_after(4001, {"code": 4001, "retry": 5, "jitter": 30}, 0, 0.5) == 20.0
    assert retry_after(None, {"code": 4400, "retry": None}, 0, 0.0) == 900.0
    assert retry_after(4001, {"code": 4001, "retry": "soon", "jitter": []}, 0, 0.0) == 900.0


def test_failures_count_until_a_welcome(sign: ReferenceSign) -> None:
    waits = [sign.disconnected(None, 1.0) for _ in range(8)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    sign.connected(0.0)
    feed(sign, welcome())
    assert sign.disconnected(None, 1.0) == 1.0


def test_a_server_of_another_version_is_left_alone() -> None:
    sign = ReferenceSign("LS-1", ["S1"])
    sign.connected(0.0)
    feed(sign, welcome(v=2))
    assert not sign.tick(1.0)
    assert sign.disconnected(None, 0.0) == 900.0


def test_the_other_doors_need_no_hello() -> None:
    sign = ReferenceSign("LS-1", ["S1"])
    for door in (Door.SSE, Door.POLLING):
        sign.connected(0.0, door)
        feed(sign, board(1))
        assert draw(sign, 500.0) == [] and sign.tick(500.0) and said(sign) == []
    assert revision(sign) == ("e", 1)


# ---- odd input -------------------------------------------------------------------------------------------------------

PLAIN = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**53,
    2**53 + 1,
    -(2**63),
    10**30,
    0.0,
    -0.5,
    1e308,
    "",
    "e",
    "\x1b[2J",
    "站",
)
ODD: tuple[Any, ...] = (
    *PLAIN,
    [],
    {},
    *([x] for x in PLAIN),
    *({"en": x} for x in PLAIN),
    {"": {}},
    [[1, 2]],
    [{"x": []}],
)
Odd = st.sampled_from(ODD) | st.integers() | st.text(max_size=5)
GOOD = (welcome(), board(9), same(9), {"type": "hb", "seq": 1, "now": AT_MS}, {"type": "bye", "retry": 1},
        {"type": "cmd", "id": "c", "op": "info", "args": {}}, {"type": "subscribed", "id": 1, "ok": [], "err": {}})  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_message_ever_raises_or_shows_what_cannot_be_shown(data: st.DataObject) -> None:
    """Good messages with any field replaced by anything, also deep inside departures, lines and messages."""
    sign = make_sign()
    feed(sign, board(1))
    for _ in range(data.draw(st.integers(1, 4))):
        message = orjson.loads(orjson.dumps(data.draw(st.sampled_from(GOOD))))
        target = message
        if message.get("deps") and data.draw(st.booleans()):
            target = message[data.draw(st.sampled_from(["deps", "lines"]))][0]
        keys = [*target, "msgs", "mode", "text", "pack", "until", "headway"]
        for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3)):
            target[key] = data.draw(Odd)
        sign.receive(json.dumps(message), 1.0)
    sign.tick(1.0)
    for mono in (1.0, 95.0, 2000.0):
        glass = sign.glass("S1", mono)
        for dep in glass.board["deps"]:
            assert isinstance(dep["sched"] if dep["pred"] is None else dep["pred"], int)
        sign.drawn(glass, mono)
        sign.wanted_packs(mono)
        sign.disconnected(None, 0.5)
    sign.messages_to_send()


@pytest.mark.parametrize(
    "junk",
    [b"", b"[]", b"\xff", b'{"type":"board"}', b'{"type":"same","stop":1}', b'{"type":"welcome"}', b"[" * 5000, b"{}"],
)
def test_odd_messages_change_nothing(sign: ReferenceSign, junk: bytes) -> None:
    feed(sign, board(1))
    sign.receive(junk, 1.0)
    assert revision(sign) == ("e", 1)
    assert sign.glass("S1", 1.0).source is Source.BOARD


def test_one_odd_departure_does_not_cost_the_others(sign: ReferenceSign) -> None:
    content = board(2)
    content["deps"][0]["pred"] = "soon"
    content["deps"].append(5)
    content["lines"].append({"line": 3})
    feed(sign, content)
    assert [dep["key"] for dep in sign.boards["S1"].board["deps"]] == ["U:1:1", "V:1:1"]


# ---- together with the server ----------------------------------------------------------------------------------------


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
    assert revision(sign) == ("k3f9", 18)
    assert sign.clock.now(0.0) == hub.clock.now()
    assert sign.timezone("S1") == "Asia/Shanghai"


def make_pack(from_at: int, to_at: int) -> tuple[str, bytes]:
    deps = [[at, 0] for at in range(from_at, to_at, 600)]
    body = orjson.dumps(
        {"v": 1, "stop": "S1", "tz": "Asia/Shanghai", "from": from_at, "to": to_at, "name": {"zh": "站"},
         "lines": [{"line": "8", "head": {"zh": "站"}}], "deps": deps}
    )  # fmt: skip
    return hashlib.sha256(body).hexdigest(), body
