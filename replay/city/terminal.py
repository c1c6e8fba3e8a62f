"""One JT/T 808 terminal as a bus has it, sans I/O: bytes in, bytes out, and fixes that are never lost on a bad link.

It registers when it has no code, authenticates after every connect, and only then reports. What the platform has not
acknowledged when the link goes is sent again after the next connect, as a blind-zone batch (0x0704), oldest first.

The driver's log-on goes into additional items of each report, in the vendors' range: `TRIP_ITEM` the trip_id,
`START_ITEM` the start of a frequency run (seconds of the service day, decimal), `DATE_ITEM` the service date
(YYYYMMDD), all UTF-8. The gateway maps ids to hint fields by its option ``jt808.hint_items``.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

import structlog

from busd.feeds.jt808.frame import Frame, FrameReader, encode_frame, phone_bytes
from busd.feeds.jt808.message import MessageId, decode_answer, decode_registration_answer
from busd.feeds.jt808.terminal import encode_auth, encode_batch, encode_location, encode_registration
from replay.city.gps import Report, phone, plate

log = structlog.get_logger(__name__)

TRIP_ITEM, START_ITEM, DATE_ITEM = 0xE8, 0xE9, 0xEA
HINT_ITEMS = {"0xE8": "trip_id", "0xE9": "start_s", "0xEA": "service_date"}
"""``jt808.hint_items`` for a gateway that these terminals report to"""
STORED_REPORTS = 600
"""fixes kept without a link; beyond this the oldest go"""
BATCH_REPORTS = 12
ANSWER_TIMEOUT_S = 20.0
HEARTBEAT_S = 30.0


class Terminal:
    """State of one terminal over all its connections. Times are readings of a monotonic clock."""

    def __init__(self, vehicle: int) -> None:
        self.vehicle = vehicle
        self.standard = 2019 if vehicle % 2 else 2013
        self.online = False
        self.acknowledged = 0
        """reports that the platform has confirmed"""
        self.refused = 0
        """messages that it answered with anything but 0"""
        self._phone_raw = phone_bytes(phone(vehicle), self.standard)
        self._code: bytes | None = None
        self._reader = FrameReader()
        self._serial = 0
        self._out: list[bytes] = []
        self._stored: deque[bytes] = deque(maxlen=STORED_REPORTS)
        self._waiting: dict[int, tuple[float, tuple[bytes, ...]]] = {}
        self._sent_at = 0.0

    @property
    def stored(self) -> int:
        """Fixes that wait for a link."""
        return len(self._stored)

    # ---- link --------------------------------------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """A new connection: the first message is 0x0102, or 0x0100 without a code."""
        self._reader = FrameReader()
        self._out.clear()
        self.online = False
        if self._code is None:
            body = encode_registration(plate(self.vehicle), self.standard, f"{self.vehicle:07d}")
            self._send(MessageId.REGISTER, body, now)
        else:
            self._send(MessageId.AUTHENTICATE, encode_auth(self._code, self.standard), now)

    def disconnected(self) -> None:
        """What was under way counts as lost and is kept for the next link."""
        self.online = False
        lost = [body for _, bodies in self._waiting.values() for body in bodies]
        self._waiting.clear()
        self._stored.extendleft(reversed(lost))

    def receive_data(self, data: bytes, now: float) -> None:
        for item in self._reader.receive_data(data):
            if isinstance(item, Frame):
                self._on_frame(item, now)

    def data_to_send(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    def is_stuck(self, now: float) -> bool:
        """The platform has not answered for too long: hang up and try again."""
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and now - oldest[0] > ANSWER_TIMEOUT_S

    # ---- reports -----------------------------------------------------------------------------------------------------

    def report(self, report: Report, now: float) -> None:
        body = location_body(report)
        if self.online:
            self._waiting[self._send(MessageId.LOCATION, body, now)] = (now, (body,))
        else:
            self._stored.append(body)

    def tick(self, now: float) -> None:
        """Catch-up and heartbeat; call it now and then."""
        if not self.online:
            return
        if self._stored:
            batch = tuple(islice(self._stored, BATCH_REPORTS))
            for _ in batch:
                self._stored.popleft()
            self._waiting[self._send(MessageId.LOCATION_BATCH, encode_batch(batch), now)] = (now, batch)
        elif now - self._sent_at >= HEARTBEAT_S:
            self._waiting[self._send(MessageId.HEARTBEAT, b"", now)] = (now, ())

    # ---- frames ------------------------------------------------------------------------------------------------------

    def _on_frame(self, frame: Frame, now: float) -> None:
        if frame.message_id == MessageId.REGISTER_ANSWER:
            answer = decode_registration_answer(frame.body)
            if answer is not None and answer[1] == 0:
                self._code = answer[2]
                self._send(MessageId.AUTHENTICATE, encode_auth(self._code, self.standard), now)
            else:
                self.refused += 1
        elif frame.message_id == MessageId.PLATFORM_ANSWER:
            self._on_answer(frame)
        elif frame.message_id >= 0x8000:
            # a command this terminal does not know: the general answer "not supported"
            body = frame.serial.to_bytes(2, "big") + frame.message_id.to_bytes(2, "big") + b"\x03"
            self._send(MessageId.TERMINAL_ANSWER, body, now)

    def _on_answer(self, frame: Frame) -> None:
        answer = decode_answer(frame.body)
        if answer is None:
            return
        serial, message_id, result = answer
        if message_id == MessageId.AUTHENTICATE:
            self.online = result == 0
            if result:
                self.refused += 1
                self._code = None  # registers again at the next connect
            return
        waited = self._waiting.pop(serial, None)
        if waited is None:
            return
        if result == 0:
            self.acknowledged += len(waited[1])
        else:
            self.refused += 1

    def _send(self, message_id: int, body: bytes, now: float) -> int:
        serial, self._serial = self._serial, (self._serial + 1) & 0xFFFF
        self._out.append(encode_frame(message_id, self._phone_raw, serial, body, self.standard))
        self._sent_at = now
        return serial


def location_body(report: Report) -> bytes:
    """Body of 0x0200 with the driver's log-on as additional items."""
    items: list[tuple[int, bytes]] = []
    hint = report.hint
    if hint is not None and hint.trip_id is not None:
        items.append((TRIP_ITEM, hint.trip_id.encode()))
        if hint.start_s is not None:
            items.append((START_ITEM, str(hint.start_s).encode()))
        if hint.service_date is not None:
            items.append((DATE_ITEM, hint.service_date.encode()))
    return encode_location(
        report.lat,
        report.lon,
        report.speed_mps,
        report.bearing_deg,
        1520.0,
        report.measured_at,
        items,
        positioned=report.positioned,
        doors_open=report.truth.doors_open,
        odometer_m=report.truth.odometer_m,
    )
