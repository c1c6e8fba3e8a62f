"""A `Glance` as SSML 1.1, for the loudspeaker and push button of a sign and for blind riders' phones.

Short sentences in the order of usefulness: stop, emergencies, the next buses line by line, disruptions. Names in another
language than the voice's are marked, so that the synthesizer may change its voice. Times relative to now go stale, so
speech is made on demand and never travels with a board.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from busd.signs.glance import Glance, LineRow, Notice, Row, Text
from busd.signs.wording import Say, clock_text, language, say_spoken, spoken

MAX_LINES = 8
"""Lines that are read out; a listener cannot skip."""
MAX_LATER = 1
"""Later buses of a line beside the next one."""
VOICES = {"zh": "zh-CN", "en": "en", "bo": "bo-CN"}

_SPEAK = '<?xml version="1.0" encoding="UTF-8"?>\n<speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang={lang}>\n'
_END = {"zh": "。", "en": ".", "bo": "།"}
_COMMA = {"zh": "，", "en": ", ", "bo": " "}
_ROUTE = re.compile(r"[A-Za-z]{0,3}[0-9]{1,4}[A-Za-z]{0,2}")
"""line names that are read as a number or letter by letter; others are words"""
_HAN = re.compile(r"[\u4e00-\u9fff]")


def ssml(glance: Glance, lang: str, timezone: str) -> str:
    """The whole sign as one SSML document in the voice of ``lang`` (BCP 47; English where there are no words)."""
    voice = _Voice(language(lang), timezone)
    paragraphs = [list(voice.sentences(glance))]
    body = "\n".join(
        "<p>" + "".join(f"<s>{sentence}</s>" for sentence in sentences) + "</p>"
        for sentences in paragraphs
        if sentences
    )
    return _SPEAK.format(lang=quoteattr(VOICES[voice.lang])) + body + "\n</speak>\n"


class _Voice:
    """One language; every method gives escaped SSML."""

    def __init__(self, lang: str, timezone: str) -> None:
        self.lang, self.timezone = lang, timezone

    def sentences(self, glance: Glance) -> Iterator[str]:
        for sentence in self._sentences(glance):
            end = _END[self.lang]
            yield sentence if sentence.endswith(end) else sentence + end

    def _sentences(self, glance: Glance) -> Iterator[str]:
        if glance.name:
            yield self.name(glance.name)
        if glance.mode == "off":
            return
        if glance.mode in ("text", "out_of_order"):
            yield self.name(glance.text) if glance.text else self.say(Say("out_of_order"))
            return
        if glance.emergency is not None:
            yield from self.notices(notice for notice in glance.notices if notice.priority >= 2)
            return
        if glance.state.word:
            yield self.say(glance.state)
        told = [line for line in glance.lines if line.rows or line.says][:MAX_LINES]
        if glance.empty and not any(line.boardable for line in told):
            yield _COMMA[self.lang].join(self.say(say) for say in glance.empty)
        for line in told:
            if sentence := self.line(line):
                yield sentence
        yield from self.notices(iter(glance.notices))

    def notices(self, notices: Iterator[Notice]) -> Iterator[str]:
        for notice in notices:
            yield self.name(notice.text)

    def line(self, line: LineRow) -> str:
        """ "Line 8 to Railway Station, in 3 minutes, 2 stops away, then in 14 minutes"; empty: nothing to tell."""
        parts = []
        rows = line.boardable
        if rows:
            parts.append(self.say(rows[0].when))
            parts.extend(self.say(say) for say in self.beside(rows[0]))
            parts.extend(self.fill("then", times=self.say(row.when)) for row in rows[1 : 1 + MAX_LATER])
            parts.extend(self.say(say) for say in line.says)
        else:
            parts.extend(self.say(say) for say in line.says if say.word != "no_departures")
        parts.extend(self.say(row.when) for row in line.rows if row.struck)
        if not parts:
            return ""
        return _COMMA[self.lang].join(
            [self.fill("line", line=self.route(line.line), head=self.name(line.head)), *parts]
        )

    def beside(self, row: Row) -> Iterator[Say]:
        if row.away.word:
            yield row.away
        if row.last or row.first:
            yield Say("last" if row.last else "first")

    def say(self, say: Say) -> str:
        if say.word == "skipped" or say.at is None:
            return escape(say_spoken(say, self.lang))
        return self.fill(say.word, time=self.time(say.at))

    def fill(self, key: str, **pieces: str) -> str:
        """A phrase around pieces that are SSML already."""
        marks = {name: f"\ue000{name}\ue001" for name in pieces}
        text = escape(spoken(key, self.lang, **marks))
        for name, piece in pieces.items():
            text = text.replace(marks[name], piece)
        return text

    def time(self, at: float) -> str:
        return f'<say-as interpret-as="time" format="hms24">{clock_text(at, self.timezone)}</say-as>'

    def route(self, line: str) -> str:
        """``8路`` is a number with its counter; ``K1`` is read letter by letter."""
        if not _ROUTE.fullmatch(line):
            return self.name({"zh" if _HAN.search(line) else "und": line})
        kind = "cardinal" if line.isdigit() and len(line) < 3 else "characters"
        after = "路" if self.lang == "zh" else ""
        return f'<say-as interpret-as="{kind}">{escape(line)}</say-as>{after}'

    def name(self, text: Text) -> str:
        """A name in the voice's language, or in another one that is marked as such."""
        for tag, value in text.items():
            if tag.partition("-")[0].lower() == self.lang:
                return escape(value)
        for tag, value in text.items():
            if tag == "und":
                return escape(value)
            return f"<lang xml:lang={quoteattr(tag)}>{escape(value)}</lang>"
        return ""
