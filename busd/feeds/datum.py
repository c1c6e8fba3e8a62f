"""Geodetic datums of Chinese sources: WGS-84, GCJ-02 and BD-09, each way.

Maps and many terminals in mainland China speak GCJ-02 (WGS-84 with a smooth made-up offset of 90 to 670 m) or Baidu's
BD-09 on top of it. The forward formulas are public. Both inverses have no closed form; they are found by fixed-point
iteration to better than 1e-9 degrees (0.1 mm): one step alone would leave 1 to 4 m.

Outside China: GCJ-02 is the identity outside the rectangle ``CHINA``, as in the public formula. The rectangle also
holds places that do not use GCJ-02 (Hong Kong, Macau, Taiwan, northern Vietnam, Mongolia): nobody can tell from a
coordinate alone, so the datum is a setting of the feed, never a guess, and a converted point is never converted again.
BD-09 has no such exception.
"""

from __future__ import annotations

from collections.abc import Callable
from math import atan2, cos, pi, sin, sqrt

LatLon = tuple[float, float]

CHINA = (0.8293, 55.8271, 72.004, 137.8347)
"""south, north, west, east of the rectangle inside which GCJ-02 differs from WGS-84"""

_AXIS_M = 6378245.0
_ECCENTRICITY2 = 0.00669342162296594323
_BD_WAVE = pi * 3000.0 / 180.0
_BD_LAT, _BD_LON = 0.006, 0.0065
_PRECISE_DEG = 1e-11
_STEPS = 30


def in_china(lat: float, lon: float) -> bool:
    """Inside the rectangle of the public formula; see the module's note on what that does not mean."""
    south, north, west, east = CHINA
    return south <= lat <= north and west <= lon <= east


def wgs84_to_gcj02(lat: float, lon: float) -> LatLon:
    """Degrees to degrees; a point outside `CHINA` stays as it is."""
    return _shift(lat, lon) if in_china(lat, lon) else (lat, lon)


def gcj02_to_wgs84(lat: float, lon: float) -> LatLon:
    """The point that `wgs84_to_gcj02` moves here. Within 700 m of the rectangle's edge both answers are possible; there
    the point is taken for a shifted one only if its origin lies inside."""
    if not in_china(lat, lon):
        return lat, lon
    origin = _invert(_shift, lat, lon)
    return origin if in_china(*origin) else (lat, lon)


def gcj02_to_bd09(lat: float, lon: float) -> LatLon:
    radius = sqrt(lon * lon + lat * lat) + 0.00002 * sin(lat * _BD_WAVE)
    angle = atan2(lat, lon) + 0.000003 * cos(lon * _BD_WAVE)
    return radius * sin(angle) + _BD_LAT, radius * cos(angle) + _BD_LON


def bd09_to_gcj02(lat: float, lon: float) -> LatLon:
    return _invert(gcj02_to_bd09, lat, lon)


def wgs84_to_bd09(lat: float, lon: float) -> LatLon:
    return gcj02_to_bd09(*wgs84_to_gcj02(lat, lon))


def bd09_to_wgs84(lat: float, lon: float) -> LatLon:
    return gcj02_to_wgs84(*bd09_to_gcj02(lat, lon))


def _unchanged(lat: float, lon: float) -> LatLon:
    return lat, lon


TO_WGS84: dict[str, Callable[[float, float], LatLon]] = {
    "wgs84": _unchanged,
    "gcj02": gcj02_to_wgs84,
    "bd09": bd09_to_wgs84,
}
"""Names of datums as the configuration writes them -> conversion to WGS-84."""


def to_wgs84(datum: str) -> Callable[[float, float], LatLon]:
    """The conversion of a feed's datum; ValueError with the known names for another word."""
    try:
        return TO_WGS84[datum]
    except KeyError:
        raise ValueError(f"unknown datum {datum!r}; one of {', '.join(TO_WGS84)}") from None


def _shift(lat: float, lon: float) -> LatLon:
    """GCJ-02 of a WGS-84 point without the question of where it lies: two sums of sines in (x, y), degrees from
    105 E 35 N, turned from metres into degrees on the Krasovsky 1940 ellipsoid."""
    x, y = lon - 105.0, lat - 35.0
    root = sqrt(abs(x))
    common = (20.0 * sin(6.0 * x * pi) + 20.0 * sin(2.0 * x * pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + common
    north += (20.0 * sin(y * pi) + 40.0 * sin(y / 3.0 * pi)) * 2.0 / 3.0
    north += (160.0 * sin(y / 12.0 * pi) + 320.0 * sin(y * pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + common
    east += (20.0 * sin(x * pi) + 40.0 * sin(x / 3.0 * pi)) * 2.0 / 3.0
    east += (150.0 * sin(x / 12.0 * pi) + 300.0 * sin(x / 30.0 * pi)) * 2.0 / 3.0
    phi = lat / 180.0 * pi
    magic = 1.0 - _ECCENTRICITY2 * sin(phi) ** 2
    north = north * 180.0 / (_AXIS_M * (1.0 - _ECCENTRICITY2) / (magic * sqrt(magic)) * pi)
    east = east * 180.0 / (_AXIS_M / sqrt(magic) * cos(phi) * pi)
    return lat + north, lon + east


def _invert(forward: Callable[[float, float], LatLon], lat: float, lon: float) -> LatLon:
    """x with forward(x) = (lat, lon). ``forward`` is nearly a translation (its slope differs from 1 by < 0.01), so
    every step of x += target - forward(x) gains at least two digits."""
    at_lat, at_lon = lat, lon
    for _ in range(_STEPS):
        got_lat, got_lon = forward(at_lat, at_lon)
        step_lat, step_lon = lat - got_lat, lon - got_lon
        at_lat, at_lon = at_lat + step_lat, at_lon + step_lon
        if abs(step_lat) < _PRECISE_DEG and abs(step_lon) < _PRECISE_DEG:
            break
    return at_lat, at_lon
