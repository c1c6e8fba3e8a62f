"""How well does what a vehicle does fit what a hypothesis says? Log likelihoods, one named function a kind of evidence.

They are compared within one vehicle only, so constants that all hypotheses share are left out.
"""

from __future__ import annotations

import numpy as np

from busd.tracking_parameters import Tracking
from gtfs.network import F64, Bool

NORMAL_MEDIAN = 0.67449
"""of the absolute value of a standard normal"""


class Punctuality:
    """How early and how late this feed's buses run: the two scales of a Student t around the timetable, learned.

    Early is rarer than late in most cities (TheTransitClock weighs 3 to 1), in some it is not. Of a t with two scales
    the early side holds ``early / (early + late)`` of the mass, and half of all |deviation| / scale lie below
    ``median``: two running means, begun with the parameters' values as ``weight`` bus minutes, give both scales."""

    def __init__(self, p: Tracking) -> None:
        self.p = p
        # of the absolute value of a Student t, after Fisher and Cornish
        z, v = NORMAL_MEDIAN, p.freedom
        self.median = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        self.weight = p.punctuality_minutes
        self.share = p.early_scale_s / (p.early_scale_s + p.late_scale_s)
        self.width_s = p.early_scale_s + p.late_scale_s

    @property
    def early_s(self) -> float:
        return self.share * self.width_s

    @property
    def late_s(self) -> float:
        return (1.0 - self.share) * self.width_s

    def observe(self, deviation_s: F64, minutes: F64) -> None:
        """Deviations of buses on their way, each worth so many minutes of observation."""
        total = float(minutes.sum())
        if total <= 0:
            return
        early = deviation_s < 0
        far = np.abs(deviation_s) > np.where(early, self.early_s, self.late_s) * self.median
        self.weight = min(self.weight + total, self.p.punctuality_memory)
        rate = total / self.weight
        self.share += rate * (float((minutes * early).sum()) / total - self.share)
        self.share = min(max(self.share, 0.25), 0.5)
        # Robbins and Monro: the step that keeps half of the mass on either side
        self.width_s *= float(np.exp(2.0 * rate * (float((minutes * far).sum()) / total - 0.5)))
        self.width_s = min(max(self.width_s, 360.0), 1200.0)

    def fit(self, deviation_s: F64) -> F64:
        """Log likelihood of being so far behind (+) or ahead of (-) the timetable."""
        scale = np.where(deviation_s < 0, self.early_s, self.late_s)
        fit: F64 = -(self.p.freedom + 1) / 2 * np.log1p((deviation_s / scale) ** 2 / self.p.freedom)
        return fit


def of_departure(deviation_s: F64, p: Tracking) -> F64:
    """Of leaving the first stop so far from the timetable. Buses wait for their time there, so this says more than the
    deviation on the way does."""
    scale = np.where(deviation_s < 0, p.leave_early_scale_s, p.leave_late_scale_s)
    fit: F64 = -(p.leave_freedom + 1) / 2 * np.log1p((deviation_s / scale) ** 2 / p.leave_freedom)
    return fit


def of_place(found: Bool, offset_m: F64, reach_m: F64, turned: F64, p: Tracking) -> F64:
    """Of a fix so far off the shape, heading so far from the street's; a fix that has no place there is a miss."""
    off = np.minimum((np.where(found, offset_m, 0.0) / (p.sigma_share * reach_m)) ** 2 / 2, p.miss)
    return np.where(found, -off - p.heading_weight * np.where(found, turned, 0.0), -p.miss)


def of_waiting(away_m: F64, p: Tracking) -> F64:
    """Of waiting so far from the first stop: drivers wait in the street around it, and on the shape too."""
    return -np.minimum((np.maximum(away_m - p.near_m, 0.0) / p.wait_sigma_m) ** 2 / 2, p.miss)


def of_patience(wait_s: F64, p: Tracking) -> F64:
    """Of standing at a terminal so long before the departure: of several buses' runs the next one is likelier."""
    return -np.maximum(wait_s - p.usual_layover_s, 0.0) / p.patience_s


def of_claim(claimed: F64, p: Tracking) -> F64:
    """Of a run that others claim with such odds, summed: one run, one bus. Never certain, because they may be wrong."""
    claimed = np.maximum(claimed, 0.0)
    free: F64 = np.log(1.0 - p.claim_trust * claimed / (1.0 + claimed))
    return free


def claim_of(share: F64, free: F64, p: Tracking) -> F64:
    """The odds with which a vehicle claims a run, for others to hear (Williams & Lau 2014, belief propagation for data
    association): its probability without what the others say of this very run (``free``), lest an echo be evidence."""
    odds = share / np.maximum(1.0 - share, 1e-9) * np.exp(-free)
    return np.where(odds > 0.01, np.minimum(odds, p.claim_odds), 0.0)


def of_next(odds: F64, p: Tracking) -> F64:
    """The odds with which a vehicle claims the run that follows in the block."""
    share = p.claim_next * odds / (1.0 + odds)
    following: F64 = share / (1.0 - share)
    return following
