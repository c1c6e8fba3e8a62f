"""One connection of a terminal: the only part of the gateway that speaks. Bytes in, events and answers out, no I/O.

    session.receive_data(data, at)      # at: epoch seconds of the receipt
    for event in session.events(): ...  # positions go to the journal first,
    write(session.data_to_send())       # the acknowledgements follow
    if session.closing: close()         # after writing

How a terminal lives (JT/T 808-2013 clauses 5 and 8): it registers once and gets a code (0x0100, 0x8100), shows the code
after every connect (0x0102), then reports. Before that only these two, 0x0002, 0x0003 and 0x0004 are served; everything
else is answered "failure" and used for nothing. Layouts of 2011, 2013 and 2019 may change from frame to frame; an
answer has the layout, flags and phone bytes of what it answers. Answers carry the connection's own serials from 0 on.

A message that was understood is acknowledged even if its fix is unusable: a terminal repeats what is not acknowledged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from struct import Struct

from busd.config import Jt808Config
from busd.errors import Reason
from busd.feeds.datum import to_wgs84
from busd.feeds.jt808.events import (
    Authenticated,
    CommandAnswered,
    Deregistered,
    Event,
    Refused,
    Registered,
)
from busd.feeds.jt808.frame import BadFrame, Frame, FrameReader, encode_raw, escape, xor
from busd.feeds.jt808.message import (
    MessageId,
    RegisterResult,
    Result,
    decode_answer,
    decode_authentication,
    decode_batch,
    decode_location,
    decode_registration,
    encode_registration_answer,
)
from busd.feeds.jt808.packets import Assembler
from busd.feeds.jt808.reports import Reporter
from busd.feeds.jt808.terminal import encode_time
from busd.registry import Device, DeviceRegistry
from busd.types import Rejected

ACKNOWLEDGED_ONLY = frozenset((0x0104, 0x0107, 0x0205, 0x0702, 0x0705, 0x0800, 0x0801, 0x0900, 0x0901))
"""Messages that a positions gateway does not need: answered "ok" and not read, packet by packet."""

SERVED_TO_ANYONE = frozenset(
    (
        MessageId.HEARTBEAT,
        MessageId.DEREGISTER,
        MessageId.TIME_QUERY,
        MessageId.REGISTER,
        MessageId.AUTHENTICATE,
    )
)

BAD_FRAME_COST = 4
"""A good frame pays back 1: one bad frame in five lasts for ever, a run of them ends the connection."""
WRONG_CODE_COST = 16

_ANSWER = Struct(">HHHB")
_LOCATION = int(MessageId.LOCATION)
_PLATFORM_ANSWER = int(MessageId.PLATFORM_ANSWER)
_OK = int(Result.OK)


class Tally:
    """Frames and answers by message id, of all sessions that share it."""

    __slots__ = ("frames", "replies")

    def __init__(self) -> None:
        self.frames: defaultdict[int, int] = defaultdict(int)
        self.replies: defaultdict[int, int] = defaultdict(int)


class Session:
    """State of one connection. ``make_code`` gives a new random authentication code; it is the only die thrown here.

    Nothing is raised for anything a peer sends."""

    __slots__ = (
        "_assembler",
        "_code",
        "_config",
        "_errors",
        "_events",
        "_make_code",
        "_out",
        "_phone_raw",
        "_prefix",
        "_prefix_key",
        "_prefix_xor",
        "_reader",
        "_registry",
        "_reporter",
        "_serial",
        "_tally",
        "_utc_offset_s",
        "closing",
        "device",
        "good_frames",
    )

    def __init__(
        self, config: Jt808Config, registry: DeviceRegistry, make_code: Callable[[], bytes], tally: Tally | None = None
    ) -> None:
        self._config = config
        self._registry = registry
        self._make_code = make_code
        self._tally = tally or Tally()
        self._utc_offset_s = config.utc_offset_h * 3600.0
        convert = None if config.datum == "wgs84" else to_wgs84(config.datum)
        hint_items = {int(item_id, 16): field for item_id, field in config.hint_items.items()} or None
        self._reporter = Reporter(config.name, self._utc_offset_s, convert, hint_items)
        self._reader = FrameReader()
        self._assembler: Assembler | None = None
        self._events: list[Event] = []
        self._out: list[bytes] = []
        self._serial = 0
        self._errors = 0
        self._phone_raw = b""
        self._code: tuple[str, bytes] | None = None
        self._prefix_key: tuple[bytes, int, int] | None = None
        self._prefix = b""
        self._prefix_xor = 0
        self.device: Device | None = None
        """the terminal, once it has authenticated"""
        self.closing: str | None = None
        """why the connection is to be closed after what is to be sent; nothing is read any more"""
        self.good_frames = 0

    # ---- the three doors ---------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, at: float) -> None:
        """Bytes as they came, cut anyhow; ``at`` epoch seconds, never decreasing."""
        if self.closing:
            return
        for item in self._reader.receive_data(data):
            if not self._take(item, at):
                return
        if self._reader.is_junk:
            self._close("junk")

    def events(self) -> list[Event]:
        """What has happened since the last call, in the order of the stream."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> bytes:
        """Answers since the last call, in one piece."""
        if len(self._out) == 1:
            return self._out.pop()
        data = b"".join(self._out)
        self._out.clear()
        return data

    def forget_recent(self) -> None:
        """The last positions could not be kept: they are no duplicates when the terminal sends them again."""
        if self.device is not None:
            self.device.recent = ()
            self.device.live_at = float("-inf")

    # ---- frames ------------------------------------------------------------------------------------------------------

    def _take(self, item: Frame | BadFrame, at: float) -> bool:
        """One thing between flags; false if it was the last that is read."""
        if isinstance(item, Frame):
            self.good_frames += 1
            if self._errors:
                self._errors -= 1
            self._on_frame(item, at)
        else:
            self._reject(item.reason, at)
            self._fail(BAD_FRAME_COST)
        return self.closing is None

    def _on_frame(self, frame: Frame, at: float) -> None:
        message_id = frame.message_id
        self._tally.frames[message_id] += 1
        if message_id >= 0x8000:
            return  # a platform's message that came back: an answer could go round for ever
        if frame.attributes & 0x1C00:  # encrypted
            if message_id != MessageId.TERMINAL_ANSWER:
                self._answer(frame, Result.UNSUPPORTED)
            return
        device = self.device
        if frame.phone_raw != self._phone_raw:
            device = self._identified(frame)
        if device is None and message_id not in SERVED_TO_ANYONE:
            self._reject(Reason.UNAUTHENTICATED, at)
            self._fail(BAD_FRAME_COST)
            if message_id != MessageId.TERMINAL_ANSWER:
                self._answer(frame, Result.FAILURE)
            return
        handler = _HANDLERS.get(message_id)
        if handler is None:
            self._answer(frame, Result.OK if message_id in ACKNOWLEDGED_ONLY else Result.UNSUPPORTED)
            return
        body = frame.body
        if frame.total > 1:
            whole = self._assemble(frame, at)
            if whole is None:
                return
            body = whole
        handler(self, frame, body, at)

    def _identified(self, frame: Frame) -> Device | None:
        """The terminal this connection has authenticated, if the frame is of that one."""
        device = self.device
        if device is None or frame.phone_raw == self._phone_raw:
            return device
        if frame.phone != device.phone:
            return None
        self._phone_raw = frame.phone_raw
        return device

    def _assemble(self, frame: Frame, at: float) -> bytes | None:
        """The whole body with its last packet. The packets before are acknowledged one by one: terminals wait for it."""
        if self._assembler is None:
            self._assembler = Assembler()
        dropped = self._assembler.dropped
        try:
            body = self._assembler.add(frame, at)
        except ValueError:
            self._reject(Reason.MALFORMED, at)
            self._fail(BAD_FRAME_COST)
            self._answer(frame, Result.BAD_MESSAGE)
            return None
        for _ in range(self._assembler.dropped - dropped):
            self._reject(Reason.OVERLOAD, at)
        if body is None:
            self._answer(frame, Result.OK)
        return body

    # ---- messages ----------------------------------------------------------------------------------------------------

    def _on_terminal_answer(self, frame: Frame, body: bytes, at: float) -> None:
        answer = decode_answer(body)
        if answer is not None:
            self._events.append(CommandAnswered(*answer))

    def _on_heartbeat(self, frame: Frame, body: bytes, at: float) -> None:
        self._answer(frame, Result.OK)

    def _on_deregister(self, frame: Frame, body: bytes, at: float) -> None:
        """Only the terminal itself gives its code back; for anyone else there is nothing to give."""
        device = self._identified(frame)
        if device is not None:
            self._registry.forget_code(device.phone)
            self.device = None
            self._events.append(Deregistered(device.phone))
        self._answer(frame, Result.OK)

    def _on_time_query(self, frame: Frame, body: bytes, at: float) -> None:
        """The one time of the protocol that is UTC."""
        self._send(frame, MessageId.TIME_ANSWER, encode_time(at, self._config.time_answer_utc_offset_h * 3600.0))

    def _on_register(self, frame: Frame, body: bytes, at: float) -> None:
        registration = decode_registration(body, frame.is_2019)
        phone = frame.phone
        known = self._registry.find_device(phone)
        result = self._may_register(known, registration.terminal_id)
        code = b""
        cause = _REFUSALS.get(result, "")
        if result is RegisterResult.OK:
            # The same code for a registration that is repeated because its answer was lost: either answer may arrive.
            code = self._code[1] if self._code and self._code[0] == phone else self._make_code()
            if self._registry.enrol(phone, code, at, registration.plate, registration.terminal_id) is None:
                result, cause, code = RegisterResult.NO_SUCH_TERMINAL, "full", b""
        if result is RegisterResult.OK:
            self._code = (phone, code)
            if self.device is not None and self.device.phone != phone:
                self.device = None
            self._events.append(Registered(phone, registration.plate))
        else:
            self._fail(BAD_FRAME_COST)
            self._events.append(Refused(phone, cause))
        self._send(frame, MessageId.REGISTER_ANSWER, encode_registration_answer(frame.serial, result, code))

    def _may_register(self, known: Device | None, terminal_id: str) -> RegisterResult:
        """Who gets a code. ``open``: everyone, every time. ``enrol``: a new phone, and a known one from the terminal it
        was first registered with. ``closed``: the same, for phones that an operator has listed only."""
        mode = self._config.mode
        if mode == "open":
            return RegisterResult.OK
        if mode == "closed" and (known is None or not known.listed):
            return RegisterResult.NO_SUCH_TERMINAL
        if known is not None and known.terminal_id and known.terminal_id != terminal_id:
            return RegisterResult.TERMINAL_REGISTERED
        return RegisterResult.OK

    def _on_authenticate(self, frame: Frame, body: bytes, at: float) -> None:
        authentication = decode_authentication(body, frame.is_2019)
        phone = frame.phone
        device = self._registry.check_code(phone, authentication.code)
        if device is None or (self._config.mode == "closed" and not device.listed):
            self._events.append(Refused(phone, "wrong-code" if device is None else "unknown-phone"))
            self._fail(WRONG_CODE_COST)
            self._answer(frame, Result.FAILURE)
            return
        self.device = device
        self._phone_raw = frame.phone_raw
        self._code = None
        self._registry.seen(device, at)
        self._events.append(Authenticated(device, 2019 if frame.is_2019 else 2013))
        self._answer(frame, Result.OK)

    def _on_location(self, frame: Frame, body: bytes, at: float) -> None:
        if frame.message_id != _LOCATION:
            body = body[2:]  # the serial of the query that this answers
        location = decode_location(body, self._utc_offset_s)
        if location is None or self.device is None:
            self._reject(Reason.MALFORMED, at)
            self._answer(frame, Result.BAD_MESSAGE)
            return
        self._events.append(self._reporter.live(self.device, location, body, at))
        self._answer(frame, _OK)

    def _on_batch(self, frame: Frame, body: bytes, at: float) -> None:
        batch = decode_batch(body, self._utc_offset_s)
        if batch is None or self.device is None:
            self._reject(Reason.MALFORMED, at)
            self._answer(frame, Result.BAD_MESSAGE)
            return
        self._events.extend(self._reporter.batch(self.device, batch, at))
        self._answer(frame, Result.OK)

    # ---- answers -----------------------------------------------------------------------------------------------------

    def _answer(self, frame: Frame, result: int) -> None:
        """0x8001. What does not change from answer to answer is kept with its check byte."""
        key = (frame.phone_raw, frame.protocol_version, frame.attributes & 0x4000)
        if key != self._prefix_key:
            self._prefix_key = key
            version = bytes((frame.protocol_version,)) if frame.is_2019 else b""
            self._prefix = (
                MessageId.PLATFORM_ANSWER.to_bytes(2, "big") + (5 | key[2]).to_bytes(2, "big") + version + key[0]
            )
            self._prefix_xor = xor(self._prefix)
        serial, self._serial = self._serial, (self._serial + 1) & 0xFFFF
        words = serial ^ frame.serial ^ frame.message_id
        check = self._prefix_xor ^ (words >> 8) ^ (words & 0xFF) ^ result
        data = self._prefix + _ANSWER.pack(serial, frame.serial, frame.message_id, result) + bytes((check,))
        self._out.append(b"~" + escape(data) + b"~")
        self._tally.replies[_PLATFORM_ANSWER] += 1

    def _send(self, frame: Frame, message_id: int, body: bytes) -> None:
        """Another answer to ``frame``, in its layout."""
        serial, self._serial = self._serial, (self._serial + 1) & 0xFFFF
        attributes = len(body) | (frame.attributes & 0x4000)
        self._out.append(encode_raw(message_id, attributes, frame.protocol_version, frame.phone_raw, serial, body))
        self._tally.replies[message_id] += 1

    # ---- bounds ------------------------------------------------------------------------------------------------------

    def _reject(self, reason: Reason, at: float) -> None:
        device = self.device
        self._events.append(Rejected(at, self._config.name, reason.value, device.name if device is not None else None))

    def _fail(self, cost: int) -> None:
        self._errors += cost
        if self._errors > self._config.max_errors * BAD_FRAME_COST:
            self._close("errors")

    def _close(self, cause: str) -> None:
        if self.closing is None:
            self.closing = cause


_REFUSALS = {
    RegisterResult.NO_SUCH_TERMINAL: "unknown-phone",
    RegisterResult.TERMINAL_REGISTERED: "other-terminal",
}

_HANDLERS: dict[int, Callable[[Session, Frame, bytes, float], None]] = {
    MessageId.TERMINAL_ANSWER: Session._on_terminal_answer,
    MessageId.HEARTBEAT: Session._on_heartbeat,
    MessageId.DEREGISTER: Session._on_deregister,
    MessageId.TIME_QUERY: Session._on_time_query,
    MessageId.REGISTER: Session._on_register,
    MessageId.AUTHENTICATE: Session._on_authenticate,
    MessageId.LOCATION: Session._on_location,
    MessageId.LOCATION_ANSWER: Session._on_location,
    MessageId.LOCATION_BATCH: Session._on_batch,
}
"""What busd reads; other messages (a bus's own of GB/T 28787, a vendor's) get a handler here."""
