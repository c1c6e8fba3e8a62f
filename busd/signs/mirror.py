"""What a sign shows now, for people who are not standing before it: the pages of its own panel, in its own words.

Worked out from the board that was sent to the sign and what is known of its life, with the very code of the reference
sign. A sign that has not been heard of for longer than its board lives is taken to do what the protocol asks of it: it
shows the timetable.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import orjson

from busd.bus import BoardBus
from busd.clock import Clock
from busd.signs.cells import columns
from busd.signs.condition import SignHealth
from busd.signs.frames import FrameCache
from busd.signs.glance import NO_MEMORY, Memory, look
from busd.signs.messages import DEFAULT_DEPS
from busd.signs.modes import SignModes
from busd.signs.panel import Panel, PanelLine, pages
from busd.signs.reference.boards import as_timetable

ROWS, COLS = 4, 32
"""of a sign that has not said what panel it has"""
MAX_ROWS, MAX_COLS = 16, 80
ROUND_S = 5.0
"""A mirrored panel is drawn again this often, and when its board changes."""
KEPT = 4096

_Key = tuple[str, tuple[str, ...], int, int, str, bool]


class _Drawn(NamedTuple):
    revision: tuple[str, int]
    at: float
    memory: Memory
    pages: list[dict[str, Any]]


class Mirror:
    """Draws the panels that somebody looks at; the latest `KEPT` drawings are kept."""

    def __init__(self, bus: BoardBus, frames: FrameCache, modes: SignModes, clock: Clock) -> None:
        self._bus, self._frames, self._modes, self._clock = bus, frames, modes, clock
        self._drawn: OrderedDict[_Key, _Drawn] = OrderedDict()

    def stop(self, health: SignHealth, stop_id: str) -> dict[str, Any] | None:
        """``{"stop", "name", "rev", "shown", "timetable", "pages": [{"seconds", "lines": [...]}]}``; None without a board.

        ``shown``: the sign has said that it shows this revision. A line is ``[runs, is_live, is_struck]``, a run
        ``[text, columns]``."""
        board = self._bus.latest(stop_id)
        if board is None:
            return None
        now = self._clock.now()
        expired = not health.is_connected and now > max(health.heard_at, health.closed_at or 0.0) + board.ttl_s
        mode = self._modes.of(health.sign)
        langs = tuple(sorted(health.lang)) or (self._bus.network.default_lang,)
        rows, cols = min(health.rows or ROWS, MAX_ROWS), min(health.cols or COLS, MAX_COLS)
        key = stop_id, health.lang, rows, cols, mode.key if mode is not None else "", expired
        drawn = self._drawn.get(key)
        if drawn is None or drawn.revision != (board.epoch, board.rev) or not 0 <= now - drawn.at < ROUND_S:
            variant = self._frames.variant(langs, DEFAULT_DEPS, mode)
            encoded = self._frames.encoded(stop_id, variant, int(now * 1000))
            if encoded is None:
                return None
            content = orjson.loads(encoded.payload)
            glance, memory = look(
                as_timetable(content) if expired else content, now, drawn.memory if drawn else NO_MEMORY
            )
            panel = Panel(cols, rows, health.lang or langs, self._bus.network.timezone)
            shown = [
                {"seconds": page.seconds, "lines": [_line(x) for x in page.lines]} for page in pages(glance, panel, now)
            ]
            drawn = self._drawn[key] = _Drawn((board.epoch, board.rev), now, memory, shown)
            while len(self._drawn) > KEPT:
                self._drawn.popitem(last=False)
        self._drawn.move_to_end(key)
        acked = health.shown.get(stop_id)
        row = self._bus.network.find_stop(stop_id)
        return {
            "stop": stop_id,
            "name": self._bus.network.stop_text(row) if row is not None else {},
            "rev": board.rev,
            "at": board.at,
            "shown": acked is not None
            and acked[1] == board.rev
            and acked[0].split(".")[0] == board.epoch.split(".")[0],
            "timetable": expired,
            "pages": drawn.pages,
        }


def _line(line: PanelLine) -> list[Any]:
    """Letters that take one column each stay together, so that a page can keep the columns whatever its fonts are."""
    runs: list[list[Any]] = []
    for char in line.text:
        plain = " " <= char <= "~"
        if runs and runs[-1][2] == plain:
            runs[-1][0] += char
        else:
            runs.append([char, 0, plain])
    return [[[text, columns(text)] for text, _, _ in runs], line.live, line.struck]
