"""One look at a board: what stays on the glass, what goes, and what never comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.signs.glance import DROP_S, FORGET_S, NO_MEMORY, look
from busd.signs.wording import Say

BOARD = json.loads((Path(__file__).parents[1] / "golden/signs/full_board.json").read_text(encoding="utf-8"))
NOW = BOARD["now"] / 1000


def board(*deps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return BOARD | {"deps": list(deps)} | changes


def dep(key: str, in_s: float, **changes: Any) -> dict[str, Any]:
    head = {"zh-Hans": "火车站"}
    return {
        "key": key, "line": "8", "head": head, "sched": None, "pred": NOW + in_s, "src": "realtime", "st": "ok"
    } | changes  # fmt: skip


def shown(glance: Any) -> list[tuple[str, Say]]:
    return [(row.key, row.when) for row in glance.rows]


def test_a_number_does_not_count_up_by_one_but_jumps() -> None:
    glance, memory = look(board(dep("a", 185)), NOW)
    assert shown(glance) == [("a", Say("minutes", 3))]
    glance, memory = look(board(dep("a", 245)), NOW, memory)
    assert shown(glance) == [("a", Say("minutes", 3))]
    glance, memory = look(board(dep("a", 305)), NOW, memory)
    assert shown(glance) == [("a", Say("minutes", 5))]
    glance, _ = look(board(dep("a", 305)), NOW + 60, memory)
    assert shown(glance) == [("a", Say("minutes", 4))]


def test_a_bus_that_was_due_and_left_never_comes_back() -> None:
    _, memory = look(board(dep("a", 40), dep("b", 400)), NOW)
    glance, memory = look(board(dep("b", 400)), NOW + 10, memory)
    assert [key for key, _ in shown(glance)] == ["b"]
    glance, memory = look(board(dep("a", 200), dep("b", 400)), NOW + 20, memory)
    assert [key for key, _ in shown(glance)] == ["b"]
    glance, memory = look(board(dep("a", 9000), dep("b", 9000)), NOW + 30 + FORGET_S, memory)
    assert [key for key, _ in shown(glance)] == ["a", "b"]


def test_a_bus_that_was_not_due_may_come_back() -> None:
    _, memory = look(board(dep("a", 400)), NOW)
    _, memory = look(board(), NOW + 10, memory)
    glance, _ = look(board(dep("a", 380)), NOW + 20, memory)
    assert shown(glance) == [("a", Say("minutes", 6))]


def test_time_alone_takes_a_bus_off_the_glass_unless_it_stands_there() -> None:
    now = board(dep("a", 40), dep("b", 41, st="at_stop"), dep("c", 0, pred=None, sched=NOW + 39, src="schedule"))
    late = NOW + 42 + DROP_S
    glance, memory = look(now, NOW)
    assert [key for key, _ in shown(glance)] == ["c", "a", "b"]
    glance, memory = look(now, late, memory)
    assert shown(glance) == [("b", Say("at_stop"))]
    # a late bus that the timetable had announced is no revival
    glance, _ = look(board(dep("c", 400), dep("a", 400)), late, memory)
    assert [key for key, _ in shown(glance)] == ["c"]


def test_lines_come_by_their_next_bus_and_silent_ones_say_why() -> None:
    glance, _ = look(BOARD, NOW)
    assert [(line.line, [say.word for say in line.says], len(line.rows)) for line in glance.lines] == [
        ("8", [], 3),
        ("102", [], 2),
        ("旅游1路", ["headway"], 0),
        ("31", ["first_at"], 0),
        ("K1", ["ended", "passed", "next_day"], 0),
    ]
    assert glance.empty == ()


def test_messages_end_and_emergencies_take_over() -> None:
    messages = [
        {"id": "1", "prio": 0, "text": {"en": "over"}, "until": NOW - 1},
        {"id": "2", "prio": 0, "text": {"en": "information"}},
        {"id": "3", "prio": 2, "text": {"en": "leave\u202e the stop"}, "until": NOW + 5},
        {"id": "4", "prio": 2, "text": {"en": "\x1b"}},
    ]
    glance, memory = look(board(msgs=messages), NOW)
    assert [notice.text["en"] for notice in glance.notices] == ["leave the stop", "information"]
    assert glance.emergency is glance.notices[0]
    glance, _ = look(board(msgs=messages), NOW + 6, memory)
    assert glance.emergency is None


def test_old_positions_are_said_to_be_old() -> None:
    assert look(board(dep("a", 400, age=50)), NOW)[0].old_min == 0
    assert look(board(dep("a", 400, age=50)), NOW + 75)[0].old_min == 2
    assert look(board(dep("a", 400, age=500, pred=None, sched=NOW + 100, src="schedule")), NOW)[0].old_min == 0


@pytest.mark.parametrize("rows", [[], [dep("a", 10, st="cancelled", pred=None, sched=NOW + 90)]])
def test_a_board_on_which_nothing_can_be_boarded_says_why(rows: list[dict[str, Any]]) -> None:
    assert look(board(*rows), NOW)[0].empty


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.lists(st.tuples(st.sampled_from("abc"), st.integers(-90, 900))))))
def test_over_any_day_numbers_rise_by_two_or_not_at_all_and_the_due_stay_gone(
    day: list[tuple[int, list[tuple[str, int]]]],
) -> None:
    memory, now = NO_MEMORY, NOW
    last: dict[str, int] = {}
    gone: set[str] = set()
    for wait, buses in day:
        now += wait
        rows = [dep(key, 0, pred=now + in_s) for key, in_s in dict(buses).items()]
        glance, memory = look(board(*rows), now, memory)
        seen = {row.key: row.when.a if row.when.word == "minutes" else 0 for row in glance.rows}
        assert not seen.keys() & gone
        for key, minutes in seen.items():
            assert minutes != last.get(key, minutes) + 1
        gone |= {key for key, minutes in last.items() if minutes == 0 and key not in seen}
        last = {key: minutes for key, minutes in (last | seen).items() if key not in gone}
