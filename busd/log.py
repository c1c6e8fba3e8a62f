"""Logs to stderr: JSON lines, or a readable console on a terminal. `set_up_logging` once at the start of the process.

Two things keep a log usable when the outside is noisy: text that came from devices and feeds loses its control
characters (an id must not be able to repaint a terminal or forge a line), and a line that repeats is written a few times
a period and then only counted. Modules use ``structlog.get_logger(__name__)``; lines of libraries that use the standard
`logging` go the same way.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from busd.clock import Clock, SystemClock
from busd.config import LogConfig
from busd.metrics import LOG_SUPPRESSED

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_CONTROL_BUT_LINES = re.compile("(?![\n\t])" + _CONTROL.pattern)
_MULTILINE = ("exception", "stack")
_LONGEST = 2000
_DEEPEST = 4


def strip_control(text: str) -> str:
    """``text`` without control characters, line separators and marks that turn the writing direction."""
    return _CONTROL.sub("", text)


def set_up_logging(
    config: LogConfig | None = None, stream: TextIO | None = None, clock: Clock | None = None
) -> logging.Handler:
    """Sends every log line to ``stream`` (default stderr); may be called again. Returns the handler in use."""
    config = config or LogConfig()
    stream = stream or sys.stderr
    console = config.format == "console" or (config.format == "auto" and stream.isatty())
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    colors = console and stream.isatty()
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _clean,
        renderer,
    ]

    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=first, processors=last))
    handler.addFilter(RepeatFilter(config.repeat, config.period_s, clock or SystemClock()))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    for chatty in ("asyncio", "aiohttp.access", "websockets"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *first,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return handler


class RepeatFilter(logging.Filter):
    """Lets ``repeat`` lines with one (logger, level, text) pass in ``period_s``; the next period's first says how many
    were left out. The text is the event, not its values, so a thousand bad devices count as one line. Remembers
    ``SIZE`` texts."""

    SIZE = 1024

    def __init__(self, repeat: int, period_s: float, clock: Clock) -> None:
        super().__init__()
        self._repeat = repeat
        self._period_s = period_s
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int, str], list[float]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.msg.get("event", "") if isinstance(record.msg, Mapping) else record.msg
        key = (record.name, record.levelno, str(text)[:200])
        now = self._clock.monotonic()
        entry = self._seen.get(key)
        if entry is None or now - entry[0] >= self._period_s:
            left_out = int(entry[1]) - self._repeat if entry else 0
            self._seen[key] = [now, 1.0]
            self._seen.move_to_end(key)
            if len(self._seen) > self.SIZE:
                self._seen.popitem(last=False)
            if left_out > 0 and isinstance(record.msg, dict):
                record.msg["left_out"] = left_out
            return True
        entry[1] += 1
        if entry[1] > self._repeat:
            LOG_SUPPRESSED.inc()
            return False
        return True


def _clean(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {strip_control(str(key)): _cleaned(value, key in _MULTILINE) for key, value in event.items()}


def _cleaned(value: Any, lines: bool = False, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {strip_control(str(k)): _cleaned(v, lines, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_cleaned(v, lines, depth + 1) for v in value]
    text = value if isinstance(value, str) else str(value)
    cleaned = (_CONTROL_BUT_LINES if lines else _CONTROL).sub("", text)
    return cleaned if lines or len(cleaned) <= _LONGEST else cleaned[:_LONGEST] + "…"
