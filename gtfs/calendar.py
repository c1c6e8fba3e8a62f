"""The service day and the instants of its seconds.

GTFS counts times from "noon minus 12 h", which is midnight except on the two days a year when the clocks change; so
25:30:00 is a time of the service day that began yesterday, and no time of a timetable is ever ambiguous.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gtfs.errors import GtfsError

HALF_DAY_S = 43_200


def service_day_start(service_date: str | int, timezone: str) -> float:
    """Epoch second from which the times of the service day count: noon minus 12 h, local.

    ``service_date`` is YYYYMMDD or a proleptic ordinal. Raises `GtfsError` for no date or an unknown zone.
    """
    day = service_date if isinstance(service_date, int) else parse_service_date(service_date)
    return _day_start(day, timezone)


def service_day_at(epoch_s: float, timezone: str) -> int:
    """Ordinal of the service day that the instant belongs to by the calendar (no time past 24:00:00).

    Later seconds of the days before may fall on the same instant: look back `Network.last_time_s`.
    """
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=epoch_s)).astimezone(zone(timezone)).toordinal()
    # On a day of change the service day begins an hour before or after midnight.
    if epoch_s < _day_start(day, timezone):
        return day - 1
    return day + 1 if epoch_s >= _day_start(day + 1, timezone) else day


def seconds_of_day(epoch_s: float, service_date: str | int, timezone: str) -> float:
    """The instant in seconds of the service day; may be negative or beyond 86 400."""
    return epoch_s - service_day_start(service_date, timezone)


def parse_service_date(text: str) -> int:
    """YYYYMMDD -> proleptic ordinal. Raises `GtfsError`."""
    try:
        if len(text) != 8 or not (text.isascii() and text.isdigit()):
            raise ValueError(text)
        return date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal()
    except ValueError as error:
        raise GtfsError(f"{text[:20]!r} is no date of the form YYYYMMDD") from error


@lru_cache(maxsize=4096)
def format_service_date(day: int) -> str:
    """Proleptic ordinal -> YYYYMMDD."""
    return date.fromordinal(day).strftime("%Y%m%d").rjust(8, "0")


@lru_cache(maxsize=64)
def zone(timezone: str) -> ZoneInfo:
    """Raises `GtfsError` for a name that is not in the tz database."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise GtfsError(f"{timezone[:60]!r} is no time zone of the tz database") from error


@lru_cache(maxsize=4096)
def _day_start(day: int, timezone: str) -> float:
    return datetime.combine(date.fromordinal(day), datetime.min.time(), zone(timezone)).replace(
        hour=12
    ).timestamp() - float(HALF_DAY_S)
