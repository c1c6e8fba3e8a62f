"""Real timetables: counts, gtfs_kit as the oracle, sane geometry; the feeds are skipped where they are absent."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import gtfs_kit
import numpy as np

import gtfs
from gtfs.calendar import format_service_date

COUNTS = {
    "wmata-2026-02-16/gtfs.zip": (332, 462, 25_448, 10),
    "capmetro-2015/gtfs-2015-03-07.zip": (2398, 1309, 60_718, 97),
    "capmetro-2015/gtfs-2015-06-07.zip": (2398, 1306, 57_970, 92),
    "nyc-b63/gtfs.zip": (115, 735, 41_327, 6),
    "metrotransit-2019/gtfs.zip": (71, 185, 6588, 6),
}


def test_counts(real_feed: Path) -> None:
    network, findings = gtfs.compile_feed(real_feed)
    found = (len(network.stop_id), len(network.trip_id), len(network.arrival_s), len(network.pattern_route))
    assert found == COUNTS["/".join(real_feed.parts[-2:])]
    assert findings.usable


def test_geometry(real_feed: Path) -> None:
    network, _ = gtfs.compile_feed(real_feed)
    for shape in range(len(network.shape_id)):
        rows = network.shape_rows(shape)
        assert len(network.shape_m[rows]) >= 2
        planar = np.hypot(np.diff(network.shape_x[rows]), np.diff(network.shape_y[rows]))
        assert np.abs(planar - np.diff(network.shape_m[rows])).max() < 0.01
    far = 0
    for pattern in range(len(network.pattern_route)):
        rows = network.pattern_rows(pattern)
        metres = network.pattern_stop_m[rows]
        assert (np.diff(metres) >= 0).all()
        shape = network.shape_rows(int(network.pattern_shape[pattern]))
        assert metres[0] >= 0 and metres[-1] <= network.shape_m[shape][-1] + 1e-6
        x = np.interp(metres, network.shape_m[shape], network.shape_x[shape])
        y = np.interp(metres, network.shape_m[shape], network.shape_y[shape])
        stop = network.pattern_stop[rows]
        offset = np.hypot(x - network.stop_x[stop], y - network.stop_y[stop])
        assert np.abs(offset - network.pattern_stop_offset_m[rows]).max() < 0.01
        # A stop is placed far off only where the shape passes it closely at the wrong end alone.
        ladder = np.arange(0, network.shape_m[shape][-1], 5.0)
        ladder_x = np.interp(ladder, network.shape_m[shape], network.shape_x[shape])
        ladder_y = np.interp(ladder, network.shape_m[shape], network.shape_y[shape])
        nearest = np.hypot(ladder_x - network.stop_x[stop][:, None], ladder_y - network.stop_y[stop][:, None]).min(1)
        far += int((offset > nearest + 60).sum())
    assert far <= 0.002 * len(network.pattern_stop)


def test_stop_times_as_gtfs_kit_reads_them(real_feed: Path) -> None:
    network, _ = gtfs.compile_feed(real_feed)
    oracle = gtfs_kit.read_feed(real_feed, dist_units="km").stop_times
    oracle = oracle.sort_values(["trip_id", "stop_sequence"])
    by_trip = {str(trip): rows for trip, rows in oracle.groupby("trip_id")}
    assert set(by_trip) == set(network.trip_id)
    for trip, trip_id in enumerate(network.trip_id):
        rows, mine = by_trip[trip_id], network.trip_rows(trip)
        stops = [
            network.stop_id[s]
            for s in network.pattern_stop[network.pattern_rows(int(network.trip_pattern[trip]))].tolist()
        ]
        assert stops == rows.stop_id.astype(str).tolist()
        assert network.stop_sequence[mine].tolist() == rows.stop_sequence.tolist()
        assert network.departure_s[mine].tolist() == [_seconds(str(text)) for text in rows.departure_time]


def test_active_trips_as_gtfs_kit_counts_them(real_feed: Path) -> None:
    network, _ = gtfs.compile_feed(real_feed)
    feed = gtfs_kit.read_feed(real_feed, dist_units="km")
    days = feed.get_dates()
    for day in days[:: max(1, len(days) // 12)]:
        ordinal = date(int(day[:4]), int(day[4:6]), int(day[6:])).toordinal()
        assert format_service_date(ordinal) == day
        mine = {network.trip_id[t] for t in network.active_trips(ordinal).tolist()}
        assert mine == set(feed.get_trips(day).trip_id.astype(str))


def _seconds(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return hours * 3600 + minutes * 60 + seconds
