"""Sums of judged predictions by line and horizon; they add up, so parts of a day become the day.

All figures but ``eta`` are of the median (p50) and its interval, by the horizon that was told. ``eta`` is of the rider
point, by the actual horizon, as its standard has it; so are ``asked`` and ``available``, since what was never told has
no told horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from busd.history.standards import ACTUAL_EDGES_S, TOLD_EDGES_S, bucket, judge, names, pinball
from gtfs.network import F64, I64

BUCKETS = len(TOLD_EDGES_S) - 1
TOLD = names(TOLD_EDGES_S)
ACTUAL = names(ACTUAL_EDGES_S)
SUMS = (
    "n",
    "e",
    "abs_e",
    "caught",
    "mbta",
    "newmark_n",
    "newmark",
    "inside",
    "width",
    "pinball",
    "eta_n",
    "eta",
    "asked",
    "available",
)
COLUMN = {name: k for k, name in enumerate(SUMS)}
OTHER = "other"
"""the line of all lines beyond the cap"""
NOMINAL_COVERAGE = 0.8


@dataclass(frozen=True, eq=False)
class Judged:
    """Predictions whose outcome is known; [n] each, epoch seconds. ``line``: row of the tally."""

    line: I64
    made_at: F64
    arrival_at: F64
    p10: F64
    p50: F64
    p90: F64
    rider: F64

    def __len__(self) -> int:
        return len(self.line)


@dataclass
class Tally:
    """``sums``: [lines, buckets, SUMS]. ``came``/``never``: predictions of buses ten minutes away that came and that
    did not."""

    max_lines: int = 50
    lines: list[str] = field(default_factory=list)
    sums: F64 = field(default_factory=lambda: np.zeros((0, BUCKETS, len(SUMS))))
    came: F64 = field(default_factory=lambda: np.zeros(0))
    never: F64 = field(default_factory=lambda: np.zeros(0))
    trips: F64 = field(default_factory=lambda: np.zeros(0))
    """runs of which any prediction was judged"""

    def row(self, line: str) -> int:
        """Of a line; lines beyond ``max_lines`` share one row."""
        if line not in self.lines:
            if len(self.lines) >= self.max_lines:
                line = OTHER
            if line not in self.lines:
                self.lines.append(line)
                self.sums = np.concatenate([self.sums, np.zeros((1, BUCKETS, len(SUMS)))])
                for name in ("came", "never", "trips"):
                    setattr(self, name, np.append(getattr(self, name), 0.0))
        return self.lines.index(line)

    def add(self, judged: Judged, weight: float = 1.0) -> None:
        """Count outcomes; ``weight`` for tallies that forget."""
        if not len(judged):
            return
        e = judged.arrival_at - judged.p50
        told_s, actual_s = np.maximum(judged.p50 - judged.made_at, 0.0), judged.arrival_at - judged.made_at
        flags = judge(judged.p50, judged.arrival_at, judged.made_at)
        eta = judge(judged.rider, judged.arrival_at, judged.made_at)["eta"]
        inside = (judged.p10 <= judged.arrival_at) & (judged.arrival_at <= judged.p90)
        loss = sum(
            pinball(q, judged.arrival_at, at) for q, at in ((0.1, judged.p10), (0.5, judged.p50), (0.9, judged.p90))
        )
        told = bucket(told_s, TOLD_EDGES_S)
        self._count(judged.line, told, "n", np.ones(len(e)), weight)
        for name, values in (
            ("e", e),
            ("abs_e", np.abs(e)),
            ("caught", (e >= 0).astype(np.float64)),
            ("mbta", flags["mbta"]),
            ("newmark_n", np.isfinite(flags["newmark"]).astype(np.float64)),
            ("newmark", flags["newmark"]),
            ("inside", inside.astype(np.float64)),
            ("width", judged.p90 - judged.p10),
            ("pinball", np.asarray(loss) / 3.0),
        ):
            self._count(judged.line, told, name, values, weight)
        actual = bucket(actual_s, ACTUAL_EDGES_S)
        self._count(judged.line, actual, "eta_n", np.isfinite(eta).astype(np.float64), weight)
        self._count(judged.line, actual, "eta", eta, weight)

    def add_asked(self, line: I64, which: I64, available: F64) -> None:
        """Whether anything was told of a passage when it was so far away; ``which``: actual bucket."""
        self._count(line, which, "asked", np.ones(len(line)), 1.0)
        self._count(line, which, "available", available, 1.0)

    def _count(self, line: I64, which: I64, name: str, values: F64, weight: float) -> None:
        good = (which >= 0) & (which < BUCKETS)
        np.add.at(self.sums[:, :, COLUMN[name]], (line[good], which[good]), weight * np.nan_to_num(values[good]))

    # ---- reading -----------------------------------------------------------------------------------------------------

    def merge(self, other: Tally) -> None:
        """Take in another part."""
        for k, line in enumerate(other.lines):
            row = self.row(line)
            self.sums[row] += other.sums[k]
            self.came[row] += other.came[k]
            self.never[row] += other.never[k]
            self.trips[row] += other.trips[k]

    def figures(self, line: str | None = None) -> dict[str, Any]:
        """Of one line, or of all together: by bucket, and over all of them."""
        rows = slice(None) if line is None else slice(self.lines.index(line), self.lines.index(line) + 1)
        sums = self.sums[rows].sum(axis=0)
        came, never = float(self.came[rows].sum()), float(self.never[rows].sum())
        out: dict[str, Any] = {
            "trips": round(float(self.trips[rows].sum())),
            "told": {name: _told_figures(sums[k]) for k, name in enumerate(TOLD)},
            "actual": {name: _actual_figures(sums[k]) for k, name in enumerate(ACTUAL)},
            "all": _told_figures(sums.sum(axis=0)) | _actual_figures(sums.sum(axis=0)),
            "ghosts": _share(never, came + never),
        }
        for name, by in (("eta", "actual"), ("mbta", "told")):
            parts = [v for b in list(out[by].values())[:4] if (v := b[name]) is not None]
            out[f"{name}_mean"] = round(sum(parts) / len(parts), 2) if parts else None
        return out

    def dump(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "sums": np.round(self.sums, 3).tolist(),
            "came": self.came.tolist(),
            "never": self.never.tolist(),
            "trips": self.trips.tolist(),
        }

    @classmethod
    def load(cls, data: dict[str, Any], max_lines: int = 50) -> Tally:
        """What `dump` gave; ValueError for another version's sums."""
        sums = np.asarray(data["sums"], np.float64).reshape(-1, BUCKETS, len(SUMS))
        columns = [np.asarray(data[name], np.float64) for name in ("came", "never", "trips")]
        if any(len(column) != len(data["lines"]) for column in (sums, *columns)):
            raise ValueError("a score of another version")
        return cls(max_lines, list(data["lines"]), sums, *columns)


def _told_figures(sums: F64) -> dict[str, float | None]:
    s = dict(zip(SUMS, sums.tolist()))
    n = s["n"]
    return {
        "n": round(n),
        "bias": _mean(s["e"], n),
        "mae": _mean(s["abs_e"], n),
        "catch": _share(s["caught"], n),
        "mbta": _share(s["mbta"], n),
        "newmark": _share(s["newmark"], s["newmark_n"]),
        "coverage": _share(s["inside"], n),
        "width": _mean(s["width"], n),
        "pinball": _mean(s["pinball"], n),
    }


def _actual_figures(sums: F64) -> dict[str, float | None]:
    s = dict(zip(SUMS, sums.tolist()))
    return {"eta": _share(s["eta"], s["eta_n"]), "availability": _share(s["available"], s["asked"])}


def _mean(total: float, n: float) -> float | None:
    return round(total / n, 2) if n > 0 else None


def _share(part: float, n: float) -> float | None:
    return round(100.0 * part / n, 2) if n > 0 else None


def merged(parts: Sequence[Tally]) -> Tally:
    out = Tally(max_lines=1_000_000)
    for part in parts:
        out.merge(part)
    return out
