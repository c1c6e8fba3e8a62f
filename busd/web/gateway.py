"""``/v1/admin/devices/...``: what an operator does at the JT/T 808 gateway. Behind the token of the devices' door.

    GET  /v1/admin/devices/conflicts              phones that two terminals seem to have
    POST /v1/admin/devices/phone/{phone}/release  they are one; its positions are used again
    POST /v1/admin/devices/phone/{phone}/command  asks the terminal, and answers with what it answers

A command is ``{"command": "locate"}``, ``{"command": "text", "text": ...}``, ``{"command": "time"}``,
``{"command": "parameters", "ids": ["0x0029"]}`` (none = all) or ``{"command": "set", "parameters": {"0x0029": 10}}``;
with ``timeout_s`` for how long to wait. 200 means that the terminal has answered (or that the command is one nothing
answers); whether it did what it was told is in ``ok`` and ``result``. 409 it is not connected, 504 it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

import msgspec
import structlog
from aiohttp import hdrs, web

from busd.clock import Clock
from busd.config import Jt808Config
from busd.errors import FeedError
from busd.feeds.jt808.commands import (
    Command,
    CommandResult,
    QueryLocation,
    QueryParameters,
    SendText,
    SetParameters,
    SetTime,
    read_parameter,
    to_parameter,
)
from busd.feeds.jt808.conflicts import Conflict
from busd.registry import DeviceRegistry, normal_phone
from busd.web.http import error, read_body, send_json

log = structlog.get_logger(__name__)

MAX_BODY = 16_384
MAX_WAIT_S = 60.0
RESULTS = ("ok", "failure", "bad message", "unsupported", "alarm handled")
"""of the terminal's general answer, in words"""


class Gateway(Protocol):
    """The open port (`busd.feeds.transport.Jt808Server`)."""

    config: Jt808Config

    def conflicts(self) -> list[Conflict]: ...

    def release(self, phone: str) -> bool: ...

    async def send_command(self, phone: str, command: Command, timeout_s: float) -> CommandResult: ...


class _Order(msgspec.Struct, tag_field="command", forbid_unknown_fields=True, kw_only=True):
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_WAIT_S)] = 20.0


class _Locate(_Order, tag="locate"):
    pass


class _Time(_Order, tag="time"):
    pass


class _Text(_Order, tag="text"):
    text: str
    flags: int = 4 | 8
    kind: int = 1


class _Parameters(_Order, tag="parameters"):
    ids: list[str | int] = []


class _Set(_Order, tag="set"):
    parameters: dict[str, int | str]


_Orders = _Locate | _Time | _Text | _Parameters | _Set


class GatewayDoor:
    """``gateway`` gives the open port, None where there is none."""

    def __init__(self, gateway: Callable[[], Gateway | None], registry: DeviceRegistry, clock: Clock) -> None:
        self._gateway = gateway
        self._registry = registry
        self._clock = clock

    async def conflicts(self, request: web.Request) -> web.Response:
        """``{"now", "conflicts": [...]}``."""
        gateway = self._gateway()
        found: Sequence[Conflict] = gateway.conflicts() if gateway is not None else ()
        return send_json({"now": round(self._clock.now(), 3), "conflicts": [msgspec.to_builtins(one) for one in found]})

    async def release(self, request: web.Request) -> web.Response:
        gateway, phone = self._gateway(), normal_phone(request.match_info["phone"])
        if gateway is None or not gateway.release(phone):
            return error(404, "no_conflict", f"there is no conflict of the phone {phone[:40]}")
        return send_json({"released": phone})

    async def command(self, request: web.Request) -> web.Response:
        gateway, phone = self._gateway(), normal_phone(request.match_info["phone"])
        body = await read_body(request, MAX_BODY)
        if body is None:
            return error(413, "too_large", **{hdrs.CONNECTION: "close"})
        try:
            order = msgspec.json.decode(body, type=_Orders)
        except (msgspec.DecodeError, RecursionError) as problem:
            return error(400, "unreadable", str(problem)[:300])
        if gateway is None:
            return error(409, "no_gateway", "this daemon has no port for JT/T 808 (jt808.enabled)")
        if self._registry.find_device(phone) is None:
            return error(404, "unknown_device", f"no terminal has the phone {phone[:40]}")
        try:
            command = self._command(order, gateway.config)
            result = await gateway.send_command(phone, command, order.timeout_s)
        except ValueError as problem:
            return error(400, "unusable", str(problem)[:300])
        except FeedError as problem:
            return error(409, "not_connected", str(problem)[:300])
        except TimeoutError:
            return error(504, "no_answer", f"terminal {phone} has not answered within {order.timeout_s:g} s")
        log.info("jt808_command", phone=phone, command=f"{command.message_id:#06x}", result=result.result)
        return send_json(_answer(phone, command, result))

    def _command(self, order: _Orders, config: Jt808Config) -> Command:
        if isinstance(order, _Locate):
            return QueryLocation()
        if isinstance(order, _Text):
            return SendText(order.text, order.flags, order.kind)
        if isinstance(order, _Time):
            return SetTime(self._clock.now(), config.time_answer_utc_offset_h * 3600.0)
        if isinstance(order, _Parameters):
            return QueryParameters(tuple(_id(text) for text in order.ids))
        ids = {_id(text): value for text, value in order.parameters.items()}
        return SetParameters({number: to_parameter(number, value) for number, value in ids.items()})


def _id(text: str | int) -> int:
    try:
        return int(text, 0) if isinstance(text, str) else text
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no id of a parameter, e.g. 0x0029") from None  # type: ignore[index]


def _answer(phone: str, command: Command, result: CommandResult) -> dict[str, Any]:
    position = None
    if result.position is not None:
        position = {
            name: getattr(result.position, name)
            for name in ("vehicle_id", "lat", "lon", "speed_mps", "bearing_deg", "measured_at", "clock")
        }
    parameters = None
    if result.parameters is not None:
        parameters = {
            f"{number:#06x}": {"value": read_parameter(number, raw), "hex": raw.hex()}
            for number, raw in result.parameters.items()
        }
    return {
        "phone": phone,
        "message_id": f"0x{command.message_id:04x}",
        "ok": result.ok,
        "result": RESULTS[result.result] if 0 <= result.result < len(RESULTS) else str(result.result),
        "answered": command.answer_id is not None,
        "position": position,
        "parameters": parameters,
    }
