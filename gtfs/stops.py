"""stops.txt -> the stops of the network: coordinates, stations, the local frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gtfs.errors import GtfsError
from gtfs.frame import Frame, haversine_m
from gtfs.reader import Feed, row_in
from gtfs.table import Table

I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]

FAR_AWAY_M = 300_000.0


@dataclass(frozen=True)
class Stops:
    """The stops that have coordinates. ``row_of``: row of the table stops -> stop, -1 left out."""

    ids: list[str]
    code: list[str]
    name: list[str]
    lat: F64
    lon: F64
    x: F64
    y: F64
    location_type: I8
    parent: I32
    wheelchair: I8
    row_of: I32
    frame: Frame


def build_stops(feed: Feed) -> Stops:
    """Raises `GtfsError` where not one stop has coordinates."""
    table = feed["stops"]
    parent = _parents(feed, table)
    lat, lon = table.number["stop_lat"].copy(), table.number["stop_lon"].copy()
    # 0, 0 lies in the Gulf of Guinea: it is how many systems write "unknown".
    unplaced = np.isnan(lat) | np.isnan(lon) | ((np.abs(lat) < 1e-6) & (np.abs(lon) < 1e-6))
    kind = table.number["location_type"]
    ids = table.text["stop_id"]
    borrowed = unplaced & (parent >= 0) & ~unplaced[parent]
    table.report(feed.findings, "coordinates_of_station", "stop_lat", borrowed & (kind < 3), lambda i: ids[i])
    lat[borrowed], lon[borrowed] = lat[parent[borrowed]], lon[parent[borrowed]]
    lost = unplaced & ~borrowed
    table.report(feed.findings, "no_coordinates", "stop_lat", lost & (kind < 3), lambda i: ids[i])
    kept = np.flatnonzero(~lost)
    if len(kept) == 0:
        raise GtfsError("no stop of stops.txt has usable coordinates")
    row_of = np.full(len(table), -1, np.int32)
    row_of[kept] = np.arange(len(kept), dtype=np.int32)
    lat, lon = lat[kept], lon[kept]
    frame = Frame(round(float(np.median(lat)), 6), round(float(np.median(lon)), 6))
    away = haversine_m(lat, lon, np.full_like(lat, frame.lat), np.full_like(lon, frame.lon)) > FAR_AWAY_M
    far = np.zeros(len(table), np.bool_)
    far[kept] = away
    table.report(feed.findings, "far_away_stop", "stop_lat", far, lambda i: ids[i])
    x, y = frame.xy_array(lat, lon)
    kept_parent = parent[kept]
    return Stops(
        ids=ids.take(kept).to_list(),
        code=table.text["stop_code"].take(kept).to_list(),
        name=table.text["stop_name"].take(kept).to_list(),
        lat=lat,
        lon=lon,
        x=x,
        y=y,
        location_type=kind[kept].astype(np.int8),
        parent=np.where(kept_parent >= 0, row_of[kept_parent], -1).astype(np.int32),
        wheelchair=table.number["wheelchair_boarding"][kept].astype(np.int8),
        row_of=row_of,
        frame=frame,
    )


def _parents(feed: Feed, table: Table) -> I32:
    """Row -> row of its parent_station, -1 none; rings are opened where they are found first."""
    ids, codes = table.text["stop_id"], table.text["parent_station"]
    parent = row_in(codes, ids)
    parent[np.array([not value for value in codes.values], np.bool_)[codes.code]] = -1
    ring = np.zeros(len(table), np.bool_)
    state = np.zeros(len(table), np.int8)  # 0 not seen, 1 on the present way, 2 done
    for start in np.flatnonzero(parent >= 0).tolist():
        way, at = [], start
        while at >= 0 and state[at] == 0:
            state[at] = 1
            way.append(at)
            at = int(parent[at])
        if at >= 0 and state[at] == 1:
            ring[way[-1]] = True
            parent[way[-1]] = -1
        state[way] = 2
    table.report(feed.findings, "cyclic_parent", "parent_station", ring, lambda i: f"{ids[i]} in {codes[i]}")
    kind = table.number["location_type"]
    # Stops, entrances and nodes belong to a station (1), boarding areas (4) to a stop (0).
    odd = (parent >= 0) & (kind[parent] != np.where(kind == 4, 0, 1))
    table.report(feed.findings, "bad_parent_type", "parent_station", odd, lambda i: f"{ids[i]} in {codes[i]}")
    return parent
