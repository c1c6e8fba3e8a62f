"""How a log's certainty compares with what came: the calibration curve and the fan of its errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.history.standards import TOLD_EDGES_S, bucket, names
from gtfs.network import F64
from replay.logs import Grid, Told

FAN = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
FAN_MINUTES = 20
"""beyond, only buses that did come within half an hour are on the grid"""
FAN_POINTS = 30
"""a minute with fewer grid points is left out"""


def calibration(grid: Grid, told: Told) -> dict[str, dict[str, float]]:
    """Bucket of the told horizon -> share of arrivals before p10, p50 and p90; 0.1, 0.5 and 0.9 would be right."""
    which = bucket(np.maximum(told.p50 - grid.at, 0.0), TOLD_EDGES_S)
    out: dict[str, dict[str, float]] = {}
    for k, name in enumerate(names(TOLD_EDGES_S)[:4]):
        here = which == k
        if here.any():
            out[name] = {
                label: _share_before(grid.arrival_at[here], at[here])
                for label, at in (("p10", told.p10), ("p50", told.p50), ("p90", told.p90))
            }
    return out


def _share_before(arrival_at: F64, quantile_at: F64) -> float:
    told = np.isfinite(quantile_at)
    return float((arrival_at[told] <= quantile_at[told]).mean()) if told.any() else float("nan")


def fan(grid: Grid, told: Told) -> list[dict[str, Any]]:
    """Quantiles of actual - p50 in each minute of the told horizon."""
    minute = np.floor(np.maximum(told.p50 - grid.at, 0.0) / 60.0)
    e = grid.arrival_at - told.p50
    out = []
    for k in range(FAN_MINUTES):
        here = e[minute == k]
        if len(here) >= FAN_POINTS:
            out.append({"minutes": k + 0.5} | {f"q{q * 100:02.0f}": float(np.quantile(here, q)) for q in FAN})
    return out
