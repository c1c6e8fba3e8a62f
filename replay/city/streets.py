"""The street graph of the demo city and the river that few bridges cross; plane geometry in metres.

A street is a chain of place keys; ``lon,lat`` entries in it are bends without a stop. Distances along lines are
haversine metres on a sphere of 6 371 008.8 m, the model of `gtfs.network`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from functools import cache
from math import asin, atan2, cos, degrees, hypot, radians, sin, sqrt

from replay.city.names import PLACES

EARTH_RADIUS_M = 6_371_008.8
ORIGIN_LAT, ORIGIN_LON = 36.07, 103.77
_M_PER_DEG = radians(1.0) * EARTH_RADIUS_M
_M_PER_DEG_LON = _M_PER_DEG * cos(radians(ORIGIN_LAT))

Point = tuple[float, float]
"""metres east and north of (ORIGIN_LAT, ORIGIN_LON)"""

RIVER: tuple[Point, ...] = (
    (103.580, 36.1080), (103.620, 36.1060), (103.655, 36.1050), (103.690, 36.0990), (103.720, 36.0905),
    (103.745, 36.0850), (103.770, 36.0800), (103.790, 36.0735), (103.810, 36.0690), (103.830, 36.0685),
    (103.850, 36.0720), (103.870, 36.0800), (103.890, 36.0825), (103.910, 36.0780), (103.940, 36.0660),
)  # fmt: skip
"""middle of the Yellow River, (lon, lat) from west to east"""

STREETS = (
    # south bank, west to east
    "lanhua xgpark xgcross shandan fuli heshui zhuanglang huagong yumen chenguan cuijiaya shengou cuijiatan aoti shiji"
    " xiuchuan wuwei xijinxi wujiayuan tumendun xizhan xzcross huoxing jianlan qilihe museum xiaoxihu shangxiyuan"
    " wenhuagong jiefangmen xiguan",
    "matan tumendun",
    "xiguan yongchang shuangcheng nanguan jingning dongfang nongmin panxuan hospital wulipu qixiang gongxing duanjiatan"
    " jiaojia shengouzi donggang daqingshan",
    "xiguan province guangwu jingningbei mingcheng duzhe ytpark yantan yanbei gaoxin songjiatan yanerwan interchange"
    " donggang",
    "yantan zhangsutan jiayuguan qixiang",
    "railway tianshuinan landa panxuan weiyuan duzhe",
    "railway pingliang gaolan wqsquare wuquan",
    "railway dingxi minda wulipu",
    "gaolan minzhu jingning jingningbei",
    "wqsquare anding jiuquan nanguan",
    "anding baiyin zhongshanl xiguan",
    "zhongshanl hualin xiaxiyuan xiaoxihu",
    "zhongshanl hualinping fulong",
    "xzcross baishu gongjiawan yanjiaping pengjiaping",
    "jianlan jiangou langong ligong",
    "xiaoxihu mother baiyun zsbridge waterwheel jingningbei",
    "zsbridge xiguan",
    # north bank, west to east
    "shajing hewan garden anningbu renshou liujiabao yingmen anninggov nongda peili jiaoda feijiaying shida kongjiaya"
    " shuigua shilidian slbridge qlhnorth xujiawan jincheng baita miaotan caochang yanchang yanchangrd qingbaishi ytnorth",
    "yanchang jingyuan dashaping",
)
BRIDGES = {
    "深安大桥": "shengou 103.6825,36.0915 103.6845,36.1060 liujiabao",
    "银滩大桥": "matan 103.7325,36.0825 103.7362,36.0920 yintan feijiaying",
    "七里河大桥": "qilihe qlhsouth 103.7732,36.0765 103.7742,36.0825 qlhnorth",
    "城关大桥": "jingningbei 103.8375,36.0660 103.8385,36.0725 yanchang",
    "雁滩大桥": "yantan 103.8712,36.0760 103.8718,36.0840 ytnorth",
}


def to_xy(lat: float, lon: float) -> Point:
    return ((lon - ORIGIN_LON) * _M_PER_DEG_LON, (lat - ORIGIN_LAT) * _M_PER_DEG)


def to_lat_lon(point: Point) -> tuple[float, float]:
    return (ORIGIN_LAT + point[1] / _M_PER_DEG, ORIGIN_LON + point[0] / _M_PER_DEG_LON)


def haversine_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Metres between two (lat, lon)."""
    lat1, lat2 = radians(a[0]), radians(b[0])
    h = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin(radians(b[1] - a[1]) / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(sqrt(h))


def bearing_deg(a: Point, b: Point) -> float:
    """Degrees clockwise from north of the way from a to b."""
    return degrees(atan2(b[0] - a[0], b[1] - a[1])) % 360.0


def river_lat(lon: float) -> float:
    """Latitude of the middle of the river at ``lon``."""
    for (lon0, lat0), (lon1, lat1) in itertools.pairwise(RIVER):
        if lon <= lon1:
            return lat0 + (lat1 - lat0) * (lon - lon0) / (lon1 - lon0)
    return RIVER[-1][1]


@cache
def nodes() -> dict[str, Point]:
    """Place keys and bends (their ``lon,lat`` text) -> position."""
    found = {place.key: to_xy(place.lat, place.lon) for place in PLACES}
    for chain in (*STREETS, *BRIDGES.values()):
        for key in chain.split():
            if "," in key:
                lon, lat = map(float, key.split(","))
                found[key] = to_xy(lat, lon)
    return found


@cache
def neighbours() -> dict[str, tuple[str, ...]]:
    graph: dict[str, list[str]] = {}
    for chain in (*STREETS, *BRIDGES.values()):
        keys = chain.split()
        for a, b in itertools.pairwise(keys):
            graph.setdefault(a, []).append(b)
            graph.setdefault(b, []).append(a)
    return {key: tuple(others) for key, others in graph.items()}


def is_stop(key: str) -> bool:
    return "," not in key


def shortest_path(start: str, goal: str) -> list[str]:
    """Node keys from start to goal by street length (Dijkstra; ties by key)."""
    at, graph = nodes(), neighbours()
    best: dict[str, float] = {start: 0.0}
    came: dict[str, str] = {}
    queue = [(0.0, start)]
    while queue:
        cost, key = heapq.heappop(queue)
        if key == goal:
            break
        if cost > best[key]:
            continue
        for other in graph[key]:
            new = cost + hypot(at[other][0] - at[key][0], at[other][1] - at[key][1])
            if new < best.get(other, float("inf")):
                best[other], came[other] = new, key
                heapq.heappush(queue, (new, other))
    path = [goal]
    while path[-1] != start:
        path.append(came[path[-1]])
    return path[::-1]


def path_through(waypoints: Sequence[str]) -> list[str]:
    """Shortest way over the streets that calls at the waypoints in order."""
    path = [waypoints[0]]
    for a, b in itertools.pairwise(waypoints):
        path += shortest_path(a, b)[1:]
    return path
