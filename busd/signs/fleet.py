"""The fleet as operators see it: one row per sign, chosen and sorted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from busd.signs.condition import ONLINE, STATES, UNSEEN, SignHealth
from busd.signs.control import SignControl
from busd.signs.glass import quantile
from busd.signs.targets import parse_target
from gtfs.network import Network

SORTS = ("sign", "state", "seen", "glass")
_WORST_FIRST = {state: i for i, state in enumerate((*STATES[1:-1], UNSEEN, ONLINE))}


class Choice(msgspec.Struct, frozen=True):
    """Which signs are wanted; empty fields choose nothing. ``alarmed``: only signs with an alarm."""

    q: str = ""
    """words, all of which are in the id, name, place, stop ids or stop names"""
    state: str = ""
    group: str = ""
    line: str = ""
    alarmed: bool = False
    sort: str = "sign"


class Page(msgspec.Struct):
    """``total`` signs are chosen, ``counts`` tells their states; ``signs`` are the ids from ``offset`` on."""

    total: int
    counts: dict[str, int]
    signs: list[str]


class Fleet:
    """Reads what `SignControl` holds."""

    def __init__(self, control: SignControl, network: Callable[[], Network]) -> None:
        self._control, self._network = control, network
        self._names: tuple[str, dict[str, str]] = "", {}

    def choose(self, choice: Choice, offset: int = 0, limit: int = 100) -> Page:
        """A page of the chosen signs. The states are counted before ``state`` chooses, so that a page can offer them."""
        control, health = self._control, self._control.health
        signs: Iterable[str] = health.known_signs()
        if choice.line:
            on_line = set(control.targets.signs(parse_target(f"line:{choice.line}")))
            signs = (sign for sign in signs if sign in on_line)
        if choice.group:
            in_group = set(control.targets.signs(parse_target(f"group:{choice.group}")))
            signs = (sign for sign in signs if sign in in_group)
        if choice.alarmed:
            alarmed = {alarm.sign for alarm in health.alarms.active()}
            signs = (sign for sign in signs if sign in alarmed)
        if words := choice.q.casefold().split():
            signs = (sign for sign in signs if all(word in self._haystack(sign) for word in words))
        found = [(sign, health.state_of(sign)) for sign in signs]
        counts = Counter(state for _, state in found)
        chosen = [sign for sign, state in found if choice.state in ("", state)]
        chosen.sort()
        if choice.sort != "sign":
            chosen.sort(key=self._rank(choice.sort))
        return Page(len(chosen), dict(counts), chosen[offset : offset + limit])

    def _rank(self, sort: str) -> Callable[[str], float]:
        health = self._control.health
        if sort == "state":
            return lambda sign: _WORST_FIRST[health.state_of(sign)]

        def seen(sign: str) -> float:
            known = health.find(sign)
            return known.heard_at if known is not None else 0.0

        def glass(sign: str) -> float:
            known = health.find(sign)
            return -(quantile(known.glass, 0.95) or 0.0) if known is not None else 0.0

        return seen if sort == "seen" else glass

    def _haystack(self, sign: str) -> str:
        record, names = self._control.registry.find(sign), self._stop_names()
        stops = self._control.health.stops_of(sign)
        own = (record.name, record.place) if record is not None else ()
        return "\n".join((sign.casefold(), *(word.casefold() for word in own), *(names.get(s, s) for s in stops)))

    def _stop_names(self) -> dict[str, str]:
        """stop id -> the id and all its names, for searching."""
        network = self._network()
        if self._names[0] != network.digest:
            names = {
                stop_id: "\n".join((stop_id, *network.stop_text(row).values())).casefold()
                for row, stop_id in enumerate(network.stop_id)
            }
            self._names = network.digest, names
        return self._names[1]

    @property
    def timezone(self) -> str:
        return self._network().timezone

    # ---- rows --------------------------------------------------------------------------------------------------------

    def row(self, sign: str) -> dict[str, Any] | None:
        """All that is known of one sign; None for one that nobody knows."""
        control = self._control
        record, health = control.sign(sign)
        if record is None and health is None:
            return None
        mode = control.modes.of(sign)
        row: dict[str, Any] = {
            "sign": sign,
            "state": control.health.state_of(sign),
            "conditions": list(health.conditions) if health is not None else [],
            "alarms": [
                {"id": a.alarm_id, "kind": a.kind, "raised_at": a.raised_at} for a in control.health.alarms.of(sign)
            ],
            "stops": list(control.health.stops_of(sign)),
            "mode": mode.mode if mode is not None else "auto",
            "is_entered": record is not None,
        }
        if mode is not None and mode.text:
            row["text"] = mode.text
        if record is not None:
            row |= {
                "name": record.name,
                "place": record.place,
                "groups": list(record.groups),
                "has_token": bool(record.token),
                "is_blocked": record.is_blocked,
            }
        return row | (self._life(health) if health is not None else {})

    def _life(self, health: SignHealth) -> dict[str, Any]:
        p50, p95, p99 = (quantile(health.glass, share) for share in (0.5, 0.95, 0.99))
        return {
            "connected_at": health.connected_at,
            "heard_at": health.heard_at or None,
            "closed_at": health.closed_at,
            "close_code": health.close_code,
            "sessions": health.sessions,
            "fw": health.fw,
            "hw": health.hw,
            "rows": health.rows,
            "cols": health.cols,
            "lang": list(health.lang),
            "caps": list(health.caps),
            "shown": {stop: list(revision) for stop, revision in health.shown.items()},
            "shown_at": health.shown_at,
            "draw_error": health.draw_error,
            "tele": health.tele,
            "tele_at": health.tele_at,
            "glass": {"p50": _round(p50), "p95": _round(p95), "p99": _round(p99), "samples": sum(health.glass)},
            "traffic": {month: list(both) for month, both in sorted(health.traffic.items(), reverse=True)},
        }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
