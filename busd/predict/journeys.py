"""What the predictor remembers of each bus: its pace, how long it stands, the place it was last asked about."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from busd.predict.places import LEVELS
from busd.table import Column, Table
from busd.track.fleet import Vehicles
from gtfs.network import F64, I64, Bool

SAMPLES = 8
"""places kept in a link: the last of them is its 128th fix"""
NEAR_END = 2
"""a run left with so few stops ahead is over"""


class Journeys(Table):
    """One row a vehicle, the row number of `Vehicles`."""

    COLUMNS: ClassVar[dict[str, Column]] = {
        "slot": ("i8", -1),
        # pace: excess and expected seconds of its last links, fading link by link
        "excess_s": ("f8", 0.0),
        "expected_s": ("f8", 0.0),
        # standing: where and when it last moved
        "moved_m": ("f8", np.nan),
        "moved_at": ("f8", -np.inf),
        # fixes within the link to the stop `sample_pos`, some of them kept to be compared with the arrival
        "sample_pos": ("i8", -1),
        "sample_count": ("i8", 0),
        # the last run's end, to see how long the turn took
        "ended_at": ("f8", -np.inf),
        "stops_left": ("i8", 0),
        # how much later than usual it left its last first stop, and when
        "left_late_s": ("f8", 0.0),
        "left_at": ("f8", -np.inf),
    }
    WIDE: ClassVar[tuple[str, ...]] = ("sample_at", "sample_s", *(f"sample_cell{level}" for level in range(LEVELS)))
    slot: I64
    excess_s: F64
    expected_s: F64
    moved_m: F64
    moved_at: F64
    sample_pos: I64
    sample_count: I64
    sample_at: F64
    ended_at: F64
    stops_left: I64
    left_late_s: F64
    left_at: F64

    def __init__(self) -> None:
        super().__init__(width=SAMPLES)

    def reach(self, vehicles: int) -> None:
        """Rows for so many vehicles."""
        while self.size < vehicles:
            self.add()

    def follow(self, rows: I64, vehicles: Vehicles, stops_left: I64, standing_m: float) -> None:
        """Take in where the vehicles are now: another run halves the pace, a step of ``standing_m`` is movement.

        Sources go on to the next run up to a minute before the last stop: that ends the run before, too."""
        slot, here, at = vehicles.slot[rows], vehicles.distance_m[rows], vehicles.matched_at[rows]
        changed = self.slot[rows] != slot
        other = rows[changed]
        self.slot[rows] = slot
        self.excess_s[other] *= 0.5
        self.expected_s[other] *= 0.5
        self.sample_pos[other] = -1
        ends = other[(self.stops_left[other] > 0) & (self.stops_left[other] <= NEAR_END)]
        self.ended_at[ends] = vehicles.measured_at[ends]
        self.stops_left[rows] = stops_left
        moved = changed | ~(np.abs(here - self.moved_m[rows]) <= standing_m)
        self.moved_m[rows[moved]], self.moved_at[rows[moved]] = here[moved], at[moved]

    def keep_place(self, rows: I64, stop_pos: I64, at: F64, said_s: F64, cells: I64, useful: Bool) -> None:
        """Keep the 1st, 2nd, 4th, ... fix within each link: said seconds left [n] and cells [LEVELS, n] (places.py)."""
        new = self.sample_pos[rows] != stop_pos
        self.wide[rows[new]] = np.nan
        count = np.where(new, 1, self.sample_count[rows] + 1)
        self.sample_count[rows], self.sample_pos[rows] = count, stop_pos
        place = np.frexp(count.astype(np.float64))[1] - 1  # log2, exact
        chosen = useful & ((count & (count - 1)) == 0) & (place < SAMPLES)
        self.wide[rows[chosen], place[chosen]] = np.column_stack([at, said_s, *cells])[chosen]

    def take_places(self, rows: I64, arrived_at: F64) -> tuple[I64, F64, F64]:
        """The places kept of buses that have arrived, and forget them: cells [LEVELS, k], seconds said and come [k]."""
        kept = self.wide[rows]
        self.wide[rows] = np.nan
        which = np.isfinite(kept[:, :, 0])
        came = (arrived_at[:, None] - kept[:, :, 0])[which]
        samples = kept[which]
        return samples[:, 2:].T.astype(np.int64), samples[:, 1], came

    def standing_s(self, rows: I64, vehicles: Vehicles) -> F64:
        """How long it has been where it is, as of its last fix; [n]."""
        since, seen = self.moved_at[rows], vehicles.matched_at[rows]
        known = np.isfinite(since) & np.isfinite(seen)
        stood: F64 = np.maximum(np.where(known, seen, 0.0) - np.where(known, since, 0.0), 0.0)
        return stood

    def habit_s(self, rows: I64, at: F64, longest_s: float) -> F64:
        """How late it left last time, if that was not more than ``longest_s`` before ``at``; [n]."""
        return np.where(at - self.left_at[rows] < longest_s, self.left_late_s[rows], 0.0)

    def pace(self, rows: I64, prior_s: float) -> F64:
        """Excess of its last links as a share of their expected time; [n]."""
        share: F64 = self.excess_s[rows] / (self.expected_s[rows] + prior_s)
        return share
