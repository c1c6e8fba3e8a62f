"""When a bus leaves its first stop, given that it has not left yet.

Departures minus the timetable, D, in bins of half a minute, for each first stop with the network's as the prior. The
median of D among those later than w = "still here now": departure hazards say the same, bin by bin. A bus that comes
in late leaves when it has turned: the inbound arrival plus what late buses here needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.parameters import Terminals
from gtfs.network import F64, I64, Network


class Departures:
    """Histograms of D: the network's [bins], each first stop's [first stops, bins]; and turns of late buses."""

    def __init__(self, network: Network, p: Terminals) -> None:
        self.p = p
        stops = network.pattern_stop[network.pattern_stop_offset[:-1]] if len(network.pattern_route) else np.zeros(0)
        self.first_stops = np.unique(stops).astype(np.int64)
        self.pattern_row = np.searchsorted(self.first_stops, stops).astype(np.int64)
        self.network = np.zeros(p.bins)
        self.stop = np.zeros((len(self.first_stops), p.bins), np.float32)
        self.turns = np.array([p.turn_s * p.turn_prior, p.turn_prior])
        self._edges = p.first_s + p.bin_s * np.arange(p.bins + 1)
        prior = np.zeros(p.bins)
        zero = int(-p.first_s // p.bin_s)
        prior[zero - 1 : zero + 4] = (0.1, 0.45, 0.25, 0.12, 0.08)
        self._prior = prior

    # ---- reading -----------------------------------------------------------------------------------------------------

    def median(self, pattern: I64, waited_s: F64) -> F64:
        """Median of D among departures with D > ``waited_s`` (now - timetable, or what is sure); [n], seconds."""
        p = self.p
        weights = self.network + p.prior_departures * self._prior
        weights = weights / weights.sum() * p.stop_departures + self.stop[self.pattern_row[pattern]]
        place = (np.minimum(np.maximum(waited_s, p.first_s), self._edges[-1] - 1e-3) - p.first_s) / p.bin_s
        bins = np.arange(p.bins)
        # of the bin it is in, the part that lies ahead
        ahead = np.minimum(np.maximum(bins + 1 - place[:, None], 0.0), 1.0)
        mass = weights * ahead
        cumulated = np.cumsum(mass, axis=1)
        half = 0.5 * cumulated[:, -1:]
        k = np.minimum((cumulated < half).sum(axis=1), p.bins - 1)
        rows = np.arange(len(k))
        within = (half[:, 0] - (cumulated[rows, k] - mass[rows, k])) / np.maximum(mass[rows, k], 1e-12)
        low = np.maximum(k, place)
        share = low + np.minimum(np.maximum(within, 0.0), 1.0) * (k + 1 - low)
        median = np.where(cumulated[:, -1] > 0, p.first_s + p.bin_s * share, waited_s)
        return np.asarray(np.maximum(median, waited_s))

    @property
    def turn_s(self) -> float:
        """Mean turn of buses that came in too late for their next departure."""
        return float(self.turns[0] / self.turns[1])

    # ---- learning ----------------------------------------------------------------------------------------------------

    def learn(self, pattern: I64, deviation_s: F64) -> None:
        """Observed D; [n]."""
        p = self.p
        k = ((deviation_s - p.first_s) // p.bin_s).astype(np.int64)
        k = np.minimum(np.maximum(k, 0), p.bins - 1)
        np.add.at(self.network, k, 1.0)
        np.add.at(self.stop, (self.pattern_row[pattern], k), np.float32(1.0))

    def learn_turns(self, took_s: F64) -> None:
        """Inbound arrival to departure of buses that were late for it; [n]."""
        took = took_s[(took_s >= 0) & (took_s <= self.p.turn_max_s)]
        self.turns += (float(took.sum()), float(len(took)))

    def fade(self, keep: float) -> None:
        self.network *= keep
        self.stop *= np.float32(keep)
        self.turns *= keep

    def dump(self) -> dict[str, Any]:
        return {"network": self.network, "stop": self.stop, "turns": self.turns}

    def load(self, state: dict[str, Any]) -> None:
        self.network, self.stop, self.turns = state["network"], state["stop"], state["turns"]

    def carry_over(self, old: Departures, here: I64, there: I64) -> None:
        """``here``, ``there``: stops of both networks that are the same."""
        self.network, self.turns = old.network.copy(), old.turns.copy()
        mine, other = np.isin(here, self.first_stops), np.isin(there, old.first_stops)
        both = mine & other
        rows = np.searchsorted(self.first_stops, here[both])
        self.stop[rows] = old.stop[np.searchsorted(old.first_stops, there[both])]
