"""A bus that has left the shape of its run on the way, and drives on beside it: a detour, and still that run.

One that goes home, or has turned round, leaves the neighbourhood of its shape or makes no way along it.
"""

from __future__ import annotations

import numpy as np

from busd.parameters import Parameters
from busd.track.match import Fixes, ShapeIndex, match
from gtfs.network import F64, Bool


def drives_beside(index: ShapeIndex, fixes: Fixes, joined_m: F64, start_m: F64, end_m: F64, p: Parameters) -> Bool:
    """Which of the fixes [n] that found no place are of buses beside their shape.

    ``joined_m``: place on the shape where each bus came upon it; ``start_m``, ``end_m``: of its first and last stop."""
    t, beside = p.tracking, np.zeros(len(fixes.x), bool)
    gone = np.hypot(fixes.x - fixes.last_x, fixes.y - fixes.last_y)
    # one that comes from its garage drives a bit of its line before it turns off to where it begins
    driven_m = np.where(joined_m > start_m + p.visits.depart_zone_m, t.beside_driven_m, p.off_route.driven_m)
    chosen = np.flatnonzero(fixes.last_m - joined_m >= driven_m)
    if not len(chosen):
        return beside
    some = fixes.take(chosen)
    found = match(index, some, p.matching, p.visits, t.beside_m)
    step = found.distance_m - some.last_m
    parallel = np.sqrt(np.maximum(gone[chosen] ** 2 - found.offset_m**2, 0.0))
    agrees = np.abs(step - parallel) <= 0.5 * parallel + t.beside_slack_m
    slow = step < t.beside_mps * (some.at - some.last_at) - t.beside_slack_m
    ended = end_m[chosen] - found.distance_m <= t.end_stand_m + found.offset_m
    beside[chosen] = found.found & agrees & ~slow & ~ended
    return beside
