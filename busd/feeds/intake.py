"""The last step of trackers' reports: whose bus it is, whose clock counts, in to the line, and what is remembered.

One `Intake` a source. Device ids become vehicle ids by the device registry (``vehicle_of``), times are judged
(`busd.feeds.clocks` where a device's clock is known to be off, else `busd.feeds.report.date_report`), and positions go
in: stored fixes as history, which never moves the live bus. `take` returns after `submit` has, so an answer may go out.

Sources with a platform in between (``direct`` false: GTFS-Realtime, SIRI, HFP) are late and list vehicles that stand.
Their times are taken as they are sent until an offset beyond `PLATFORM_DELAY_S` has been learned, of one vehicle or of the
platform as a whole (it takes local time for UTC, say; then every vehicle is put right as soon as the first ones are
known). None of their reports is history. Only a time that cannot be, ahead of now or before there were satellites, gives
way to the receiver's: that would make any other old fix look new.

Only the newest report of a device in one message says something about its clock and may get the receiver's time; an
older one with an unusable time is rejected, because nobody knows when it was.

`Roll` keeps what `busd devices` shows of the devices behind sources without connections of their own; it holds at most
`MAX_DEVICES`, the ones that were heard longest ago give way.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator

import msgspec

from busd import metrics
from busd.clock import Clock
from busd.errors import Reason
from busd.feeds import Submit
from busd.feeds.clocks import SURE_S, ClockWatch
from busd.feeds.report import FUTURE_S, LIVE_AGE_S, Reports, date_report
from busd.types import Rejected, VehiclePosition

MAX_DEVICES = 50_000
PLATFORM_DELAY_S = 300.0
"""what comes later than this, steadily to the second, has a wrong clock"""
FIRST_FIX_AT = 315_964_800.0
"""1980-01-06, when GPS time begins: nothing was measured before"""
_PLATFORM = ""
"""for the clock that all vehicles of a source share; no device has this id"""


class Heard(msgspec.Struct):
    """What is known of one device of one source, of this run."""

    source: str
    device_id: str
    vehicle_id: str
    first_at: float
    last_at: float
    address: str = ""
    positions: int = 0
    last_fix_at: float | None = None
    """the device's (or corrected) time of its newest position"""
    lat: float | None = None
    lon: float | None = None
    clock: str = ""
    rejects: dict[str, int] = msgspec.field(default_factory=dict)
    clock_was_right: bool = False


class Roll:
    """Devices by (source, device id), the latest heard last."""

    def __init__(self, max_devices: int = MAX_DEVICES) -> None:
        self._heard: OrderedDict[tuple[str, str], Heard] = OrderedDict()
        self._max = max_devices
        self.nameless: Counter[tuple[str, str]] = Counter()
        """(source, reason) -> rejects that name no device"""

    def hear(self, source: str, device_id: str, at: float, address: str = "") -> Heard:
        key = (source, device_id)
        heard = self._heard.get(key)
        if heard is None:
            heard = self._heard[key] = Heard(source, device_id, device_id, at, at)
            if len(self._heard) > self._max:
                self._heard.popitem(last=False)
        else:
            self._heard.move_to_end(key)
        heard.last_at = at
        heard.address = address or heard.address
        return heard

    def __len__(self) -> int:
        return len(self._heard)

    def __iter__(self) -> Iterator[Heard]:
        return iter(self._heard.values())


class Taken(msgspec.Struct, frozen=True):
    """What became of one message."""

    live: int = 0
    historical: int = 0
    rejected: dict[str, int] = {}


class Intake:
    """``vehicle_of(device_id)`` is the vehicle id an operator has entered for a device, None if there is none."""

    def __init__(
        self,
        source: str,
        submit: Submit,
        clock: Clock,
        vehicle_of: Callable[[str], str | None],
        roll: Roll,
        *,
        direct: bool = True,
    ) -> None:
        self.source = source
        self.roll = roll
        self._submit = submit
        self._clock = clock
        self._vehicle_of = vehicle_of
        self._direct = direct
        self._clocks = ClockWatch(delay_s=SURE_S if direct else PLATFORM_DELAY_S)

    def take(self, reports: Reports, address: str = "") -> Taken:
        """Positions in, rejects counted. Raises what ``submit`` raises."""
        at = self._clock.now()
        live: list[VehiclePosition] = []
        stored: list[VehiclePosition] = []
        heards: list[tuple[Heard, VehiclePosition]] = []
        rejects = list(reports.rejects)
        newest: dict[str, VehiclePosition] = {}
        for position in reports.positions:
            known = newest.get(position.vehicle_id)
            if known is None or position.measured_at >= known.measured_at:
                newest[position.vehicle_id] = position
        if not self._direct:
            self._observe_platform(newest.values(), at)
        for position in reports.positions:
            heard = self.roll.hear(self.source, position.vehicle_id, at, address)
            dated = self._dated(position, heard, newest[position.vehicle_id] is position)
            if dated is None:
                rejects.append(Rejected(at, self.source, Reason.NO_TIME.value, position.vehicle_id))
                continue
            (stored if dated[1] else live).append(dated[0])
            heards.append((heard, dated[0]))
        stored.sort(key=_measured_at)
        live.sort(key=_measured_at)
        if stored:
            self._submit(stored, True)
        if live:
            self._submit(live, False)
        for heard, position in heards:
            heard.positions += 1
            if heard.last_fix_at is None or position.measured_at >= heard.last_fix_at:
                heard.last_fix_at, heard.clock = position.measured_at, position.clock
                heard.lat, heard.lon = position.lat, position.lon
        return Taken(len(live), len(stored), self._count(rejects, at, address))

    def _dated(self, position: VehiclePosition, heard: Heard, is_newest: bool) -> tuple[VehiclePosition, bool] | None:
        """The position under its vehicle's name with a time to believe, and whether it is history; None = no such time."""
        device_id, at = position.vehicle_id, position.received_at
        measured_at, clock, historical = position.measured_at, position.clock, False
        if clock == "device":
            measured_at, clock, historical = self._judge(device_id, position.measured_at, at, heard, is_newest)
        elif measured_at != at:  # of the message's header: the platform's own
            measured_at, _ = self._platform_time(measured_at, at)
        if clock == "receiver" and not is_newest:
            return None
        vehicle_id = heard.vehicle_id = self._vehicle_of(device_id) or device_id
        label = position.label if position.label != vehicle_id else None
        changed = msgspec.structs.replace(
            position, vehicle_id=vehicle_id, label=label, measured_at=measured_at, clock=clock
        )
        return changed, historical

    def _judge(
        self, device_id: str, measured_at: float, at: float, heard: Heard, is_newest: bool
    ) -> tuple[float, str, bool]:
        key = (self.source, device_id)
        state = self._clocks.observe(key, measured_at, at) if is_newest else self._clocks.state(key)
        if self._direct and state is not None and state.is_stopped:
            return at, "receiver", False
        corrected = self._clocks.corrected(key, measured_at, at)
        if corrected is not None and corrected <= at + FUTURE_S:
            return min(corrected, at), "corrected", self._direct and at - corrected > LIVE_AGE_S
        if not self._direct:
            return *self._platform_time(measured_at, at), False
        dated = date_report(measured_at, at, heard.clock_was_right)
        if dated[1:] == ("device", False):
            heard.clock_was_right = True
        return dated

    def _observe_platform(self, newest: Iterable[VehiclePosition], at: float) -> None:
        """The freshest report of a message says what the platform's clock is, vehicles with a wrong one of their own
        aside."""
        times = [
            position.measured_at
            for position in newest
            if (position.clock == "device" or position.measured_at != position.received_at)
            and ((state := self._clocks.state((self.source, position.vehicle_id))) is None or state.offset_s is None)
        ]
        if times:
            self._clocks.observe((self.source, _PLATFORM), max(times), at)

    def _platform_time(self, measured_at: float, at: float) -> tuple[float, str]:
        """(measured_at, clock) of a vehicle whose own clock says nothing."""
        if -FUTURE_S <= at - measured_at <= PLATFORM_DELAY_S:
            return measured_at, "device"
        corrected = self._clocks.corrected((self.source, _PLATFORM), measured_at, at)
        if corrected is not None and -FUTURE_S <= at - corrected <= PLATFORM_DELAY_S:
            return min(corrected, at), "corrected"
        if measured_at > at + FUTURE_S or measured_at < FIRST_FIX_AT:
            return at, "receiver"
        return measured_at, "device"

    def _count(self, rejects: list[Rejected], at: float, address: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for reject in rejects:
            counts[reject.reason] = counts.get(reject.reason, 0) + 1
            metrics.REJECTED.labels(self.source, reject.reason).inc()
            if reject.vehicle_id is None:
                self.roll.nameless[self.source, reject.reason] += 1
            else:
                heard = self.roll.hear(self.source, reject.vehicle_id, at, address)
                heard.rejects[reject.reason] = heard.rejects.get(reject.reason, 0) + 1
        return counts


def _measured_at(position: VehiclePosition) -> float:
    return position.measured_at
