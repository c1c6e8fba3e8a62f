"""The way to WGS-84 for streams: as `busd.feeds.datum` has it, at a tenth of the price.

The offset of GCJ-02 and BD-09 hardly changes within a hundred metres, so it is worked out exactly at the corners of
cells of `CELL_DEG` and interpolated between them (bilinear): an error of ``CELL_DEG ** 2 / 8`` times the offset's second
derivative, which is 0.04 per degree for GCJ-02 and 1.2 for BD-09 (and a root at 105 degrees east, where it is worst).
That is less than 5e-8 degrees, 5 mm; the wire has steps of 1e-6. Buses drive the same streets all day: nearly every
report finds its cell.

Cells at an edge of the rectangle where GCJ-02 begins are not interpolated.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor

from busd.feeds.datum import LatLon, in_china, to_wgs84

CELL_DEG = {"gcj02": 0.001, "bd09": 0.0005}
MAX_CELLS = 50_000
"""450 bytes each; a city has 10,000. When it is full, all begins anew"""
EDGE_DEG = 0.01

Cell = tuple[float, float, float, float, float, float, float, float]
"""offset in lat and lon: at the corner, more to the north, more to the east, more to both"""


def stream_to_wgs84(datum: str) -> Callable[[float, float], LatLon] | None:
    """The conversion of a datum, None for WGS-84 itself; ValueError for another word. Calls share what they learn."""
    exact = to_wgs84(datum)
    if datum == "wgs84":
        return None
    if datum not in _CELLS:
        _CELLS[datum] = Cells(exact, CELL_DEG[datum]).convert
    return _CELLS[datum]


class Cells:
    """Of one conversion."""

    def __init__(self, exact: Callable[[float, float], LatLon], cell_deg: float) -> None:
        self._exact = exact
        self._cell_deg = cell_deg
        self._known: dict[tuple[int, int], Cell | None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def convert(self, lat: float, lon: float) -> LatLon:
        y, x = lat / self._cell_deg, lon / self._cell_deg
        row, column = floor(y), floor(x)
        key = (row, column)
        known = self._known
        cell = known[key] if key in known else self._learn(row, column)
        if cell is None:
            return self._exact(lat, lon)
        y, x = y - row, x - column
        xy = x * y
        return (
            lat + cell[0] + y * cell[1] + x * cell[2] + xy * cell[3],
            lon + cell[4] + y * cell[5] + x * cell[6] + xy * cell[7],
        )

    def _learn(self, row: int, column: int) -> Cell | None:
        if len(self._known) >= MAX_CELLS:
            self._known.clear()
        size = self._cell_deg
        south, west = row * size, column * size
        around = {in_china(south + dy, west + dx) for dy in (-EDGE_DEG, EDGE_DEG) for dx in (-EDGE_DEG, EDGE_DEG)}
        cell = None
        if around == {True}:
            offsets = []
            for lat, lon in ((row, column), (row + 1, column), (row, column + 1), (row + 1, column + 1)):
                at_lat, at_lon = lat * size, lon * size
                exact_lat, exact_lon = self._exact(at_lat, at_lon)
                offsets.append((exact_lat - at_lat, exact_lon - at_lon))
            (a, e), (b, f), (c, g), (d, h) = offsets
            cell = (a, b - a, c - a, d - c - b + a, e, f - e, g - e, h - g - f + e)
        self._known[row, column] = cell
        return cell


_CELLS: dict[str, Callable[[float, float], LatLon]] = {}
