"""Which datum a feed speaks, told from where its buses are; and when nothing may be said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from math import cos, radians

import pytest

from busd import metrics
from busd.feeds.datum import wgs84_to_bd09, wgs84_to_gcj02
from busd.feeds.datum_watch import DatumWatch
from busd.track.datum_watch import MAX_CELLS, ShapeDistance
from busd.types import VehiclePosition
from gtfs.network import Network
from gtfs.testing import network_from_map

LANZHOU = (36.06, 103.83)
MAP = """
    A----B----C----D
         |         |
    E----F----G    H----I
              |         |
              J----K----L
"""
LINES = {"1": "ABCDHI", "2": "EFGJKL", "3": "ABFGJKLI"}
CELL = 100.0
M = 1 / 111_195.0


@pytest.fixture(scope="module")
def network() -> Network:
    return network_from_map(MAP, LINES, cell_m=CELL, origin=LANZHOU)


@pytest.fixture(scope="module")
def shapes(network: Network) -> ShapeDistance:
    return ShapeDistance(network)


def drive(
    network: Network, shape: int, step_m: float, seed: int = 1, noise_m: float = 8.0
) -> Iterator[tuple[float, float]]:
    """(lat, lon) of a bus along a shape, up and down for ever, with GPS noise."""
    dice = random.Random(seed)
    rows = network.shape_rows(shape)
    lats, lons, metres = (a[rows].tolist() for a in (network.shape_lat, network.shape_lon, network.shape_m))
    at = 0.0
    while True:
        along = at % (2 * metres[-1])
        along = min(along, 2 * metres[-1] - along)
        k = max(1, next(i for i, m in enumerate(metres) if m >= along - 1e-6))
        share = (along - metres[k - 1]) / (metres[k] - metres[k - 1])
        lat = lats[k - 1] + share * (lats[k] - lats[k - 1]) + dice.gauss(0, noise_m) * M
        lon = lons[k - 1] + share * (lons[k] - lons[k - 1]) + dice.gauss(0, noise_m) * M / cos(radians(lat))
        yield lat, lon
        at += step_m


def fix(lat: float, lon: float, bus: str = "1", source: str = "s") -> VehiclePosition:
    return VehiclePosition(source, bus, lat, lon, 1.0, 1.0)


def fixes_until_named(
    watch: DatumWatch, shapes: ShapeDistance, places: Iterator[tuple[float, float]], most: int
) -> int | None:
    for n in range(1, most + 1):
        watch.note([fix(*next(places))])
        if n % 5 == 0 and watch.look(shapes):
            return n
    return None


@pytest.mark.parametrize(("datum", "shift"), [("gcj02", wgs84_to_gcj02), ("bd09", wgs84_to_bd09)])
@pytest.mark.parametrize("step_m", [12.0, 60.0, 150.0])
def test_a_shifted_feed_is_named_within_200_fixes(network, shapes, datum, shift, step_m) -> None:  # type: ignore[no-untyped-def]
    watch = DatumWatch({"s": "wgs84"})
    n = fixes_until_named(watch, shapes, (shift(*place) for place in drive(network, 0, step_m)), 200)
    assert n is not None and n <= 200
    suspicion = watch.suspicions["s"]
    assert (suspicion.source, suspicion.datum) == ("s", datum)
    assert {"gcj02": "GCJ-02", "bd09": "BD-09"}[datum] in suspicion.text
    assert 'datum = "' + datum + '"' in suspicion.text
    lat, lon = shift(*LANZHOU)
    off = (((lat - LANZHOU[0]) / M) ** 2 + ((lon - LANZHOU[1]) / M * cos(radians(lat))) ** 2) ** 0.5
    assert suspicion.shift_m == pytest.approx(off, abs=30)
    assert metrics.FEED_DATUM_SUSPECT.labels("s", datum)._value.get() == 1
    assert watch.rows()[0]["source"] == "s"


@pytest.mark.parametrize("shape", [0, 1, 2])
@pytest.mark.parametrize("noise_m", [3.0, 15.0, 25.0])
def test_noise_says_nothing(network: Network, shapes: ShapeDistance, shape: int, noise_m: float) -> None:
    watch = DatumWatch({"s": "wgs84"})
    assert fixes_until_named(watch, shapes, drive(network, shape, 40.0, noise_m=noise_m), 1000) is None


@pytest.mark.parametrize(
    ("east_m", "north_m"), [(20, 0), (-14, 14), (0, 25), (45, 45), (-60, 20), (0, -36), (0, -45), (268, 0)]
)
def test_a_street_drawn_beside_says_nothing(
    network: Network, shapes: ShapeDistance, east_m: float, north_m: float
) -> None:
    places = ((lat + north_m * M, lon + east_m * M / cos(radians(lat))) for lat, lon in drive(network, 0, 40.0))
    assert fixes_until_named(DatumWatch({"s": "wgs84"}), shapes, places, 1000) is None


@pytest.mark.parametrize("north_m", range(-1200, 1300, 100))
def test_a_detour_says_nothing(shapes: ShapeDistance, north_m: int) -> None:
    """Up and down a straight street at any distance from the shapes, even where one runs parallel as far away as
    GCJ-02 would have it."""
    dice = random.Random(north_m)
    watch = DatumWatch({"s": "wgs84"})
    for n in range(400):
        along = 1500.0 * abs(1 - n % 100 / 50)
        lat = LANZHOU[0] + (north_m + dice.gauss(0, 6)) * M
        watch.note([fix(lat, LANZHOU[1] + along * M / cos(radians(lat)))])
        assert watch.look(shapes) == []


def test_a_feed_that_is_converted_twice(network: Network, shapes: ShapeDistance) -> None:
    """Configured as GCJ-02 but sends WGS-84: what arrives has been moved away from the streets."""
    from busd.feeds.datum import gcj02_to_wgs84

    watch = DatumWatch({"s": "gcj02"})
    places = (gcj02_to_wgs84(*place) for place in drive(network, 0, 50.0))
    assert fixes_until_named(watch, shapes, places, 200) is not None
    assert watch.suspicions["s"].datum == "wgs84"
    assert "but is converted as GCJ-02" in watch.suspicions["s"].text


def test_a_right_conversion_is_right(network: Network, shapes: ShapeDistance) -> None:
    watch = DatumWatch({"s": "bd09"})
    assert fixes_until_named(watch, shapes, drive(network, 1, 50.0), 500) is None


def test_it_is_said_once_and_taken_back(network: Network, shapes: ShapeDistance) -> None:
    watch = DatumWatch({"s": "wgs84"})
    wrong = (wgs84_to_gcj02(*place) for place in drive(network, 0, 50.0))
    assert fixes_until_named(watch, shapes, wrong, 200) is not None
    assert fixes_until_named(watch, shapes, wrong, 300) is None
    right = drive(network, 2, 50.0)
    assert fixes_until_named(watch, shapes, right, 3 * MAX_CELLS) is None
    assert watch.suspicions == {}
    assert metrics.FEED_DATUM_SUSPECT.labels("s", "gcj02")._value.get() == 0


def test_a_standing_bus_and_other_sources_are_not_looked_at(shapes: ShapeDistance) -> None:
    watch = DatumWatch({"s": "wgs84"})
    for _ in range(500):
        watch.note([fix(36.061, 103.836), fix(48.2, 16.37, "2"), fix(36.07, 103.84, "3", "other")])
    watch.look(shapes)
    assert watch._sources["s"].fixes == 1


def test_shapes_that_change_start_afresh(network: Network, shapes: ShapeDistance) -> None:
    watch = DatumWatch({"s": "wgs84"})
    places = (wgs84_to_gcj02(*place) for place in drive(network, 0, 60.0))
    for _ in range(10):
        watch.note([fix(*next(places))])
    watch.look(shapes)
    watch.forget()
    assert len(watch._sources["s"].votes) == 0


def test_distances(network: Network, shapes: ShapeDistance) -> None:
    lat, lon = float(network.shape_lat[0]), float(network.shape_lon[0])
    metres, heading, right = shapes.nearest([lat + 20 * M, lat + 5.0, lat], [lon + 0.001, lon, lon])
    assert metres[0] == pytest.approx(20, abs=0.1)
    assert metres[1] == float("inf")
    assert metres[2] == pytest.approx(0, abs=0.01)
    assert heading[0] == pytest.approx(90, abs=0.1)
    assert right[0] == pytest.approx(-20, abs=0.1)  # north of a street to the east is on its left


XINING, CHENGDU, SHANGHAI = (36.62, 101.78), (30.66, 104.07), (31.23, 121.47)
STRAIGHT = "A----B----C----D----E----F----G----H"
SOUTH = "\n".join("A|||B|||C|||D|||E|||F|||G|||H|||I|||J")


@pytest.mark.parametrize("step_m", [20.0, 60.0, 150.0])
@pytest.mark.parametrize(
    ("drawing", "letters", "origin"),
    [
        (STRAIGHT, "ABCDEFGH", LANZHOU),  # most of the shift lies along the street
        (STRAIGHT, "ABCDEFGH", CHENGDU),
        (SOUTH, "ABCDEFGHIJ", LANZHOU),
        (SOUTH, "ABCDEFGHIJ", SHANGHAI),
    ],
)
def test_on_a_straight_street(drawing: str, letters: str, origin: tuple[float, float], step_m: float) -> None:
    network = network_from_map(drawing, {"1": letters}, cell_m=CELL, origin=origin)
    shapes = ShapeDistance(network)
    for seed in range(3):
        watch = DatumWatch({"s": "wgs84"})
        shifted = (wgs84_to_gcj02(*place) for place in drive(network, 0, step_m, seed, noise_m=10.0))
        n = fixes_until_named(watch, shapes, shifted, 200)
        assert n is not None and watch.suspicions["s"].datum == "gcj02"
        right = drive(network, 0, step_m, seed, noise_m=10.0)
        assert fixes_until_named(DatumWatch({"s": "wgs84"}), shapes, right, 400) is None


def test_where_most_places_fit_either_way() -> None:
    """Xining: 172 m east, 9 m south. On streets to the east nothing shows; the few to the south tell."""
    network = network_from_map(MAP, LINES, cell_m=CELL, origin=XINING)
    shapes = ShapeDistance(network)
    watch = DatumWatch({"s": "wgs84"})
    shifted = (wgs84_to_gcj02(*place) for place in drive(network, 0, 80.0, noise_m=10.0))
    n = fixes_until_named(watch, shapes, shifted, 200)
    assert n is not None and watch.suspicions["s"].datum == "gcj02"


@pytest.mark.parametrize("origin", [LANZHOU, XINING])
def test_a_garage_beyond_the_end_says_nothing(origin: tuple[float, float]) -> None:
    """Buses drive on along their street for half a kilometre; a shift to the east would put that on the shape."""
    network = network_from_map(STRAIGHT, {"1": "ABCDEFGH"}, cell_m=CELL, origin=origin)
    shapes, dice = ShapeDistance(network), random.Random(5)
    watch = DatumWatch({"s": "wgs84"})
    for n in range(400):
        along = 4000.0 * abs(1 - n % 100 / 50)
        place = (
            origin[0] + dice.gauss(0, 10) * M,
            origin[1] + (along + dice.gauss(0, 10)) * M / cos(radians(origin[0])),
        )
        watch.note([fix(*place)])
        assert watch.look(shapes) == []
