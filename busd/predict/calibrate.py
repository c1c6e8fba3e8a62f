"""How sure: quantiles of the errors made so far, in groups, corrected as outcomes become known.

Every half minute some of the published predictions are put aside with their median, interval and scale s. When their
stop is passed, z = (actual - median) / s goes into the window of its group: predicted horizon x {mid-trip, from a
terminal} x {peak, off-peak}. The quantiles of the window are the group's; between the middles of two horizon groups
they are mixed, so that times along a trip do not jump.

The level of each tail moves with every outcome (adaptive conformal inference, Gibbs & Candes 2021):

    level += step (level wanted - 1[missed])

so that the intervals widen by themselves when the world changes; the outcomes of one half minute go wrong together, and
count as `Calibrating.adapt_outcomes` of them at most. A prediction whose bus was by already is not counted:
nobody looks at it any more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.parameters import Calibrating
from gtfs.network import F64, I64, Bool

MIDDLES_S = np.array([60.0, 240.0, 470.0, 740.0, 1300.0, 2400.0])
"""centres of the horizon groups"""
_EDGES_S = np.array([0.0, 180.0, 360.0, 600.0, 900.0, 1800.0])
KINDS = 4  # mid-trip or terminal, off-peak or peak
GROUPS = len(MIDDLES_S) * KINDS
LOW, RIDER, MEDIAN, HIGH = range(4)
_PRIOR_Z = np.array([-1.15, -0.95, 0.0, 1.35])
"""of a group nothing is known of: the fan of a skew normal error"""
_FRESH = 25
LOOKUP_S, LOOKUP_CELLS = 10.0, 360


def group_of(ahead_s: F64, kind: I64) -> I64:
    """Group of predictions ``ahead_s`` from now; [n]."""
    horizon = np.searchsorted(_EDGES_S, ahead_s, side="right") - 1
    group: I64 = np.maximum(horizon, 0) * KINDS + kind
    return group


class Calibration:
    """Windows of z, [GROUPS, window]; the levels of the tails; the quantiles in use."""

    def __init__(self, p: Calibrating) -> None:
        self.p = p
        self.window = np.zeros((GROUPS, p.window), np.float32)
        self.filled = np.zeros(GROUPS, np.int64)
        self.next = np.zeros(GROUPS, np.int64)
        self.level = np.tile(np.array([0.1, p.rider_quantile, 0.5, 0.9]), (GROUPS, 1))
        self.fresh = np.zeros(GROUPS, np.int64)
        self.z = np.tile(_PRIOR_Z, (GROUPS, 1))
        self._waiting: list[F64] = []
        self._lookup = self._mixed()

    # ---- reading -----------------------------------------------------------------------------------------------------

    def quantiles(self, ahead_s: F64, kind: I64, out: F64) -> None:
        """z of LOW, RIDER, MEDIAN, HIGH for predictions ``ahead_s`` from now, into ``out`` [4, rows]. Of the median that
        part by which it moves (`Calibrating.median_shares`)."""
        cell = np.minimum(ahead_s / LOOKUP_S, LOOKUP_CELLS - 1).astype(np.int64)
        cell *= KINDS
        cell += kind
        for values, z in zip(out, self._lookup):
            np.take(z, cell, out=values, mode="clip")

    def _mixed(self) -> F64:
        """z every LOOKUP_S of horizon, mixed between the middles of the groups; [4, cells * KINDS]."""
        tables = self.z.reshape(len(MIDDLES_S), KINDS, 4)
        ahead_s = (np.arange(LOOKUP_CELLS) + 0.5) * LOOKUP_S
        place = np.interp(ahead_s, MIDDLES_S, np.arange(len(MIDDLES_S)))
        low = np.minimum(place.astype(np.int64), len(MIDDLES_S) - 2)
        share = (place - low)[:, None, None]
        mixed = tables[low] * (1 - share) + tables[low + 1] * share
        mixed[:, :, MEDIAN] *= np.interp(ahead_s, MIDDLES_S, self.p.median_shares)[:, None]
        return np.ascontiguousarray(mixed.reshape(-1, 4).T)

    # ---- learning ----------------------------------------------------------------------------------------------------

    def learn(self, group: I64, z: F64, below: Bool, below_rider: Bool, above: Bool) -> None:
        """Outcomes, [n]: z, and whether the actual time was below the low end, the rider point, above the high end.

        They wait for `settle`."""
        if len(group):
            self._waiting.append(np.column_stack([group, z, below, below_rider, above]))

    def settle(self) -> None:
        """Take in what `learn` has collected: windows, levels, quantiles."""
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        self._waiting = []
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        p = self.p
        for part in np.split(rows, np.flatnonzero(np.diff(rows[:, 0])) + 1):
            k, n = int(part[0, 0]), len(part)
            values = part[-p.window :, 1]
            self.window[k, (self.next[k] + np.arange(len(values))) % p.window] = values
            self.next[k] = (self.next[k] + len(values)) % p.window
            self.filled[k] = min(self.filled[k] + len(values), p.window)
            if self.filled[k] >= p.prior_outcomes:
                below, below_rider, above = part[:, 2:].sum(axis=0).tolist()
                step = np.array([0.1 * n - below, p.rider_quantile * n - below_rider, 0.0, above - 0.1 * n])
                counts = min(1.0, p.adapt_outcomes / n)
                self.level[k] = np.clip(
                    self.level[k] + p.adapt * counts * step, (0.02, 0.05, 0.5, 0.75), (0.25, 0.45, 0.5, 0.98)
                )
            self.fresh[k] += n
            if self.fresh[k] >= min(_FRESH, self.filled[k] // 8 + 1):
                self._renew(k)
        self._lookup = self._mixed()

    def _renew(self, k: int) -> None:
        """Quantiles of the window; the prior counts as `Calibrating.prior_outcomes` outcomes."""
        n = int(self.filled[k])
        found = np.quantile(self.window[k, :n].astype(np.float64), self.level[k])
        weight = n / (n + self.p.prior_outcomes)
        self.z[k] = weight * found + (1 - weight) * _PRIOR_Z
        self.fresh[k] = 0

    def dump(self) -> dict[str, Any]:
        most = int(self.filled.max(initial=0))
        waiting = np.concatenate(self._waiting) if self._waiting else np.zeros((0, 5))
        kept = {name: getattr(self, name) for name in ("filled", "next", "level", "fresh", "z")}
        return kept | {"window": self.window[:, :most].copy(), "waiting": waiting}

    def load(self, state: dict[str, Any]) -> None:
        for name in ("filled", "next", "level", "fresh", "z"):
            setattr(self, name, state[name])
        self._waiting = [state["waiting"]] if len(state["waiting"]) else []
        self.window[:] = 0
        self.window[:, : state["window"].shape[1]] = state["window"]
        self._lookup = self._mixed()
