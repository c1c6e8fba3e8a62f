"""Departures of one stop over days, against the same read off the laid-out service days."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from busd.days import build_day
from gtfs.calendar import service_day_start
from gtfs.departures import stop_departures
from gtfs.network import Network
from gtfs.testing import network_from_map

MAP = """
A--B--C--D
   |
   E
"""
LINES = {"1": "ABCD", "1/back": "DCBA", "2": "EBC", "9": "ABE"}
FREQUENCIES = """trip_id,start_time,end_time,headway_secs,exact_times
2-0,08:00:00,10:00:00,1200,1
9-0,06:00:00,09:00:00,480,0
9-0,09:00:00,26:30:00,900,0
"""
DAY = date(2026, 3, 3).toordinal()


def make(timezone: str = "Asia/Shanghai", start: str = "23:10:00") -> Network:
    return network_from_map(
        MAP, LINES, start=start, trips=12, timezone=timezone, tables={"frequencies.txt": FREQUENCIES}
    )


def of_days(network: Network, stop: int, first_day: int, days: int) -> list[tuple[int, int, int]]:
    """The slow twin."""
    begin = service_day_start(first_day, network.timezone)
    end = service_day_start(first_day + days, network.timezone)
    found = []
    for ordinal in range(first_day - 3, first_day + days):
        day = build_day(network, ordinal)
        for row in day.stop_rows[day.stop_offset[stop] : day.stop_offset[stop + 1]].tolist():
            run, at = int(day.row_run[row]), float(day.row_departure_at[row])
            if not day.run_headway[run] and begin <= at < end:
                route = int(network.pattern_route[network.trip_pattern[day.run_trip[run]]])
                found.append((int(at), route, int(day.row_call[row][3])))
    return sorted(found)


@pytest.mark.parametrize("timezone", ["Asia/Shanghai", "Europe/Berlin"])
@pytest.mark.parametrize("days", [1, 7])
def test_equal_to_the_service_days(timezone: str, days: int) -> None:
    """Berlin changes its clocks on 29 March."""
    network = make(timezone)
    for first in (DAY, DAY + 23):
        for stop in range(len(network.stop_id)):
            plan = stop_departures(network, stop, first, days)
            mine = sorted(zip(plan.at.tolist(), plan.route.tolist(), plan.headsign.tolist()))
            assert mine == of_days(network, stop, first, days)
            assert np.all(np.diff(plan.at) >= 0)


def test_nobody_boards_at_the_last_stop() -> None:
    network = make()
    stop = network.find_stop("D")
    assert stop is not None
    assert {network.route_id[r] for r in stop_departures(network, stop, DAY, 1).route.tolist()} == {"1"}
    assert {network.headsign[h] for h in stop_departures(network, stop, DAY, 1).headsign.tolist()} == {"A"}


def test_headways_are_promises_and_no_times() -> None:
    network = make()
    stop = network.find_stop("A")
    assert stop is not None
    plan = stop_departures(network, stop, DAY, 1)
    start = service_day_start(DAY, network.timezone)
    by_clock = [at for at, r in zip(plan.at.tolist(), plan.route.tolist()) if network.route_id[r] == "9"]
    assert all(at - start < 2 * 3600 or at - start > 23 * 3600 for at in by_clock), "only trips with times of their own"
    told = [(s.from_at - start, s.to_at - start, s.headway_s) for s in plan.spans]
    assert (6 * 3600, 9 * 3600, 480) in told
    assert (-15 * 3600, 2.5 * 3600, 900) in told, "yesterday's reaches into today"


def test_outside_the_calendar_there_is_nothing() -> None:
    network = make()
    assert len(stop_departures(network, 0, date(2030, 1, 1).toordinal(), 7).at) == 0
