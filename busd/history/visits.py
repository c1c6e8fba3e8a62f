"""One observed visit as history holds it: with the ids and the timetable of its day, and when it became known."""

from __future__ import annotations

from typing import NamedTuple

from busd.history.tides import ROUTE_TYPE, iso_date
from busd.types import DatedTrip, StopVisit
from gtfs.calendar import service_day_start
from gtfs.network import Network


class TripRow(NamedTuple):
    """A trip as one vehicle performed it. ``start_s``: of a frequency run, -1 otherwise."""

    service_date: str
    """YYYY-MM-DD"""
    trip_id: str
    start_s: int
    vehicle_id: str
    trip_id_performed: str
    route_id: str
    route_type: str
    shape_id: str
    direction_id: int | None
    block_id: str
    first_stop_id: str
    last_stop_id: str
    stops: int
    scheduled_start: float
    scheduled_end: float

    @property
    def key(self) -> tuple[str, str, int, str]:
        return self.service_date, self.trip_id, self.start_s, self.vehicle_id


class VisitRow(NamedTuple):
    """Times are epoch seconds; ``pos`` counts from 0."""

    pos: int
    stop_sequence: int
    stop_id: str
    timepoint: int
    scheduled_arrival: float
    scheduled_departure: float
    arrival: float | None
    departure: float | None
    bracket_s: float
    known_at: float


class Seen(NamedTuple):
    trip: TripRow
    visit: VisitRow


class Describer:
    """Visits of one network as rows; what is the same for all visits of a trip is worked out once."""

    KEEP = 20_000

    def __init__(self, network: Network) -> None:
        self.network = network
        self._trips: dict[tuple[DatedTrip, str], tuple[TripRow, float]] = {}

    def seen(self, visit: StopVisit, known_at: float) -> Seen:
        network, key = self.network, (visit.trip, visit.vehicle_id)
        if key not in self._trips:
            if len(self._trips) >= self.KEEP:
                self._trips.clear()
            self._trips[key] = self._trip(*key)
        trip, day_at = self._trips[key]
        row = int(network.trip_time_offset[visit.trip.trip_idx]) + visit.stop_pos
        arrival, departure = day_at + float(network.arrival_s[row]), day_at + float(network.departure_s[row])
        return Seen(
            trip,
            VisitRow(
                visit.stop_pos,
                int(network.stop_sequence[row]),
                self._stop_id(visit.trip.trip_idx, visit.stop_pos),
                int(network.timepoint[row]),
                arrival,
                departure,
                visit.arrival_at,
                visit.departure_at,
                visit.bracket_s,
                known_at,
            ),
        )

    def _trip(self, dated: DatedTrip, vehicle_id: str) -> tuple[TripRow, float]:
        network, k = self.network, dated.trip_idx
        pattern = int(network.trip_pattern[k])
        rows = network.trip_rows(k)
        route, shape = int(network.pattern_route[pattern]), int(network.pattern_shape[pattern])
        direction, block = int(network.pattern_direction[pattern]), int(network.trip_block[k])
        day_at = service_day_start(dated.service_date, network.timezone)
        name = network.trip_id[k]
        if dated.start_s is not None:
            day_at += dated.start_s - float(network.departure_s[rows.start])
            name += f"@{dated.start_s // 3600:02d}:{dated.start_s // 60 % 60:02d}:{dated.start_s % 60:02d}"
        trip = TripRow(
            iso_date(dated.service_date),
            network.trip_id[k],
            -1 if dated.start_s is None else dated.start_s,
            vehicle_id,
            name,
            network.route_id[route],
            ROUTE_TYPE.get(int(network.route_type[route]), ""),
            network.shape_id[shape] if shape >= 0 else "",
            direction if direction >= 0 else None,
            network.block_id[block] if block >= 0 else "",
            self._stop_id(k, 0),
            self._stop_id(k, rows.stop - rows.start - 1),
            rows.stop - rows.start,
            day_at + float(network.departure_s[rows.start]),
            day_at + float(network.arrival_s[rows.stop - 1]),
        )
        return trip, day_at

    def _stop_id(self, trip: int, pos: int) -> str:
        network = self.network
        return network.stop_id[int(network.pattern_stop[network.pattern_stop_offset[network.trip_pattern[trip]] + pos])]
