"""The server's time by the sign's own monotonic clock (§6). The sign's time of day is never asked for."""

from __future__ import annotations

from collections import deque

SAMPLES = 8
MAX_STEP_BACK_S = 2.0
"""The shown time never goes back by more than this at once, and not more often than every second."""
NEW_TIME_S = 3600.0
"""A server whose clock went back by more than this had no clock before: its time is taken as at power-on."""
_FIRST_MS, _LAST_MS = 0, 253_402_300_799_000
"""1970 to 9999: what a calendar can write"""


class ServerClock:
    """Two readings of one estimate. `server_now` is the best one and may step; `now` is what may be shown."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._best: float | None = None
        self._shown: float | None = None
        self._slewed_at = 0.0

    def sample(self, now_ms: int, mono: float) -> None:
        """The ``now`` of a message at its receipt. Delay can only make a sample smaller, so the largest counts."""
        if not _FIRST_MS <= now_ms <= _LAST_MS:
            return
        self._samples.append(now_ms / 1000 - mono)
        self._best = max(self._samples)
        self._follow(mono)

    def server_now(self, mono: float) -> float | None:
        """Epoch seconds, None before the first message."""
        return None if self._best is None else self._best + mono

    def now(self, mono: float) -> float | None:
        """Epoch seconds to show and to count down by, None before the first message."""
        self._follow(mono)
        return None if self._shown is None else self._shown + mono

    def _follow(self, mono: float) -> None:
        best, shown = self._best, self._shown
        if best is None:
            return
        if shown is None or best >= shown or shown - best > NEW_TIME_S:
            self._shown = best
        elif mono - self._slewed_at >= 1.0:
            self._shown = max(best, shown - MAX_STEP_BACK_S)
            self._slewed_at = mono
