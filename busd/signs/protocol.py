"""busd.sign.v1 on one connection, without I/O: messages in, `next_write` out, deadlines by `on_time`.

Boards are frames that were built once for everybody; a session only knows which of them it still owes (slot.py).
"""

from __future__ import annotations

from busd.metrics import SIGN_ACCEPTED
from busd.signs.channel import Channel, Phase
from busd.signs.hub import SignHub
from busd.signs.messages import (
    DEFAULT_DEPS,
    MAX_DEPS,
    MAX_STOPS,
    SERVER,
    VERSION,
    CloseCode,
    Heartbeat,
    Hello,
    Sub,
    decode,
    hb_frame,
    held_revision,
    hello_facts,
    is_name,
    message_frame,
    number,
    short,
    wanted_langs,
)
from busd.signs.modes import Mode
from busd.signs.reports import take_report
from busd.signs.slot import REFRESH_PER_TTL, Owed, Slot
from busd.signs.worth import ECONOMY_S

WRITE_CHUNK = 16 * 1024
"""Bytes of one write, rounded up to a whole message: a 2G link must get it away within the write deadline."""
RATE_PER_S = 10.0


class SignSession(Channel):
    """The server's side of busd.sign.v1 on one connection."""

    __slots__ = (
        "_hb_seq",
        "_heard_at",
        "_used_modes",
        "_written_at",
        "min_interval",
        "more",
        "owed",
        "sign",
        "slots",
        "takes_commands",
        "tele_at",
        "variant",
    )

    def __init__(self, hub: SignHub) -> None:
        super().__init__(hub)
        self.sign: str | None = None
        self.slots: dict[str, Slot] = {}
        self.owed: dict[Slot, None] = {}
        """slots with something to send, oldest first"""
        self.variant = hub.frames.variant((), DEFAULT_DEPS)
        """how this sign wants its boards"""
        self.min_interval = hub.config.min_interval
        self.takes_commands = False
        self.tele_at: float | None = None
        """when the last telemetry was kept"""
        self._used_modes: set[str] | None = None
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
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            return self.close(CloseCode.NOT_UTF8, "not UTF-8")
        try:
            message = decode(text)
        except (ValueError, RecursionError) as error:
            return self.close(CloseCode.BAD_MESSAGE, str(error)[:80])
        self._heard_at = self.hub.clock.monotonic()
        if self.phase is Phase.HELLO:
            if isinstance(message, Hello):
                return self._on_hello(message)
            return self.close(CloseCode.BAD_MESSAGE, "the first message must be hello")
        assert self.sign is not None  # since its hello
        self.hub.sink.heard(self.sign, self.hub.clock.now())
        match message:
            case Hello():
                self.close(CloseCode.BAD_MESSAGE, "second hello")
            case Sub():
                self._on_sub(message)
            case Heartbeat():
                self._hb_seq = message.seq
            case None:
                pass
            case _:
                take_report(self, message, data)
        return None

    def _on_hello(self, hello: Hello) -> None:
        hub, config = self.hub, self.hub.config
        if hello.v != VERSION:
            return self.close(CloseCode.VERSION, f"this server speaks version {VERSION}")
        if not is_name(hello.sign):
            return self.close(CloseCode.BAD_MESSAGE, "bad sign id")
        token = hello.token if isinstance(hello.token, str) else self._bearer
        self._bearer = None
        http, self._host = hub.http_base(self._host), ""
        if not hub.authenticate(hello.sign, token or ""):
            return self.close(CloseCode.AUTHENTICATION, "not authenticated")
        if not hub.may_connect(hello.sign):
            return self.close(CloseCode.FORBIDDEN, "this sign may not connect")
        old = hub.signs.get(hello.sign)
        if old is None and len(hub.signs) >= config.max_connections:
            return self.close(CloseCode.OVERLOAD, "full")
        self.sign = hello.sign
        hub.signs[hello.sign] = self
        if old is not None:
            old.close(CloseCode.REPLACED, "a newer session of this sign")
        SIGN_ACCEPTED.inc()
        self.phase = Phase.READY
        self.variant = hub.frames.variant(wanted_langs(hello.lang, hub.lang), DEFAULT_DEPS, hub.modes.of(hello.sign))
        facts = hello_facts(hello)
        self.takes_commands = "cmd" in facts.get("caps", ())
        hub.sink.opened(hello.sign, hub.clock.now(), facts)
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
                **({"http": http} if http else {}),
                "tz": hub.bus.network.timezone,
                "server": SERVER,
            }
        )
        hub.commands.sign_is_here(hello.sign)
        hub.wheel.schedule(self, self.next_deadline())
        return None

    def _on_sub(self, sub: Sub) -> None:
        hub, config = self.hub, self.hub.config
        assert self.sign is not None  # since its hello
        # A longer pace than this and a new board could not come before the old one expires [27].
        slowest = max(config.min_interval, config.ttl / REFRESH_PER_TTL)
        self.min_interval = number(sub.min_interval, config.min_interval, config.min_interval, slowest)
        max_deps = int(number(sub.max_deps, DEFAULT_DEPS, 1, MAX_DEPS))
        self.variant = hub.frames.variant(self.variant.langs, max_deps, self.variant.mode)
        mono = hub.clock.monotonic()
        ok: list[str] = []
        err: dict[str, str] = {}
        for place, stop_id in enumerate(dict.fromkeys(sub.stops)):
            if place >= MAX_STOPS:
                err[stop_id] = "too_many"
            elif not (is_name(stop_id) and hub.bus.knows(stop_id)):
                err[stop_id] = "unknown_stop"
            elif not hub.may_watch(self.sign, stop_id):
                err[stop_id] = "forbidden"
            else:
                ok.append(stop_id)
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
                "max_deps": max_deps,
            }
        )
        hub.sink.subscribed(self.sign, ok)
        for stop_id in ok:
            slot = self.slots.get(stop_id)
            if slot is None:
                slot = self.slots[stop_id] = Slot(self, hub.audience(stop_id))
            slot.answer(held_revision(sub.have, stop_id), mono)
        self._settle_slots()

    def set_mode(self, mode: Mode) -> None:
        """Show the boards in another mode from now on, under an epoch that this connection has not seen [12]."""
        used = self._used_modes = self._used_modes or set()
        if self.variant.mode is not None:
            used.add(self.variant.mode.key)
        if mode.key in used:
            mode = Mode(mode.mode, mode.text, f"{mode.key}.{len(used)}")
        if mode == self.variant.mode:
            return
        self.variant = self.hub.frames.variant(self.variant.langs, self.variant.max_deps, mode)
        self._settle_slots()
        for slot in self.slots.values():
            slot.forget()
        self.hub.dirty[self] = None

    def _settle_slots(self) -> None:
        """Tell the slots how things are. The short way is for a sign with one stop, whose boards go uncompressed
        and unweighed (worth.py)."""
        is_plain = self.window is None and self.min_interval < ECONOMY_S
        is_open = len(self.slots) == 1 and is_plain and not self.blocked
        for slot in self.slots.values():
            slot.alone()
            slot.variant = self.variant
            slot.min_interval = self.min_interval
            slot.write_now = self.write_now if is_open else None

    def write_blocked(self) -> None:
        super().write_blocked()
        self._settle_slots()

    def write_resumed(self) -> None:
        super().write_resumed()
        self._settle_slots()

    def send_command(self, frame: bytes) -> None:
        """Queue a ``cmd``."""
        self.hub.answers_sent["cmd"] += 1
        self._send(frame)
        self.hub.dirty[self] = None

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
        self.bytes_out += len(data)
        return data

    def _next_board(self, mono: float, now_ms: int) -> bytes:
        self.more = False
        for slot in self.owed:
            data = slot.take(mono, now_ms)
            if data is not None:
                self._written_at = mono
                self.hub.bytes_sent += len(data)
                self.bytes_out += len(data)
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
        sign, hub = self.sign, self.hub
        if sign is not None:
            self._tell_bytes(sign)
            if hub.signs.get(sign) is self:
                del hub.signs[sign]
                hub.sink.closed(sign, hub.clock.now(), self.close_code)

    def _tell_bytes(self, sign: str) -> None:
        for slot in self.slots.values():
            slot.catch_up()
            self.bytes_out += slot.bytes_out
            slot.bytes_out = 0
        if self.bytes_out or self.bytes_in:
            self.hub.sink.sent(sign, self.bytes_out, self.bytes_in)
            self.bytes_out = self.bytes_in = 0

    def _drop(self, stop_id: str) -> None:
        slot = self.slots.pop(stop_id)
        slot.alone()
        self.bytes_out += slot.bytes_out
        self.owed.pop(slot, None)
        self.hub.part(slot)

    # ---- time --------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """Monotonic instant at which `on_time` has something to do, if nothing else happens before."""
        config = self.hub.config
        at = self._deadline if self.phase is not Phase.READY else self._heard_at + config.hb + config.grace
        if self._blocked_at is not None:
            return min(at, self._blocked_at + config.write_deadline_s)
        if self.phase is Phase.READY:
            at = min(at, self._ping_at, *(slot.next_deadline() for slot in self.slots.values()))
        return at

    @property
    def _ping_at(self) -> float:
        """Without other traffic, that is."""
        for slot in self.slots.values():
            slot.catch_up()
        boards = (slot.free_at - slot.min_interval for slot in self.slots.values())
        return max(self._written_at, *boards, 0.0) + self.hub.config.ping

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
            self._refresh(mono)
            if self.sign is not None:
                self._tell_bytes(self.sign)
            if self.phase is Phase.READY and self._blocked_at is None and mono >= self._ping_at:
                assert self._proto is not None
                self._proto.send_ping(b"")
                self._pump()

    def _refresh(self, mono: float) -> None:
        for slot in self.slots.values():
            slot.catch_up()
            if slot.owed is Owed.NOTHING and mono >= slot.refresh_at:
                if not self.hub.bus.knows(slot.stop_id):
                    # Nothing true can be said of this stop any more: the sign asks anew and hears so.
                    return self.close(CloseCode.RESTART, "the timetable has changed")
                slot.owe(Owed.SAME)
        return None
