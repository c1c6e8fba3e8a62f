"""What the timetable has at one stop over several days, straight from the arrays: no service day is laid out for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gtfs.calendar import service_day_start
from gtfs.network import F64, I32, I64, Bool, Network

DAY_S = 86400.0


@dataclass(frozen=True)
class HeadwaySpan:
    """A promise of frequencies.txt (exact_times=0): a bus about every ``headway_s`` from ``from_at`` to ``to_at``."""

    route_idx: int
    headsign_idx: int
    from_at: int
    to_at: int
    headway_s: int


@dataclass(frozen=True, eq=False)
class StopDepartures:
    """Departures that riders may board, in the order of their times; three arrays of one length."""

    from_at: int
    to_at: int
    at: I64  # epoch seconds, from_at <= at < to_at, ascending
    route: I32
    headsign: I32
    spans: tuple[HeadwaySpan, ...]
    """by start; lines without clock times"""


def stop_departures(network: Network, stop_idx: int, first_day: int, days: int) -> StopDepartures:
    """From the start of the service day ``first_day`` (proleptic ordinal) to the start of the ``days``-th after it;
    calls after 24:00:00 of earlier service days that fall into it are in it."""
    from_at = int(service_day_start(first_day, network.timezone))
    to_at = int(service_day_start(first_day + days, network.timezone))
    back = 1 + int(network.last_time_s // DAY_S)
    starts = {day: service_day_start(day, network.timezone) for day in range(first_day - back, first_day + days)}
    calls = [call for pattern, pos in network.calls_at(stop_idx) for call in _calls(network, pattern, pos)]
    at, route, headsign = [np.zeros(0)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    spans = []
    for day, start in starts.items():
        active = network.active_services(day)
        for call in calls:
            runs = active[call.service]
            at.append(start + call.departure_s[runs])
            route.append(np.full(int(runs.sum()), call.route_idx, np.int32))
            headsign.append(call.headsign[runs])
        spans += [span for call in calls for span in _spans(call, active, start) if from_at < span.to_at <= to_at]
    times = np.floor(np.concatenate(at)).astype(np.int64)
    heads, routes = np.concatenate(headsign), np.concatenate(route)
    inside = np.flatnonzero((times >= from_at) & (times < to_at))
    order = inside[np.lexsort((heads[inside], routes[inside], times[inside]))]
    spans.sort(key=lambda span: (span.from_at, span.route_idx, span.headsign_idx, span.to_at, span.headway_s))
    return StopDepartures(from_at, to_at, times[order], routes[order], heads[order], tuple(spans))


@dataclass(frozen=True, eq=False)
class _Calls:
    """The boardable calls of one pattern at one position: one entry a trip, or a run of an exact frequency."""

    route_idx: int
    service: I32
    headsign: I32
    departure_s: F64
    promises: tuple[tuple[int, int, int, int, int], ...]
    """(service, headsign, from_s, to_s, headway_s)"""


def _calls(network: Network, pattern: int, pos: int) -> Iterator[_Calls]:
    rows = network.pattern_rows(pattern)
    if pos >= rows.stop - rows.start - 1:
        return  # nobody boards at the last stop
    trips = network.pattern_trip[network.pattern_trip_offset[pattern] : network.pattern_trip_offset[pattern + 1]]
    time = network.trip_time_offset[trips] + pos
    boardable = network.pickup_type[time] != 1
    trips, time = trips[boardable], time[boardable]
    if not len(trips):
        return
    plain = ~np.isin(trips, network.frequency_trip)
    service, headsign = [network.trip_service[trips[plain]]], [network.time_headsign[time[plain]]]
    departure: list[F64] = [network.departure_s[time[plain]].astype(np.float64)]
    promises = []
    for trip, row in zip(trips[~plain].tolist(), time[~plain].tolist()):
        own_service, own_head = int(network.trip_service[trip]), int(network.time_headsign[row])
        shift = int(network.departure_s[row]) - int(network.departure_s[network.trip_time_offset[trip]])
        for f in np.flatnonzero(network.frequency_trip == trip).tolist():
            start, end = int(network.frequency_start_s[f]), int(network.frequency_end_s[f])
            headway = int(network.frequency_headway_s[f])
            if headway <= 0:
                continue
            if network.frequency_exact[f] == 0:
                promises.append((own_service, own_head, start + shift, end + shift, headway))
                continue
            runs = np.arange(start, end, headway) + shift
            departure.append(runs.astype(np.float64))
            service.append(np.full(len(runs), own_service, np.int32))
            headsign.append(np.full(len(runs), own_head, np.int32))
    yield _Calls(
        int(network.pattern_route[pattern]),
        np.concatenate(service),
        np.concatenate(headsign),
        np.concatenate(departure),
        tuple(promises),
    )


def _spans(call: _Calls, active: Bool, start: float) -> Iterator[HeadwaySpan]:
    for service, headsign, from_s, to_s, headway_s in call.promises:
        if active[service]:
            yield HeadwaySpan(call.route_idx, headsign, int(start + from_s), int(start + to_s), headway_s)
