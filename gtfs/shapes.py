"""shapes.txt and the patterns' stops -> polylines, and where along them the stops are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gtfs.archive import ReaderLimits
from gtfs.errors import GtfsError
from gtfs.findings import Findings
from gtfs.frame import Frame, cumulative_m
from gtfs.geometry import PULL_OF_DISTANCE, PULL_OF_SCHEDULE_M, Polyline, project_stops
from gtfs.patterns import Patterns
from gtfs.reader import Feed
from gtfs.schema import MISSING
from gtfs.stop_times import StopTimes
from gtfs.stops import Stops

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

OFF_SHAPE_M = 150.0
MIN_LENGTH_M = 1.0


@dataclass(frozen=True)
class Line:
    """One polyline; ``dist`` is shape_dist_traveled where the feed has a usable one."""

    shape_id: str
    lat: F64
    lon: F64
    m: F64
    dist: F64 | None = None


@dataclass(frozen=True)
class PlacedPatterns:
    lines: list[Line]
    line_of: I32
    """pattern -> line"""
    stop_m: F64
    stop_offset_m: F64


class _Shapes:
    """Builds each shape once, when the first pattern asks for it."""

    def __init__(self, feed: Feed, limits: ReaderLimits) -> None:
        self._table = feed["shapes"]
        self._findings = feed.findings
        self._limits = limits
        codes = self._table.text["shape_id"]
        sequence = self._table.number["shape_pt_sequence"]
        self._order = np.lexsort((sequence, codes.code))
        sorted_codes = codes.code[self._order]
        rows = np.arange(len(codes.values) + 1)
        self._offset = np.searchsorted(sorted_codes, rows)
        self._code = {value: code for code, value in enumerate(codes.values)}

    def find(self, shape_id: str) -> Line | None:
        """None where the shape is absent or has no length."""
        code = self._code.get(shape_id)
        if not shape_id or code is None:
            return None
        rows = self._order[self._offset[code] : self._offset[code + 1]]
        if len(rows) > self._limits.points_per_shape:
            raise GtfsError(
                f"shape {shape_id!r} has {len(rows)} points, at most {self._limits.points_per_shape} are read"
            )
        lat, lon = self._table.number["shape_pt_lat"][rows], self._table.number["shape_pt_lon"][rows]
        dist = self._table.number["shape_dist_traveled"][rows]
        kept = np.ones(len(rows), np.bool_)
        kept[1:] = (np.diff(lat) != 0) | (np.diff(lon) != 0)
        lat, lon, dist = lat[kept], lon[kept], dist[kept]
        m = cumulative_m(lat, lon)
        if len(m) < 2 or m[-1] < MIN_LENGTH_M:
            row = int(self._table.row[rows[0]]) if len(rows) else None
            self._findings.add("degenerate_shape", "shapes.txt", row, "shape_id", shape_id)
            return None
        usable: F64 | None = dist
        if np.isnan(dist).any():
            usable = None
        elif (np.diff(dist) < 0).any() or dist[-1] <= dist[0]:
            self._findings.add("bad_shape_distance", "shapes.txt", None, "shape_dist_traveled", shape_id)
            usable = None
        return Line(shape_id, lat, lon, m, usable)


def place_patterns(
    feed: Feed, patterns: Patterns, times: StopTimes, stops: Stops, limits: ReaderLimits
) -> PlacedPatterns:
    """Projects every pattern once. Lines come in the order of the patterns that use them first."""
    findings, shapes = feed.findings, _Shapes(feed, limits)
    shape_ids = feed["trips"].text["shape_id"].values
    trips_of = np.bincount(patterns.of_trip, minlength=len(patterns))
    lines: list[Line] = []
    polylines: dict[int, Polyline] = {}
    line_by_code: dict[int, int | None] = {}
    straight_by_stops: dict[bytes, int] = {}
    placed: dict[tuple[int, bytes], tuple[F64, F64]] = {}
    off_shape: dict[tuple[str, str], float] = {}
    line_of = np.empty(len(patterns), np.int32)
    stop_m, offset_m = np.zeros(len(patterns.stop), np.float64), np.zeros(len(patterns.stop), np.float64)
    without_shape = 0
    for p in range(len(patterns)):
        rows = slice(int(patterns.stop_offset[p]), int(patterns.stop_offset[p + 1]))
        stop = patterns.stop[rows]
        code = int(patterns.shape[p])
        if code not in line_by_code:
            line = shapes.find(shape_ids[code])
            line_by_code[code] = None if line is None else len(lines)
            if line is not None:
                polylines[len(lines)] = _polyline(line, stops.frame)
                lines.append(line)
        known = line_by_code[code]
        if known is None:
            without_shape += int(trips_of[p])
            key = stop.tobytes()
            if key not in straight_by_stops:
                straight_by_stops[key] = len(lines)
                lines.append(_straight(stops, stop))
            line_of[p] = straight_by_stops[key]
            stop_m[rows] = cumulative_m(stops.lat[stop], stops.lon[stop])
            continue
        line_of[p] = known
        place = placed.get((known, stop.tobytes()))
        if place is None:
            expected, pull = _expected(times, int(patterns.first_trip[p]), lines[known])
            place = project_stops(polylines[known], stops.x[stop], stops.y[stop], expected, pull)
            placed[known, stop.tobytes()] = place
        stop_m[rows], offset_m[rows] = place
        for k in np.flatnonzero(place[1] > OFF_SHAPE_M).tolist():
            off_shape[lines[known].shape_id, stops.ids[stop[k]]] = float(place[1][k])
    examples = [
        (None, f"stop {stop} is {metres:.0f} m from shape {shape}") for (shape, stop), metres in off_shape.items()
    ]
    findings.add_many("stop_off_shape", "stops.txt", "stop_id", len(off_shape), examples)
    _report_without_shape(findings, without_shape, len(times.trip_row))
    return PlacedPatterns(lines, line_of, stop_m, offset_m)


def _report_without_shape(findings: Findings, without: int, trips: int) -> None:
    findings.add_many("no_shape", "trips.txt", "shape_id", without, [(None, f"{without} of {trips} trips")])


def _polyline(line: Line, frame: Frame) -> Polyline:
    x, y = frame.xy_array(line.lat, line.lon)
    return Polyline(x, y, line.m)


def _straight(stops: Stops, stop: I32) -> Line:
    """The stops themselves as a polyline; two equal points where they are all at one place."""
    lat, lon = stops.lat[stop], stops.lon[stop]
    kept = np.ones(len(stop), np.bool_)
    kept[1:] = (np.diff(lat) != 0) | (np.diff(lon) != 0)
    if kept.sum() < 2:
        kept[:2] = True
    return Line("", lat[kept], lon[kept], cumulative_m(lat[kept], lon[kept]))


def _expected(times: StopTimes, trip: int, line: Line) -> tuple[F64, float]:
    """Where the feed itself says that the stops are, metres along the line, and how much that weighs."""
    rows = slice(int(times.offset[trip]), int(times.offset[trip + 1]))
    dist = times.dist[rows]
    known = ~np.isnan(dist)
    if known.any() and not (np.diff(dist[known]) < 0).any() and line.dist is not None:
        expected = np.interp(dist, line.dist, line.m)
        expected[~known] = np.nan
        return expected, PULL_OF_DISTANCE
    pull = PULL_OF_SCHEDULE_M / float(line.m[-1])
    if known.all() and not (np.diff(dist) < 0).any() and dist[-1] > dist[0]:
        return (dist - dist[0]) / (dist[-1] - dist[0]) * line.m[-1], pull
    seconds = times.arrival_s[rows].astype(np.float64)
    seconds[times.arrival_s[rows] == MISSING] = np.nan
    span = seconds[-1] - seconds[0]
    if span <= 0:
        return np.full(len(seconds), np.nan), pull
    return (seconds - seconds[0]) / span * line.m[-1], pull
