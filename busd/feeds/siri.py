"""SIRI-VM (CEN/TS 15531-3, version 2.0; 1.3 and 2.1 differ in nothing that is read): one XML message -> what it says.
Sans-I/O; what we send ourselves is in siri_messages.py.

The XML is read in pieces by a defused parser without building a tree: a document type (and with it every entity),
more than `MAX_DEPTH` levels, `MAX_ELEMENTS`, `MAX_ACTIVITIES` or `MAX_BYTES` end the reading with one `FeedError`. Elements are known by
their local names and parents, so that any namespace, none, and a SOAP envelope around it make no difference.

Traps that are met here: times without a zone (the feed's time zone is configured, and of the two instants that an
autumn hour has the one nearer to the receipt is meant); VehicleRef is unique within an operator only; a vehicle that is
not Monitored, or whose GPS is down, may still have a location; SIRI does not number directions, so a "1" is understood
only beside a "0" or a "2".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from math import isfinite
from typing import NamedTuple
from xml.etree.ElementTree import ParseError
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from busd.errors import FeedError, Reason
from busd.feeds.datum import to_wgs84
from busd.types import Occupancy, Rejected, TripHint, VehiclePosition
from gtfs.calendar import seconds_of_day

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 64
MAX_ELEMENTS = 400_000
"""twice what 8 MiB of ordinary deliveries hold; reading them takes a second"""
MAX_NAMES = 2000
"""different names of elements, attributes and namespaces; the parser keeps every one, and SIRI-VM has about 400"""
MAX_ACTIVITIES = 50_000
WRONG_CLOCK_S = 600.0
"""a ResponseTimestamp this far from the receipt is another clock: what is valid until when is judged by that one"""
MAX_ID_CHARS = 128
MAX_ERROR_CHARS = 300
PIECE_BYTES = 256 * 1024
"""the parser goes on to the end of a piece after an error, and begins an unfinished word again with each: larger pieces
make a bomb dearer, smaller ones an endless attribute"""

KINDS = frozenset((
    "ServiceDelivery", "HeartbeatNotification", "SubscriptionResponse", "SubscriptionTerminatedNotification",
    "TerminateSubscriptionResponse", "DataReadyNotification", "CheckStatusResponse",
))  # fmt: skip
"""messages a producer may send us"""

_DELIVERY = "VehicleMonitoringDelivery"
_STATUS_OF = frozenset((*KINDS, _DELIVERY, "ResponseStatus", "TerminationResponseStatus"))
_WANTED = {
    "VehicleActivity": ("RecordedAtTime", "ValidUntilTime"),
    "MonitoredVehicleJourney": (
        "LineRef", "DirectionRef", "OperatorRef", "VehicleRef", "VehicleJourneyRef", "BlockRef", "Bearing", "Velocity",
        "Occupancy", "EngineOn", "Monitored", "MonitoringError", "LocationRecordedAtTime", "OriginAimedDepartureTime",
    ),
    "FramedVehicleJourneyRef": ("DataFrameRef", "DatedVehicleJourneyRef"),
    "VehicleLocation": ("Longitude", "Latitude", "Precision"),
}  # fmt: skip
"""parent -> elements that are read inside a VehicleActivity; the rest (Delay, calls, names) is the engine's own business"""
_FIELDS = frozenset((parent, name) for parent, names in _WANTED.items() for name in names)
_OCCUPANCY = {
    "empty": Occupancy.EMPTY,
    "manySeatsAvailable": Occupancy.MANY_SEATS_AVAILABLE,
    "seatsAvailable": Occupancy.MANY_SEATS_AVAILABLE,
    "fewSeatsAvailable": Occupancy.FEW_SEATS_AVAILABLE,
    "standingAvailable": Occupancy.STANDING_ROOM_ONLY,
    "standingRoomOnly": Occupancy.STANDING_ROOM_ONLY,
    "crushedStandingRoomOnly": Occupancy.CRUSHED_STANDING_ROOM_ONLY,
    "full": Occupancy.FULL,
    "notAcceptingPassengers": Occupancy.NOT_ACCEPTING_PASSENGERS,
}
_DIRECTIONS = {"outbound": 0, "inbound": 1}
_NUMBER = re.compile(r"[+-]?([0-9]{1,20}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")

Activity = dict[str, str]


@dataclass(frozen=True)
class Decoded:
    """One message of a producer. ``kind`` is one of `KINDS`."""

    kind: str
    header_at: float | None
    """ResponseTimestamp"""
    positions: list[VehiclePosition]
    rejects: list[Rejected]
    ok: bool = True
    """no Status in it is false"""
    error: str = ""
    """the names and texts of its ErrorConditions"""
    subscription_refs: frozenset[str] = frozenset()
    more_data: bool = False
    service_started: str = ""
    """ServiceStartedTime as it is written; another one means that the producer began anew and knows no subscriptions"""
    cancelled: int = 0


class _Refused(Exception):
    """The reading ends here; the text says why."""


def decode(
    body: bytes,
    *,
    source: str,
    received_at: float,
    timezone: str = "",
    datum: str = "wgs84",
    max_bytes: int = MAX_BYTES,
) -> Decoded:
    """A whole message. `FeedError` if it is none that can be used (too large, not XML, a bomb, not SIRI); a single bad
    activity is a `Rejected` and costs nothing else. ValueError for an unknown datum or time zone."""
    convert = to_wgs84(datum)
    clock = _Times(_zone(timezone), timezone, received_at, received_at)
    if len(body) > max_bytes:
        raise FeedError(f"{source}: {len(body)} bytes are more than the limit of {max_bytes}")
    reader = _Reader()
    try:
        parser = DefusedXMLParser(target=reader, forbid_dtd=True)
        for start in range(0, len(body), PIECE_BYTES):
            reader.moves = False
            parser.feed(body[start : start + PIECE_BYTES])
            if not reader.moves and len(body) - start > PIECE_BYTES:
                raise _Refused(f"a tag or comment of more than {PIECE_BYTES} bytes")
        parser.close()
    except _Refused as error:
        raise FeedError(f"{source}: {error}") from None
    except DefusedXmlException:
        raise FeedError(f"{source}: a document type or entities in the XML are refused") from None
    except (ParseError, ValueError, LookupError) as error:
        raise FeedError(f"{source}: not XML that can be read ({str(error)[:80]}){_looks_like(body)}") from None
    if not reader.kind:
        raise FeedError(f"{source}: no message of SIRI in it")
    header_at = clock.instant(reader.timestamp) if reader.timestamp else None
    if header_at is not None and abs(received_at - header_at) > WRONG_CLOCK_S:
        clock = clock._replace(producer_at=header_at)
    directions = _directions(reader.activities)
    positions: list[VehiclePosition] = []
    rejects: list[Rejected] = []
    for activity in reader.activities:
        result = _position(activity, source, clock, convert, directions)
        if isinstance(result, Rejected):
            rejects.append(result)
        else:
            positions.append(result)
    return Decoded(
        kind=reader.kind,
        header_at=header_at,
        positions=positions,
        rejects=rejects,
        ok=reader.ok,
        error="; ".join(reader.errors)[:MAX_ERROR_CHARS],
        subscription_refs=frozenset(reader.subscription_refs),
        more_data=reader.more_data,
        service_started=reader.service_started[:MAX_ID_CHARS],
        cancelled=reader.cancelled,
    )


@dataclass
class _Reader:
    """Takes the parser's events; keeps the few texts that are wanted and no tree."""

    kind: str = ""
    timestamp: str = ""
    service_started: str = ""
    ok: bool = True
    more_data: bool = False
    cancelled: int = 0
    errors: list[str] = field(default_factory=list)
    subscription_refs: set[str] = field(default_factory=set)
    activities: list[Activity] = field(default_factory=list)
    moves: bool = True
    """something has begun or ended; to be reset by whoever waits for it"""
    _names: list[str] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)
    _activity: Activity | None = None
    _in_error: int = 0
    _elements: int = 0
    _known: set[str] = field(default_factory=set)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._names) >= MAX_DEPTH:
            raise _Refused(f"the XML is nested more than {MAX_DEPTH} deep")
        self.moves = True
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise _Refused(f"more than {MAX_ELEMENTS} elements in one message")
        if tag not in self._known or attributes:
            self._learn(tag, *attributes)
        name = tag.rpartition("}")[2]
        self._names.append(name)
        self._text.clear()
        if self._activity is not None:
            return
        if name == "VehicleActivity" and _DELIVERY in self._names:
            if len(self.activities) >= MAX_ACTIVITIES:
                raise _Refused(f"more than {MAX_ACTIVITIES} vehicle activities in one message")
            self._activity = {}
            self.activities.append(self._activity)
        elif not self.kind and name in KINDS:
            self.kind = name
        elif not self.kind and name == _DELIVERY:
            self.kind = "ServiceDelivery"
        elif name == "VehicleActivityCancellation":
            self.cancelled += 1
        elif name == "ErrorCondition" and not self._in_error:
            self._in_error = len(self._names)
        elif self._in_error and len(self.errors) < 8 and name not in ("ErrorText", "Description"):
            self.errors.append(name[:MAX_ID_CHARS])

    def start_ns(self, prefix: str, uri: str) -> None:
        self._learn(f"{prefix}:")

    def _learn(self, *names: str) -> None:
        self._known.update(names)
        if len(self._known) > MAX_NAMES:
            raise _Refused(f"more than {MAX_NAMES} different names in one message")

    def data(self, text: str) -> None:
        self.moves = True
        self._text.append(text)

    def end(self, tag: str) -> None:
        self.moves = True
        name = self._names.pop()
        parent = self._names[-1] if self._names else ""
        if self._activity is not None:
            if name == "VehicleActivity" and parent != "VehicleActivity":
                self._activity = None
            elif (parent, name) in _FIELDS and (text := self._take()):
                self._activity.setdefault(name, text)
        elif self._in_error:
            if len(self._names) < self._in_error:
                self._in_error = 0
            elif name in ("ErrorText", "Description") and len(self.errors) < 8 and (text := self._take()):
                self.errors.append(text[:MAX_ERROR_CHARS])
        else:
            self._head(parent, name)
        self._text.clear()

    def close(self) -> None:
        """Asked for by the parser."""

    def _head(self, parent: str, name: str) -> None:
        if name == "ResponseTimestamp" and parent in ("ServiceDelivery", _DELIVERY):
            self.timestamp = self.timestamp or self._take()
        elif name == "Status" and parent in _STATUS_OF:
            self.ok = self.ok and self._take() not in ("false", "0")
        elif name == "SubscriptionRef" and parent in _STATUS_OF:
            if len(self.subscription_refs) < 64:
                self.subscription_refs.add(self._take()[:MAX_ID_CHARS])
        elif name == "MoreData":
            self.more_data = self.more_data or self._take() in ("true", "1")
        elif name == "ServiceStartedTime":
            self.service_started = self._take()

    def _take(self) -> str:
        return "".join(self._text).strip()


class _Times(NamedTuple):
    """How the times of a message are meant."""

    zone: ZoneInfo | None
    timezone: str
    received_at: float
    producer_at: float
    """now, on the clock that ValidUntilTime was written by"""

    def instant(self, text: str) -> float | None:
        """xsd:dateTime -> epoch seconds; None if it is none (or before 1970), or has no offset and the feed no zone."""
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                at = moment.timestamp()
            elif self.zone is not None:
                both = [moment.replace(tzinfo=self.zone, fold=fold).timestamp() for fold in (0, 1)]
                at = min(both, key=lambda at: abs(at - self.received_at))
            else:
                return None
        except (ValueError, OverflowError):
            return None
        return at if at >= 0.0 else None


def _position(
    activity: Activity,
    source: str,
    clock: _Times,
    convert: Callable[[float, float], tuple[float, float]],
    directions: dict[str, int],
) -> VehiclePosition | Rejected:
    get = activity.get
    vehicle_ref, operator = get("VehicleRef", ""), get("OperatorRef", "")
    vehicle_id = f"{operator}/{vehicle_ref}" if operator else vehicle_ref

    def reject(reason: Reason, detail: str = "") -> Rejected:
        return Rejected(clock.received_at, source, reason, vehicle_id[:MAX_ID_CHARS] or None, detail)

    if not vehicle_ref or len(vehicle_id) > MAX_ID_CHARS or not vehicle_id.isprintable():
        return reject(Reason.MALFORMED, "no usable VehicleRef")
    fault = get("MonitoringError", "")
    if get("Monitored") in ("false", "0") or "GPS" in fault.split():
        return reject(Reason.NOT_POSITIONED, f"not monitored {fault[:40]}".rstrip())
    recorded = get("LocationRecordedAtTime") or get("RecordedAtTime", "")
    measured_at = clock.instant(recorded)
    if measured_at is None:
        return reject(Reason.NO_TIME, f"RecordedAtTime {recorded[:40]!r}" + ("" if clock.zone else ", no timezone set"))
    valid_until = clock.instant(get("ValidUntilTime", ""))
    if valid_until is not None and valid_until < clock.producer_at:
        return reject(Reason.STALE, "ValidUntilTime has passed")
    if "Latitude" not in activity or "Longitude" not in activity:
        return reject(Reason.NOT_POSITIONED, "no Longitude and Latitude")
    lat, lon = _number(activity["Latitude"]), _number(activity["Longitude"])
    if lat is None or lon is None:
        return reject(Reason.NOT_A_NUMBER)
    if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
        return reject(Reason.OUT_OF_RANGE)
    lat, lon = convert(lat, lon)
    bearing, speed, accuracy = (_number(get(name, "")) for name in ("Bearing", "Velocity", "Precision"))
    occupancy = _OCCUPANCY.get(get("Occupancy", ""))
    engine = get("EngineOn")
    return VehiclePosition(
        source=source,
        vehicle_id=vehicle_id,
        lat=lat,
        lon=lon,
        measured_at=measured_at,
        received_at=clock.received_at,
        bearing_deg=bearing % 360.0 if bearing is not None and 0.0 <= bearing <= 360.0 else None,
        speed_mps=speed if speed is not None and speed >= 0.0 else None,
        accuracy_m=accuracy if accuracy is not None and accuracy > 0.0 else None,
        ignition=engine in ("true", "1") if engine is not None else None,
        occupancy=int(occupancy) if occupancy is not None else None,
        hint=_hint(activity, clock, directions),
        label=vehicle_ref if operator else None,
    )


def _hint(activity: Activity, clock: _Times, directions: dict[str, int]) -> TripHint | None:
    def ref(name: str) -> str | None:
        text = activity.get(name, "")
        return text if 0 < len(text) <= MAX_ID_CHARS else None

    service_date = _service_date(activity.get("DataFrameRef", ""))
    start_at = clock.instant(activity.get("OriginAimedDepartureTime", ""))
    start_s = None
    if service_date is not None and start_at is not None and clock.zone is not None:
        seconds = round(seconds_of_day(start_at, service_date, clock.timezone))
        start_s = seconds if 0 <= seconds < 172_800 else None
    hint = TripHint(
        trip_id=ref("DatedVehicleJourneyRef") or ref("VehicleJourneyRef"),
        service_date=service_date,
        start_s=start_s,
        route_id=ref("LineRef"),
        direction_id=directions.get(activity.get("DirectionRef", "").lower()),
        block_id=ref("BlockRef"),
    )
    # a date or a direction alone tells nothing
    return hint if hint.trip_id or hint.route_id or hint.block_id else None


def _directions(activities: list[Activity]) -> dict[str, int]:
    """DirectionRef in small letters -> GTFS direction, as this message uses it."""
    seen = {activity.get("DirectionRef", "") for activity in activities}
    known = dict(_DIRECTIONS)
    if "0" in seen:
        known |= {"0": 0, "1": 1}
    elif "2" in seen:
        known |= {"1": 0, "2": 1}
    return known


def _service_date(text: str) -> str | None:
    """'2018-08-17' or '20180817' -> YYYYMMDD; a DataFrameRef may be any other name too."""
    try:
        day = date.fromisoformat(text) if len(text) in (8, 10) else None
    except ValueError:
        return None
    return None if day is None else f"{day.year:04}{day.month:02}{day.day:02}"


def _zone(timezone: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(timezone) if timezone else None
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError(f"{timezone[:60]!r} is no time zone of the tz database") from None


def _number(text: str) -> float | None:
    """xsd:decimal or xsd:float, finite, else None."""
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if value is not None and isfinite(value) else None


def _looks_like(body: bytes) -> str:
    head = body[:200].lstrip().lower()
    if not head:
        return ": the answer is empty"
    if b"<html" in head or head.startswith(b"<!doctype"):
        return ": it looks like a web page"
    if head.startswith((b"{", b"[")):
        return ": it looks like JSON; ask for XML"
    return ""


def format_time(at: float) -> str:
    """Epoch seconds -> xsd:dateTime in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
