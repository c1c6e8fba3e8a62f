"""Whose clock is right: the offset of each device's clock, learned from received - measured of its live reports.

A device within `SURE_S` of the receiver is right and costs nothing: only a device that is off gets an entry. After
`ENOUGH` reports whose offset is steady (a constant, or a drift of up to `MAX_DRIFT`) the offset is known, and times are
put right with it, drift included. That covers hours (a clock that sends UTC, or adds the offset twice), 1970, weeks that
rolled over, and years ahead alike. Reports that were stored and come in a burst are not steady and teach nothing; what
is known stays. A device that is right again for `RIGHT_AGAIN` reports in a row is trusted again at once.

A constant delay on the way and a clock that is slow look the same; the delay is taken for a slow clock. Both offsets
are estimated by medians (Theil-Sen: the median of the slopes between pairs), so single odd reports change nothing.

No I/O, no clock: ``at`` is the receiver's. For any feed, keyed by (source, vehicle).
"""

from __future__ import annotations

from collections import OrderedDict
from statistics import median

SURE_S = 30.0
"""A clock this near to the receiver's is right: mobile networks delay reports by as much."""
ENOUGH = 7
"""reports that an offset is learned from"""
STEADY_S = 5.0
"""of these, the middle ones agree within this"""
MIN_GAP_S = 1.0
"""Reports closer together say no more than one; a burst of stored ones costs nothing."""
MAX_DRIFT = 0.1
"""s per s; a quartz is 1000 times better, a clock of the worst sort loses 2 s a minute"""
STOPPED_DRIFT = 0.9
"""an offset that grows with the receiver's time: the device's clock stands still"""
TRUST_DRIFT_S = 1800.0
"""the drift is carried on for this long after the last report that fitted; then the offset stays as it is"""
RIGHT_AGAIN = 3
MAX_DEVICES = 20_000

Key = tuple[str, str]


class ClockState:
    """What is known of one clock that has been off."""

    __slots__ = ("_seen", "drift", "is_stopped", "learned_at", "offset_s", "right")

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self.offset_s: float | None = None
        """received - measured at ``learned_at``; None = not learned yet"""
        self.drift = 0.0
        self.learned_at = 0.0
        self.is_stopped = False
        self.right = 0
        """reports in a row that were right"""

    def offset_at(self, at: float) -> float | None:
        """Seconds to add to the device's time; None = unknown."""
        if self.offset_s is None:
            return None
        return self.offset_s + self.drift * min(max(at - self.learned_at, 0.0), TRUST_DRIFT_S)

    def observe(self, measured_at: float, at: float) -> None:
        seen = self._seen
        if seen and at - seen[-1][0] < MIN_GAP_S:
            return
        seen.append((at, at - measured_at))
        if len(seen) > ENOUGH:
            del seen[0]
        if len(seen) == ENOUGH:
            self._learn()

    def _learn(self) -> None:
        seen, last = self._seen, self._seen[-1][0]
        slope = median(
            (later[1] - earlier[1]) / (later[0] - earlier[0])
            for k, earlier in enumerate(seen)
            for later in seen[k + 1 :]
        )
        residues = sorted(offset - slope * (at - last) for at, offset in seen)
        steady = residues[-2] - residues[1] <= STEADY_S
        self.is_stopped = steady and slope >= STOPPED_DRIFT
        if not steady or abs(slope) > MAX_DRIFT:
            return
        # A slope within the noise of the reports is none.
        span = last - seen[0][0]
        self.drift = slope if abs(slope) * span > residues[-2] - residues[1] else 0.0
        flat = residues if self.drift else sorted(offset for _, offset in seen)
        self.offset_s = flat[ENOUGH // 2]
        self.learned_at = last


class ClockWatch:
    """The clocks that are off, at most ``max_devices`` of them; the one heard least recently gives way. Reports may come
    up to ``delay_s`` late, and up to `SURE_S` before they were made, from a clock that is right."""

    __slots__ = ("_delay_s", "_max_devices", "states")

    def __init__(self, max_devices: int = MAX_DEVICES, delay_s: float = SURE_S) -> None:
        self.states: OrderedDict[Key, ClockState] = OrderedDict()
        """by key; empty as long as every clock is right"""
        self._max_devices = max_devices
        self._delay_s = delay_s

    def __len__(self) -> int:
        return len(self.states)

    def is_watching(self, key: Key) -> bool:
        """False = nothing is known against this clock."""
        return key in self.states

    def observe(self, key: Key, measured_at: float, at: float) -> ClockState | None:
        """A live report of ``key`` came in; what is known of its clock now, None = it is right."""
        state = self.states.get(key)
        is_right = -SURE_S <= at - measured_at <= self._delay_s
        if state is None:
            if is_right:
                return None
            state = self.states[key] = ClockState()
            if len(self.states) > self._max_devices:
                self.states.popitem(last=False)
        else:
            self.states.move_to_end(key)
        state.right = state.right + 1 if is_right else 0
        if state.right >= RIGHT_AGAIN or (is_right and state.offset_s is None):
            del self.states[key]
            return None
        state.observe(measured_at, at)
        return state

    def state(self, key: Key) -> ClockState | None:
        return self.states.get(key)

    def corrected(self, key: Key, measured_at: float, at: float) -> float | None:
        """The device's time put right, as of ``at``; None = no offset is known."""
        state = self.states.get(key)
        offset = None if state is None else state.offset_at(at)
        return None if offset is None else measured_at + offset
