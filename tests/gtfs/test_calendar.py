"""The service day: noon minus 12 h, also where the clocks change; which services run on which day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.calendar import format_service_date, parse_service_date, seconds_of_day, service_day_at, service_day_start
from gtfs.errors import GtfsError
from gtfs.findings import Findings
from gtfs.network import Network
from gtfs.testing import network_from_map

Compile = Callable[..., tuple[Network, Findings]]
NEW_YORK = "America/New_York"


def _local(timezone: str, *parts: int, fold: int = 0) -> float:
    year, month, day, hour, minute = parts
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(timezone), fold=fold).timestamp()


def test_plain_day_begins_at_midnight() -> None:
    assert service_day_start("20260216", NEW_YORK) == _local(NEW_YORK, 2026, 2, 16, 0, 0)
    assert service_day_start("20260216", "Asia/Shanghai") == _local("Asia/Shanghai", 2026, 2, 16, 0, 0)


def test_spring_day_begins_an_hour_before_midnight() -> None:
    """8 March 2026: 2:00 becomes 3:00. The timetable's 08:00:00 is 8 o'clock on the wall."""
    start = service_day_start("20260308", NEW_YORK)
    assert start == _local(NEW_YORK, 2026, 3, 7, 23, 0)
    assert start + 8 * 3600 == _local(NEW_YORK, 2026, 3, 8, 8, 0)
    assert start + 25 * 3600 == _local(NEW_YORK, 2026, 3, 9, 1, 0)


def test_autumn_day_begins_an_hour_after_midnight() -> None:
    """1 November 2026: 2:00 becomes 1:00."""
    start = service_day_start("20261101", NEW_YORK)
    assert start == _local(NEW_YORK, 2026, 11, 1, 1, 0, fold=0)
    assert start + 8 * 3600 == _local(NEW_YORK, 2026, 11, 1, 8, 0)


def test_trips_after_midnight_belong_to_yesterday() -> None:
    at = _local(NEW_YORK, 2026, 2, 17, 1, 30)
    assert seconds_of_day(at, "20260216", NEW_YORK) == 25.5 * 3600
    assert seconds_of_day(at, parse_service_date("20260217"), NEW_YORK) == 1.5 * 3600


@given(
    st.integers(date(2000, 1, 1).toordinal(), date(2050, 1, 1).toordinal()),
    st.floats(0, 86_399),
    st.sampled_from(
        [NEW_YORK, "Asia/Shanghai", "Europe/London", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata"]
    ),
)
def test_service_day_at_is_the_day_that_contains_the_instant(day: int, seconds: float, timezone: str) -> None:
    at = service_day_start(day, timezone) + seconds
    found = service_day_at(at, timezone)
    assert service_day_start(found, timezone) <= at < service_day_start(found + 1, timezone)


@given(st.integers(date(2000, 1, 1).toordinal(), date(2050, 1, 1).toordinal()))
def test_noon_is_noon(day: int) -> None:
    noon = datetime.fromtimestamp(service_day_start(day, NEW_YORK) + 43_200, ZoneInfo(NEW_YORK))
    assert (noon.toordinal(), noon.hour, noon.minute) == (day, 12, 0)


@given(st.dates())
def test_service_date_round_trip(day: date) -> None:
    assert parse_service_date(format_service_date(day.toordinal())) == day.toordinal()


@pytest.mark.parametrize("text", ["2026-02-16", "20260231", "", "2026021", "今天"])
def test_no_service_date(text: str) -> None:
    with pytest.raises(GtfsError, match="no date"):
        service_day_start(text, NEW_YORK)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_unknown_zone(name: str) -> None:
    with pytest.raises(GtfsError, match="time zone"):
        service_day_start("20260216", name)


CALENDAR = "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\n"


def _days(network: Network, first: str, count: int) -> str:
    start = parse_service_date(first)
    return "".join("x" if len(network.active_trips(start + i)) else "." for i in range(count))


def test_weekdays_range_and_exceptions(compile_files: Compile) -> None:
    network, findings = compile_files(
        calendar=CALENDAR + "daily,1,1,1,1,1,0,0,20260202,20260215\n",
        calendar_dates="service_id,date,exception_type\ndaily,20260204,2\ndaily,20260207,1\ndaily,20260301,1\n",
    )
    assert _days(network, "20260201", 30) == ".xx.xxx.xxxxx...............x."
    assert network.active_trips(parse_service_date("20260202")).tolist() == [0, 1, 2]
    assert len(network.active_trips(1)) == 0
    assert findings.count("never_active") == 0


def test_calendar_dates_alone(compile_files: Compile) -> None:
    network, _ = compile_files(calendar=None, calendar_dates="service_id,date,exception_type\ndaily,20260204,1\n")
    assert _days(network, "20260203", 3) == ".x."


def test_faults_of_the_calendar(compile_files: Compile, files: dict[str, str]) -> None:
    with pytest.raises(GtfsError, match=r"neither calendar.txt nor calendar_dates.txt"):
        compile_files(calendar=None)
    network, findings = compile_files(calendar=CALENDAR + "daily,1,1,1,1,1,1,1,20260202,20260201\n")
    assert findings.count("dates_reversed") == 1
    assert findings.count("unknown_service") == 3
    assert _days(network, "20260201", 3) == "..."
    network, findings = compile_files(calendar=CALENDAR + "daily,1,1,1,1,1,1,1,00010101,99991231\n")
    assert findings.count("bad_value") == 2
    _, findings = compile_files(calendar=files["calendar.txt"] + "other,0,0,0,0,0,0,0,20260202,20260201\n")
    assert findings.count("dates_reversed") == 1


def test_agency_timezones(compile_files: Compile) -> None:
    header = "agency_id,agency_name,agency_timezone\n"
    _, findings = compile_files(agency=header + "a,A,Asia/Shanghai\nb,B,Asia/Tokyo\n")
    assert findings.count("several_timezones") == 1
    with pytest.raises(GtfsError, match="no time zone"):
        compile_files(agency=header + "a,A,Asia/Lanzhou\n")
    with pytest.raises(GtfsError, match="agency_timezone"):
        compile_files(agency=None)


def test_frequencies_become_runs() -> None:
    network = network_from_map(
        "A--B",
        {"1": "AB", "2": "BA"},
        trips=1,
        tables={
            "frequencies.txt": "trip_id,start_time,end_time,headway_secs,exact_times\n"
            "1-0,06:00:00,06:30:00,600,1\n1-0,07:00:00,07:30:00,900,0\n2-0,10:00:00,09:00:00,60,0\n9-9,1:0:0,2:0:0,6,0\n"
        },
    )
    trip = network.find_trip("1-0")
    assert trip is not None
    assert network.trip_starts(trip) == [21_600, 22_200, 22_800, 25_200, 26_100]
    assert network.trip_starts(trip + 1) == []
    assert network.frequency_exact.tolist() == [1, 0]
    run_s = int(network.departure_s[network.trip_rows(trip)][-1] - network.departure_s[network.trip_rows(trip)][0])
    assert network.last_time_s == max(26_100 + run_s, int(network.departure_s.max()))


def test_hostile_frequencies_do_not_fill_the_memory(compile_files: Compile) -> None:
    rows = "".join(f"1-0,{i // 60:02d}:{i % 60:02d}:00,168:00:00,1,0\n" for i in range(600))
    network, findings = compile_files(frequencies="trip_id,start_time,end_time,headway_secs,exact_times\n" + rows)
    assert findings.count("bad_frequency") == 599
    assert len(network.trip_starts(0)) == 604_800


def test_a_week_of_days() -> None:
    network = network_from_map("A--B", {"1": "AB"})
    day = date(2026, 1, 1)
    assert all(len(network.active_trips((day + timedelta(i)).toordinal())) == 3 for i in range(365))
    assert len(network.active_trips(date(2027, 1, 1).toordinal())) == 0
