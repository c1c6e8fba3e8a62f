"""The line: every input goes through here, once, in order: journal -> engine -> outputs to whoever listens.

The journal fixes the order, so an input is appended before it is applied. The ticks of the 100 ms grid are made here;
a tick is never dated in the future, and everything that came in before it has an earlier instant.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from busd import metrics
from busd.clock import Clock
from busd.engine import GRID_S, Engine, grid
from busd.errors import JournalError
from busd.types import (
    AnyInput,
    BoardsChanged,
    Output,
    PositionReceived,
    Predicted,
    Rejected,
    StopVisited,
    Tick,
    VehiclePosition,
)

log = structlog.get_logger(__name__)
Sink = Callable[[Sequence[Output]], None]

REST = 1.0
"""After a tick that took longer than the grid, reports do not set off another one for so many times as long as it took.
Else a hundred reports of one turn of the loop would each bring one, and signs and riders would wait for seconds."""


class InputLog(Protocol):
    """The part of the journal that the line writes to. `JournalError`: the inputs are not on the disk."""

    seq: int

    def append_many(self, inputs: Sequence[AnyInput]) -> None: ...


class Guard(Protocol):
    """`busd.journal.CrashGuard`: knows which input was being applied when the process ended."""

    def enter(self, seq: int) -> None: ...
    def leave(self) -> None: ...


class Line:
    """``sinks`` get the outputs of every input that had any, in order. For one event loop."""

    def __init__(
        self,
        engine: Engine,
        journal: InputLog | None,
        clock: Clock,
        sinks: Sequence[Sink],
        guard: Guard | None = None,
    ) -> None:
        self.engine, self.journal, self.clock, self.sinks, self.guard = engine, journal, clock, list(sinks), guard
        self.applied_at = -math.inf
        self._tick_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._speed = float(getattr(clock, "speed", 1.0))
        self._rested_at = -math.inf
        """Reports that come before this monotonic instant wait for a later tick, see `REST`."""

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        """Take reports in. When it returns the journal has them (or has said that it cannot), so a device may get its
        acknowledgement; their effect comes with the next tick."""
        now = self._now()
        if self.clock.monotonic() >= self._rested_at:
            self._run_due(now)
        inputs = [PositionReceived(now, position, historical) for position in positions]
        for position in positions:
            metrics.POSITIONS.labels(position.source).inc()
            if historical:
                metrics.POSITIONS_HISTORICAL.labels(position.source).inc()
            else:
                metrics.POSITION_AGE.observe(max(now - position.measured_at, 0.0))
        self.take(inputs)

    def take(self, inputs: Sequence[AnyInput]) -> None:
        """Append and apply inputs that are dated ``now`` (start, network, operator commands, positions)."""
        if not inputs:
            return
        self._take(inputs)
        self._arrange()

    def now(self) -> float:
        """The instant for the next input: the clock's, never before an earlier input."""
        now = self._now()
        self._run_due(now)
        return now

    def start(self) -> None:
        """Begin to tick; needs a running event loop."""
        self._arrange()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now(self) -> float:
        return max(self.clock.now(), self.applied_at)

    def _take(self, inputs: Sequence[AnyInput]) -> None:
        self._append(inputs)
        first = self.journal.seq - len(inputs) + 1 if self.journal is not None else 0
        for number, entry in enumerate(inputs, first):
            if self.guard is not None:
                self.guard.enter(number)
            self._apply(entry)
        if self.guard is not None:
            self.guard.leave()

    def _append(self, inputs: Sequence[AnyInput]) -> None:
        if self.journal is None:
            return
        try:
            self.journal.append_many(inputs)
        except JournalError as error:
            metrics.JOURNAL_LOST.inc(len(inputs))
            log.error("journal_lost", error=str(error), inputs=len(inputs))

    def _apply(self, entry: AnyInput) -> None:
        self.applied_at = entry.at
        outputs = self.engine.apply(entry)
        if outputs:
            count_outputs(outputs)
            for sink in self.sinks:
                sink(outputs)

    def _run_due(self, now: float) -> None:
        """A tick whose grid point has passed comes before any later input."""
        if now < self._tick_at:
            return
        at = max(self._tick_at, math.floor(now / GRID_S + 1e-6) / round(1 / GRID_S))
        metrics.TICK_LATE_SECONDS.observe(max(now - self._tick_at, 0.0))
        self._tick_at = math.inf
        began = self.clock.monotonic()
        self._take([Tick(max(at, self.applied_at))])
        took = self.clock.monotonic() - began
        if took > GRID_S / self._speed:
            self._rested_at = began + (1 + REST) * took
        metrics.TICK_SECONDS.observe(took)
        metrics.TICKS.inc()
        metrics.VEHICLES.set(self.engine.live_vehicles)

    def _arrange(self) -> None:
        """Set the timer for the next grid point at which there is something to do."""
        due = self.engine.next_deadline
        tick_at = math.inf if due is None else grid(max(due, self.applied_at))
        if tick_at == self._tick_at:
            return
        self._tick_at = tick_at
        self.stop()
        if math.isfinite(tick_at):
            self._set_timer()

    def _set_timer(self) -> None:
        wait = max(self._tick_at - self.clock.now(), 0.0) / self._speed
        self._timer = asyncio.get_running_loop().call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._now()
        if now < self._tick_at:  # the loop's clock runs a little ahead of ours
            self._set_timer()
            return
        self._run_due(now)
        self._arrange()


def count_outputs(outputs: Sequence[Output]) -> None:
    """Outputs -> metrics."""
    boards = 0
    for output in outputs:
        match output:
            case BoardsChanged():
                boards += len(output.boards)
            case StopVisited():
                metrics.STOP_VISITS.inc()
            case Predicted():
                metrics.PREDICTIONS.inc()
            case Rejected():
                metrics.REJECTED.labels(output.source, output.reason).inc()
    if boards:
        metrics.BOARDS_CHANGED.inc(boards)
