"""A terminal's fix -> `VehiclePosition`, or the reason why not. Every policy about fixes and clocks is here.

Usable: status says positioned, not (0,0), within the degrees there are. Anything else is counted by its reason (and
still acknowledged, or the terminal would send it for ever).

Clock, of a live report (0x0200, 0x0201):
* within `LIVE_AGE_S` behind and `FUTURE_S` ahead of the receiver: the device's time;
* off by an offset that `busd.feeds.clocks` has learned (hours, 1970, years ahead, drift): the device's time, put right
  (``clock="corrected"``); from then on its stored fixes are put right, too;
* the device's clock stands still: the receiver's time;
* not learned yet, and off by a plain 8 h (a terminal that sends UTC, or adds the offset twice): the receiver's time. 8 h
  behind is a stored fix instead once the terminal has shown a right clock;
* older, up to `STORED_AGE_S`: a stored fix sent late. Historical, with the device's time; never "now";
* no time at all, ahead by more, or years behind: the clock is unusable, the receiver's time.
Positions with the receiver's time carry ``clock="receiver"``.

Batch (0x0704), both kinds alike: items are sorted by fix time and are history. The newest one alone is live if it is
within the limits above and newer than the newest live fix of this terminal. A batch has no receiver's time to fall
back on: an item without a believable time is rejected. Items of a terminal whose clock is known to be off are put right
(``clock="corrected"``).
"""

from __future__ import annotations

from collections.abc import Callable

from busd.errors import Reason
from busd.feeds.clocks import SURE_S, ClockWatch
from busd.feeds.jt808.events import PositionReported
from busd.feeds.jt808.hints import HintReader
from busd.feeds.jt808.lane import RECENT_REPORTS
from busd.feeds.jt808.message import BEIJING_S, PASSENGER_DOORS, Batch, Location
from busd.registry import Device
from busd.types import Rejected, VehiclePosition

FUTURE_S = 60.0
LIVE_AGE_S = 300.0
STORED_AGE_S = 366 * 86400.0
PLAIN_OFFSET_TOLERANCE_S = 120.0
NULL_ISLAND_DEG = 0.001

_ODOMETER = 0x01


class Reporter:
    """Judges the fixes of one connection. ``to_wgs84`` None = the coordinates already are; ``hints`` None = the reports
    say nothing of the trip; ``clocks`` is shared by all connections."""

    __slots__ = ("_clocks", "_hints", "_plain_offset_s", "_source", "_to_wgs84", "clock_was_right")

    def __init__(
        self,
        source: str,
        utc_offset_s: float = BEIJING_S,
        to_wgs84: Callable[[float, float], tuple[float, float]] | None = None,
        hints: HintReader | None = None,
        clocks: ClockWatch | None = None,
    ) -> None:
        self._source = source
        self._hints = hints
        self._plain_offset_s = abs(utc_offset_s) or float(BEIJING_S)
        self._to_wgs84 = to_wgs84
        self.clock_was_right = False
        self._clocks = ClockWatch() if clocks is None else clocks

    @property
    def is_plain(self) -> bool:
        """No hints, and the clock has been right: the short way (lane.py) says the same."""
        return self._hints is None and self.clock_was_right

    def live(self, device: Device, location: Location, body: bytes, at: float) -> PositionReported | Rejected:
        """A report sent by itself, received ``at``."""
        if _is_repeated(device, body):
            return self._reject(device, Reason.DUPLICATE, at)
        reason = unusable(location)
        if reason is not None:
            return self._reject(device, reason, at)
        measured_at, clock, historical = self._time_of(device, location.measured_at, at)
        historical = historical or measured_at <= device.live_at
        if not historical:
            _is_live(device, measured_at, at)
        return self._position(device, location, measured_at, clock, historical, at)

    def repeated(self, device: Device, location: Location, at: float) -> PositionReported | None:
        """A report that is not used because it was sent before, for whoever has asked for it; None = it is no place.
        Terminals answer a query with the fix they have reported last."""
        if unusable(location) is not None:
            return None
        measured_at, clock = (at, "receiver") if location.measured_at is None else (location.measured_at, "device")
        return self._position(device, location, measured_at, clock, True, at)

    def batch(self, device: Device, batch: Batch, at: float) -> list[PositionReported | Rejected]:
        """The items of a batch: rejects first, then the rest by fix time."""
        out: list[PositionReported | Rejected] = [
            self._reject(device, Reason.MALFORMED, at) for _ in range(batch.bad_items)
        ]
        good: list[tuple[float, Location]] = []
        offset_s = self._clocks.corrected((self._source, device.phone), 0.0, at)
        if offset_s is None or abs(offset_s) <= SURE_S:
            offset_s = -device.clock_skew_s
        is_resent = _is_repeated(device, tuple(body for _, body in batch.items))
        for location, body in batch.items:
            measured_at = location.measured_at
            reason = unusable(location)
            if is_resent or hash(body) in device.recent:
                reason = Reason.DUPLICATE
            elif reason is None and measured_at is None:
                reason = Reason.NO_TIME
            elif reason is None and measured_at is not None:
                measured_at += offset_s
                if measured_at > at + FUTURE_S:
                    reason = Reason.FUTURE
                elif measured_at < at - STORED_AGE_S:
                    reason = Reason.STALE
            if reason is not None or measured_at is None:
                out.append(self._reject(device, reason or Reason.NO_TIME, at))
            else:
                good.append((measured_at, location))
        good.sort(key=lambda item: item[0])
        clock = "corrected" if offset_s else "device"
        for i, (measured_at, location) in enumerate(good):
            is_live = i == len(good) - 1 and measured_at > device.live_at and at - measured_at <= LIVE_AGE_S
            if is_live:
                _is_live(device, measured_at, at)
            out.append(self._position(device, location, measured_at, clock, not is_live, at))
        return out

    def _time_of(self, device: Device, measured_at: float | None, at: float) -> tuple[float, str, bool]:
        """(measured_at, clock, historical) of a live report; the module's text has the rules."""
        if measured_at is None:
            return at, "receiver", False
        age = at - measured_at
        state = self._clocks.observe((self._source, device.phone), measured_at, at)
        if state is not None:
            if state.is_stopped:
                return at, "receiver", False
            offset_s = state.offset_at(at)
            if offset_s is not None and abs(offset_s) > SURE_S:
                corrected = measured_at + offset_s
                if at - LIVE_AGE_S <= corrected <= at + SURE_S:
                    return min(corrected, at), "corrected", False
                if at - STORED_AGE_S <= corrected < at:
                    return corrected, "corrected", True
        if -FUTURE_S <= age <= LIVE_AGE_S:
            self.clock_was_right = True
            device.clock_skew_s = 0.0
            return measured_at, "device", False
        is_plain = abs(abs(age) - self._plain_offset_s) <= PLAIN_OFFSET_TOLERANCE_S
        if is_plain and not (age > 0 and self.clock_was_right):
            device.clock_skew_s = -self._plain_offset_s if age > 0 else self._plain_offset_s
            return at, "receiver", False
        if 0 < age <= STORED_AGE_S:
            return measured_at, "device", True
        return at, "receiver", False

    def _position(
        self, device: Device, location: Location, measured_at: float, clock: str, historical: bool, at: float
    ) -> PositionReported:
        status = location.status
        doors_open = status & PASSENGER_DOORS != 0
        if doors_open:
            device.has_doors = True
        lat, lon = location.lat, location.lon
        if self._to_wgs84 is not None:
            lat, lon = self._to_wgs84(lat, lon)
        odometer = location.find_item(_ODOMETER, 4)
        name = device.name
        return PositionReported(
            VehiclePosition(
                self._source,
                name,
                lat,
                lon,
                measured_at,
                at,
                float(location.bearing_deg) if location.bearing_deg <= 359 else None,
                location.speed_mps,
                None,
                None if odometer is None else int.from_bytes(odometer, "big") * 100.0,
                doors_open if device.has_doors else None,
                bool(status & 1),
                None,
                None if self._hints is None else self._hints.read(location, device.driver),
                device.plate if device.plate and device.plate != name else None,
                clock,
            ),
            historical,
            bool(status & 0x20),
        )

    def _reject(self, device: Device, reason: Reason, at: float) -> Rejected:
        return Rejected(at, self._source, reason.value, device.name)


def unusable(location: Location) -> Reason | None:
    """Why a fix is no place on the map; None if it is one. Its time is not looked at."""
    if not location.status & 2:
        return Reason.NOT_POSITIONED
    lat, lon = abs(location.lat), abs(location.lon)
    if lat < NULL_ISLAND_DEG and lon < NULL_ISLAND_DEG:
        return Reason.ZERO_ISLAND
    if lat > 90.0 or lon > 180.0:
        return Reason.OUT_OF_RANGE
    return None


def _is_repeated(device: Device, body: bytes | tuple[bytes, ...]) -> bool:
    """The same bytes again: same time and place, sent twice because an answer was lost. Serials are no key to that,
    they start again with the terminal. A batch counts as one, or a long one would push itself out."""
    key = hash(body)
    recent = device.recent
    if key in recent:
        return True
    recent.append(key)
    if len(recent) > RECENT_REPORTS:
        del recent[0]
    return False


def _is_live(device: Device, measured_at: float, at: float) -> None:
    device.live_at = min(measured_at, at)
    device.newest_at = max(device.newest_at, measured_at)
