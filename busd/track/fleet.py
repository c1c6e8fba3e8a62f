"""The two tables of the present: vehicles, and the runs that vehicles are performing."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from busd.table import Column, Table
from busd.track.events import EventLog
from busd.types import DatedTrip, Phase, VehiclePosition

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]


BEGUN = -1
FINISHING = -2
UNKNOWN, LIVE, LOST = 0, 1, 2
BELIEVED, INFERRED = 0, 1
"""modes: the run that its source names, or the one that fits best"""
PHASES = (Phase.OTHER, Phase.DEADHEAD, Phase.LAYOVER, Phase.IN_SERVICE)


P10, P50, P90, RIDER, DEPARTURE, TOLD, ARRIVED, DEPARTED, RAW, SCALE = range(10)
"""columns of `Runs.wide`"""
PREDICTED = slice(P10, DEPARTURE + 1)


class Vehicles(Table):
    """One row a vehicle id, for as long as the engine lives."""

    COLUMNS: ClassVar[dict[str, Column]] = {
        # the last accepted report
        "lat": ("f8", np.nan),
        "lon": ("f8", np.nan),
        "measured_at": ("f8", -np.inf),
        "received_at": ("f8", -np.inf),
        "speed_mps": ("f8", np.nan),
        "bearing_deg": ("f8", np.nan),
        "occupancy": ("i1", -1),
        # rejected fixes that may turn out to be right (track/vet.py)
        "jump_lat": ("f8", np.nan),
        "jump_lon": ("f8", np.nan),
        "jump_at": ("f8", -np.inf),
        "jumps": ("i4", 0),
        "repeats": ("i4", 0),
        # where it is on its run (track/match.py)
        "slot": ("i8", -1),
        "x": ("f8", np.nan),  # of the last matched fix, in the network's frame
        "y": ("f8", np.nan),
        "distance_m": ("f8", np.nan),
        "joined_m": ("f8", np.nan),  # of the first fix on this run
        "offset_m": ("f8", np.nan),
        "matched_at": ("f8", -np.inf),
        "deviation_s": ("f8", np.nan),
        "next_pos": ("i8", 0),
        "misses": ("i4", 0),
        "doubts": ("i4", 0),  # fixes on its run that its timetable does not explain (track/doubt.py)
        "off_route": ("i1", 0),
        "standing_pos": ("i8", -1),  # stop position it stands at
        "liveness": ("i1", UNKNOWN),
        # what dispatchers are told of (track/watch.py)
        "told": ("i8", 0),  # bits
        "progress_m": ("f8", np.nan),  # where it last came on
        "progress_at": ("f8", -np.inf),
        # who tells of it (track/vet.py)
        "elsewhere": ("i4", 0),  # reports from elsewhere since elsewhere_at, between reports from here
        "elsewhere_at": ("f8", -np.inf),
        # of a vehicle whose run is inferred (track/inference.py)
        "mode": ("i1", BELIEVED),
        "phase": ("i1", 0),  # index of PHASES
        "probability": ("f8", np.nan),
    }
    lat: F64
    lon: F64
    measured_at: F64
    received_at: F64
    speed_mps: F64
    bearing_deg: F64
    occupancy: I8
    jump_lat: F64
    jump_lon: F64
    jump_at: F64
    jumps: I64
    repeats: I64
    slot: I64
    x: F64
    y: F64
    distance_m: F64
    joined_m: F64
    offset_m: F64
    matched_at: F64
    deviation_s: F64
    next_pos: I64
    misses: I64
    doubts: I64
    off_route: I8
    standing_pos: I64
    liveness: I8
    told: I64
    progress_m: F64
    progress_at: F64
    elsewhere: I64
    elsewhere_at: F64
    mode: I8
    phase: I8
    probability: F64

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.latest: list[VehiclePosition] = []
        self.log = EventLog()
        self._row: dict[str, int] = {}

    def row(self, position: VehiclePosition) -> int:
        """The row of a vehicle, made at its first report."""
        row = self._row.get(position.vehicle_id)
        if row is None:
            row = self._row[position.vehicle_id] = self.add()
            self.ids.append(position.vehicle_id)
            self.latest.append(position)
        return row

    def find(self, vehicle_id: str) -> int | None:
        return self._row.get(vehicle_id)

    def leave_run(self, row: int) -> None:
        """Forget the place on a run; the vehicle itself stays known."""
        self.slot[row], self.distance_m[row], self.offset_m[row] = -1, np.nan, np.nan
        self.matched_at[row], self.deviation_s[row] = -np.inf, np.nan
        self.next_pos[row], self.misses[row], self.off_route[row], self.doubts[row] = 0, 0, 0, 0
        self.standing_pos[row] = -1
        self.joined_m[row] = self.progress_m[row] = np.nan
        self.progress_at[row] = -np.inf

    def dump(self) -> dict[str, Any]:
        return super().dump() | {
            "ids": self.ids,
            "latest": msgspec.to_builtins(self.latest),
            "log": self.log.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.ids = list(state["ids"])
        self.latest = msgspec.convert(state["latest"], list[VehiclePosition])
        self._row = {vehicle_id: row for row, vehicle_id in enumerate(self.ids)}
        self.log.load(state["log"], self.ids)


class Runs(Table):
    """One slot a run that a vehicle performs or will perform next; slots are reused once a run is over.

    Wide columns hold a value per stop position of the run's pattern: observed times, and the predictions of the
    moment (PredictionTable of a run in progress)."""

    COLUMNS: ClassVar[dict[str, Column]] = {
        "day": ("i8", -1),  # service day ordinal, -1 free
        "run": ("i8", -1),  # run of that day; -1 where the timetable does not have the trip on that day
        "trip": ("i8", -1),
        "pattern": ("i8", -1),
        "start_s": ("i8", -1),
        "time_row": ("i8", 0),  # first row of the trip's stop times
        "base_at": ("f8", 0.0),  # service day start + shift of a frequency run
        "stops": ("i8", 0),
        "vehicle": ("i8", -1),
        # slot of the run before it in the block, for a run not begun yet; BEGUN; or FINISHING: its bus has gone on to
        # another run while stops were still ahead
        "following": ("i8", -1),
        "kept_until": ("f8", np.inf),  # of a run that is FINISHING, and not followed by its bus's run in the block
        "made_at": ("f8", -np.inf),
        "first_pos": ("i8", 0),  # predictions are held for first_pos..end_pos
        "end_pos": ("i8", 0),
        "progressed_at": ("f8", -np.inf),
    }
    # told: the departure that riders were told when the stop's board was last worked out; raw and scale: the expected
    # arrival before calibration, and the size of its error in seconds
    WIDE: ClassVar[tuple[str, ...]] = (
        "p10",
        "p50",
        "p90",
        "rider",
        "departure",
        "told",
        "arrived_at",
        "departed_at",
        "raw",
        "scale",
    )
    day: I64
    run: I64
    trip: I64
    pattern: I64
    start_s: I64
    time_row: I64
    base_at: F64
    stops: I64
    vehicle: I64
    following: I64
    kept_until: F64
    made_at: F64
    first_pos: I64
    end_pos: I64
    progressed_at: F64
    arrived_at: F64
    departed_at: F64
    p10: F64
    p50: F64
    p90: F64
    rider: F64
    departure: F64
    told: F64
    raw: F64
    scale: F64

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.slot_of: dict[tuple[int, int, int], int] = {}
        self._free: list[int] = []

    def take(self, key: tuple[int, int, int]) -> int:
        """A slot for (day ordinal, trip, start_s)."""
        slot = self._free.pop() if self._free else self.add()
        self.slot_of[key] = slot
        self.day[slot], self.trip[slot], self.start_s[slot] = key
        return slot

    def release(self, slot: int) -> None:
        self.slot_of.pop(self.key(slot), None)
        self.clear_row(slot)
        self._free.append(slot)

    def key(self, slot: int) -> tuple[int, int, int]:
        return int(self.day[slot]), int(self.trip[slot]), int(self.start_s[slot])

    def dated(self, slot: int, service_date: str) -> DatedTrip:
        start = int(self.start_s[slot])
        return DatedTrip(int(self.trip[slot]), service_date, None if start < 0 else start)

    def used(self) -> I64:
        return np.flatnonzero(self.day[: self.size] >= 0)

    def dump(self) -> dict[str, Any]:
        return super().dump() | {"free": list(self._free)}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self._free = [int(s) for s in state["free"]]
        self.slot_of = {self.key(int(s)): int(s) for s in self.used()}
