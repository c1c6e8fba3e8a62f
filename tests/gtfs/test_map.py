"""The drawn map itself."""

from __future__ import annotations

import numpy as np
import pytest

from gtfs.frame import haversine_m
from gtfs.testing import frame_of_map, network_from_map, zip_from_map


def _metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(haversine_m(np.array([a[0]]), np.array([a[1]]), np.array([b[0]]), np.array([b[1]]))[0])


def test_places() -> None:
    frame = frame_of_map(
        """
            B
            |
        A---x
        """,
        cell_m=50.0,
    )
    assert frame.at("B") == (36.06, 103.83), "the first letter lies at the origin"
    assert _metres(frame.at("A"), frame.at("x")) == pytest.approx(200)
    assert _metres(frame.at("B"), frame.at("x")) == pytest.approx(100)
    assert frame.at("x")[0] < frame.at("B")[0], "north is up"
    assert _metres(frame.at("A"), frame.between("A", "x", 0.3)) == pytest.approx(60)
    assert _metres(frame.at("A"), frame.beside("A", 30, 40)) == pytest.approx(50)


def test_times_follow_from_the_drawing() -> None:
    network = network_from_map(
        "A---B---C",
        {"1": "ABC"},
        start="23:59:00",
        headway_s=120,
        trips=2,
        speed_mps=10,
        dwell_s=20,
        timezone="Europe/Paris",
    )
    first = 86_340
    assert network.arrival_s.tolist() == [first, first + 40, first + 80 + 20, first + 120, first + 160, first + 220]
    assert (network.departure_s - network.arrival_s).tolist() == [0, 20, 0] * 2
    assert network.timezone == "Europe/Paris"
    assert list(network.trip_id) == ["1-0", "1-1"]


def test_mistakes_in_the_drawing() -> None:
    with pytest.raises(ValueError, match="twice"):
        frame_of_map("A--A")
    with pytest.raises(ValueError, match="no stops"):
        frame_of_map("---")
    with pytest.raises(ValueError, match="not in the map: Q"):
        zip_from_map("A--B", {"1": "ABQ"})
    with pytest.raises(ValueError, match="does not pass 'C'"):
        zip_from_map("A--B--C", {"1": "ABC"}, shapes={"1": "AB"})


def test_equal_arguments_give_the_same_network() -> None:
    assert network_from_map("A--B", {"1": "AB"}) is network_from_map("A--B", {"1": "AB"})
    assert zip_from_map("A--B", {"1": "AB"}) == zip_from_map("A--B", {"1": "AB"})
