"""What a sign and a rider read: the one place for the words beside a departure, per language.

Meaning comes in (a departure's fields of busd.sign.v1), text goes out; nothing here knows colours or columns. The words
for Chinese follow what Chinese stop signs say (即将进站, 已到站, 还有 N 站, 约 N 分钟); Tibetan is written without
Western spaces. Unknown languages read English.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

WORDS: dict[str, dict[str, str]] = {
    "zh": {
        "minutes": "约{n}分钟",
        "now": "即将进站",
        "arriving": "即将进站",
        "at_stop": "已到站",
        "away": "还有{n}站",
        "next_stop": "下一站到达",
        "cancelled": "停运",
        "skipped": "不停靠本站",
        "timetable": "时刻表",
        "late_data": "数据延迟",
        "no_information": "暂无信息",
        "no_departures": "暂无班次",
        "first": "首班",
        "last": "末班",
        "ended": "末班已过",
        "not_started": "尚未发车",
        "suspended": "停运",
        "diverted": "绕行",
        "headway": "每{a}-{b}分钟一班",
        "passed": "{n}分钟前已过站",
    },
    "en": {
        "minutes": "{n} min",
        "now": "due",
        "arriving": "arriving",
        "at_stop": "at stop",
        "away": "{n} stops away",
        "next_stop": "next stop",
        "cancelled": "cancelled",
        "skipped": "does not stop here",
        "timetable": "timetable",
        "late_data": "data delayed",
        "no_information": "no information",
        "no_departures": "no departures",
        "first": "first",
        "last": "last",
        "ended": "service ended",
        "not_started": "not started",
        "suspended": "suspended",
        "diverted": "diverted",
        "headway": "every {a}-{b} min",
        "passed": "passed {n} min ago",
    },
    "bo": {
        "minutes": "སྐར་མ་{n}",
        "now": "འབྱོར་ལ་ཉེ།",
        "arriving": "འབྱོར་ལ་ཉེ།",
        "at_stop": "འབྱོར་ཟིན།",
        "away": "འབབ་ཚུགས་{n}ལྷག",
        "next_stop": "འབབ་ཚུགས་རྗེས་མ།",
        "cancelled": "མཚམས་བཞག",
        "skipped": "འདིར་མི་འབབ།",
        "timetable": "དུས་ཚོད་རེའུ་མིག",
        "late_data": "གནས་ཚུལ་འགོར་འགྱངས།",
        "no_information": "གནས་ཚུལ་མེད།",
        "no_departures": "རླངས་འཁོར་མེད།",
        "first": "ཐོག་མ།",
        "last": "མཐའ་མ།",
        "ended": "མཐའ་མ་ཕྱིན་ཟིན།",
        "not_started": "འགོ་མ་བཙུགས།",
        "suspended": "མཚམས་བཞག",
        "diverted": "ལམ་བསྐོར།",
        "headway": "སྐར་མ་{a}-{b}རེར།",
        "passed": "སྐར་མ་{n}སྔོན་ཕྱིན།",
    },
}


def word(key: str, lang: str, **numbers: int) -> str:
    """The text for ``key`` in ``lang`` (BCP 47; only its first subtag counts). KeyError for an unknown key."""
    table = WORDS.get(lang.partition("-")[0].lower(), WORDS["en"])
    return table[key].format(**numbers)


def choose_text(text: Mapping[str, str], langs: Sequence[str], default: str = "") -> str:
    """The first of the reader's languages that a Text has, else ``default``'s, else any (sign-protocol §2)."""
    for lang in (*langs, default):
        if lang in text:
            return text[lang]
    return next(iter(text.values()), "")


def countdown_minutes(pred: float, server_now: float) -> int:
    """Whole minutes until the rider point, floored and never negative: nobody is told more time than there is."""
    return max(0, int((pred - server_now) // 60))


def state_word(board_state: str, lang: str) -> str:
    """The remark for a board as a whole; empty while it is live."""
    return {"degraded": word("late_data", lang), "schedule": word("timetable", lang)}.get(board_state, "")


def clock_text(at: float, timezone: str) -> str:
    """``HH:MM`` local time of an instant, for a departure that only the timetable knows."""
    return datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(timezone)).strftime("%H:%M")


def departure_text(departure: Mapping[str, object], server_now: float, lang: str, timezone: str) -> str:
    """What stands in the time column for one departure of a board.

    Order of the rules: what the bus does (cancelled, skipped, at the stop, arriving), then the prediction in minutes,
    then the timetable as a time of day.
    """
    status = departure.get("st")
    if status in ("cancelled", "skipped", "at_stop", "arriving"):
        return word(str(status), lang)
    pred, sched = departure.get("pred"), departure.get("sched")
    if isinstance(pred, int | float):
        minutes = countdown_minutes(pred, server_now)
        return word("minutes", lang, n=minutes) if minutes else word("now", lang)
    if isinstance(sched, int | float):
        return clock_text(sched, timezone)
    return ""


def away_text(stops_away: int | None, lang: str) -> str:
    """How many stops are left, as Chinese signs say beside the minutes; empty when nothing is known."""
    if stops_away is None:
        return ""
    return word("away", lang, n=stops_away) if stops_away > 0 else word("next_stop", lang)
