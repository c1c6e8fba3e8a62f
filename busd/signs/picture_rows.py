"""One row of a picture: line number, destination, the buses on their way, and when the next one comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from busd.signs.abbreviations import forms
from busd.signs.canvas import WHITE, Canvas, Rgb, contrast, fitted, readable_on, text_width
from busd.signs.glance import NEAR, LineRow, Row, Text
from busd.signs.wording import NOTHING, Say, choose_text, clock_text, say_parts, say_text, word

INK: Rgb = (17, 22, 29)
NAVY: Rgb = (12, 35, 64)
GREY: Rgb = (88, 97, 110)
PALE: Rgb = (222, 227, 233)
GREEN: Rgb = (0, 104, 55)
RED: Rgb = (183, 18, 32)
AMBER: Rgb = (255, 196, 37)

TRACK_STOPS = 6
"""Stops before this one that a diagram shows."""
BIG = ("minutes", "range", "within")


def secondary(text: Text, lang: str, others: Sequence[str]) -> list[str]:
    """The text in the reader's other languages, without repeating what is shown large."""
    shown = choose_text(text, (lang,))
    return [value for value in dict.fromkeys(text[other] for other in others if other in text) if value != shown]


def texts_line(texts: Sequence[str], size: float, least: float, width: float) -> tuple[str, float]:
    """As many of ``texts`` on one line as fit, the first always, and their size."""
    for count in range(len(texts), 0, -1):
        line = "   ".join(texts[:count])
        fits, at = fitted(line, size, least, width)
        if fits == line:
            return line, at
    return shortened(texts[0], "en", size, least, width) if texts else ("", size)


def shortened(name: str, lang: str, size: float, least: float, width: float) -> tuple[str, float]:
    """A name as large as may be; shortened by the table (abbreviations.py) before it is cut."""
    for form in forms(name, lang):
        if text_width(form, least) <= width:
            return fitted(form, size, least, width)
    return fitted(name, size, least, width)


def script_scale(lang: str) -> float:
    """Tibetan takes one and a half lines: smaller letters, so that the next line has room."""
    return 0.86 if lang.partition("-")[0] == "bo" else 1.0


class RowPainter:
    """Paints rows of one picture; lengths are in its scale."""

    def __init__(
        self, canvas: Canvas, langs: Sequence[str], timezone: str, scale: float, tall: bool, small: bool
    ) -> None:
        self.canvas, self.langs, self.timezone = canvas, langs, timezone
        self.lang, self.others = langs[0], langs[1:]
        self.scale, self.tall, self.small = scale, tall, small
        self.tall_script = script_scale(self.lang)

    def paint(
        self, line: LineRow, row: Row | None, later: Sequence[Row], x: float, y: float, width: float, height: float
    ) -> None:
        """``row``: its next bus, None where none comes; ``later``: what follows it."""
        if self.small:
            self._small(line, row, x, y, width, height)
        elif self.tall:
            self._tall(line, row, later, x, y, width, height)
        else:
            self._wide(line, row, later, x, y, width, height)

    def _wide(
        self, line: LineRow, row: Row | None, later: Sequence[Row], x: float, y: float, width: float, height: float
    ) -> None:
        unit = min(self.scale, height / 78)  # a share of the row, so that it holds for rows of any height
        s = max(unit, self.scale)
        badge, gap = 118 * self.scale, 16 * self.scale
        time, track = 0.25 * width, 0.245 * width
        right = x + width
        self._badge(line, row, x, y + height * 0.13, badge, height * 0.74)
        left = x + badge + gap
        head = right - time - track - 2 * gap - left
        self._head(line, row, left, y, head, height, 37 * s)
        middle = right - time - track - gap
        self._way(line, row, later, middle, y, track, height, s)
        self._when(line, row, right, y, time, height, s)

    def _tall(
        self, line: LineRow, row: Row | None, later: Sequence[Row], x: float, y: float, width: float, height: float
    ) -> None:
        s = self.scale
        upper = height * 0.64
        badge, gap, time = 96 * s, 12 * s, 0.36 * width
        self._badge(line, row, x, y + upper * 0.12, badge, upper * 0.80)
        left = x + badge + gap
        self._head(line, row, left, y, x + width - time - gap - left, upper * 1.04, 32 * s)
        self._when(line, row, x + width, y, time, upper * 1.08, s * 0.92)
        self._strip(line, row, later, x, y + upper, width, height - upper, s)

    def _small(self, line: LineRow, row: Row | None, x: float, y: float, width: float, height: float) -> None:
        size, baseline = height * 0.72, y + height * 0.78
        say = row.when if row is not None else line.says[0] if line.says else NOTHING
        text = say_text(say, self.lang, self.timezone, short=True)
        when, when_size = fitted(text, size, 8, width * 0.45)
        self.canvas.text(x + width, baseline, when, when_size, INK, WHITE, align="right")
        name, name_size = fitted(line.line, size, 8, width * 0.4)
        used = self.canvas.text(x, baseline, name, name_size, INK, WHITE) + height * 0.3
        room = width - used - text_width(when, when_size) - height * 0.3
        if room > 2 * height:
            head, head_size = fitted(choose_text(line.head, (self.lang,)), size * 0.85, 8, room)
            self.canvas.text(x + used, baseline, head, head_size, INK, WHITE, "Regular")

    # ---- parts -------------------------------------------------------------------------------------------------------

    def _badge(self, line: LineRow, row: Row | None, x: float, y: float, width: float, height: float) -> None:
        """The line's number, as large as the row; outlined where its colour would vanish on white."""
        paper = _rgb(line.color) if self.canvas.bits == 8 else INK
        if row is None and self.canvas.bits == 1:
            paper = WHITE
        ink, radius = readable_on(paper), 10 * self.scale
        self.canvas.box(x, y, width, height, paper, radius)
        if contrast(paper, WHITE) < 1.6:
            ink = INK
            self.canvas.frame(x, y, width, height, INK, max(1, round(2.5 * self.scale)), radius)
        text, size = fitted(line.line, height * 0.82, 17 * self.scale, width - 12 * self.scale)
        self.canvas.text(x + width / 2, y + height / 2 + size * 0.36, text, size, ink, paper, align="center")

    def _head(
        self, line: LineRow, row: Row | None, x: float, y: float, width: float, height: float, size: float
    ) -> None:
        """The destination, its other languages below."""
        comes = not row.struck if row is not None else any(say.word.startswith("headway") for say in line.says)
        ink = INK if comes else GREY
        more = secondary(line.head, self.lang, self.others)
        name = choose_text(line.head, (self.lang,))
        text, fit = shortened(name, self.lang, size * self.tall_script, 22 * self.scale, width)
        baseline = y + height * (0.52 if more else 0.64) - self._lift(fit)
        wide = self.canvas.text(x, baseline, text, fit, ink, WHITE)
        if row is not None and row.struck:
            self.canvas.box(x, baseline - fit * 0.36, wide, max(2, round(4 * self.scale)), ink)
        if more:
            text, fit = texts_line(more, 19 * self.scale, 14 * self.scale, width)
            self.canvas.text(x, y + height * 0.84, text, fit, GREY if self.canvas.bits == 8 else INK, WHITE, "Regular")

    def _lift(self, size: float) -> float:
        """Tibetan reaches far below the baseline: its line stands higher, so that the next one has room."""
        return 0.20 * size if self.lang.startswith("bo") else 0.0

    def _when(
        self, line: LineRow, row: Row | None, right: float, y: float, width: float, height: float, s: float
    ) -> None:
        """The time column: a large number with its unit in two languages, or a word."""
        if row is None:
            self._words(line.says or (Say("no_departures"),), right, y, width, height, s, GREY)
            return
        if row.when.word in BIG:
            self._minutes(row.when, right, y, width, height, s)
        elif row.when.word == "clock":
            assert row.when.at is not None
            second = " ".join(word("timetable", lang) for lang in self.langs[:2]) if not row.live else ""
            ink = INK if row.live else GREY
            text, size = fitted(clock_text(row.when.at, self.timezone), 46 * s, 24 * s, width)
            self.canvas.text(right, y + height * (0.58 if second else 0.66), text, size, ink, WHITE, align="right")
            self._under(second, right, y, width, height)
        else:
            ink = RED if row.when.word in (*NEAR, "cancelled") and self.canvas.bits == 8 else INK
            self._words((row.when,), right, y, width, height, s, ink)

    def _minutes(self, say: Say, right: float, y: float, width: float, height: float, s: float) -> None:
        ink = GREEN if self.canvas.bits == 8 else INK
        units = list(dict.fromkeys(word("minute_unit", lang) for lang in self.langs[:2]))
        sizes = [21 * s, 19 * s][: len(units)]
        unit_width = max(text_width(unit, size) for unit, size in zip(units, sizes))
        if say.word == "within":
            number = f"<{say.b or say.a}"
        else:
            number = "".join(text for text, is_number in say_parts(say, "en", self.timezone) if is_number)
        text, size = fitted(number, 60 * s, 26 * s, width - unit_width - 8 * s)
        baseline = y + height * 0.70
        self.canvas.text(right - unit_width - 8 * s, baseline, text, size, ink, WHITE, align="right")
        for k, (unit, unit_size) in enumerate(zip(reversed(units), reversed(sizes))):
            self.canvas.text(right - unit_width, baseline - k * 25 * s, unit, unit_size, ink, WHITE, "Regular")

    def _words(
        self, says: Sequence[Say], right: float, y: float, width: float, height: float, s: float, ink: Rgb
    ) -> None:
        """A word in the first language, below it the next language, or more of the first where there is more to say."""
        if self.canvas.bits == 1:
            ink = INK
        text, size = fitted(say_text(says[0], self.lang, self.timezone), 36 * s * self.tall_script, 16 * s, width)
        if text.endswith("…"):
            text, size = fitted(say_text(says[0], self.lang, self.timezone, short=True), 36 * s, 16 * s, width)
        self.canvas.text(right, y + height * 0.52 - self._lift(size), text, size, ink, WHITE, align="right")
        if len(says) > 1:
            self._under(say_text(says[-1], self.lang, self.timezone), right, y, width, height)
        elif self.others:
            self._under(say_text(says[0], self.others[0], self.timezone), right, y, width, height)

    def _under(self, text: str, right: float, y: float, width: float, height: float) -> None:
        if text:
            fit, size = fitted(text, 19 * self.scale, 14 * self.scale, width)
            ink = GREY if self.canvas.bits == 8 else INK
            self.canvas.text(right, y + height * 0.84, fit, size, ink, WHITE, "Regular", "right")

    # ---- the buses on their way --------------------------------------------------------------------------------------

    def _way(
        self,
        line: LineRow,
        row: Row | None,
        later: Sequence[Row],
        x: float,
        y: float,
        width: float,
        height: float,
        s: float,
    ) -> None:
        """Diagram above, words below."""
        caption = self._caption(line, row, later)
        buses = _buses(line, row)
        if buses:
            self._track(buses, x, y + height * 0.40, width, s)
        if caption:
            text, size = texts_line(caption, 19 * self.scale, 14 * self.scale, width)
            ink = GREY if self.canvas.bits == 8 else INK
            self.canvas.text(x, y + height * (0.84 if buses else 0.60), text, size, ink, WHITE, "Regular")

    def _strip(
        self,
        line: LineRow,
        row: Row | None,
        later: Sequence[Row],
        x: float,
        y: float,
        width: float,
        height: float,
        s: float,
    ) -> None:
        """As `_way`, beside each other along the foot of a tall row."""
        caption = self._caption(line, row, later)
        buses = _buses(line, row)
        ink = GREY if self.canvas.bits == 8 else INK
        if buses:
            self._track(buses, x + 4 * s, y + height * 0.45, width * 0.50, s)
        if caption:
            text, size = texts_line(caption, 19 * s, 14 * s, width * (0.46 if buses else 1.0))
            self.canvas.text(x + width, y + height * 0.62, text, size, ink, WHITE, "Regular", "right")

    def _caption(self, line: LineRow, row: Row | None, later: Sequence[Row]) -> list[str]:
        """What is known beside the time: which bus it is, how far it is, what follows."""
        if row is None:
            return [say_text(say, self.lang, self.timezone) for say in line.says[1:-1]]
        out = []
        if row.struck:
            if row.when.at is not None:
                out.append(clock_text(row.when.at, self.timezone))
            return out
        out += [word(mark, self.lang) for mark, there in (("last", row.last), ("first", row.first)) if there]
        out += [say_text(row.away, self.lang, self.timezone)] if row.away.word else []
        out += [say_text(say, self.lang, self.timezone) for say in line.says]
        cancelled = [other for other in line.rows if other.struck and other.when.at and row is line.boardable[0]]
        for other in sorted([*cancelled, *later[:1]], key=lambda other: other.at)[:2]:
            out.append(self._then(other))
        if row.frozen:
            out.insert(0, word("frozen", self.lang))
        return out

    def _then(self, row: Row) -> str:
        if row.struck and row.when.at is not None:
            return f"{clock_text(row.when.at, self.timezone)} {say_text(row.when, self.lang, self.timezone)}"
        short = row.when.word in BIG and self.lang.startswith("zh")
        return word("then", self.lang, times=say_text(row.when, self.lang, self.timezone, short))

    def _track(self, buses: Iterable[float], x: float, y: float, width: float, s: float) -> None:
        """Stops from left to right, the ring is this one; a dot is a bus, halfway between the stops it is between."""
        canvas = self.canvas
        line = GREY if canvas.bits == 8 else INK
        ring, tick, bus = 9 * s, 3.8 * s, 9 * s
        end = x + width - ring - 1
        near = 6 * s  # the last gap is wider, so that a bus at the stop's door does not cover the stop
        step = (end - near - x) / (TRACK_STOPS + 0.5)
        canvas.box(x, y - max(1.0, 2 * s), end - x, max(2, round(4 * s)), line)
        for k in range(1, TRACK_STOPS + 1):
            canvas.dot(end - near - k * step, y, tick, line)
        canvas.ring(end, y, ring, 4 * s, INK, WHITE)
        for away in buses:
            at = end - away * step - (near if away else 0)
            canvas.dot(at, y, bus + 2 * s, WHITE)
            canvas.dot(at, y, bus, (RED if away < 1 else GREEN) if canvas.bits == 8 else INK)


def _buses(line: LineRow, row: Row | None) -> list[float]:
    """Stops between each live bus of the line and this stop, nearest last so that it is drawn on top."""
    if row is None or not line.boardable or row is not line.boardable[0]:
        return []
    found = []
    for bus in line.boardable:
        if bus.when.word == "at_stop":
            found.append(0.0)
        elif bus.stops_away is not None and bus.stops_away < TRACK_STOPS:
            found.append(bus.stops_away + 0.5)
    return sorted(found, reverse=True)


def _rgb(color: str) -> Rgb:
    """Six hex digits, else the sign's own dark blue."""
    try:
        value = int(color, 16)
    except ValueError:
        return NAVY
    return (value >> 16 & 255, value >> 8 & 255, value & 255) if len(color) == 6 else NAVY
