"""A network drawn with letters, for tests, documentation and experiments (after Valhalla's gurka tests).

    network = network_from_map(
        '''
        A---B---C
                |
                D
        ''',
        lines={"1": "ABCD"},
    )

One character is one cell of ``cell_m`` metres. Letters and digits are stops (id and name are the letter); ``-|/\\`` and
anything else are for the eye only: shapes are straight from stop to stop, or through other cells where ``shapes`` says
so. The map is written out as a GTFS zip and goes the same way as every feed.
"""

from __future__ import annotations

import csv
import io
import math
import textwrap
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from gtfs.archive import ReaderLimits
from gtfs.frame import Frame
from gtfs.network import Network

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""of every member, so that equal feeds are equal bytes"""

Row = Sequence[object]


@dataclass(frozen=True)
class MapFrame:
    """Where things of a drawn map are. The letter that comes first in the map lies at ``origin``."""

    cells: Mapping[str, tuple[float, float]]
    """letter -> metres east and north of the origin"""
    origin: tuple[float, float]

    def at(self, letter: str) -> tuple[float, float]:
        """(lat, lon) of a letter of the map."""
        return self.xy(*self.cells[letter])

    def between(self, first: str, second: str, share: float) -> tuple[float, float]:
        """(lat, lon) on the straight line: ``share`` 0 is ``first``, 1 is ``second``; beyond them it goes on."""
        (x1, y1), (x2, y2) = self.cells[first], self.cells[second]
        return self.xy(x1 + share * (x2 - x1), y1 + share * (y2 - y1))

    def beside(self, letter: str, east_m: float, north_m: float) -> tuple[float, float]:
        """(lat, lon) of a point so many metres away from a letter."""
        x, y = self.cells[letter]
        return self.xy(x + east_m, y + north_m)

    def xy(self, x: float, y: float) -> tuple[float, float]:
        """(lat, lon) of metres east and north of the origin."""
        return Frame(*self.origin).latlon(x, y)


def frame_of_map(ascii_map: str, cell_m: float = 100.0, origin: tuple[float, float] = (36.06, 103.83)) -> MapFrame:
    """Finds the letters and digits of a map. Raises ValueError where one is there twice or none at all."""
    cells: dict[str, tuple[float, float]] = {}
    first: tuple[int, int] | None = None
    for row, line in enumerate(textwrap.dedent(ascii_map).splitlines()):
        for column, letter in enumerate(line):
            if not letter.isalnum():
                continue
            if letter in cells:
                raise ValueError(f"{letter!r} is twice in the map")
            first = first or (row, column)
            cells[letter] = ((column - first[1]) * cell_m, (first[0] - row) * cell_m)
    if not cells:
        raise ValueError("the map has no stops (letters or digits)")
    return MapFrame(cells, origin)


def network_from_map(
    ascii_map: str,
    lines: Mapping[str, str],
    *,
    cell_m: float = 100.0,
    origin: tuple[float, float] = (36.06, 103.83),
    start: str = "08:00:00",
    headway_s: int = 600,
    trips: int = 3,
    speed_mps: float = 8.0,
    dwell_s: int = 0,
    timezone: str = "Asia/Shanghai",
    blocks: bool = False,
    shapes: Mapping[str, str] | None = None,
    days: tuple[str, str] = ("20260101", "20261231"),
    names: Mapping[str, Mapping[str, str]] | None = None,
    tables: Mapping[str, str] | None = None,
) -> Network:
    """Compiles the feed of `zip_from_map` (same arguments). Equal arguments give the same object: it is immutable."""
    data = zip_from_map(
        ascii_map,
        lines,
        cell_m=cell_m,
        origin=origin,
        start=start,
        headway_s=headway_s,
        trips=trips,
        speed_mps=speed_mps,
        dwell_s=dwell_s,
        timezone=timezone,
        blocks=blocks,
        shapes=shapes,
        days=days,
        names=names,
        tables=tables,
    )
    return _compiled(data)


def zip_from_map(
    ascii_map: str,
    lines: Mapping[str, str],
    *,
    cell_m: float = 100.0,
    origin: tuple[float, float] = (36.06, 103.83),
    start: str = "08:00:00",
    headway_s: int = 600,
    trips: int = 3,
    speed_mps: float = 8.0,
    dwell_s: int = 0,
    timezone: str = "Asia/Shanghai",
    blocks: bool = False,
    shapes: Mapping[str, str] | None = None,
    days: tuple[str, str] = ("20260101", "20261231"),
    names: Mapping[str, Mapping[str, str]] | None = None,
    tables: Mapping[str, str] | None = None,
) -> bytes:
    """The map as the bytes of a GTFS zip.

    ``lines``: route -> its stops in order; a route "1/back" is direction 1 of route 1, all others direction 0. Trips
    are called ``1-0``, ``1-1`` ... (``1/back-0`` ...), leave every ``headway_s`` from ``start`` on and drive at
    ``speed_mps`` along the shape, waiting ``dwell_s`` at inner stops. ``shapes``: route -> the letters that its shape
    goes through, where that is not the stops alone; letters that no line serves are corners, not stops. ``blocks``:
    trip k of a line and trip k of its way back are one block. ``names``: language -> stop -> translated name.
    ``tables``: file name (``frequencies.txt``) -> CSV that is added, or put in place of what the map gives.
    """
    frame = frame_of_map(ascii_map, cell_m, origin)
    shapes = shapes or {}
    served = {letter for stops in lines.values() for letter in stops}
    unknown = (served | set("".join(shapes.values()))) - set(frame.cells)
    if unknown:
        raise ValueError(f"not in the map: {', '.join(sorted(unknown))}")
    stop_rows = [[letter, letter, *_degrees(frame.at(letter))] for letter in frame.cells if letter in served]
    routes: dict[str, None] = {}
    trip_rows: list[Row] = []
    time_rows: list[Row] = []
    shape_rows: list[Row] = []
    first_s = _seconds(start)
    for line, stops in lines.items():
        route, _, back = line.partition("/")
        routes.setdefault(route)
        way = shapes.get(line, stops)
        for i, letter in enumerate(way):
            shape_rows.append([line, *_degrees(frame.at(letter)), i])
        metres = _metres_of_stops(frame, stops, way, line)
        for k in range(trips):
            trip_id = f"{line}-{k}"
            block = f"{route}-{k}" if blocks else ""
            trip_rows.append([trip_id, route, "daily", stops[-1], 1 if back else 0, block, line])
            for i, letter in enumerate(stops):
                arrival = first_s + k * headway_s + round(metres[i] / speed_mps) + max(i - 1, 0) * dwell_s
                departure = arrival + (dwell_s if 0 < i < len(stops) - 1 else 0)
                time_rows.append([trip_id, i + 1, letter, _clock(arrival), _clock(departure)])
    files: dict[str, str] = {
        "agency.txt": _csv(
            "agency_id,agency_name,agency_url,agency_timezone,agency_lang",
            [["A", "Map", "http://map.test", timezone, "zh-Hans"]],
        ),
        "stops.txt": _csv("stop_id,stop_name,stop_lat,stop_lon", stop_rows),
        "routes.txt": _csv(
            "route_id,route_short_name,route_long_name,route_type", [[r, r, f"Line {r}", 3] for r in routes]
        ),
        "trips.txt": _csv("trip_id,route_id,service_id,trip_headsign,direction_id,block_id,shape_id", trip_rows),
        "stop_times.txt": _csv("trip_id,stop_sequence,stop_id,arrival_time,departure_time", time_rows),
        "shapes.txt": _csv("shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence", shape_rows),
        "calendar.txt": _csv(
            "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date",
            [["daily", 1, 1, 1, 1, 1, 1, 1, *days]],
        ),
    }
    if names:
        translated = [
            ["stops", "stop_name", lang, text, letter]
            for lang, by_stop in names.items()
            for letter, text in by_stop.items()
        ]
        files["translations.txt"] = _csv("table_name,field_name,language,translation,record_id", translated)
    files.update(tables or {})
    return zip_of(files)


def zip_of(files: Mapping[str, str | bytes]) -> bytes:
    """File name -> content, as the bytes of a zip that depend on nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@lru_cache(maxsize=64)
def _compiled(data: bytes) -> Network:
    from gtfs.compile import compile_bytes

    return compile_bytes(data, ReaderLimits())[0]


def _metres_of_stops(frame: MapFrame, stops: str, way: str, line: str) -> list[float]:
    """Metres along the drawn shape to each stop: each stop must come up in the shape's letters, in order."""
    cumulative = [_length(frame, way[: i + 1]) for i in range(len(way))]
    metres: list[float] = []
    at = 0
    for letter in stops:
        place = way.find(letter, at)
        if place < 0:
            raise ValueError(f"the shape of line {line!r} does not pass {letter!r} after {way[:at]!r}")
        metres.append(cumulative[place])
        at = place + 1
    return metres


def _length(frame: MapFrame, letters: str) -> float:
    points = [frame.cells[letter] for letter in letters]
    return sum(math.hypot(x2 - x1, y2 - y1) for (x1, y1), (x2, y2) in pairwise(points))


def _degrees(place: tuple[float, float]) -> list[str]:
    """Eight decimals are a millimetre."""
    return [f"{place[0]:.8f}", f"{place[1]:.8f}"]


def _seconds(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _csv(header: str, rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return buffer.getvalue()
