"""Network: the timetable as immutable flat arrays, written once and memory-mapped at every start.

Strings are kept apart from numbers (`Strings`: one blob and offsets), so that a start costs milliseconds whatever the
feed's size. ``_idx`` values are row numbers; -1 means none. Rows of one kind that belong to a parent are addressed by
offsets: rows of parent i are ``offset[i]:offset[i + 1]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gtfs.frame import Frame
from gtfs.strings import Strings, Translations

I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Network:
    """See the comment beside each array: key -> meaning."""

    digest: str  # sha256 (hex) of the feed's bytes and the compiler's version
    timezone: str  # of all times (agency_timezone; GTFS allows one)
    agency_name: str
    feed_version: str
    default_lang: str  # BCP 47 tag of the untranslated texts, "und" where the feed does not say
    frame_lat: float  # origin of the local frame
    frame_lon: float
    lang: Strings  # languages of the translations, BCP 47
    # stops (and stations, entrances: stop_location_type) ---------------------------------------------
    stop_id: Strings
    stop_code: Strings
    stop_name: Strings
    stop_name_translation: Translations
    stop_lat: F64
    stop_lon: F64
    stop_x: F64  # stop -> metres east in the network's local frame (frame.py)
    stop_y: F64  # stop -> metres north
    stop_location_type: I8  # 0 stop, 1 station, 2 entrance, 3 node, 4 boarding area
    stop_parent: I32  # stop -> station, -1 none
    stop_wheelchair: I8  # 0 unknown, 1 yes, 2 no
    # routes ------------------------------------------------------------------------------------------
    route_id: Strings
    route_short_name: Strings  # what is printed on the bus: else the long name, else route_id
    route_long_name: Strings
    route_long_name_translation: Translations
    route_type: I32  # route -> GTFS route_type
    route_color: Strings  # six hex digits
    route_text_color: Strings
    route_sort_order: I32
    # headsigns: distinct destination texts -----------------------------------------------------------
    headsign: Strings
    headsign_translation: Translations
    # patterns: distinct (route, direction, shape, stops in order) ------------------------------------
    pattern_route: I32
    pattern_direction: I8  # pattern -> direction_id, -1 unknown
    pattern_shape: I32
    pattern_stop_offset: I64  # P+1
    pattern_stop: I32  # pattern position -> stop
    pattern_stop_m: F64  # pattern position -> metres along the shape, never decreasing
    pattern_stop_offset_m: F64  # pattern position -> metres from the stop to its place on the shape
    pattern_link: I32  # pattern position k -> link from k to k+1; -1 at the last
    pattern_trip_offset: I64  # P+1
    pattern_trip: I32  # trips of the pattern by first departure
    # calls: the pattern positions at a stop ----------------------------------------------------------
    stop_call_offset: I64  # N+1
    stop_call_pattern: I32
    stop_call_pos: I32  # stop_pos in that pattern
    # shapes: polylines; straight lines between the stops where the feed has none ---------------------
    shape_id: Strings  # "" where made up
    shape_offset: I64  # G+1; at least two points each
    shape_x: F64
    shape_y: F64
    shape_m: F64  # shape point -> haversine metres from the shape's start
    shape_lat: F64
    shape_lon: F64
    # links: ordered pairs of neighbouring stops that patterns run over -------------------------------
    link_from: I32
    link_to: I32
    # trips -------------------------------------------------------------------------------------------
    trip_id: Strings
    trip_pattern: I32
    trip_service: I32
    trip_block: I32  # -1 none
    trip_headsign: I32
    trip_wheelchair: I8  # 0 unknown, 1 yes, 2 no
    trip_time_offset: I64  # T+1: rows of the stop_times arrays
    # stop times (in pattern order; row trip_time_offset[t] + stop_pos) -------------------------------
    arrival_s: I32  # seconds of the service day, interpolated where the feed is empty
    departure_s: I32
    stop_sequence: I32  # the GTFS value
    timepoint: I8  # 1 exact, 0 approximate or interpolated
    pickup_type: I8
    drop_off_type: I8
    time_headsign: I32  # stop_headsign, else the trip's
    # blocks ------------------------------------------------------------------------------------------
    block_id: Strings
    block_trip_offset: I64  # B+1
    block_trip: I32  # trips of the block by first departure (of all services)
    # services ----------------------------------------------------------------------------------------
    service_id: Strings
    service_first_day: int  # proleptic ordinal of column 0 of service_active
    service_active: Bool  # [service, day] -> runs that day
    # frequencies.txt ---------------------------------------------------------------------------------
    frequency_trip: I32
    frequency_start_s: I32
    frequency_end_s: I32
    frequency_headway_s: I32
    frequency_exact: I8  # exact_times

    # ---- rows by id ---------------------------------------------------------------------------------

    def find_stop(self, stop_id: str) -> int | None:
        return self.stop_id.find(stop_id)

    def find_route(self, route_id: str) -> int | None:
        return self.route_id.find(route_id)

    def find_trip(self, trip_id: str) -> int | None:
        return self.trip_id.find(trip_id)

    # ---- texts --------------------------------------------------------------------------------------

    def stop_text(self, stop_idx: int) -> dict[str, str]:
        """BCP 47 tag -> stop_name; the feed's default language comes first."""
        return self._text(self.stop_name, self.stop_name_translation, stop_idx)

    def headsign_text(self, headsign_idx: int) -> dict[str, str]:
        """BCP 47 tag -> destination."""
        return self._text(self.headsign, self.headsign_translation, headsign_idx)

    def route_text(self, route_idx: int) -> dict[str, str]:
        """BCP 47 tag -> route_long_name (may be empty in the default language)."""
        return self._text(self.route_long_name, self.route_long_name_translation, route_idx)

    def _text(self, base: Strings, translation: Translations, i: int) -> dict[str, str]:
        texts = {self.default_lang: base[i]}
        for lang, text in translation.of(i):
            texts[self.lang[lang]] = text
        return texts

    # ---- the local frame ----------------------------------------------------------------------------

    @cached_property
    def frame(self) -> Frame:
        """Converts between latitude/longitude and the network's metres (``stop_x``, ``shape_x`` ...)."""
        return Frame(self.frame_lat, self.frame_lon)

    # ---- rows of a parent ---------------------------------------------------------------------------

    def pattern_rows(self, pattern_idx: int) -> slice:
        """Rows of ``pattern_stop``, ``pattern_stop_m``, ``pattern_link``."""
        return slice(int(self.pattern_stop_offset[pattern_idx]), int(self.pattern_stop_offset[pattern_idx + 1]))

    def shape_rows(self, shape_idx: int) -> slice:
        """Rows of ``shape_x``, ``shape_y``, ``shape_m``, ``shape_lat``, ``shape_lon``."""
        return slice(int(self.shape_offset[shape_idx]), int(self.shape_offset[shape_idx + 1]))

    def trip_rows(self, trip_idx: int) -> slice:
        """Rows of ``arrival_s`` and the other stop times."""
        return slice(int(self.trip_time_offset[trip_idx]), int(self.trip_time_offset[trip_idx + 1]))

    def calls_at(self, stop_idx: int) -> Iterator[tuple[int, int]]:
        """(pattern, stop_pos) of every visit to the stop; one pattern may call twice."""
        rows = slice(int(self.stop_call_offset[stop_idx]), int(self.stop_call_offset[stop_idx + 1]))
        return zip(self.stop_call_pattern[rows].tolist(), self.stop_call_pos[rows].tolist())

    def block_trips(self, block_idx: int) -> I32:
        return self.block_trip[self.block_trip_offset[block_idx] : self.block_trip_offset[block_idx + 1]]

    # ---- the calendar -------------------------------------------------------------------------------

    def active_services(self, day: int) -> Bool:
        """Service -> runs on ``day`` (proleptic ordinal, `datetime.date.toordinal`)."""
        column = day - self.service_first_day
        if not 0 <= column < self.service_active.shape[1]:
            return np.zeros(len(self.service_id), np.bool_)
        return self.service_active[:, column]

    def active_trips(self, day: int) -> I32:
        """Ascending rows of the trips that run on the service day ``day`` (proleptic ordinal)."""
        return np.flatnonzero(self.active_services(day)[self.trip_service]).astype(np.int32)

    def trip_starts(self, trip_idx: int) -> list[int]:
        """Seconds of the service day at which the runs of a frequency trip leave their first stop; [] otherwise.

        A run's times are ``departure_s - departure_s[first stop] + start``. Headways of exact_times=0 are only a
        promise; its runs are still listed, because something must carry the boards' scheduled rows.
        """
        return self._starts.get(trip_idx, [])

    @cached_property
    def _starts(self) -> dict[int, list[int]]:
        starts: dict[int, set[int]] = {}
        columns = (self.frequency_trip, self.frequency_start_s, self.frequency_end_s, self.frequency_headway_s)
        for trip, start, end, headway in zip(*(column.tolist() for column in columns)):
            starts.setdefault(trip, set()).update(range(start, end, headway))
        return {trip: sorted(runs) for trip, runs in starts.items()}

    @cached_property
    def last_time_s(self) -> int:
        """The largest second of a service day at which something still runs: how long yesterday must be looked at."""
        latest = int(self.departure_s.max(initial=0))
        for trip, starts in self._starts.items():
            rows = self.trip_rows(trip)
            latest = max(latest, starts[-1] + int(self.departure_s[rows][-1] - self.departure_s[rows][0]))
        return latest

    # ---- files --------------------------------------------------------------------------------------

    def save(self, directory: Path | str) -> None:
        """Writes one ``.npy`` file an array and ``network.json`` into ``directory`` (made if absent)."""
        from gtfs.files import save_network

        save_network(self, Path(directory))

    @classmethod
    def load(cls, directory: Path | str) -> Network:
        """Memory-maps what `save` wrote. Raises `GtfsError` where files are missing, damaged or of another version."""
        from gtfs.files import load_network

        return load_network(Path(directory))
