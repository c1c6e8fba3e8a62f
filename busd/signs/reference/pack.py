"""The offline pack on the sign's side (§7): believed only if its hash is right, read with care, shown as timetable."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from busd.signs.reference.boards import MAX_INSTANT, Json, bare_board

MAX_BYTES = 512 * 1024
NIGHT_S = 3 * 3600
"""A service day is over three hours after midnight: a bus at 00:30 is still today's last one."""
DAY_S = 86400


class _Line(msgspec.Struct):
    line: str
    head: dict[str, str]
    color: str = ""
    headway: list[tuple[int, int, int]] = []


class _Body(msgspec.Struct):
    v: int
    stop: str
    tz: str
    from_: int = msgspec.field(name="from")
    to: int
    name: dict[str, str]
    lines: list[_Line]
    deps: list[tuple[int, int]]


def is_zone(name: str) -> bool:
    """True for a name of the tz database."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


_decoder = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class OfflinePack:
    """A pack that was verified. Build with `read`."""

    id: str
    _body: _Body
    _times: list[int]

    @classmethod
    def read(cls, pack_id: str, stop: str, data: bytes) -> OfflinePack | None:
        """None for a pack that is damaged, too large, of another version, or another stop's."""
        if len(data) > MAX_BYTES or hashlib.sha256(data).hexdigest() != pack_id:
            return None
        try:
            body = _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError):
            return None
        times = [at for at, _ in body.deps]
        good = (
            body.v == 1
            and body.stop == stop
            and is_zone(body.tz)
            and 0 <= body.from_ <= body.to <= MAX_INSTANT
            and bool(body.name)
            and all(line.head for line in body.lines)
            and all(earlier <= later for earlier, later in pairwise(times))
            and all(body.from_ <= at < body.to and 0 <= i < len(body.lines) for at, i in body.deps)
        )
        return cls(pack_id, body, times) if good else None

    @property
    def timezone(self) -> str:
        return self._body.tz

    @property
    def name(self) -> dict[str, str]:
        return self._body.name

    def board(self, now: float, max_deps: int) -> Json | None:
        """The timetable from ``now`` on in the shape of a board; None before its first and after its last instant."""
        body = self._body
        if not body.from_ <= now < body.to:
            return None
        start = bisect_left(self._times, now)
        day_start = body.from_ + (max(0.0, now - NIGHT_S - body.from_) // DAY_S) * DAY_S
        deps = [self._departure(at, i) for at, i in body.deps[start : start + max_deps]]
        lines = [entry for i in range(len(body.lines)) if (entry := self._line(i, day_start, now)) is not None]
        return bare_board(body.stop, body.name, lines=lines, deps=deps)

    def _departure(self, at: int, i: int) -> Json:
        line = self._body.lines[i]
        return {
            "key": f"pack:{i}:{at}",
            "line": line.line,
            "head": line.head,
            "sched": at,
            "pred": None,
            "src": "schedule",
            "st": "ok",
        }

    def _line(self, i: int, day_start: float, now: float) -> Json | None:
        """First and last bus of the service day; None for a line that has nothing today and nothing tomorrow."""
        line = self._body.lines[i]
        today = self._of_day(i, day_start)
        entry: Json = {"line": line.line, "head": line.head, "first": None, "last": None}
        if line.color:
            entry["color"] = line.color
        for from_at, to_at, headway_s in line.headway:
            if from_at <= now < to_at and headway_s > 0:
                entry["headway"] = [headway_s, headway_s]
        if today:
            entry |= {"first": today[0], "last": today[-1]}
        if not today or today[-1] < now:
            coming = self._of_day(i, day_start + DAY_S)
            if coming:
                entry["next"] = coming[0]
            elif not today and "headway" not in entry:
                return None
            if today:
                entry["status"] = "ended"
        return entry

    def _of_day(self, i: int, day_start: float) -> list[int]:
        first = bisect_left(self._times, day_start + NIGHT_S)
        end = bisect_left(self._times, day_start + DAY_S + NIGHT_S)
        return [at for at, line in self._body.deps[first:end] if line == i]
