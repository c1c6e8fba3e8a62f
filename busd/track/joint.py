"""Who performs which run where several vehicles want the same one: the joint choice that is likeliest, one bus a run.

Buses of one line that are all a headway late fit each other's runs better than their own; only together do they find
the truth. A vehicle that wants a run which another bus performs asks what that bus would do without it, and so on: an
augmenting path, as in the Hungarian method. Every bus that would have to change is owed `Tracking.stick` more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

DEPTH = 6
"""buses that one vehicle's choice may push on"""


class Option(NamedTuple):
    """What one vehicle may be doing."""

    place: int
    """of `Beliefs`"""
    run: tuple[int, int, int]
    """key of `fleet.Runs`: service day, trip, start"""
    weight: float
    """log, without what other vehicles say of the run; more where it is what the vehicle is held to do"""


Options = Callable[[int], list[Option]]
"""of a vehicle (row), heaviest first"""
Holder = Callable[[tuple[int, int, int]], int]
"""row of the vehicle that performs a run, `NOBODY`, or `FIRM` where it is one that nobody can push on"""
NOBODY, FIRM = -1, -2


def choose(row: int, options: Options, holder: Holder, nothing: float) -> Option | None:
    """What the vehicle does; None where no run is worth more than ``nothing``, the weight of performing none."""
    best, end = None, nothing
    displaced: dict[int, tuple[float, Option | None, frozenset[int]]] = {row: (0.0, None, frozenset((row,)))}
    for _ in range(DEPTH):
        pushed: dict[int, tuple[float, Option | None, frozenset[int]]] = {}
        for vehicle, (gain, first, path) in displaced.items():
            if first is not None and gain + nothing > end:
                best, end = first, gain + nothing
            for option in options(vehicle):
                total, choice = gain + option.weight, first or option
                if total <= end:
                    break  # a bus that is pushed on does not do better than before
                other = holder(option.run)
                if other in (NOBODY, row):
                    best, end = choice, total
                elif other != FIRM and other not in path:
                    total -= next((held.weight for held in options(other) if held.run == option.run), nothing)
                    if other not in pushed or total > pushed[other][0]:
                        pushed[other] = (total, choice, path | {other})
        displaced = pushed
        if not displaced:
            break
    return best
