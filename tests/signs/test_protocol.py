"""busd.sign.v1 without sockets: every duty of the server, on a clock that the test moves. [n] = rules of the specification."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.signs.channel import Phase
from busd.signs.hub import SignHub
from busd.signs.messages import CloseCode
from busd.signs.slot import Owed

GOLDEN = Path(__file__).parents[1] / "golden" / "signs"
Connect = Callable[..., Any]
Make = Callable[..., Any]


def only(messages: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(messages) == 1
    return messages[0]


# ---- handshake ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ({"path": "/v1/other"}, b"404"),
        ({"protocol": None}, b"400"),
        ({"protocol": "busd.sign.v9"}, b"400"),
        ({"protocol": "chat, busd.sign.v1"}, b"101"),
        ({"path": "/v1/sign?x=1"}, b"101"),
        ({"extra": "X-Pad: " + "a" * 9000 + "\r\n"}, b"431"),
    ],
)
def test_handshake(hub: SignHub, peer_class: Any, request_line: dict[str, Any], status: bytes) -> None:
    sign = peer_class(hub, shake=False)
    sign.send(sign.request(**request_line))
    assert sign.take().split(b" ")[1] == status
    assert sign.session.eof is (status != b"101")


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00" * 40, b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"a" * 20000])
def test_other_protocols_on_the_port_are_shown_the_door(hub: SignHub, peer_class: Any, junk: bytes) -> None:
    sign = peer_class(hub, shake=False)
    sign.send(junk)
    sign.take()
    sign.pass_time(11 + 6)
    assert sign.session.eof or sign.session.must_abort
    assert sign.session.must_abort


def test_a_trickled_header_is_cut_off(hub: SignHub, peer_class: Any, clock: ManualClock) -> None:
    sign = peer_class(hub, shake=False)
    for byte in sign.request()[:20]:
        sign.send(bytes([byte]))
        sign.pass_time(0.5)
    assert sign.session.must_abort


def test_frames_sent_together_with_the_request_are_not_lost(hub: SignHub, peer_class: Any) -> None:
    sign = peer_class(hub, shake=False)
    sign.send(sign.request() + sign.frame(orjson.dumps({"type": "hello", "v": 1, "sign": "x", "token": "demo"})))
    sign.raw = sign.take().partition(b"\r\n\r\n")[2]
    assert sign.types() == ["welcome"]


# ---- hello -------------------------------------------------------------------------------------------------------------


def test_golden_conversation(hub: SignHub, peer: Connect, bus: BoardBus) -> None:
    """Client lines begin with >, the server's with <."""
    sign = peer(ready=False)
    answers: list[bytes] = []
    for line in (GOLDEN / "conversation.txt").read_bytes().splitlines():
        if line.startswith(b"> "):
            assert not answers, "the server said more than the golden file"
            sign.send(sign.frame(line[2:]))
            answers = [orjson.dumps(message) for message in sign.read()]
        elif line.startswith(b"< "):
            assert orjson.loads(answers.pop(0)) == orjson.loads(line[2:])
    assert not answers


def test_bearer_token_of_the_upgrade_counts(hub: SignHub, peer_class: Any) -> None:
    sign = peer_class(hub, shake=False)
    sign.send(sign.request(extra="Authorization: Bearer secret\r\n"))
    sign.take()
    sign.hello(sign="own", token=None)
    assert sign.types() == ["welcome"]


def test_a_token_in_the_url_opens_nothing_and_is_not_logged(
    hub: SignHub, peer_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    sign = peer_class(hub, shake=False)
    sign.send(sign.request(path="/v1/sign?token=demo"))
    sign.take()
    sign.hello(token=None)
    assert only(sign.read())["code"] == sign.close_code == CloseCode.AUTHENTICATION
    assert "demo" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": "wrong"}, CloseCode.AUTHENTICATION),
        ({"token": None}, CloseCode.AUTHENTICATION),
        ({"token": 7}, CloseCode.AUTHENTICATION),
        ({"sign": "own"}, CloseCode.AUTHENTICATION),
        ({"v": 99}, CloseCode.VERSION),
        ({"v": "1"}, CloseCode.BAD_MESSAGE),
        ({"v": None}, CloseCode.BAD_MESSAGE),
        ({"sign": ""}, CloseCode.BAD_MESSAGE),
        ({"sign": "a\nb"}, CloseCode.BAD_MESSAGE),
        ({"sign": "x" * 129}, CloseCode.BAD_MESSAGE),
        ({"type": "sub", "id": 1, "stops": []}, CloseCode.BAD_MESSAGE),
        ({"type": "news"}, CloseCode.BAD_MESSAGE),
    ],
)
def test_a_bad_hello_is_answered_by_bye_and_close(
    hub: SignHub, peer: Connect, changes: dict[str, Any], code: CloseCode
) -> None:
    sign = peer(ready=False)
    sign.hello(**changes)
    bye = only(sign.read())
    assert (bye["type"], bye["code"], bye["retry"]) == ("bye", code, None)
    assert sign.close_code == code
    assert not hub.signs


def test_no_hello_in_time(peer: Connect) -> None:
    sign = peer(ready=False)
    sign.pass_time(9.75)
    assert sign.read() == []
    sign.pass_time(0.5)
    assert only(sign.read())["code"] == sign.close_code == CloseCode.NO_HELLO


def test_second_hello(peer: Connect) -> None:
    sign = peer()
    sign.hello()
    assert only(sign.read())["code"] == CloseCode.BAD_MESSAGE


def test_the_newest_session_of_a_sign_wins(hub: SignHub, peer: Connect) -> None:
    old = peer()
    old.sub("S1")
    old.read()
    new = peer()
    bye = only(old.read())
    assert (bye["code"], old.close_code) == (CloseCode.REPLACED, CloseCode.REPLACED)
    assert bye["retry"] >= 60
    old.session.connection_lost()
    assert hub.signs == {"LS-1": new.session}


# ---- broken peers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type":',
        b"[1,2]",
        b'{"type":"sub","id":1,"stops":"S1"}',
        b'{"no":1}',
        b'{"type":"sub","id":1,"stops":[],"have":NaN}',
        b'{"type":"hb"}',
        b'{"type":"hb","seq":1,"seq":2}',
        b'{"type":"x","a":[{"b":1,"b":1}]}',
        b'{"type":"done","id":"c1"}',
        b'{"type":"ack","stop":"S1","epoch":"e"}',
        b'{"type":"hb","seq":1e400}',
        b'{"type":"hb","seq":99999999999999999999}',
        b'{"type":"x","a":' + b"[" * 8000 + b"]" * 8000 + b"}",
        b"",
    ],
)
def test_malformed_messages(peer: Connect, raw: bytes) -> None:
    sign = peer()
    sign.send(sign.frame(raw))
    assert only(sign.read())["code"] == sign.close_code == CloseCode.BAD_MESSAGE
    assert sign.session.eof


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(b"\x01", {"opcode": 2})], 1003),
        ([(b"\x01", {"opcode": 2, "fin": False})], 1003),
        ([(b'{"type":"\xff"}', {})], 1007),
        (
            [
                (b'{"type":"\xe7', {"fin": False}),
                (b'\xab\x99"', {"opcode": 0, "fin": False}),
                (b"\xc0}", {"opcode": 0}),
            ],
            1007,
        ),
        ([(b'{"type":"tele","x":"' + b"a" * 17000 + b'"}', {})], 1009),
        ([(b"a" * 9000, {"fin": False}), (b"a" * 9000, {"opcode": 0})], 1009),
        ([(b"{}", {"mask": False})], 1002),
        ([(b"{}", {"rsv": 0x40})], 1002),
        ([(b"{}", {"opcode": 3})], 1002),
        ([(b"", {"opcode": 0})], 1002),
        ([(b"{", {"fin": False}), (b"}", {})], 1002),
        ([(b"x" * 126, {"opcode": 9})], 1002),
        ([(b"", {"opcode": 9, "fin": False})], 1002),
        ([(b"\x03", {"opcode": 8})], 1002),
    ],
)
def test_broken_frames_end_the_connection(peer: Connect, frames: list[tuple[bytes, dict[str, Any]]], code: int) -> None:
    sign = peer()
    for payload, how in frames:
        sign.send(sign.frame(payload, **how))
    assert [m for m in sign.read() if m["type"] != "bye"] == []
    assert sign.close_code == code
    assert sign.session.phase is Phase.CLOSING
    sign.send(sign.frame(b'{"type":"hb","seq":1}'))
    sign.pass_time(6)
    assert sign.read() == []
    assert sign.session.must_abort
    assert sign.session.connection_lost() == code


def test_fragments_and_split_characters_are_put_together(peer: Connect) -> None:
    sign = peer()
    text = '{"type":"sub","id":7,"stops":["站"]}'.encode()
    at = text.index("站".encode()) + 1
    sign.send(sign.frame(text[:at], fin=False))
    sign.send(sign.frame(b"in between", opcode=9))
    sign.send(sign.frame(text[at:], opcode=0))
    sign.raw = sign.take()
    assert sign.raw.startswith(b"\x8a\x0ain between")
    sign.raw = sign.raw[12:]
    assert only(sign.read())["err"] == {"站": "unknown_stop"}


def test_a_flood_is_cut_off_and_a_busy_sign_is_not(peer: Connect) -> None:
    busy = peer()
    busy.sub("S1", "S2")
    for seq in range(600):
        busy.say(type="hb", seq=seq)
        busy.pass_time(0.1, step=0.1)
    assert busy.close_code is None
    flood = peer(sign="LS-2")
    for seq in range(80):
        flood.say(type="hb", seq=seq)
    messages = flood.read()
    assert (messages[-1]["code"], flood.close_code) == (CloseCode.RATE, CloseCode.RATE)


def test_a_client_that_writes_but_never_reads_is_dropped(peer: Connect) -> None:
    sign = peer()
    sign.session.write_blocked()
    for k in range(400):
        sign.sub("S1", *(f"nowhere {j}" for j in range(60)), id=k)
        sign.session.next_deadline()
        sign.hub.clock.advance(0.1)
        if sign.session.must_abort:
            break
    assert sign.session.must_abort
    assert sign.session.connection_lost() == CloseCode.TOO_SLOW


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cutting_the_bytes_differently_changes_nothing(data: st.DataObject, hub: SignHub, peer_class: Any) -> None:
    script = [
        {"type": "hello", "v": 1, "sign": "LS-1", "token": "demo"},
        {"type": "hb", "seq": 1, "mono": 5},
        {"type": "unknown", "x": [1]},
        {"type": "sub", "id": 2, "stops": ["S1", "nowhere", "S1", "S2"], "have": {"S1": {"epoch": "k3f9", "rev": 18}}},
        {"type": "hb", "seq": 2},
    ]
    sign = peer_class(hub, shake=False)
    stream = sign.request() + b"".join(sign.frame(orjson.dumps(message)) for message in script)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    for a, b in zip([0, *cuts], [*cuts, len(stream)]):
        sign.send(stream[a:b])
    sign.raw = sign.take().partition(b"\r\n\r\n")[2]
    assert sign.types() == ["welcome", "subscribed", "hb", "same", "board"]
    sign.session.connection_lost()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.lists(st.binary(max_size=60) | st.just(b"\x81\x80abcd"), max_size=6))
def test_noise_never_raises(junk: list[bytes], hub: SignHub, peer_class: Any) -> None:
    sign = peer_class(hub)
    for data in junk:
        sign.send(data)
        sign.take()
    sign.session.receive_eof()
    sign.take()
    sign.session.connection_lost()
    assert not hub.bus._watchers


# ---- sub, board, same --------------------------------------------------------------------------------------------------


def test_every_requested_stop_is_answered_once(peer: Connect) -> None:
    sign = peer()
    sign.sub(
        "S1", "nowhere", "S1", "bad\nid", "S2", id=5, have={"S2": {"epoch": "k3f9", "rev": 18}, "S1": {"epoch": "k3f9"}}
    )
    subscribed, board, same = sign.read()
    assert subscribed["id"] == 5
    assert subscribed["ok"] == ["S1", "S2"]
    assert subscribed["err"] == {"nowhere": "unknown_stop", "bad\nid": "unknown_stop"}
    assert (board["type"], board["stop"]) == ("board", "S1")
    assert same == {"type": "same", "stop": "S2", "epoch": "k3f9", "rev": 18, "now": same["now"], "ttl": 90}


def test_too_many_stops(peer: Connect) -> None:
    sign = peer()
    sign.sub(*(f"x{k}" for k in range(39)), "S1")
    err = only(sign.read())["err"]
    assert list(err.values()).count("too_many") == 8
    assert err["S1"] == "too_many"


@pytest.mark.parametrize(
    "have", [{"epoch": "zz", "rev": 18}, {"epoch": "k3f9", "rev": 2**50}, {"epoch": "k3f9", "rev": True}, 7, None]
)
def test_another_have_gets_a_board(peer: Connect, have: Any) -> None:
    sign = peer()
    sign.sub("S1", have={"S1": have})
    assert sign.types() == ["subscribed", "board"]


def test_optional_fields_of_odd_types_count_as_absent(peer: Connect) -> None:
    sign = peer(lang={"a": 1}, token="demo", fw=7)
    sign.sub("S1", have=[1], min_interval="soon", hysteresis=None, max_deps=1e9)
    subscribed, board = sign.read()
    assert (subscribed["min_interval"], subscribed["hysteresis"], subscribed["max_deps"]) == (1, 10, 30)
    assert board["name"] == {"zh": "第1站"}


def test_the_last_of_many_languages_counts(peer: Connect) -> None:
    sign = peer(lang=[*(f"x-{k}" for k in range(30)), "en"])
    sign.sub("S1")
    assert set(sign.read()[1]["name"]) == {"en"}  # [4]


def test_a_new_sub_replaces_the_old_one(peer: Connect, bus: BoardBus, board: Make) -> None:
    sign = peer()
    sign.sub("S1", "S2")
    sign.sub("S2", id=2, max_deps=1)
    sign.read()
    bus.publish([board(1, 19), board(2, 19)])
    sign.pass_time(2)
    new = only(sign.read())
    assert (new["stop"], new["rev"], len(new["deps"])) == ("S2", 19, 1)
    sign.sub(id=3)
    sign.read()
    bus.publish([board(2, 20)])
    sign.pass_time(40)
    assert sign.types() == []
    assert not bus._watchers


def test_a_stop_without_a_board_yet_gets_it_when_it_comes(
    peer: Connect, bus: BoardBus, board: Make, network: Any
) -> None:
    network.stop_id.append("late")
    sign = peer()
    sign.sub("late")
    assert sign.types() == ["subscribed"]
    sign.pass_time(3)
    bus.publish([board(len(network.stop_id) - 1, 1)])
    assert sign.types() == ["board"]


def test_conflation_keeps_one_board_per_stop(hub: SignHub, peer: Connect, bus: BoardBus, board: Make) -> None:
    sign = peer()
    sign.sub("S1", "S2")
    sign.read()
    sign.pass_time(2)
    sign.session.write_blocked()
    for rev in range(19, 119):
        bus.publish([board(1, rev), board(2, rev)])
    assert hub.conflated == 2 * 99
    assert len(sign.session.owed) == 2
    sign.session.write_resumed()
    assert [(m["stop"], m["rev"]) for m in sign.read()] == [("S1", 118), ("S2", 118)]


def test_an_unsent_same_is_dropped_when_a_board_comes(peer: Connect, bus: BoardBus, board: Make) -> None:
    sign = peer()
    sign.sub("S1")
    sign.read()
    sign.hub.clock.advance(31)
    sign.session.write_blocked()
    sign.session.on_time(sign.hub.clock.monotonic())
    assert [slot.owed for slot in sign.session.owed] == [Owed.SAME]
    bus.publish([board(1, 19)])
    sign.session.write_resumed()
    assert sign.types() == ["board"]


def test_pace(peer: Connect, bus: BoardBus, board: Make) -> None:
    sign = peer()
    sign.sub("S1", min_interval=2)
    assert sign.read()[0]["min_interval"] == 2
    got: list[tuple[float, int]] = []
    for k in range(80):
        bus.publish([board(1, 19 + k)])
        got += [(sign.hub.clock.monotonic(), m["rev"]) for m in sign.read()]
        sign.pass_time(0.1, step=0.1)
    times = [at for at, _ in got]
    assert len(got) == 3
    assert min(b - a for a, b in itertools.pairwise(times)) >= 2 - 1e-6
    sign.pass_time(2.5)
    assert only(sign.read())["rev"] == 98
    sign.sub("S1", id=2)  # the answer to a sub is excepted
    assert sign.types() == ["subscribed", "board"]


def test_refreshers_keep_the_board_valid(peer: Connect) -> None:
    sign = peer()
    sign.sub("S1", "S2", min_interval=1)
    sign.read()
    for _ in range(4):
        sign.pass_time(15)
        sign.say(type="hb", seq=1)
        assert sign.types() == ["hb"]
        sign.pass_time(15.5)
        messages = sign.read()
        assert [m["type"] for m in messages] == ["same", "same"]
        assert all(m["now"] == sign.hub.now_ms() or sign.hub.now_ms() - m["now"] < 1000 for m in messages)


def test_a_stop_that_left_the_timetable_makes_the_sign_ask_anew(peer: Connect, bus: BoardBus, network: Any) -> None:
    """Neither ``board`` nor ``same`` would be true for it, and one of them is due every ttl/3 [27]."""
    sign = peer()
    sign.sub("S1", "S2")
    sign.read()
    bus.rebind(type(network)(stops=2))
    sign.pass_time(25)
    sign.say(type="hb", seq=1)
    assert sign.types() == ["hb"]
    sign.pass_time(8)
    bye = only(sign.read())
    assert (bye["code"], sign.close_code) == (CloseCode.RESTART, CloseCode.RESTART)
    sign = peer()
    sign.sub("S1", "S2")
    subscribed, board = sign.read()
    assert (subscribed["err"], board["stop"]) == ({"S2": "unknown_stop"}, "S1")


def test_frames_are_shared_between_signs(hub: SignHub, peer: Connect) -> None:
    a, b = peer(sign="a", lang=["en", "zh"]), peer(sign="b", lang=["zh", "en"])
    frames = []
    for sign in (a, b):
        sign.sub("S1")
        frames.append(sign.take()[-60:])
    assert hub.frames.board_frame("S1", ("en", "zh"), 10, hub.now_ms()) is hub.frames.board_frame(
        "S1", ("en", "zh"), 10, hub.now_ms()
    )
    assert frames[0] == frames[1]


# ---- liveness ----------------------------------------------------------------------------------------------------------


def test_silence_ends_the_connection_not_before_and_not_much_after(peer: Connect) -> None:
    sign = peer()
    sign.sub("S1")
    sign.pass_time(59.5)
    assert "bye" not in sign.types()
    for _ in range(2):
        sign.send(sign.frame(b"", opcode=10))  # a pong is the network stack, not the render loop
    sign.pass_time(1)
    assert sign.read()[-1]["code"] == sign.close_code == CloseCode.NO_HEARTBEAT


def test_any_text_message_counts_as_life(peer: Connect) -> None:
    sign = peer()
    for _ in range(5):
        sign.pass_time(50)
        sign.say(type="zzz")
        assert sign.read() == []
    assert sign.close_code is None
    assert sign.pings >= 5, "without other traffic the server pings"


def test_heartbeats_are_answered_with_the_latest_seq(peer: Connect) -> None:
    sign = peer()
    sign.say(type="hb", seq=1, extra={"a": []})
    sign.say(type="hb", seq=2)
    assert only(sign.read()) == {"type": "hb", "seq": 2, "now": sign.hub.now_ms()}


def test_write_deadline(peer: Connect) -> None:
    sign = peer()
    sign.session.write_blocked()
    sign.pass_time(9.5)
    assert not sign.session.must_abort
    sign.pass_time(1)
    assert sign.session.must_abort


def test_the_longest_answer_fits_into_a_message(peer: Connect) -> None:
    sign = peer()
    letters = string.ascii_letters + string.digits
    stops = [a + b for a in letters for b in letters][:3260]
    sign.send(sign.frame(orjson.dumps({"type": "sub", "id": 1, "stops": stops})))
    raw = sign.take()
    assert 16000 < len(orjson.dumps(stops)) < 16384
    assert len(raw) < 65536  # [3]


def test_a_pace_beyond_the_ttl_is_not_agreed_to(peer: Connect) -> None:
    """Else the board on the glass would expire while the newer one waits [27]."""
    sign = peer()
    sign.sub("S1", min_interval=600)
    assert sign.read()[0]["min_interval"] == 30


def test_the_peers_close_is_answered(peer: Connect, bus: BoardBus) -> None:
    sign = peer()
    sign.sub("S1")
    sign.read()
    sign.send(sign.frame(b"\x03\xe8", opcode=8))
    assert sign.read() == [] and sign.close_code == 1000
    assert sign.session.eof and not bus._watchers
    assert sign.session.connection_lost() == 1000
