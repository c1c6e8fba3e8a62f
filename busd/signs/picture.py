"""A `Glance` as a picture for e-paper and LCD, of any size: what stands where.

Three layouts, chosen by the size: *wide* and *tall* have a head (stop, time, QR code), a row for each line (number,
destination, a diagram of the buses on their way, minutes) and a foot (messages, what found no room); *small* has the
rows alone. All lengths come from one scale, 1.0 at 800 x 480 and 480 x 800, where minutes are 60 pixels high.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import segno

from busd.signs.canvas import WHITE, Canvas, fitted, text_width
from busd.signs.cells import pieces
from busd.signs.fonts import check
from busd.signs.glance import Glance, LineRow, Row, Text
from busd.signs.picture_rows import AMBER, INK, NAVY, PALE, RED, RowPainter, script_scale, secondary, texts_line
from busd.signs.wording import Say, choose_text, clock_text, say_text, word

MIN_SIDE, MAX_SIDE = 64, 2048
SMALL_BELOW = 0.42
"""Scale under which a head, a foot and second languages would be too small to read."""
QR_MODULE = 2
"""Pixels of a QR module at least; smaller ones no phone reads."""
QR_QUIET = 4
MIN_ROW = 78.0
MAX_ROW = 118.0
TALL_ROW = 104.0
EMPHASIS = "!"


Entry = tuple[LineRow, Row | None, tuple[Row, ...]]
"""a row to paint: its line, the bus, what follows it"""


@dataclass(frozen=True, slots=True)
class Format:
    """What is asked for: a size in pixels (`MIN_SIDE`..`MAX_SIDE`), bits a pixel (1, 8), languages, the largest first."""

    width: int
    height: int
    bits: int
    langs: tuple[str, ...]
    timezone: str
    page: str = ""
    """address of the stop's page for the QR code; empty = none"""


def draw(glance: Glance, form: Format, now: float) -> bytes:
    """The PNG. Equal glances in the same minute give equal bytes. Raises FontMissing, never draws empty boxes.

    ``now`` (epoch s) is shown as the time of the picture, to the minute, and only where something live is shown: a
    picture that stopped being renewed must be seen to be old, and one of the timetable alone need not change.
    """
    check()
    return _Painter(glance, form, now).png()


class _Painter:
    def __init__(self, glance: Glance, form: Format, now: float) -> None:
        self.glance, self.form, self.now = glance, form, now
        self.tall = form.height > form.width
        base = (480, 800) if self.tall else (800, 480)
        self.scale = min(form.width / base[0], form.height / base[1])
        self.small = self.scale < SMALL_BELOW
        self.canvas = Canvas(form.width, form.height, form.bits)
        self.lang = form.langs[0] if form.langs else "en"
        self.others = form.langs[1:]
        self.margin = max(2.0, 20 * self.scale)

    def png(self) -> bytes:
        if self.glance.mode != "off":
            self._draw()
        return self.canvas.png()

    def _draw(self) -> None:
        glance = self.glance
        if glance.mode in ("text", "out_of_order"):
            fallback = {lang: word("out_of_order", lang) for lang in self.form.langs} if not glance.text else {}
            self._poster(dict(glance.text) or fallback, alarm=False)
        elif glance.emergency is not None:
            self._poster(glance.emergency.text, alarm=True)
        else:
            top = 0.0 if self.small else self._head(NAVY)
            self._body(top)

    # ---- head --------------------------------------------------------------------------------------------------------

    def _head(self, paper: tuple[int, int, int], qr: bool = True) -> float:
        """Stop, time and QR code; returns its height."""
        canvas, s, width = self.canvas, self.scale, self.form.width
        height = round(112 * s)
        canvas.box(0, 0, width, height, paper)
        right = width - self.margin
        if qr:
            right = self._qr(height) - 16 * s
        remark = self._state_texts()
        clock = clock_text(self.now, self.form.timezone) if self.glance.live else ""
        size = 40 * s
        used = max([text_width(clock, size)] + [text_width(text, 19 * s) for text in remark], default=0.0)
        if clock:
            canvas.text(right, height * (0.46 if remark else 0.64), clock, size, WHITE, paper, align="right")
        for k, text in enumerate(remark):
            baseline = height * (0.70 + 0.2 * k) if clock else height * (0.46 + 0.24 * k)
            canvas.text(right, baseline, text, 19 * s, AMBER if self.form.bits == 8 else WHITE, paper, align="right")
        room = right - self.margin - used - 20 * s
        second = secondary(self.glance.name, self.lang, self.others)
        script = script_scale(self.lang)
        text = choose_text(self.glance.name, (self.lang,))
        name, size = fitted(text, 54 * s * script**2, (24 if self.tall else 30) * s, room)
        canvas.text(self.margin, height * (0.54 if second else 0.66) - (1 - script) * size, name, size, WHITE, paper)
        if second:
            text, size = texts_line(second, 24 * s, 17 * s, room)
            canvas.text(self.margin, height * 0.85, text, size, WHITE, paper, "Regular")
        return float(height)

    def _state_texts(self) -> list[str]:
        """What the times rest on, in two languages at most: nothing where all is as it should be but "live"."""
        langs = self.form.langs[:2]
        if self.glance.state.word:
            return [say_text(self.glance.state, lang, "UTC") for lang in langs]
        return [" ".join(word("realtime", lang) for lang in langs)] if self.glance.live else []

    def _qr(self, height: float) -> float:
        """Draws the code into the right end of the head; returns its left edge."""
        width = self.form.width
        if not self.form.page:
            return width - self.margin + 16 * self.scale
        rows = _qr_rows(self.form.page)
        module = int(height // len(rows))
        if module < QR_MODULE:
            return width - self.margin + 16 * self.scale
        side = module * len(rows)
        left = width - height
        self.canvas.box(left, 0, height, height, WHITE)
        self.canvas.bitmap(left + (height - side) // 2, (height - side) // 2, rows, module, INK, WHITE)
        return left

    # ---- rows --------------------------------------------------------------------------------------------------------

    def _body(self, top: float) -> None:
        form, s = self.form, self.scale
        least = (TALL_ROW if self.tall else MIN_ROW) * s
        if self.small:
            least = max(18.0, (44 if self.tall else 100) * s)

        def entries(foot: Sequence[str]) -> list[Entry]:
            return list(self._entries(max(1, int((form.height - top - self._foot_height(foot)) // least))))

        foot: list[str] = [] if self.small else self._foot_texts([])
        shown = entries(foot)
        if not self.small and shown:
            # naming the lines that found no room may take the room of one more
            foot = self._foot_texts(self._hidden(shown))
            shown = entries(foot)
            foot = self._foot_texts(self._hidden(shown))
        bottom = form.height - self._foot(foot)
        if not shown:
            self._empty(top, bottom)
            return
        height = least if self.small else min((bottom - top) / len(shown), MAX_ROW * s)
        painter = RowPainter(self.canvas, form.langs or ("en",), form.timezone, s, self.tall, self.small)
        for k, (line, row, later) in enumerate(shown):
            y = top + k * height
            if k and not self.small:
                self.canvas.box(self.margin, y, form.width - 2 * self.margin, max(1, round(1.5 * s)), PALE)
            painter.paint(line, row, later, self.margin, y, form.width - 2 * self.margin, height)

    def _hidden(self, shown: Sequence[Entry]) -> list[str]:
        """Names of the lines without a row. One that does not run now is not worth the room beside a message."""
        there = {(line.line, tuple(line.head.values())) for line, _, _ in shown}
        lines = [line for line in self.glance.lines if (line.line, tuple(line.head.values())) not in there]
        if self.glance.notices:
            lines = [line for line in lines if line.boardable or any(x.word.startswith("headway") for x in line.says)]
        return list(dict.fromkeys(line.line for line in lines))

    def _entries(self, capacity: int) -> Iterator[Entry]:
        """A row a line, the next bus first; room that is left goes to the later buses, by time."""
        lines = self.glance.lines
        if not self.glance.rows and not any(say.word != "no_departures" for line in lines for say in line.says):
            return
        chosen: list[Entry] = []
        for line in lines:
            rows = line.boardable or line.rows
            chosen.append((line, rows[0] if rows else None, rows[1:]))
        spare = [
            (row.at, k, row) for k, line in enumerate(lines) for row in line.rows if row not in [c[1] for c in chosen]
        ]
        extra = sorted(spare)[: max(0, capacity - len(chosen))]
        listed = {row.key for _, _, row in extra}
        for _, k, row in extra:
            chosen.append((lines[k], row, ()))
        rows_of = [(line, row, tuple(r for r in later if r.key not in listed)) for line, row, later in chosen]
        with_bus = sorted((c for c in rows_of if c[1] is not None), key=lambda c: c[1].at if c[1] else 0.0)
        yield from [*with_bus, *(c for c in rows_of if c[1] is None)][:capacity]

    def _empty(self, top: float, bottom: float) -> None:
        """Why there is nothing to board, large."""
        says = self.glance.empty or (Say("no_information"),)
        texts = {lang: "  ".join(say_text(say, lang, self.form.timezone) for say in says) for lang in self.form.langs}
        self._centred(texts or {"en": word("no_information", "en")}, top, bottom, INK, WHITE)

    # ---- foot --------------------------------------------------------------------------------------------------------

    def _foot_texts(self, hidden: Sequence[str]) -> list[str]:
        """What is said below the rows: messages, old positions, lines without room. One text a language for each."""
        glance, langs = self.glance, self.form.langs[:2] or ("en",)
        out = []
        for notice in glance.notices[:2]:
            mark = EMPHASIS + " " if notice.priority else ""
            texts = dict.fromkeys(choose_text(notice.text, (lang,)) for lang in langs)
            out.append(mark + "   ".join(texts))
        if glance.old_min and not glance.state.word:
            out.append("   ".join(word("age", lang, n=glance.old_min) for lang in langs))
        if hidden:
            out.append(word("more", langs[0], n=len(hidden), lines=" ".join(hidden)))
        return out[:2]

    def _foot_height(self, texts: Sequence[str]) -> float:
        return round((14 + 32 * len(texts)) * self.scale) if texts else 0.0

    def _foot(self, texts: Sequence[str]) -> float:
        height = self._foot_height(texts)
        if not texts:
            return 0.0
        canvas, s = self.canvas, self.scale
        top = self.form.height - height
        urgent = any(notice.priority for notice in self.glance.notices)
        paper = (AMBER if urgent else PALE) if self.form.bits == 8 else WHITE
        canvas.box(0, top, self.form.width, height, paper)
        canvas.box(0, top, self.form.width, max(1, round(3 * s)), INK)
        for k, text in enumerate(texts):
            text, size = fitted(text, 25 * s, 16 * s, self.form.width - 2 * self.margin)
            canvas.text(self.margin, top + (32 + 32 * k) * s, text, size, INK, paper)
        return height

    # ---- one text for the whole sign ---------------------------------------------------------------------------------

    def _poster(self, text: Text, alarm: bool) -> None:
        """An emergency or an operator's text instead of the departures."""
        paper = (RED if alarm else NAVY) if self.form.bits == 8 else INK
        top = 0.0 if self.small else self._head(paper, qr=not alarm)
        bottom = float(self.form.height)
        if alarm:
            stroke = max(2, round(12 * self.scale))
            self.canvas.frame(0, 0, self.form.width, self.form.height, paper, stroke)
            title = "  ".join(dict.fromkeys(word("emergency", lang) for lang in self.form.langs[:2] or ("en",)))
            if not self.small:
                fit, size = fitted(title, 40 * self.scale, 20 * self.scale, self.form.width - 4 * self.margin)
                top += 66 * self.scale
                self.canvas.text(self.form.width / 2, top - 10 * self.scale, fit, size, paper, WHITE, align="center")
            bottom -= stroke
        wanted = {lang: choose_text(text, (lang,)) for lang in self.form.langs if lang in text} or dict(text)
        self._centred(wanted, top, bottom, INK, WHITE)

    def _centred(
        self, texts: Text, top: float, bottom: float, ink: tuple[int, int, int], paper: tuple[int, int, int]
    ) -> None:
        """A text in its languages, one below the other, as large as fits."""
        room = self.form.width - 4 * self.margin
        shown = [text for text in dict.fromkeys(texts.values()) if text][:3]
        if not shown:
            return
        size = 72.0 * max(self.scale, 0.2)
        while True:
            blocks = [(broken(text, size * share, room), size * share) for text, share in zip(shown, (1.0, 0.6, 0.6))]
            height = sum(len(lines) * step * 1.35 for lines, step in blocks)
            if height <= bottom - top or size <= 10:
                break
            size *= 0.9
        y = top + max(0.0, (bottom - top - height) / 2)
        for lines, step in blocks:
            for line in lines:
                y += step * 1.35
                fit, fit_size = fitted(line, step, step * 0.5, room)
                if y <= bottom + 1:
                    self.canvas.text(self.form.width / 2, y - step * 0.38, fit, fit_size, ink, paper, align="center")


@lru_cache(maxsize=1024)
def _qr_rows(page: str) -> tuple[tuple[int, ...], ...]:
    code = segno.make(page, error="l", micro=False, boost_error=False)
    return tuple(tuple(row) for row in code.matrix_iter(border=QR_QUIET))


def broken(text: str, size: float, width: float) -> list[str]:
    """``text`` in lines of at most ``width`` pixels, broken where a panel may break it (cells.py)."""
    lines: list[str] = []
    line = ""
    for piece in pieces(text):
        if line and text_width((line + piece).rstrip(), size) > width:
            lines.append(line.strip())
            line = ""
        line += piece
    return [*lines, line.strip()] if line.strip() else lines
