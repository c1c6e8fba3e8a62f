"""The words on the glass."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.signs.wording import (
    Say,
    away_text,
    choose_text,
    clock_text,
    countdown_minutes,
    departure_say,
    departure_text,
    empty_says,
    headway_say,
    is_wide,
    line_says,
    say_parts,
    say_text,
    shown_minutes,
    spoken,
    state_word,
    word,
)
from busd.signs.words import SHORT, SPOKEN, WORDS

NOW = 1_795_000_000.0
ZONE = "Asia/Shanghai"


def fields(text: Any) -> set[str | None]:
    texts = [text] if isinstance(text, str) else list(text.values())
    return {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_language_has_every_word_with_the_same_numbers() -> None:
    for lang, table in WORDS.items():
        assert table.keys() == WORDS["en"].keys(), lang
        assert {k: fields(v) for k, v in table.items()} == {k: fields(v) for k, v in WORDS["en"].items()}, lang
        assert SHORT[lang].keys() <= table.keys()
        for key, text in SHORT[lang].items():
            assert fields(text) <= fields(table[key]), (lang, key)
            assert "–" not in text, "LED panels have no en dash"


def test_a_voice_knows_every_word_that_a_sign_can_say() -> None:
    for lang in WORDS:
        for key, text in WORDS["en"].items():
            if fields(text) <= {"n", "a", "b", "time"}:
                assert spoken(key, lang, n=2, a=2, b=3, time="7:00"), (lang, key)
        assert "–" not in "".join(str(text) for text in SPOKEN[lang].values())


@pytest.mark.parametrize(("pred", "minutes"), [(NOW + 179.9, 2), (NOW + 60, 1), (NOW + 59, 0), (NOW - 300, 0)])
def test_minutes_are_floored_so_that_nobody_is_told_more_time_than_there_is(pred: float, minutes: int) -> None:
    assert countdown_minutes(pred, NOW) == minutes


@pytest.mark.parametrize(
    ("departure", "lang", "text"),
    [
        ({"st": "ok", "pred": NOW + 200, "sched": NOW}, "zh-Hans", "约3分钟"),
        ({"st": "ok", "pred": NOW + 20, "sched": NOW}, "zh-Hans", "即将到站"),
        ({"st": "ok", "pred": NOW + 20, "sched": NOW}, "en", "due"),
        ({"st": "arriving", "pred": NOW + 200}, "zh", "即将进站"),
        ({"st": "at_stop", "pred": NOW + 200}, "zh", "已到站"),
        ({"st": "ok", "pred": NOW + 200}, "en", "3 min"),
        ({"st": "ok", "pred": NOW + 200}, "fr", "3 min"),
        ({"st": "ok", "pred": NOW + 200}, "bo", "སྐར་མ་3"),
        ({"st": "ok", "pred": NOW + 3659}, "en", "60 min"),
        ({"st": "ok", "pred": NOW + 3660}, "en", "20:07"),
        ({"st": "ok", "pred": NOW + 250, "lo": NOW + 190, "hi": NOW + 360}, "en", "3–6 min"),
        ({"st": "ok", "pred": NOW + 250, "lo": NOW + 220, "hi": NOW + 300}, "en", "4 min"),
        ({"st": "ok", "pred": NOW + 90, "lo": NOW + 40, "hi": NOW + 290}, "zh", "5分钟内"),
        ({"st": "ok", "pred": NOW + 1200, "lo": NOW + 1100, "hi": NOW + 1400}, "zh", "约20分钟"),
        ({"st": "ok", "pred": NOW + 3500, "lo": NOW + 2900, "hi": NOW + 4500}, "en", "58 min"),
        ({"st": "cancelled", "pred": None, "sched": NOW}, "en", "cancelled"),
        ({"st": "skipped", "pred": None, "sched": NOW}, "zh", "不停靠本站"),
        ({"st": "ok", "pred": None, "sched": NOW}, "zh", "19:06"),
        ({"st": "ok", "pred": None, "sched": None}, "zh", ""),
    ],
)
def test_the_time_column(departure: dict[str, Any], lang: str, text: str) -> None:
    assert departure_text(departure, NOW, lang, ZONE) == text


@pytest.mark.parametrize(("previous", "minutes", "shown"), [(None, 4, 4), (3, 4, 3), (3, 5, 5), (3, 3, 3), (3, 2, 2)])
def test_a_number_never_counts_up_by_one(previous: int | None, minutes: int, shown: int) -> None:
    assert shown_minutes(previous, minutes) == shown
    at = {"st": "ok", "pred": NOW + 60 * minutes}
    assert departure_say(at, NOW, previous) == Say("minutes", shown)


@given(st.floats(0, 3600), st.floats(0, 600), st.floats(0, 1800), st.none() | st.integers(0, 60), st.booleans())
def test_a_shown_range_holds_its_interval_and_is_never_empty(
    ahead: float, before: float, after: float, previous: int | None, was_range: bool
) -> None:
    pred, lo, hi = NOW + ahead, NOW + ahead - before, NOW + ahead + after
    say = departure_say({"st": "ok", "pred": pred, "lo": lo, "hi": hi}, NOW, previous, was_range)
    if say.word == "range":
        assert 0 < say.a < say.b and hi <= NOW + 60 * say.b
        assert 60 * say.a <= max(pred - NOW, 0) or say.a == previous
    if say.word == "minutes" and previous is None:
        assert NOW + 60 * say.a <= pred


def test_a_range_stays_one_until_its_interval_is_clearly_narrower() -> None:
    assert not is_wide(NOW + 100, NOW + 230, NOW + 150, NOW)
    assert is_wide(NOW + 100, NOW + 230, NOW + 150, NOW, was_range=True)
    assert not is_wide(NOW + 100, NOW + 190, NOW + 150, NOW, was_range=True)


def test_plurals() -> None:
    assert [away_text(n, "en") for n in (0, 1, 2)] == ["next stop", "1 stop away", "2 stops away"]
    assert [away_text(n, "zh") for n in (0, 1)] == ["下一站到达", "还有1站"]
    assert away_text(None, "en") == away_text(-1, "en") == ""
    assert spoken("minutes", "en", n=1) == "in 1 minute"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"status": "suspended", "first": NOW - 9, "last": NOW + 9}, ["停运"]),
        ({"status": "diverted", "first": NOW - 9, "last": NOW + 9}, ["绕行"]),
        ({"status": "ended"}, ["末班已过"]),
        ({"first": NOW - 9000, "last": NOW - 61}, ["末班已过"]),
        ({"first": NOW - 9000, "last": NOW - 59}, []),
        (
            {"first": NOW - 9000, "last": NOW - 300, "next": NOW + 41040, "passed": NOW - 250},
            ["末班已过", "末班车4分钟前驶离", "次日首班06:30"],
        ),
        ({"status": "ended", "passed": NOW - 20}, ["末班已过", "末班车刚刚驶离"]),
        ({"status": "ended", "passed": NOW - 7200}, ["末班已过"]),
        ({"first": NOW + 3600, "last": NOW + 9000}, ["首班20:06"]),
        ({"status": "not_started"}, ["尚未发车"]),
        ({"headway": [480, 480]}, ["约每8分钟一班"]),
        ({"headway": [370, 530], "status": "diverted"}, ["每6–9分钟一班", "绕行"]),
    ],
)
def test_a_line_without_a_bus_says_why(line: dict[str, Any], words: list[str]) -> None:
    assert [say_text(say, "zh-Hans", ZONE) for say in line_says(line, NOW)] == words


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], "no service today"),
        ([{"status": "ended", "next": NOW + 41040}, {"status": "ended"}], "service ended next day 06:30"),
        ([{"first": NOW + 3600}, {"first": NOW + 1800}], "first 19:36"),
        ([{"status": "suspended"}], "suspended"),
        ([{"status": "suspended"}, {"first": NOW - 9, "last": NOW + 9000}], "no departures soon"),
        ([{"headway": [480, 480]}], "about every 8 min"),
        ([{"first": NOW - 9, "last": NOW + 9000}], "no departures soon"),
    ],
)
def test_an_empty_board_says_why(lines: list[dict[str, Any]], text: str) -> None:
    assert " ".join(say_text(say, "en", ZONE) for say in empty_says({"lines": lines}, NOW)) == text


@pytest.mark.parametrize("headway", [None, [], [480], ["a", "b"], [0, 0], "88"])
def test_odd_headways_say_nothing(headway: Any) -> None:
    assert headway_say({"headway": headway}).word == ""


def test_small_words() -> None:
    assert state_word("live", "en") == ""
    assert state_word("degraded", "zh") == "数据延迟"
    assert state_word("schedule", "en") == "timetable"
    assert clock_text(NOW, ZONE) == "19:06"
    assert choose_text({"zh": "站", "en": "Stop"}, ["bo", "en"]) == "Stop"
    assert choose_text({"zh": "站"}, ["bo"], "en") == "站"
    assert choose_text({}, ["bo"]) == ""
    assert list(say_parts(Say("minutes", 3), "zh", ZONE)) == [("约", False), ("3", True), ("分钟", False)]
    with pytest.raises(KeyError):
        word("nothing", "en")
