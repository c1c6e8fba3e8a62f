"""Has a bus left the route of its run? A state with hysteresis, entered and left on the evidence of several fixes.

One fix beside the street is noise, three are a diversion; but where fixes are two minutes apart one has to do. So each
rule says how many fixes far from the shape are enough, and how long the vehicle had been silent before the last:

    entered  FAR_FIXES    three fixes far from the shape, and really moved between them
             FAR_A_WHILE  two of them, well moved or too far for noise
             STANDING     three of them, clearly far, over a minute: in a jam on the diversion
             SPARSE       one, clearly far, after a long silence
             SILENT       one, clearly far, and a long silence after it
             FAR_AWAY     one, so far that no noise explains it, at a speed that a bus can drive
    left     NEAR_FIXES   two fixes on the street, one as far along it after the other as the bus has moved
             NEAR_SPARSE  one, after a long silence
             NEAR_A_WHILE six that are not far, on average close: shapes that lie a little beside their street

Only a bus that was seen on its run, behind the first stop and before the last, can leave the route: one that goes home
from the terminal, or whose source has forgotten to change the trip, is something else.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from busd.tracking_parameters import OffRoute

TRAIL = 200
"""points of the way that are kept of one excursion"""
Point = tuple[float, float]
"""x, y in the network's frame"""


class Verdict(Enum):
    ON = "on"
    """on its route, or not proven to be off it: the place found is its place"""
    HELD = "held"
    """no place, or one that is not believed: its place stays where it was"""
    LEFT = "left"
    """off its route from this fix on"""
    BACK = "back"
    """on its route again: the place found is its place"""


@dataclass(frozen=True)
class Sighting:
    """One fix against the shape of the run. ``along_m`` NaN: no place in the window was found."""

    at: float
    x: float
    y: float
    offset_m: float
    """from the shape, scaled to its tolerance (`scaled`)"""
    along_m: float
    accuracy_m: float = 0.0


@dataclass
class Excursion:
    """A vehicle that may be leaving its route, or has left it."""

    slot: int
    left_m: float  # along the shape, of the last fix on it
    left_at: float
    first_at: float  # of the first fix far from it
    first_x: float
    first_y: float
    last_at: float  # of the newest fix, and how far from the shape it was
    last_m: float = 0.0
    far: int = 0
    moved_m: float = 0.0
    is_off: bool = False
    off_at: float = -math.inf
    # of fixes that may be back on the street
    near: int = 0
    beside: int = 0
    beside_m: float = 0.0
    try_m: float = math.nan
    try_x: float = math.nan
    try_y: float = math.nan
    trail: list[Point] = field(default_factory=list)


class OffRouteWatch:
    """The excursions of all vehicles; empty while all buses are on their routes."""

    def __init__(self, p: OffRoute) -> None:
        self.p = p
        self._open: dict[int, Excursion] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def watches(self, row: int) -> bool:
        return row in self._open

    def is_off(self, row: int) -> bool:
        excursion = self._open.get(row)
        return excursion is not None and excursion.is_off

    def find(self, row: int) -> Excursion | None:
        return self._open.get(row)

    def forget(self, row: int) -> Excursion | None:
        """The vehicle has left its run; its excursion so far."""
        return self._open.pop(row, None)

    def see(self, row: int, slot: int, seen: Sighting, last: tuple[float, float], remaining_m: float) -> Verdict:
        """``last``: metres along the shape and instant of the last fix on it; ``remaining_m``: from there to the last
        stop, 0 or less where the vehicle has not left its first stop. `find` gives the excursion of LEFT and BACK; after
        BACK it has to be taken with `forget`."""
        excursion = self._open.get(row)
        if excursion is not None and excursion.slot != slot:
            del self._open[row]
            excursion = None
        if excursion is None:
            if not self._is_far(seen):
                return Verdict.ON if math.isfinite(seen.along_m) else Verdict.HELD
            if remaining_m <= 0 or math.isnan(last[0]):
                return Verdict.ON if math.isfinite(seen.along_m) else Verdict.HELD
            excursion = Excursion(slot, last[0], last[1], seen.at, seen.x, seen.y, last[1])
            self._open[row] = excursion
        verdict = self._off(excursion, seen) if excursion.is_off else self._suspect(row, excursion, seen)
        excursion.last_at, excursion.last_m = seen.at, seen.offset_m
        return verdict

    def _is_far(self, seen: Sighting) -> bool:
        return seen.offset_m > max(self.p.far_m, 2 * seen.accuracy_m)

    def _suspect(self, row: int, e: Excursion, seen: Sighting) -> Verdict:
        here = Verdict.ON if math.isfinite(seen.along_m) else Verdict.HELD
        if seen.offset_m <= self.p.back_m:
            del self._open[row]
            return here
        if not self._is_far(seen):
            return here
        e.far += 1
        e.moved_m = max(e.moved_m, math.hypot(seen.x - e.first_x, seen.y - e.first_y))
        _extend(e.trail, seen)
        if not self._has_left(e, seen):
            return here
        e.is_off, e.off_at = True, seen.at
        return Verdict.LEFT

    def _has_left(self, e: Excursion, seen: Sighting) -> bool:
        p = self.p
        silence, since = seen.at - e.last_at, seen.at - e.first_at
        creeps = e.moved_m >= p.crept_m and (since >= p.while_s or seen.offset_m >= p.no_noise_m)
        if e.far >= p.far_fixes and (e.moved_m >= p.moved_m or creeps):
            return True  # FAR_FIXES
        if e.far >= p.far_fixes and since >= p.standing_s and seen.offset_m >= p.clear_m:
            return True  # STANDING
        if e.far >= 2 and since >= p.while_s and (e.moved_m >= p.moved_m or seen.offset_m >= p.no_noise_m):
            return True  # FAR_A_WHILE
        if silence >= p.sparse_s and seen.offset_m >= p.clear_m:
            return True  # SPARSE
        steady = seen.offset_m <= p.sure_speed_mps * max(seen.at - e.left_at, 1.0)
        return seen.offset_m >= p.sure_m and steady  # FAR_AWAY

    # ---- silence -----------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When the next suspect will have been silent for too long to wait for its next fix; inf if none will."""
        waiting = (e.last_at for e in self._open.values() if not e.is_off and e.last_m >= self.p.clear_m)
        return min(waiting, default=math.inf) + self.p.silent_s

    def wait(self, at: float) -> list[int]:
        """Suspects that were clearly far and have said nothing since: rows that are off their route from now on."""
        gone = []
        for row, e in sorted(self._open.items()):
            if not e.is_off and e.last_m >= self.p.clear_m and e.last_at + self.p.silent_s <= at:  # SILENT
                e.is_off, e.off_at = True, at
                gone.append(row)
        return gone

    def _off(self, e: Excursion, seen: Sighting) -> Verdict:
        p = self.p
        far = self._is_far(seen)
        if far:
            _extend(e.trail, seen)
        if math.isnan(seen.along_m):
            e.near = e.beside = 0
            e.try_m = math.nan
            return Verdict.HELD
        step, moved = seen.along_m - e.try_m, math.hypot(seen.x - e.try_x, seen.y - e.try_y)
        agrees = abs(step - moved) <= 0.5 * moved + p.slack_m
        e.try_m, e.try_x, e.try_y = seen.along_m, seen.x, seen.y
        near = seen.offset_m <= max(p.back_m, 2 * seen.accuracy_m)
        e.near = (e.near + 1 if agrees else 1) if near else 0
        e.beside, e.beside_m = (e.beside + 1, e.beside_m + seen.offset_m) if agrees and not far else (0, 0.0)
        sparse = seen.at - e.last_at >= p.sparse_s
        a_while = e.beside >= p.beside_fixes and e.beside_m / e.beside <= p.beside_m
        if e.near >= p.near_fixes or (near and sparse) or a_while:
            return Verdict.BACK
        return Verdict.HELD if not agrees or near else Verdict.ON

    # ---- snapshot ----------------------------------------------------------------------------------------------------

    def dump(self) -> list[dict[str, Any]]:
        return [{"row": row} | asdict(e) for row, e in sorted(self._open.items())]

    def load(self, state: list[dict[str, Any]]) -> None:
        self._open = {}
        for entry in state:
            values = {name: value for name, value in entry.items() if name != "row"}
            values["trail"] = [(float(x), float(y)) for x, y in values["trail"]]
            self._open[int(entry["row"])] = Excursion(**values)


def _extend(trail: list[Point], seen: Sighting) -> None:
    """The way of a bus, without the points where it stands; bounded by leaving out every other one."""
    if trail and math.hypot(seen.x - trail[-1][0], seen.y - trail[-1][1]) < 15.0:
        return
    trail.append((seen.x, seen.y))
    if len(trail) > TRAIL:
        del trail[1:-1:2]


def may_have_finished(remaining_m: float, moved_m: float, zone_m: float) -> bool:
    """Could a bus that is ``moved_m`` (straight) from its last fix on the route have passed the end of its run since?"""
    return remaining_m <= zone_m + 1.2 * moved_m
