"""The words for what happens to a vehicle (after TheTransitClock's VehicleEvent list)."""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    FOUND = "found"
    """its first report, or the first after it was lost"""
    LOST = "lost"
    """no report for `Predicting.lost_s`"""
    ASSIGNED = "assigned"
    """it performs a run from now on"""
    TAKEN = "assignment taken"
    """another vehicle performs its run now"""
    CONFLICT = "conflict"
    """its source names a run that another vehicle performs"""
    NO_MATCH = "no match"
    """its source names a trip that is not in the timetable near this time"""
    OFF_ROUTE = "off route"
    BACK_ON_ROUTE = "back on route"
    DATUM = "datum suspect"
    """a source (the vehicle id is empty) looks like another datum than the configured one"""
