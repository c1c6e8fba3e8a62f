"""The planned city: lines, stops (one on each side of the street), patterns with shapes, and all trips of a day.

`make_plan(seed, buses)` is pure. The seed moves nothing on the map: it turns the phases of the signals and is handed to
the timetable, so that stop ids stay what they are from seed to seed.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from math import hypot

from replay.city import dice, streets
from replay.city.names import PLACES
from replay.city.streets import Point

STOP_BEFORE_CROSSING_M = 45.0
KERB_M = 9.0
"""from the middle of the street to the stop"""
_CORNER_M = 28.0


class Service(StrEnum):
    TIMETABLE = "timetable"
    HEADWAY = "headway"
    """frequencies.txt, exact_times=0"""
    EXACT = "exact"
    """frequencies.txt, exact_times=1"""
    NIGHT = "night"


class Shape(StrEnum):
    BOTH_WAYS = "both ways"
    LOOP = "loop"
    OUT_AND_BACK = "out and back"
    """one trip runs to the far end and returns over the same streets"""


@dataclass(frozen=True)
class LineSpec:
    line_id: str
    """GTFS route_id"""
    number: str
    """as painted on the bus"""
    color: str
    way: str
    """places it calls at, in order; the streets between them are the shortest"""
    weight: float = 0.0
    """share of the buses"""
    shape: Shape = Shape.BOTH_WAYS
    service: Service = Service.TIMETABLE
    via: str = ""
    """far point of a loop or an out-and-back line: its destination, since it ends where it starts"""


LINES = (
    LineSpec("L1", "1", "C8102E", "xgpark xzcross xiguan nanguan panxuan railway", 17),
    LineSpec("L2", "2", "0057B8", "xzcross xiguan dongfang donggang", 12, service=Service.HEADWAY),
    LineSpec("L6", "6", "00843D", "anninggov shilidian qlhnorth qilihe xiaoxihu zhongshanl wuquan", 11,
             service=Service.EXACT),
    LineSpec("L18", "18", "E87722", "daqingshan qixiang jiayuguan yantan duzhe jingningbei xiguan", 9),
    LineSpec("L31", "31", "6D2077", "xizhan tumendun matan feijiaying peili shajing", 9),
    LineSpec("L33", "33", "00A3AD", "lanhua chenguan shengou liujiabao feijiaying shilidian", 11),
    LineSpec("L50", "50", "B58500", "railway gaolan minzhu jingning jingningbei yanchang dashaping", 6),
    LineSpec("L53", "53", "AA0061", "pengjiaping gongjiawan xzcross qilihe qlhnorth shilidian shida", 8),
    LineSpec("L71", "71", "4C8C2B", "slbridge xujiawan baita yanchang qingbaishi ytnorth yantan gaoxin", 9),
    LineSpec("L75", "75", "5B4B9A", "ligong jianlan xiaoxihu mother zsbridge jingningbei duzhe panxuan wulipu", 9),
    LineSpec("L111", "111", "8A5A2B", "dongfang nanguan jiuquan anding zhongshanl fulong zhongshanl anding jiuquan nanguan"
             " dongfang", 5, shape=Shape.OUT_AND_BACK, via="fulong"),
    LineSpec("L137", "137", "D6006E", "railway dingxi minda wulipu qixiang jiayuguan yantan gaoxin yanerwan donggang", 7),
    LineSpec("LH", "环1", "009CDE", "xiguan yongchang nanguan dongfang panxuan duzhe mingcheng jingningbei waterwheel"
             " zsbridge xiguan", 7, shape=Shape.LOOP, via="dongfang"),
    LineSpec("LN", "夜1", "1B365D", "xzcross xiguan nanguan panxuan railway", service=Service.NIGHT),
)  # fmt: skip


@dataclass(frozen=True)
class Stop:
    stop_id: str
    place: str
    """key of names.PLACES"""
    text: dict[str, str]
    """language -> name; zh-Hans first"""
    xy: Point
    platform: str

    @cached_property
    def popularity(self) -> float:
        """[0, 1), the same for all platforms of a place"""
        return dice.uniform(dice.text_key(self.place), 9)

    @cached_property
    def lat_lon(self) -> tuple[float, float]:
        return streets.to_lat_lon(self.xy)


class Path:
    """A polyline with distances along it: where buses drive."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = list(points)
        self.lat_lon = [streets.to_lat_lon(point) for point in points]
        self.m = [0.0]
        for a, b in zip(self.lat_lon, self.lat_lon[1:]):
            self.m.append(self.m[-1] + streets.haversine_m(a, b))

    @property
    def length_m(self) -> float:
        return self.m[-1]

    def locate(self, distance_m: float) -> tuple[Point, float]:
        """Point at the distance and bearing of the street there; distances outside are clamped to the ends."""
        i = min(max(bisect_right(self.m, distance_m) - 1, 0), len(self.m) - 2)
        a, b = self.points[i], self.points[i + 1]
        span = self.m[i + 1] - self.m[i]
        w = min(max((distance_m - self.m[i]) / span, 0.0), 1.0) if span > 0 else 0.0
        return (a[0] + (b[0] - a[0]) * w, a[1] + (b[1] - a[1]) * w), streets.bearing_deg(a, b)


@dataclass(frozen=True, eq=False, repr=False)
class Pattern:
    pattern_id: str
    line: LineSpec
    direction: int
    nodes: tuple[str, ...]
    path: Path
    stops: tuple[Stop, ...]
    stop_m: tuple[float, ...]
    headsign: dict[str, str]

    @cached_property
    def _stop_nodes(self) -> list[int]:
        return [i for i, node in enumerate(self.nodes) if streets.is_stop(node)]

    def links_to(self, pos: int) -> list[tuple[str, str]]:
        """Street links (node, next node) from the stop before ``pos`` >= 1 to it; several where a bridge bends."""
        way = self.nodes[self._stop_nodes[pos - 1] : self._stop_nodes[pos] + 1]
        return list(itertools.pairwise(way))

    def node_before(self, pos: int) -> str | None:
        """Node from which a bus comes to the stop before ``pos``; None at the start."""
        i = self._stop_nodes[pos - 1]
        return self.nodes[i - 1] if i > 0 else None


@dataclass(frozen=True, eq=False)
class City:
    """What stands still: everything but the timetable."""

    stops: tuple[Stop, ...]
    lines: tuple[LineSpec, ...]
    patterns: tuple[Pattern, ...]

    def patterns_of(self, line: LineSpec) -> tuple[Pattern, ...]:
        return tuple(pattern for pattern in self.patterns if pattern.line is line)

    def stop(self, stop_id: str) -> Stop:
        return next(stop for stop in self.stops if stop.stop_id == stop_id)


_PLACE = {place.key: place for place in PLACES}
_NUMBER = {place.key: number for number, place in enumerate(PLACES, 101)}


def place_text(key: str) -> dict[str, str]:
    place = _PLACE[key]
    return {"zh-Hans": place.zh, "en": place.en, **({"bo": place.bo} if place.bo else {})}


def line_text(line: LineSpec) -> dict[str, str]:
    """Long name of a line: its two ends, or for the loop a far point of it."""
    places = line.way.split()
    a, b = place_text(places[0]), place_text(line.via or places[-1])
    if line.shape is Shape.LOOP:
        return {"zh-Hans": f"{a['zh-Hans']}环线", "en": f"{a['en']} loop"}
    text = {"zh-Hans": f"{a['zh-Hans']}－{b['zh-Hans']}", "en": f"{a['en']} - {b['en']}"}
    if "bo" in a and "bo" in b:
        text["bo"] = f"{a['bo']} - {b['bo']}"
    return text


def make_city() -> City:
    """Stops, lines and patterns; the same at every call."""
    book = _StopBook()
    patterns: list[Pattern] = []
    for line in LINES:
        way = streets.path_through(line.way.split())
        patterns.append(_pattern(line, 0, way, book))
        if line.shape is Shape.BOTH_WAYS:
            patterns.append(_pattern(line, 1, way[::-1], book))
    return City(tuple(sorted(book.stops.values(), key=lambda stop: stop.stop_id)), LINES, tuple(patterns))


class _StopBook:
    """Gives lines that run on the same side of the same street the same stop."""

    def __init__(self) -> None:
        self.stops: dict[tuple[str, int], Stop] = {}
        self._platforms: dict[str, int] = {}

    def stop(self, place: str, at: Point, bearing: float) -> Stop:
        octant = round(bearing / 30.0) % 12
        for near in (octant, (octant + 1) % 12, (octant - 1) % 12):
            found = self.stops.get((place, near))
            if found is not None and hypot(found.xy[0] - at[0], found.xy[1] - at[1]) < 1.0:
                return found
        number = self._platforms[place] = self._platforms.get(place, 0) + 1
        key = (place, octant) if (place, octant) not in self.stops else (place, 100 + number)
        stop_id = f"{_NUMBER[place]}{number:02d}"
        self.stops[key] = Stop(stop_id, place, place_text(place), at, chr(ord("A") + number - 1))
        return self.stops[key]


def _towards(a: Point, b: Point, distance_m: float) -> Point:
    w = distance_m / hypot(b[0] - a[0], b[1] - a[1])
    return (a[0] + (b[0] - a[0]) * w, a[1] + (b[1] - a[1]) * w)


def _to_the_right(at: Point, a: Point, b: Point, distance_m: float) -> Point:
    length = hypot(b[0] - a[0], b[1] - a[1])
    return (at[0] + (b[1] - a[1]) / length * distance_m, at[1] - (b[0] - a[0]) / length * distance_m)


def _pattern(line: LineSpec, direction: int, way: Sequence[str], book: _StopBook) -> Pattern:
    at = streets.nodes()
    loop = line.shape is Shape.LOOP
    points: list[Point] = []
    stops: list[Stop] = []
    foot_index: list[int] = []

    def add_stop(key: str, foot: Point, a: Point, b: Point) -> None:
        foot_index.append(len(points))
        points.append(foot)
        stops.append(book.stop(key, _to_the_right(foot, a, b, KERB_M), streets.bearing_deg(a, b)))

    last = len(way) - 1
    for i, key in enumerate(way):
        here = at[key]
        if i == 0:
            # a loop starts at the stop where it ends; other lines start behind the crossing
            a, b = (at[way[last - 1]], here) if loop else (here, at[way[1]])
            foot = _towards(here, a, STOP_BEFORE_CROSSING_M) if loop else _towards(here, b, STOP_BEFORE_CROSSING_M)
            add_stop(key, foot, a, b)
            if loop:
                points.append(here)
            continue
        if streets.is_stop(key):
            before = at[way[i - 1]]
            add_stop(key, _towards(here, before, STOP_BEFORE_CROSSING_M), before, here)
        if i < last:
            points.append(here)
    rounded, moved = _round_corners(points)
    path = Path(rounded)
    stop_m = tuple(path.m[moved[i]] for i in foot_index)
    headsign = place_text(line.via or way[-1])
    if loop:
        headsign = {"zh-Hans": f"环线（经{headsign['zh-Hans']}）", "en": f"Loop via {headsign['en']}"}
    return Pattern(f"{line.line_id}-{direction}", line, direction, tuple(way), path, tuple(stops), stop_m, headsign)


def _round_corners(points: Sequence[Point]) -> tuple[list[Point], dict[int, int]]:
    """Crossings as quarter turns; points on straight streets, U-turns and the ends stay. Second: old row -> new row."""
    rounded: list[Point] = []
    moved: dict[int, int] = {}
    for i, point in enumerate(points):
        moved[i] = len(rounded)
        if 0 < i < len(points) - 1:
            before, after = points[i - 1], points[i + 1]
            turn = abs((streets.bearing_deg(point, after) - streets.bearing_deg(before, point) + 180.0) % 360.0 - 180.0)
            if 8.0 < turn < 150.0:
                a, b = _towards(point, before, _CORNER_M), _towards(point, after, _CORNER_M)
                for w in (0.0, 0.25, 0.5, 0.75, 1.0):
                    u = 1.0 - w
                    rounded.append(
                        (
                            u * u * a[0] + 2 * u * w * point[0] + w * w * b[0],
                            u * u * a[1] + 2 * u * w * point[1] + w * w * b[1],
                        )
                    )
                continue
        rounded.append(point)
    return rounded, moved
