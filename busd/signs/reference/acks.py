"""When to say that a board is on the glass (§3 ``ack``): once for a revision, and at the pace that the server asked for."""

from __future__ import annotations

Revision = tuple[str, int]


class AckBook:
    """What is on the glass of each stop since when, and what the server was told of. Outlives the connection."""

    def __init__(self) -> None:
        self._drawn: dict[str, tuple[Revision, float]] = {}
        self._told: dict[str, tuple[Revision, float]] = {}

    def drawn(self, stop: str, revision: Revision, mono: float, pace_s: float | None) -> float | None:
        """``revision`` is on the glass at ``mono``. Since when, if the server is to be told so now; then it counts as
        told. ``pace_s``: seconds between two acks of a stop, None where nobody listens."""
        if self._drawn.get(stop, (None, 0.0))[0] != revision:
            self._drawn[stop] = revision, mono
        told = self._told.get(stop)
        if pace_s is None or (told is not None and (told[0] == revision or mono - told[1] < pace_s)):
            return None
        self._told[stop] = revision, mono
        return self._drawn[stop][1]
