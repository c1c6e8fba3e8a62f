"""What early buses lose: drivers who are ahead of the timetable slow down and wait, on some links more than on others.

Per link a regression of the excess time r on the earliness at its start, e = clip(deviation, -early_max, 0):

    r = b (e - mean e),    b = (cov + lambda b0) / (var + lambda),    lambda = sigma^2 / tau^2

b0 is the network's common slope (within links, so that links that are always late do not count), sigma^2 the link's own
variance and tau how much slopes differ between links: an empirical Bayes estimate, so that a noisy link learns slowly.
Late buses are left out: what they make up is in the timetable's slack, which the ratios know.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.parameters import Links
from gtfs.network import F64, I64

N, E, EE, R, RE, RR = range(6)


class Holding:
    """Sums of 1, e, e^2, r, r e, r^2 per link, [links, 6]; and of the within-link products of the network."""

    def __init__(self, links: int, p: Links) -> None:
        self.p = p
        self.sums = np.zeros((links, 6))
        self.common = np.zeros(2)  # sum of de dr, of de^2

    def earliness(self, deviation_s: F64) -> F64:
        """e; [n]. Unknown deviations count as on time."""
        early: F64 = np.minimum(
            np.maximum(np.where(np.isfinite(deviation_s), deviation_s, 0.0), -self.p.early_max_s), 0.0
        )
        return early

    def learn(self, link: I64, deviation_s: F64, excess_s: F64) -> None:
        """Excess over the expected time, and the deviation at the link's start; [n]."""
        e, r = self.earliness(deviation_s), excess_s
        old = self.sums[link]
        known = old[:, N] >= 2
        n = np.maximum(old[:, N], 1)
        de, dr = e - old[:, E] / n, r - old[:, R] / n
        weight = np.where(known, n / (n + 1), 0.0)
        self.common += (float((weight * de * dr).sum()), float((weight * de * de).sum()))
        np.add.at(self.sums, link, np.stack([np.ones(len(e)), e, e * e, r, r * e, r * r], axis=1))

    def slopes(self, typical_s: F64) -> tuple[F64, F64, F64]:
        """(slope b, mean earliness, variance of the excess) of all links; ``typical_s``: their usual time, [links],
        which stands for the variance of links seldom seen: (15 s + 0.3 t)^2 with the weight of three visits,
        and in proportion to t beyond 100 s."""
        s, p = self.sums, self.p
        n = np.maximum(s[:, N], 1)
        var = np.maximum(s[:, EE] - s[:, E] ** 2 / n, 0.0)
        cov = s[:, RE] - s[:, R] * s[:, E] / n
        spread = np.maximum(s[:, RR] - s[:, R] ** 2 / n, 0.0)
        unseen = (15.0 + 0.3 * np.minimum(typical_s, 100.0)) ** 2 * np.maximum(typical_s / 100.0, 1.0)
        sigma2 = (spread + 3 * unseen) / (s[:, N] + 3)
        weight = sigma2 / p.slope_tau**2
        common = self.common[0] / (self.common[1] + p.slope_prior)
        slope = np.minimum(np.maximum((cov + weight * common) / (var + weight), -0.95), 0.2)
        return np.where(s[:, N] > 0, slope, 0.0), s[:, E] / n, sigma2

    def fade(self, keep: float) -> None:
        self.sums *= keep
        self.common *= keep

    def dump(self) -> dict[str, Any]:
        return {"sums": self.sums, "common": self.common}

    def load(self, state: dict[str, Any]) -> None:
        self.sums, self.common = state["sums"], state["common"]

    def carry_over(self, old: Holding, here: I64, there: I64) -> None:
        self.common = old.common.copy()
        self.sums[here] = old.sums[there]
