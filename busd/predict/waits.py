"""How much longer, given that it has lasted so long: medians of a histogram beyond a point."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtfs.network import F64, I64


class Waits:
    """Histograms of durations (or of deviations, which may be negative): one of all, and one a row that shrinks to it.

    ``edges``: first value, width and number of the bins; ``prior``: what is expected of all before anything is seen,
    (value, share) pairs; ``weight_all`` and ``weight_row``: observations that the prior, and all rows, count for."""

    def __init__(
        self,
        rows: int,
        edges: tuple[float, float, int],
        prior: tuple[tuple[float, float], ...],
        weight_all: float,
        weight_row: float,
    ) -> None:
        self.first_s, self.bin_s, self.bins = edges
        self.weight_row = weight_row
        self.all = np.zeros(self.bins)
        for value, share in prior:
            self.all[self._bin(np.array([value]))] += weight_all * share
        self.row = np.zeros((rows, self.bins), np.float32)

    def _bin(self, values: F64) -> I64:
        bins: I64 = np.clip((values - self.first_s) // self.bin_s, 0, self.bins - 1).astype(np.int64)
        return bins

    def learn(self, rows: I64, values: F64) -> None:
        bins = self._bin(values)
        np.add.at(self.all, bins, 1.0)
        np.add.at(self.row, (rows, bins), np.float32(1.0))

    def median(self, rows: I64, beyond: F64) -> F64:
        """Median of those greater than ``beyond``, linear within a bin; ``beyond`` itself where none is; [n]."""
        weights = self.all / self.all.sum() * self.weight_row + self.row[rows]
        last = self.first_s + self.bin_s * self.bins
        place = (np.minimum(np.maximum(beyond, self.first_s), last - 1e-3) - self.first_s) / self.bin_s
        bins = np.arange(self.bins)
        mass = weights * np.minimum(np.maximum(bins + 1 - place[:, None], 0.0), 1.0)
        sums = np.cumsum(mass, axis=1)
        half = 0.5 * sums[:, -1]
        k = np.minimum((sums < half[:, None]).sum(axis=1), self.bins - 1)
        row = np.arange(len(k))
        inside = (half - (sums[row, k] - mass[row, k])) / np.maximum(mass[row, k], 1e-12)
        low = np.maximum(k, place)
        found = self.first_s + self.bin_s * (low + np.minimum(np.maximum(inside, 0.0), 1.0) * (k + 1 - low))
        known = (sums[:, -1] > 0) & (beyond < last)
        return np.maximum(np.where(known, found, beyond), beyond)

    def fade(self, keep: float) -> None:
        self.all *= keep
        self.row *= np.float32(keep)

    def dump(self) -> dict[str, Any]:
        return {"all": self.all, "row": self.row}

    def load(self, state: dict[str, Any]) -> None:
        self.all, self.row = state["all"], state["row"]

    def carry_over(self, old: Waits, here: I64, there: I64) -> None:
        self.all = old.all.copy()
        self.row[here] = old.row[there]
