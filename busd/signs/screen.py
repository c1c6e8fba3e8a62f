"""What the reference sign does with its glass: a picture of the panel in a terminal, or one JSON line for every change.

The words and the layout are those of every other panel (glance.py, panel.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from rich.console import Group
from rich.panel import Panel as Frame
from rich.text import Text

from busd.clock import Clock
from busd.signs.cells import columns
from busd.signs.glance import NO_MEMORY, Memory, look
from busd.signs.panel import Page, Panel, page_at, pages
from busd.signs.reference import Glass, ReferenceSign, Source
from busd.signs.wording import choose_text, departure_text, word

FRAME_COLUMNS = 4
TEST_S = 10.0
_TEST = ("█▓▒░", "░▒▓█")
_COLOURS = {Source.BOARD: "green", Source.EXPIRED: "yellow", Source.PACK: "yellow", Source.NOTHING: "red"}


class Machine:
    """The hardware of a sign that is a terminal window (`busd.signs.reference.care.Hardware`)."""

    def __init__(self, clock: Clock, restart: Callable[[], None], forget: Callable[[], None]) -> None:
        """``restart`` ends the connection for a new start, ``forget`` drops what is kept on disk."""
        self._clock, self._restart, self._forget = clock, restart, forget
        self.brightness = 100
        self.test_until = 0.0

    def operate(self, op: str, args: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        level = args.get("level")
        if op == "brightness" and isinstance(level, int | float) and 0 <= level <= 100:
            self.brightness = int(level)
            return True, {"level": self.brightness}
        if op == "test":
            self.test_until = self._clock.monotonic() + TEST_S
            return True, {"seconds": TEST_S}
        if op == "reset":
            self._forget()
        if op in ("reboot", "reset"):
            self._restart()
            return True, {}
        return False, {"error": "unsupported" if op != "brightness" else "level must be 0 to 100"}

    def telemetry(self) -> dict[str, Any]:
        return {"lux": None, "panel_err": []}


class TerminalScreen:
    """Draws all stops of a sign, each on a panel of its own, as `rich` renderables."""

    def __init__(
        self, cols: int, rows: int, langs: Sequence[str], timezone: str, clock: Clock, machine: Machine
    ) -> None:
        """``timezone``: empty = what the server says."""
        self._cols, self._rows, self._langs, self._timezone = cols, rows, tuple(langs), timezone
        self._clock, self._machine = clock, machine
        self._memory: dict[str, Memory] = {}

    def draw(self, sign: ReferenceSign, glasses: Sequence[Glass], status: str) -> Group:
        mono = self._clock.monotonic()
        return Group(*(self._stop(sign, glass, mono) for glass in glasses), Text(status, style="dim"))

    def _stop(self, sign: ReferenceSign, glass: Glass, mono: float) -> Frame:
        if mono < self._machine.test_until:
            lines = [Text((_TEST[k % 2] * self._cols)[: self._cols]) for k in range(self._rows)]
        else:
            lines = self._lines(sign, glass, mono)
        name = choose_text(glass.board["name"], self._langs)
        return Frame(
            Group(*lines),
            title=f"{name} ({glass.stop})" if name != glass.stop else name,
            subtitle={Source.BOARD: glass.board["state"], Source.EXPIRED: "expired"}.get(
                glass.source, glass.source.value
            ),
            border_style=_COLOURS[glass.source] if glass.board["state"] == "live" else "yellow",
            width=self._cols + FRAME_COLUMNS,
        )

    def _lines(self, sign: ReferenceSign, glass: Glass, mono: float) -> list[Text]:
        """The rows that are up now; pages take turns, long lines scroll."""
        now = glass.now if glass.now is not None else 0.0
        board = glass.board
        if glass.source is Source.NOTHING:  # whether there is a clock or not: one that may be wrong is not shown
            texts = {
                lang: f"{choose_text(board['name'], (lang,))}  {word('no_information', lang)}" for lang in self._langs
            }
            board = board | {"mode": "text", "text": texts}
        glance, self._memory[glass.stop] = look(board, now, self._memory.get(glass.stop, NO_MEMORY))
        zone = self._timezone or sign.timezone(glass.stop) or "UTC"
        page, up_s = page_at(pages(glance, Panel(self._cols, self._rows, self._langs, zone), now), mono)
        return [self._line(page, k, text) for k, text in enumerate(page.at(self._cols, up_s))]

    def _line(self, page: Page, k: int, text: str) -> Text:
        line = page.lines[k]
        style = "strike dim" if line.struck else "bold green" if line.live else ""
        if self._machine.brightness < 40:
            style += " dim"
        padded = text + " " * max(0, self._cols - columns(text))
        return Text(padded, style=style.strip(), no_wrap=True, overflow="crop")


class JsonLines:
    """One line for every change of a stop's glass, and for every change of the connection."""

    def __init__(self, langs: Sequence[str], timezone: str, write: Callable[[bytes], None]) -> None:
        self._langs, self._timezone, self._write = tuple(langs), timezone, write
        self._last: dict[str, bytes] = {}

    def tell(self, sign: ReferenceSign, glasses: Sequence[Glass], status: str) -> None:
        self._change("", {"event": "connection", "status": status}, sign, None)
        for glass in glasses:
            self._change(glass.stop, self._shown(sign, glass), sign, glass.now)

    def _change(self, key: str, content: dict[str, Any], sign: ReferenceSign, now: float | None) -> None:
        data = orjson.dumps(content)
        if self._last.get(key) != data:
            self._last[key] = data
            self._write(orjson.dumps({"at": None if now is None else round(now, 3), "sign": sign.sign} | content))

    def _shown(self, sign: ReferenceSign, glass: Glass) -> dict[str, Any]:
        board, lang = glass.board, self._langs[0] if self._langs else "en"
        zone = self._timezone or sign.timezone(glass.stop) or "UTC"
        deps = [
            {
                "line": dep["line"],
                "head": choose_text(dep["head"], self._langs),
                "text": departure_text(dep, glass.now or 0.0, lang, zone),
                "src": dep["src"],
                "st": dep["st"],
            }
            for dep in board["deps"]
        ]
        shown = {
            "event": "glass",
            "stop": glass.stop,
            "source": glass.source.value,
            "state": board["state"],
            "mode": glass.mode,
            "epoch": board.get("epoch"),
            "rev": board.get("rev"),
            "name": choose_text(board["name"], self._langs),
            "deps": deps,
            "msgs": [choose_text(msg["text"], self._langs) for msg in board["msgs"]],
        }
        return shown | ({"text": choose_text(board["text"], self._langs)} if "text" in board else {})
