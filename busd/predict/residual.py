"""What the last buses met: the recent excess of links and of the bus itself, believed as far as it has paid lately.

Link noise is nearly independent from bus to bus on ordinary days (correlation 0.0 to 0.1), and a term for it does harm;
in a jam it is all that matters. So every real-time term u (a share of the expected time) goes through a `Gate`: the
slope of what came on what the term had said,

    g = clip(sum u t r / (sum (u t)^2 + w), 0, 1)

over the last hours: about 0 where excesses do not last, towards 1 where they do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.parameters import Links
from gtfs.network import F64, I64, Network


class Gate:
    """Recent slope of outcomes on what a term said; fades with `Links.gate_half_life_s`."""

    def __init__(self, p: Links) -> None:
        self.p = p
        self.state = np.array([0.0, 0.0, 0.0])  # sum u t r, sum (u t)^2, instant

    @property
    def value(self) -> float:
        slope = float(self.state[0]) / (float(self.state[1]) + self.p.gate_prior)
        return min(max(slope, 0.0), 1.0)

    def learn(self, said_s: F64, came_s: F64, at: float) -> None:
        """``said_s``: the excess the term told; ``came_s``: the one that came; [n]."""
        keep = 0.5 ** (max(at - self.state[2], 0.0) / self.p.gate_half_life_s)
        self.state[:2] *= keep
        self.state[:2] += (float((said_s * came_s).sum()), float((said_s * said_s).sum()))
        self.state[2] = max(at, self.state[2])


class RecentExcess:
    """Excess of each link, an exponentially fading ratio of sums: u = sum r f / (sum t f + w), f = exp(-age / tau).

    Age-aware (a stale excess fades to history), shared by all lines, pooled along the road (`table`)."""

    def __init__(self, network: Network, p: Links) -> None:
        self.p = p
        self.gate = Gate(p)
        self.sums = np.zeros((len(network.link_from), 2))  # excess, expected; as of `at`
        self.at = np.full(len(network.link_from), -np.inf)
        first = network.pattern_stop_offset
        self._inner_first = np.zeros(len(network.pattern_stop), bool)
        self._inner_first[first[:-1]] = True

    def learn(self, link: I64, excess_s: F64, expected_s: F64, said: F64, at: float) -> None:
        """Outcomes of links at ``at``, and what the table had said of them (ungated); [n]."""
        self.gate.learn(said * expected_s, excess_s, at)
        once = np.unique(link)
        self.sums[once] *= self._fade(once, at)[:, None]
        self.at[once] = at
        np.add.at(self.sums, link, np.stack([excess_s, expected_s], axis=1))

    def table(self, leg_link: I64, at: float) -> F64:
        """Pattern row -> u, ungated, with the neighbours on the pattern at `Links.residual_neighbour`; 0 at first stops."""
        p = self.p
        links = np.arange(len(self.sums))
        now = self.sums * self._fade(links, at)[:, None]
        if not now[:, 1].any():
            return np.zeros(len(leg_link))
        here = np.where((leg_link >= 0)[:, None], now[leg_link], 0.0)
        pooled = here.copy()
        pooled[1:] += p.residual_neighbour * here[:-1] * (~self._inner_first[1:, None])
        pooled[:-1] += p.residual_neighbour * here[1:] * (~self._inner_first[1:, None])
        return np.where(leg_link >= 0, pooled[:, 0] / (pooled[:, 1] + p.residual_prior_s), 0.0)

    def _fade(self, link: I64, at: float) -> F64:
        age = np.maximum(at - self.at[link], 0.0)
        return np.where(np.isfinite(age), np.exp(-np.minimum(age, 1e6) / self.p.residual_tau_s), 0.0)

    def dump(self) -> dict[str, Any]:
        return {"sums": self.sums, "at": self.at, "gate": self.gate.state}

    def load(self, state: dict[str, Any]) -> None:
        self.sums, self.at, self.gate.state = state["sums"], state["at"], state["gate"]
