"""Boards encoded once and shared by every subscriber and door.

One entry per stop holds its latest board in the few variants that are asked for (languages, length). ``now`` is the last
key of the JSON, so that a fresh one costs a concatenation, at most once per `NOW_MS`.
"""

from __future__ import annotations

from collections import OrderedDict

from busd.bus import BoardBus
from busd.metrics import RENDERED
from busd.signs.render import Langs, board_body, same_json, text_frame, to_ms, with_now
from busd.types import Board

NOW_MS = 1000
"""How old a shared ``now`` may get. The protocol allows ttl/2 [14]; a second keeps signs' clocks good."""
MAX_STOPS = 8192
MAX_VARIANTS = 8
"""Of one stop. Asking for odd languages costs the asker a rendering, nobody else their frame."""

Variant = tuple[Langs, int]


class _Encoded:
    __slots__ = ("body", "frame", "head_bytes", "now_ms")

    def __init__(self, body: bytes, now_ms: int) -> None:
        self.body = body
        self.refresh(now_ms)

    def refresh(self, now_ms: int) -> None:
        payload = with_now(self.body, now_ms)
        self.now_ms = now_ms
        self.frame = text_frame(payload)
        self.head_bytes = len(self.frame) - len(payload)


class _Entry:
    __slots__ = ("board", "same", "same_ms", "variants")

    def __init__(self, board: Board) -> None:
        self.board = board
        self.variants: OrderedDict[Variant, _Encoded] = OrderedDict()
        self.same = b""
        self.same_ms = -1


class FrameCache:
    """Encoded boards of the stops that somebody looks at; bounded, least recently used out first.

    ``now_ms`` is the server's clock in epoch milliseconds; the answer's ``now`` is at most `NOW_MS` older than that and
    never before the board's ``at`` [13].
    """

    def __init__(self, bus: BoardBus, max_stops: int = MAX_STOPS) -> None:
        self._bus = bus
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._max_stops = max_stops
        self._last: tuple[str, Langs, int, int] | None = None
        self._last_board: Board | None = None
        self._last_frame = b""

    def board_frame(self, stop_id: str, langs: Langs, max_deps: int, now_ms: int) -> bytes | None:
        """The latest board as a ready WebSocket frame; None for a stop without a board."""
        board = self._bus.latest(stop_id)
        asked = (stop_id, langs, max_deps, now_ms)
        if board is self._last_board and asked == self._last:
            return self._last_frame  # the signs of one stop come one after the other
        encoded = self._encoded(stop_id, (langs, max_deps), now_ms)
        if encoded is None:
            return None
        self._last, self._last_board, self._last_frame = asked, board, encoded.frame
        return encoded.frame

    def board_json(self, stop_id: str, langs: Langs, max_deps: int, now_ms: int) -> bytes | None:
        """The latest board as JSON, for the HTTP doors; None for a stop without a board."""
        encoded = self._encoded(stop_id, (langs, max_deps), now_ms)
        return None if encoded is None else encoded.frame[encoded.head_bytes :]

    def same_frame(self, stop_id: str, now_ms: int) -> bytes | None:
        """``same`` for the latest board as a ready WebSocket frame; None for a stop without a board."""
        entry = self._entry(stop_id)
        if entry is None:
            return None
        if not 0 <= now_ms - entry.same_ms < NOW_MS:
            entry.same = text_frame(same_json(entry.board, stop_id, now_ms))
            entry.same_ms = now_ms
        return entry.same

    def _entry(self, stop_id: str) -> _Entry | None:
        board = self._bus.latest(stop_id)
        if board is None:
            self._entries.pop(stop_id, None)
            return None
        entry = self._entries.get(stop_id)
        if entry is None or entry.board is not board:
            entry = self._entries[stop_id] = _Entry(board)
            if len(self._entries) > self._max_stops:
                self._entries.popitem(last=False)
        self._entries.move_to_end(stop_id)
        return entry

    def _encoded(self, stop_id: str, variant: Variant, now_ms: int) -> _Encoded | None:
        entry = self._entry(stop_id)
        if entry is None:
            return None
        now_ms = max(now_ms, to_ms(entry.board.at))
        encoded = entry.variants.get(variant)
        if encoded is None:
            held = self._bus.held(stop_id)
            assert held is not None  # _entry has just found its board
            encoded = entry.variants[variant] = _Encoded(board_body(*held, *variant), now_ms)
            RENDERED.inc()
            if len(entry.variants) > MAX_VARIANTS:
                entry.variants.popitem(last=False)
        elif not 0 <= now_ms - encoded.now_ms < NOW_MS:
            encoded.refresh(now_ms)
        return encoded
