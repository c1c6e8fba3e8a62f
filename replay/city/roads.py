"""How fast the streets are: link by link, by time of day, with incidents; and the signals at the crossings."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from replay.city import streets
from replay.city.dice import gauss, mix, text_key, uniform, wander
from replay.city.timetable import pace

_CENTRE = streets.to_xy(36.057, 103.825)
INCIDENTS_A_DAY = 18


@dataclass(frozen=True)
class Scenario:
    """Knobs to make a day special; the defaults make an ordinary one.

    ``slow_lines``: route_id -> factor on the driving speed between ``from_at`` and ``until_at`` (epoch seconds).
    ``late_s``: every bus leaves its terminals this much after the plan.
    ``skipped_stops``: stop ids that every bus drives past.
    ``silent_buses``: rows of buses that drive but never report.
    """

    slow_lines: dict[str, float] = field(default_factory=dict)
    from_at: float = float("-inf")
    until_at: float = float("inf")
    late_s: float = 0.0
    skipped_stops: frozenset[str] = frozenset()
    silent_buses: frozenset[int] = frozenset()

    def speed_factor(self, line_id: str, at: float) -> float:
        return self.slow_lines.get(line_id, 1.0) if self.from_at <= at < self.until_at else 1.0


@dataclass(frozen=True)
class Signal:
    cycle_s: float
    green_s: float
    offset_s: float

    def wait_s(self, at: float) -> float:
        """Seconds until green; 0 when it is green."""
        phase = (at + self.offset_s) % self.cycle_s
        return 0.0 if phase < self.green_s else self.cycle_s - phase


class Link:
    """The street from one node to the next, in one direction."""

    def __init__(self, a: str, b: str, seed: int) -> None:
        at = streets.nodes()
        self.key = mix(seed, text_key(a), text_key(b))
        middle = ((at[a][0] + at[b][0]) / 2, (at[a][1] + at[b][1]) / 2)
        self.free_mps = 10.2 + 3.2 * min(abs(middle[0] - _CENTRE[0]) / 12_000, 1.0) + 0.7 * gauss(self.key, 1)
        inbound = abs(at[b][0] - _CENTRE[0]) < abs(at[a][0] - _CENTRE[0])
        self._tide = 0.08 if inbound else -0.05
        self.signal = self._signal(a, b, seed)

    @staticmethod
    def _signal(a: str, b: str, seed: int) -> Signal | None:
        """At the far end: crossings always, every third of the other places. Opposite directions are green together."""
        crossing = len(streets.neighbours()[b]) > 2
        key = mix(seed, text_key(b))
        if not streets.is_stop(b) or not (crossing or uniform(key, 3) < 0.33):
            return None
        cycle = 70.0 + 10.0 * int(uniform(key, 4) * 4)
        at = streets.nodes()
        axis = streets.bearing_deg(at[a], at[b]) % 180.0
        half = cycle / 2 if 45.0 <= axis < 135.0 else 0.0
        return Signal(cycle, cycle * (0.52 if crossing else 0.66), half + cycle * uniform(key, 5))

    def speed_mps(self, at: float, day_s: float) -> float:
        """What traffic allows at the epoch second ``at``, which is second ``day_s`` of the service day."""
        busy = pace(day_s)
        tide = self._tide * (1.0 if day_s < 12 * 3600 else -1.0) * (busy - 0.9)
        slow = busy + tide + 0.11 * wander(self.key, at, 900.0) + 0.05 * gauss(self.key, int(at // 86400))
        return max(self.free_mps / max(slow, 0.6), 2.5)


@lru_cache(maxsize=8)
def incidents(seed: int, midnight: float) -> dict[int, tuple[float, float, float]]:
    """Row of `streets` link list -> (from, until, factor): lanes that are blocked for a while on this day."""
    count = len(link_names())
    found = {}
    for i in range(INCIDENTS_A_DAY):
        key = mix(seed, int(midnight), i, 77)
        start = midnight + (6.0 + 16.0 * uniform(key, 1)) * 3600
        found[int(uniform(key, 2) * count)] = (start, start + 900 + 2400 * uniform(key, 3), 1.8 + 1.7 * uniform(key, 4))
    return found


@lru_cache(maxsize=1)
def link_names() -> tuple[tuple[str, str], ...]:
    return tuple((a, b) for a, others in sorted(streets.neighbours().items()) for b in others)


class Roads:
    """All links of the city for one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._links = {name: Link(*name, seed) for name in link_names()}
        self._row = {name: row for row, name in enumerate(link_names())}

    def link(self, a: str, b: str) -> Link:
        return self._links[a, b]

    def speed_mps(self, a: str, b: str, at: float, midnight: float) -> float:
        speed = self._links[a, b].speed_mps(at, at - midnight)
        blocked = incidents(self._seed, midnight).get(self._row[a, b])
        if blocked is not None and blocked[0] <= at < blocked[1]:
            speed = max(speed / blocked[2], 1.8)
        return speed
