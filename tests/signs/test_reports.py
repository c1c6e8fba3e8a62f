"""What a session tells of its sign: to the sink and to the counters. Wrong reports are counted and cost nobody anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from busd.bus import BoardBus
from busd.metrics import REGISTRY
from busd.signs.hub import SignHub
from busd.signs.messages import CloseCode
from busd.signs.sink import NullSink

Connect = Callable[..., Any]
Make = Callable[..., Any]


class Listener(NullSink):
    """Writes down what a session tells."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def opened(self, sign: str, at: float, hello: Mapping[str, Any]) -> None:
        self.told.append(("opened", sign, dict(hello)))

    def subscribed(self, sign: str, stops: Sequence[str]) -> None:
        self.told.append(("subscribed", sign, list(stops)))

    def shown(self, sign: str, stop: str, epoch: str, rev: int, glass_s: float | None) -> None:
        self.told.append(("shown", sign, stop, epoch, rev, glass_s))

    def draw_error(self, sign: str, stop: str, error: str) -> None:
        self.told.append(("draw_error", sign, stop, error))

    def telemetry(self, sign: str, at: float, values: Mapping[str, Any]) -> None:
        self.told.append(("telemetry", sign, dict(values)))

    def sent(self, sign: str, bytes_out: int, bytes_in: int) -> None:
        self.told.append(("sent", sign, bytes_out, bytes_in))

    def closed(self, sign: str, at: float, code: int) -> None:
        self.told.append(("closed", sign, code))


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_sink_hears_of_hello_sub_and_close(hub: SignHub, peer: Connect) -> None:
    sink = hub.sink = Listener()
    sign = peer(fw="2.1\x1b[0m", hw=7, rows=4, cols="x", caps=["cmd", 7, "deflate"])
    sign.sub("S1", "nowhere")
    sign.read()
    sign.send(sign.frame(b"\x03\xe9", opcode=8))
    opened, subscribed, sent, closed = sink.told
    facts = {"fw": "2.1[0m", "rows": 4, "cols": 0, "lang": ["en", "zh-Hans"], "caps": ["cmd", "deflate"]}
    assert opened == ("opened", "LS-1", facts)
    assert subscribed == ("subscribed", "LS-1", ["S1"])
    assert sent[2] > 500 and sent[3] > 200
    assert closed == ("closed", "LS-1", 1001)


def test_a_replaced_session_is_not_reported_as_gone(hub: SignHub, peer: Connect) -> None:
    old = peer()
    sink = hub.sink = Listener()
    peer()
    old.read()
    old.session.connection_lost()
    assert {told[0] for told in sink.told} == {"opened", "sent"}


def test_time_to_glass_goes_to_the_sink(hub: SignHub, peer: Connect, bus: BoardBus, board: Make) -> None:
    sink = Listener()
    sign = peer()
    sign.sub("S1")
    sign.read()
    hub.sink = sink
    unknown = count("busd_sign_acks_total", result="unknown")
    bus.publish([board(1, 19)])  # under way; the sign tells of the one before
    sign.say(type="ack", stop="S1", epoch="k3f9", rev=18, shown_at=1_795_000_000_623)
    sign.say(type="ack", stop="S1", epoch="k3f9", rev=18, shown_at=86_400_000)  # a clock that stands in 1970
    sign.say(type="ack", stop="S1", epoch="k3f9", rev=18, err="glyph")
    for wrong in ({"stop": "S9"}, {"rev": 17}, {"epoch": "zz"}, {"stop": "S2"}):
        sign.say(**({"type": "ack", "stop": "S1", "epoch": "k3f9", "rev": 18, "shown_at": 1_795_000_000_623} | wrong))
    assert sink.told == [
        ("shown", "LS-1", "S1", "k3f9", 18, 0.5),
        ("shown", "LS-1", "S1", "k3f9", 18, None),
        ("draw_error", "LS-1", "S1", "glyph"),
    ]
    assert count("busd_sign_acks_total", result="unknown") == unknown + 4
    assert sign.close_code is None


def test_telemetry_is_kept_once_in_five_minutes(hub: SignHub, peer: Connect) -> None:
    sign = peer()
    sink = hub.sink = Listener()
    before = {result: count("busd_sign_telemetry_total", result=result) for result in ("kept", "too_big", "too_often")}
    sign.say(type="tele", junk="x" * 600)
    sign.say(type="tele", volt=12.4)
    sign.say(type="tele", volt=12.5)
    for _ in range(6):
        sign.pass_time(50)
        sign.say(type="hb", seq=1)
    sign.say(type="tele", volt=12.6)
    sign.read()
    assert [told for told in sink.told if told[0] == "telemetry"] == [
        ("telemetry", "LS-1", {"volt": 12.4}),
        ("telemetry", "LS-1", {"volt": 12.6}),
    ]
    assert {r: count("busd_sign_telemetry_total", result=r) - n for r, n in before.items()} == {
        "kept": 2,
        "too_big": 1,
        "too_often": 1,
    }
    assert sign.close_code is None


def test_a_telemetry_flood_is_a_flood(peer: Connect) -> None:
    sign = peer()
    for k in range(80):
        sign.say(type="tele", volt=k)
    assert sign.read()[-1]["code"] == CloseCode.RATE


def test_what_the_guards_say(hub: SignHub, peer: Connect) -> None:
    hub.may_watch = lambda sign, stop_id: stop_id != "S2"
    sign = peer()
    sign.sub("S1", "S2", "nowhere")
    subscribed, _ = sign.read()
    assert subscribed["err"] == {"S2": "forbidden", "nowhere": "unknown_stop"}
    hub.may_connect = lambda sign: sign != "LS-2"
    blocked = peer(ready=False)
    blocked.hello(sign="LS-2")
    [bye] = blocked.read()
    assert (bye["code"], bye["retry"], blocked.close_code) == (CloseCode.FORBIDDEN, None, CloseCode.FORBIDDEN)
