"""The ragged window against a twin that looks at every segment of one fix in a loop, and its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.track.match import Fixes, Matched, ShapeIndex, match
from busd.tracking_parameters import Matching, Visits
from gtfs.testing import frame_of_map, network_from_map

MAP = """
A---B---C---D
            |
G---F---E---H
"""
NETWORK = network_from_map(MAP, {"1": "ABCDHEFG", "2": "ABCBA", "3": "DCBA"}, trips=2)
PLACES = frame_of_map(MAP)
INDEX = ShapeIndex(NETWORK, Matching(), Visits())
P, V = Matching(), Visits()


def fixes(rows: list[dict[str, float]]) -> Fixes:
    def column(name: str, default: float = math.nan) -> np.ndarray:  # type: ignore[type-arg]
        return np.array([row.get(name, default) for row in rows])

    trip = np.array([int(row["trip"]) for row in rows])
    x, y = NETWORK.frame.xy_array(column("lat"), column("lon"))
    return Fixes(
        x=x,
        y=y,
        at=column("at"),
        heading_deg=column("heading"),
        speed_mps=column("speed"),
        pattern=NETWORK.trip_pattern[trip].astype(np.int64),
        time_row=NETWORK.trip_time_offset[trip],
        base_at=np.zeros(len(rows)),
        last_m=column("last_m"),
        last_at=column("last_at"),
        last_x=column("last_x"),
        last_y=column("last_y"),
        last_deviation_s=column("last_deviation"),
    )


def slow_twin(f: Fixes, i: int) -> tuple[bool, float, float]:
    """(found, distance, offset) of one fix, looking at every segment of the whole shape."""
    shape = NETWORK.pattern_shape[f.pattern[i]]
    best = (math.inf, math.nan, math.nan)
    known = math.isfinite(f.last_m[i])
    low = f.last_m[i] - P.back_slack_m
    high = f.last_m[i] + P.max_speed_mps * (f.at[i] - f.last_at[i]) + P.forward_slack_m
    for k in range(NETWORK.shape_offset[shape], NETWORK.shape_offset[shape + 1] - 1):
        ax, ay, bx, by = (*_point(k), *_point(k + 1))
        length2 = (bx - ax) ** 2 + (by - ay) ** 2
        share = min(max(((f.x[i] - ax) * (bx - ax) + (f.y[i] - ay) * (by - ay)) / max(length2, 1e-9), 0), 1)
        offset = math.hypot(f.x[i] - ax - share * (bx - ax), f.y[i] - ay - share * (by - ay))
        along = NETWORK.shape_m[k] + share * (NETWORK.shape_m[k + 1] - NETWORK.shape_m[k])
        if offset > P.max_offset_m or (known and not low <= along <= high):
            continue
        cost = (offset / P.sigma_m) ** 2 / 2
        deviation = _deviation(f, i, along)
        if known:
            moved = math.hypot(f.x[i] - f.last_x[i], f.y[i] - f.last_y[i])
            cost += abs(max(along - f.last_m[i], 0) - moved) / P.detour_scale_m
            cost += abs(deviation - f.last_deviation_s[i]) / P.pace_scale_s
        else:
            cost += abs(deviation) / P.first_pace_scale_s
        best = min(best, (cost, along, offset))
    found = math.isfinite(best[0])
    return found, max(best[1], f.last_m[i]) if found and known else best[1], best[2]


def _point(k: int) -> tuple[float, float]:
    return float(NETWORK.shape_x[k]), float(NETWORK.shape_y[k])


def _deviation(f: Fixes, i: int, along: float) -> float:
    pattern, row = int(f.pattern[i]), int(f.time_row[i])
    first, end = NETWORK.pattern_stop_offset[pattern], NETWORK.pattern_stop_offset[pattern + 1]
    target = INDEX.target_m[first:end]
    if along <= target[0] + V.depart_zone_m:
        return float(max(f.at[i] - NETWORK.departure_s[row], 0.0))
    times = NETWORK.arrival_s[row : row + end - first].astype(float)
    times[0] = NETWORK.departure_s[row]
    return float(f.at[i] - np.interp(along, target, times))


@st.composite
def one_fix(draw: st.DrawFn) -> dict[str, float]:
    trip = draw(st.integers(0, len(NETWORK.trip_id) - 1))
    lat, lon = PLACES.xy(draw(st.floats(-100, 1300)), draw(st.floats(-320, 120)))
    row = {"trip": float(trip), "lat": lat, "lon": lon, "at": draw(st.floats(28000, 31000))}
    if draw(st.booleans()):
        x, y = NETWORK.frame.xy(lat, lon)
        row |= {
            "last_m": draw(st.floats(0, 1500)),
            "last_at": row["at"] - draw(st.floats(1, 60)),
            "last_x": x + draw(st.floats(-300, 300)),
            "last_y": y + draw(st.floats(-300, 300)),
            "last_deviation": draw(st.floats(-300, 600)),
        }
    return row


@settings(max_examples=150, deadline=None)
@given(st.lists(one_fix(), min_size=1, max_size=8))
def test_the_window_finds_what_a_search_of_the_whole_shape_finds(rows: list[dict[str, float]]) -> None:
    f = fixes(rows)
    got = match(INDEX, f, P, V)
    for i in range(len(rows)):
        found, distance, offset = slow_twin(f, i)
        assert bool(got.found[i]) == found
        if found:
            # where two places cost the same to the last digit either may win
            assert got.distance_m[i] == pytest.approx(distance, abs=1e-3) or got.offset_m[i] == pytest.approx(offset)


@settings(max_examples=100, deadline=None)
@given(st.lists(one_fix(), min_size=2, max_size=8))
def test_a_fix_does_not_depend_on_its_neighbours(rows: list[dict[str, float]]) -> None:
    together = match(INDEX, fixes(rows), P, V)
    for i, row in enumerate(rows):
        alone = match(INDEX, fixes([row]), P, V)
        for name in Matched.__dataclass_fields__:
            a, b = getattr(alone, name)[0], getattr(together, name)[i]
            assert a == b or (a != a and b != b), name


def test_heading_tells_the_two_ways_of_one_street_apart() -> None:
    lat, lon = PLACES.between("A", "B", 0.5)
    trip = float(NETWORK.find_trip("2-0") or 0)
    base = {"trip": trip, "lat": lat, "lon": lon, "at": 28900.0, "speed": 8.0}
    out = match(INDEX, fixes([base | {"heading": 90.0}, base | {"heading": 270.0}]), P, V)
    assert out.distance_m.tolist() == pytest.approx([200.0, 1400.0], abs=1.0)
