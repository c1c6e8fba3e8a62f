from __future__ import annotations

import pytest

from gtfs.calendar import service_day_start
from replay.city.timetable import Plan, make_plan

DAY = "20260302"


@pytest.fixture(scope="session")
def plan() -> Plan:
    return make_plan(seed=7)


@pytest.fixture(scope="session")
def midnight() -> float:
    """Second 0 of the service day of these tests, a Monday."""
    return service_day_start(DAY, "Asia/Shanghai")
