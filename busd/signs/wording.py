"""What a sign and a rider read beside a departure: pure functions over the fields of busd.sign.v1.

Meaning comes in, text goes out; nothing here knows colours or columns. The words are in words.py. Instants are epoch
seconds by the server's clock. What was shown before comes in as an argument where a rule needs it, so that every sign,
panel and picture follows the same rules without sharing state (glance.py remembers).
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from busd.signs.words import SHORT, SPOKEN, WORDS, Words

MAX_MINUTES = 60
"""Beyond this a countdown says nothing to a rider: the time of day is shown."""
WIDE_S = 150.0
WIDE_SHARE = 0.4
"""An interval is wide, and shown as one, from this length on: seconds, and share of the time that is left."""
KEEP_RANGE = 0.7
"""What is shown as a range stays one until its interval is this part of a wide one: no flicker between two forms."""
ENDED_AFTER_S = 60.0
"""A line's last bus counts as gone so long after its timetable."""
DROPPED = ("cancelled", "skipped")
"""``st`` of departures that nobody can board."""


def language(tag: str) -> str:
    """The language of `WORDS` for a BCP 47 tag: its first subtag, English for one that has no table."""
    primary = tag.partition("-")[0].lower()
    return primary if primary in WORDS else "en"


def plural(lang: str, n: object) -> str:
    """The CLDR category of ``n``: of the languages here only English has more than ``other``."""
    return "one" if lang == "en" and n == 1 else "other"


def template(key: str, lang: str, n: object = None, short: bool = False) -> str:
    """The text of a word with its fields still open. KeyError for an unknown key."""
    lang = language(lang)
    text = SHORT[lang].get(key) if short else None
    return text if text is not None else _form(WORDS[lang], key, lang, n)


def _form(words: Words, key: str, lang: str, n: object) -> str:
    text = words[key]
    return text if isinstance(text, str) else text[plural(lang, n)]


def word(key: str, lang: str, /, short: bool = False, **fields: int | str) -> str:
    """The text for ``key`` in ``lang`` (BCP 47; only its first subtag counts). KeyError for an unknown key."""
    return template(key, lang, fields.get("n"), short).format(**fields)


def spoken(key: str, lang: str, /, **fields: int | str) -> str:
    """As `word`, for a voice."""
    lang = language(lang)
    words = SPOKEN[lang] if key in SPOKEN[lang] else WORDS[lang]
    return _form(words, key, lang, fields.get("n")).format(**fields)


def choose_text(text: Mapping[str, str], langs: Sequence[str], default: str = "") -> str:
    """The first of the reader's languages that a Text has, else ``default``'s, else any (sign-protocol §2)."""
    for lang in (*langs, default):
        if lang in text:
            return text[lang]
    return next(iter(text.values()), "")


# ---- minutes ---------------------------------------------------------------------------------------------------------


def countdown_minutes(pred: float, server_now: float) -> int:
    """Whole minutes until the rider point, floored and never negative: nobody is told more time than there is."""
    return max(0, int((pred - server_now) // 60))


def shown_minutes(previous: int | None, minutes: int) -> int:
    """What to show when the countdown says ``minutes`` and ``previous`` is on the glass for the same bus.

    Never one more than before: that is noise, and a number that counts up costs trust. Two or more is news.
    """
    return previous if previous is not None and minutes == previous + 1 else minutes


def is_wide(lo: float, hi: float, pred: float, now: float, was_range: bool = False) -> bool:
    """Whether an interval is too wide for a single number."""
    limit = max(WIDE_S, WIDE_SHARE * (pred - now))
    return hi - lo >= (KEEP_RANGE if was_range else 1.0) * limit


@lru_cache(maxsize=8)
def _zone(timezone: str) -> ZoneInfo:
    return ZoneInfo(timezone)


def clock_text(at: float, timezone: str) -> str:
    """``HH:MM`` local time of an instant, for a departure that only the timetable knows."""
    return datetime.fromtimestamp(at, UTC).astimezone(_zone(timezone)).strftime("%H:%M")


# ---- a statement: a word and its numbers, in no language yet ---------------------------------------------------------


class Say(NamedTuple):
    """A word of `WORDS` with what it needs: ``a`` (the ``n`` of words with one number), ``b``, an instant."""

    word: str
    a: int = 0
    b: int = 0
    at: float | None = None


def say_text(say: Say, lang: str, timezone: str, short: bool = False) -> str:
    """The statement in one language; the empty one is empty."""
    if not say.word:
        return ""
    return word(say.word, lang, short, **_fields(say, timezone))


def say_spoken(say: Say, lang: str, clock: str = "") -> str:
    """The statement for a voice; ``clock`` is how the voice says its time of day."""
    return spoken(say.word, lang, n=say.a, a=say.a, b=say.b, time=clock) if say.word else ""


def say_parts(say: Say, lang: str, timezone: str) -> Iterator[tuple[str, bool]]:
    """(text, is a number) pieces of the statement, so that a picture can set the number large and the unit small."""
    fields = _fields(say, timezone)
    for before, name, _, _ in string.Formatter().parse(template(say.word, lang, say.a)):
        if before:
            yield before, before == "–"
        if name:
            yield str(fields[name]), True


def _fields(say: Say, timezone: str) -> dict[str, int | str]:
    time = "" if say.at is None else clock_text(say.at, timezone)
    return {"n": say.a, "a": say.a, "b": say.b, "time": time}


NOTHING = Say("")


# ---- departures ------------------------------------------------------------------------------------------------------


def departure_say(departure: Mapping[str, Any], now: float, minutes: int | None = None, was_range: bool = False) -> Say:
    """What stands in the time column for one departure of a board.

    Order of the rules: what the bus does (cancelled, skipped, at the stop, arriving), then the prediction (a range
    where it is uncertain, the time of day where it is far), then the timetable as a time of day. ``minutes`` and
    ``was_range``: what the glass shows for it now.
    """
    status, pred, sched = departure.get("st"), departure.get("pred"), departure.get("sched")
    if status in DROPPED:
        return Say(str(status), at=_number(sched))
    if status in ("at_stop", "arriving"):
        return Say(str(status))
    if not isinstance(pred, int | float):
        return Say("clock", at=float(sched)) if isinstance(sched, int | float) else NOTHING
    shown = shown_minutes(minutes, countdown_minutes(pred, now))
    if shown > MAX_MINUTES:
        return Say("clock", at=float(pred))
    lo, hi = departure.get("lo"), departure.get("hi")
    if isinstance(lo, int | float) and isinstance(hi, int | float) and is_wide(lo, hi, pred, now, was_range):
        first = shown_minutes(minutes, countdown_minutes(min(lo, pred), now))
        until = max(math.ceil((hi - now) / 60), first + 1)
        if until <= MAX_MINUTES:
            return Say("range", first, until) if first else Say("within", until)
    return Say("minutes", shown) if shown else Say("due")


def departure_text(departure: Mapping[str, Any], server_now: float, lang: str, timezone: str) -> str:
    """`departure_say` in one language, for a reader who saw nothing before."""
    return say_text(departure_say(departure, server_now), lang, timezone)


def away_say(stops_away: object) -> Say:
    """How many stops are left, as Chinese signs say beside the minutes; nothing where nothing is known."""
    if not isinstance(stops_away, int) or stops_away < 0:
        return NOTHING
    return Say("away", stops_away) if stops_away > 0 else Say("next_stop")


def away_text(stops_away: int | None, lang: str) -> str:
    """`away_say` in one language."""
    return say_text(away_say(stops_away), lang, "UTC")


# ---- lines and boards ------------------------------------------------------------------------------------------------


def line_says(line: Mapping[str, Any], now: float) -> tuple[Say, ...]:
    """What to say of a line that has no departure on the board; the most important statement first, may be none.

    ``status`` decides where the board gives one; else first and last departure do. A line that runs but has nothing to
    tell gives ().
    """
    status = line.get("status")
    first, last, following = (_number(line.get(key)) for key in ("first", "last", "next"))
    if status == "suspended":
        return (Say("suspended"),)
    if status == "ended" or (status != "not_started" and last is not None and now > last + ENDED_AFTER_S):
        says = [Say("ended")]
        passed = _number(line.get("passed"))
        if passed is not None and 0 <= now - passed < 60 * (MAX_MINUTES + 1):
            minutes = int((now - passed) // 60)
            says.append(Say("passed", minutes) if minutes else Say("passed_now"))
        if following is not None:
            says.append(Say("next_day", at=following))
        return tuple(says)
    if status == "not_started" or (first is not None and now < first):
        return (Say("first_at", at=first),) if first is not None else (Say("not_started"),)
    headway = headway_say(line)
    diverted = (Say("diverted"),) if status == "diverted" else ()
    return (headway, *diverted) if headway.word else diverted


def headway_say(line: Mapping[str, Any]) -> Say:
    """ "About every 8 min" of a headway line, nothing for others. Whole minutes, the interval never made smaller."""
    headway = line.get("headway")
    if not isinstance(headway, Sequence) or len(headway) != 2:
        return NOTHING
    low, high = _number(headway[0]), _number(headway[1])
    if low is None or high is None or high <= 0:
        return NOTHING
    if high - low < 60:
        return Say("headway", max(1, round((low + high) / 120)))
    return Say("headway_range", max(1, math.floor(low / 60)), math.ceil(high / 60))


def empty_says(board: Mapping[str, Any], now: float) -> tuple[Say, ...]:
    """Why a board has no departures: a rider must know whether to wait, to come back or to walk."""
    lines: Sequence[Mapping[str, Any]] = board.get("lines") or ()
    if not lines:
        return (Say("no_service"),)
    says = [line_says(line, now) for line in lines]
    words = {line[0].word if line else "" for line in says}
    if words == {"suspended"}:
        return (Say("suspended"),)
    if words == {"ended"}:
        following = [n for line in lines if (n := _number(line.get("next"))) is not None]
        return (Say("ended"), Say("next_day", at=min(following))) if following else (Say("ended"),)
    if words <= {"first_at", "not_started"}:
        starts = [say.at for line in says for say in line if say.at is not None]
        return (Say("first_at", at=min(starts)),) if starts else (Say("not_started"),)
    if words == {"headway"} or words == {"headway_range"}:
        return says[0][:1]
    return (Say("no_departures"),)


def state_word(board_state: str, lang: str) -> str:
    """The remark for a board as a whole; empty while it is live."""
    return say_text(state_say(board_state), lang, "UTC")


def state_say(board_state: object) -> Say:
    return {"degraded": Say("late_data"), "schedule": Say("timetable")}.get(str(board_state), NOTHING)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
