"""Recorded positions on the engine's 100 ms grid: which ticks a live line would have made, and when.

The inputs are a function of the positions so far and of the engine's answers alone; a position later than T changes no
input at or before T. That is what makes a replay free of look-ahead, and it holds because

- a position at t is applied before the tick of its own grid point and after every earlier one;
- a tick at g comes after all positions with t <= g, which a file cut at T >= g holds too;
- deadlines fire while a vehicle is live, until `DRAIN_S` after the newest position at most; then they sleep until the
  next position, in a gap of the file just as behind its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

from busd.engine import GRID_S, grid
from busd.types import AnyInput, NetworkLoaded, Output, PositionReceived, PriorsLoaded, Started, Tick, VehiclePosition

DRAIN_S = 3600.0
LEAD_S = 60.0
"""a run starts this long before its first position, so that the timetable is there when the first bus is"""

Sink = Callable[[AnyInput, list[Output]], None]


class Engine(Protocol):
    """What a replay needs of `busd.engine.Engine`."""

    def apply(self, input: AnyInput) -> list[Output]: ...

    @property
    def next_deadline(self) -> float | None: ...

    @property
    def live_vehicles(self) -> int: ...


def tick_at_or_after(at: float) -> float:
    """The first grid point that is not before ``at``, to the last bit: inputs never go back, not even by a rounding."""
    point = grid(at)
    return point if point >= at else grid(point + GRID_S / 2)


def start_before(first_position_at: float) -> float:
    return math.floor(first_position_at - LEAD_S)


class GridDriver:
    """Turns positions into inputs, applies them, and hands each input with its outputs to ``sink``."""

    def __init__(self, engine: Engine, sink: Sink) -> None:
        self._engine = engine
        self.sink = sink
        self._at = -math.inf
        """instant of the last input"""
        self._awake_until = -math.inf
        self._due: float | None = None
        """grid point of the tick that a waiting fix asks for"""

    def start(self, at: float, epoch: str) -> None:
        self._apply(Started(at=at, epoch=epoch))
        self._awake_until = at + DRAIN_S

    def load_network(self, at: float, digest: str) -> None:
        """The timetable changes at ``at``; what was due before has happened."""
        self._run_until(at)
        self._apply(NetworkLoaded(at=max(at, self._at), digest=digest))
        self._awake_until = max(self._awake_until, self._at + DRAIN_S)

    def load_priors(self, at: float, digest: str) -> None:
        """From ``at`` on predictions start from these."""
        self._run_until(at)
        self._apply(PriorsLoaded(at=max(at, self._at), digest=digest))

    def feed(self, position: VehiclePosition) -> None:
        """One position; ``received_at`` must not be earlier than that of the one before."""
        at = position.received_at
        self._run_until(at)
        self._apply(PositionReceived(at=at, position=position))
        self._awake_until = at + DRAIN_S
        if self._due is None:
            self._due = tick_at_or_after(at)

    def feed_all(self, positions: Iterable[VehiclePosition]) -> None:
        for position in positions:
            self.feed(position)

    def drain(self, before: float = math.inf) -> None:
        """The ticks after the last position: deadlines until no vehicle is live, for at most `DRAIN_S`, and none at or
        after ``before``."""
        self._run_until(before)

    def _run_until(self, at: float) -> None:
        """All ticks whose grid point lies before ``at``."""
        while (tick_at := self._next_tick()) is not None and tick_at < at:
            self._due = None
            self._apply(Tick(at=tick_at))

    def _next_tick(self) -> float | None:
        tick_at = self._due
        deadline = self._engine.next_deadline
        if deadline is not None and deadline <= self._awake_until and self._engine.live_vehicles:
            # never before the last input, nor twice at one grid point, however late a deadline is noticed
            due = max(tick_at_or_after(deadline), tick_at_or_after(self._at))
            if due == self._at and self._due is None:
                due = tick_at_or_after(self._at + GRID_S / 2)
            tick_at = due if tick_at is None else min(tick_at, due)
        return tick_at

    def _apply(self, entry: AnyInput) -> None:
        self._at = entry.at
        self.sink(entry, self._engine.apply(entry))
