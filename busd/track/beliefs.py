"""What may be true of each vehicle: a handful of weighted hypotheses, as arrays [vehicle, place].

A hypothesis says "this vehicle performs that run, and is there on it". Weights are log likelihoods; only their
differences within one vehicle mean anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gtfs.network import F64, I64

FREE, LAYOVER, SERVICE, ENDED = 0, 1, 2, 3
"""phase of a hypothesis: none; at or near the first stop, not left yet; on the way; arrived, and nothing follows"""

PLACES = 8
"""hypotheses a vehicle can hold"""


class Beliefs:
    """Arrays [vehicle, place]; a vehicle's row is its row of `fleet.Vehicles`. ``held`` grows with that table."""

    COLUMNS: ClassVar[dict[str, tuple[str, float]]] = {
        "phase": ("i1", FREE),
        "day": ("i8", -1),  # service day ordinal
        "run": ("i8", -1),  # run of the day; -1: the calendar does not have the trip on that day
        "trip": ("i8", -1),
        "start_s": ("i8", -1),
        "pattern": ("i8", 0),
        "time_row": ("i8", 0),
        "base_at": ("f8", 0.0),
        "joined_m": ("f8", np.nan),  # where it came upon the run
        # the last fix that fitted
        "distance_m": ("f8", np.nan),
        "offset_m": ("f8", np.nan),
        "deviation_s": ("f8", np.nan),
        "x": ("f8", np.nan),
        "y": ("f8", np.nan),
        "at": ("f8", -np.inf),
        "ready_s": ("f8", 0.0),  # how late it was at the terminal, ready for the run
        "departure": ("f8", 0.0),  # what its departure, when it was, is evidence of: in ``habit``
        "misses": ("i8", 0),  # fixes since then that did not
        # evidence, log
        "path": ("f8", 0.0),  # how the fixes lie on the shape: fades
        "waited": ("f8", 0.0),  # where it waits for its departure: fades, too
        "habit": ("f8", 0.0),  # how well the timetable has been kept: fades slowly
        "prior": ("f8", 0.0),  # of the way it came about: fades slowly
        "total": ("f8", -np.inf),
        "share": ("f8", 0.0),  # probability among the vehicle's hypotheses
        "alone": ("f8", -np.inf),  # total without what other vehicles say of the run
        "claim": ("f8", 0.0),  # odds with which it claims the run against other vehicles
    }
    VEHICLE: ClassVar[dict[str, tuple[str, float]]] = {
        "last_x": ("f8", np.nan),  # the fix before
        "last_y": ("f8", np.nan),
        "last_at": ("f8", -np.inf),
        "stand_x": ("f8", np.nan),  # the place that it has not left since
        "stand_y": ("f8", np.nan),
        "stands_since": ("f8", np.inf),
        "from_x": ("f8", np.nan),  # where its last real movement ended
        "from_y": ("f8", np.nan),
        "course": ("f8", np.nan),  # radians clockwise from north, of the last real movement
        "line": ("i8", -1),  # route it was last seen to serve
        "block": ("i8", -1),  # and block
        "sought_at": ("f8", -np.inf),
        "trust": ("f8", 10.0),  # nats that its trip hint is worth
        "doubted": ("f8", 0.0),  # nats that it has lost for good: runs that it named and was far ahead of
    }
    """one value a vehicle"""
    last_x: F64
    last_y: F64
    last_at: F64
    stand_x: F64
    stand_y: F64
    stands_since: F64
    from_x: F64
    from_y: F64
    course: F64
    line: I64
    block: I64
    sought_at: F64
    trust: F64
    doubted: F64
    phase: npt.NDArray[np.int8]
    day: I64
    run: I64
    trip: I64
    start_s: I64
    pattern: I64
    time_row: I64
    base_at: F64
    joined_m: F64
    distance_m: F64
    offset_m: F64
    deviation_s: F64
    x: F64
    y: F64
    at: F64
    ready_s: F64
    departure: F64
    misses: I64
    path: F64
    waited: F64
    habit: F64
    prior: F64
    total: F64
    share: F64
    claim: F64
    alone: F64

    def __init__(self) -> None:
        self.held = 0
        self._resize(0)

    def _resize(self, room: int) -> None:
        for columns, shape in ((self.COLUMNS, (room, PLACES)), (self.VEHICLE, (room,))):
            for name, (dtype, fill) in columns.items():
                grown = np.full(shape, fill, dtype)
                if self.held:
                    grown[: self.held] = getattr(self, name)
                setattr(self, name, grown)
        self.held = room

    def hold(self, vehicles: int) -> None:
        """Room for the rows below ``vehicles``; doubles, so that growing stays cheap."""
        if vehicles > self.held:
            self._resize(max(16, 2 * self.held, vehicles))

    def clear(self, rows: I64 | int, places: I64 | slice = slice(None)) -> None:
        for name, (_, fill) in self.COLUMNS.items():
            getattr(self, name)[rows, places] = fill

    def dump(self) -> dict[str, Any]:
        """Only the rows of vehicles that something is believed of, since most vehicles name their trip."""
        rows = np.flatnonzero((self.phase != FREE).any(axis=1) | np.isfinite(self.last_at) | (self.doubted > 0.0))
        columns = {name: getattr(self, name)[rows] for name in [*self.COLUMNS, *self.VEHICLE]}
        return {"held": self.held, "rows": rows, "columns": columns}

    def load(self, state: dict[str, Any]) -> None:
        self.held = 0
        self._resize(int(state["held"]))
        for name, column in state["columns"].items():
            getattr(self, name)[state["rows"]] = column
