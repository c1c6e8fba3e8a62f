"""One look at a board: what the glass says now, in no language and no size yet.

Panels, pictures and voices are made from a `Glance`, so that they agree. `look` is a pure function of the board, the
instant and what the glass said before; the `Memory` it returns is all that a sign has to keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from busd.signs.plain import plain
from busd.signs.wording import (
    DROPPED,
    NOTHING,
    Say,
    away_say,
    countdown_minutes,
    departure_say,
    empty_says,
    line_says,
    state_say,
)

DROP_S = 30.0
"""A departure leaves the glass this long after its time, unless the bus stands at the stop."""
FORGET_S = 3600.0
NEAR = ("due", "arriving", "at_stop")
"""The words of a bus that is all but here."""
OLD_S = 60.0
"""Positions older than this are said to be old."""

Text = Mapping[str, str]


class Seen(NamedTuple):
    """What the glass said of one bus."""

    minutes: int | None
    ranged: bool
    due: bool
    """in its last minute or nearer: when it is not on the next board, it has come and gone"""
    at: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What was on the glass, by departure key. Bounded: entries are forgotten after `FORGET_S`."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    gone: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One departure on the glass."""

    key: str
    line: str
    head: Text
    when: Say
    away: Say
    stops_away: int | None
    at: float
    """effective time, epoch s: what orders the rows"""
    live: bool
    struck: bool
    """cancelled or not stopping: shown struck out"""
    first: bool = False
    last: bool = False
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class LineRow:
    """One line and destination with all its departures: a row of a large display."""

    line: str
    head: Text
    color: str
    """six hex digits or empty"""
    rows: tuple[Row, ...]
    says: tuple[Say, ...]
    """where no bus can be boarded: why; else what else is to be known (diverted)"""

    @property
    def boardable(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.struck)


@dataclass(frozen=True, slots=True)
class Notice:
    text: Text
    priority: int


@dataclass(frozen=True, slots=True)
class Glance:
    """Everything a sign shows. ``mode`` as in busd.sign.v1; ``text`` goes with the modes text and out_of_order."""

    name: Text
    rows: tuple[Row, ...]
    lines: tuple[LineRow, ...]
    notices: tuple[Notice, ...]
    """highest priority first, expired ones left out"""
    state: Say
    """remark for the whole board; nothing while it is live"""
    empty: tuple[Say, ...]
    """why there are no departures, where there are none"""
    old_min: int
    """age of the oldest position behind what is shown, whole minutes; 0 while all are fresh"""
    mode: str = "auto"
    text: Text = field(default_factory=dict)

    @property
    def emergency(self) -> Notice | None:
        """The notice that takes the whole sign over."""
        return self.notices[0] if self.notices and self.notices[0].priority >= 2 else None

    @property
    def live(self) -> bool:
        return any(row.live for row in self.rows)

    def digest(self) -> bytes:
        """Equal for two looks that show the same."""
        return orjson.dumps(self, default=tuple, option=orjson.OPT_SORT_KEYS)


NO_MEMORY = Memory()


def look(board: Mapping[str, Any], now: float, memory: Memory = NO_MEMORY) -> tuple[Glance, Memory]:
    """What the glass says at ``now`` (epoch s, server's clock), and what to remember for the next look.

    ``board`` is a complete board of busd.sign.v1. A number never counts up by one, and a bus that was due and left
    never comes back.
    """
    gone = {key: at for key, at in memory.gone.items() if now - at < FORGET_S}
    seen = {key: value for key, value in memory.seen.items() if now - value.at < FORGET_S}
    present = {str(dep.get("key")) for dep in board["deps"]}
    for key in [key for key, value in seen.items() if value.due and key not in present]:
        del seen[key]
        gone[key] = now
    rows: list[Row] = []
    age = 0.0
    for dep in board["deps"]:
        key = str(dep.get("key"))
        if key in gone:
            continue
        row, value = _row(dep, key, now, seen.get(key))
        if row is None:
            if value is not None and value.due:
                seen.pop(key, None)
                gone[key] = now
            continue
        rows.append(row)
        if value is not None:
            seen[key] = value
        if row.live and isinstance(dep.get("age"), int | float):
            age = max(age, float(dep["age"]) + max(0.0, now - board.get("at", now * 1000) / 1000))
    rows.sort(key=lambda row: row.at)
    glance = Glance(
        name=_text(board.get("name")),
        rows=tuple(rows),
        lines=_line_rows(board, rows, now),
        notices=_notices(board.get("msgs") or (), now),
        state=state_say(board.get("state")),
        empty=() if any(not row.struck for row in rows) else empty_says(board, now),
        old_min=int(age // 60) if age >= OLD_S else 0,
        mode=str(board.get("mode") or "auto"),
        text=_text(board.get("text")),
    )
    return glance, Memory(seen, gone)


def _row(dep: Mapping[str, Any], key: str, now: float, before: Seen | None) -> tuple[Row | None, Seen | None]:
    """The row (None once the bus has gone by) and what to remember of a live one."""
    status, src, pred = dep.get("st"), dep.get("src"), dep.get("pred")
    predicted = isinstance(pred, int | float)
    at = float(pred) if predicted and pred is not None else float(dep.get("sched") or now)
    when = departure_say(dep, now, before.minutes if before else None, bool(before and before.ranged))
    value = None
    if predicted and status not in DROPPED:
        # "within 5 min" is no number that a later one could count up from
        minutes = when.a if when.word in ("minutes", "range") else None if when.word in ("clock", "within") else 0
        due = when.word in NEAR or countdown_minutes(at, now) == 0
        value = Seen(minutes, when.word in ("range", "within"), due, now)
    if (at < now - DROP_S and status != "at_stop") or when == NOTHING:
        return None, value
    live = src in ("realtime", "frozen") and predicted
    row = Row(
        key=key,
        line=plain(str(dep.get("line", ""))),
        head=_text(dep.get("head")),
        when=when,
        away=away_say(dep.get("away")) if live and status == "ok" else NOTHING,
        stops_away=dep["away"] if live and isinstance(dep.get("away"), int) else None,
        at=at,
        live=live,
        struck=status in DROPPED,
        first=dep.get("first") is True,
        last=dep.get("last") is True,
        frozen=src == "frozen",
    )
    return row, value


def _line_rows(board: Mapping[str, Any], rows: Sequence[Row], now: float) -> tuple[LineRow, ...]:
    """Lines by their next bus; those without one follow in the board's order: running, not yet, no more."""
    by_line: dict[tuple[str, tuple[str, ...]], LineRow] = {}
    entries: list[tuple[Mapping[str, Any], str, Text]] = [
        (line, plain(str(line.get("line", ""))), _text(line.get("head"))) for line in board.get("lines") or ()
    ]
    entries += [({}, row.line, row.head) for row in rows]
    for line, name, head in entries:
        group = name, tuple(head.values())
        if group in by_line:
            continue
        mine = tuple(row for row in rows if row.line == name and tuple(row.head.values()) == group[1])
        says = line_says(line, now)
        if any(not row.struck for row in mine):
            says = tuple(say for say in says if say.word == "diverted")
        elif not says and (line.get("first") is not None or line.get("last") is not None):
            says = (Say("no_departures"),)
        color = str(line.get("color") or "")
        by_line[group] = LineRow(name, head, color, mine, says)

    def order(entry: LineRow) -> tuple[int, float]:
        if entry.boardable:
            return 0, entry.boardable[0].at
        first = entry.says[0].word if entry.says else ""
        rank = {
            "headway": 1,
            "headway_range": 1,
            "no_departures": 3,
            "first_at": 4,
            "not_started": 4,
            "ended": 5,
            "suspended": 5,
        }
        return rank.get(first, 2) if not entry.rows else 1, 0.0

    # a line of which nothing is planned and nothing said would be a blank row
    return tuple(sorted((entry for entry in by_line.values() if entry.rows or entry.says), key=order))


def _notices(messages: Sequence[Mapping[str, Any]], now: float) -> tuple[Notice, ...]:
    current = [m for m in messages if not isinstance(m.get("until"), int | float) or m["until"] > now]
    notices = [Notice(text, int(m.get("prio") or 0)) for m in current if (text := _text(m.get("text"), 1000))]
    return tuple(sorted(notices, key=lambda notice: -notice.priority))


def _text(text: object, limit: int = 200) -> dict[str, str]:
    """A Text made safe once more: the glance may be made from a board that another server sent."""
    if not isinstance(text, Mapping):
        return {}
    return {str(tag): value for tag, raw in text.items() if isinstance(raw, str) and (value := plain(raw, limit))}
