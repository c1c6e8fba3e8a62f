"""The time left to the stop ahead, from the place within the link.

Time is not spread evenly over a link: it begins with the dwell at the stop behind, and a bus seen just before the stop
ahead is likely to wait there (a signal, a queue), or it would have been through. Prior, for a bus that has gone the
share x of the way and a link of expected time t:

    left = (1 - x) t - min(0.2 (1 - x) t, 60 s) + 10 s

times a factor learned for ten places x {moving, standing}, a ratio of sums of what came over what this says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.parameters import Places
from gtfs.network import F64, I64, Bool

CELLS = 10
CAME, SAID = 0, 1


class PlaceProfile:
    """Sums of seconds that came and that were said, [2 * CELLS, 2]: moving, then standing."""

    def __init__(self, p: Places) -> None:
        self.p = p
        self.sums = np.zeros((2 * CELLS, 2))

    def said(self, share: F64, link_s: F64) -> F64:
        """The prior's seconds left; [n]."""
        even = (1.0 - share) * link_s
        left: F64 = even - np.minimum((1.0 - self.p.share) * even, self.p.most_s) + self.p.least_s
        return left

    def cell(self, share: F64, standing: Bool) -> I64:
        place = np.minimum((share * CELLS).astype(np.int64), CELLS - 1)
        return np.where(standing, CELLS, 0) + place

    def factor(self, cell: I64) -> F64:
        """What came over what the prior says; [n]."""
        prior = self.p.prior_samples * 60.0
        factor: F64 = (self.sums[cell, CAME] + prior) / (self.sums[cell, SAID] + prior)
        return factor

    def learn(self, cell: I64, came_s: F64, said_s: F64) -> None:
        """Seconds that were left; [n]. A wait counts for at most three times what was said and a minute."""
        came = np.minimum(np.maximum(came_s, 0.0), 3.0 * said_s + 60.0)
        np.add.at(self.sums, cell, np.stack([came, said_s], axis=1))

    def fade(self, keep: float) -> None:
        self.sums *= keep

    def dump(self) -> dict[str, Any]:
        return {"sums": self.sums}

    def load(self, state: dict[str, Any]) -> None:
        self.sums = state["sums"]
