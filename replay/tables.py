"""The TIDES table vehicle_locations of a replay, written as it goes.

Words and enumerations are those of the TIDES 1.0 table schemas; shape_dist_m is ours.
"""

from __future__ import annotations

from pathlib import Path

from busd.history.tides import Day, iso_date
from busd.types import Phase, Progress, VehiclePosition
from replay.columns import CsvGz

LOCATIONS = (
    "location_ping_id",
    "service_date",
    "event_timestamp",
    "trip_id_performed",
    "trip_id_scheduled",
    "trip_stop_sequence",
    "scheduled_stop_sequence",
    "vehicle_id",
    "stop_id",
    "latitude",
    "longitude",
    "heading",
    "speed",
    "schedule_deviation",
    "trip_type",
    "schedule_relationship",
    "shape_dist_m",
)


class LocationLog:
    """One row a position: what the engine held of its vehicle right after that fix was applied."""

    FLUSH_ROWS = 10_000

    def __init__(self, path: Path, day: Day) -> None:
        self.file = CsvGz(path, LOCATIONS)
        self._day = day
        self._rows: list[list[str]] = []
        self._waiting: dict[str, tuple[VehiclePosition, Progress | None]] = {}

    def received(self, position: VehiclePosition) -> None:
        key = position.report_id or ""
        if key in self._waiting:  # two rows of one instant with one id: the earlier has no answer of its own
            self._write(*self._waiting.pop(key))
        self._waiting[key] = (position, None)

    def held(self, progress: Progress) -> None:
        key = progress.report_id or ""
        if key in self._waiting:
            self._waiting[key] = (self._waiting[key][0], progress)

    def tick(self) -> None:
        """All waiting fixes have been applied."""
        for position, progress in self._waiting.values():
            self._write(position, progress)
        self._waiting.clear()
        if len(self._rows) >= self.FLUSH_ROWS:
            self._flush()

    def close(self) -> None:
        self.tick()
        self._flush()
        self.file.close()

    def _flush(self) -> None:
        self.file.write_rows(self._rows)
        self._rows.clear()

    def _write(self, position: VehiclePosition, progress: Progress | None) -> None:
        network = self._day.network
        trip = progress.trip if progress is not None else None
        date = name = scheduled = stop_sequence = sequence = stop = deviation = distance = ""
        if progress is not None and trip is not None:
            date, scheduled = iso_date(trip.service_date), network.trip_id[trip.trip_idx]
            if progress.phase is Phase.IN_SERVICE:
                name = self._day.performed_id(trip, position.vehicle_id)
            pos = progress.next_stop_pos
            if pos is not None:
                stop_sequence = str(pos + 1)
                sequence = str(int(network.stop_sequence[network.trip_time_offset[trip.trip_idx] + pos]))
                row = network.pattern_stop_offset[network.trip_pattern[trip.trip_idx]] + pos
                stop = network.stop_id[int(network.pattern_stop[row])]
            if progress.deviation_s is not None:
                deviation = str(round(progress.deviation_s))
            if progress.distance_m is not None:
                distance = f"{progress.distance_m:.1f}"
        self._rows.append(
            [
                position.report_id or "",
                date,
                self._day.clock_time(position.measured_at),
                name,
                scheduled,
                stop_sequence,
                sequence,
                position.vehicle_id,
                stop,
                f"{position.lat:.6f}",
                f"{position.lon:.6f}",
                "" if position.bearing_deg is None else f"{position.bearing_deg:.1f}",
                "" if position.speed_mps is None else f"{position.speed_mps:.2f}",
                deviation,
                progress.phase.value if progress is not None else "",
                "Scheduled" if trip is not None else "",
                distance,
            ]
        )
