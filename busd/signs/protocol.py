"""busd.sign.v1 on one connection, without I/O: messages in, `next_write` out, deadlines by `on_time`.

Boards are frames that were built once for everybody; a session only knows which of them it still owes (slot.py).
"""

from __future__ import annotations

import msgspec

from busd.metrics import SIGN_ACCEPTED, SIGN_ACKS, SIGN_GLASS_SECONDS
from busd.signs.channel import Channel, Phase
from busd.signs.hub import SignHub
from busd.signs.messages import (
    DEFAULT_DEPS,
    MAX_DEPS,
    MAX_STOPS,
    SERVER,
    VERSION,
    Ack,
    CloseCode,
    Heartbeat,
    Hello,
    Sub,
    decode,
    hb_frame,
    held_revision,
    is_name,
    message_frame,
    number,
    short,
    wanted_langs,
)
from busd.signs.render import Langs, to_ms
from busd.signs.slot import Owed, Slot

WRITE_CHUNK = 16 * 1024
"""Bytes of one write, rounded up to a whole message: a 2G link must get it away within the write deadline."""
PING_S = 25.0
RATE_PER_S = 10.0
TELE_BYTES = 512


class SignSession(Channel):
    """The server's side of busd.sign.v1 on one connection."""

    __slots__ = (
        "_hb_seq",
        "_heard_at",
        "_written_at",
        "langs",
        "max_deps",
        "min_interval",
        "more",
        "owed",
        "sign",
        "slots",
        "tele",
    )

    def __init__(self, hub: SignHub) -> None:
        super().__init__(hub)
        self.sign: str | None = None
        self.slots: dict[str, Slot] = {}
        self.owed: dict[Slot, None] = {}
        """slots with something to send, oldest first"""
        self.langs: Langs = ()
        self.max_deps = DEFAULT_DEPS
        self.min_interval = hub.config.min_interval
        self.tele: bytes | None = None
        """the last telemetry, as it came"""
        self.more = False
        """`next_write` has more, beyond its chunk"""
        self._hb_seq: int | None = None
        self._heard_at = self._written_at = hub.clock.monotonic()

    @property
    def rate_per_s(self) -> float:
        return RATE_PER_S + len(self.slots)

    # ---- messages ----------------------------------------------------------------------------------------------------

    def on_text(self, data: bytes) -> None:
        try:
            str(data, "utf-8")
        except UnicodeDecodeError:
            return self.close(CloseCode.NOT_UTF8, "not UTF-8")
        try:
            message = decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            return self.close(CloseCode.BAD_MESSAGE, str(error)[:80])
        self._heard_at = self.hub.clock.monotonic()
        if self.phase is Phase.HELLO:
            if isinstance(message, Hello):
                return self._on_hello(message)
            return self.close(CloseCode.BAD_MESSAGE, "the first message must be hello")
        match message:
            case Hello():
                self.close(CloseCode.BAD_MESSAGE, "second hello")
            case Sub():
                self._on_sub(message)
            case Heartbeat():
                self._hb_seq = message.seq
            case Ack():
                self._on_ack(message)
            case None:
                pass
            case _:
                if len(data) <= TELE_BYTES:
                    self.tele = data
        return None

    def _on_hello(self, hello: Hello) -> None:
        hub, config = self.hub, self.hub.config
        if hello.v != VERSION:
            return self.close(CloseCode.VERSION, f"this server speaks version {VERSION}")
        if not is_name(hello.sign):
            return self.close(CloseCode.BAD_MESSAGE, "bad sign id")
        token = hello.token if isinstance(hello.token, str) else self._bearer
        self._bearer = None
        if not hub.authenticate(hello.sign, token or ""):
            return self.close(CloseCode.AUTHENTICATION, "not authenticated")
        old = hub.signs.get(hello.sign)
        if old is None and len(hub.signs) >= config.max_connections:
            return self.close(CloseCode.OVERLOAD, "full")
        self.sign = hello.sign
        hub.signs[hello.sign] = self
        if old is not None:
            old.close(CloseCode.REPLACED, "a newer session of this sign")
        SIGN_ACCEPTED.inc()
        self.phase = Phase.READY
        self.langs = wanted_langs(hello.lang, hub.lang)
        self._send_message(
            {
                "type": "welcome",
                "v": VERSION,
                "session": hub.new_session_id(),
                "now": hub.now_ms(),
                "lang": hub.lang,
                "hb": config.hb,
                "grace": config.grace,
                "ack": config.ack,
                "offline": config.offline,
                **({"http": config.http} if config.http else {}),
                "server": SERVER,
            }
        )
        hub.wheel.schedule(self, self.next_deadline())
        return None

    def _on_sub(self, sub: Sub) -> None:
        hub, config = self.hub, self.hub.config
        self.min_interval = number(sub.min_interval, config.min_interval, config.min_interval, 600.0)
        self.max_deps = int(number(sub.max_deps, DEFAULT_DEPS, 1, MAX_DEPS))
        mono = hub.clock.monotonic()
        ok: list[str] = []
        err: dict[str, str] = {}
        for place, stop_id in enumerate(dict.fromkeys(sub.stops)):
            if place >= MAX_STOPS:
                err[stop_id] = "too_many"
            elif is_name(stop_id) and hub.bus.knows(stop_id):
                ok.append(stop_id)
            else:
                err[stop_id] = "unknown_stop"
        for stop_id in [stop_id for stop_id in self.slots if stop_id not in ok]:
            self._drop(stop_id)
        self._send_message(
            {
                "type": "subscribed",
                "id": sub.id,
                "ok": ok,
                "err": err,
                "min_interval": short(self.min_interval),
                "hysteresis": short(config.hysteresis),
                "max_deps": self.max_deps,
            }
        )
        for stop_id in ok:
            slot = self.slots.get(stop_id)
            if slot is None:
                slot = self.slots[stop_id] = Slot(self, stop_id)
                hub.bus.watch(stop_id, slot)
            slot.answer(held_revision(sub.have, stop_id), mono)

    def _on_ack(self, ack: Ack) -> None:
        slot = self.slots.get(ack.stop)
        board = slot.sent if slot is not None else None
        if board is None or (board.epoch, board.rev) != (ack.epoch, ack.rev):
            SIGN_ACKS.labels("unknown").inc()
        elif ack.err is not None:
            SIGN_ACKS.labels("error").inc()
        else:
            SIGN_ACKS.labels("shown").inc()
            if isinstance(ack.shown_at, int) and 0 <= (delay_ms := ack.shown_at - to_ms(board.at)) < 3_600_000:
                SIGN_GLASS_SECONDS.observe(delay_ms / 1000)

    # ---- bytes out ---------------------------------------------------------------------------------------------------

    def next_write(self, mono: float, now_ms: int) -> bytes:
        """What one write should carry now: answers first, then what the slots owe. Empty if nothing is due.

        What is returned counts as sent, so call it only when the transport can write. `more` tells to call again.
        """
        parts = self._control
        if parts:
            self._control, self._control_bytes = [], 0
        elif self._hb_seq is None and len(self.owed) <= 1:
            return self._next_board(mono, now_ms)  # what almost every call is
        else:
            parts = []
        if self._hb_seq is not None:
            parts.append(hb_frame(self._hb_seq, now_ms))
            self._hb_seq = None
            self.hub.answers_sent["hb"] += 1
        self.more = False
        size = 0
        for slot in tuple(self.owed):
            frame = slot.take(mono, now_ms)
            if frame is not None:
                parts.append(frame)
                size += len(frame)
                if size >= WRITE_CHUNK:
                    self.more = bool(self.owed)
                    break
        if self.owed and not self.more:
            self.hub.wheel.schedule(self, self.next_deadline())
        if not parts:
            return b""
        self._written_at = mono
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.hub.bytes_sent += len(data)
        return data

    def _next_board(self, mono: float, now_ms: int) -> bytes:
        self.more = False
        for slot in self.owed:
            data = slot.take(mono, now_ms)
            if data is not None:
                self._written_at = mono
                self.hub.bytes_sent += len(data)
                return data
            if self.owed:
                self.hub.wheel.schedule(self, self.next_deadline())
            break
        return b""

    def _send_message(self, message: dict[str, object]) -> None:
        self.hub.answers_sent[str(message["type"])] += 1
        self._send(message_frame(message))

    def leave(self) -> None:
        """No longer a subscriber of anything. A replaced session must not take its successor off the list."""
        self._hb_seq = None
        for stop_id in list(self.slots):
            self._drop(stop_id)
        if self.sign is not None and self.hub.signs.get(self.sign) is self:
            del self.hub.signs[self.sign]

    def _drop(self, stop_id: str) -> None:
        slot = self.slots.pop(stop_id)
        self.owed.pop(slot, None)
        self.hub.bus.unwatch(stop_id, slot)

    # ---- time --------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """Monotonic instant at which `on_time` has something to do, if nothing else happens before."""
        config = self.hub.config
        at = self._deadline if self.phase is not Phase.READY else self._heard_at + config.hb + config.grace
        if self._blocked_at is not None:
            return min(at, self._blocked_at + config.write_deadline_s)
        if self.phase is Phase.READY:
            at = min(at, self._written_at + PING_S, *(slot.next_deadline() for slot in self.slots.values()))
        return at

    def on_time(self, mono: float) -> None:
        """Do what is due: time-outs, refreshers, pings."""
        config = self.hub.config
        self.hub.dirty[self] = None
        if self._blocked_at is not None and mono >= self._blocked_at + config.write_deadline_s:
            self._close_code = CloseCode.TOO_SLOW
            self.must_abort = True
        elif self.phase is Phase.HEADERS or self.phase is Phase.CLOSING:
            self.must_abort = self.must_abort or mono >= self._deadline
        elif self.phase is Phase.HELLO:
            if mono >= self._deadline:
                self.close(CloseCode.NO_HELLO, "no hello")
        elif mono >= self._heard_at + config.hb + config.grace:
            self.close(CloseCode.NO_HEARTBEAT, "no heartbeat")
        else:
            for slot in self.slots.values():
                if slot.owed is Owed.NOTHING and mono >= slot.refresh_at:
                    slot.owe(Owed.SAME)
            if self._blocked_at is None and mono >= self._written_at + PING_S:
                assert self._proto is not None
                self._proto.send_ping(b"")
                self._pump()
