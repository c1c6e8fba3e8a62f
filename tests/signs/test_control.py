"""What operators order, from the order to the engine and the signs' modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from busd.clock import ManualClock
from busd.engine import Engine
from busd.notices import day_ends
from busd.shelf import Store
from busd.sign_registry import BadEntry, Role
from busd.signs.control import Actor, Command, SignControl
from busd.signs.fleet import Choice, Fleet
from busd.signs.modes import Mode, SignModes
from busd.signs.orders import MessageRequest, ModeRequest, SuppressionRequest, check_text
from busd.signs.targets import parse_target
from busd.types import NetworkLoaded, OperatorCommand, Started
from gtfs.calendar import service_day_start
from gtfs.testing import network_from_map

MAP = "A--B--C--D\n   |\n   X"
NETWORK = network_from_map(MAP, {"1": "ABCD", "1/back": "DCBA", "9": "XB"}, trips=20, headway_s=300)
OTHER = network_from_map(MAP, {"1": "ABCD", "9": "XBC"}, trips=20, headway_s=300)
NOW = service_day_start("20260302", "Asia/Shanghai") + 8 * 3600
ANNA = Actor("anna", Role.ADMIN)
TEXT = {"zh-Hans": "绕行", "en": "Diverted"}


class City:
    """A control over a real engine."""

    def __init__(self, path: Path | None = None) -> None:
        self.clock = ManualClock(NOW)
        self.engine = Engine(lambda digest: {NETWORK.digest: NETWORK, OTHER.digest: OTHER}[digest])
        self.engine.apply(Started(NOW, "e1"))
        self.engine.apply(NetworkLoaded(NOW, NETWORK.digest))
        self.commands: list[Command] = []
        self.open(path)

    def open(self, path: Path | None) -> None:
        self.control = SignControl(
            Store(path), self.clock, lambda: self.engine.network, lambda: self.engine.notices, self.submit
        )
        self.control.reconcile()

    def submit(self, commands: Any) -> None:
        for name, args, operator in commands:
            self.commands.append((name, args, operator))
            args = msgspec.msgpack.decode(msgspec.msgpack.encode(args))  # as the journal gives it back
            self.engine.apply(OperatorCommand(self.clock.now(), name, args, operator))

    def enter(self, sign: str, stops: str = "", groups: str = "") -> None:
        self.control.enter_sign({"sign": sign, "stops": stops, "groups": groups}, ANNA)

    def message(self, *targets: str, **more: Any) -> str:
        request = MessageRequest(**{"text": TEXT, "targets": list(targets), **more})
        return self.control.set_message(request, ANNA).message_id

    def at(self, stop_id: str) -> list[str]:
        board = self.engine.board(self.engine.network.find_stop(stop_id) or 0)
        return [] if board is None else [message.message_id for message in board.messages]

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.control.tick()


def stops_with(city: City, message_id: str) -> str:
    return "".join(stop for stop in "ABCDX" if message_id in city.at(stop))


def test_a_message_goes_where_its_targets_are() -> None:
    city = City()
    city.enter("s1", "A;B", "west")
    city.enter("s2", "C", "west")
    city.enter("s3", "D")
    for targets, stops in (
        (("all",), "ABCDX"),
        (("stop:X",), "X"),
        (("line:9",), "BX"),
        (("line:1", "stop:X"), "ABCDX"),
        (("sign:s1",), "AB"),
        (("group:west",), "ABC"),
        (("group:west", "sign:s3"), "ABCD"),
    ):
        message_id = city.message(*targets)
        assert stops_with(city, message_id) == stops, targets
        assert city.control.end_message(message_id, ANNA)
        assert stops_with(city, message_id) == ""


def test_a_message_for_a_group_follows_its_signs() -> None:
    city = City()
    city.enter("s1", "A", "west")
    message_id = city.message("group:west")
    assert stops_with(city, message_id) == "A"
    city.enter("s2", "C", "west")
    assert stops_with(city, message_id) == "AC"
    city.enter("s1", "B", "west")
    assert stops_with(city, message_id) == "BC"
    city.control.remove_sign("s2", ANNA)
    assert stops_with(city, message_id) == "B"


def test_a_stranger_is_where_it_says_it_is() -> None:
    city = City()
    city.control.health.opened("s9", NOW, {})
    city.control.health.subscribed("s9", ["D"])
    message_id = city.message("sign:s9")
    assert stops_with(city, message_id) == "D"
    city.control.health.subscribed("s9", ["C"])
    city.later(1.0)
    assert stops_with(city, message_id) == "C"


def test_a_new_timetable_moves_the_message_of_a_line() -> None:
    city = City()
    message_id = city.message("line:9")
    city.engine.apply(NetworkLoaded(NOW, OTHER.digest))
    city.later(1.0)
    assert stops_with(city, message_id) == "BCX"


def test_orders_survive_both_the_process_and_the_engine(tmp_path: Path) -> None:
    city = City(tmp_path / "s.sqlite")
    message_id = city.message("line:9", priority=1)
    city.control.suppress(SuppressionRequest("line:1/0"), ANNA)
    city.control.set_mode(ModeRequest("all", "off"), ANNA)
    city.control.close()
    city.commands.clear()
    city.open(tmp_path / "s.sqlite")
    assert city.commands == [], "the engine has them"
    city.engine.apply(Started(NOW, "e2"))  # nothing is known any more
    city.engine.apply(NetworkLoaded(NOW, NETWORK.digest))
    city.control.reconcile()
    assert stops_with(city, message_id) == "BX"
    assert list(city.engine.notices.suppressions) == ["1/0"]
    assert {name for name, _, _ in city.commands} == {"message", "suppress"}
    assert {operator for _, _, operator in city.commands} == {"anna"}


def test_what_the_engine_has_and_nobody_ordered_is_taken_back() -> None:
    city = City()
    city.engine.apply(OperatorCommand(NOW, "message", {"notice_id": "ghost", "text": TEXT, "everywhere": True}))
    assert stops_with(city, "ghost") == "ABCDX"
    city.control.reconcile()
    assert stops_with(city, "ghost") == ""


def test_a_suppression_ends_with_the_service_day() -> None:
    city = City()
    order = city.control.suppress(SuppressionRequest("line:1"), ANNA)
    assert order.until_at == day_ends(NOW, "Asia/Shanghai")
    with pytest.raises(BadEntry, match="service day"):
        city.control.suppress(SuppressionRequest("line:1", until_at=order.until_at + 1), ANNA)
    with pytest.raises(BadEntry, match="line:NAME"):
        city.control.suppress(SuppressionRequest("stop:A"), ANNA)
    assert city.control.end_suppression("line:1", ANNA)
    assert city.engine.notices.suppressions == {}


def test_orders_end_by_themselves() -> None:
    city = City()
    city.enter("s1", "A")
    city.message("all", end_at=NOW + 100)
    city.control.set_mode(ModeRequest("sign:s1", "off", until_at=NOW + 50), ANNA)
    city.later(51)
    assert city.control.modes.of("s1") is None
    assert len(city.control.mode_orders) == 0
    city.later(50)
    assert len(city.control.messages) == 0


# ---- modes -----------------------------------------------------------------------------------------------------------


def test_the_narrowest_mode_counts() -> None:
    city = City()
    for sign, stops in (("s1", "A"), ("s2", "X"), ("s3", "D")):
        city.enter(sign, stops, "west" if sign != "s3" else "")

    def modes() -> list[str]:
        found = [city.control.modes.of(sign) for sign in ("s1", "s2", "s3")]
        return ["auto" if mode is None else mode.mode for mode in found]

    def put(target: str, mode: str, **text: str) -> None:
        city.clock.advance(1.0)
        city.control.set_mode(ModeRequest(target, mode, text), ANNA)

    put("all", "off")
    assert modes() == ["off", "off", "off"]
    put("line:9", "text", en="hello")
    assert modes() == ["off", "text", "off"]
    put("group:west", "out_of_order")
    assert modes() == ["out_of_order", "out_of_order", "off"]
    put("stop:A", "text", en="A")
    put("sign:s2", "auto")
    assert modes() == ["text", "auto", "off"]
    for target in ("all", "line:9", "group:west", "stop:A", "sign:s2"):
        assert city.control.clear_mode(target, ANNA)
    assert modes() == ["auto", "auto", "auto"]
    assert not city.control.clear_mode("all", ANNA)


def test_a_sign_that_nobody_knew_has_the_mode_of_all_soon() -> None:
    city = City()
    city.control.set_mode(ModeRequest("all", "off"), ANNA)
    told: list[dict[str, Mode]] = []
    city.control.modes.on_change(lambda modes: told.append(dict(modes)))
    city.control.health.opened("new", NOW, {})
    city.later(1.0)
    assert [set(change) for change in told] == [{"new"}]


def test_every_change_of_mode_has_a_key_that_was_never_used() -> None:
    modes, keys = SignModes(), set()
    modes.on_change(lambda changed: keys.update(mode.key for mode in changed.values()))
    for k in range(20):
        modes.replace({"s1": Mode.of("off", {}, float(k))}, float(k))
        modes.replace({}, k + 0.5)
    assert len(keys) == 40
    assert modes.replace({}, 99.0) == {}


# ---- what cannot be ordered ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ({}, "1 to 8 languages"),
        ({"en": ""}, "1 to 500"),
        ({"en": " \t"}, "control"),
        ({"en": "x" * 501}, "1 to 500"),
        ({"en": "red\x1b[31m"}, "control"),
        ({"en": "two\nlines"}, "control"),
        ({"en": "\u202eturned"}, "control"),
        ({"not a tag!": "x"}, "language tag"),
        ({f"a{chr(97 + k)}": "x" for k in range(9)}, "1 to 8"),
    ],
)
def test_texts_that_are_refused(text: dict[str, str], problem: str) -> None:
    with pytest.raises(BadEntry, match=problem):
        check_text(text)


@pytest.mark.parametrize("target", ["", "everything", "line:", "sign", "all:x", "line:\x07", "bus:8"])
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(BadEntry):
        parse_target(target)


def test_a_target_says_what_it_was() -> None:
    for text in ("all", "line:8", "line:旅游1路/1", "stop:S:1", "group:west", "sign:LS-1"):
        assert str(parse_target(text)) == text


@pytest.mark.parametrize(
    ("request_of", "problem"),
    [
        ({"priority": 3}, "priority"),
        ({"takeover": True}, "emergency"),
        ({"end_at": NOW - 1}, "over"),
        ({"start_at": NOW + 10, "end_at": NOW + 5}, "before the start"),
        ({"days": ["funday"]}, "no day"),
        ({"targets": ["line:77"]}, "no line"),
        ({"targets": ["stop:Q"]}, "no stop"),
        ({"targets": ["group:q"]}, "no sign is in"),
        ({"targets": ["sign:q"]}, "busd signs add q"),
        ({"message_id": "m77"}, "no message"),
    ],
)
def test_messages_that_are_refused_leave_no_trace(request_of: dict[str, Any], problem: str) -> None:
    city = City()
    with pytest.raises(BadEntry, match=problem):
        city.control.set_message(MessageRequest(**{"text": TEXT, **request_of}), ANNA)
    assert city.commands == [] and len(city.control.messages) == 0
    city.control.store.flush()
    assert city.control.store.audit() == []


# ---- the log ---------------------------------------------------------------------------------------------------------


def test_the_log_tells_who_did_what_before_and_after() -> None:
    city = City()
    city.enter("s1", "A")
    token = city.control.give_token("s1", ANNA)
    message_id = city.message("stop:A")
    city.message("stop:A", message_id=message_id, priority=1)
    city.control.end_message(message_id, Actor("bo", Role.DISPATCHER))
    operator_token = city.control.add_operator("carl", "viewer", ANNA)
    city.control.store.flush()
    log = city.control.store.audit()
    assert [(e.who, e.role, e.what) for e in reversed(log)] == [
        ("anna", "admin", "sign.set"),
        ("anna", "admin", "sign.token"),
        ("anna", "admin", "message.set"),
        ("anna", "admin", "message.set"),
        ("bo", "dispatcher", "message.end"),
        ("anna", "admin", "operator.set"),
    ]
    changed, ended = log[2], log[1]
    assert changed.before["text"] == TEXT and "priority" not in changed.before and changed.after["priority"] == 1
    assert ended.after is None and ended.before == changed.after
    assert token not in repr(log) and operator_token not in repr(log)
    assert log[0].after["has_token"] is True and "token" not in log[0].after


# ---- choosing --------------------------------------------------------------------------------------------------------


def test_choosing_among_signs() -> None:
    city = City()
    for k in range(30):
        city.enter(f"LS-{k:02d}", "ABCDX"[k % 5], "west" if k % 2 else "east")
    health = city.control.health
    for k in range(20):
        health.opened(f"LS-{k:02d}", NOW - k, {})
    health.closed("LS-03", NOW, 1006)
    fleet = Fleet(city.control, lambda: NETWORK)

    def chosen(**more: Any) -> list[str]:
        return fleet.choose(Choice(**more), 0, 100).signs

    page = fleet.choose(Choice(group="west"), 2, 3)
    assert (page.total, page.signs) == (15, ["LS-05", "LS-07", "LS-09"])
    assert page.counts == {"online": 9, "offline": 1, "unseen": 5}
    assert chosen(state="offline") == ["LS-03"]
    assert chosen(q="ls-1 A") == [f"LS-{k}" for k in (10, 15)]
    assert chosen(line="9", state="unseen") == [f"LS-{k}" for k in (21, 24, 26, 29)]
    assert chosen(sort="state")[0] == "LS-03"
    assert chosen(sort="seen", state="online")[0] == "LS-19"
    assert chosen(q="nowhere") == [] == chosen(line="77")
    row = fleet.row("LS-03")
    assert row is not None
    assert (row["state"], row["close_code"], row["groups"], row["stops"]) == ("offline", 1006, ["west"], ["D"])
    assert fleet.row("nobody") is None
