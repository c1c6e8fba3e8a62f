"""A string-line (time-distance) picture of a route: each bus a line, bunches and gaps at a glance.

Drawn from the vehicle_locations and stop_visits of a replay, or of recorded positions with their labels; the timetable
lies grey beneath.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from busd.errors import FeedError
from gtfs.calendar import service_day_start
from gtfs.network import F64, I64, Network
from replay.logs import ordinal_of
from replay.plots import new_figure, show_clock

MAX_LABELS = 45
"""names of stops beside one panel"""
NEW_STROKE_S = 600.0
"""a bus that was not seen for so long begins a new stroke"""


@dataclass(frozen=True, eq=False)
class Strings:
    """Where the buses of a route were; parallel arrays by trip and time."""

    at: F64
    along_m: F64
    run: I64
    """number of the performed trip"""
    trip: I64
    day: I64


def read_strings(folder: Path, network: Network, route: int) -> Strings:
    """Rows of a replay's vehicle_locations that were in service on the route. `FeedError`."""
    path = folder / "vehicle_locations.csv.gz"
    wanted = ["event_timestamp", "service_date", "trip_id_performed", "trip_id_scheduled", "vehicle_id", "shape_dist_m"]
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=wanted)
    except (OSError, ValueError, EOFError) as error:
        raise FeedError(f"{path} cannot be read: {error}; the folder of a replay is expected") from None
    table = table[(table["trip_id_performed"] != "") & (table["shape_dist_m"] != "")]
    codes, ids = pd.factorize(table["trip_id_scheduled"])
    found = [network.find_trip(str(name)) for name in ids]
    trip_of = np.array([-1 if row is None else row for row in found] or [-1], np.int64)
    trip = trip_of[codes]
    on_route = (trip >= 0) & (network.pattern_route[network.trip_pattern[np.maximum(trip, 0)]] == route)
    table, trip = table[on_route], trip[on_route]
    if not len(table):
        raise FeedError(f"no bus was in service on {network.route_short_name[route]} in {folder}")
    time = pd.to_datetime(table["event_timestamp"], utc=True, format="ISO8601")
    at = np.asarray((time - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(1, "s"), np.float64)
    run = table.groupby(["service_date", "trip_id_performed", "vehicle_id"], sort=False).ngroup().to_numpy(np.int64)
    day_codes, days = pd.factorize(table["service_date"])
    day = np.array([ordinal_of(str(text)) for text in days], np.int64)[day_codes]
    along = pd.to_numeric(table["shape_dist_m"]).to_numpy(np.float64)
    order = np.lexsort((at, run))
    return Strings(at[order], along[order], run[order], trip[order], day[order])


def with_breaks(strings: Strings, here: I64) -> tuple[F64, F64]:
    """(time, distance) of the rows ``here`` as one polyline; NaN between runs and across long silences."""
    at, along, run = strings.at[here], strings.along_m[here], strings.run[here]
    breaks = np.flatnonzero((np.diff(run) != 0) | (np.diff(at) > NEW_STROKE_S)) + 1
    return np.insert(at, breaks, np.nan), np.insert(along, breaks, np.nan)


def draw(
    strings: Strings,
    network: Network,
    route: int,
    path: Path,
    first_at: float | None = None,
    last_at: float | None = None,
) -> dict[str, int]:
    """One panel a direction; returns trips and positions drawn. `FeedError` where nothing lies in the time given."""
    low = -np.inf if first_at is None else first_at
    high = np.inf if last_at is None else last_at
    inside = (strings.at >= low) & (strings.at <= high)
    if not inside.any():
        raise FeedError("no position of the route lies in that time")
    direction = network.pattern_direction[network.trip_pattern[strings.trip]]
    shown = sorted(set(direction[inside].tolist()))
    zone = ZoneInfo(network.timezone)
    span = max(low, float(strings.at[inside].min()) - 600), min(high, float(strings.at[inside].max()) + 600)
    figure = new_figure(16, 5 * len(shown))
    for row, which in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, row + 1)
        here = np.flatnonzero(inside & (direction == which))
        for at, along in _planned(strings, network, here, span):
            axes.plot(_clock(at, zone), along, color="0.8", linewidth=0.7)
        at, along = with_breaks(strings, here)
        axes.plot(_clock(at, zone), along, color="tab:blue", linewidth=1.1)
        pattern = int(np.bincount(network.trip_pattern[strings.trip[here]]).argmax())
        stops = network.pattern_rows(pattern)
        names = [network.stop_name[int(stop)] for stop in network.pattern_stop[stops]]
        metres = network.pattern_stop_m[stops]
        step = max(1, len(names) // 30)
        axes.set_yticks(metres[::step], names[::step], fontsize=6)
        headsign = network.headsign[
            int(network.trip_headsign[network.pattern_trip[network.pattern_trip_offset[pattern]]])
        ]
        axes.set_title(f"{network.route_short_name[route]} {headsign}".strip())
        begin, end = _clock(np.array(span), zone).tolist()
        axes.set_xlim(begin, end)
        show_clock(axes)
        axes.grid(alpha=0.2)
    figure.savefig(path, dpi=120)
    return {"trips": len(np.unique(strings.run[inside])), "positions": int(inside.sum())}


def _apart(metres: F64, least_m: float) -> list[int]:
    """Stops whose names do not lie on each other; the last one always has its name."""
    kept = [0]
    for k in range(1, len(metres)):
        if metres[k] - metres[kept[-1]] >= least_m:
            kept.append(k)
    if metres[-1] - metres[kept[-1]] < least_m and len(kept) > 1:
        kept.pop()
    return kept if kept[-1] == len(metres) - 1 else [*kept, len(metres) - 1]


def _planned(strings: Strings, network: Network, here: I64, span: tuple[float, float]) -> list[tuple[F64, F64]]:
    """The timetable of all trips of the drawn patterns on the drawn days."""
    lines = []
    for pattern in np.unique(network.trip_pattern[strings.trip[here]]).tolist():
        trips = network.pattern_trip[network.pattern_trip_offset[pattern] : network.pattern_trip_offset[pattern + 1]]
        metres = network.pattern_stop_m[network.pattern_rows(pattern)]
        for day in np.unique(strings.day[here]).tolist():
            start = service_day_start(int(day), network.timezone)
            active = network.active_services(int(day))
            for trip in trips[active[network.trip_service[trips]]].tolist():
                at = start + network.arrival_s[network.trip_rows(trip)].astype(np.float64)
                if at[-1] >= span[0] and at[0] <= span[1]:
                    lines.append((at, metres))
    return lines


def _clock(at: F64, zone: ZoneInfo) -> F64:
    """Local clock times as matplotlib counts them, in days since 1970; NaN stays."""
    whole = np.unique(at[np.isfinite(at)] // 900.0)  # offsets change on quarters of an hour only
    offset = np.array([_offset_s(float(quarter) * 900.0, zone) for quarter in whole] or [0.0])
    row = np.minimum(np.searchsorted(whole, np.nan_to_num(at) // 900.0), len(offset) - 1)
    days: F64 = (at + offset[row]) / 86_400.0
    return days


def _offset_s(at: float, zone: ZoneInfo) -> float:
    offset = dt.datetime.fromtimestamp(at, zone).utcoffset()
    return offset.total_seconds() if offset is not None else 0.0
