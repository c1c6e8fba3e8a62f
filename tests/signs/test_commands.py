"""Commands to signs: once each, repeated until they are answered, over at their deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from busd.signs.commands import MAX_OF_SIGN, CommandRefused
from busd.signs.hub import SignHub
from busd.signs.messages import CloseCode
from busd.signs.sink import NullSink

Connect = Callable[..., Any]


class Answers(NullSink):
    def __init__(self) -> None:
        self.told: list[tuple[str, str, bool, dict[str, Any]]] = []

    def done(self, sign: str, command_id: str, ok: bool, info: Mapping[str, Any]) -> None:
        self.told.append((sign, command_id, ok, dict(info)))


@pytest.fixture
def sink(hub: SignHub) -> Answers:
    answers = Answers()
    hub.sink = answers
    numbers = iter(range(1000))
    hub.new_session_id = lambda: f"{next(numbers)}"
    return answers


@pytest.fixture
def book(hub: SignHub, sink: Answers, peer_class: Any) -> Any:
    return hub.commands


def turn(hub: SignHub, peer: Any, seconds: float) -> list[dict[str, Any]]:
    """Pass time as the server does; a sign keeps itself alive meanwhile."""
    messages = []
    while seconds > 0:
        step = min(seconds, 20.0)
        peer.pass_time(step)
        seconds -= step
        hub.commands.on_time(hub.clock.monotonic())
        peer.say(type="hb", seq=1)
        messages += peer.read()
    return [message for message in messages if message["type"] == "cmd"]


def test_a_command_reaches_its_sign_and_the_answer_the_sink(
    hub: SignHub, book: Any, sink: Answers, peer: Connect
) -> None:
    sign, other = peer(caps=["cmd"]), peer(sign="LS-2", caps=["cmd"])
    command_id = book.order("LS-1", "brightness", {"level": 60})
    assert sign.read() == [{"type": "cmd", "id": command_id, "op": "brightness", "args": {"level": 60}}]
    assert other.read() == []
    other.say(type="done", id=command_id, ok=True)  # not its command
    assert sink.told == []
    sign.say(type="done", id=command_id, ok=True, info={"level": 60})
    sign.say(type="done", id=command_id, ok=False)  # answered already
    sign.say(type="done", id="c-unknown", ok=True)
    assert sink.told == [("LS-1", command_id, True, {"level": 60})]
    assert len(book) == 0 and book.waiting("LS-1") == []
    assert sign.close_code is None and other.close_code is None


def test_a_command_waits_for_its_sign(hub: SignHub, book: Any, sink: Answers, peer: Connect) -> None:
    first, second = book.order("LS-1", "info"), book.order("LS-1", "reboot")
    sign = peer(ready=False)
    sign.hello(caps=["cmd"])
    welcome, one, two = sign.read()
    assert welcome["type"] == "welcome"
    assert (one["id"], two["id"]) == (first, second)


def test_an_unanswered_command_is_repeated_every_minute_under_the_same_id(
    hub: SignHub, book: Any, sink: Answers, peer: Connect
) -> None:
    sign = peer(caps=["cmd"])
    command_id = book.order("LS-1", "test", deadline_s=200)
    assert [message["id"] for message in sign.read()] == [command_id]
    assert turn(hub, sign, 59) == []
    assert [message["id"] for message in turn(hub, sign, 2)] == [command_id]
    assert len(turn(hub, sign, 120)) == 2
    assert sink.told == []
    turn(hub, sign, 30)
    assert sink.told == [("LS-1", command_id, False, {"error": "expired"})]
    assert len(book) == 0


def test_a_sign_that_comes_back_is_not_asked_twice_within_the_minute(
    hub: SignHub, book: Any, sink: Answers, peer: Connect
) -> None:
    sign = peer(caps=["cmd"])
    command_id = book.order("LS-1", "reboot")
    sign.read()
    sign.session.connection_lost()
    again = peer(caps=["cmd"])
    assert turn(hub, again, 40) == []
    again.say(type="done", id=command_id, ok=True)  # it has rebooted
    assert [told[1:3] for told in sink.told] == [(command_id, True)]


def test_a_sign_that_never_comes_lets_the_command_expire(hub: SignHub, book: Any, sink: Answers, peer: Connect) -> None:
    command_id = book.order("LS-9", "info", deadline_s=30)
    turn(hub, peer(), 31)
    assert sink.told == [("LS-9", command_id, False, {"error": "expired"})]


def test_signs_that_take_no_commands(hub: SignHub, book: Any, sink: Answers, peer: Connect) -> None:
    sign = peer()
    command_id = book.order("LS-1", "info")
    assert sign.read() == []
    assert sink.told == [("LS-1", command_id, False, {"error": "unsupported"})]


def test_what_cannot_be_ordered(book: Any) -> None:
    for op, args in (("explode", {}), ("params", {"a": object()}), ("params", {"a": "x" * 5000})):
        with pytest.raises(CommandRefused):
            book.order("LS-1", op, args)
    for _ in range(MAX_OF_SIGN):
        book.order("LS-1", "info")
    with pytest.raises(CommandRefused, match="16 commands"):
        book.order("LS-1", "info")
    assert len(book) == MAX_OF_SIGN


def test_a_done_without_its_required_fields_is_malformed(book: Any, peer: Connect) -> None:
    sign = peer(caps=["cmd"])
    sign.say(type="done", id="c1", ok="yes")
    assert sign.read()[-1]["code"] == CloseCode.BAD_MESSAGE
