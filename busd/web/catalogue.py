"""The planned service as the page needs it: stops, lines, line geometry, the map's background.

Made once per network, in a thread (`CatalogueCache`), and never changed; the doors send ready bytes. Arrays become
lists here once, because a request touches single values and a list is then several times as fast.
"""

from __future__ import annotations

import asyncio
import math
import re
import unicodedata
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from busd.web.geo import simplify
from busd.web.http import Body
from gtfs.network import Network

_LINES_KEPT = 256
_HEADS = 3
_MAP_TOLERANCE_M = 6.0
_EARTH_M = 6_371_008.8


def normalized(text: str) -> str:
    """For comparing what a person typed with what is printed: width, case and spacing do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class Catalogue:
    """Views of one network. Public lists are indexed by the network's row numbers."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.digest = network.digest
        self.route_id = [network.route_id[i] for i in range(len(network.route_id))]
        self.short_name = [network.route_short_name[i] for i in range(len(self.route_id))]
        self.pattern_route: list[int] = network.pattern_route.tolist()
        self.pattern_shape: list[int] = network.pattern_shape.tolist()
        self.trip_pattern: list[int] = network.trip_pattern.tolist()
        self.trip_headsign: list[int] = network.trip_headsign.tolist()
        self._pattern_offset: list[int] = network.pattern_stop_offset.tolist()
        self._pattern_stop: list[int] = network.pattern_stop.tolist()
        self._headsigns: dict[int, dict[str, str]] = {}
        self._trips = Counter(self.trip_pattern)
        self._pattern_headsign = self._usual_headsigns()
        self._route_patterns: dict[int, list[int]] = {}
        for pattern, route in enumerate(self.pattern_route):
            if self._trips[pattern]:
                self._route_patterns.setdefault(route, []).append(pattern)
        for patterns in self._route_patterns.values():
            patterns.sort(key=lambda p: (-self._trips[p], p))
        self.route_row = {route: row for row, route in enumerate(self.route_id)}

        self.stops = self._stops()
        self._search = [self._search_key(stop) for stop in self.stops]
        self.stops_body = Body.of(orjson.dumps(self.stops))
        self.lines_body = Body.of(orjson.dumps([self._line(r) for r in self._lines_in_order()]))
        self.map_body = Body.of(orjson.dumps(self._map()))
        self._line_bodies: OrderedDict[int, Body] = OrderedDict()

    def _usual_headsigns(self) -> dict[int, int]:
        """Pattern -> its most frequent headsign."""
        counts: dict[int, Counter[int]] = {}
        for pattern, headsign in zip(self.trip_pattern, self.trip_headsign):
            counts.setdefault(pattern, Counter())[headsign] += 1
        return {pattern: count.most_common(1)[0][0] for pattern, count in counts.items()}

    # ---- single values ------------------------------------------------------------------------------------------

    def headsign_text(self, headsign_idx: int) -> dict[str, str]:
        text = self._headsigns.get(headsign_idx)
        if text is None:
            text = self._headsigns[headsign_idx] = self.network.headsign_text(headsign_idx)
        return text

    def stop_at(self, pattern: int, stop_pos: int) -> str | None:
        """Stop id at a position of a pattern; None behind its end."""
        row = self._pattern_offset[pattern] + stop_pos
        if not stop_pos >= 0 or row >= self._pattern_offset[pattern + 1]:
            return None
        return self.network.stop_id[self._pattern_stop[row]]

    @property
    def bbox(self) -> tuple[float, float, float, float] | None:
        """South, west, north, east of the stops that are served."""
        served = [stop for stop in self.stops if stop["lines"]] or self.stops
        if not served:
            return None
        lats, lons = [s["lat"] for s in served], [s["lon"] for s in served]
        return min(lats), min(lons), max(lats), max(lons)

    # ---- stops --------------------------------------------------------------------------------------------------

    def _stops(self) -> list[dict[str, Any]]:
        network = self.network
        served: dict[int, list[int]] = {}
        for route, patterns in self._route_patterns.items():
            spans = (slice(self._pattern_offset[p], self._pattern_offset[p + 1]) for p in patterns)
            for stop_idx in {idx for span in spans for idx in self._pattern_stop[span]}:
                served.setdefault(stop_idx, []).append(route)
        heads = self._heads_of_stops()
        order = {route: place for place, route in enumerate(self._lines_in_order())}
        lats, lons = network.stop_lat.tolist(), network.stop_lon.tolist()
        kinds = network.stop_location_type.tolist()
        stops = []
        for row in range(len(network.stop_id)):
            if kinds[row] != 0 or not (math.isfinite(lats[row]) and math.isfinite(lons[row])):
                continue
            stop: dict[str, Any] = {
                "id": network.stop_id[row],
                "name": network.stop_text(row),
                "lat": round(lats[row], 6),
                "lon": round(lons[row], 6),
                "lines": [self.route_id[r] for r in sorted(served.get(row, ()), key=order.__getitem__)],
            }
            if row in heads:
                stop["heads"] = [self.headsign_text(h) for h, _ in heads[row].most_common(_HEADS)]
            if code := network.stop_code[row]:
                stop["code"] = code
            stops.append(stop)
        return stops

    def _heads_of_stops(self) -> dict[int, Counter[int]]:
        """Stop -> headsigns of the trips that leave it. The two sides of a street have one name; this tells them apart."""
        heads: dict[int, Counter[int]] = {}
        for pattern, headsign in self._pattern_headsign.items():
            first, last = self._pattern_offset[pattern], self._pattern_offset[pattern + 1] - 1
            for stop_idx in self._pattern_stop[first:last]:
                heads.setdefault(stop_idx, Counter())[headsign] += self._trips[pattern]
        return heads

    @staticmethod
    def _search_key(stop: dict[str, Any]) -> str:
        return "\n".join(normalized(text) for text in (*stop["name"].values(), stop.get("code", ""), stop["id"]))

    def find_stops(self, query: str | None, near: tuple[float, float] | None, limit: int) -> list[dict[str, Any]]:
        """Stops whose names (any language), code or id contain every word of ``query``; nearest first where ``near``
        is given (rows then have ``distance_m``), else best match first."""
        found: Sequence[int] = range(len(self.stops))
        if query is not None:
            words = normalized(query).split()
            found = [i for i in found if all(word in self._search[i] for word in words)]
        if near is None:
            whole = normalized(query or "")
            ranked = sorted(found, key=lambda i: self._rank(whole, i))
            return [self.stops[i] for i in ranked[:limit]]
        lat, lon = near
        by_distance = sorted((_distance_m(lat, lon, self.stops[i]["lat"], self.stops[i]["lon"]), i) for i in found)
        return [{**self.stops[i], "distance_m": round(metres)} for metres, i in by_distance[:limit]]

    def _rank(self, whole: str, i: int) -> tuple[int, int, int]:
        fields = self._search[i].split("\n")
        best = 0 if whole in fields else 1 if any(f.startswith(whole) for f in fields) else 2
        return best, -len(self.stops[i]["lines"]), i

    # ---- lines --------------------------------------------------------------------------------------------------

    def _lines_in_order(self) -> list[int]:
        """Routes that have trips, as people count them: 2 before 10, numbers before letters."""
        return sorted(self._route_patterns, key=lambda r: _natural(self.short_name[r]))

    def _line(self, route: int) -> dict[str, Any]:
        network = self.network
        ends: list[dict[str, str]] = []
        for pattern in self._route_patterns[route]:
            text = self._pattern_head(pattern)
            if text not in ends:
                ends.append(text)
        return {
            "id": self.route_id[route],
            "line": self.short_name[route],
            "name": network.route_text(route),
            "color": network.route_color[route],
            "text_color": network.route_text_color[route],
            "type": int(network.route_type[route]),
            "heads": ends[:4],
        }

    def _pattern_head(self, pattern: int) -> dict[str, str]:
        return self.headsign_text(self._pattern_headsign[pattern])

    def line_body(self, route_id: str) -> Body | None:
        """/v1/lines/{route_id}: the line, its patterns (most used first) and their shapes; None when unknown."""
        route = self.route_row.get(route_id)
        if route is None or route not in self._route_patterns:
            return None
        body = self._line_bodies.get(route)
        if body is None:
            body = self._line_bodies[route] = Body.of(orjson.dumps(self._line_detail(route)))
            while len(self._line_bodies) > _LINES_KEPT:
                self._line_bodies.popitem(last=False)
        else:
            self._line_bodies.move_to_end(route)
        return body

    def _line_detail(self, route: int) -> dict[str, Any]:
        network = self.network
        patterns, shapes = [], {}
        for pattern in self._route_patterns[route]:
            rows = slice(self._pattern_offset[pattern], self._pattern_offset[pattern + 1])
            shape = self.pattern_shape[pattern]
            patterns.append(
                {
                    "pattern": pattern,
                    "direction": int(network.pattern_direction[pattern]),
                    "head": self._pattern_head(pattern),
                    "trips": self._trips[pattern],
                    "stops": [network.stop_id[s] for s in self._pattern_stop[rows]],
                    "stop_m": [round(m) for m in network.pattern_stop_m[rows].tolist()],
                    "shape": shape,
                }
            )
            if shape >= 0 and shape not in shapes:
                shapes[shape] = self._shape(shape)
        return {
            **self._line(route),
            "patterns": patterns,
            "shapes": {str(shape): geometry for shape, geometry in shapes.items()},
        }

    def _shape(self, shape: int) -> dict[str, Any]:
        """A GeoJSON LineString with one more member: ``m``, metres along for every point."""
        network = self.network
        points = slice(int(network.shape_offset[shape]), int(network.shape_offset[shape + 1]))
        lats, lons = network.shape_lat[points].tolist(), network.shape_lon[points].tolist()
        return {
            "type": "LineString",
            "coordinates": [[round(lon, 6), round(lat, 6)] for lat, lon in zip(lats, lons)],
            "m": [round(m, 1) for m in network.shape_m[points].tolist()],
        }

    def _map(self) -> dict[str, Any]:
        """The background: one simplified LineString for the most used pattern of each line and direction."""
        network = self.network
        features = []
        for route in self._lines_in_order():
            seen: set[int] = set()
            for pattern in self._route_patterns[route]:
                direction, shape = int(network.pattern_direction[pattern]), self.pattern_shape[pattern]
                if direction in seen or shape < 0:
                    continue
                seen.add(direction)
                points = slice(int(network.shape_offset[shape]), int(network.shape_offset[shape + 1]))
                xs, ys = network.shape_x[points].tolist(), network.shape_y[points].tolist()
                lats, lons = network.shape_lat[points].tolist(), network.shape_lon[points].tolist()
                kept = simplify(xs, ys, _MAP_TOLERANCE_M)
                features.append(
                    {
                        "type": "Feature",
                        "properties": {"route": self.route_id[route], "color": network.route_color[route]},
                        "geometry": {
                            "type": "LineString",
                            "coordinates": [[round(lons[i], 5), round(lats[i], 5)] for i in kept],
                        },
                    }
                )
        return {"type": "FeatureCollection", "features": features}


class CatalogueCache:
    """The catalogue of the network that the boards speak of now. A new one is made in a thread while the callers wait:
    answers with a new timetable's ids and an old one's names would be worse than a slow one."""

    def __init__(self, network: Callable[[], Network]) -> None:
        self._network = network
        self._catalogue: Catalogue | None = None
        self._lock = asyncio.Lock()

    @property
    def ready(self) -> Catalogue | None:
        """The current catalogue if it is already made."""
        catalogue = self._catalogue
        return catalogue if catalogue is not None and catalogue.digest == self._network().digest else None

    async def get(self) -> Catalogue:
        if (catalogue := self.ready) is not None:
            return catalogue
        async with self._lock:
            if (catalogue := self.ready) is None:
                catalogue = self._catalogue = await asyncio.to_thread(Catalogue, self._network())
            return catalogue


def _natural(name: str) -> tuple[int, int, str]:
    number = re.match(r"[0-9]+", name)
    return (0, int(number.group()), name) if number else (1, 0, name)


def _distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Equirectangular; good to 0.1 % over a city."""
    x = math.radians(lon2 - lon1) * math.cos(math.radians((lat1 + lat2) / 2))
    return _EARTH_M * math.hypot(x, math.radians(lat2 - lat1))
