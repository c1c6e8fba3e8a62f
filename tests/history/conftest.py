"""A drawn line and what an engine would say of it."""

from __future__ import annotations

import numpy as np
import pytest

from busd.types import DatedTrip, Predicted, PredictionTable, PredictionTables, StopVisit, StopVisited
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import network_from_map

START = service_day_start("20260302", "Asia/Shanghai") + 8 * 3600


class Line:
    """Line 1 of four stops, 50 s apart; trips every five minutes."""

    network: Network = network_from_map("A---B---C---D", {"1": "ABCD", "2": "DCBA"}, trips=100, headway_s=300)
    start = START

    def trip(self, number: int, line: str = "1", date: str = "20260302") -> DatedTrip:
        row = self.network.find_trip(f"{line}-{number}")
        assert row is not None
        return DatedTrip(row, date)

    def told(self, trip: DatedTrip, at: float, p50: dict[int, float], spread: float = 60.0) -> Predicted:
        """p50 of stop positions; rider 30 s before, the interval ``spread`` to both sides."""
        pos = np.array(list(p50))
        times = np.array(list(p50.values()), np.float64)
        return Predicted(
            PredictionTables.of(
                PredictionTable(
                    "bus", trip, at, at, pos, np.stack([times - spread, times - 30.0, times, times + spread, times])
                )
            )
        )

    def seen(self, trip: DatedTrip, pos: int, at: float, vehicle: str = "bus") -> StopVisited:
        if pos == 0:
            return StopVisited(StopVisit(trip, pos, vehicle, None, at, 20.0))
        return StopVisited(StopVisit(trip, pos, vehicle, at, None, 20.0))


@pytest.fixture
def line() -> Line:
    return Line()
