"""A `Glance` as pages of text for a panel of character cells (LED, LCD): 16 x 2 to 64 x 8 and anything else.

The rules, by size:

* fewer than 6 rows: departures only, a page after the other; the clock, the stop's name and remarks have no room;
* from 6 rows: the stop's name and the clock above, a remark or message below;
* 3 to 5 rows: the last row is a remark or message when there is one, else one more departure;
* fewer than 24 columns: short words and abbreviated destinations; from 48: the stops that are left beside the minutes.

A page first shows the next bus of each line, then what else comes, by time. A message that does not fit into its row
scrolls there; where no row is free for it, it is a page of its own. Languages take turns, page by page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from busd.signs.abbreviations import fit
from busd.signs.cells import columns, cut, pad, rounds, window, wrap
from busd.signs.glance import Glance, LineRow, Row
from busd.signs.wording import Say, choose_text, clock_text, say_text, word

PAGE_S = 6.0
"""How long a page stands. Two lines of eight words are read twice in it."""
TEXT_S = 4.0
"""A page of a long message: its reader goes on to the next one."""
STEP_S = 0.2
"""A scrolling text moves by one column in this time: about 25 Latin characters in 5 s."""
SHORT_BELOW = 24
AWAY_FROM = 48
MAX_LINE = 8
"""Columns that a line's name may take."""
MAX_PAGES = 12
TIME_SHARE = 0.36
AWAY_SHARE = 0.3
"""Parts of the width that times and remarks may take; longer texts are said in their short form or not at all."""


@dataclass(frozen=True, slots=True)
class PanelLine:
    """One row of a page. ``text`` may be longer than the panel when it scrolls (`PanelLine.at`)."""

    text: str
    struck: bool = False
    """cancelled: drawn struck out where the panel can"""
    live: bool = False

    def at(self, cols: int, elapsed_s: float) -> str:
        """The ``cols`` columns that are visible after the page stood ``elapsed_s``."""
        return window(self.text, cols, int(elapsed_s / STEP_S))


@dataclass(frozen=True, slots=True)
class Page:
    lines: tuple[PanelLine, ...]
    seconds: float
    """how long it stands: long enough for a scrolling line to come round"""

    def at(self, cols: int, elapsed_s: float) -> list[str]:
        """What the panel shows ``elapsed_s`` after the page appeared."""
        return [line.at(cols, elapsed_s) for line in self.lines]


@dataclass(frozen=True, slots=True)
class Panel:
    """A kind of panel and whose words it shows."""

    cols: int
    rows: int
    langs: tuple[str, ...]
    timezone: str
    abbreviations: Mapping[str, str] | None = None
    """the city's own short names of destinations"""

    @property
    def short(self) -> bool:
        return self.cols < SHORT_BELOW


def pages(glance: Glance, panel: Panel, now: float) -> list[Page]:
    """All pages in order, at least one; each exactly ``panel.rows`` lines."""
    out: list[Page] = []
    for lang in panel.langs or ("en",):
        for page in _pages_of(glance, panel, lang, now):
            if page.lines not in [other.lines for other in out]:  # "8  19:06" is the same in every language
                out.append(page)
    return out[:MAX_PAGES]


def page_at(all_pages: Sequence[Page], elapsed_s: float) -> tuple[Page, float]:
    """Which page is up ``elapsed_s`` after the first one appeared, and for how long it has been."""
    rest = elapsed_s % sum(page.seconds for page in all_pages)
    for page in all_pages:
        if rest < page.seconds:
            return page, rest
        rest -= page.seconds
    return all_pages[-1], 0.0


def _pages_of(glance: Glance, panel: Panel, lang: str, now: float) -> list[Page]:
    if glance.mode == "off":
        return [_page([], panel)]
    if glance.mode in ("text", "out_of_order"):
        text = choose_text(glance.text, (lang,)) or (word("out_of_order", lang) if glance.mode != "text" else "")
        return _text_pages(text, panel)
    if glance.emergency is not None:
        return _text_pages(f"{word('emergency', lang)}: {choose_text(glance.emergency.text, (lang,))}", panel)
    entries = _entries(glance, panel, lang)
    remark = _remark(glance, lang)
    notices = [choose_text(notice.text, (lang,)) for notice in glance.notices]
    footer = "   ".join([*filter(None, [remark]), *notices]) if panel.rows >= 3 else ""
    header = panel.rows >= 6
    room = panel.rows - header - bool(footer)
    out = []
    for start in range(0, max(len(entries), 1), room):
        lines = _aligned(entries[start : start + room], panel, lang)
        if not entries:
            lines = [PanelLine(line) for line in _empty(glance, panel, lang)[:room]]
        if header:
            lines.insert(0, _header(glance, panel, lang, now))
        if footer:
            lines += [PanelLine("")] * (panel.rows - 1 - len(lines))
            lines.append(PanelLine(footer))
        out.append(_page(lines, panel))
    if not footer:
        for text in filter(None, [remark, *notices]):
            out += _text_pages(text, panel)
    return out


def _page(lines: list[PanelLine], panel: Panel, seconds: float = PAGE_S) -> Page:
    lines = lines + [PanelLine("")] * (panel.rows - len(lines))
    scroll = max((rounds(line.text, panel.cols) for line in lines), default=0)
    return Page(tuple(lines), max(seconds, scroll * STEP_S))


def _text_pages(text: str, panel: Panel) -> list[Page]:
    lines = wrap(text, panel.cols)
    parts = [lines[k : k + panel.rows] for k in range(0, len(lines), panel.rows)] or [[]]
    return [_page([PanelLine(line) for line in part], panel, TEXT_S if len(parts) > 1 else PAGE_S) for part in parts]


def _header(glance: Glance, panel: Panel, lang: str, now: float) -> PanelLine:
    clock = clock_text(now, panel.timezone)
    width = panel.cols - columns(clock) - 1
    return PanelLine(pad(fit(choose_text(glance.name, (lang,)), lang, width), width) + " " + clock)


def _remark(glance: Glance, lang: str) -> str:
    """What holds for all rows: where the times come from, how old they are."""
    if glance.state.word:
        return say_text(glance.state, lang, "UTC")
    return word("age", lang, n=glance.old_min) if glance.old_min else ""


def _empty(glance: Glance, panel: Panel, lang: str) -> list[str]:
    texts = [say_text(say, lang, panel.timezone) for say in glance.empty or (Say("no_information"),)]
    joined = " ".join(texts)
    return [joined] if columns(joined) <= panel.cols else [line for text in texts for line in wrap(text, panel.cols)]


@dataclass(frozen=True, slots=True)
class _Entry:
    line: str
    head: str
    away: str
    time: str
    struck: bool = False
    live: bool = False


def _entries(glance: Glance, panel: Panel, lang: str) -> list[_Entry]:
    """What the panel lists: each line's next bus and, while there is room on the page, its later ones; by time."""
    first = [row for line in glance.lines for row in line.rows[:1]]
    later = [row for row in glance.rows if row not in first]
    silent = [line for line in glance.lines if not line.rows]
    room = max(panel.rows - len(first) - len(silent), 0)
    rows = sorted([*first, *later[:room]], key=lambda row: row.at)
    if not rows and not any(say.word != "no_departures" for line in silent for say in line.says):
        return []  # the board's own reason says it better
    return [_entry(row, panel, lang) for row in rows] + [_silent(line, panel, lang) for line in silent]


def _entry(row: Row, panel: Panel, lang: str) -> _Entry:
    away = say_text(row.away, lang, panel.timezone)
    if row.struck and row.when.at is not None:
        away = clock_text(row.when.at, panel.timezone)  # which one does not come
    elif row.last or row.first:
        away = " ".join(filter(None, [word("last" if row.last else "first", lang), away]))
    time = _time(row.when, panel, lang)
    return _Entry(row.line, choose_text(row.head, (lang,)), away, time, row.struck, row.live)


def _silent(line: LineRow, panel: Panel, lang: str) -> _Entry:
    """A line without a bus to tell of: why, and what more there is room for."""
    more = [say_text(say, lang, panel.timezone) for say in line.says[1:]]
    more = [text for text in more if columns(text) <= panel.cols * AWAY_SHARE]
    why = _time(line.says[0], panel, lang) if line.says else ""
    return _Entry(line.line, choose_text(line.head, (lang,)), more[0] if more else "", why)


def _time(say: Say, panel: Panel, lang: str) -> str:
    text = say_text(say, lang, panel.timezone, panel.short)
    return text if columns(text) <= panel.cols * TIME_SHARE else say_text(say, lang, panel.timezone, short=True)


def _aligned(entries: Sequence[_Entry], panel: Panel, lang: str) -> list[PanelLine]:
    """Columns that stand under each other on one page: line, destination, stops left, time."""
    if not entries:
        return []
    name = min(max(columns(entry.line) for entry in entries), MAX_LINE, panel.cols // 3)
    time = min(max(columns(entry.time) for entry in entries), panel.cols - name - 2)
    away = 0
    if panel.cols >= AWAY_FROM:
        away = min(max(columns(entry.away) for entry in entries), int(panel.cols * AWAY_SHARE))
    head = panel.cols - name - 1 - (time + 1 if time else 0) - (away + 1 if away else 0)
    lines = []
    for entry in entries:
        text = pad(fit(entry.line, lang, name), name) + " "
        # a row with a short time leaves its destination the columns that the longest time of the page takes
        room = head if panel.cols >= SHORT_BELOW else head + time - columns(cut(entry.time, time))
        text += pad(fit(entry.head, lang, room, panel.abbreviations), room)
        if away:
            text += " " + pad(entry.away, away, right=True)
        if time:
            text += " " + pad(entry.time, time - (room - head), right=True)
        lines.append(PanelLine(text.rstrip(), entry.struck, entry.live))
    return lines
