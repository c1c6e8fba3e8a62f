"""What a sign is sent when an operator gives it a mode, and what an emergency does to everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from busd.bus import BoardBus
from busd.signs.hub import SignHub
from busd.signs.modes import Mode
from busd.types import BoardMessage

Connect = Callable[..., Any]
Make = Callable[..., Any]
OFF = Mode("off", {}, "0ff00000")
CLOSED = Mode("text", {"zh": "本站停用", "en": "Stop closed"}, "c105ed00")


def test_a_mode_comes_at_once_under_an_epoch_of_its_own(hub: SignHub, peer: Connect) -> None:
    sign, other = peer(), peer(sign="LS-2")
    for each in (sign, other):
        each.sub("S1")
        each.read()
    hub.modes.replace({"LS-1": CLOSED}, 1.0)
    assert sign.read() == []  # the pace holds for this board too
    sign.pass_time(1)
    board = sign.read()[0]
    assert (board["epoch"], board["rev"], board["mode"]) == ("k3f9.c105ed00", 18, "text")
    assert board["text"] == {"en": "Stop closed", "zh-Hans": "本站停用"}
    assert other.read() == []
    sign.pass_time(30)
    assert [(m["type"], m["epoch"]) for m in sign.read()] == [("same", "k3f9.c105ed00")]


def test_a_sign_with_a_mode_resumes_with_its_own_epoch(hub: SignHub, peer: Connect) -> None:
    hub.modes.replace({"LS-1": OFF}, 1.0)
    sign = peer()
    sign.sub("S1")
    assert sign.read()[1]["mode"] == "off"
    sign.sub("S1", id=2, have={"S1": {"epoch": "k3f9.0ff00000", "rev": 18}})
    assert sign.types() == ["subscribed", "same"]
    sign.sub("S1", id=3, have={"S1": {"epoch": "k3f9", "rev": 18}})
    assert sign.types() == ["subscribed", "board"]


def test_no_epoch_comes_twice_on_one_connection(hub: SignHub, peer: Connect, bus: BoardBus, board: Make) -> None:
    sign = peer()
    sign.sub("S1")
    epochs = [message["epoch"] for message in sign.read()[1:]]
    steps: list[dict[str, Mode]] = [{"LS-1": OFF}, {}, {"LS-1": OFF}, {"LS-1": CLOSED}, {"LS-1": OFF}, {}]
    modes = []
    for at, step in enumerate(steps):
        hub.modes.replace(step, float(at))
        sign.pass_time(2)
        [message] = sign.read()
        epochs.append(message["epoch"])
        modes.append(message.get("mode", "auto"))
        assert message["rev"] == 18
    assert len(set(epochs)) == len(epochs) == 7
    assert modes == ["off", "auto", "off", "text", "off", "auto"]
    assert all(len(epoch) <= 32 and "-" not in epoch for epoch in epochs)
    bus.publish([board(1, 19)])
    sign.pass_time(2)
    assert [(m["epoch"], m["rev"]) for m in sign.read()] == [(epochs[-1], 19)]


def test_signs_in_the_same_mode_share_their_frame(hub: SignHub, peer: Connect) -> None:
    hub.modes.replace({"a": CLOSED, "b": CLOSED}, 1.0)
    a, b = peer(sign="a"), peer(sign="b")
    for sign in (a, b):
        sign.sub("S1")
    assert a.session.variant is b.session.variant
    assert a.take()[-200:] == b.take()[-200:]


def test_an_emergency_takes_over_all_signs_that_show_anything(
    hub: SignHub, peer: Connect, bus: BoardBus, board: Make
) -> None:
    hub.modes.replace({"off": OFF, "text": CLOSED}, 1.0)
    urgent = BoardMessage("e1", 2, {"zh": "紧急疏散", "en": "Evacuate"}, None, True)
    bus.publish([board(1, 19, messages=[urgent])])
    shown = {}
    for name in ("plain", "off", "text"):
        sign = peer(sign=name)
        sign.sub("S1")
        message = sign.read()[1]
        shown[name] = message["mode"], message.get("text", {}).get("en")
    assert shown == {"plain": ("text", "Evacuate"), "off": ("off", None), "text": ("text", "Evacuate")}


def test_a_sign_out_of_order_says_so_without_words_of_its_own(hub: SignHub, peer: Connect) -> None:
    hub.modes.replace({"LS-1": Mode("out_of_order", {}, "00000000")}, 1.0)
    sign = peer()
    sign.sub("S1")
    board = sign.read()[1]
    assert (board["mode"], set(board["text"])) == ("out_of_order", {"en", "zh-Hans"})


def test_the_pack_is_part_of_the_board(hub: SignHub, bus: BoardBus, board: Make) -> None:
    notes = iter([b'{"id":"ab","url":"/v1/packs/ab","bytes":7}', b'{"id":"cd","url":"/v1/packs/cd","bytes":8}'])
    hub.frames.pack_note = lambda stop_id: next(notes)
    for langs in ((), ("en",)):  # one revision always names one pack
        payload = hub.frames.board_json("S1", langs, 10, 1_795_000_001_000)
        assert orjson.loads(payload)["pack"] == {"id": "ab", "url": "/v1/packs/ab", "bytes": 7}
    bus.publish([board(1, 19)])
    assert orjson.loads(hub.frames.board_json("S1", (), 10, 1_795_000_001_000))["pack"]["id"] == "cd"
