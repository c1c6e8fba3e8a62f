"""What a sign holds of a stop, and what of it may be on the glass (§7). Pure.

A board comes from outside: `read_board` lets through only what can be shown without a second thought, so that nothing
behind it needs to doubt a type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

GONE_S = 60
"""A departure is no longer shown this long after its time, unless the bus stands at the stop."""
MODES = ("auto", "off", "text", "out_of_order")
_STATES = ("live", "degraded", "schedule")
_SRC = ("realtime", "schedule", "frozen")
_ST = ("ok", "arriving", "at_stop", "cancelled", "skipped")
_STATUS = ("normal", "not_started", "ended", "suspended", "diverted")
_EPOCH = re.compile(r"[A-Za-z0-9_.]{1,32}")
MAX_REV = 2**53 - 1
MAX_INSTANT = 253_402_300_799
"""year 9999, s: what can be written as a time of day"""

Json = dict[str, Any]


class Source(Enum):
    """Where the content of the glass comes from; the rows of the table in §7."""

    BOARD = "board"
    EXPIRED = "expired"
    PACK = "pack"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Glass:
    """What one stop's part of the glass shows at one instant."""

    stop: str
    source: Source
    board: Json
    """in the shape of a ``board`` message, always complete; every time in it may be shown"""
    now: float | None
    """the server's time to count down by; None = unknown, then there is no departure either"""

    @property
    def mode(self) -> str:
        return str(self.board.get("mode", "auto"))

    @property
    def is_timetable(self) -> bool:
        """Marked as timetable: nothing on it comes from a bus."""
        return bool(self.board["state"] == "schedule")


class HeldBoard:
    """A board, and until when it may be shown as live."""

    __slots__ = ("_heard_at", "_ttl", "_until", "board")

    def __init__(self, board: Json, mono: float) -> None:
        self.board = board
        self._until = self._heard_at = self._ttl = 0.0
        self._set(board, mono)

    @property
    def revision(self) -> tuple[str, int]:
        return self.board["epoch"], self.board["rev"]

    def _set(self, message: Mapping[str, Any], mono: float) -> None:
        self._until = message["now"] / 1000 + message["ttl"]
        self._heard_at, self._ttl = mono, float(message["ttl"])

    def extend(self, message: Mapping[str, Any], mono: float) -> None:
        """A ``same``, or the same board again. One that was overtaken on its way does not take anything back."""
        if self.expired_for(mono, message["now"] / 1000) > 0 or message["now"] / 1000 + message["ttl"] >= self._until:
            self._set(message, mono)

    def expired_for(self, mono: float, server_now: float) -> float:
        """Seconds since ``now`` + ``ttl``, by whichever clock says more; <= 0 while it is live.

        The sign's own clock counts too: after ``ttl`` s of silence nothing is live, whatever became of the time of day.
        """
        return max(mono - self._heard_at - self._ttl, server_now - self._until)


def read_board(message: Mapping[str, Any]) -> Json | None:
    """A ``board`` as this sign can show it, None where a required field is missing or wrong (§4 [10]).

    An odd departure, line or message is left out; an odd optional field counts as absent.
    """
    if not (
        is_revision(message)
        and _is_int(message.get("at"), 0, MAX_INSTANT * 1000)
        and all(isinstance(message.get(key), list) for key in ("lines", "deps", "msgs"))
    ):
        return None
    name = _text(message.get("name"))
    if name is None:
        return None
    state = message.get("state")
    mode, text = message.get("mode"), _text(message.get("text"))
    board: Json = {key: message[key] for key in ("stop", "epoch", "rev", "at", "now", "ttl")}
    board |= {
        "type": "board",
        "state": state if state in _STATES else "schedule",
        "name": name,
        "lines": [line for entry in message["lines"] if (line := _line(entry)) is not None],
        "deps": [dep for entry in message["deps"] if (dep := _departure(entry)) is not None],
        "msgs": [msg for entry in message["msgs"] if (msg := _message(entry)) is not None],
    }
    if mode in MODES[1:]:
        board["mode"] = mode
    if text is not None:
        board["text"] = text
    if (speech := _text(message.get("speech"))) is not None:
        board["speech"] = speech
    if (pack := _pack(message.get("pack"))) is not None:
        board["pack"] = pack
    if board["state"] == "schedule":
        board["deps"] = _scheduled(board["deps"])
    return board


def is_revision(message: Mapping[str, Any]) -> bool:
    """The fields that ``board`` and ``same`` have in common."""
    stop, epoch, ttl = message.get("stop"), message.get("epoch"), message.get("ttl")
    return (
        isinstance(stop, str)
        and isinstance(epoch, str)
        and _EPOCH.fullmatch(epoch) is not None
        and _is_int(message.get("rev"), 1, MAX_REV)
        and _is_int(message.get("now"), 0, MAX_INSTANT * 1000)
        and isinstance(ttl, int | float)
        and not isinstance(ttl, bool)
        and 0 < ttl <= 600
    )


def as_timetable(board: Json) -> Json:
    """The board without anything that only a live server can know; marked ``schedule``."""
    lines = [
        {k: v for k, v in line.items() if k not in ("passed", "headway") and (k, v) not in _OVER}
        for line in board["lines"]
    ]
    return board | {"state": "schedule", "deps": _scheduled(board["deps"]), "lines": lines}


_OVER = (("status", "not_started"), ("status", "ended"))


def at_instant(board: Json, now: float) -> Json:
    """The board without departures that have gone and messages that are over at ``now``."""
    deps = [dep for dep in board["deps"] if effective(dep) >= now - GONE_S or dep["st"] == "at_stop"]
    msgs = [msg for msg in board["msgs"] if msg.get("until") is None or msg["until"] > now]
    return board | {"deps": deps, "msgs": msgs}


def effective(dep: Mapping[str, Any]) -> int:
    """The time a departure is listed by: ``pred``, else ``sched``."""
    return int(dep["pred"] if dep["pred"] is not None else dep["sched"])


def bare_board(stop: str, name: Mapping[str, str] | None, **content: Any) -> Json:
    """A board without a revision, made by the sign itself."""
    empty: Json = {"lines": [], "deps": [], "msgs": []}
    return {"type": "board", "stop": stop, "name": name or {"und": stop}, "state": "schedule"} | empty | content


def _scheduled(deps: list[Json]) -> list[Json]:
    kept = [
        {k: v for k, v in dep.items() if k in ("key", "line", "head", "sched", "first", "last", "wc", "platform")}
        | {"pred": None, "src": "schedule", "st": dep["st"] if dep["st"] in ("cancelled", "skipped") else "ok"}
        for dep in deps
        if dep["sched"] is not None
    ]
    kept.sort(key=lambda dep: dep["sched"])
    return kept


# ---- doubts ------------------------------------------------------------------------------------------------------------


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_instant(value: object) -> bool:
    return _is_int(value, 0, MAX_INSTANT)


def seconds(value: object) -> float | None:
    """A duration as the protocol has them; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 86400 * 366:
        return float(value)
    return None


def _text(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {tag: text for tag, text in value.items() if isinstance(text, str)} or None


def _departure(entry: object) -> Json | None:
    if not isinstance(entry, dict):
        return None
    head, sched, pred = _text(entry.get("head")), entry.get("sched"), entry.get("pred")
    src, st = entry.get("src"), entry.get("st")
    good = (
        isinstance(entry.get("key"), str)
        and isinstance(entry.get("line"), str)
        and head is not None
        and (sched is None or _is_instant(sched))
        and (pred is None or _is_instant(pred))
        and not (sched is None and pred is None)
        and src in _SRC
        and st in _ST
    )
    if not good:
        return None
    if src == "schedule" or st in ("cancelled", "skipped"):  # [19]
        if sched is None:
            return None
        pred = None
    elif pred is None:
        src, st = "schedule", "ok"
    dep: Json = {"key": entry["key"], "line": entry["line"], "head": head}
    dep |= {"sched": sched, "pred": pred, "src": src, "st": st}
    if pred is not None:
        dep |= {k: entry[k] for k in ("lo", "hi") if _is_instant(entry.get(k))}
        dep |= {k: entry[k] for k in ("away", "dist", "age") if _is_int(entry.get(k), 0, 10**7)}
    dep |= {k: True for k in ("first", "last") if entry.get(k) is True}
    dep |= {k: entry[k] for k in ("occ", "veh", "route", "platform") if isinstance(entry.get(k), str)}
    if isinstance(entry.get("wc"), bool):
        dep["wc"] = entry["wc"]
    return dep


def _line(entry: object) -> Json | None:
    if not isinstance(entry, dict):
        return None
    head, headway = _text(entry.get("head")), entry.get("headway")
    if not isinstance(entry.get("line"), str) or head is None:
        return None
    line: Json = {"line": entry["line"], "head": head, "first": None, "last": None}
    line |= {k: entry[k] for k in ("first", "last", "next", "passed") if _is_instant(entry.get(k))}
    if isinstance(headway, list) and len(headway) == 2 and all(_is_int(value, 0, 86400) for value in headway):
        line["headway"] = headway
    if entry.get("status") in _STATUS:
        line["status"] = entry["status"]
    if isinstance(entry.get("color"), str):
        line["color"] = entry["color"]
    return line


def _message(entry: object) -> Json | None:
    if not isinstance(entry, dict):
        return None
    text, prio, until = _text(entry.get("text")), entry.get("prio"), entry.get("until")
    if not isinstance(entry.get("id"), str) or text is None or not _is_int(prio, 0, 9):
        return None
    return {"id": entry["id"], "prio": prio, "text": text} | ({"until": until} if _is_instant(until) else {})


def _pack(entry: object) -> Json | None:
    if not isinstance(entry, dict):
        return None
    pack_id, url, size = entry.get("id"), entry.get("url"), entry.get("bytes")
    if not isinstance(pack_id, str) or re.fullmatch(r"[0-9a-f]{64}", pack_id) is None or not isinstance(url, str):
        return None
    return {"id": pack_id, "url": url, "bytes": size if _is_int(size, 0, 1 << 20) else None}
