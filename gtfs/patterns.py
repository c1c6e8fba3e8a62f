"""Trips -> patterns: the distinct (route, direction, shape, stops in order), and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gtfs.reader import Feed, row_in
from gtfs.stop_times import StopTimes

I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Patterns:
    """``shape``: code of trips.shape_id, which is "" where there is none. ``first_trip``: the first trip of each."""

    route: I32
    direction: I8
    shape: I32
    stop_offset: I64
    stop: I32
    first_trip: I32
    of_trip: I32

    def __len__(self) -> int:
        return len(self.route)


def build_patterns(feed: Feed, times: StopTimes) -> Patterns:
    """Patterns in the order of their first trip."""
    trips = feed["trips"]
    route = row_in(trips.text["route_id"], feed["routes"].text["route_id"])[times.trip_row].tolist()
    direction = trips.number["direction_id"][times.trip_row].tolist()
    shape = trips.text["shape_id"].code[times.trip_row].tolist()
    offset = times.offset.tolist()
    stops = np.ascontiguousarray(times.stop).tobytes()
    size = times.stop.itemsize
    found: dict[tuple[int, int, int, bytes], int] = {}
    first_trip: list[int] = []
    of_trip = np.empty(len(route), np.int32)
    for t in range(len(route)):
        key = (route[t], direction[t], shape[t], stops[offset[t] * size : offset[t + 1] * size])
        pattern = found.get(key)
        if pattern is None:
            pattern = found[key] = len(found)
            first_trip.append(t)
        of_trip[t] = pattern
    keys = list(found)
    stop_offset = np.zeros(len(keys) + 1, np.int64)
    np.cumsum([len(key[3]) // size for key in keys], out=stop_offset[1:])
    return Patterns(
        route=np.array([key[0] for key in keys], np.int32),
        direction=np.array([key[1] for key in keys], np.int8),
        shape=np.array([key[2] for key in keys], np.int32),
        stop_offset=stop_offset,
        stop=np.frombuffer(b"".join(key[3] for key in keys), times.stop.dtype).astype(np.int32),
        first_trip=np.array(first_trip, np.int32),
        of_trip=of_trip,
    )


def build_links(stop: I32, stop_offset: I64) -> tuple[I32, I32, I32]:
    """(link of each pattern position, from, to); links ascend by (from, to)."""
    link = np.full(len(stop), -1, np.int32)
    inner = np.ones(len(stop), np.bool_)
    inner[stop_offset[1:] - 1] = False
    at = np.flatnonzero(inner)
    packed = (stop[at].astype(np.int64) << 32) | stop[at + 1]
    pairs, place = np.unique(packed, return_inverse=True)
    link[at] = place.astype(np.int32)
    return link, (pairs >> 32).astype(np.int32), (pairs & 0xFFFFFFFF).astype(np.int32)


def grouped(parent: I32, count: int, *tie: I32) -> tuple[I64, I32]:
    """(offset, rows): the rows of each parent 0 .. count - 1, ordered by ``tie``, then row; parent -1 is left out."""
    rows = np.flatnonzero(parent >= 0)
    keys: list[npt.NDArray[np.int64]] = [key[rows].astype(np.int64) for key in (*reversed(tie), parent)]
    order = rows[np.lexsort(keys)]  # stable: equal keys stay in the order of their rows
    offset = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(parent[rows], minlength=count), out=offset[1:])
    return offset, order.astype(np.int32)
