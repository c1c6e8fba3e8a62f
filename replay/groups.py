"""Slices of a grid that dispatchers ask for: the lines, the peaks, and buses that have not set out yet."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gtfs.network import Bool, Network
from replay.logs import Grid

PEAK_HOURS = (7, 8, 16, 17, 18)
"""local hours of Monday to Friday"""
MAX_LINES = 20
WITHIN_S = 900.0
"""only what is less than so far away counts here: beyond, few act on it"""


def groups_of(grid: Grid, network: Network) -> dict[str, Bool]:
    """Name -> its grid points. A trip counts as ``waiting`` before it left its first stop, where that was seen."""
    near = (grid.actual_s < WITHIN_S) & (grid.actual_s >= 0)
    local = pd.DatetimeIndex(pd.to_datetime(grid.at, unit="s", utc=True)).tz_convert(network.timezone)
    peak = np.isin(local.hour.to_numpy(), PEAK_HOURS) & (local.day_of_week.to_numpy() < 5)
    passages, run = grid.passages, grid.passages.run
    left_at = np.full(int(run.max(initial=-1)) + 1, -np.inf)
    left_at[run[passages.first]] = passages.arrival_at[passages.first]
    waiting = grid.at < left_at[run][grid.row]
    out = {
        "peak": near & peak,
        "off peak": near & ~peak,
        "waiting at the terminal": near & waiting,
        "on the way": near & ~waiting,
    }
    route = network.pattern_route[network.trip_pattern[passages.trip]].astype(np.int64)[grid.row]
    counts = np.bincount(route[near], minlength=len(network.route_id))
    for row in np.argsort(-counts, kind="stable")[:MAX_LINES].tolist():
        if counts[row]:
            out[f"line {network.route_short_name[row]}"] = near & (route == row)
    return {name: mask for name, mask in out.items() if mask.any()}
