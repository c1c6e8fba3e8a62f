"""The truth on made-up trips whose passages are known."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from busd.errors import FeedError
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import frame_of_map, network_from_map
from replay.truth import Passages, derive_passages, passages_of, read_fixes

MAP = "A---B---C---D"
PLACES = frame_of_map(MAP)
NETWORK = network_from_map(MAP, {"1": "ABCD"}, trips=3)
START = service_day_start("20260302", "Asia/Shanghai") + 8 * 3600
ZONE = dt.timezone(dt.timedelta(hours=8))


def at_metres(metres: float, aside: float = 0.0) -> tuple[float, float]:
    leg = min(metres / 400.0, 2.9999)
    lat, lon = PLACES.between("ABCD"[int(leg)], "ABCD"[int(leg) + 1], leg % 1)
    return lat + aside / 111_195, lon


def write(path: Path, rows: list[tuple[float, str, str, float, float]], **columns: str) -> Path:
    """rows: (epoch, vehicle, trip, lat, lon)"""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["event_timestamp", "vehicle_id", "trip_id_scheduled", "latitude", "longitude", *columns])
        for at, vehicle, trip, lat, lon in rows:
            time = dt.datetime.fromtimestamp(at, ZONE).isoformat()
            out.writerow([time, vehicle, trip, f"{lat:.8f}", f"{lon:.8f}", *columns.values()])
    return path


def derive(path: Path, network: Network = NETWORK) -> Passages:
    return derive_passages(read_fixes(path, network), network)


def drive(vehicle: str, trip: str, start: float, speed: float, every: float, noise: float = 0.0) -> list:
    dice = np.random.default_rng(3)
    rows = []
    for t in np.arange(-60.0, 1200.0 / speed + 60.0, every):
        metres = min(max(0.0, t * speed), 1200.0)
        rows.append((start + t, vehicle, trip, *at_metres(metres, dice.normal(0, noise) if noise else 0.0)))
    return rows


@pytest.mark.parametrize("every", [10.0, 30.0])
def test_a_steady_bus_is_placed_exactly(tmp_path: Path, every: float) -> None:
    passages = derive(write(tmp_path / "p.csv", drive("bus", "1-0", START + 100, 5.0, every, noise=5.0)))
    assert passages.pos.tolist() == [0, 1, 2, 3]
    # arrivals are the crossing 20 m before the stop: 380, 780, 1180 m at 5 m/s
    assert passages.arrival_at[1:3] - (START + 100) == pytest.approx([76.0, 156.0], abs=1.5)
    assert passages.arrival_at[3] - (START + 100) == pytest.approx(236.0, abs=every)
    assert (passages.bracket_s <= every + 1e-6).all()
    # the first stop is left with the last fix within 50 m
    assert 0 <= passages.arrival_at[0] - (START + 100) <= 10.0 or every == 30.0
    assert passages.first.tolist() == [True, False, False, False]
    assert passages.last.tolist() == [False, False, False, True]
    assert passages.scheduled_at - START == pytest.approx([0.0, 50.0, 100.0, 150.0])
    assert passages.vehicle == ["bus"] * 4


def test_the_bracket_holds_the_true_instant(tmp_path: Path) -> None:
    passages = derive(write(tmp_path / "p.csv", drive("bus", "1-0", START, 4.0, 47.0, noise=5.0)))
    true = START + (np.array([380.0, 780.0, 1180.0]) / 4.0)
    assert (np.abs(passages.arrival_at[1:] - true) <= passages.bracket_s[1:]).all()


def test_of_two_buses_on_a_trip_the_one_with_more_fixes_counts(tmp_path: Path) -> None:
    rows = sorted(drive("short", "1-0", START, 8.0, 40.0)[:4] + drive("long", "1-0", START + 30, 8.0, 15.0))
    assert set(derive(write(tmp_path / "p.csv", rows)).vehicle) == {"long"}


def test_a_gap_of_more_than_five_minutes_gives_no_passage(tmp_path: Path) -> None:
    rows = [row for row in drive("bus", "1-0", START, 1.0, 20.0) if not 350 < row[0] - START < 800]
    assert 2 not in derive(write(tmp_path / "p.csv", rows)).pos.tolist()


def test_fixes_off_the_line_and_jumps_are_left_out(tmp_path: Path) -> None:
    rows = drive("bus", "1-0", START, 5.0, 20.0)
    rows[6] = (*rows[6][:3], *at_metres(600.0, aside=500.0))
    rows[8] = (*rows[8][:3], *at_metres(1190.0))
    passages = derive(write(tmp_path / "p.csv", rows))
    assert passages.arrival_at[1:3] - START == pytest.approx([76.0, 156.0], abs=8.0)


def test_deadheads_and_unknown_trips_are_not_followed(tmp_path: Path) -> None:
    rows = drive("bus", "1-0", START, 5.0, 20.0)
    assert len(derive(write(tmp_path / "a.csv", rows, trip_type="Deadhead"))) == 0
    assert len(derive(write(tmp_path / "b.csv", [(*r[:2], "nothing", *r[3:]) for r in rows]))) == 0
    assert len(derive(write(tmp_path / "c.csv", rows, trip_type="In service"))) == 4


def test_a_day_that_is_not_labelled_is_that_of_the_timetable(tmp_path: Path) -> None:
    plain = derive(write(tmp_path / "a.csv", drive("bus", "1-0", START, 5.0, 20.0)))
    labelled = derive(write(tmp_path / "b.csv", drive("bus", "1-0", START, 5.0, 20.0), service_date="2026-03-02"))
    assert plain.day.tolist() == labelled.day.tolist() == [dt.date(2026, 3, 2).toordinal()] * 4


def test_a_file_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FeedError, match="event_timestamp"):
        read_fixes(tmp_path / "x.csv", NETWORK)
    with pytest.raises(FeedError, match="cannot be read"):
        read_fixes(tmp_path / "none.csv", NETWORK)


def test_passages_worked_by_hand() -> None:
    stops = np.array([0.0, 400.0, 800.0])
    pos, at, bracket = passages_of(stops, np.array([0.0, 100.0, 160.0, 400.0]), np.array([0.0, 40.0, 480.0, 800.0]))
    assert pos.tolist() == [0, 1, 2]
    # left with the fix at 100 s; 380 m lies 340/440 between 100 and 160 s; 780 m 300/320 between 160 and 400 s
    assert at.tolist() == pytest.approx([100.0, 100 + 60 * 340 / 440, 160 + 240 * 300 / 320])
    assert bracket.tolist() == [60.0, 60.0, 240.0]
