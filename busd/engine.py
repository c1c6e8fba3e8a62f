"""The engine: the only place where the stages are wired, and the only thing that changes state.

    PositionReceived   vet it; it waits for the tick
    Tick               assign + match the waiting fixes in journal order -> progress, stop visits
                       -> predict all vehicles that moved -> boards of the stops they touch -> hysteresis

No clock, no loop, no socket, no dice: the same inputs give the same outputs, live and in replay.
"""

from __future__ import annotations

import numpy as np

from busd.board import STATES
from busd.errors import Reason
from busd.state import GRID_S, EngineState, grid
from busd.track.events import Event
from busd.track.vet import note_elsewhere, vet_against_last, vet_alone
from busd.types import (
    AnyInput,
    BoardsChanged,
    NetworkLoaded,
    OperatorCommand,
    Output,
    PositionReceived,
    PriorsLoaded,
    Rejected,
    Started,
    StopVisited,
    Tick,
    VehicleEvent,
    VehiclePosition,
)
from gtfs.network import I64

__all__ = ["GRID_S", "Engine", "grid"]


class Engine(EngineState):
    """One writer: `apply` is the only thing that changes the state."""

    def apply(self, entry: AnyInput) -> list[Output]:
        """Take one input of the journal; returns what it changed, in order."""
        self._at = max(self._at, entry.at)
        match entry:
            case PositionReceived():
                return self._position(entry)
            case Tick():
                return self._tick(entry.at)
            case NetworkLoaded():
                return self._load(entry)
            case Started():
                return self._start(entry)
            case OperatorCommand():
                return self._order(entry)
            case PriorsLoaded():
                return self._take_priors(entry)

    def _start(self, entry: Started) -> list[Output]:
        if not entry.keeps:
            self._reset()
        self._epoch = entry.epoch
        if self._network is not None:
            self.boards_kept.epoch = entry.epoch
        return []

    def _take_priors(self, entry: PriorsLoaded) -> list[Output]:
        """What is learned is replaced. LookupError where nobody has priors of that digest."""
        if self._find_priors is None:
            raise LookupError(f"nobody knows the priors {entry.digest[:12]}")
        if self._network is not None:
            self._find_priors(entry.digest).into(self.predictor.learned, self.parameters, self._networks)
        return []

    def _position(self, entry: PositionReceived) -> list[Output]:
        position, outputs = entry.position, list[Output]()
        reason = vet_alone(position, entry.at, self.parameters.vetting, historical=entry.historical)
        if reason is None:
            row = self.vehicles.row(position)
            if entry.historical and position.measured_at <= self.vehicles.measured_at[row]:
                reason = Reason.OUT_OF_ORDER  # a blind-zone batch fills history, which the journal has
            else:
                reason = vet_against_last(position, self.vehicles, row, self.parameters.vetting)
            if reason is None:
                self._accept(row, position)
                return []
            if reason is Reason.JUMP:
                words = note_elsewhere(position, self.vehicles, row, self.parameters.watching)
                if words is not None:
                    event = VehicleEvent(entry.at, position.vehicle_id, Event.SOURCES, words)
                    self.vehicles.log.tell(row, event, outputs)
        outputs.append(Rejected(entry.at, position.source, reason, position.vehicle_id, report_id=position.report_id))
        return outputs

    def _order(self, entry: OperatorCommand) -> list[Output]:
        """An operator's word is on the boards at once: it does not wait for a tick."""
        outputs: list[Output] = []
        if entry.name == "detour":
            self._judge_detour(entry)
            return outputs
        restated, touched = self.notices.take(entry.name, entry.args, entry.at)
        if self._network is not None and self.makes_boards and len(restated) + len(touched):
            self._show(np.union1d(restated, touched), entry.at, outputs, [], restated)
        return outputs

    def _judge_detour(self, entry: OperatorCommand) -> None:
        """``id`` of a finding, ``verdict`` confirm or dismiss. What does not fit the state changes nothing."""
        number, verdict = entry.args.get("id"), entry.args.get("verdict")
        if self._network is not None and isinstance(number, int) and isinstance(verdict, str):
            self.tracker.detours.decide(number, verdict, entry.operator)

    def _accept(self, row: int, position: VehiclePosition) -> None:
        vehicles = self.vehicles
        vehicles.latest[row] = position
        vehicles.lat[row], vehicles.lon[row] = position.lat, position.lon
        vehicles.measured_at[row], vehicles.received_at[row] = position.measured_at, position.received_at
        vehicles.occupancy[row] = -1 if position.occupancy is None else position.occupancy
        self._newest_at = max(self._newest_at, self._at)
        self._waiting.append((row, position))

    def _tick(self, at: float) -> list[Output]:
        if self._network is None:
            self._waiting.clear()
            return []
        outputs: list[Output] = []
        touched: list[int] = []
        changed: list[I64] = []
        if self.timetable.advance(at):
            self.tracker.days_changed()
            self.boards_kept.lines.days_changed()
            self.boards_kept.deadline_at[:] = at
        waiting, self._waiting = self._waiting, []
        moved = self.tracker.follow(waiting, at, outputs, touched)
        moved |= self.tracker.expire(at, outputs, touched)
        rows = np.array(sorted(r for r in moved if self.vehicles.slot[r] >= 0), np.int64)
        self.predictor.learn([output.visit for output in outputs if type(output) is StopVisited], at)
        for predicted, news in (self.predictor.predict(rows, at), self.predictor.tend(at)):
            outputs.extend(predicted)
            changed += news
        if self.makes_boards:
            left = np.array(touched, np.int64)
            changed.append(np.column_stack([left, np.zeros_like(left), self.runs.stops[left]]))
            stops = np.union1d(self.boards_kept.stops_of(np.concatenate(changed)), self.boards_kept.due(at))
            restated: I64 | None = None
            if at >= self.notices.next_change:
                restated, freed = self.notices.advance(at)
                stops = np.union1d(stops, np.union1d(restated, freed))
            self._show(stops, at, outputs, touched, restated)
        else:
            self.tracker.holding.release(touched)
        return outputs

    def _show(self, stops: I64, at: float, outputs: list[Output], left: list[int], restated: I64 | None = None) -> None:
        """The boards of ``stops``, or of all where the state of all changes; ``left``: runs that nobody performs;
        ``restated``: stops whose messages are others."""
        self.tracker.holding.release(left)
        state = self._board_state(at)
        if state != self._state:
            self._state, stops = state, np.arange(len(self.network.stop_lat))
        if len(stops) and len(boards := self.boards_kept.update(stops, at, state, restated)):
            outputs.append(BoardsChanged(boards))

    def _load(self, entry: NetworkLoaded) -> list[Output]:
        """A timetable comes in: vehicles stay known, their places and predictions are found anew."""
        outputs: list[Output] = []
        if self._network is not None:
            self._waiting.clear()
            for row in range(self.vehicles.size):
                self.vehicles.leave_run(row)
        self._wire(self._networks(entry.digest))
        self.timetable.advance(entry.at)
        self.notices.advance(entry.at)
        if self.makes_boards:
            self._show(np.arange(len(self.network.stop_lat)), entry.at, outputs, [])
        return outputs

    def _board_state(self, at: float) -> int:
        silence = at - self._newest_at
        b = self.parameters.boards
        name = "schedule" if silence > b.silent_s else "degraded" if silence > b.degraded_s else "live"
        return STATES.index(name)
