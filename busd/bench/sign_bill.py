"""The data bill of a stop sign: what its SIM card's owner pays for a month of 18-hour days.

A recorded day (or the simulated city's) runs through the engine; real sign sessions and real reference signs talk to
each other in simulated time, and every frame in both directions is counted as it would be on the wire, `OVERHEAD_BYTES`
for TCP and TLS on top of each. Stops are taken from the quiet to the busiest of those that have ten departures to show;
the bill of a profile is that of the stop in the middle. The floor is the overhead alone: what the same messages would
cost if there were nothing in them.
"""

from __future__ import annotations

import gzip
import heapq
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

import gtfs
from busd.bench.sign_wire import DEPARTURES, LANGS, Office, Profile, Wire
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.engine import Engine
from busd.errors import BusdError
from busd.parameters import Parameters
from busd.signs.packs import LEAST_DAYS, build_pack
from busd.types import AnyInput, Board, BoardsChanged, Output, VehiclePosition
from gtfs.calendar import service_day_at, service_day_start
from gtfs.departures import stop_departures
from gtfs.network import Network
from replay.city.feed import SHANGHAI, write_feed
from replay.city.record import stretches
from replay.city.timetable import make_plan
from replay.grid import GridDriver, start_before
from replay.source import PositionFiles

OVERHEAD_BYTES = 110
"""of TCP/IP and TLS for a message and its acknowledgement"""
HOURS, DAYS = 18.0, 30
BEGIN_S = 5 * 3600.0 + 1800.0
"""of the simulated day: the first buses are out"""
DATE = "20261118"
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""where on the way from the quietest to the busiest stop the bills are taken; the middle one is the figure"""
HEADWAY_S = 540.0
"""A stop has ten departures within the board's horizon if one leaves this often on average."""
LOOK_S = 1.0
LEAST_S = 600.0

PROFILES = (
    Profile(
        "cellular",
        SignsConfig(shared_token="bill", hb=120, grace=60, ping=120.0, ttl=300, ack=600),
        min_interval=15.0,
        tele_s=3600.0,
        deflate=True,
    ),
    Profile(
        "cellular, ping 25",
        SignsConfig(shared_token="bill", hb=120, grace=60, ttl=300, ack=600),
        min_interval=15.0,
        tele_s=3600.0,
        deflate=True,
    ),
    Profile("default", SignsConfig(shared_token="bill"), min_interval=1.0, tele_s=300.0, deflate=False),
)


def _bill(wire: Wire, hours: float, pack_bytes: int) -> dict[str, Any]:
    """Megabytes a month, and what they went for."""
    times = HOURS / hours * DAYS / 1e6
    parts = {kind: round(size * times, 3) for kind, size in sorted(wire.sizes.items())}
    messages = sum(wire.messages.values())
    parts["overhead"] = round(messages * OVERHEAD_BYTES * times, 3)
    # the next pack is announced when a week is left of a fortnight
    parts["packs"] = round((pack_bytes + OVERHEAD_BYTES * 4) * DAYS / LEAST_DAYS / 1e6, 3)
    boards = wire.messages["server:board"]
    return {
        "stop": wire.stop_id,
        "mb_month": round(sum(parts.values()), 2),
        "floor_mb_month": parts["overhead"],
        "ratio_to_floor": round(sum(parts.values()) / parts["overhead"], 2),
        "boards_per_hour": round(boards / hours, 1),
        "bytes_per_board": round(wire.sizes["server:board"] / max(boards, 1)),
        "messages_per_hour": {kind: round(n / hours, 1) for kind, n in sorted(wire.messages.items())},
        "writes_per_hour": round(wire.writes / hours, 1),
        "mb_by_kind": parts,
        "final_rev_shown": wire.sign.boards[wire.stop_id].revision[1] if wire.stop_id in wire.sign.boards else None,
    }


class Day:
    """Feeds one day through the engine and its boards to the offices."""

    def __init__(self, network: Network, positions: Iterator[VehiclePosition], begin: float, end: float) -> None:
        self.network, self._positions, self._begin, self._end = network, positions, begin, end
        self.clock = ManualClock(begin)
        self.offices = [Office(profile, network, self.clock) for profile in PROFILES]
        self.stops = choose_stops(network, begin)
        self._rows = {network.find_stop(stop_id) for stop_id in self.stops}
        self.positions = 0
        self._next_look = begin
        self._connected = False

    def run(self, progress: bool = False) -> None:
        driver = GridDriver(Engine(lambda digest: self.network, Parameters()), self._take)
        begin = start_before(self._begin)
        driver.start(begin, "bill")
        driver.load_network(begin, self.network.digest)
        told = self._begin
        for position in self._positions:
            if position.received_at >= self._end:
                break
            driver.feed(position)
            self.positions += 1
            if progress and position.received_at >= told:
                told += 3600.0
                print(f"sign-bill: {(position.received_at - self._begin) / 3600:.1f} h", file=sys.stderr)
        driver.drain(self._end)
        self._look(self._end)

    def _take(self, entry: AnyInput, outputs: list[Output]) -> None:
        self._look(entry.at)
        for output in outputs:
            if isinstance(output, BoardsChanged):
                boards = self._wanted(output.boards)
                if boards:
                    for office in self.offices:
                        office.publish(boards)
        if not self._connected and entry.at >= self._begin:
            self._connected = True
            for office in self.offices:
                office.connect(self.stops)

    def _wanted(self, boards: Sequence[Board]) -> list[Board]:
        stops: Any = getattr(boards, "stops", None)
        rows = stops.tolist() if stops is not None else [board.stop_idx for board in boards]
        return [boards[i] for i, stop in enumerate(rows) if stop in self._rows]

    def _look(self, at: float) -> None:
        """Time passes for servers and signs, a second at a time."""
        while self._next_look <= at:
            self._advance(self._next_look)
            for office in self.offices:
                office.on_time()
            self._next_look += LOOK_S
        self._advance(at)

    def _advance(self, at: float) -> None:
        self.clock.advance(max(0.0, at - self.clock.now()))


def choose_stops(network: Network, at: float) -> list[str]:
    """Stops with ten departures to show at most hours, at `SHARES` of the way from the quietest to the busiest."""
    day = service_day_at(at, network.timezone)
    counted = [(len(stop_departures(network, stop, day, 1).at), stop) for stop in range(len(network.stop_id))]
    enough = sorted((n, stop) for n, stop in counted if n >= HOURS * 3600 / HEADWAY_S)
    if not enough:
        enough = heapq.nlargest(len(SHARES), counted)[::-1]
    chosen = [enough[min(int(len(enough) * share), len(enough) - 1)][1] for share in SHARES]
    return [network.stop_id[stop] for stop in dict.fromkeys(chosen)]


def run(
    gtfs_zip: Path | None = None, positions: Sequence[Path] = (), hours: float = HOURS, buses: int = 120
) -> dict[str, Any]:
    """The bills; a recorded day where ``gtfs_zip`` and ``positions`` (TIDES vehicle_locations) are given. Fewer
    ``hours`` begin at 07:00 (the recording: at its beginning) and count as if the whole day were like them."""
    with TemporaryDirectory(prefix="busd-bench-") as name:
        folder = Path(name)
        if gtfs_zip is not None:
            files = PositionFiles(positions)
            network = gtfs.load_network(gtfs_zip, folder / "cache")
            if files.first_at is None or files.last_at is None or files.last_at - files.first_at < LEAST_S:
                raise BusdError(f"the recording is shorter than {LEAST_S / 60:.0f} minutes")
            begin = math.ceil(files.first_at) + 1.0
            hours = min(hours, (files.last_at - begin) / 3600)  # a shorter day counts as what it was
            source = files.read()
        else:
            plan = make_plan(1, buses)
            write_feed(plan, folder / "city.zip")
            network = gtfs.load_network(folder / "city.zip", folder / "cache")
            begin = service_day_start(DATE, SHANGHAI) + (BEGIN_S if hours > 12 else 7 * 3600.0)
            source = _simulated(plan, begin, begin + hours * 3600.0)
        day = Day(network, source, begin, begin + hours * 3600.0)
        day.run(progress=sys.stderr.isatty())
        packs = {stop_id: _packed_size(network, stop_id, begin) for stop_id in day.stops}
        profiles = {}
        for office in day.offices:
            bills = [_bill(wire, hours, packs[wire.stop_id]) for wire in office.wires]
            middle = bills[len(bills) // 2]
            profiles[office.profile.name] = {
                "mb_month": middle["mb_month"],
                "ratio_to_floor": middle["ratio_to_floor"],
                "stops": bills,
            }
        return {
            "hours": round(hours, 2),
            "positions": day.positions,
            "departures": DEPARTURES,
            "langs": LANGS,
            "overhead_bytes": OVERHEAD_BYTES,
            "limit_mb": 15,
            "cellular_mb": profiles["cellular"]["mb_month"],
            "default_mb": profiles["default"]["mb_month"],
            "pack_bytes_gzip": packs,
            "profiles": profiles,
        }


def _simulated(plan: Any, begin: float, end: float) -> Iterator[VehiclePosition]:
    """The city's reports as a gateway hands them on once a second."""
    for reports, _ in stretches(plan, 1, begin, end, None, SHANGHAI, None):
        ready = sorted((r for r in reports if r.positioned), key=lambda r: (r.measured_at, r.vehicle))
        for report in ready:
            position = report.to_position()
            yield msgspec.structs.replace(position, received_at=float(math.ceil(position.received_at)))


def _packed_size(network: Network, stop_id: str, at: float) -> int:
    stop = network.find_stop(stop_id)
    body = None if stop is None else build_pack(network, stop, service_day_at(at, network.timezone))
    return 0 if body is None else len(gzip.compress(body, 9, mtime=0))
