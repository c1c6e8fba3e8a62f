"""Can a bus be on the run that its source names? A trip id may fit the street and still be another bus's.

Buses lose time on the way, little by little; one that has never been near its timetable since it left the first stop,
or drives a quarter of an hour before it, is more likely told wrongly than that early or late."""

from __future__ import annotations

import numpy as np

from busd.parameters import Parameters
from busd.track.fleet import Vehicles
from gtfs.network import F64, I64, Bool

TRUE = -1
"""`Vehicles.doubts` of a bus that has been where its run should be"""


def is_plausible(deviation_s: F64, p: Parameters) -> Bool:
    """Whether a bus under way may be so far behind (+) or ahead of (-) its timetable; unknown is plausible."""
    a = p.assigning
    plausible: Bool = ~((deviation_s < -a.doubt_early_s) | (deviation_s > a.doubt_late_s))
    return plausible


def never_plausible(vehicles: Vehicles, rows: I64, driven_m: F64, deviation_s: F64, p: Parameters) -> Bool:
    """Take a fix each of vehicles on the runs that they name; returns which [n] are no longer believed.

    ``driven_m``: from the first stop, NaN where the fix has no place."""
    on_way = driven_m > p.tracking.wait_reach_m
    doubts = vehicles.doubts[rows]
    more = np.where(is_plausible(deviation_s, p), TRUE, np.where(doubts == TRUE, TRUE, doubts + 1))
    vehicles.doubts[rows] = np.where(on_way, more, doubts)
    doubted: Bool = vehicles.doubts[rows] >= p.assigning.doubt_fixes
    return doubted


def is_doubted(vehicles: Vehicles, row: int, p: Parameters) -> bool:
    """Is the vehicle on a run that it names, and was not believed to be on?"""
    return bool(vehicles.doubts[row] >= p.assigning.doubt_fixes)
