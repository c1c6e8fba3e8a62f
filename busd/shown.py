"""The columns of a board row, and the departures they become when somebody reads them.

A row is NEWS + KEPT integers and FLOATS floats; two blocks, so that comparing and copying rows is one numpy call each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from busd.days import service_date_of
from busd.types import Basis, DatedTrip, Departure, LineAtStop, StopStatus
from gtfs.network import I64, Network

# integer columns; a difference in the first NEWS of them is always worth a new revision
KEY, VEHICLE, CODES, PRED_S, TRIP, START_S, POS, HEADSIGN, DISTANCE = range(9)
INTEGERS = 9
NEWS = 3
# float columns
SCHED, PRED, LOW, HIGH, AGE = range(5)
FLOATS = 5

KEY_SHIFT = 34
"""KEY = service day ordinal << KEY_SHIFT | row of that day"""


SCHEDULED_CODES = (int(Basis.SCHEDULE) << 12) | (int(StopStatus.OK) << 8)
"""CODES of a row without a bus"""


def pack_codes(away: I64, basis: I64, status: I64, occupancy: I64) -> I64:
    """CODES: what changes a row by itself. away and occupancy are -1 where unknown."""
    codes: I64 = ((away + 1) << 16) | (basis << 12) | (status << 8) | (occupancy + 1)
    return codes


class DepartureRows(Sequence[Departure]):
    """The departures of one board. ``digest_bytes`` is their content without making objects."""

    __slots__ = ("_floats", "_ids", "_integers", "_lines", "_network")

    def __init__(
        self, integers: bytes, floats: bytes, network: Network, ids: list[str], lines: Sequence[LineAtStop]
    ) -> None:
        self._integers, self._floats = integers, floats
        self._network, self._ids, self._lines = network, ids, lines

    def digest_bytes(self) -> bytes:
        return self._integers + self._floats

    def __len__(self) -> int:
        return len(self._integers) // (8 * INTEGERS)

    @overload
    def __getitem__(self, index: int) -> Departure: ...
    @overload
    def __getitem__(self, index: slice) -> list[Departure]: ...
    def __getitem__(self, index: int | slice) -> Departure | list[Departure]:
        return list(self)[index]

    def __iter__(self) -> Iterator[Departure]:
        integers = np.frombuffer(self._integers, np.int64).reshape(-1, INTEGERS).tolist()
        floats = np.frombuffer(self._floats, np.float64).reshape(-1, FLOATS).tolist()
        return map(self._departure, integers, floats)

    def _departure(self, row: list[int], times: list[float]) -> Departure:
        network = self._network
        route = int(network.pattern_route[network.trip_pattern[row[TRIP]]])
        sched = _number(times[SCHED])
        line = next((x for x in self._lines if x.route_idx == route and x.headsign_idx == row[HEADSIGN]), None)
        codes = row[CODES]
        away, occupancy = (codes >> 16) - 1, (codes & 0xFF) - 1
        return Departure(
            trip=DatedTrip(
                row[TRIP], service_date_of(row[KEY] >> KEY_SHIFT), None if row[START_S] < 0 else row[START_S]
            ),
            stop_pos=row[POS],
            route_idx=route,
            headsign_idx=row[HEADSIGN],
            sched_at=sched,
            pred_at=_number(times[PRED]),
            low_at=_number(times[LOW]),
            high_at=_number(times[HIGH]),
            basis=Basis((codes >> 12) & 0xF),
            status=StopStatus((codes >> 8) & 0xF),
            age_s=_number(times[AGE]),
            stops_away=away if away >= 0 else None,
            distance_m=float(row[DISTANCE]) if row[DISTANCE] >= 0 else None,
            vehicle_id=self._ids[row[VEHICLE]] if row[VEHICLE] >= 0 else None,
            occupancy=occupancy if occupancy >= 0 else None,
            first=line is not None and sched is not None and sched == line.first_at,
            last=line is not None and sched is not None and sched == line.last_at,
        )


def _number(value: float) -> float | None:
    return value if value == value else None
