"""Files and columns of GTFS Schedule as data: what is read, its type, default, whether needed, and what it refers to.

Source: GTFS Schedule reference (gtfs.org). Only what a Network needs is listed, so nothing else is ever parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum, auto


class Kind(Enum):
    ID = auto()  # text that joins tables; "NA" is an id like any other
    TEXT = auto()
    COLOR = auto()  # six hex digits
    INT = auto()
    FLOAT = auto()
    TIME = auto()  # H:MM:SS of the service day -> seconds; may pass 24:00:00
    DATE = auto()  # YYYYMMDD -> proleptic ordinal


MISSING = -(2**31)
"""An INT, TIME or DATE that is empty and has no default."""

MAX_TIME_S = 7 * 86400
"""Times beyond a week of the service day are garbage, not trips."""


@dataclass(frozen=True)
class Column:
    """``default`` stands for an empty or absent field: text for texts, a number for numbers (None: `MISSING`, NaN).

    ``required``: a row without it is left out, and a file without the column cannot be used.
    ``parent``: (file, column) whose values it must be one of.
    """

    name: str
    kind: Kind
    default: str | float | None = None
    required: bool = False
    low: float | None = None
    high: float | None = None
    parent: tuple[str, str] | None = None


@dataclass(frozen=True)
class File:
    """``key``: columns that tell the rows apart; the first row of a key counts. ``required``: no feed without it."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    required: bool = False

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def _id(name: str, *, required: bool = False, parent: tuple[str, str] | None = None) -> Column:
    return Column(name, Kind.ID, "", required, parent=parent)


def _text(name: str, default: str = "") -> Column:
    return Column(name, Kind.TEXT, default)


def _date(name: str) -> Column:
    """Dates outside of two centuries are garbage; one of the year 1 would make a calendar of 700,000 days."""
    return Column(name, Kind.DATE, None, True, date(1980, 1, 1).toordinal(), date(2179, 12, 31).toordinal())


def _int(name: str, default: float | None, low: float, high: float, *, required: bool = False) -> Column:
    return Column(name, Kind.INT, default, required, low, high)


DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SEQUENCE_MAX = 2**31 - 1

FILES: tuple[File, ...] = (
    File("agency", (_id("agency_id"), _text("agency_name"), _text("agency_timezone"), _text("agency_lang"))),
    File("feed_info", (_text("feed_lang"), _text("default_lang"), _text("feed_version"))),
    File(
        "stops",
        (
            _id("stop_id", required=True),
            _text("stop_code"),
            _text("stop_name"),
            Column("stop_lat", Kind.FLOAT, low=-90.0, high=90.0),
            Column("stop_lon", Kind.FLOAT, low=-180.0, high=180.0),
            _int("location_type", 0, 0, 4),
            _id("parent_station", parent=("stops", "stop_id")),
            _int("wheelchair_boarding", 0, 0, 2),
        ),
        key=("stop_id",),
        required=True,
    ),
    File(
        "routes",
        (
            _id("route_id", required=True),
            _text("route_short_name"),
            _text("route_long_name"),
            _int("route_type", 3, 0, 1999),
            Column("route_color", Kind.COLOR, "FFFFFF"),
            Column("route_text_color", Kind.COLOR, "000000"),
            _int("route_sort_order", _SEQUENCE_MAX, 0, _SEQUENCE_MAX),
        ),
        key=("route_id",),
        required=True,
    ),
    File(
        "calendar",
        (
            _id("service_id", required=True),
            *(_int(day, None, 0, 1, required=True) for day in DAYS),
            _date("start_date"),
            _date("end_date"),
        ),
        key=("service_id",),
    ),
    File(
        "calendar_dates",
        (
            _id("service_id", required=True),
            _date("date"),
            _int("exception_type", None, 1, 2, required=True),
        ),
        key=("service_id", "date"),
    ),
    File(
        "shapes",
        (
            _id("shape_id", required=True),
            Column("shape_pt_lat", Kind.FLOAT, required=True, low=-90.0, high=90.0),
            Column("shape_pt_lon", Kind.FLOAT, required=True, low=-180.0, high=180.0),
            _int("shape_pt_sequence", None, 0, _SEQUENCE_MAX, required=True),
            Column("shape_dist_traveled", Kind.FLOAT, low=0.0),
        ),
        key=("shape_id", "shape_pt_sequence"),
    ),
    File(
        "trips",
        (
            _id("trip_id", required=True),
            _id("route_id", required=True, parent=("routes", "route_id")),
            _id("service_id", required=True),
            _text("trip_headsign"),
            _int("direction_id", -1, 0, 1),
            _id("block_id"),
            _id("shape_id", parent=("shapes", "shape_id")),
            _int("wheelchair_accessible", 0, 0, 2),
        ),
        key=("trip_id",),
        required=True,
    ),
    File(
        "stop_times",
        (
            _id("trip_id", required=True, parent=("trips", "trip_id")),
            _int("stop_sequence", None, 0, _SEQUENCE_MAX, required=True),
            _id("stop_id", required=True, parent=("stops", "stop_id")),
            Column("arrival_time", Kind.TIME),
            Column("departure_time", Kind.TIME),
            _text("stop_headsign"),
            _int("pickup_type", 0, 0, 3),
            _int("drop_off_type", 0, 0, 3),
            _int("timepoint", None, 0, 1),
            Column("shape_dist_traveled", Kind.FLOAT, low=0.0),
        ),
        key=("trip_id", "stop_sequence"),
        required=True,
    ),
    File(
        "frequencies",
        (
            _id("trip_id", required=True, parent=("trips", "trip_id")),
            Column("start_time", Kind.TIME, required=True),
            Column("end_time", Kind.TIME, required=True),
            _int("headway_secs", None, 1, MAX_TIME_S, required=True),
            _int("exact_times", 0, 0, 1),
        ),
        key=("trip_id", "start_time"),
    ),
    File(
        "translations",
        (
            _text("table_name"),
            _text("field_name"),
            _text("language"),
            _text("translation"),
            _id("record_id"),
            _id("record_sub_id"),
            _text("field_value"),
            # the columns of Google's extension that came before the standard
            _text("trans_id"),
            _text("lang"),
        ),
    ),
)
"""In the order of reading: parents before children."""

FILE: dict[str, File] = {file.name: file for file in FILES}
