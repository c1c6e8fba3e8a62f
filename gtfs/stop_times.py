"""stop_times.txt -> rows in trip and stop order with times that never go backwards; NaN-free, int32 throughout.

Missing times stay `MISSING` here: they are interpolated by distance once the stops are placed on the shapes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gtfs.archive import ReaderLimits
from gtfs.findings import EXAMPLES_KEPT
from gtfs.reader import Feed, row_in
from gtfs.schema import MISSING
from gtfs.stops import Stops
from gtfs.table import Table

I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass
class StopTimes:
    """Rows of trip i (a row of the table trips: ``trip_row[i]``) are ``offset[i]:offset[i + 1]``."""

    trip_row: I32
    offset: I64
    stop: I32
    arrival_s: I32
    departure_s: I32
    stop_sequence: I32
    timepoint: I8
    pickup_type: I8
    drop_off_type: I8
    headsign: I32
    """row of ``headsign_values``; the empty text where the row has none"""
    headsign_values: list[str]
    dist: F64
    """shape_dist_traveled, NaN unknown"""

    def trip_of_row(self) -> I32:
        return np.repeat(np.arange(len(self.trip_row), dtype=np.int32), np.diff(self.offset))


def build_stop_times(feed: Feed, stops: Stops, limits: ReaderLimits) -> StopTimes:
    """Cleans the table in place, then takes it apart; nothing of it is needed afterwards."""
    table, trips = feed["stop_times"], feed["trips"]
    trip = row_in(table.text.pop("trip_id"), trips.text["trip_id"])
    stop = stops.row_of[row_in(table.text.pop("stop_id"), feed["stops"].text["stop_id"])]
    table.number["trip"], table.number["stop"] = trip, stop
    if (stop < 0).any():  # a stop without coordinates: already counted
        table.take(stop >= 0)
    _sort(feed, table)
    _drop_unusable_trips(feed, table, limits)
    _complete_pairs(feed, table)
    _drop_trips_without_times(feed, table)
    offset = _offsets(table.number["trip"])
    _repair_backward(feed, table, offset)
    missing = table.number["arrival_time"] == MISSING
    _fill_ends(feed, table, offset)
    number = table.number
    headsign = table.text["stop_headsign"]
    given = number["timepoint"]
    return StopTimes(
        trip_row=number["trip"][offset[:-1]],
        offset=offset,
        stop=number["stop"],
        arrival_s=number["arrival_time"],
        departure_s=number["departure_time"],
        stop_sequence=number["stop_sequence"],
        # An empty timepoint beside a time means that the time is exact.
        timepoint=np.where(missing, 0, np.where(given == MISSING, 1, given)).astype(np.int8),
        pickup_type=number["pickup_type"].astype(np.int8),
        drop_off_type=number["drop_off_type"].astype(np.int8),
        headsign=headsign.code,
        headsign_values=headsign.values,
        dist=number["shape_dist_traveled"],
    )


def _sort(feed: Feed, table: Table) -> None:
    key = (table.number["trip"].astype(np.int64) << 32) | table.number["stop_sequence"]
    if not bool((key[1:] > key[:-1]).all()):
        trip, same = table.number["trip"], table.number["trip"][1:] == table.number["trip"][:-1]
        if bool((key[1:] < key[:-1])[same].any()) or int((~same).sum()) + 1 > len(np.unique(trip)):
            feed.findings.add("unsorted", table.filename)
        table.take(np.argsort(key, kind="stable"))


def _offsets(trip: I32) -> I64:
    starts = np.flatnonzero(np.diff(trip, prepend=-1))
    return np.append(starts, len(trip)).astype(np.int64)


def _drop_unusable_trips(feed: Feed, table: Table, limits: ReaderLimits) -> None:
    trips = feed["trips"]
    count = np.bincount(table.number["trip"], minlength=len(trips))
    ids = trips.text["trip_id"]
    trips.report(feed.findings, "short_trip", "trip_id", count < 2, lambda i: f"{ids[i]}: {count[i]} stop times")
    long = count > limits.stops_per_trip
    trips.report(feed.findings, "long_trip", "trip_id", long, lambda i: f"{ids[i]}: {count[i]} stop times")
    unusable = (count < 2) | long
    if unusable[table.number["trip"]].any():
        table.take(~unusable[table.number["trip"]])


def _complete_pairs(feed: Feed, table: Table) -> None:
    arrival, departure = table.number["arrival_time"], table.number["departure_time"]
    arrival = np.where(arrival == MISSING, departure, arrival)
    departure = np.where(departure == MISSING, arrival, departure)
    reversed_ = departure < arrival
    table.report(feed.findings, "departure_before_arrival", "departure_time", reversed_, lambda i: f"{departure[i]} s")
    table.number["arrival_time"], table.number["departure_time"] = arrival, np.maximum(arrival, departure)


def _drop_trips_without_times(feed: Feed, table: Table) -> None:
    trips = feed["trips"]
    trip = table.number["trip"]
    known = np.bincount(trip[table.number["arrival_time"] != MISSING], minlength=len(trips))
    present = np.bincount(trip, minlength=len(trips)) > 0
    ids = trips.text["trip_id"]
    if trips.report(feed.findings, "no_times", "trip_id", present & (known == 0), lambda i: ids[i]):
        table.take(known[trip] > 0)


def _repair_backward(feed: Feed, table: Table, offset: I64) -> None:
    """One wrong time must not move the right ones: the longest run of times in order stays, the rest is interpolated."""
    arrival, departure, trip = table.number["arrival_time"], table.number["departure_time"], table.number["trip"]
    known = np.flatnonzero(arrival != MISSING)
    back = (arrival[known[1:]] < departure[known[:-1]]) & (trip[known[1:]] == trip[known[:-1]])
    if not back.any():
        return
    broken = np.zeros(len(trip), np.bool_)
    for t in np.unique(np.searchsorted(offset, known[1:][back], "right") - 1).tolist():
        rows = np.arange(offset[t], offset[t + 1])
        rows = rows[arrival[rows] != MISSING]
        kept = set(_longest_in_order(arrival[rows].tolist()))
        broken[[row for k, row in enumerate(rows.tolist()) if k not in kept]] = True
        rows = rows[~broken[rows]]
        departure[rows[:-1]] = np.minimum(departure[rows[:-1]], arrival[rows[1:]])
    table.report(feed.findings, "backward_time", "arrival_time", broken, lambda i: f"{arrival[i]} s")
    arrival[broken] = departure[broken] = MISSING


def _longest_in_order(values: list[int]) -> list[int]:
    """Places of a longest non-decreasing subsequence (patience sorting)."""
    tails: list[int] = []
    places: list[int] = []
    before: list[int] = []
    for i, value in enumerate(values):
        k = bisect_right(tails, value)
        before.append(places[k - 1] if k else -1)
        if k == len(tails):
            tails.append(value)
            places.append(i)
        else:
            tails[k], places[k] = value, i
    chain = [places[-1]]
    while before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return chain[::-1]


def _fill_ends(feed: Feed, table: Table, offset: I64) -> None:
    """A trip that starts or ends without a time stands still there: nothing better is known."""
    arrival, departure = table.number["arrival_time"], table.number["departure_time"]
    open_ends = (arrival[offset[:-1]] == MISSING) | (arrival[offset[1:] - 1] == MISSING)
    examples: list[tuple[int | None, str]] = []
    for t in np.flatnonzero(open_ends).tolist():
        rows = np.arange(offset[t], offset[t + 1])
        known = rows[arrival[rows] != MISSING]
        if arrival[rows[0]] == MISSING:
            arrival[rows[0]] = departure[rows[0]] = arrival[known[0]]
        if arrival[rows[-1]] == MISSING:
            arrival[rows[-1]] = departure[rows[-1]] = departure[known[-1]]
        if len(examples) < EXAMPLES_KEPT:
            examples.append((int(table.row[rows[0]]), ""))
    feed.findings.add_many("end_without_time", table.filename, "arrival_time", int(open_ends.sum()), examples)


def interpolate_times(times: StopTimes, metres: F64) -> None:
    """Fills missing times in proportion to the distance (``metres`` along the trip, a row each), in place."""
    missing = np.flatnonzero(times.arrival_s == MISSING)
    if len(missing) == 0:
        return
    known = np.flatnonzero(times.arrival_s != MISSING)
    # Every trip has times at both ends, so the neighbours among the known rows are of the same trip.
    after = np.searchsorted(known, missing)
    left, right = known[after - 1], known[after]
    span_m = metres[right] - metres[left]
    by_count = (missing - left) / (right - left)
    share = np.where(span_m > 0, (metres[missing] - metres[left]) / np.where(span_m > 0, span_m, 1.0), by_count)
    start = times.departure_s[left].astype(np.float64)
    filled = np.rint(start + share * (times.arrival_s[right] - start)).astype(np.int32)
    times.arrival_s[missing] = filled
    times.departure_s[missing] = filled
