"""Stops on shapes: loops, out-and-back, lollipops and crossings, with distances known from the drawing."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.compile import compile_bytes
from gtfs.frame import EARTH_RADIUS_M, Frame, cumulative_m, haversine_m
from gtfs.geometry import PULL_OF_SCHEDULE_M, Polyline, project_stops
from gtfs.network import Network
from gtfs.testing import frame_of_map, network_from_map, zip_from_map

F64 = npt.NDArray[np.float64]


def _metres(network: Network, line: int = 0) -> list[int]:
    return [round(metres) for metres in network.pattern_stop_m[network.pattern_rows(line)].tolist()]


def test_straight_line_with_corner() -> None:
    network = network_from_map(
        """
        A---B---x
                |
            D---C
        """,
        {"1": "ABCD"},
        shapes={"1": "ABxCD"},
    )
    assert _metres(network) == [0, 400, 1000, 1400]


def test_circle_line_ends_where_it_began() -> None:
    network = network_from_map(
        """
        A---B
        |   |
        D---C
        """,
        {"1": "ABCDA"},
    )
    assert _metres(network) == [0, 400, 600, 1000, 1200]


def test_circle_line_twice_around() -> None:
    network = network_from_map(
        """
        A---B
        |   |
        D---C
        """,
        {"1": "ABCDABCDA"},
    )
    assert _metres(network) == [0, 400, 600, 1000, 1200, 1600, 1800, 2200, 2400]


def test_out_and_back_on_one_street() -> None:
    """B and C are served on the way out only, D on the way back only: the schedule tells the passes apart."""
    network = network_from_map("A---B---C---D---E", {"1": "ABCEDA"}, shapes={"1": "ABCDEDCBA"})
    assert _metres(network) == [0, 400, 800, 1600, 2000, 3200]


def test_out_and_back_with_every_stop_twice() -> None:
    network = network_from_map("A---B---C---D", {"1": "ABCDCBA"})
    assert _metres(network) == [0, 400, 800, 1200, 1600, 2000, 2400]


def test_lollipop() -> None:
    """Stem A B, loop C D E F around, stem back."""
    network = network_from_map(
        """
                C---D
                |   |
        A---B---x   |
                |   |
                F---E
        """,
        {"1": "ABCDEFBA"},
        shapes={"1": "ABxCDEFxBA"},
    )
    assert _metres(network) == [0, 400, 1000, 1400, 1800, 2200, 2800, 3200]


def test_crossing_itself() -> None:
    """The line passes the crossing X twice and stops there on the second pass."""
    network = network_from_map(
        """
            C---D
            |   |
        A---X---E
            |
            F
        """,
        {"1": "AEDCXF"},
        shapes={"1": "AXEDCXF"},
    )
    assert _metres(network) == [0, 800, 1000, 1400, 1600, 1800]


def test_stop_served_on_both_passes_of_a_crossing() -> None:
    network = network_from_map(
        """
            C---D
            |   |
        A---X---E
            |
            F
        """,
        {"1": "AXEDCXF"},
    )
    assert _metres(network) == [0, 400, 800, 1000, 1400, 1600, 1800]


def _shape_csv(drawing: str, letters: str, cell_m: float) -> str:
    """shapes.txt of line 1 through letters of the map that its stops need not be."""
    frame = frame_of_map(drawing, cell_m)
    rows = [f"1,{frame.at(letter)[0]:.8f},{frame.at(letter)[1]:.8f},{i}\n" for i, letter in enumerate(letters)]
    return "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n" + "".join(rows)


def test_stops_on_both_kerbs_of_one_street() -> None:
    """Out along one kerb, back along the other: by distance alone each stop could be on either pass."""
    drawing = """
        c   b
    A---x---y---D
        B   C
    """
    network = network_from_map(
        drawing, {"1": "ABCDbcA"}, cell_m=10.0, tables={"shapes.txt": _shape_csv(drawing, "AxyDyxA", 10.0)}
    )
    assert _metres(network) == [0, 40, 80, 120, 160, 200, 240]
    offsets = network.pattern_stop_offset_m[network.pattern_rows(0)]
    assert np.round(offsets).tolist() == [0, 10, 10, 0, 10, 10, 0]


def test_stops_out_of_order_on_the_map_share_a_place() -> None:
    """C lies before B along the street but is served after it: both get the best place that keeps the order."""
    drawing = """
        C B
    A---x-y---D
    """
    network = network_from_map(
        drawing, {"1": "ABCD"}, cell_m=10.0, tables={"shapes.txt": _shape_csv(drawing, "AxyD", 10.0)}
    )
    place = network.pattern_stop_m[network.pattern_rows(0)]
    assert (np.diff(place) >= 0).all()
    assert 40 <= place[1] <= 60 and 40 <= place[2] <= 60


def test_many_stops_on_one_long_segment() -> None:
    drawing = "A-B-C-D-E-F"
    network = network_from_map(drawing, {"1": "ABCDEF"}, tables={"shapes.txt": _shape_csv(drawing, "AF", 100.0)})
    assert _metres(network) == [0, 200, 400, 600, 800, 1000]


def test_shape_dist_traveled_beats_the_schedule() -> None:
    """The timetable says that B comes early; the feed's own distances say that it is on the way back."""
    drawing = "A---B---C"
    frame = frame_of_map(drawing)
    rows = [
        f"1,{frame.at(p)[0]:.8f},{frame.at(p)[1]:.8f},{i},{d}\n"
        for i, (p, d) in enumerate(zip("ABCBA", (0, 4, 8, 12, 16)))
    ]
    times = "trip_id,stop_sequence,stop_id,arrival_time,departure_time{}\n1-0,1,A,8:00:00,8:00:00{}\n1-0,2,B,8:02:30,8:02:30{}\n1-0,3,A,8:10:00,8:10:00{}\n"
    plain, told = times.format("", "", "", ""), times.format(",shape_dist_traveled", ",0", ",12", ",16")
    shapes = "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence,shape_dist_traveled\n" + "".join(rows)
    for stop_times, metres in ((plain, 400), (told, 1200)):
        network = network_from_map(
            drawing, {"1": "ABA"}, trips=1, tables={"shapes.txt": shapes, "stop_times.txt": stop_times}
        )
        assert _metres(network) == [0, metres, 1600]


def test_without_shapes_straight_lines_are_made() -> None:
    network = network_from_map(
        "A---B\n    |\n    C",
        {"1": "ABC", "2": "ABC"},
        tables={"shapes.txt": "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n"},
    )
    assert _metres(network) == [0, 400, 600]
    assert list(network.shape_id) == [""], "equal stops share their line"
    assert network.pattern_stop_offset_m.tolist() == [0.0] * 6


@pytest.mark.parametrize("points", ["1,36.06,103.83,1", "1,36.06,103.83,1\n1,36.06,103.83,2\n1,36.06,103.83,3"])
def test_shape_without_length_is_replaced(points: str) -> None:
    header = "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n"
    network, findings = compile_bytes(zip_from_map("A---B", {"1": "AB"}, tables={"shapes.txt": f"{header}{points}\n"}))
    assert findings.count("degenerate_shape") == 1
    assert findings.count("no_shape") == 3
    assert _metres(network) == [0, 400]
    assert len(network.shape_m) == 2


def test_all_stops_at_one_place() -> None:
    stops = "stop_id,stop_name,stop_lat,stop_lon\nA,A,36,103\nB,B,36,103\n"
    shapes = "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n"
    network = network_from_map("A---B", {"1": "AB"}, tables={"stops.txt": stops, "shapes.txt": shapes})
    assert _metres(network) == [0, 0]
    assert network.shape_offset.tolist() == [0, 2]


def test_repeated_points_are_dropped() -> None:
    network = network_from_map("A---B", {"1": "AB"}, shapes={"1": "AAABBB"})
    assert len(network.shape_m) == 2
    assert (np.diff(network.shape_m) > 0).all()


def test_stop_off_the_shape_is_found() -> None:
    drawing = """
      B
      |
    A-x-C
    """
    shapes = {"shapes.txt": _shape_csv(drawing, "AxC", 100.0)}
    network, findings = compile_bytes(zip_from_map(drawing, {"1": "ABC"}, tables=shapes))
    assert _metres(network) == [0, 200, 400]
    assert findings.count("stop_off_shape") == 1
    (group,) = [group for group in findings if group.code == "stop_off_shape"]
    assert group.examples[0].text == "stop B is 200 m from shape 1"


# ---- the frame -------------------------------------------------------------------------------------------------------


def test_frame_round_trip_and_distortion() -> None:
    """Scale: exact at the origin, off by (d / 2R)^2 = 6e-6 at 30 km."""
    frame = Frame(36.06, 103.83)
    for x, y in ((0.0, 0.0), (3.0, -4.0), (30_000.0, 0.0), (-20_000.0, 22_000.0), (100_000.0, 100_000.0)):
        lat, lon = frame.latlon(x, y)
        assert frame.xy(lat, lon) == pytest.approx((x, y), abs=1e-6)
        origin, point = np.array([36.06]), np.array([lat])
        great_circle = float(haversine_m(origin, np.array([103.83]), point, np.array([lon]))[0])
        planar = float(np.hypot(x, y))
        assert abs(planar - great_circle) <= great_circle * (planar / (2 * EARTH_RADIUS_M)) ** 2 + 1e-6


@given(st.floats(-80, 80), st.floats(-180, 179.99), st.floats(-1, 1), st.floats(-1, 1))
def test_frame_anywhere(lat: float, lon: float, north: float, east: float) -> None:
    """Also across the antimeridian; arrays and single numbers agree."""
    frame = Frame(lat, lon)
    there = (lat + north, (lon + east + 180.0) % 360.0 - 180.0)
    x, y = frame.xy(*there)
    back = frame.latlon(x, y)
    assert back[0] == pytest.approx(there[0], abs=1e-9)
    assert (back[1] - there[1] + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-8)
    many = frame.xy_array(np.array([there[0]]), np.array([there[1]]))
    assert (many[0][0], many[1][0]) == pytest.approx((x, y), abs=1e-6)


def test_haversine_by_hand() -> None:
    one = np.array([1.0])
    degree = np.pi * EARTH_RADIUS_M / 180
    assert haversine_m(0 * one, 0 * one, one, 0 * one)[0] == pytest.approx(degree)
    assert haversine_m(0 * one, 0 * one, 0 * one, 180 * one)[0] == pytest.approx(180 * degree)
    assert cumulative_m(np.array([0.0, 1.0, 1.0]), np.zeros(3)).tolist() == pytest.approx([0, degree, degree])


# ---- the dynamic programme against trying everything -----------------------------------------------------------------

_POINT = st.tuples(st.integers(0, 6), st.integers(0, 6))
_LINE = st.lists(_POINT, min_size=3, max_size=7).filter(lambda corners: len(set(corners)) > 1)


def _polyline(corners: list[tuple[int, int]]) -> Polyline:
    line = [corner for i, corner in enumerate(corners) if i == 0 or corner != corners[i - 1]]
    x, y = (np.array(axis, np.float64) * 100 for axis in zip(*line))
    return Polyline(x, y, np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y))))))


def _place(line: Polyline, x: F64, y: F64) -> tuple[F64, F64]:
    """project_stops without hints, and what must hold of every answer."""
    metres, offset = project_stops(line, x, y, None, 0.0)
    assert (np.diff(metres) >= 0).all()
    assert metres[0] >= 0 and metres[-1] <= line.m[-1] + 1e-9
    at_x, at_y = np.interp(metres, line.m, line.x), np.interp(metres, line.m, line.y)
    assert np.hypot(at_x - x, at_y - y) == pytest.approx(offset, abs=1e-6)
    return metres, offset


@settings(max_examples=300, deadline=None)
@given(_LINE, st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_stops_on_the_line_are_placed_without_offset(corners: list[tuple[int, int]], shares: list[float]) -> None:
    """However often the line crosses or retraces itself, an order without any offset exists and is found."""
    line = _polyline(corners)
    places = np.sort(np.array(shares)) * line.m[-1]
    _, offset = _place(line, np.interp(places, line.m, line.x), np.interp(places, line.m, line.y))
    assert offset.max() < 1e-4


@settings(max_examples=300, deadline=None)
@given(_LINE, st.lists(_POINT, min_size=1, max_size=4))
def test_no_choice_of_nearest_points_is_better(corners: list[tuple[int, int]], stops: list[tuple[int, int]]) -> None:
    """Against every choice of one segment's nearest point a stop that never goes backwards."""
    line = _polyline(corners)
    x, y = (np.array(axis, np.float64) * 100 for axis in zip(*stops))
    _, offset = _place(line, x, y)
    choices: list[list[tuple[float, float]]] = []
    for sx, sy in zip(x.tolist(), y.tolist()):
        dx, dy = np.diff(line.x), np.diff(line.y)
        along = np.clip(((sx - line.x[:-1]) * dx + (sy - line.y[:-1]) * dy) / (dx**2 + dy**2), 0, 1)
        cost = (line.x[:-1] + along * dx - sx) ** 2 + (line.y[:-1] + along * dy - sy) ** 2
        choices.append(list(zip((line.m[:-1] + along * np.diff(line.m)).tolist(), cost.tolist())))
    best = min(
        (
            sum(cost for _, cost in path)
            for path in itertools.product(*choices)
            if all(a[0] <= b[0] for a, b in itertools.pairwise(path))
        ),
        default=np.inf,
    )
    assert (offset**2).sum() <= best + 1e-6


def test_a_shape_of_very_many_points_is_thinned() -> None:
    t = np.linspace(0, 20 * np.pi, 60_000)
    x, y = t * 100, 50 * np.sin(t)
    m = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))))
    places = np.linspace(0, m[-1], 120)
    metres, offset = project_stops(
        Polyline(x, y, m), np.interp(places, m, x), np.interp(places, m, y), places, PULL_OF_SCHEDULE_M / m[-1]
    )
    assert np.abs(metres - places).max() < 1.0
    assert offset.max() < 0.5
