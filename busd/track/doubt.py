"""Can a bus be on the run that its source names? A trip id may fit the street and still be another bus's.

Any bus may be late, and a whole city by hours; but none leaves its terminal ten minutes before its time. One that has
been so early from the first is more likely told wrongly."""

from __future__ import annotations

import numpy as np

from busd.parameters import Parameters
from busd.track.fleet import Vehicles
from gtfs.network import F64, I64, Bool

TRUE = -1
"""`Vehicles.doubts` of a bus that has been where its run should be"""


def judge(vehicles: Vehicles, rows: I64, driven_m: F64, deviation_s: F64, p: Parameters) -> tuple[Bool, Bool]:
    """Take a fix each of vehicles on the runs that they name; returns which [n] are no longer believed, and which are
    seen for the first time to be where their run should be.

    ``driven_m``: from the first stop, NaN where the fix has no place."""
    on_way = driven_m > p.tracking.wait_reach_m
    before = vehicles.doubts[rows]
    early = deviation_s < -p.assigning.doubt_early_s
    after = np.where(early & (before != TRUE), before + 1, TRUE)
    vehicles.doubts[rows] = np.where(on_way, after, before)
    doubted: Bool = vehicles.doubts[rows] >= p.assigning.doubt_fixes
    kept: Bool = on_way & (after == TRUE) & (before != TRUE)
    return doubted, kept


def is_doubted(vehicles: Vehicles, row: int, p: Parameters) -> bool:
    """Is the vehicle on a run that it names, and was not believed to be on?"""
    return bool(vehicles.doubts[row] >= p.assigning.doubt_fixes)
