"""What a `Session` tells the rest of busd. `busd.types.Rejected` is an event too: a report that was not used."""

from __future__ import annotations

import msgspec

from busd.registry import Device
from busd.types import Rejected, VehiclePosition


class PositionReported(msgspec.Struct, frozen=True):
    """A usable fix. ``historical``: fills history, never moves the live bus."""

    position: VehiclePosition
    historical: bool
    encrypted: bool = False
    """status bit 5 was set: the terminal says that a secrecy plug-in has shifted the coordinates"""


class Registered(msgspec.Struct, frozen=True):
    """A terminal has got a code; it still has to show it."""

    phone: str
    plate: str


class Authenticated(msgspec.Struct, frozen=True):
    """From here on the connection speaks for this terminal; an older one of the same phone is over."""

    device: Device
    standard: int
    """2013 (also 2011) or 2019: the header's layout"""


class Deregistered(msgspec.Struct, frozen=True):
    """The terminal has given its code back."""

    phone: str


class Refused(msgspec.Struct, frozen=True):
    """A registration or authentication that failed."""

    phone: str
    cause: str
    """``unknown-phone``, ``other-terminal``, ``wrong-code``, ``full``, ``too-many-tries``, ``other-connection``"""


class DriverChanged(msgspec.Struct, frozen=True):
    """0x0702: a driver has logged on, or off (empty)."""

    phone: str
    driver: str


class CommandAnswered(msgspec.Struct, frozen=True):
    """The terminal's answer to a message of the platform: 0x0001, or the one that carries what was asked for."""

    serial: int
    """of the platform's message"""
    message_id: int
    """of 0x0001: what is answered; else the answer's own (0x0104, 0x0201)"""
    result: int
    parameters: dict[int, bytes] | None = None
    """0x0104"""
    position: VehiclePosition | None = None
    """0x0201 with a usable fix; it is reported as such, too"""


Event = (
    PositionReported | Rejected | Registered | Authenticated | Deregistered | Refused | DriverChanged | CommandAnswered
)
