"""Boards encoded once and shared by every subscriber and door.

One entry per stop holds its latest board in the few variants that are asked for (languages, length, mode of the sign).
``now`` is the last key of the JSON, so that a fresh one costs a concatenation, at most once per `NOW_MS`. What a door puts
around the JSON (WebSocket frame, compressed frame, event, gzip) is made when the first of its clients needs it.
"""

from __future__ import annotations

import gzip
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakValueDictionary

import msgspec
import orjson

from busd.bus import BoardBus
from busd.metrics import RENDERED
from busd.signs.deflate import deflated_frame
from busd.signs.modes import Mode
from busd.signs.render import MAX_BYTES, Langs, board_body, choose_langs, same_json, text_frame, to_ms, with_now
from busd.types import Board

NOW_MS = 1000
"""How old a shared ``now`` may get. The protocol allows ttl/2 [14]; a second keeps signs' clocks good."""
MAX_STOPS = 8192
MAX_VARIANTS = 8
"""Of one stop. Asking for odd languages costs the asker a rendering, nobody else their frame."""
MAX_DEFLATED = 8
"""Compressed frames of one variant: one for the signs that have the board before, the others for those that do not."""

OUT_OF_ORDER = {"zh-Hans": "设备故障，请见谅", "en": "Out of order"}
"""for a sign that is out of order and was given no words of its own"""

PackNote = Callable[[str], bytes | None]
"""stop id -> the ``pack`` field of its boards, as JSON. Asked once for every revision of a board."""


class Variant:
    """One way to render a board. Equal ones are the same object (see `FrameCache.variant`), so that looking for a frame
    costs as little as asking for identity."""

    __slots__ = ("__weakref__", "langs", "max_deps", "mode")

    def __init__(self, langs: Langs, max_deps: int, mode: Mode | None) -> None:
        self.langs = langs
        self.max_deps = max_deps
        self.mode = mode

    def epoch(self, board: Board) -> str:
        """The epoch under which this variant of a board is sent (see modes.py)."""
        return board.epoch if self.mode is None else f"{board.epoch}.{self.mode.key}"


class Encoded:
    """One variant of one board with one ``now``, in all its wrappings."""

    __slots__ = ("_deflated", "_event", "_zipped", "frame", "now_ms", "payload", "revision")

    def __init__(self, payload: bytes, now_ms: int, revision: str) -> None:
        self.payload = payload
        self.now_ms = now_ms
        self.revision = revision
        """``epoch-rev``, as tags and event ids have it"""
        self.frame = text_frame(payload)
        """WebSocket text frame, uncompressed"""
        self._deflated: dict[tuple[int, bytes], bytes] | None = None
        self._event: bytes | None = None
        self._zipped: bytes | None = None

    def deflated(self, bits: int, before: bytes) -> bytes:
        """Compressed WebSocket frame for peers whose window of 2**bits bytes ends with ``before``."""
        frames = self._deflated
        if frames is None:
            frames = self._deflated = {}
        if len(frames) >= MAX_DEFLATED and (bits, before) not in frames:
            before = b""  # too many pasts: the frame that refers to none suits everybody
        frame = frames.get((bits, before))
        if frame is None:
            frame = frames[bits, before] = deflated_frame(self.payload, bits, before)
        return frame

    @property
    def event(self) -> bytes:
        """Server-sent event ``board``."""
        if self._event is None:
            self._event = _event(b"board", self.revision, self.payload)
        return self._event

    @property
    def zipped(self) -> bytes:
        """gzip of the JSON."""
        if self._zipped is None:
            self._zipped = gzip.compress(self.payload, 6, mtime=0)
        return self._zipped


class _Entry:
    __slots__ = ("board", "pack", "sames", "variants")

    def __init__(self, board: Board, pack: bytes | None) -> None:
        self.board = board
        self.pack = pack
        self.variants: OrderedDict[Variant, tuple[bytes, Encoded]] = OrderedDict()
        self.sames: dict[str, tuple[int, bytes, bytes]] = {}
        """key of the mode -> (now, frame, event)"""


class FrameCache:
    """Encoded boards of the stops that somebody looks at; bounded, least recently used out first.

    ``now_ms`` is the server's clock in epoch milliseconds; the answer's ``now`` is at most `NOW_MS` older than that and
    never before the board's ``at`` [13]. Every answer is None for a stop without a board.
    """

    def __init__(self, bus: BoardBus, max_stops: int = MAX_STOPS, pack_note: PackNote | None = None) -> None:
        self.pack_note: PackNote = pack_note or (lambda stop_id: None)
        self._bus = bus
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._max_stops = max_stops
        self._variants: WeakValueDictionary[tuple[Langs, int, str | None], Variant] = WeakValueDictionary()

    def variant(self, langs: Langs, max_deps: int, mode: Mode | None = None) -> Variant:
        """The one object for these wishes; keep it as long as it is used."""
        key = (langs, max_deps, None if mode is None else mode.key)
        variant = self._variants.get(key)
        if variant is None:
            variant = self._variants[key] = Variant(langs, max_deps, mode)
        return variant

    def encoded(self, stop_id: str, variant: Variant, now_ms: int) -> Encoded | None:
        """The latest board in this variant, with a fresh ``now``."""
        entry = self._entry(stop_id)
        if entry is None:
            return None
        now_ms = max(now_ms, to_ms(entry.board.at))
        held = entry.variants.get(variant)
        if held is not None:
            body, encoded = held
            if 0 <= now_ms - encoded.now_ms < NOW_MS:
                return encoded
            revision = encoded.revision
        else:
            body = self._body(stop_id, entry, variant)
            revision = f"{variant.epoch(entry.board)}-{entry.board.rev}"
        encoded = Encoded(with_now(body, now_ms), now_ms, revision)
        entry.variants[variant] = body, encoded
        entry.variants.move_to_end(variant)
        if len(entry.variants) > MAX_VARIANTS:
            entry.variants.popitem(last=False)
        return encoded

    def board_frame(self, stop_id: str, langs: Langs, max_deps: int, now_ms: int) -> bytes | None:
        """The latest board as an uncompressed WebSocket frame."""
        encoded = self.encoded(stop_id, self.variant(langs, max_deps), now_ms)
        return None if encoded is None else encoded.frame

    def board_json(self, stop_id: str, langs: Langs, max_deps: int, now_ms: int) -> bytes | None:
        """The latest board as JSON."""
        encoded = self.encoded(stop_id, self.variant(langs, max_deps), now_ms)
        return None if encoded is None else encoded.payload

    def same_frame(self, stop_id: str, now_ms: int, mode: Mode | None = None) -> bytes | None:
        """``same`` for the latest board as an uncompressed WebSocket frame."""
        held = self._same(stop_id, now_ms, mode)
        return None if held is None else held[1]

    def same_event(self, stop_id: str, now_ms: int) -> bytes | None:
        """``same`` for the latest board as a server-sent event."""
        held = self._same(stop_id, now_ms, None)
        return None if held is None else held[2]

    def _entry(self, stop_id: str) -> _Entry | None:
        board = self._bus.latest(stop_id)
        if board is None:
            self._entries.pop(stop_id, None)
            return None
        entry = self._entries.get(stop_id)
        if entry is None or entry.board is not board:
            entry = self._entries[stop_id] = _Entry(board, self.pack_note(stop_id))
            if len(self._entries) > self._max_stops:
                self._entries.popitem(last=False)
        self._entries.move_to_end(stop_id)
        return entry

    def _same(self, stop_id: str, now_ms: int, mode: Mode | None) -> tuple[int, bytes, bytes] | None:
        entry = self._entry(stop_id)
        if entry is None:
            return None
        key = "" if mode is None else mode.key
        held = entry.sames.get(key)
        if held is None or not 0 <= now_ms - held[0] < NOW_MS:
            if len(entry.sames) >= MAX_VARIANTS:
                entry.sames.clear()
            board = entry.board if mode is None else _under(entry.board, mode)
            payload = same_json(board, stop_id, now_ms)
            event = _event(b"same", f"{board.epoch}-{board.rev}", payload)
            held = entry.sames[key] = now_ms, text_frame(payload), event
        return held

    def _body(self, stop_id: str, entry: _Entry, variant: Variant) -> bytes:
        held = self._bus.held(stop_id)
        assert held is not None  # `_entry` has just found its board
        board, network = held
        mode, langs = variant.mode, variant.langs
        more = b"" if entry.pack is None else b',"pack":%b' % entry.pack
        if mode is not None:
            board = _under(board, mode)
        more += _shown_instead(board, mode, langs)
        max_deps = variant.max_deps
        body = board_body(board, network, langs, max_deps)
        while len(body) + len(more) > MAX_BYTES - 32 and max_deps > 1:  # [3]
            max_deps //= 2
            body = board_body(board, network, langs, max_deps)
        RENDERED.inc()
        return body + more


def _under(board: Board, mode: Mode) -> Board:
    """The board under the epoch that signs in this mode know it by."""
    return msgspec.structs.replace(board, epoch=f"{board.epoch}.{mode.key}")


def _shown_instead(board: Board, mode: Mode | None, langs: Langs) -> bytes:
    """``mode`` and ``text``: an emergency takes over every sign that shows anything at all, then the sign's own mode."""
    name, text = ("auto", {}) if mode is None else (mode.mode, mode.text)
    if name in ("auto", "text"):
        urgent = next((message for message in board.messages if message.takeover), None)
        if urgent is not None:
            name, text = "text", urgent.text
    if name == "auto":
        return b""
    if name == "off":
        return b',"mode":"off"'
    text = text or OUT_OF_ORDER
    return b',"mode":"%b","text":%b' % (name.encode(), orjson.dumps(choose_langs(text, langs, "", 1000)))


def _event(kind: bytes, revision: str, payload: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (kind, revision.encode(), payload)
