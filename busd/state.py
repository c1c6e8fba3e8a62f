"""What the engine holds: its tables, stages and clockless present; how it is read, and its snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, Self

import msgspec
import numpy as np

from busd.board import STATES, BoardKeeper
from busd.days import Timetable
from busd.errors import JournalError
from busd.notices import Notices
from busd.parameters import Parameters
from busd.predict.predictor import Predictor
from busd.predict.priors import Priors
from busd.table import pack_state, unpack_state
from busd.track.explain import explain_vehicle
from busd.track.fleet import Runs, Vehicles
from busd.track.tracker import Tracker
from busd.types import Board, Progress, VehiclePosition
from gtfs.network import Network

GRID_S = 0.1
STATE_VERSION = 9


def grid(at: float) -> float:
    """The first point of the 100 ms tick grid at or after ``at``."""
    per_s = round(1 / GRID_S)
    nearest = round(at * per_s)
    return nearest / per_s if nearest / per_s >= at else (nearest + 1) / per_s


class EngineState:
    """The state of one engine. ``networks`` finds a compiled network by its digest; inputs name them only by digest.

    ``boards=False`` leaves out the last stage, for a replay whose reader asks for predictions only: everything else
    is the same, at half the time."""

    def __init__(
        self,
        networks: Callable[[str], Network],
        parameters: Parameters | None = None,
        *,
        boards: bool = True,
        priors: Callable[[str], Priors] | None = None,
    ) -> None:
        self.parameters = parameters or Parameters()
        self.makes_boards = boards
        self._networks = networks
        self._find_priors = priors
        self._epoch = ""
        self._at = -math.inf
        self._network: Network | None
        self._waiting: list[tuple[int, VehiclePosition]]
        self._newest_at: float  # receipt of the newest accepted fix of all
        self._state: int
        self.notices: Notices
        self.timetable: Timetable
        self.runs: Runs
        self.tracker: Tracker
        self.predictor: Predictor
        self.boards_kept: BoardKeeper
        self._reset()

    # ---- reading -----------------------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        if self._network is None:
            raise LookupError("no network loaded yet")
        return self._network

    @property
    def epoch(self) -> str:
        """Of the board revisions; empty before `Started`."""
        return self._epoch

    @property
    def has_network(self) -> bool:
        return self._network is not None

    @property
    def last_at(self) -> float:
        """Instant of the last input."""
        return self._at

    @property
    def newest_position_at(self) -> float | None:
        """Receipt of the newest accepted report of all vehicles."""
        return self._newest_at if math.isfinite(self._newest_at) else None

    @property
    def next_deadline(self) -> float | None:
        """When the next `Tick` is due though no fix waits; None if nothing ever will be. ``at`` of the last input if
        fixes wait."""
        if self._waiting:
            return self._at
        if self._network is None:
            return None
        due = min(self.tracker.next_deadline(), self.predictor.next_deadline())
        if self.makes_boards:
            due = min(due, self.boards_kept.next_deadline(), self._state_deadline(), self.notices.next_change)
        return due if math.isfinite(due) else None

    @property
    def live_vehicles(self) -> int:
        """Vehicles that are neither unknown nor lost."""
        return self.tracker.live_count() if self._network is not None else 0

    def board(self, stop_idx: int) -> Board | None:
        return self.boards_kept.board(stop_idx)

    def boards(self) -> Iterator[Board]:
        return (board for stop in range(len(self.network.stop_lat)) if (board := self.board(stop)))

    def progress(self) -> list[Progress]:
        """The latest of every live vehicle."""
        return self.tracker.live_progress() if self._network is not None else []

    def priors(self) -> Priors:
        """What has been learned, to begin another run with."""
        if self._network is None:
            raise LookupError("no network loaded yet")
        return Priors.of(self.predictor.learned)

    def explain(self, vehicle_id: str) -> dict[str, Any] | None:
        """Why a vehicle is predicted or not (`busd.track.explain`); None if it has never reported."""
        row = self.vehicles.find(vehicle_id)
        if row is None or self._network is None:
            return None
        return explain_vehicle(self.tracker, row, self._at)

    def similar_vehicles(self, vehicle_id: str, limit: int = 5) -> list[str]:
        """Known ids that one may have meant."""
        return get_close_matches(vehicle_id, self.vehicles.ids, limit, 0.6)

    def detours(self) -> list[dict[str, Any]]:
        """Findings of `busd.track.detour`, newest first."""
        return self.tracker.detours.findings() if self._network is not None else []

    # ---- the parts ------------------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """Nothing is known."""
        self._network = None
        self.vehicles = Vehicles()
        self.notices = Notices()
        self._waiting = []
        self._newest_at = -math.inf
        self._state = STATES.index("schedule")

    def _wire(self, network: Network) -> None:
        p = self.parameters
        old: BoardKeeper | None = self.boards_kept if self._network is not None else None
        learned: Predictor | None = self.predictor if self._network is not None else None
        self._network = network
        width = int(np.diff(network.pattern_stop_offset).max(initial=1))
        self.timetable = Timetable(network, p.boards.max_late_s, p.boards.horizon_s + p.boards.max_early_s)
        self.runs = Runs(width)
        self.predictor, self.tracker = self._stages(network)
        if learned is not None:
            self.predictor.carry_over(learned)
        self.notices.bind(network)
        self.boards_kept = BoardKeeper(network, self.timetable, self.vehicles, self.runs, p, self._epoch, self.notices)
        if old is not None:
            self.boards_kept.continue_revisions(old)

    def _stages(self, network: Network) -> tuple[Predictor, Tracker]:
        tracker = Tracker(network, self.timetable, self.vehicles, self.runs, self.parameters)
        predictor = Predictor(network, self.timetable, self.vehicles, self.runs, tracker.assigner, self.parameters)
        tracker.holding.withdraw = predictor.withdraw
        return predictor, tracker

    def _state_deadline(self) -> float:
        """When silence will change the state of all boards."""
        b = self.parameters.boards
        steps = {"live": b.degraded_s, "degraded": b.silent_s}
        wait = steps.get(STATES[self._state])
        return math.inf if wait is None else self._newest_at + wait + GRID_S

    # ---- snapshot ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All state, exactly; `restore` continues as if there had been no stop."""
        state: dict[str, Any] = {
            "version": STATE_VERSION,
            "parameters": self.parameters.digest,
            "epoch": self._epoch,
            "at": self._at,
            "newest_at": self._newest_at,
            "board_state": self._state,
            "network": self._network.digest if self._network is not None else "",
            "vehicles": self.vehicles.dump(),
            "notices": self.notices.dump(),
            "waiting": [(row, msgspec.to_builtins(position)) for row, position in self._waiting],
        }
        if self._network is not None:
            state |= {"runs": self.runs.dump(), "boards": self.boards_kept.dump(), "timetable": self.timetable.dump()}
            state["tracker"] = self.tracker.dump()
            state["predictor"] = self.predictor.dump()
        return pack_state(state)

    @classmethod
    def restore(
        cls,
        data: bytes,
        networks: Callable[[str], Network],
        parameters: Parameters | None = None,
        *,
        priors: Callable[[str], Priors] | None = None,
    ) -> Self:
        """The engine that made ``data``. JournalError if this version or these parameters cannot continue it."""
        state = unpack_state(data)
        engine = cls(networks, parameters, priors=priors)
        if state.get("version") != STATE_VERSION:
            raise JournalError(f"the snapshot is of version {state.get('version')}, this is {STATE_VERSION}")
        if state["parameters"] != engine.parameters.digest:
            raise JournalError("the snapshot was made with other engine parameters")
        engine._epoch, engine._at = state["epoch"], state["at"]
        engine._newest_at, engine._state = state["newest_at"], state["board_state"]
        engine.vehicles.load(state["vehicles"])
        if state["network"]:
            engine._wire(networks(state["network"]))
            engine.timetable.load(state["timetable"])
            engine.runs.load(state["runs"])
            engine.predictor.load(state["predictor"])
            engine.boards_kept.load(state["boards"])
            engine.tracker.load(state["tracker"])
        if "notices" in state:
            engine.notices.load(state["notices"])
        engine._waiting = [(row, msgspec.convert(report, VehiclePosition)) for row, report in state["waiting"]]
        return engine
