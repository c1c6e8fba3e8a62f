"""The SSE door of busd.sign.v1 (8.1) without I/O: what one stream still owes its client, and when.

As for a sign there is no queue: a stream remembers which revision went out and looks at the bus when its client can take
more. The events themselves are built once for everybody (frames.py).
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from busd.bus import BoardBus
from busd.signs.frames import FrameCache, Variant
from busd.signs.messages import CloseCode, bye
from busd.signs.slot import REFRESH_PER_TTL, RETRY_S
from busd.types import Board

RETRY_MS = 5000
"""How long an EventSource waits before it comes back."""
COMMENT_S = 14.0
"""A comment line goes out at least this often (the protocol: 15 s), so that proxies keep the connection."""
MAX_EVENT_ID = 64


class EventStream:
    """One client of one stop; a watcher of the bus. ``wake`` is called when there may be something to send at once.

    ``last_event_id`` plays the role of ``have``: ``epoch-rev``, or anything else for none. ``speed`` is that of the
    clock (`busd.clock.ScaledClock`): a ttl ends in its time, everything else happens in real time.
    """

    def __init__(
        self,
        bus: BoardBus,
        frames: FrameCache,
        stop_id: str,
        variant: Variant,
        last_event_id: str,
        wake: Callable[[], object],
        min_interval: float = 1.0,
        speed: float = 1.0,
    ) -> None:
        self._bus = bus
        self._frames = frames
        self._stop_id = stop_id
        self._variant = variant
        self._wake = wake
        self._min_interval = min_interval
        self._refresh_share = 1 / REFRESH_PER_TTL / speed
        self._have: str | None = last_event_id[:MAX_EVENT_ID]
        """until the answer to the request is out"""
        self._sent: Board | None = None
        self._free_at = self._refresh_at = float("-inf")
        self._comment_at: float | None = None
        self._bye: bytes | None = None
        self.is_over = False
        """a ``bye`` went out; nothing follows it"""
        bus.watch(stop_id, self)

    def board_changed(self, board: Board) -> None:
        self._wake()

    def close(self, code: CloseCode, reason: str) -> None:
        """Say bye with the next `take`."""
        message = orjson.dumps(bye(code, reason))
        self._bye = b"event: bye\ndata: %b\n\n" % message
        self._wake()

    def leave(self) -> None:
        """The client is gone, or the stream is over. Idempotent."""
        self.is_over = True
        self._bus.unwatch(self._stop_id, self)

    def take(self, mono: float, now_ms: int) -> bytes:
        """The bytes that are due; they count as sent. Empty if nothing is."""
        if self.is_over:
            return b""
        parts: list[bytes] = []
        if self._comment_at is None:
            parts.append(b"retry: %d\n\n" % RETRY_MS)
            self._comment_at = mono + COMMENT_S
        if self._bye is None and not self._bus.knows(self._stop_id):
            self.close(CloseCode.RESTART, "the timetable has changed")
        if self._bye is not None:
            parts.append(self._bye)
            self.leave()
            return b"".join(parts)
        if (event := self._board_or_same(mono, now_ms)) is not None:
            parts.append(event)
        if mono >= self._comment_at:
            parts.append(b":\n\n")
            self._comment_at = mono + COMMENT_S
        return b"".join(parts)

    def next_deadline(self) -> float:
        """Monotonic instant of the next `take` with something in it, if no board comes before."""
        at = float("-inf") if self._comment_at is None else self._comment_at
        board = self._bus.latest(self._stop_id)
        if board is None:
            return min(at, self._refresh_at)
        if self._have is not None:
            return float("-inf")
        return min(at, self._refresh_at if board is self._sent else self._free_at)

    def _board_or_same(self, mono: float, now_ms: int) -> bytes | None:
        board = self._bus.latest(self._stop_id)
        if board is None:
            self._refresh_at = mono + RETRY_S
            return None
        refresh_at = mono + board.ttl_s * self._refresh_share
        have, self._have = self._have, None
        if have == f"{board.epoch}-{board.rev}" or (board is self._sent and mono >= self._refresh_at):
            self._sent, self._refresh_at = board, refresh_at
            return self._frames.same_event(self._stop_id, now_ms)
        if board is self._sent or (have is None and mono < self._free_at):
            return None
        self._sent, self._refresh_at, self._free_at = board, refresh_at, mono + self._min_interval
        encoded = self._frames.encoded(self._stop_id, self._variant, now_ms)
        assert encoded is not None  # the bus has just shown its board
        return encoded.event
