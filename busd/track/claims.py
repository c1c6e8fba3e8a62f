"""One run, one bus: what vehicles say to each other of the runs they may perform.

Belief propagation for data association (Williams & Lau 2014): a vehicle tells with which odds it claims a run, leaving
out what it has heard of that very run, so that no echo becomes evidence. Odds of one run add up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.track import evidence
from busd.track.beliefs import Beliefs
from busd.track.service import Service
from busd.tracking_parameters import Tracking
from gtfs.network import F64, I64


class Claims:
    """Sums of odds by run number of the held service."""

    def __init__(self, beliefs: Beliefs, service: Service, t: Tracking) -> None:
        self.beliefs, self.t = beliefs, t
        self.serve(service)

    def serve(self, service: Service) -> None:
        """The held service days have changed: runs are numbered anew, claims carried over."""
        self.service = service
        self.of_run, self.expected = np.zeros(service.count), np.zeros(service.count)
        self.move(np.arange(self.beliefs.held), 1.0)

    def move(self, rows: I64, sign: float) -> None:
        """Put in (+1) or take out (-1) what these vehicles claim; the next run of the block is expected of them."""
        b = self.beliefs
        owner, place = np.nonzero(b.claim[rows] > 0.0)
        rows, claim = rows[owner], b.claim[rows[owner], place]
        number = self.service.number(b.day[rows, place], b.run[rows, place])
        claim = claim[number >= 0]
        number = number[number >= 0]
        np.add.at(self.of_run, number, sign * claim)
        after = self.service.next[number]
        np.add.at(self.expected, after[after >= 0], sign * evidence.of_next(claim[after >= 0], self.t))

    def named(self, number: int, sign: float) -> None:
        """A vehicle performs (+1), or leaves (-1), a run by its own word."""
        self.of_run[number] += sign * self.t.claim_odds

    def taken(self, number: I64) -> F64:
        """Log likelihood that the runs are left for another vehicle; those that have no number are."""
        return self._free(number, self.of_run + self.expected)

    def expected_of_others(self, number: I64) -> F64:
        """The same by what vehicles will do after their present run alone."""
        return self._free(number, self.expected)

    def _free(self, number: I64, odds: F64) -> F64:
        return evidence.of_claim(np.where(number >= 0, odds[number], 0.0), self.t)

    def dump(self) -> dict[str, Any]:
        return {"of_run": self.of_run, "expected": self.expected}

    def load(self, state: dict[str, Any]) -> None:
        self.of_run, self.expected = state["of_run"], state["expected"]
