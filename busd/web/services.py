"""What the rider web needs from the rest of the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from busd.bus import BoardBus
from busd.clock import Clock
from busd.signs.frames import FrameCache
from busd.signs.packs import PackShelf
from busd.types import Progress
from busd.web.admin import DeviceDoor
from busd.web.dispatch import DispatchDoor
from busd.web.push import PushDoor

if TYPE_CHECKING:  # the office needs these services
    from busd.web.signs_office import SignOffice


@dataclass(frozen=True)
class WebServices:
    """The rooms behind the web, handed in by whoever wires the process (daemon, demo, a test).

    Nothing here is changed by the web; every call comes from the event loop's thread.
    """

    bus: BoardBus
    """boards and the network they speak of; ``bus.network`` may be replaced at any time (timetable reload)"""
    frames: FrameCache
    """encoded boards; the same object that the sign server uses, so that a board is encoded once for all doors"""
    clock: Clock
    vehicles: Callable[[], Sequence[Progress]] = list
    """latest `Progress` of every live vehicle; called at most once a second for all riders together"""
    health: Callable[[], Mapping[str, Any]] = field(default=lambda: {"ok": True})
    """the JSON of /healthz; ``ok`` decides between 200 and 503. Expected besides: ``position_age_s`` (newest fix, s, or
    None), ``boards`` (count), ``uptime_s``"""
    quality: Callable[[], Mapping[str, Any]] | None = None
    """the JSON of /v1/quality: how good the predictions are, by line and horizon, and which lines are off"""
    simulated: bool = False
    """the buses are not real; the page says so"""
    speed: float = 1.0
    """how many seconds of service time pass in one real second (`ScaledClock`); 1 for a real city"""
    push: PushDoor | None = None
    """where sources post their reports"""
    devices: DeviceDoor | None = None
    """the operator's door to the device registry"""
    packs: PackShelf | None = None
    """offline packs of the stops that signs show"""
    signs: SignOffice | None = None
    """the operators' doors to the signs"""
    dispatch: DispatchDoor | None = None
    """what dispatchers ask: a bus explained, detours"""
    tick_s: float = 1.0
    """real seconds between two rounds of the rider websocket; a board or a bus is sent at most once a round"""
