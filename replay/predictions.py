"""The prediction log: what was predicted for every stop ahead, each time it was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from busd.types import PredictionTable
from replay import columns

if TYPE_CHECKING:
    from gtfs.network import Network

HEADER = (
    "generated_at",
    "service_date",
    "trip_id",
    "stop_sequence",
    "stop_id",
    "vehicle_id",
    "arrival_p50",
    "arrival_p10",
    "arrival_p90",
    "arrival_rider",
    "departure_p50",
)
FLUSH_ROWS = 100_000


class PredictionLog:
    """Collects tables and writes them by columns. Times have one decimal; an empty arrival_p50 withdraws the row."""

    def __init__(self, path: Path, network: Network) -> None:
        self.file = columns.CsvGz(path, HEADER)
        self._network = network
        self._stop_ids = columns.texts([network.stop_id[k] for k in range(len(network.stop_id))])
        self._tables: list[PredictionTable] = []
        self._waiting = 0

    def add(self, table: PredictionTable) -> None:
        self._tables.append(table)
        self._waiting += len(table.stop_pos)
        if self._waiting >= FLUSH_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self.file.close()

    def _flush(self) -> None:
        tables, self._tables, self._waiting = self._tables, [], 0
        if not tables:
            return
        network = self._network
        sizes = np.array([len(table.stop_pos) for table in tables])
        row_table = np.repeat(np.arange(len(tables)), sizes)
        trip = np.array([table.trip.trip_idx for table in tables])
        stop_pos = np.concatenate([table.stop_pos for table in tables])
        stop_rows = network.pattern_stop_offset[network.trip_pattern[trip]][row_table] + stop_pos
        time_rows = network.trip_time_offset[trip][row_table] + stop_pos
        self.file.write(
            columns.lines(
                [
                    columns.tenths(np.array([table.made_at for table in tables]))[row_table],
                    columns.texts([table.trip.service_date for table in tables])[row_table],
                    columns.texts([network.trip_id[int(k)] for k in trip])[row_table],
                    columns.integers(network.stop_sequence[time_rows]),
                    self._stop_ids[network.pattern_stop[stop_rows]],
                    columns.texts([table.vehicle_id for table in tables])[row_table],
                    columns.tenths(np.concatenate([table.arrival_p50 for table in tables])),
                    columns.tenths(np.concatenate([table.arrival_p10 for table in tables])),
                    columns.tenths(np.concatenate([table.arrival_p90 for table in tables])),
                    columns.tenths(np.concatenate([table.arrival_rider for table in tables])),
                    columns.tenths(np.concatenate([table.departure_p50 for table in tables])),
                ]
            ),
            len(stop_pos),
        )
