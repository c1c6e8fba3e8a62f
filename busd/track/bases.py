"""Garages and yards: where vehicles without a run have stood for long. What one of them has shown, all others know."""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.tracking_parameters import Tracking
from gtfs.network import F64, Bool

HELD = 200
"""more are not kept; the oldest go first"""


class Bases:
    """Places [n] in the network's frame, metres."""

    def __init__(self, t: Tracking) -> None:
        self.t = t
        self.x, self.y = np.zeros(0), np.zeros(0)

    def learn(self, x: float, y: float) -> None:
        """A vehicle without a run has stood here for `Tracking.base_s`."""
        if not self.near(np.array([x]), np.array([y]))[0]:
            self.x, self.y = np.append(self.x, x)[-HELD:], np.append(self.y, y)[-HELD:]

    def near(self, x: F64, y: F64) -> Bool:
        """Which of the places [m] are at a base."""
        away = np.hypot(x[:, None] - self.x, y[:, None] - self.y)
        here: Bool = np.any(away <= self.t.base_m, axis=1)
        return here

    def dump(self) -> dict[str, Any]:
        return {"x": self.x, "y": self.y}

    def load(self, state: dict[str, Any]) -> None:
        self.x, self.y = state["x"], state["y"]
