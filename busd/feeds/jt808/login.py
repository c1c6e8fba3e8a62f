"""Who gets a code, and who has the right one: 0x0100 and 0x0102, without the wire."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from busd.config import Jt808Config
from busd.feeds.jt808.limits import Doorkeeper
from busd.feeds.jt808.message import Authentication, RegisterResult, Registration
from busd.registry import Device, DeviceRegistry


class Grant(msgspec.Struct, frozen=True):
    """Outcome of a registration. ``cause``: of a refusal, as `events.Refused` has it."""

    result: RegisterResult
    code: bytes = b""
    cause: str = ""


class Login:
    """Of one connection. ``admit``: whether a terminal with the right code may come in here, for it may be connected
    already."""

    __slots__ = ("_address", "_admit", "_code", "_config", "_door", "_make_code", "_registry")

    def __init__(
        self,
        config: Jt808Config,
        registry: DeviceRegistry,
        make_code: Callable[[], bytes],
        door: Doorkeeper,
        address: str,
        admit: Callable[[str], bool] | None,
    ) -> None:
        self._config, self._registry, self._make_code = config, registry, make_code
        self._door, self._address, self._admit = door, address, admit
        self._code: tuple[str, bytes] | None = None

    def register(self, phone: str, registration: Registration, at: float) -> Grant:
        if not self._door.may_register(phone, self._address, at):
            return Grant(RegisterResult.TERMINAL_REGISTERED, cause="too-many-tries")
        refusal = self._refusal(self._registry.find_device(phone), registration.terminal_id)
        if refusal is not None:
            return refusal
        # The same code for a registration that is repeated because its answer was lost: either answer may arrive.
        code = self._code[1] if self._code and self._code[0] == phone else self._make_code()
        if self._registry.enrol(phone, code, at, registration.plate, registration.terminal_id) is None:
            return Grant(RegisterResult.NO_SUCH_TERMINAL, cause="full")
        self._code = (phone, code)
        return Grant(RegisterResult.OK, code)

    def _refusal(self, known: Device | None, terminal_id: str) -> Grant | None:
        """``open``: everyone, every time. ``enrol``: a new phone, and a known one from the terminal it was first
        registered with. ``closed``: the same, for phones that an operator has listed only."""
        mode = self._config.mode
        if mode == "open":
            return None
        if mode == "closed" and (known is None or not known.listed):
            return Grant(RegisterResult.NO_SUCH_TERMINAL, cause="unknown-phone")
        if known is not None and known.terminal_id and known.terminal_id != terminal_id:
            return Grant(RegisterResult.TERMINAL_REGISTERED, cause="other-terminal")
        return None

    def authenticate(self, phone: str, authentication: Authentication, at: float) -> Device | str:
        """The device, or the cause of the refusal. Where too many wrong codes came from, none is compared."""
        if not self._door.may_show_code(phone, self._address, at):
            return "too-many-tries"
        device = self._registry.check_code(phone, authentication.code)
        if device is None:
            self._door.wrong_code(phone, self._address, at)
            return "wrong-code"
        if self._config.mode == "closed" and not device.listed:
            return "unknown-phone"
        if self._admit is not None and not self._admit(device.phone):
            return OTHER_CONNECTION
        self._code = None
        if authentication.imei:
            self._registry.identify(device, authentication.imei)
        self._registry.seen(device, at)
        return device


OTHER_CONNECTION = "other-connection"
"""The terminal is connected already, and the operator wants that connection to stay."""
