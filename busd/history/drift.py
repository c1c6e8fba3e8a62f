"""Says when a line's intervals stop telling the truth, and when they do again.

Watched over a memory that fades: how many arrivals fell into the 80 % interval, and how many came after the median.
What a line must be off by grows where few trips were seen, since the stops of one trip are late together; and an alarm
ends only well inside the band that raised it, so a line at its edge does not flicker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec

from busd.history.tally import COLUMN, NOMINAL_COVERAGE, Tally

RAISE_COVERAGE = 0.10
CLEAR_COVERAGE = 0.05
RAISE_BALANCE = 0.20
CLEAR_BALANCE = 0.12
"""share of arrivals after the median, away from one half"""
MIN_TRIPS = 5.0
SD = 2.0
"""standard deviations by which chance alone may move a share"""
UP_TO_BUCKET = 3
"""told horizons below 12 min count: the ones that riders act on"""


class Drift(msgspec.Struct, frozen=True):
    """An alarm. ``kind``: ``coverage`` or ``balance``; ``share`` was ``expected``."""

    line: str
    kind: str
    share: float
    expected: float
    trips: float
    since_at: float


@dataclass
class DriftWatch:
    """`look` at each new state of the fading tally."""

    alarms: dict[tuple[str, str], Drift] = field(default_factory=dict)

    def look(self, tally: Tally, at: float) -> tuple[list[Drift], list[Drift]]:
        """(alarms raised, alarms ended)."""
        raised, ended = [], []
        for row, line in enumerate(tally.lines):
            sums = tally.sums[row, :UP_TO_BUCKET].sum(axis=0)
            n, trips = float(sums[COLUMN["n"]]), float(tally.trips[row])
            if n <= 0 or trips <= 0:
                continue
            for kind, column, expected, high, low in (
                ("coverage", "inside", NOMINAL_COVERAGE, RAISE_COVERAGE, CLEAR_COVERAGE),
                ("balance", "caught", 0.5, RAISE_BALANCE, CLEAR_BALANCE),
            ):
                share = float(sums[COLUMN[column]]) / n
                off = abs(share - expected)
                chance = SD * math.sqrt(expected * (1 - expected) / trips)
                key = (line, kind)
                known = self.alarms.get(key)
                if known is None and trips >= MIN_TRIPS and off > high + chance:
                    self.alarms[key] = Drift(line, kind, round(share, 3), expected, round(trips, 1), at)
                    raised.append(self.alarms[key])
                elif known is not None and off < low:
                    ended.append(self.alarms.pop(key))
        return raised, ended
