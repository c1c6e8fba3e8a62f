"""When a prediction counts as accurate: three published standards, each over whole arrays.

``e`` = actual - predicted, seconds: negative when the bus came before the time that was told (a rider misses it).
``actual_s`` = actual - made, ``told_s`` = predicted - made (not below 0): the horizon as it was, and as it was told.

- ETA Accuracy Benchmark (Transit app, after IBI Group 2016): by actual horizon to 15 min, bounds included; its overall
  figure is the plain mean of its four buckets.
- MBTA (prediction_analyzer): by told horizon, bounds excluded. A prediction that is overdue stays in the first bucket;
  beyond 30 min the last band holds.
- Newmark (the "reliable prediction accuracy" of California's contracts): a band that grows with the logarithm of the
  told horizon; the last minute before the arrival does not count.

The bands are not symmetric: a point that is shifted early scores higher under the first two without knowing more. So
no share is worth anything without the point it is of, and bias, MAE and pinball loss beside it.
"""

from __future__ import annotations

import numpy as np

from gtfs.network import F64, I64

ACTUAL_EDGES_S = np.array([0.0, 180.0, 360.0, 600.0, 900.0, 1800.0])
TOLD_EDGES_S = np.array([0.0, 180.0, 360.0, 720.0, 1800.0, np.inf])
ETA_BANDS_S = np.array([(-30.0, 90.0), (-60.0, 150.0), (-60.0, 210.0), (-90.0, 270.0)])
ETA_UNTIL_S = 900.0
MBTA_BANDS_S = np.array([(-60.0, 60.0), (-90.0, 120.0), (-150.0, 210.0), (-240.0, 360.0), (-240.0, 360.0)])
NEWMARK_FROM_S = 60.0

STANDARDS = ("eta", "mbta", "newmark")


def bucket(horizon_s: F64, edges_s: F64) -> I64:
    """Index of the bucket [edge, next edge) of each horizon; -1 before the first and beyond the last, and for NaN."""
    found: I64 = np.searchsorted(edges_s, horizon_s, side="right") - 1
    return np.where((found >= len(edges_s) - 1) | np.isnan(horizon_s), -1, found)


def names(edges_s: F64) -> list[str]:
    """Buckets in minutes: ``0-3`` ... ``30+``."""
    return [
        f"{low / 60:.0f}-{high / 60:.0f}" if np.isfinite(high) else f"{low / 60:.0f}+"
        for low, high in zip(edges_s[:-1].tolist(), edges_s[1:].tolist())
    ]


def eta_benchmark(e: F64, actual_s: F64) -> F64:
    """1 in the band, 0 not, NaN where the standard says nothing (beyond 15 min) or ``e`` is NaN."""
    which = np.clip(bucket(actual_s, ACTUAL_EDGES_S), 0, len(ETA_BANDS_S) - 1)
    low, high = ETA_BANDS_S[which, 0], ETA_BANDS_S[which, 1]
    applies = (actual_s >= 0) & (actual_s < ETA_UNTIL_S) & ~np.isnan(e)
    return np.where(applies, (e >= low) & (e <= high), np.nan)


def mbta(e: F64, told_s: F64) -> F64:
    """1 strictly inside the band, 0 not, NaN where ``e`` is NaN."""
    which = np.maximum(bucket(told_s, TOLD_EDGES_S), 0)
    low, high = MBTA_BANDS_S[which, 0], MBTA_BANDS_S[which, 1]
    return np.where(np.isnan(e), np.nan, (e > low) & (e < high))


def newmark(e: F64, told_s: F64, actual_s: F64) -> F64:
    """1 in -60 ln(m + 1.3) < e < 60 ln(m + 1.5), m the told horizon in minutes; NaN in the last minute."""
    minutes = np.maximum(told_s, 0.0) / 60.0
    inside = (e > -60.0 * np.log(minutes + 1.3)) & (e < 60.0 * np.log(minutes + 1.5))
    return np.where((actual_s >= NEWMARK_FROM_S) & ~np.isnan(e), inside, np.nan)


def judge(predicted_at: F64, actual_at: F64, made_at: F64) -> dict[str, F64]:
    """All three for predictions of one point; [n] each, epoch seconds (or any common zero)."""
    e = actual_at - predicted_at
    actual_s, told_s = actual_at - made_at, np.maximum(predicted_at - made_at, 0.0)
    return {
        "eta": eta_benchmark(e, actual_s),
        "mbta": mbta(e, told_s),
        "newmark": newmark(e, told_s, actual_s),
    }


def pinball(q: float, actual_at: F64, quantile_at: F64) -> F64:
    """The loss that the q-quantile minimises: q e above it, (q - 1) e below; seconds."""
    e = actual_at - quantile_at
    loss: F64 = np.maximum(q * e, (q - 1.0) * e)
    return loss
