"""The time left to the stop ahead, from the place within the link and how the bus got there.

Time is not spread evenly over a link: it begins with the dwell at the stop behind, and a bus seen just before the stop
ahead is likely to wait there (a signal, a queue), or it would have been through. Prior, for a bus that has gone the
share x of the way and a link of expected time t:

    left = (1 - x) t - min(0.2 (1 - x) t, 60 s) + 10 s

times two learned factors, ratios of sums of what came over what was said: one for five places x standing x time spent
in the link x speed, shrunk to that of ten places x standing; and one for each link, at its stop or beyond x standing,
over what the first says.

Learned from fixes chosen by their number within the link (1st, 2nd, 4th, ...), all of them: were it the last one before
the stop, buses that are quick from a place would be seen there more often than slow ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from busd.parameters import Places
from gtfs.network import F64, I64, Bool

PLACES = 10
SPENT = np.array([0.1, 0.25, 0.5, 1.0, 1.5])
"""edges of the time spent in the link, as a share of its expected time"""
SPEEDS = 3  # stopped, moving, not told
LEVELS = 3
BY_PLACE, BY_PROGRESS, ON_LINK = range(LEVELS)
CAME, SAID = 0, 1
SAMPLE_S = 60.0
"""what one observation weighs"""


class Within(NamedTuple):
    """Where buses are within their link; parallel arrays [n]."""

    link: I64
    share: F64  # of the way that lies behind
    link_s: F64  # expected time of the link
    spent_s: F64  # since the stop behind, NaN unknown
    standing: Bool
    speed_mps: F64  # NaN unknown


class PlaceProfile:
    """Sums of seconds that came and that were said, [cells, 2], a table a level."""

    def __init__(self, links: int, p: Places) -> None:
        self.p = p
        sizes = (PLACES * 2, PLACES // 2 * 2 * (len(SPENT) + 1) * SPEEDS, links * 4)
        self.sums = [np.zeros((size, 2)) for size in sizes]

    def said(self, share: F64, link_s: F64) -> F64:
        """The prior's seconds left; [n]."""
        even = (1.0 - share) * link_s
        left: F64 = even - np.minimum((1.0 - self.p.share) * even, self.p.most_s) + self.p.least_s
        return left

    def cells(self, at: Within) -> I64:
        """The cell of each bus in each level; [LEVELS, n]."""
        p = self.p
        place = np.minimum((at.share * PLACES).astype(np.int64), PLACES - 1)
        standing = at.standing.astype(np.int64)
        spent = np.where(np.isfinite(at.spent_s), at.spent_s, at.share * at.link_s) / np.maximum(at.link_s, 1.0)
        progress = (place // 2 * 2 + standing) * (len(SPENT) + 1) + np.searchsorted(SPENT, spent)
        speed = np.where(np.isfinite(at.speed_mps), np.where(at.speed_mps < p.stopped_mps, 0, 1), 2)
        on_link = (at.link * 2 + (at.share >= p.stop_share)) * 2 + standing
        return np.stack([place * 2 + standing, progress * SPEEDS + speed, on_link])

    def left(self, said_s: F64, cells: I64) -> F64:
        """Seconds left; [n]."""
        return self._anywhere(said_s, cells) * self._ratio(ON_LINK, cells, self.p.link_samples, 1.0)

    def _anywhere(self, said_s: F64, cells: I64) -> F64:
        """The same without what is known of the link itself; [n]."""
        by_place = self._ratio(BY_PLACE, cells, self.p.prior_samples, 1.0)
        return said_s * self._ratio(BY_PROGRESS, cells, self.p.prior_samples, by_place)

    def _ratio(self, level: int, cells: I64, samples: float, prior: F64 | float) -> F64:
        """Came over said in the cells of a level, shrunk to ``prior``; [n]."""
        sums, weight = self.sums[level][cells[level]], samples * SAMPLE_S
        ratio: F64 = (sums[:, CAME] + weight * prior) / (sums[:, SAID] + weight)
        return ratio

    def learn(self, cells: I64, said_s: F64, came_s: F64) -> None:
        """Seconds that were left; [n]. A wait counts for at most three times what was said and a minute."""
        came = np.minimum(np.maximum(came_s, 0.0), 3.0 * said_s + 60.0)
        for level, said in ((BY_PLACE, said_s), (BY_PROGRESS, said_s), (ON_LINK, self._anywhere(said_s, cells))):
            np.add.at(self.sums[level], cells[level], np.stack([came, said], axis=1))

    def fade(self, keep: float) -> None:
        for sums in self.sums:
            sums *= keep

    def dump(self) -> dict[str, Any]:
        return {"sums": self.sums}

    def load(self, state: dict[str, Any]) -> None:
        self.sums = state["sums"]

    def carry_over(self, old: PlaceProfile, here: I64, there: I64) -> None:
        """``here``, ``there``: links of both networks that are the same."""
        self.sums[0], self.sums[1] = old.sums[0].copy(), old.sums[1].copy()
        self.sums[2].reshape(-1, 4, 2)[here] = old.sums[2].reshape(-1, 4, 2)[there]
