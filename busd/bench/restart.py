"""How long a restart takes in the middle of a day of 10,000 buses: newest snapshot, the minute of journal after it, all
boards worked out again. The floor is reading that minute from the disk without applying it.

Buses on the trips of the synthetic feed of `busd.bench.gtfs`, a report every 10 s each; those that the timetable has no
trip for stand in the depot and report all the same. Earlier inputs fill the journal as the day before would.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import gtfs
from busd.bench.gtfs import write_feed
from busd.engine import Engine, grid
from busd.journal import CrashGuard, Journal, read, write_snapshot
from busd.parameters import Parameters
from busd.recovery import recover
from busd.types import AnyInput, NetworkLoaded, PositionReceived, Started, Tick, TripHint, VehiclePosition
from gtfs.calendar import parse_service_date, service_day_start
from gtfs.network import Network

DATE = "20260302"
AT_S = 8 * 3600.0
REPORT_S = 10.0


def run(vehicles: int = 10_000, tail_s: int = 20, filler: int = 1_000_000) -> dict[str, Any]:
    """Seconds of a restart with ``tail_s`` seconds of inputs after the snapshot."""
    with tempfile.TemporaryDirectory(prefix="busd-bench-") as name:
        folder = Path(name)
        write_feed(folder / "feed.zip", 3_000_000, 5_000, headway_s=200)
        network = gtfs.load_network(folder / "feed.zip", folder / "cache")
        start = service_day_start(DATE, network.timezone) + AT_S
        state, journal_dir = folder / "state", folder / "state" / "journal"
        journal = Journal(journal_dir, {"network": network.digest})
        engine = Engine(lambda digest: network, Parameters())
        _apply(engine, journal, [Started(start, "bench"), NetworkLoaded(start, network.digest)])
        fleet = _Fleet(network, vehicles, start)
        for entry in fleet.inputs(start, start + 30.0):
            _apply(engine, journal, entry)
        for chunk in range(filler // 1000):
            journal.append_many([Tick(engine.last_at + chunk * 1e-9)] * 1000)
        snapshot = engine.snapshot()
        write_snapshot(journal_dir, journal.seq, snapshot)
        seq, before = journal.seq, perf_counter()
        for entry in fleet.inputs(start + 30.0, start + 30.0 + tail_s):
            _apply(engine, journal, entry)
        lived_s = perf_counter() - before
        expected = [(b.stop_idx, b.rev, b.at) for b in engine.boards()]
        journal.close()

        begin = perf_counter()
        inputs = sum(1 for _ in read(journal_dir, after_seq=seq))
        read_s = perf_counter() - begin
        begin = perf_counter()
        again = gtfs.load_network(folder / "feed.zip", folder / "cache")
        recovered = recover(state, journal_dir, lambda digest: again, Parameters(), CrashGuard(journal_dir))
        boards = [(b.stop_idx, b.rev, b.at) for b in recovered.engine.boards()]
        restart_s = perf_counter() - begin
        return {
            "vehicles": vehicles,
            "on_a_trip": fleet.on_a_trip,
            "boards": len(boards),
            "same_state": boards == expected,
            "snapshot_mb": round(len(snapshot) / 1e6, 1),
            "inputs_after_snapshot": inputs,
            "restart_s": round(restart_s, 2),
            "floor_read_s": round(read_s, 2),
            "ratio_to_floor": round(restart_s / read_s, 1),
            "engine_us_per_input": round(lived_s / max(inputs, 1) * 1e6, 1),
        }


def _apply(engine: Engine, journal: Journal, inputs: list[AnyInput]) -> None:
    journal.append_many(inputs)
    for entry in inputs:
        engine.apply(entry)


class _Fleet:
    """Each bus on its trip where the timetable has it now, some seconds off; the rest in the depot."""

    def __init__(self, network: Network, vehicles: int, at: float) -> None:
        self.network, self.vehicles = network, vehicles
        self.dice = random.Random(DATE)
        self.day = service_day_start(DATE, network.timezone)
        now_s = at - self.day
        trips = network.active_trips(parse_service_date(DATE))
        first = network.departure_s[network.trip_time_offset[trips]]
        last = network.arrival_s[network.trip_time_offset[trips + 1] - 1]
        self.trips = trips[(first <= now_s - 60) & (last >= now_s + 300)][:vehicles].tolist()
        self.on_a_trip = len(self.trips)

    def inputs(self, start: float, end: float) -> Iterator[list[AnyInput]]:
        """One list a tick: the reports of its 100 ms and the tick."""
        ticks = round((end - start) * 10)
        a_tick = self.vehicles / REPORT_S / 10
        for k in range(1, ticks + 1):
            at = grid(start + k / 10)
            first = round((k - 1) * a_tick) % self.vehicles
            reports: list[AnyInput] = [
                PositionReceived(at, self._report((first + i) % self.vehicles, at)) for i in range(round(a_tick))
            ]
            yield [*reports, Tick(at)]

    def _report(self, bus: int, at: float) -> VehiclePosition:
        network = self.network
        if bus >= self.on_a_trip:
            return VehiclePosition("bench", f"bus{bus}", 36.05, 103.55, at, at, speed_mps=0.0)
        trip = self.trips[bus]
        rows = network.trip_rows(trip)
        second = at - self.day - bus % 120
        times = network.arrival_s[rows].tolist()
        k = next((i for i, t in enumerate(times) if t > second), len(times) - 1)
        k = max(k, 1)
        share = min(max((second - times[k - 1]) / max(times[k] - times[k - 1], 1), 0.0), 1.0)
        stops = network.pattern_stop[network.pattern_rows(int(network.trip_pattern[trip]))]
        a, b = int(stops[k - 1]), int(stops[k])
        lat = network.stop_lat[a] + share * (network.stop_lat[b] - network.stop_lat[a]) + self.dice.gauss(0, 3e-5)
        lon = network.stop_lon[a] + share * (network.stop_lon[b] - network.stop_lon[a]) + self.dice.gauss(0, 3e-5)
        hint = TripHint(trip_id=network.trip_id[trip])
        return VehiclePosition("bench", f"bus{bus}", float(lat), float(lon), at, at, speed_mps=7.0, hint=hint)
