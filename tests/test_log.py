from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from busd.clock import ManualClock
from busd.config import LogConfig
from busd.log import set_up_logging, strip_control


class Lines(io.StringIO):
    def entries(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def out() -> Iterator[Lines]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield Lines()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_are_json_with_name_level_and_time(out: Lines) -> None:
    set_up_logging(LogConfig(), out)
    structlog.get_logger("busd.t1").info("hello", count=3)
    structlog.get_logger("busd.t1").debug("not this")
    logging.getLogger("library").warning("from %s", "elsewhere")
    first, second = out.entries()
    assert (first["event"], first["count"], first["level"], first["logger"]) == ("hello", 3, "info", "busd.t1")
    assert "timestamp" in first
    assert (second["event"], second["logger"]) == ("from elsewhere", "library")


@pytest.mark.parametrize("form", ["json", "console"])
def test_text_from_outside_cannot_paint_or_forge(out: Lines, form: str) -> None:
    set_up_logging(LogConfig(format=form), out)  # type: ignore[arg-type]  # parametrized literal
    evil = '\x1b[2J\x07bus\r\n{"event":"forged"}\u202e\u2028\x9b31m'
    log = structlog.get_logger("busd.t2")
    log.warning("bad " + evil, vehicle=evil, more={"list": [evil], evil: 1})
    try:
        raise ValueError(evil)
    except ValueError:
        log.exception("failed")
    text = out.getvalue()
    assert not any(mark in text for mark in "\x1b\x07\r\x9b\u202e\u2028")
    assert "ValueError" in text
    if form == "json":
        assert [entry["level"] for entry in out.entries()] == ["warning", "error"]
    assert strip_control(evil) == '[2Jbus{"event":"forged"}31m'


def test_repeated_lines_are_counted_instead(out: Lines) -> None:
    clock = ManualClock()
    set_up_logging(LogConfig(repeat=3, period_s=60), out, clock)
    log = structlog.get_logger("busd.t3")
    for vehicle in range(50):
        log.warning("no fix", vehicle=vehicle)
    log.warning("another")
    assert [e["event"] for e in out.entries()] == ["no fix"] * 3 + ["another"]
    clock.advance(61)
    log.warning("no fix", vehicle=99)
    assert out.entries()[-1]["left_out"] == 47
