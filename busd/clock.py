"""Where the time comes from: the only file that may ask the operating system.

Everything else takes a `Clock`. Both readings are seconds: ``now()`` is the epoch time that riders see, ``monotonic()``
is for durations, deadlines and time-outs of connections.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Two readings in seconds; neither ever decreases."""

    def now(self) -> float:
        """Epoch seconds (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds since some instant; only differences mean something."""
        ...


class SystemClock:
    """The machine's clock, which never steps back.

    A step forward is followed at once. After a step back (an operator, NTP) the reading goes on from where it was at
    ``1 - SLEW`` of real speed until the machine's clock has caught up: journal and boards need instants that never
    decrease, and a reading that stood still for an hour would stop every deadline. For one thread.

    ``wall`` and ``monotonic`` are the readings it rests on.
    """

    SLEW = 0.05

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last = wall()
        self._last_monotonic = monotonic()

    def now(self) -> float:
        now, monotonic = self._wall(), self._monotonic()
        if now < self._last:
            now = max(now, self._last + (monotonic - self._last_monotonic) * (1.0 - self.SLEW))
        self._last, self._last_monotonic = now, monotonic
        return now

    def monotonic(self) -> float:
        return self._monotonic()


class ManualClock:
    """Stands still until told otherwise; for tests and for replays that step from input to input."""

    def __init__(self, at: float = 0.0) -> None:
        self._now = at
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Both readings go on by ``seconds`` (>= 0, else ValueError)."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"a clock goes forward only, not by {seconds} s")
        self._now += seconds
        self._monotonic += seconds


class ScaledClock:
    """Epoch time that runs ``speed`` times as fast as ``clock``, from ``at`` (default: the clock's own now) on.

    ``monotonic()`` stays real, because sockets and their time-outs live in real time whatever the city's speed is. The
    scaled time rests on the monotonic reading, so a step of the machine's clock does not become a jump of minutes.
    """

    def __init__(self, speed: float, clock: Clock, at: float | None = None) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed must be positive, not {speed}")
        self.speed = speed
        self._clock = clock
        self._start = clock.now() if at is None else at
        self._start_monotonic = clock.monotonic()

    def now(self) -> float:
        return self._start + (self._clock.monotonic() - self._start_monotonic) * self.speed

    def monotonic(self) -> float:
        return self._clock.monotonic()
