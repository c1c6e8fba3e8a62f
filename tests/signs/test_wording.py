"""The words on the glass."""

from __future__ import annotations

import string
from typing import Any

import pytest

from busd.signs.wording import (
    WORDS,
    away_text,
    choose_text,
    clock_text,
    countdown_minutes,
    departure_text,
    state_word,
    word,
)

NOW = 1_795_000_000.0
ZONE = "Asia/Shanghai"


def fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_language_has_every_word_with_the_same_numbers() -> None:
    for lang, table in WORDS.items():
        assert table.keys() == WORDS["en"].keys(), lang
        assert {k: fields(v) for k, v in table.items()} == {k: fields(v) for k, v in WORDS["en"].items()}, lang


@pytest.mark.parametrize(("pred", "minutes"), [(NOW + 179.9, 2), (NOW + 60, 1), (NOW + 59, 0), (NOW - 300, 0)])
def test_minutes_are_floored_so_that_nobody_is_told_more_time_than_there_is(pred: float, minutes: int) -> None:
    assert countdown_minutes(pred, NOW) == minutes


@pytest.mark.parametrize(
    ("departure", "lang", "text"),
    [
        ({"st": "ok", "pred": NOW + 200, "sched": NOW}, "zh-Hans", "约3分钟"),
        ({"st": "ok", "pred": NOW + 20, "sched": NOW}, "zh-Hans", "即将进站"),
        ({"st": "arriving", "pred": NOW + 200}, "zh", "即将进站"),
        ({"st": "at_stop", "pred": NOW + 200}, "zh", "已到站"),
        ({"st": "ok", "pred": NOW + 200}, "en", "3 min"),
        ({"st": "ok", "pred": NOW + 200}, "fr", "3 min"),
        ({"st": "ok", "pred": NOW + 200}, "bo", "སྐར་མ་3"),
        ({"st": "cancelled", "pred": None, "sched": NOW}, "en", "cancelled"),
        ({"st": "skipped", "pred": None, "sched": NOW}, "zh", "不停靠本站"),
        ({"st": "ok", "pred": None, "sched": NOW}, "zh", "19:06"),
        ({"st": "ok", "pred": None, "sched": None}, "zh", ""),
    ],
)
def test_the_time_column(departure: dict[str, Any], lang: str, text: str) -> None:
    assert departure_text(departure, NOW, lang, ZONE) == text


def test_small_words() -> None:
    assert away_text(3, "zh") == "还有3站"
    assert away_text(0, "en") == "next stop"
    assert away_text(None, "en") == ""
    assert state_word("live", "en") == ""
    assert state_word("degraded", "zh") == "数据延迟"
    assert state_word("schedule", "en") == "timetable"
    assert clock_text(NOW, ZONE) == "19:06"
    assert choose_text({"zh": "站", "en": "Stop"}, ["bo", "en"]) == "Stop"
    assert choose_text({"zh": "站"}, ["bo"], "en") == "站"
    assert choose_text({}, ["bo"]) == ""
    with pytest.raises(KeyError):
        word("nothing", "en")
