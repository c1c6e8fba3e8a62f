"""How surely and how soon are detours seen? Cuts detours into recorded trips and follows each trip with its id given.

busd bench off-route          the drawn city; BUSD_OFF_ROUTE_DATA=DIR[:DIR...] adds sets of recorded days
                              (gtfs*.zip and positions*.csv.gz in one directory, TIDES vehicle_locations)
"""

from __future__ import annotations

import datetime as dt
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import gtfs
from busd.bench.detours import Cut, Trip, cut_detour, trips_of, with_noise
from busd.engine import Engine, grid
from busd.feeds.tides import read_positions
from busd.track.events import Event
from busd.types import NetworkLoaded, Output, PositionReceived, Started, Tick, TripHint, VehicleEvent, VehiclePosition
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import frame_of_map, network_from_map

SEED = 20240101
SHIFTS_M = (45.0, 400.0)
LEFT_WITHIN_S, BACK_WITHIN_S = 90.0, 120.0


@dataclass
class Tally:
    """Detours of one set and what became of them."""

    detours: int = 0
    missed: list[Cut] = field(default_factory=list)
    left_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    flaps: int = 0
    """times a bus was said to be back, or off again, within one detour"""
    lost: int = 0
    """detours in which the bus lost its trip"""
    off_before: int = 0
    """not counted: the recorded bus itself had left its route, and nobody can leave it twice"""

    def add(self, cut: Cut, events: Sequence[VehicleEvent]) -> None:
        off = [e.at for e in events if e.kind == Event.OFF_ROUTE]
        back = [e.at for e in events if e.kind == Event.BACK_ON_ROUTE]
        before = sum(at < cut.left_at - 0.2 for at in off) - sum(at < cut.left_at - 0.2 for at in back)
        if before > 0:
            self.off_before += 1
            return
        self.detours += 1
        began = [at for at in off if cut.left_at - 0.2 <= at < cut.back_at]
        self.lost += any(e.kind in (Event.NO_MATCH, Event.CHANGED) for e in events if cut.left_at <= e.at < cut.back_at)
        if not began:
            self.missed.append(cut)
            return
        self.left_s.append(max(began[0] - cut.left_at, 0.0))
        ended = [at for at in back if at >= cut.back_at - 0.2]
        self.back_s.append(max(ended[0] - cut.back_at, 0.0) if ended else math.inf)
        self.flaps += len(began) - 1

    def result(self) -> dict[str, Any]:
        n = max(self.detours, 1)
        return {
            "detours": self.detours,
            "recall": round(1 - len(self.missed) / n, 4),
            f"left_within_{LEFT_WITHIN_S:.0f}_s": share(self.left_s, LEFT_WITHIN_S, n),
            f"back_within_{BACK_WITHIN_S:.0f}_s": share(self.back_s, BACK_WITHIN_S, len(self.back_s)),
            "left_s_p50_p95": quantiles(self.left_s),
            "back_s_p50_p95": quantiles(self.back_s),
            "flaps": self.flaps,
            "lost_trip": self.lost,
            "off_before": self.off_before,
        }

    def merge(self, other: Tally) -> None:
        self.detours += other.detours
        self.missed += other.missed
        self.left_s += other.left_s
        self.back_s += other.back_s
        self.flaps += other.flaps
        self.lost += other.lost
        self.off_before += other.off_before


def share(values: Sequence[float], limit: float, n: int) -> float | None:
    return round(sum(value <= limit + 0.2 for value in values) / n, 4) if n else None


def quantiles(values: Sequence[float]) -> list[float] | None:
    finite = [min(value, 1e6) for value in values]
    return np.quantile(finite, [0.5, 0.95]).round(1).tolist() if finite else None


def follow(network: Network, fixes: Iterable[VehiclePosition]) -> list[VehicleEvent]:
    """The events of fixes that come in alone, on an engine of their own."""
    engine = Engine(lambda digest: network, boards=False)
    outputs: list[Output] = []
    for fix in fixes:
        if math.isinf(engine.last_at):
            engine.apply(Started(fix.received_at - 60.0, "bench"))
            engine.apply(NetworkLoaded(fix.received_at - 60.0, network.digest))
        while (due := engine.next_deadline) is not None and grid(due) < fix.received_at:
            outputs += engine.apply(Tick(max(grid(due), engine.last_at)))
        outputs += engine.apply(PositionReceived(fix.received_at, fix))
        outputs += engine.apply(Tick(grid(fix.received_at)))
    return [output for output in outputs if isinstance(output, VehicleEvent)]


def measure(network: Network, trips: Sequence[Trip], wanted: int, noise_m: float = 0.0, seed: int = SEED) -> Tally:
    """Cuts up to ``wanted`` detours, one a trip and round, and follows them."""
    dice = np.random.default_rng(seed)
    tally = Tally()
    for _ in range(4):
        for at in dice.permutation(len(trips)).tolist():
            if tally.detours >= wanted:
                return tally
            shift = float(dice.uniform(*SHIFTS_M)) * (1 if dice.random() < 0.5 else -1)
            cut = cut_detour(network, trips[at], shift, dice)
            if cut is None:
                continue
            fixes = with_noise(network, cut.fixes, noise_m, dice) if noise_m else cut.fixes
            tally.add(cut, follow(network, fixes))
    return tally


def load_set(directory: Path, cache: Path | None = None) -> tuple[Network, list[Trip]]:
    """The first feed and the first positions of a directory of recorded days."""
    zips, tables = sorted(directory.glob("gtfs*.zip")), sorted(directory.glob("positions*.csv.gz"))
    network = gtfs.load_network(zips[0], cache or Path("var/gtfs"))
    positions = [row for row in read_positions(tables[0]) if isinstance(row, VehiclePosition)]
    return network, list(trips_of(network, positions))


MAP = """
A--------B--------C
                  |
         E--------D
         |
         F--------G--------H--------J
"""
EVERY_S = (5.0, 10.0, 30.0, 60.0, 120.0)


def drawn_set(every_s: float, buses: int = 40) -> tuple[Network, list[Trip]]:
    """Buses of a line with bends, each with its own speed and its own second, that report every so many seconds."""
    line = "ABCDEFGHJ"
    network = network_from_map(MAP, {"1": line}, cell_m=200.0, speed_mps=7.0, trips=buses, shapes={"1": line})
    frame = frame_of_map(MAP, 200.0)
    start = service_day_start(dt.date(2026, 3, 2).toordinal(), network.timezone) + 8 * 3600
    cells = np.array([frame.cells[letter] for letter in line])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(cells, axis=0).T))])
    fixes: list[VehiclePosition] = []
    for k in range(buses):
        speed, began = 5.0 + 3.0 * k / buses, start + 600.0 * k
        for at in np.arange(began + k % 7, began + length[-1] / speed, every_s).tolist():
            m = (at - began) * speed
            lat, lon = frame.xy(float(np.interp(m, length, cells[:, 0])), float(np.interp(m, length, cells[:, 1])))
            fixes.append(VehiclePosition("drawn", f"bus{k}", lat, lon, at, at, hint=TripHint(trip_id=f"1-{k}")))
    return network, list(trips_of(network, fixes))


def run(wanted: int = 150) -> dict[str, Any]:
    """All sets, clean and with 10 m of noise."""
    directories = [Path(part) for part in os.environ.get("BUSD_OFF_ROUTE_DATA", "").split(os.pathsep) if part]
    sets = {directory.name: load_set(directory) for directory in directories}
    if not sets:
        sets = {f"drawn, every {every:.0f} s": drawn_set(every) for every in EVERY_S}
        wanted = 60
    out: dict[str, Any] = {"seed": SEED, "sets": {}}
    for noise in (0.0, 10.0):
        total = Tally()
        for name, (network, trips) in sets.items():
            tally = measure(network, trips, wanted, noise)
            total.merge(tally)
            out["sets"].setdefault(name, {})[f"noise_{noise:.0f}_m"] = tally.result()
        out[f"noise_{noise:.0f}_m"] = total.result()
    return out
