"""Remote care of a sign (§4 ``cmd``) and its telemetry (§3 ``tele``), without I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from busd.signs.reference.boards import Json, seconds

MAX_REMEMBERED = 64
"""commands whose answers are kept, so that a repeated id is answered and not executed"""
TELE_S = 300.0
"""[§3] at most one telemetry in this time"""
TELE_BYTES = 512
MAX_ID = 128


class Hardware(Protocol):
    """What the machine around a sign can do. Both calls are quick and raise nothing."""

    def operate(self, op: str, args: Mapping[str, Any]) -> tuple[bool, Json]:
        """(whether it was done, what to report). ``op`` is one of the protocol's, or one that this sign cannot know."""
        ...

    def telemetry(self) -> Json:
        """Fields of ``tele`` that only the machine knows: volt, temp, rssi, lux, door, panel_err, reboot."""
        ...


class NoHardware:
    """A sign that is nothing but a program."""

    def operate(self, op: str, args: Mapping[str, Any]) -> tuple[bool, Json]:
        return False, {"error": "unsupported"}

    def telemetry(self) -> Json:
        return {}


class DoneList:
    """Each command id is executed at most once; the answer to a repetition is the one that was given before."""

    def __init__(self) -> None:
        self._done: OrderedDict[str, Json] = OrderedDict()

    def find(self, command_id: str) -> Json | None:
        return self._done.get(command_id)

    def add(self, command_id: str, ok: bool, info: Json) -> Json:
        answer: Json = {"type": "done", "id": command_id, "ok": ok, "info": info}
        self._done[command_id] = answer
        if len(self._done) > MAX_REMEMBERED:
            self._done.popitem(last=False)
        return answer

    def dump(self) -> list[Json]:
        return list(self._done.values())

    def load(self, answers: object) -> None:
        """What `dump` gave, from a file that may have suffered."""
        for answer in answers if isinstance(answers, list) else []:
            if isinstance(answer, dict) and isinstance(answer.get("id"), str):
                info = answer.get("info")
                self.add(answer["id"], answer.get("ok") is True, info if isinstance(info, dict) else {})


class HasParams(Protocol):
    """What ``params`` may look at and change; see `PARAMS` for the limits."""

    max_deps: int
    min_interval: float
    hysteresis: float
    tele_s: float


PARAMS = {"max_deps": (1, 30), "min_interval": (0.1, 600), "hysteresis": (0, 300), "tele_s": (TELE_S, 86400)}


def change_params(sign: HasParams, wanted: object) -> bool:
    """Set what ``wanted`` names, all of it or nothing; False if it may not be."""
    if not isinstance(wanted, dict):
        return False
    for name, given in wanted.items():
        value, (low, high) = seconds(given), PARAMS.get(name, (1, 0))
        if value is None or not low <= value <= high:
            return False
    for name, given in wanted.items():
        setattr(sign, name, int(given) if name == "max_deps" else float(given))
    return True


class Meter:
    """Bytes of the calendar month (UTC) by the server's time, both directions, as the SIM card's owner pays them."""

    def __init__(self) -> None:
        self._month: tuple[int, int] | None = None
        self.used = 0

    def add(self, count: int, now: float | None) -> None:
        if now is not None:
            today = datetime.fromtimestamp(now, UTC)
            if self._month not in (None, (today.year, today.month)):
                self.used = 0
            self._month = today.year, today.month
        self.used += count


def telemetry_message(fields: Mapping[str, Any]) -> bytes | None:
    """A ``tele`` of at most `TELE_BYTES`; the longest fields go first where it would be more."""
    left = {key: value for key, value in fields.items() if value is not None}
    while left:
        data = orjson.dumps({"type": "tele", **left}, option=orjson.OPT_NON_STR_KEYS)
        if len(data) <= TELE_BYTES:
            return data
        left.pop(max(left, key=lambda key: len(orjson.dumps(left[key]))))
    return None
