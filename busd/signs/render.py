"""A Board becomes the JSON of busd.sign.v1: the one place, for signs, SSE and polling alike.

Rules in brackets, e.g. [20], are those of docs/sign-protocol.md. They are made true here whatever the engine hands
over, because a sign that trusts them is cheap hardware far away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from busd.signs.plain import MAX_TEXT, plain
from busd.types import Basis, Board, Departure, LineAtStop, StopStatus
from gtfs.network import Network

MAX_BYTES = 65536
"""Largest server message [3]."""
MAX_MESSAGE_TEXT = 1000
GONE_S = 60
"""A departure this long before the board's ``at`` is no longer listed [25]."""

_SRC = {Basis.SCHEDULE: "schedule", Basis.REALTIME: "realtime", Basis.FROZEN: "frozen"}
_ST = {
    StopStatus.OK: "ok",
    StopStatus.ARRIVING: "arriving",
    StopStatus.AT_STOP: "at_stop",
    StopStatus.CANCELLED: "cancelled",
    StopStatus.SKIPPED: "skipped",
}
_OCC = ("empty", "many_seats", "few_seats", "standing", "crushed", "full", "not_boarding")

Langs = tuple[str, ...]
"""BCP 47 tags a client wants; empty = every language there is."""


def to_ms(at: float) -> int:
    """Epoch seconds -> integer milliseconds."""
    return round(at * 1000)


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Without control, ANSI and bidi characters (plain.py), and at most ``limit`` characters."""
    return plain(text, limit)


def choose_langs(text: Mapping[str, str], langs: Langs, fallback: str, limit: int = MAX_TEXT) -> dict[str, str]:
    """A Text with every wanted language that ``text`` has, and at least one entry [4].

    Tags match as RFC 4647 lookup does, in both directions (wanted ``zh-Hans`` takes ``zh`` and the other way round),
    and go out under the name the client asked for: a cheap sign compares strings.
    """
    chosen: dict[str, str] = {}
    if langs:
        lower = {tag.lower(): value for tag, value in text.items()}
        for wanted in langs:
            found = _lookup(lower, wanted.lower())
            if found is not None and (value := clean(found, limit)):
                chosen[wanted] = value
    if not chosen:
        for tag, value in text.items():
            if value := clean(value, limit):
                chosen[tag] = value
                if langs:
                    break
    return chosen or {"und": clean(fallback, limit)}


def _lookup(lower: Mapping[str, str], wanted: str) -> str | None:
    tag = wanted
    while tag:
        if tag in lower:
            return lower[tag]
        tag = tag.rpartition("-")[0]
    prefix = wanted + "-"
    return next((value for tag, value in lower.items() if tag.startswith(prefix)), None)


class _Texts:
    """Texts of one timetable in one choice of languages, made once: the same heads stand on thousands of boards."""

    def __init__(self, network: Network, langs: Langs) -> None:
        self._network = network
        self._langs = langs
        self._heads: dict[int, dict[str, str]] = {}
        self._lines: dict[int, tuple[str, str]] = {}

    def head(self, headsign_idx: int) -> dict[str, str]:
        text = self._heads.get(headsign_idx)
        if text is None:
            known = self._network.headsign_text(headsign_idx) if headsign_idx >= 0 else {}
            text = self._heads[headsign_idx] = choose_langs(known, self._langs, "")
        return text

    def line(self, route_idx: int) -> tuple[str, str]:
        """(short name as printed on the bus, colour)"""
        line = self._lines.get(route_idx)
        if line is None:
            name = clean(self._network.route_short_name[route_idx]) or clean(self._network.route_id[route_idx])
            line = self._lines[route_idx] = (name, self._network.route_color[route_idx])
        return line


@lru_cache(maxsize=32)
def _texts(network: Network, langs: Langs) -> _Texts:
    return _Texts(network, langs)


@lru_cache(maxsize=4)
def _inexact_trips(network: Network) -> frozenset[int]:
    """Trips of frequencies.txt with exact_times=0: their clock times are made up, so nobody may be shown one."""
    rows: Iterable[tuple[int, int]] = zip(network.frequency_trip.tolist(), network.frequency_exact.tolist())
    return frozenset(trip for trip, exact in rows if not exact)


def departure_key(departure: Departure, network: Network) -> str:
    """trip id : service date : stop_sequence, and the run's start for trips of frequencies.txt [18]."""
    trip = departure.trip
    sequence = int(network.stop_sequence[int(network.trip_time_offset[trip.trip_idx]) + departure.stop_pos])
    key = f"{network.trip_id[trip.trip_idx]}:{trip.service_date}:{sequence}"
    return key if trip.start_s is None else f"{key}:{trip.start_s}"


def _departure(departure: Departure, board: Board, network: Network, texts: _Texts) -> dict[str, Any] | None:
    """None for a departure that may not be listed: long gone [25], or without any time to show."""
    trip_idx = departure.trip.trip_idx
    sched_at = departure.sched_at
    if departure.trip.start_s is not None and trip_idx in _inexact_trips(network):
        sched_at = None
    basis, status, pred_at = departure.basis, departure.status, departure.pred_at
    dropped = status in (StopStatus.CANCELLED, StopStatus.SKIPPED)
    if board.state == "schedule" or (pred_at is None and not dropped):
        basis = Basis.SCHEDULE  # [16] [19]: a time that rests on no position is the timetable's
    if basis is Basis.SCHEDULE and not dropped:
        status = StopStatus.OK
    shows_prediction = pred_at is not None and basis is not Basis.SCHEDULE and not dropped
    sched = None if sched_at is None else math.floor(sched_at)
    pred = math.floor(pred_at) if shows_prediction and pred_at is not None else None
    effective = pred if pred is not None else sched
    if effective is None:
        return None
    if effective < to_ms(board.at) / 1000 - GONE_S and status is not StopStatus.AT_STOP:
        return None
    line, _ = texts.line(departure.route_idx)
    row: dict[str, Any] = {
        "key": clean(departure_key(departure, network), 400),
        "line": line,
        "head": texts.head(departure.headsign_idx),
        "sched": sched,
        "pred": pred,
        "src": _SRC[basis],
        "st": _ST[status],
    }
    if pred is not None:
        if departure.low_at is not None:
            row["lo"] = min(math.floor(departure.low_at), pred)
        if departure.high_at is not None:
            row["hi"] = max(math.ceil(departure.high_at), pred)
        if departure.age_s is not None:
            row["age"] = max(0, round(departure.age_s))
        if departure.stops_away is not None and departure.stops_away >= 0:
            row["away"] = departure.stops_away
        if departure.distance_m is not None:
            row["dist"] = max(0, round(departure.distance_m))
        if departure.occupancy is not None and 0 <= departure.occupancy < len(_OCC):
            row["occ"] = _OCC[departure.occupancy]
        if departure.vehicle_id is not None:
            row["veh"] = clean(departure.vehicle_id)
    wheelchair = int(network.trip_wheelchair[trip_idx])
    if wheelchair:
        row["wc"] = wheelchair == 1
    if departure.first:
        row["first"] = True
    if departure.last:
        row["last"] = True
    return row


def _effective(row: Mapping[str, Any]) -> int:
    at = row["pred"] if row["pred"] is not None else row["sched"]
    return int(at)


def _seconds(at: float | None) -> int | None:
    return None if at is None else math.floor(at)


def _line(entry: LineAtStop, texts: _Texts) -> dict[str, Any]:
    name, color = texts.line(entry.route_idx)
    row: dict[str, Any] = {
        "line": name,
        "head": texts.head(entry.headsign_idx),
        "first": _seconds(entry.first_at),
        "last": _seconds(entry.last_at),
    }
    if entry.next_at is not None:
        row["next"] = _seconds(entry.next_at)
    if entry.passed_at is not None:
        row["passed"] = _seconds(entry.passed_at)
    if entry.headway_s is not None:
        row["headway"] = [round(entry.headway_s[0]), round(entry.headway_s[1])]
    if entry.status != "normal":
        row["status"] = entry.status
    if color:
        row["color"] = color
    return row


def board_object(board: Board, network: Network, langs: Langs, max_deps: int) -> dict[str, Any]:
    """The board as a dict, all fields but ``now``."""
    texts = _texts(network, langs)
    rows = [row for d in board.departures if (row := _departure(d, board, network, texts)) is not None]
    rows.sort(key=_effective)  # by the integers that are shown [23]; equal ones stay in the engine's order
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        unique.setdefault(row["key"], row)  # [18]
    deps = list(unique.values())[:max_deps]
    lines = [_line(entry, texts) for entry in board.lines]
    named = {line["line"] for line in lines}
    for dep in deps:
        if dep["line"] not in named:  # [17]
            named.add(dep["line"])
            lines.append({"line": dep["line"], "head": dep["head"], "first": None, "last": None})
    stop_id = network.stop_id[board.stop_idx]
    ttl = min(600.0, max(10.0, board.ttl_s))
    return {
        "type": "board",
        "stop": stop_id,
        "epoch": board.epoch,
        "rev": board.rev,
        "at": to_ms(board.at),
        "ttl": int(ttl) if ttl == int(ttl) else ttl,
        "state": board.state,
        "name": choose_langs(network.stop_text(board.stop_idx), langs, stop_id),
        "lines": lines,
        "deps": deps,
        "msgs": [
            {
                "id": clean(message.message_id),
                "prio": message.priority,
                "text": choose_langs(message.text, langs, "", MAX_MESSAGE_TEXT),
                **({} if message.until_at is None else {"until": math.floor(message.until_at)}),
            }
            for message in sorted(board.messages, key=lambda message: -message.priority)
        ],
    }


def board_body(board: Board, network: Network, langs: Langs, max_deps: int) -> bytes:
    """The JSON without its end: ``now`` is spliced on by `with_now`. At most `MAX_BYTES` with it."""
    content = board_object(board, network, langs, max_deps)
    body = orjson.dumps(content)[:-1]
    while len(body) > MAX_BYTES - 32 and _shorten(content):
        body = orjson.dumps(content)[:-1]
    return body


def _shorten(content: dict[str, Any]) -> bool:
    """Make a board that is too large for one message smaller: far departures first, emergencies last."""
    deps, lines, msgs = content["deps"], content["lines"], content["msgs"]
    if len(deps) > 8:
        content["deps"] = deps[: len(deps) // 2]
    elif len(lines) > 1 and any(line["line"] not in {d["line"] for d in deps} for line in lines):
        content["lines"] = [line for line in lines if line["line"] in {d["line"] for d in deps}]
    elif msgs:
        content["msgs"] = msgs[: len(msgs) // 2]
    elif deps:
        content["deps"] = deps[: len(deps) // 2]
    elif lines:
        content["lines"] = lines[: len(lines) // 2]
    else:
        return False
    return True


def with_now(body: bytes, now_ms: int) -> bytes:
    return b'%b,"now":%d}' % (body, now_ms)


def board_json(board: Board, network: Network, langs: Langs, max_deps: int, now_ms: int) -> bytes:
    """A complete ``board`` message. ``network`` is the timetable the board was made from, ``max_deps`` 1-30."""
    return with_now(board_body(board, network, langs, max_deps), max(now_ms, to_ms(board.at)))


def same_json(board: Board, stop_id: str, now_ms: int) -> bytes:
    """``same`` for the latest board: extends its validity without sending it again."""
    ttl = min(600.0, max(10.0, board.ttl_s))
    return orjson.dumps(
        {
            "type": "same",
            "stop": stop_id,
            "epoch": board.epoch,
            "rev": board.rev,
            "now": max(now_ms, to_ms(board.at)),
            "ttl": int(ttl) if ttl == int(ttl) else ttl,
        }
    )


def text_frame(payload: bytes) -> bytes:
    """One unmasked WebSocket text frame (RFC 6455 §5.2), as servers send them."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
