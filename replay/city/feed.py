"""The plan as a GTFS zip: the same plan and timezone give the same bytes."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from replay.city.plan import Pattern, Service, line_text
from replay.city.timetable import Plan, is_timepoint

SHANGHAI = "Asia/Shanghai"
_FIRST_DAY, _LAST_DAY, _DAY_AFTER = "20240101", "20351230", "20351231"
_ZIP_TIME = (2024, 1, 1, 0, 0, 0)
Row = Sequence[object]


def choose_timezone(now_epoch: float) -> str:
    """The time zone in which the demo city lies, so that whoever starts it sees a working day.

    Asia/Shanghai while it is 06:30 to 20:00 there; at night there the city moves to the Etc/GMT zone (whole hours; its
    sign is the reverse of the usual) where it is between 07:30 and 08:30 now. Only the demo may do such a thing.
    """
    local = datetime.fromtimestamp(now_epoch, ZoneInfo(SHANGHAI))
    if 6 * 60 + 30 <= local.hour * 60 + local.minute < 20 * 60:
        return SHANGHAI
    utc_s = now_epoch % 86400
    offset_h = round((8 * 3600 - utc_s) / 3600)
    offset_h = offset_h + 24 if offset_h < -12 else offset_h
    return f"Etc/GMT{-offset_h:+d}" if offset_h else "Etc/GMT"


def write_feed(plan: Plan, path: Path, timezone: str = SHANGHAI) -> None:
    """Writes the zip; its folder must exist."""
    path.write_bytes(feed_bytes(plan, timezone))


def feed_bytes(plan: Plan, timezone: str = SHANGHAI) -> bytes:
    """The zip as bytes. ``timezone`` is agency_timezone; the wall-clock timetable is the same in each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, header, rows in _tables(plan, timezone):
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(header.split(","))
            writer.writerows(rows)
            info = zipfile.ZipInfo(name, date_time=_ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, text.getvalue().encode("utf-8"), compresslevel=6)
    return buffer.getvalue()


def _hms(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _degrees(value: float) -> str:
    return f"{value:.6f}"


def _tables(plan: Plan, timezone: str) -> Iterable[tuple[str, str, Iterable[Row]]]:
    city = plan.city
    yield (
        "agency.txt",
        "agency_id,agency_name,agency_url,agency_timezone,agency_lang",
        [("LZ", "兰州公交（模拟）", "https://example.org/", timezone, "zh-Hans")],
    )
    yield (
        "stops.txt",
        "stop_id,stop_code,stop_name,stop_lat,stop_lon,location_type,platform_code,wheelchair_boarding",
        [(s.stop_id, s.stop_id, s.text["zh-Hans"], *map(_degrees, s.lat_lon), 0, s.platform, 1) for s in city.stops],
    )
    yield (
        "routes.txt",
        "route_id,agency_id,route_short_name,route_long_name,route_type,route_color,route_text_color,route_sort_order",
        [
            (line.line_id, "LZ", line.number, line_text(line)["zh-Hans"], 3, line.color, "FFFFFF", order)
            for order, line in enumerate(city.lines, 1)
        ],
    )
    yield (
        "trips.txt",
        "route_id,service_id,trip_id,trip_headsign,direction_id,block_id,shape_id,wheelchair_accessible",
        [
            (t.pattern.line.line_id, "daily", t.trip_id, t.pattern.headsign["zh-Hans"], t.pattern.direction, t.block_id,
             t.pattern.pattern_id, 1)
            for t in plan.trips
        ],
    )  # fmt: skip
    yield "stop_times.txt", "trip_id,arrival_time,departure_time,stop_id,stop_sequence,timepoint", _stop_times(plan)
    yield (
        "calendar.txt",
        "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date",
        [("daily", 1, 1, 1, 1, 1, 1, 1, _FIRST_DAY, _LAST_DAY)],
    )
    yield "calendar_dates.txt", "service_id,date,exception_type", [("daily", _DAY_AFTER, 1)]
    yield "shapes.txt", "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence", _shapes(city.patterns)
    yield (
        "frequencies.txt",
        "trip_id,start_time,end_time,headway_secs,exact_times",
        [(f.trip.trip_id, _hms(f.start_s), _hms(f.end_s), f.headway_s, int(f.exact)) for f in plan.frequencies],
    )
    yield (
        "translations.txt",
        "table_name,field_name,language,translation,record_id,field_value",
        _translations(plan),
    )
    yield (
        "feed_info.txt",
        "feed_publisher_name,feed_publisher_url,feed_lang,default_lang,feed_start_date,feed_end_date,feed_version",
        [("busd demo city", "https://example.org/", "zh-Hans", "zh-Hans", _FIRST_DAY, _DAY_AFTER,
          f"simulated-{plan.seed}-{plan.buses}")],
    )  # fmt: skip


def _stop_times(plan: Plan) -> Iterable[Row]:
    for trip in plan.trips:
        for pos, stop in enumerate(trip.pattern.stops):
            yield (
                trip.trip_id,
                _hms(trip.arrivals[pos]),
                _hms(trip.departures[pos]),
                stop.stop_id,
                pos + 1,
                int(is_timepoint(trip.pattern, pos)),
            )


def _shapes(patterns: Iterable[Pattern]) -> Iterable[Row]:
    for pattern in patterns:
        for i, (lat, lon) in enumerate(pattern.path.lat_lon, 1):
            yield pattern.pattern_id, _degrees(lat), _degrees(lon), i


def _translations(plan: Plan) -> Iterable[Row]:
    """Stops and lines by record, headsigns by text: both forms that the standard has."""
    yield "agency", "agency_name", "en", "Lanzhou Bus (simulated)", "LZ", ""
    for stop in plan.city.stops:
        for language in ("en", "bo"):
            if language in stop.text:
                yield "stops", "stop_name", language, stop.text[language], stop.stop_id, ""
    for line in plan.city.lines:
        for language, text in line_text(line).items():
            if language != "zh-Hans":
                yield "routes", "route_long_name", language, text, line.line_id, ""
        if line.service is Service.NIGHT:
            yield "routes", "route_short_name", "en", "N1", line.line_id, ""
    headsigns = {pattern.headsign["zh-Hans"]: pattern.headsign for pattern in plan.city.patterns}
    for chinese, texts in headsigns.items():
        for language in ("en", "bo"):
            if language in texts:
                yield "trips", "trip_headsign", language, texts[language], "", chinese
