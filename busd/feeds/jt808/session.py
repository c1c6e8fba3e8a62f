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

Plain reports go the short way (lane.py) and can be had without an event each: see `Session.receive_data`.
"""

from __future__ import annotations

from collections.abc import Callable

from busd.config import Jt808Config
from busd.errors import Reason
from busd.feeds.datum_cells import stream_to_wgs84
from busd.feeds.jt808.commands import PARAMETERS_ANSWER, Command, RequestPackets, decode_parameters
from busd.feeds.jt808.events import (
    Authenticated,
    CommandAnswered,
    Deregistered,
    DriverChanged,
    Event,
    PositionReported,
    Refused,
    Registered,
)
from busd.feeds.jt808.frame import OPEN, BadFrame, Frame, FrameReader
from busd.feeds.jt808.hints import decode_driver, hint_reader
from busd.feeds.jt808.lane import Lane
from busd.feeds.jt808.login import OTHER_CONNECTION, Login
from busd.feeds.jt808.message import (
    ACKNOWLEDGED_ONLY,
    SERVED_TO_ANYONE,
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
from busd.feeds.jt808.outbox import Outbox
from busd.feeds.jt808.packets import Assembler
from busd.feeds.jt808.reports import Reporter
from busd.feeds.jt808.shared import Shared
from busd.feeds.jt808.terminal import encode_time
from busd.registry import Device, DeviceRegistry
from busd.types import Rejected, VehiclePosition

BAD_FRAME_COST = 4
"""A good frame pays back 1: one bad frame in five lasts for ever, a run of them ends the connection."""
WRONG_CODE_COST = 16

_LOCATION = int(MessageId.LOCATION)
_OK = int(Result.OK)


class Session:
    """State of one connection. ``make_code`` gives a new random authentication code; it is the only die thrown here.
    ``shared``: what it has in common with the other connections of the port; ``address``: where the peer is;
    ``admit``: whether a terminal with the right code may come in here, for it may be connected already.

    Nothing is raised for anything a peer sends."""

    __slots__ = (
        "_assembler",
        "_config",
        "_errors",
        "_events",
        "_lane",
        "_layout",
        "_live",
        "_login",
        "_phone_raw",
        "_reader",
        "_registry",
        "_reporter",
        "_shared",
        "_tally",
        "_to_wgs84",
        "_utc_offset_s",
        "closing",
        "device",
        "good_frames",
        "outbox",
    )

    def __init__(
        self,
        config: Jt808Config,
        registry: DeviceRegistry,
        make_code: Callable[[], bytes],
        shared: Shared | None = None,
        address: str = "",
        admit: Callable[[str], bool] | None = None,
    ) -> None:
        self._config = config
        self._registry = registry
        self._shared = shared or Shared()
        self._login = Login(config, registry, make_code, self._shared.door, address, admit)
        self.outbox = Outbox(self._shared.tally)
        self._tally = self._shared.tally
        self._utc_offset_s = config.utc_offset_h * 3600.0
        self._to_wgs84 = stream_to_wgs84(config.datum)
        self._reporter = Reporter(
            config.name, self._utc_offset_s, self._to_wgs84, hint_reader(config), self._shared.clocks
        )
        self._reader = FrameReader()
        self._lane: Lane | None = None
        self._live: list[VehiclePosition] = []
        self._layout = (b"", -1)
        self._assembler: Assembler | None = None
        self._events: list[Event] = []
        self._errors = 0
        self._phone_raw = b""
        self.device: Device | None = None
        """the terminal, once it has authenticated"""
        self.closing: str | None = None
        """why the connection is to be closed after what is to be sent; nothing is read any more"""
        self.good_frames = 0

    # ---- the three doors ---------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, at: float, live: list[VehiclePosition] | None = None) -> bool:
        """Bytes as they came, cut anyhow; ``at`` epoch seconds, never decreasing. True if there are `events`.

        ``live`` gets the live positions that came before all events; without it they are events like the others."""
        lane = self._lane
        if lane is not None and not self._events:
            reader, outbox = self._reader, self.outbox
            if live is None:
                live = self._live
            if reader.state == OPEN:
                data = reader.take_back() + data
            if not reader.rest:
                before = len(live)
                taken = lane.run(data, at, outbox.serial, live, outbox.frames)
                if taken:
                    count = len(live) - before
                    outbox.serial = (outbox.serial + count) & 0xFFFF
                    self.good_frames += count
                    self._tally.plain += count
                    if self._errors:
                        self._errors = max(0, self._errors - count)
                    if not reader.is_clean:
                        reader.passed()
                    if taken == len(data):
                        return live is self._live
                    data = data[taken:]
        self._receive_frames(data, at)
        return bool(self._events or self._live)

    def _receive_frames(self, data: bytes, at: float) -> None:
        """The long way, for everything."""
        if self.closing:
            return
        for item in self._reader.receive_data(data):
            if not self._take(item, at):
                return
        if self._reader.is_junk:
            self._close("junk")

    def events(self) -> list[Event]:
        """What has happened since the last call, in the order of the stream."""
        events: list[Event] = [*(PositionReported(position, False) for position in self._live), *self._events]
        self._live.clear()
        self._events.clear()
        return events

    def data_to_send(self) -> bytes:
        """Answers since the last call, in one piece."""
        return self.outbox.take()

    def forget_recent(self) -> None:
        """The last positions could not be kept: they are no duplicates when the terminal sends them again."""
        if self.device is not None:
            self.device.recent.clear()
            self.device.live_at = self.device.newest_at = float("-inf")

    def send_command(self, command: Command) -> int:
        """Puts a command into `data_to_send`; its serial, by which `CommandAnswered` names it. ValueError for a command
        that cannot be encoded, and before the terminal has authenticated."""
        if self.device is None or self.closing is not None:
            raise ValueError("no terminal has authenticated on this connection")
        return self.outbox.command(command, *self._layout)

    def _open_lane(self, frame: Frame, device: Device) -> None:
        """A whole report has come: the next ones of this layout may go the short way."""
        lane = self._lane
        if lane is not None and lane.phone_raw == frame.phone_raw and lane.is_2019 == frame.is_2019:
            return
        if self._reporter.is_plain and not frame.total and not frame.is_flagless:
            self._lane = Lane(
                self._config.name,
                device,
                frame.phone_raw,
                frame.protocol_version,
                self._utc_offset_s,
                self._shared.clocks,
                self._to_wgs84,
            )

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
        self._layout = (frame.phone_raw, frame.protocol_version)
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
            missing = self._assembler.missing(frame) if frame.number == frame.total else None
            if missing is not None and self.device is not None:  # the last one is here and others are not
                self.outbox.command(RequestPackets(*missing), *self._layout)
        return body

    # ---- messages ----------------------------------------------------------------------------------------------------

    def _on_terminal_answer(self, frame: Frame, body: bytes, at: float) -> None:
        answer = decode_answer(body)
        if answer is not None:
            self._events.append(CommandAnswered(*answer))

    def _on_parameters(self, frame: Frame, body: bytes, at: float) -> None:
        found = decode_parameters(body)
        if found is not None:
            self._events.append(CommandAnswered(found[0], frame.message_id, _OK, found[1]))
        self._answer(frame, Result.OK)

    def _on_driver(self, frame: Frame, body: bytes, at: float) -> None:
        driver = decode_driver(body, frame.is_2019)
        if driver is not None and self.device is not None:
            self.device.driver = driver
            self._events.append(DriverChanged(self.device.phone, driver))
        self._answer(frame, Result.OK)

    def _on_heartbeat(self, frame: Frame, body: bytes, at: float) -> None:
        self._answer(frame, Result.OK)

    def _on_deregister(self, frame: Frame, body: bytes, at: float) -> None:
        """Only the terminal itself gives its code back; for anyone else there is nothing to give."""
        device = self._identified(frame)
        if device is not None:
            self._registry.forget_code(device.phone)
            self._leave()
            self._events.append(Deregistered(device.phone))
        self._answer(frame, Result.OK)

    def _on_time_query(self, frame: Frame, body: bytes, at: float) -> None:
        """The one time of the protocol that is UTC."""
        answer = encode_time(at, self._config.time_answer_utc_offset_h * 3600.0)
        self.outbox.send(frame, MessageId.TIME_ANSWER, answer)

    def _on_register(self, frame: Frame, body: bytes, at: float) -> None:
        registration = decode_registration(body, frame.is_2019)
        phone = frame.phone
        grant = self._login.register(phone, registration, at)
        if grant.result is RegisterResult.OK:
            if self.device is not None and self.device.phone != phone:
                self._leave()
            self._lane = None  # the plate may have changed
            self._events.append(Registered(phone, registration.plate))
        else:
            self._fail(BAD_FRAME_COST)
            self._events.append(Refused(phone, grant.cause))
        answer = encode_registration_answer(frame.serial, grant.result, grant.code)
        self.outbox.send(frame, MessageId.REGISTER_ANSWER, answer)

    def _on_authenticate(self, frame: Frame, body: bytes, at: float) -> None:
        device = self._login.authenticate(frame.phone, decode_authentication(body, frame.is_2019), at)
        if isinstance(device, str):
            self._events.append(Refused(frame.phone, device))
            self._fail(WRONG_CODE_COST)
            if device == OTHER_CONNECTION:
                self._close(device)
            self._answer(frame, Result.FAILURE)
            return
        self.device = device
        self._lane = None
        self._phone_raw = frame.phone_raw
        self._layout = (frame.phone_raw, frame.protocol_version)
        self._events.append(Authenticated(device, 2019 if frame.is_2019 else 2013))
        self._answer(frame, Result.OK)

    def _on_location(self, frame: Frame, body: bytes, at: float) -> None:
        query = 0
        if frame.message_id != _LOCATION:
            query, body = int.from_bytes(body[:2], "big"), body[2:]  # the serial of the query that this answers
        location = decode_location(body, self._utc_offset_s)
        if location is None or self.device is None:
            self._reject(Reason.MALFORMED, at)
            self._answer(frame, Result.BAD_MESSAGE)
            return
        event = self._reporter.live(self.device, location, body, at)
        self._events.append(event)
        if frame.message_id == _LOCATION:
            self._open_lane(frame, self.device)
        else:
            place = event if isinstance(event, PositionReported) else self._reporter.repeated(self.device, location, at)
            position = None if place is None else place.position
            self._events.append(CommandAnswered(query, frame.message_id, _OK, None, position))
        self._answer(frame, _OK)

    def _on_batch(self, frame: Frame, body: bytes, at: float) -> None:
        batch = decode_batch(body, self._utc_offset_s)
        if batch is None or self.device is None:
            self._reject(Reason.MALFORMED, at)
            self._answer(frame, Result.BAD_MESSAGE)
            return
        self._events.extend(self._reporter.batch(self.device, batch, at))
        self._answer(frame, Result.OK)

    def _leave(self) -> None:
        """From here on the connection speaks for nobody."""
        self.device = None
        self._lane = None

    # ---- answers -----------------------------------------------------------------------------------------------------

    def _answer(self, frame: Frame, result: int) -> None:
        self.outbox.answer(frame, result)

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
            self._lane = None  # nothing is read any more


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
    MessageId.DRIVER: Session._on_driver,
    PARAMETERS_ANSWER: Session._on_parameters,
}
"""What busd reads; other messages (a bus's own of GB/T 28787, a vendor's) get a handler here."""
