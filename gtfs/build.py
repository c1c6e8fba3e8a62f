"""Typed tables -> Network: the stages in their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gtfs.archive import ReaderLimits
from gtfs.calendar import zone
from gtfs.errors import GtfsError
from gtfs.network import Network
from gtfs.patterns import build_links, build_patterns, grouped
from gtfs.reader import Feed, row_in
from gtfs.services import build_services
from gtfs.shapes import PlacedPatterns, place_patterns
from gtfs.stop_times import StopTimes, build_stop_times, interpolate_times
from gtfs.stops import Stops, build_stops
from gtfs.strings import Strings
from gtfs.texts import build_headsigns, build_texts, default_language

I32 = npt.NDArray[np.int32]


def build_network(feed: Feed, digest: str, limits: ReaderLimits | None = None) -> Network:
    """Uses the feed up (its tables are emptied on the way to keep memory low). Raises `GtfsError` for nothing to run."""
    limits = limits or ReaderLimits()
    timezone = _timezone(feed)
    services = build_services(feed, limits)
    stops = build_stops(feed)
    times = build_stop_times(feed, stops, limits)
    if len(times.trip_row) == 0:
        raise GtfsError("no trip of the feed is usable: each needs two stop times with a stop, a sequence and a time")
    patterns = build_patterns(feed, times)
    placed = place_patterns(feed, patterns, times, stops, limits)
    interpolate_times(times, _metres_of_rows(times, patterns.of_trip, patterns.stop_offset, placed))
    headsigns = build_headsigns(feed, times, stops)
    lang = default_language(feed)
    texts = build_texts(feed, times, stops, headsigns, lang)
    link, link_from, link_to = build_links(patterns.stop, patterns.stop_offset)
    first_departure = times.departure_s[times.offset[:-1]]
    pattern_trip_offset, pattern_trip = grouped(patterns.of_trip, len(patterns), first_departure)
    call_offset, call_row = grouped(patterns.stop, len(stops.ids))
    call_pattern = np.searchsorted(patterns.stop_offset, call_row, "right").astype(np.int32) - np.int32(1)
    trips = feed["trips"]
    block, block_ids = _blocks(feed, times)
    block_trip_offset, block_trip = grouped(block, len(block_ids), first_departure)
    service_row = np.array([services.row()[value] for value in trips.text["service_id"].values], np.int32)
    return Network(
        digest=digest,
        timezone=timezone,
        agency_name=next(iter(feed["agency"].text["agency_name"].to_list()), ""),
        feed_version=next(iter(feed["feed_info"].text["feed_version"].to_list()), ""),
        default_lang=lang,
        frame_lat=stops.frame.lat,
        frame_lon=stops.frame.lon,
        lang=texts.lang,
        stop_id=Strings.pack(stops.ids),
        stop_code=Strings.pack(stops.code),
        stop_name=Strings.pack(stops.name),
        stop_name_translation=texts.stop,
        stop_lat=stops.lat,
        stop_lon=stops.lon,
        stop_x=stops.x,
        stop_y=stops.y,
        stop_location_type=stops.location_type,
        stop_parent=stops.parent,
        stop_wheelchair=stops.wheelchair,
        **_routes(feed),
        route_long_name_translation=texts.route,
        headsign=Strings.pack(headsigns.text),
        headsign_translation=texts.headsign,
        pattern_route=patterns.route,
        pattern_direction=patterns.direction,
        pattern_shape=placed.line_of,
        pattern_stop_offset=patterns.stop_offset,
        pattern_stop=patterns.stop,
        pattern_stop_m=placed.stop_m,
        pattern_stop_offset_m=placed.stop_offset_m,
        pattern_link=link,
        pattern_trip_offset=pattern_trip_offset,
        pattern_trip=pattern_trip,
        stop_call_offset=call_offset,
        stop_call_pattern=call_pattern,
        stop_call_pos=(call_row - patterns.stop_offset[call_pattern]).astype(np.int32),
        **_shapes(placed, stops),
        link_from=link_from,
        link_to=link_to,
        trip_id=Strings.pack(trips.text["trip_id"].take(times.trip_row).to_list()),
        trip_pattern=patterns.of_trip,
        trip_service=service_row[trips.text["service_id"].code[times.trip_row]],
        trip_block=block,
        trip_headsign=headsigns.of_trip,
        trip_wheelchair=trips.number["wheelchair_accessible"][times.trip_row].astype(np.int8),
        trip_time_offset=times.offset,
        arrival_s=times.arrival_s,
        departure_s=times.departure_s,
        stop_sequence=times.stop_sequence,
        timepoint=times.timepoint,
        pickup_type=times.pickup_type,
        drop_off_type=times.drop_off_type,
        time_headsign=headsigns.of_row,
        block_id=Strings.pack(block_ids),
        block_trip_offset=block_trip_offset,
        block_trip=block_trip,
        service_id=Strings.pack(services.ids),
        service_first_day=services.first_day,
        service_active=services.active,
        **_frequencies(feed, times, limits),
    )


def _timezone(feed: Feed) -> str:
    agency = feed["agency"]
    zones = list(dict.fromkeys(name for name in agency.text["agency_timezone"].to_list() if name))
    if not zones:
        raise GtfsError("agency.txt names no agency_timezone: no time of the feed has a meaning")
    try:
        zone(zones[0])
    except GtfsError as error:
        raise GtfsError(f"agency.txt: {error}") from error
    if len(zones) > 1:
        feed.findings.add("several_timezones", agency.filename, None, "agency_timezone", ", ".join(zones))
    return zones[0]


def _metres_of_rows(times: StopTimes, of_trip: I32, stop_offset: npt.NDArray[np.int64], placed: PlacedPatterns) -> Any:
    """Row of stop_times -> metres along the shape."""
    trip = times.trip_of_row()
    position = np.arange(len(trip)) - times.offset[trip]
    return placed.stop_m[stop_offset[of_trip[trip]] + position]


def _routes(feed: Feed) -> dict[str, Any]:
    table = feed["routes"]
    ids, short, long = (table.text[n].to_list() for n in ("route_id", "route_short_name", "route_long_name"))
    color, text_color = table.text["route_color"].to_list(), table.text["route_text_color"].to_list()
    return {
        "route_id": Strings.pack(ids),
        "route_short_name": Strings.pack(s or name or route_id for s, name, route_id in zip(short, long, ids)),
        "route_long_name": Strings.pack(long),
        "route_type": table.number["route_type"],
        "route_color": Strings.pack(color),
        "route_text_color": Strings.pack(text_color),
        "route_sort_order": table.number["route_sort_order"],
    }


def _shapes(placed: PlacedPatterns, stops: Stops) -> dict[str, Any]:
    offset = np.zeros(len(placed.lines) + 1, np.int64)
    np.cumsum([len(line.m) for line in placed.lines], out=offset[1:])
    lat = np.concatenate([line.lat for line in placed.lines])
    lon = np.concatenate([line.lon for line in placed.lines])
    x, y = stops.frame.xy_array(lat, lon)
    return {
        "shape_id": Strings.pack(line.shape_id for line in placed.lines),
        "shape_offset": offset,
        "shape_x": x,
        "shape_y": y,
        "shape_m": np.concatenate([line.m for line in placed.lines]),
        "shape_lat": lat,
        "shape_lon": lon,
    }


def _blocks(feed: Feed, times: StopTimes) -> tuple[I32, list[str]]:
    codes = feed["trips"].text["block_id"]
    row: dict[str, int] = {}
    block = np.full(len(times.trip_row), -1, np.int32)
    for t, code in enumerate(codes.code[times.trip_row].tolist()):
        block_id = codes.values[code]
        if block_id:
            block[t] = row.setdefault(block_id, len(row))
    return block, list(row)


def _frequencies(feed: Feed, times: StopTimes, limits: ReaderLimits) -> dict[str, Any]:
    table = feed["frequencies"]
    row_of_trip = np.full(len(feed["trips"]), -1, np.int32)
    row_of_trip[times.trip_row] = np.arange(len(times.trip_row), dtype=np.int32)
    trip = row_in(table.text["trip_id"], feed["trips"].text["trip_id"])
    ids = table.text["trip_id"]
    bad = (row_of_trip[trip] < 0) | (table.number["end_time"] <= table.number["start_time"])
    # A headway of one second for a week, a thousand times: no timetable, but it would fill the memory.
    span_s = np.where(bad, 0, table.number["end_time"] - table.number["start_time"]).astype(np.int64)
    bad |= np.cumsum(span_s // table.number["headway_secs"] + 1) > limits.frequency_runs
    table.report(feed.findings, "bad_frequency", "trip_id", bad, lambda i: ids[i])
    good = ~bad
    return {
        "frequency_trip": row_of_trip[trip[good]],
        "frequency_start_s": table.number["start_time"][good],
        "frequency_end_s": table.number["end_time"][good],
        "frequency_headway_s": table.number["headway_secs"][good],
        "frequency_exact": table.number["exact_times"][good].astype(np.int8),
    }
