"""``busd sign``: the screen, the JSON lines, and what the command line refuses."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from rich.console import Console

from busd.clock import ManualClock
from busd.signs.reference import ReferenceSign
from busd.signs.screen import JsonLines, Machine, TerminalScreen
from busd.terminal_sign import sign as command

AT = 1_795_000_000


def make_sign(clock: ManualClock) -> tuple[ReferenceSign, Machine]:
    machine = Machine(clock, lambda: None, lambda: None)
    sign = ReferenceSign("LS-1", ["S1"], ["en"], hardware=machine)
    sign.connected(0.0)
    dep = {"key": "a", "line": "8", "head": {"en": "Railway Station"}, "sched": AT + 600, "pred": AT + 320,
           "src": "realtime", "st": "ok", "away": 2}  # fmt: skip
    welcome = {"type": "welcome", "v": 1, "session": "x", "now": AT * 1000, "lang": "en", "hb": 30, "grace": 30,
               "ack": 30, "offline": 900, "tz": "Asia/Shanghai"}  # fmt: skip
    board = {"type": "board", "stop": "S1", "epoch": "e", "rev": 1, "at": AT * 1000, "now": AT * 1000, "ttl": 90,
             "state": "live", "name": {"en": "Xiguan Cross"}, "deps": [dep], "msgs": [],
             "lines": [{"line": "8", "head": {"en": "Railway Station"}, "first": AT - 9000, "last": AT + 9000}]}  # fmt: skip
    for message in (welcome, board):
        sign.receive(orjson.dumps(message), 0.0)
    return sign, machine


def screen_text(sign: ReferenceSign, machine: Machine, clock: ManualClock, screen: TerminalScreen) -> str:
    console = Console(width=60, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(screen.draw(sign, [sign.glass("S1", clock.monotonic())], "connected"))
    return console.export_text()


def test_the_screen_from_live_to_nothing() -> None:
    clock = ManualClock(float(AT))
    sign, machine = make_sign(clock)
    screen = TerminalScreen(40, 6, ("en",), "", clock, machine)
    live = screen_text(sign, machine, clock, screen)
    assert "Xiguan Cross (S1)" in live and "8 Railway Station" in live and "5 min" in live and " live " in live
    clock.advance(91.0)
    expired = screen_text(sign, machine, clock, screen)
    assert "expired" in expired and "timetable" in expired and "min" not in expired
    assert "19:16" in expired, "the scheduled time in the zone that the server told"
    clock.advance(1000.0)
    nothing = screen_text(sign, machine, clock, screen)
    assert "no information" in nothing and "Railway" not in nothing and "Xiguan Cross" in nothing


def test_a_test_picture_and_brightness() -> None:
    clock = ManualClock(float(AT))
    sign, machine = make_sign(clock)
    screen = TerminalScreen(40, 6, ("en",), "", clock, machine)
    assert machine.operate("brightness", {"level": 20}) == (True, {"level": 20})
    assert machine.operate("brightness", {"level": "x"})[0] is False
    assert machine.operate("test", {})[0] is True
    assert "█▓▒░" in screen_text(sign, machine, clock, screen)
    clock.advance(11.0)
    assert "Railway" in screen_text(sign, machine, clock, screen)
    assert machine.operate("upgrade", {"url": "x"}) == (False, {"error": "unsupported"})


def test_restart_and_reset_reach_the_machine() -> None:
    did: list[str] = []
    machine = Machine(ManualClock(), lambda: did.append("restart"), lambda: did.append("forget"))
    assert machine.operate("reboot", {})[0] and machine.operate("reset", {})[0]
    assert did == ["restart", "forget", "restart"]


def test_json_lines_tell_changes_only() -> None:
    clock = ManualClock(float(AT))
    sign, _ = make_sign(clock)
    lines: list[dict[str, Any]] = []
    teller = JsonLines(["en"], "", lambda line: lines.append(orjson.loads(line)))
    for seconds in (0.0, 1.0, 2.0, 89.0):
        clock.advance(seconds)
        teller.tell(sign, [sign.glass("S1", clock.monotonic())], "connected")
    assert [line["event"] for line in lines] == ["connection", "glass", "glass"]
    first, last = lines[1], lines[2]
    assert first["deps"] == [{"line": "8", "head": "Railway Station", "text": "5 min", "src": "realtime", "st": "ok"}]
    assert (last["source"], last["state"], last["deps"][0]["text"]) == ("expired", "schedule", "19:16")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "STOPS"),
        (["S1", "--panel", "5x1000"], "--panel"),
        (["S1", "--timezone", "Mars/Base"], "--timezone"),
        (["S1", "--url", "ws:// x"], "--url"),
        ([f"S{k}" for k in range(40)], "at most 32"),
        (["S1", "--door", "window"], "--door"),
    ],
)
def test_what_it_refuses(arguments: list[str], word: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2 and word in result.output
    assert "Traceback" not in result.output
