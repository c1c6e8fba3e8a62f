"""Panels of character cells: golden pages in three sizes and three languages, and what holds for every size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from busd.signs.abbreviations import ABBREVIATIONS, fit, forms
from busd.signs.cells import columns, cut, pad, rounds, window, wrap
from busd.signs.glance import look
from busd.signs.panel import PAGE_S, Panel, page_at, pages

GOLDEN = Path(__file__).parents[1] / "golden" / "signs"
BOARD = json.loads((GOLDEN / "full_board.json").read_text(encoding="utf-8"))
NOW = BOARD["now"] / 1000
ZONE = "Asia/Shanghai"
SIZES = ((16, 2), (32, 4), (64, 8))
LANGS = ("zh-Hans", "en", "bo")

STATES: dict[str, dict[str, Any]] = {
    "full": {},
    "timetable": {
        "state": "schedule",
        "deps": [
            dep | {"pred": None, "sched": dep.get("pred") or dep["sched"], "src": "schedule", "st": "ok"}
            for dep in BOARD["deps"]
        ],
        "msgs": [],
    },
    "ended": {
        "deps": [],
        "msgs": [],
        "lines": [line | {"last": NOW - 900, "next": NOW + 41040, "headway": None} for line in BOARD["lines"][:2]],
    },
    "emergency": {"msgs": [{"id": "e", "prio": 2, "text": {"zh-Hans": "请立即离开本站", "en": "Leave this stop now"}}]},
    "text": {"mode": "text", "text": {"zh-Hans": "本站今日停用", "en": "Stop closed today", "bo": "དེ་རིང་མི་འབབ།"}},
}


def drawn() -> Iterator[str]:
    """Every page in a frame; ``~`` marks a row that is struck out, ``*`` one from a live position."""
    for state, changes in STATES.items():
        glance, _ = look(BOARD | changes, NOW)
        for cols, rows in SIZES:
            for lang in LANGS:
                for number, page in enumerate(pages(glance, Panel(cols, rows, (lang,), ZONE), NOW), 1):
                    yield f"== {state} {cols}x{rows} {lang} page {number}, {page.seconds:g} s"
                    for line, text in zip(page.lines, page.at(cols, 0)):
                        yield f"|{text}|{'~' if line.struck else ''}{'*' if line.live else ''}"


def test_golden_pages() -> None:
    golden = (GOLDEN / "panels.txt").read_text(encoding="utf-8")
    assert "\n".join(drawn()) + "\n" == golden


def test_languages_take_turns_and_equal_pages_come_once() -> None:
    glance, _ = look(BOARD | {"deps": [], "msgs": [], "lines": [], "mode": "off"}, NOW)
    assert len(pages(glance, Panel(16, 2, LANGS, ZONE), NOW)) == 1
    glance, _ = look(BOARD, NOW)
    one, both = (pages(glance, Panel(16, 2, langs, ZONE), NOW) for langs in (("en",), ("en", "zh-Hans")))
    assert both[: len(one)] == one and len(both) > len(one)


def test_pages_follow_each_other_and_begin_again() -> None:
    glance, _ = look(BOARD, NOW)
    shown = pages(glance, Panel(16, 2, ("zh-Hans",), ZONE), NOW)
    total = sum(page.seconds for page in shown)
    assert page_at(shown, 0.0) == (shown[0], 0.0)
    assert page_at(shown, PAGE_S + 1) == (shown[1], 1.0)
    assert page_at(shown, total + 2)[0] is shown[0]


def test_a_long_message_scrolls_in_its_row_until_it_is_back() -> None:
    message = {"id": "m", "prio": 1, "text": {"zh-Hans": "八路车绕行庆阳路，" * 4}}
    glance, _ = look(BOARD | {"msgs": [message]}, NOW)
    page = pages(glance, Panel(32, 4, ("zh-Hans",), ZONE), NOW)[0]
    start = page.at(32, 0)[-1]
    assert page.at(32, 0.41)[-1][:12] == start[1:13], "two columns, one character, in two steps"
    assert page.at(32, page.seconds)[-1] == start
    assert page.at(32, 3)[0] == page.at(32, 0)[0], "what fits stands still"


@settings(max_examples=60, deadline=None)
@given(
    cols=st.integers(8, 80),
    rows=st.integers(1, 12),
    langs=st.lists(st.sampled_from([*LANGS, "de"]), max_size=3),
    state=st.sampled_from(sorted(STATES)),
    name=st.text(max_size=40),
    elapsed=st.floats(0, 60),
)
@example(cols=8, rows=1, langs=["bo"], state="full", name="旅游1路\x1b[2J\u202e", elapsed=0.0)
def test_any_panel_is_filled_exactly_with_safe_text(
    cols: int, rows: int, langs: list[str], state: str, name: str, elapsed: float
) -> None:
    deps = [dep | {"line": name, "head": {"en": name, "zh-Hans": "站" + name}} for dep in BOARD["deps"]]
    glance, _ = look(BOARD | {"deps": deps} | STATES[state], NOW)
    for page in pages(glance, Panel(cols, rows, tuple(langs), ZONE), NOW):
        assert len(page.lines) == rows
        assert page.seconds > 0
        for text in page.at(cols, elapsed):
            assert columns(text) == cols
            assert not any(char < " " or char in "\u202e\u202d\x9b\x7f" for char in text)


@pytest.mark.parametrize(
    ("text", "width"), [("火车站", 6), ("Railway", 7), ("8路", 3), ("མེ་འཁོར་", 6), ("རྒྱ", 1), ("e\u0301", 1), ("", 0)]
)
def test_columns(text: str, width: int) -> None:
    assert columns(text) == width


def test_cutting_never_leaves_half_a_character() -> None:
    assert cut("火车站", 5) == "火车"
    assert pad("火车站", 5) == "火车 "
    assert pad("8", 3, right=True) == "  8"
    assert cut("བསྐོར", 2) == "བསྐོ"


@given(st.text(st.sampled_from("火车站ab é་།སྐོ，. "), max_size=30), st.integers(2, 12))
def test_wrapping_loses_nothing_but_blanks_and_fits(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(columns(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_wrapping_breaks_where_the_script_allows() -> None:
    assert wrap("Line 8 diverted via Qingyang Road", 16) == ["Line 8 diverted", "via Qingyang", "Road"]
    assert wrap("8路绕行庆阳路，请注意", 8) == ["8路绕行", "庆阳路，", "请注意"]
    assert wrap("འཁོར་ལམ་བསྐོར།", 8) == ["འཁོར་ལམ་", "བསྐོར།"]


@given(st.text(st.sampled_from("火车站ab་སྐོ "), max_size=20), st.integers(1, 12), st.integers(0, 100))
def test_a_window_is_always_exactly_as_wide_as_the_panel(text: str, width: int, step: int) -> None:
    shown = window(text.strip(), width, step)
    assert columns(shown) == width
    turns = rounds(text.strip(), width)
    assert window(text.strip(), width, step + turns) == shown


@pytest.mark.parametrize(
    ("text", "lang", "width", "short"),
    [
        ("Railway Station", "en", 15, "Railway Station"),
        ("Railway Station", "en", 11, "Railway Stn"),
        ("Railway Station", "en", 7, "Rly Stn"),
        ("Railway Station", "en", 3, "Rly"),
        ("Parkside Road", "en", 11, "Parkside Rd"),
        ("Lanzhou University", "en", 12, "Lanzhou Univ"),
        ("Xiguan", "en", 6, "Xiguan"),
        ("Xiguanshizi", "en", 8, "Xiguan.."),
        ("中川国际机场", "zh-Hans", 8, "中川机场"),
        ("西北师范大学", "zh", 8, "西北师大"),
        ("大学", "zh", 2, "大"),
        ("མེ་འཁོར་འབབ་ཚུགས།", "bo", 9, "མེ་འཁོར་ཚུགས"),
    ],
)
def test_abbreviations(text: str, lang: str, width: int, short: str) -> None:
    assert fit(text, lang, width) == short
    assert columns(short) <= width


def test_a_citys_own_short_names_come_first() -> None:
    assert fit("Lanzhou Central Coach Terminus", "en", 6, {"Lanzhou Central Coach Terminus": "Coach"}) == "Coach"


def test_no_abbreviation_is_longer_than_what_it_stands_for() -> None:
    for table in ABBREVIATIONS.values():
        for long, short in table:
            assert columns(short) < columns(long)


@given(st.text(max_size=30), st.sampled_from(LANGS))
def test_forms_become_shorter_and_never_nothing(text: str, lang: str) -> None:
    every = list(forms(text, lang))
    assert every[0] == text
    assert all(form for form in every[1:])
