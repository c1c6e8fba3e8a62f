"""Observed visits -> the columns that the predictor learns from, by the rows of a timetable."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from busd.errors import HistoryError
from busd.history.export import read_rows
from busd.history.visits import Seen
from busd.predict.priors import VisitColumns
from gtfs.network import F64, I64, Network

_MISSING = frozenset(("", "NA", "NaN"))


@dataclass
class VisitTable:
    """Collects visits by ids; `columns` gives them by rows, in the order in which they became known. A visit whose
    trip or stop the timetable does not have is counted in ``dropped`` and costs nothing else."""

    network: Network
    dropped: Counter[str] = field(default_factory=Counter)
    _rows: list[tuple[int, int, int, int, int, float, float, float, float]] = field(default_factory=list)
    _vehicles: dict[str, int] = field(default_factory=dict)
    _positions: dict[int, dict[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._rows)

    def add_history(self, rows: Iterable[Seen]) -> None:
        for trip, visit in rows:
            self._add(
                trip.service_date,
                trip.trip_id,
                trip.start_s,
                visit.stop_sequence,
                visit.stop_id,
                trip.vehicle_id,
                _nan(visit.arrival),
                _nan(visit.departure),
                visit.bracket_s,
                visit.known_at,
            )

    def add_tides(self, path: Path) -> None:
        """A TIDES stop_visits file. It does not say when a visit became known: at its own time then; nor how sure it
        is: it counts as measured. `HistoryError` where the file cannot be read or lacks a column."""
        first = True
        for number, row in enumerate(read_rows(path), start=2):
            if first:
                wanted = {"service_date", "trip_id_performed", "scheduled_stop_sequence", "actual_arrival_time"}
                if lacking := wanted - row.keys():
                    raise HistoryError(
                        f"{path} has no column {', '.join(sorted(lacking))}; TIDES stop_visits is expected"
                    )
                first = False
            try:
                arrival, departure = (
                    _instant(row["actual_arrival_time"]),
                    _instant(row.get("actual_departure_time", "")),
                )
                sequence = int(row["scheduled_stop_sequence"])
            except (ValueError, TypeError):
                self.dropped[f"unreadable (first in row {number})" if not self.dropped else "unreadable"] += 1
                continue
            trip_id, start = _scheduled(row["trip_id_performed"])
            known = np.nanmax([arrival, departure]) if arrival == arrival or departure == departure else np.nan
            stop, vehicle = row.get("stop_id") or "", row.get("vehicle_id") or ""
            self._add(
                row["service_date"], trip_id, start, sequence, stop, vehicle, arrival, departure, 0.0, float(known)
            )

    def _add(
        self,
        service_date: str,
        trip_id: str,
        start_s: int,
        sequence: int,
        stop_id: str,
        vehicle_id: str,
        arrival: float,
        departure: float,
        bracket_s: float,
        known_at: float,
    ) -> None:
        trip = self.network.find_trip(trip_id)
        if trip is None:
            self.dropped["trip not in the timetable"] += 1
            return
        if known_at != known_at:
            self.dropped["neither arrival nor departure"] += 1
            return
        pos = self._at(trip).get(sequence)
        if pos is None or (stop_id and self._stop(trip, pos) != stop_id):
            self.dropped["stop not on the trip"] += 1
            return
        try:
            day = dt.date.fromisoformat(service_date).toordinal()
        except ValueError:
            self.dropped["no service date"] += 1
            return
        vehicle = self._vehicles.setdefault(vehicle_id, len(self._vehicles))
        self._rows.append((trip, pos, day, start_s, vehicle, arrival, departure, bracket_s, known_at))

    def _at(self, trip: int) -> dict[int, int]:
        if trip not in self._positions:
            sequences = self.network.stop_sequence[self.network.trip_rows(trip)].tolist()
            self._positions[trip] = {sequence: pos for pos, sequence in enumerate(sequences)}
        return self._positions[trip]

    def _stop(self, trip: int, pos: int) -> str:
        network = self.network
        return network.stop_id[int(network.pattern_stop[network.pattern_stop_offset[network.trip_pattern[trip]] + pos])]

    def columns(self) -> VisitColumns:
        rows = sorted(self._rows, key=lambda row: (row[8], row[2], row[0], row[1]))
        values = np.array(rows, np.float64).reshape(-1, 9)
        whole: list[I64] = [values[:, k].astype(np.int64) for k in range(5)]
        real: list[F64] = [values[:, k] for k in range(5, 9)]
        return VisitColumns(
            trip_idx=whole[0],
            stop_pos=whole[1],
            service_ordinal=whole[2],
            start_s=whole[3],
            vehicle=whole[4],
            arrival_at=real[0],
            departure_at=real[1],
            bracket_s=real[2],
            known_at=real[3],
        )


def _scheduled(performed: str) -> tuple[str, int]:
    """busd's trip_id_performed -> (trip_id, start of a frequency run or -1): ``t@08:10:00#bus2``."""
    name = performed.partition("#")[0]
    trip_id, at, clock = name.rpartition("@")
    parts = clock.split(":")
    if at and len(parts) == 3 and all(part.isdigit() for part in parts):
        hours, minutes, seconds = map(int, parts)
        return trip_id, hours * 3600 + minutes * 60 + seconds
    return name, -1


def _instant(text: str) -> float:
    text = (text or "").strip()
    if text in _MISSING:
        return float("nan")
    at = dt.datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("no UTC offset")
    return at.timestamp()


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
