"""Confidence intervals by drawing whole trips: the predictions of one bus on one trip stand and fall together.

Trips of one day share its weather and traffic, so the true intervals are wider than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from gtfs.network import F64, I64, Bool

LEVEL = (2.5, 97.5)

Interval = tuple[float, float] | None


class Bootstrap:
    """The same draws of trips for every figure of a table, so that its figures can be compared. ``run``: the trip of
    each grid point, 0 .. T-1. The dice are seeded: a table is the same every time."""

    def __init__(self, run: I64, draws: int = 1000, seed: int = 1) -> None:
        self.run, self.draws, self._seed = run, draws, seed
        self.trips = int(run.max(initial=-1)) + 1

    @cached_property
    def weights(self) -> F64:
        """How often each trip was drawn; [draws, trips]."""
        dice = np.random.default_rng(self._seed)
        return dice.multinomial(self.trips, np.full(self.trips, 1 / self.trips), size=self.draws).astype(np.float64)

    def ratio_ci(self, above: F64, below: F64, points: I64) -> Interval:
        """95 % interval of sum(above) / sum(below) over the grid ``points``."""
        return self.mean_of_ratios_ci([(above, below, points)], 1.0)

    def mean_of_ratios_ci(self, parts: Sequence[tuple[F64, F64, I64]], scale: float) -> Interval:
        """The same for the plain mean of several such ratios, times ``scale``."""
        if not self.draws or not parts or self.trips < 2:
            return None
        total = np.zeros(self.draws)
        for above, below, points in parts:
            owner = self.run[points]
            a = self.weights @ np.bincount(owner, above, minlength=self.trips)
            b = self.weights @ np.bincount(owner, below, minlength=self.trips)
            total += np.where(b > 0, a / np.where(b > 0, b, 1.0), np.nan)
        values = scale * total / len(parts)
        if np.isnan(values).all():
            return None
        low, high = np.nanpercentile(values, LEVEL)
        return float(low), float(high)


def share_sd(hit: Bool, run: I64, draws: int = 300, seed: int = 1) -> float:
    """Standard deviation of a share when whole trips are drawn."""
    _, owner = np.unique(run, return_inverse=True)
    hits, sizes = np.bincount(owner, hit.astype(np.float64)), np.bincount(owner)
    dice = np.random.default_rng(seed)
    weights = dice.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=draws)
    return float(np.std((weights @ hits) / np.maximum(weights @ sizes, 1)))
