"""How a bus drives: distance over time as pieces of constant acceleration."""

from __future__ import annotations

from bisect import bisect_right
from math import sqrt

ACCELERATE = 1.0
BRAKE = 1.2
"""m/s2, comfortable for standing passengers"""


class Motion:
    """Knots (t, s, v), acceleration constant between two of them; only the newest can be appended to."""

    __slots__ = ("s", "t", "v")

    def __init__(self, t: float, s: float) -> None:
        self.t, self.s, self.v = [t], [s], [0.0]

    @property
    def end(self) -> tuple[float, float, float]:
        """Time, distance and speed of the last knot."""
        return self.t[-1], self.s[-1], self.v[-1]

    def hold(self, until_t: float) -> None:
        """Stand still where the last knot is."""
        if until_t > self.t[-1]:
            self._knot(until_t, self.s[-1], 0.0)

    def drive(self, to_s: float, cruise: float, halt: bool) -> None:
        """Go on to ``to_s`` at most as fast as ``cruise`` (m/s); ``halt``: stand there, else pass it."""
        for t, s, v in plan_drive(*self.end, to_s, cruise, halt):
            self._knot(t, s, v)

    def _knot(self, t: float, s: float, v: float) -> None:
        self.t.append(t)
        self.s.append(s)
        self.v.append(v)

    def at(self, t: float) -> tuple[float, float]:
        """Distance (m) and speed (m/s); before the first and after the last knot it stands still there."""
        i = bisect_right(self.t, t) - 1
        if i < 0:
            return self.s[0], 0.0
        if i >= len(self.t) - 1:
            return self.s[-1], 0.0
        whole = self.t[i + 1] - self.t[i]
        a = (self.v[i + 1] - self.v[i]) / whole
        dt = t - self.t[i]
        return min(self.s[i] + self.v[i] * dt + 0.5 * a * dt * dt, self.s[i + 1]), max(self.v[i] + a * dt, 0.0)

    def forget(self, before_t: float) -> None:
        """Drop the knots that no question about ``before_t`` or later needs."""
        i = bisect_right(self.t, before_t) - 1
        if i > 0:
            del self.t[:i], self.s[:i], self.v[:i]


def plan_drive(
    t: float, s: float, v: float, to_s: float, cruise: float, halt: bool
) -> list[tuple[float, float, float]]:
    """Knots from (t, s, v) to ``to_s``: change to the cruise speed, keep it, brake to a halt if asked."""
    d = to_s - s
    if d <= 1e-9:
        return []
    if halt and v * v / (2 * BRAKE) >= d:  # only a harder braking gets there
        return [(t + 2 * d / v, to_s, 0.0)]
    if v > cruise:
        change = (v * v - cruise * cruise) / (2 * BRAKE)
        rate = -BRAKE
    else:
        change = (cruise * cruise - v * v) / (2 * ACCELERATE)
        rate = ACCELERATE
    stop = cruise * cruise / (2 * BRAKE) if halt else 0.0
    if change + stop > d:
        if not halt:  # still changing speed when it passes
            end = sqrt(max(v * v + 2 * rate * d, 0.01))
            return [(t + 2 * d / (v + end), to_s, end)]
        # too short for the cruise speed: up (or not) to a peak and down again
        peak = sqrt((2 * ACCELERATE * BRAKE * d + BRAKE * v * v) / (ACCELERATE + BRAKE))
        if v > cruise or peak <= v:
            return [(t + 2 * d / v, to_s, 0.0)]
        up = (peak * peak - v * v) / (2 * ACCELERATE)
        t1 = t + (peak - v) / ACCELERATE
        return [(t1, s + up, peak), (t1 + peak / BRAKE, to_s, 0.0)]
    knots = []
    if change > 1e-9:
        t, s = t + (cruise - v) / rate, s + change
        knots.append((t, s, cruise))
    keep = d - change - stop
    if keep > 1e-9:
        t, s = t + keep / cruise, s + keep
        knots.append((t, s, cruise))
    if halt:
        knots.append((t + cruise / BRAKE, to_s, 0.0))
    else:
        knots[-1] = (t, to_s, cruise)
    return knots
