"""NMEA 0183: lines of a receiver -> positions. Sans-I/O; nmea_server.py has the sockets.

Read are RMC (place, speed in knots, course, date) and GGA (quality, HDOP) of every talker: GP, GL, GA, GN, BD (BeiDou,
older), GB (BeiDou) or any other two letters. A position comes from RMC; the HDOP of the GGA of the same instant, or of
one up to `GGA_KEPT_S` before, gives its accuracy, so no position waits for a second sentence. A receiver that never
sends RMC is read by GGA alone, whose missing date is the one that brings the time of day nearest to the receipt.

NMEA has no identity. The vehicle id is, first that applies: what stands before the ``$`` on the line
(``1207,$GPRMC,...``), what the stream's login line said (``$ID,1207``), what the caller knows (``device_id``: the
address's or the port's). Without any a report is `Reason.UNAUTHENTICATED`.

Traps: a status V or mode N still carries the last place; years have two digits; the magnetic variation after the date
is not a course. Source: NMEA 0183 v4.11 sentence tables (RMC, GGA); decoders of the public record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from busd.errors import Reason
from busd.feeds.datum import TO_WGS84, to_wgs84
from busd.feeds.report import METRES_PER_HDOP, MPS_PER_KNOT, Convert, Reports
from busd.types import Rejected, VehiclePosition

MAX_LINE = 256
"""Bytes: the standard says 82, vendors put ids and more fields there."""
MAX_ERRORS = 20
"""Bad lines, each good one paying one back, until a stream is given up."""
GGA_KEPT_S = 10.0
GGA_ALONE_AFTER = 3
"""GGA sentences without any RMC: from then on they are positions themselves, at once."""
DAY_S = 86400.0

_LAT = re.compile(r"([0-9]{2})([0-9]{2}(?:\.[0-9]{0,12})?)")
_LON = re.compile(r"([0-9]{3})([0-9]{2}(?:\.[0-9]{0,12})?)")
_TIME = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2}(?:\.[0-9]{0,9})?)")
_DATE = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})")
_PLAIN = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{0,12})?")
_PREFIX = re.compile(r"(?:id[=:])?([A-Za-z0-9_.\-]{1,64})[,:; ]?")
_LOGIN = "ID"


class Session:
    """The lines of one stream, cut anyhow, or of the datagrams of one sender (then call `end_datagram` after each).

    Holds at most `MAX_LINE` bytes and one sentence. Nothing is raised for anything a peer sends."""

    __slots__ = (
        "_checksum",
        "_convert",
        "_device_id",
        "_errors",
        "_events",
        "_gga",
        "_gga_alone",
        "_has_rmc",
        "_rest",
        "_skipping",
        "_source",
        "closing",
        "good_lines",
    )

    def __init__(
        self,
        source: str,
        *,
        device_id: str = "",
        datum: str = "wgs84",
        checksum_required: bool = False,
    ) -> None:
        self._source = source
        self._convert: Callable[[float, float], tuple[float, float]] | None = (
            None if datum == "wgs84" else to_wgs84(datum)
        )
        self._checksum = checksum_required
        self._device_id = device_id
        self._rest = b""
        self._skipping = False
        self._errors = 0
        self._events: list[VehiclePosition | Rejected] = []
        self._gga: _Gga | None = None
        self._gga_alone = 0
        self._has_rmc = False
        self.closing: str | None = None
        """why the stream is to be given up; nothing is read any more"""
        self.good_lines = 0

    @property
    def device_id(self) -> str:
        """What the stream's lines without an id of their own count for; "" = not known."""
        return self._device_id

    def receive_data(self, data: bytes, at: float) -> None:
        """Bytes as they came; ``at`` epoch seconds of the receipt."""
        if self.closing:
            return
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif len(line) > MAX_LINE + 1:
                self._fail(Convert(self._source, at), Reason.BAD_LENGTH, f"a line of more than {MAX_LINE} bytes")
            else:
                self._take(line, at)
            if self._is_over:
                self._rest = b""
                return
        if len(self._rest) > MAX_LINE + 1:
            if not self._skipping:
                self._skipping = True
                self._fail(Convert(self._source, at), Reason.BAD_LENGTH, f"a line of more than {MAX_LINE} bytes")
            self._rest = b""

    def end_datagram(self, at: float) -> None:
        """The message ends here: its last line needs no line end, and a GGA without RMC is all there is."""
        line, self._rest = self._rest, b""
        if line and not self._skipping and not self.closing:
            self._take(line, at)
        self._skipping = False
        if not self._has_rmc:
            self._release(at)

    def events(self) -> list[VehiclePosition | Rejected]:
        """What has happened since the last call, in the order of the lines."""
        events, self._events = self._events, []
        return events

    # ---- lines -------------------------------------------------------------------------------------------------------

    def _take(self, raw: bytes, at: float) -> None:
        convert = Convert(self._source, at, self._convert)
        line = raw.strip()
        if not line:
            return
        head, dollar, body = line.partition(b"$")
        if not dollar:
            if not line.startswith(b"!"):  # AIS
                self._fail(convert, Reason.NOT_A_FRAME, "a line without $")
            return
        content, star, shown = body.partition(b"*")
        if not content.isascii() or not head.isascii():
            self._fail(convert, Reason.NOT_A_FRAME, "not ASCII")
            return
        fields = content.decode().split(",")
        is_login = fields[0] == _LOGIN
        if not (star or is_login) and self._checksum:
            self._fail(convert, Reason.BAD_CHECKSUM, "no checksum")
            return
        if star and not _is_checksum(content, shown):
            self._fail(convert, Reason.BAD_CHECKSUM, "wrong checksum")
            return
        device_id = self._device_id
        if head:
            found = _PREFIX.fullmatch(head.decode())
            if found is None:
                self._fail(convert, Reason.NOT_A_FRAME, "rubbish before $")
                return
            device_id = found.group(1)
        self.good_lines += 1
        self._errors = max(0, self._errors - 1)
        if is_login:
            self._log_in(convert, fields)
        elif len(fields[0]) == 5 and fields[0][2:] == "RMC":
            self._on_rmc(convert, device_id, fields)
        elif len(fields[0]) == 5 and fields[0][2:] == "GGA":
            self._on_gga(convert, device_id, fields)

    def _log_in(self, convert: Convert, fields: list[str]) -> None:
        found = _PREFIX.fullmatch(fields[1].strip()) if len(fields) > 1 else None
        if found is None:
            self._fail(convert, Reason.MALFORMED, "a login line without an id")
        else:
            self._device_id = found.group(1)

    def _on_rmc(self, convert: Convert, device_id: str, fields: list[str]) -> None:
        self._has_rmc = True
        if len(fields) < 10:
            self._fail(convert, Reason.MALFORMED, "RMC with too few fields")
            return
        second = _second_of_day(fields[1])
        gga = self._gga
        if gga is not None and (gga.device_id != device_id or not _follows(second, gga.second)):
            gga = self._gga = None
        mode = fields[12] if len(fields) > 12 else ""
        void = fields[2] != "A" or mode == "N" or (gga is not None and gga.second == second and not gga.quality)
        self._report(
            convert,
            device_id,
            None if void else (_degrees(_LAT, fields[3], fields[4], "NS"), _degrees(_LON, fields[5], fields[6], "EW")),
            _instant(fields[9], second, convert.received_at),
            speed_kn=_plain(fields[7]),
            course=_plain(fields[8]),
            hdop=gga.hdop if gga is not None else None,
        )

    def _on_gga(self, convert: Convert, device_id: str, fields: list[str]) -> None:
        if len(fields) < 9:
            self._fail(convert, Reason.MALFORMED, "GGA with too few fields")
            return
        if not self._has_rmc:
            self._release(convert.received_at)
        quality = int(fields[6]) if fields[6] in tuple("0123456789") else 0
        place = (_degrees(_LAT, fields[2], fields[3], "NS"), _degrees(_LON, fields[4], fields[5], "EW"))
        self._gga = _Gga(device_id, _second_of_day(fields[1]), quality, _plain(fields[8]), place)
        if not self._has_rmc:
            self._gga_alone += 1
            if self._gga_alone >= GGA_ALONE_AFTER:
                self._release(convert.received_at)

    def _release(self, at: float) -> None:
        """The GGA that waited for an RMC is a position of its own."""
        gga, self._gga = self._gga, None
        if gga is None:
            return
        convert = Convert(self._source, at, self._convert)
        measured_at = _instant("", gga.second, at)
        self._report(convert, gga.device_id, gga.place if gga.quality else None, measured_at, hdop=gga.hdop)

    def _report(
        self,
        convert: Convert,
        device_id: str,
        place: tuple[float | None, float | None] | None,
        measured_at: float | None,
        *,
        speed_kn: float | None = None,
        course: float | None = None,
        hdop: float | None = None,
    ) -> None:
        if not device_id:
            self._events.append(convert.reject(Reason.UNAUTHENTICATED, None, "the stream has not said who it is"))
        elif place is None:
            self._events.append(convert.reject(Reason.NOT_POSITIONED, device_id))
        elif None in place:
            self._events.append(convert.reject(Reason.MALFORMED, device_id, "latitude or longitude"))
        else:
            report = convert.report(
                device_id,
                *place,
                measured_at,
                bearing_deg=course,
                speed_mps=None if speed_kn is None else speed_kn * MPS_PER_KNOT,
                accuracy_m=None if hdop is None or not 0 < hdop < 99 else hdop * METRES_PER_HDOP,
            )
            self._events.append(report)

    def _fail(self, convert: Convert, reason: Reason, detail: str) -> None:
        self._events.append(convert.reject(reason, self._device_id or None, detail))
        self._errors += 2
        if self._is_over:
            self.closing = "junk"

    @property
    def _is_over(self) -> bool:
        return self._errors > 2 * MAX_ERRORS


class _Gga:
    """A GGA that waits for its RMC. ``second`` of the day, None if it had no time."""

    __slots__ = ("device_id", "hdop", "place", "quality", "second")

    def __init__(
        self,
        device_id: str,
        second: float | None,
        quality: int,
        hdop: float | None,
        place: tuple[float | None, float | None],
    ) -> None:
        self.device_id, self.second, self.quality, self.hdop, self.place = device_id, second, quality, hdop, place


def decode(
    body: bytes,
    *,
    source: str,
    received_at: float,
    datum: str = "wgs84",
    device_id: str = "",
    checksum_required: bool = False,
) -> Reports:
    """A whole text. ValueError for an unknown datum (`busd.feeds.datum.TO_WGS84` has the names)."""
    if datum not in TO_WGS84:
        to_wgs84(datum)
    session = Session(source, device_id=device_id, datum=datum, checksum_required=checksum_required)
    session.receive_data(body, received_at)
    session.end_datagram(received_at)
    reports = Reports([], [])
    for event in session.events():
        if isinstance(event, VehiclePosition):
            reports.positions.append(event)
        else:
            reports.rejects.append(event)
    return reports


def checksum(content: bytes) -> int:
    """XOR of what stands between ``$`` and ``*``."""
    value = 0
    for byte in content:
        value ^= byte
    return value


def _is_checksum(content: bytes, shown: bytes) -> bool:
    try:
        return len(shown.strip()) == 2 and int(shown, 16) == checksum(content)
    except ValueError:
        return False


def _degrees(pattern: re.Pattern[str], text: str, side: str, sides: str) -> float | None:
    """``2456.7890``, ``S`` -> -24.94648..; None for what is no coordinate."""
    found = pattern.fullmatch(text.strip())
    side = side.strip().upper()
    if found is None or len(side) != 1 or side not in sides:
        return None
    minutes = float(found.group(2))
    if minutes >= 60.0:
        return None
    value = int(found.group(1)) + minutes / 60.0
    return -value if side in "SW" else value


def _second_of_day(text: str) -> float | None:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    hour, minute, second = int(found.group(1)), int(found.group(2)), float(found.group(3))
    return hour * 3600 + minute * 60 + second if hour < 24 and minute < 60 and second < 61 else None


def _instant(date: str, second: float | None, near: float) -> float | None:
    """Date and time of day -> epoch seconds; without a date the day that is nearest to ``near``; None without a time.

    Two-digit years: 80 to 99 are of the last century, as GPS began in 1980."""
    if second is None:
        return None
    found = _DATE.fullmatch(date.strip())
    if found is None:
        return near + (second - near % DAY_S + DAY_S / 2) % DAY_S - DAY_S / 2 if not date.strip() else None
    day, month, year = (int(group) for group in found.groups())
    try:
        return datetime(year + (1900 if year >= 80 else 2000), month, day, tzinfo=UTC).timestamp() + second
    except ValueError:
        return None


def _follows(second: float | None, earlier: float | None) -> bool:
    return second is not None and earlier is not None and (second - earlier) % DAY_S <= GGA_KEPT_S


def _plain(text: str) -> float | None:
    text = text.strip()
    return float(text) if _PLAIN.fullmatch(text) else None
