"""The truth of a replay: when each bus passed each stop, from its fixes on both sides of it.

For evaluation only: it looks at whole trips, so later fixes decide about earlier ones, and at the labels of the file,
which the engine may not have been told. It shares no code with the tracking it judges.

Nothing here measures an arrival. The bus was before the stop at one fix and at or past it at the next; the passage is
interpolated between them and ``bracket_s``, the time between the two, bounds its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from busd.errors import FeedError
from gtfs.calendar import service_day_start
from gtfs.network import F64, I64, Bool, Network
from replay.snapping import Line, most_likely_way

ARRIVE_ZONE_M = 20.0
"""the passage is the crossing of the point this far before the stop: a dwell just before it is not driving"""
DEPART_ZONE_M = 50.0
"""the first stop is left with the last fix within this distance of it"""
MAX_BRACKET_S = 300.0
IN_TRIP = ("", "In service", "Layover")
"""values of trip_type whose fixes belong to the labelled trip"""


@dataclass(frozen=True, eq=False)
class Passages:
    """One row a stop passed; parallel arrays. ``arrival_at`` is the departure where the stop is the first."""

    trip: I64
    day: I64
    """proleptic ordinal of the service date"""
    pos: I64
    vehicle: list[str]
    arrival_at: F64
    bracket_s: F64
    scheduled_at: F64
    first: Bool
    last: Bool

    def __len__(self) -> int:
        return len(self.trip)

    def where(self, keep: Bool) -> Passages:
        vehicle = [name for name, kept in zip(self.vehicle, keep.tolist()) if kept]
        times = self.arrival_at[keep], self.bracket_s[keep], self.scheduled_at[keep]
        return Passages(
            self.trip[keep], self.day[keep], self.pos[keep], vehicle, *times, self.first[keep], self.last[keep]
        )

    @property
    def run(self) -> I64:
        """Number of the dated trip of each row, 0 .. (bootstraps draw these)."""
        return np.unique(np.stack([self.day, self.trip]), axis=1, return_inverse=True)[1].reshape(-1)


@dataclass(frozen=True, eq=False)
class Fixes:
    """Labelled fixes of a file, by time (stable). ``trip`` -1: on no trip of the timetable."""

    at: F64
    lat: F64
    lon: F64
    trip: I64
    day: I64
    vehicle: I64
    vehicle_ids: list[str]

    def __len__(self) -> int:
        return len(self.at)


def read_fixes(path: Path, network: Network) -> Fixes:
    """TIDES vehicle_locations with its labels. Rows without time or place are left out. `FeedError` if unusable."""
    wanted = {
        "event_timestamp",
        "vehicle_id",
        "trip_id_scheduled",
        "latitude",
        "longitude",
        "service_date",
        "trip_type",
    }
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=lambda name: name in wanted)
    except (ValueError, OSError, EOFError) as error:
        raise FeedError(f"{path} cannot be read: {error}") from None
    lacking = {"event_timestamp", "vehicle_id", "trip_id_scheduled", "latitude", "longitude"} - set(table)
    if lacking:
        raise FeedError(f"{path} has no column {', '.join(sorted(lacking))}; labelled positions are expected")
    time = pd.to_datetime(table["event_timestamp"], utc=True, format="ISO8601", errors="coerce")
    at: F64 = np.asarray((time - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(1, "s"), np.float64)
    lat = pd.to_numeric(table["latitude"], errors="coerce").to_numpy(np.float64)
    lon = pd.to_numeric(table["longitude"], errors="coerce").to_numpy(np.float64)
    good = np.flatnonzero(np.isfinite(at) & np.isfinite(lat) & np.isfinite(lon))
    order = good[np.argsort(at[good], kind="stable")]
    codes, ids = pd.factorize(table["trip_id_scheduled"])
    rows = np.array([-1 if (row := network.find_trip(str(name))) is None else row for name in ids], np.int64)
    trip = rows[codes]
    if "trip_type" in table:
        trip = np.where(table["trip_type"].isin(IN_TRIP).to_numpy(), trip, -1)
    vehicle, vehicle_ids = pd.factorize(table["vehicle_id"])
    trip, vehicle = trip[order], vehicle.astype(np.int64)[order]
    day = _service_days(
        table["service_date"].to_numpy()[order] if "service_date" in table else None, trip, at[order], network
    )
    return Fixes(at[order], lat[order], lon[order], trip, day, vehicle, [str(name) for name in vehicle_ids])


def _service_days(labels: object, trip: I64, at: F64, network: Network) -> I64:
    """The labelled service date, else the day on which the trip runs nearest to the fix."""
    if labels is not None:
        codes, texts = pd.factorize(np.asarray(labels, object))
        parsed = pd.to_datetime(pd.Series(texts, dtype=str).str.replace("-", ""), format="%Y%m%d", errors="coerce")
        ordinals = np.array([-1 if pd.isna(day) else day.toordinal() for day in parsed], np.int64)
        if len(ordinals) and (ordinals >= 0).all():
            return ordinals[codes]
    local = pd.to_datetime(pd.Series(at), unit="s", utc=True).dt.tz_convert(network.timezone)
    today = np.array([day.toordinal() for day in local.dt.date], np.int64)
    if not len(network.arrival_s):
        return today
    begin = network.departure_s[network.trip_time_offset[np.maximum(trip, 0)]]
    starts = {int(day): service_day_start(int(day), network.timezone) for day in np.unique([*today, *(today - 1)])}
    away = [np.abs(at - begin - np.array([starts[int(d)] for d in days])) for days in (today, today - 1)]
    return np.where((trip >= 0) & (away[1] < away[0]), today - 1, today)


def derive_passages(fixes: Fixes, network: Network) -> Passages:
    """All passages of all labelled trips. Of several buses on one trip the one with most fixes counts."""
    by_vehicle = {int(v): rows for v, rows in _groups(fixes.vehicle, np.arange(len(fixes))) if len(rows)}
    chosen: dict[tuple[int, int], I64] = {}
    labelled = np.flatnonzero(fixes.trip >= 0)
    key = (fixes.day[labelled] * len(network.trip_id) + fixes.trip[labelled]) * max(len(fixes.vehicle_ids), 1)
    for _, rows in _groups(key + fixes.vehicle[labelled], labelled):
        run = int(fixes.day[rows[0]]), int(fixes.trip[rows[0]])
        if len(rows) > len(chosen.get(run, ())):
            chosen[run] = rows
    lines: dict[int, Line] = {}
    parts: list[tuple[int, int, int, I64, F64, F64]] = []
    for (day, trip), rows in sorted(chosen.items()):
        pattern = int(network.trip_pattern[trip])
        shape = int(network.pattern_shape[pattern])
        if shape < 0 or not network.shape_id[shape]:
            continue  # a line made up from stops is no road
        line = lines.get(shape) or lines.setdefault(shape, Line.of(network, shape))
        rows = rows[np.diff(fixes.at[rows], prepend=-np.inf) > 0]
        kept, along = most_likely_way(line, fixes.at[rows], fixes.lat[rows], fixes.lon[rows])
        if len(kept) < 2:
            continue
        bus = by_vehicle[int(fixes.vehicle[rows[0]])]
        stops = network.pattern_stop_m[network.pattern_rows(pattern)]
        at, along = _with_terminals(line, stops, fixes.at[rows][kept], along, fixes, bus)
        pos, when, bracket = passages_of(stops, at, along)
        parts.append((trip, day, int(fixes.vehicle[rows[0]]), pos, when, bracket))
    return _collect(parts, fixes, network)


def targets(stops_m: F64) -> F64:
    """Where along the line a passage of each stop counts; the first stop is its own place."""
    target = np.maximum(stops_m - ARRIVE_ZONE_M, stops_m[0] + 1.0)
    target[0] = stops_m[0]
    result: F64 = np.maximum.accumulate(target)
    return result


def passages_of(stops_m: F64, at: F64, along_m: F64) -> tuple[I64, F64, F64]:
    """(stop position, instant, bracket) of the stops that the fixes (rising in time and place) lie around."""
    target = targets(stops_m)
    ahead = np.searchsorted(along_m, target[1:], side="left")
    inside = np.flatnonzero((ahead > 0) & (ahead < len(along_m)))
    after = ahead[inside]
    before = after - 1
    share = (target[1:][inside] - along_m[before]) / (along_m[after] - along_m[before])
    bracket = at[after] - at[before]
    pos, when = inside + 1, at[before] + share * bracket
    left = int(np.searchsorted(along_m, stops_m[0] + DEPART_ZONE_M, side="right"))
    if 0 < left < len(at):
        pos, when = np.r_[0, pos], np.r_[at[left - 1], when]
        bracket = np.r_[at[left] - at[left - 1], bracket]
    near = bracket <= MAX_BRACKET_S
    return pos[near].astype(np.int64), when[near], bracket[near]


def _with_terminals(line: Line, stops_m: F64, at: F64, along_m: F64, fixes: Fixes, bus: I64) -> tuple[F64, F64]:
    """The bus's fix just before and just after the trip, whatever its label, if it stands at the first or last stop."""
    times = fixes.at[bus]
    before = int(np.searchsorted(times, at[0])) - 1
    after = int(np.searchsorted(times, at[-1], side="right"))
    if before >= 0 and along_m[0] > stops_m[0] and _away(line, stops_m[0], fixes, bus[before]) <= DEPART_ZONE_M:
        at, along_m = np.r_[times[before], at], np.r_[stops_m[0], along_m]
    if (
        after < len(times)
        and along_m[-1] < stops_m[-1]
        and _away(line, stops_m[-1], fixes, bus[after]) <= DEPART_ZONE_M
    ):
        at, along_m = np.r_[at, times[after]], np.r_[along_m, stops_m[-1]]
    return at, along_m


def _away(line: Line, metres: float, fixes: Fixes, row: int) -> float:
    x, y = line.place(fixes.lat[row : row + 1], fixes.lon[row : row + 1])
    to_x, to_y = line.at(metres)
    return float(np.hypot(x[0] - to_x, y[0] - to_y))


def _collect(parts: list[tuple[int, int, int, I64, F64, F64]], fixes: Fixes, network: Network) -> Passages:
    size = [len(part[3]) for part in parts]
    trip, day, vehicle = (np.repeat(np.array([part[k] for part in parts], np.int64), size) for k in range(3))
    none = np.zeros(0)
    pos = np.concatenate([part[3] for part in parts] or [np.zeros(0, np.int64)])
    when, bracket = (np.concatenate([part[k] for part in parts] or [none]) for k in (4, 5))
    begin = network.trip_time_offset[trip]
    first, last = pos == 0, pos == network.trip_time_offset[trip + 1] - begin - 1
    second = np.where(first, network.departure_s[begin + pos], network.arrival_s[begin + pos])
    starts = {int(d): service_day_start(int(d), network.timezone) for d in np.unique(day)}
    scheduled = np.array([starts[d] for d in day.tolist()], np.float64) + second
    names = [fixes.vehicle_ids[v] for v in vehicle.tolist()]
    return Passages(trip, day, pos, names, when, bracket, scheduled, first, last)


def _groups(key: I64, values: I64) -> list[tuple[int, I64]]:
    """(key, its values in their order), keys ascending."""
    order = np.argsort(key, kind="stable")
    edges = np.flatnonzero(np.diff(key[order], prepend=key[order][:1] - 1)) if len(key) else np.zeros(0, np.int64)
    parts = np.split(values[order], edges[1:])
    return [(int(key[order][edge]), part) for edge, part in zip(edges.tolist(), parts)]
