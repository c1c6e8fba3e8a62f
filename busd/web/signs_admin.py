"""``/v1/admin/...`` of the signs: the fleet, messages, modes, suppressions, alarms, operators and the audit log, as JSON.

Reading takes a viewer, orders a dispatcher, signs and people an admin. An answer comes after the change is on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from busd.clock import Clock
from busd.errors import BusdError
from busd.sign_registry import BadEntry, Role
from busd.signs.control import Actor, SignControl
from busd.signs.fleet import SORTS, Choice, Fleet
from busd.signs.orders import MessageRequest, ModeRequest, SuppressionRequest, read_request
from busd.web.http import error, one, query_int, send_json
from busd.web.operators import OperatorAccess

MAX_BODY = 8_000_000
ANSWER_S = 20.0


class CommandDoor(Protocol):
    """The part of the sign door that takes orders to signs."""

    def order(self, sign: str, op: str, args: Mapping[str, Any] | None, deadline_s: float) -> str:
        """Send ``cmd``; its id. BusdError says why it cannot be given."""
        ...


class SignEntry(msgspec.Struct, forbid_unknown_fields=True):
    sign: str
    name: str | None = None
    place: str | None = None
    stops: list[str] | None = None
    groups: list[str] | None = None
    is_blocked: bool | None = None


class OperatorEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    role: str = "viewer"


class CommandEntry(msgspec.Struct, forbid_unknown_fields=True):
    op: str
    args: dict[str, Any] = {}


class SignAdmin:
    """All doors of operators to the signs."""

    def __init__(
        self,
        control: SignControl,
        fleet: Fleet,
        access: OperatorAccess,
        clock: Clock,
        door: CommandDoor | None = None,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self.control, self.fleet, self.access = control, fleet, access
        self._clock, self._door, self._flush = clock, door, flush

    def add_to(self, app: web.Application) -> None:
        look, order, manage = Role.VIEWER, Role.DISPATCHER, Role.ADMIN
        for method, path, role, handler in (
            ("GET", "me", look, self.me),
            ("GET", "signs", look, self.signs),
            ("POST", "signs", manage, self.enter_signs),
            ("GET", "signs/{sign}", look, self.sign),
            ("DELETE", "signs/{sign}", manage, self.remove_sign),
            ("POST", "signs/{sign}/token", manage, self.give_token),
            ("POST", "signs/{sign}/commands", manage, self.send_command),
            ("GET", "messages", look, self.messages),
            ("POST", "messages", order, self.set_message),
            ("DELETE", "messages/{id}", order, self.end_message),
            ("GET", "modes", look, self.modes),
            ("POST", "modes", order, self.set_mode),
            ("DELETE", "modes/{target}", order, self.clear_mode),
            ("GET", "suppressions", look, self.suppressions),
            ("POST", "suppressions", order, self.suppress),
            ("DELETE", "suppressions/{target}", order, self.end_suppression),
            ("GET", "alarms", look, self.alarms),
            ("POST", "alarms/{id}/seen", order, self.acknowledge),
            ("GET", "operators", manage, self.operators),
            ("POST", "operators", manage, self.add_operator),
            ("DELETE", "operators/{name}", manage, self.remove_operator),
            ("GET", "audit", look, self.audit),
        ):
            app.router.add_route(method, f"/v1/admin/{path}", self.access.guard(role, handler))

    # ---- the fleet -----------------------------------------------------------------------------------------------------

    async def me(self, _: web.Request, actor: Actor) -> web.Response:
        """Who is asking, and what time it is where the signs are."""
        zone = self.fleet.timezone
        return send_json({"name": actor.name, "role": actor.role.name.lower(), "now": self._now(), "timezone": zone})

    async def signs(self, request: web.Request, _: Actor) -> web.Response:
        """``{"now", "total", "counts", "groups", "signs": [...]}``; q, state, group, line, alarmed, sort, offset, limit."""
        choice = read_choice(
            {name: one(request, name) or "" for name in ("q", "state", "group", "line", "sort", "alarmed")}
        )
        offset, limit = query_int(request, "offset", 0, 0, 999_999), query_int(request, "limit", 100, 1, 1000)
        page = self.fleet.choose(choice, offset, limit)
        return send_json(
            {
                "now": self._now(),
                "total": page.total,
                "counts": page.counts,
                "groups": self.control.registry.groups(),
                "signs": [self.fleet.row(sign) for sign in page.signs],
            }
        )

    async def sign(self, request: web.Request, _: Actor) -> web.Response:
        row = self.fleet.row(request.match_info["sign"])
        return error(404, "unknown_sign") if row is None else send_json({"now": self._now(), **row})

    async def enter_signs(self, request: web.Request, actor: Actor) -> web.Response:
        """CSV (text/csv) as `busd.sign_registry.COLUMNS`, or one sign as JSON."""
        body = await _read(request)
        if request.content_type == "text/csv":
            try:
                text = body.decode("utf-8-sig")
            except UnicodeDecodeError:
                raise BadEntry("the table is not UTF-8; save it as CSV UTF-8") from None
            report = self.control.import_signs(text, actor)
            await self.control.save()
            return send_json(msgspec.to_builtins(report))
        entry = read_request(body, SignEntry)
        cells = {name: value for name in ("sign", "name", "place") if (value := getattr(entry, name)) is not None}
        for name in ("stops", "groups"):
            if (value := getattr(entry, name)) is not None:
                cells[name] = ";".join(value)
        record = self.control.enter_sign(cells, actor)
        if entry.is_blocked is not None and entry.is_blocked != record.is_blocked:
            self.control.block_sign(record.sign, entry.is_blocked, actor)
        await self.control.save()
        return send_json(self.fleet.row(record.sign))

    async def remove_sign(self, request: web.Request, actor: Actor) -> web.Response:
        if not self.control.remove_sign(request.match_info["sign"], actor):
            return error(404, "unknown_sign")
        await self.control.save()
        return send_json({"removed": 1})

    async def give_token(self, request: web.Request, actor: Actor) -> web.Response:
        """``{"sign", "token"}``: the only time that the token is shown."""
        sign = request.match_info["sign"]
        token = self.control.give_token(sign, actor)
        await self.control.save()
        return send_json({"sign": sign, "token": token})

    async def send_command(self, request: web.Request, actor: Actor) -> web.Response:
        """``cmd`` of busd.sign.v1; answers ``{"ok", "info"}``, or 504 if the sign says nothing in time."""
        entry, sign = read_request(await _read(request), CommandEntry), request.match_info["sign"]
        health = self.control.health.find(sign)
        if self._door is None or health is None or not health.is_connected:
            return error(409, "not_there", "the sign is not connected")
        try:
            command_id = self._door.order(sign, entry.op, entry.args, ANSWER_S)
        except BusdError as problem:
            raise BadEntry(str(problem)) from None
        self._flush()
        self.control.note_command(sign, entry.op, entry.args, actor)
        await self.control.save()
        answers, loop = self.control.health.answers, asyncio.get_running_loop()
        deadline = loop.time() + ANSWER_S
        while command_id not in answers:
            if loop.time() > deadline:
                return error(504, "no_answer", "the sign has not answered yet; it may still do it")
            await asyncio.sleep(0.05)
        ok, info = answers.pop(command_id)
        return send_json({"id": command_id, "ok": ok, "info": info})

    # ---- orders --------------------------------------------------------------------------------------------------------

    async def messages(self, _: web.Request, __: Actor) -> web.Response:
        rows = sorted(self.control.messages, key=lambda order: (-order.priority, -order.set_at))
        return send_json({"now": self._now(), "messages": msgspec.to_builtins(rows)})

    async def set_message(self, request: web.Request, actor: Actor) -> web.Response:
        order = self.control.set_message(read_request(await _read(request), MessageRequest), actor)
        await self.control.save()
        return send_json(msgspec.to_builtins(order))

    async def end_message(self, request: web.Request, actor: Actor) -> web.Response:
        return await self._ended(self.control.end_message(request.match_info["id"], actor), "message")

    async def modes(self, _: web.Request, __: Actor) -> web.Response:
        rows = sorted(self.control.mode_orders, key=lambda order: order.target)
        return send_json({"now": self._now(), "modes": msgspec.to_builtins(rows)})

    async def set_mode(self, request: web.Request, actor: Actor) -> web.Response:
        order = self.control.set_mode(read_request(await _read(request), ModeRequest), actor)
        await self.control.save()
        return send_json(msgspec.to_builtins(order))

    async def clear_mode(self, request: web.Request, actor: Actor) -> web.Response:
        return await self._ended(self.control.clear_mode(request.match_info["target"], actor), "mode")

    async def suppressions(self, _: web.Request, __: Actor) -> web.Response:
        return send_json({"now": self._now(), "suppressions": msgspec.to_builtins(list(self.control.suppressions))})

    async def suppress(self, request: web.Request, actor: Actor) -> web.Response:
        order = self.control.suppress(read_request(await _read(request), SuppressionRequest), actor)
        await self.control.save()
        return send_json(msgspec.to_builtins(order))

    async def end_suppression(self, request: web.Request, actor: Actor) -> web.Response:
        return await self._ended(self.control.end_suppression(request.match_info["target"], actor), "suppression")

    async def _ended(self, known: bool, kind: str) -> web.Response:
        if not known:
            return error(404, f"unknown_{kind}", f"there is no such {kind}")
        await self.control.save()
        return send_json({"ended": 1})

    # ---- alarms, people, the log -----------------------------------------------------------------------------------------

    async def alarms(self, request: web.Request, _: Actor) -> web.Response:
        """The newest ``limit``; ``past=N``: as many of those that are over, too."""
        book = self.control.health.alarms
        past, limit = query_int(request, "past", 0, 0, 1000), query_int(request, "limit", 500, 1, 10_000)
        rows = [*book.active()[:limit], *(book.past()[:past] if past else ())]
        return send_json({"now": self._now(), "counts": book.counts(), "alarms": msgspec.to_builtins(rows)})

    async def acknowledge(self, request: web.Request, actor: Actor) -> web.Response:
        alarm = self.control.acknowledge(request.match_info["id"], actor)
        if alarm is None:
            return error(404, "unknown_alarm")
        await self.control.save()
        return send_json(msgspec.to_builtins(alarm))

    async def operators(self, _: web.Request, __: Actor) -> web.Response:
        rows = [{"name": o.name, "role": o.role, "added_at": o.added_at} for o in self.control.registry.operators]
        return send_json({"operators": rows})

    async def add_operator(self, request: web.Request, actor: Actor) -> web.Response:
        """``{"name", "role", "token"}``: the only time that the token is shown."""
        entry = read_request(await _read(request), OperatorEntry)
        token = self.control.add_operator(entry.name, entry.role, actor)
        await self.control.save()
        return send_json({"name": entry.name.strip(), "role": entry.role.lower(), "token": token})

    async def remove_operator(self, request: web.Request, actor: Actor) -> web.Response:
        return await self._ended(self.control.remove_operator(request.match_info["name"], actor), "operator")

    async def audit(self, request: web.Request, _: Actor) -> web.Response:
        """Newest first: ``limit``, ``before`` (seq), ``about`` (part of person, deed or target)."""
        limit, before = query_int(request, "limit", 100, 1, 1000), query_int(request, "before", 0, 0, 999_999)
        about = (one(request, "about") or "")[:100]
        await self.control.save()
        entries = await asyncio.to_thread(self.control.store.audit, limit, before or None, about)
        return send_json({"now": self._now(), "audit": msgspec.to_builtins(entries)})

    def _now(self) -> float:
        return round(self._clock.now(), 3)


def read_choice(values: dict[str, str]) -> Choice:
    sort = values.get("sort") or "sign"
    if sort not in SORTS:
        raise BadEntry(f"sort is one of {', '.join(SORTS)}")
    text = {name: str(values.get(name) or "")[:100] for name in ("q", "state", "group", "line")}
    return Choice(**text, alarmed=str(values.get("alarmed") or "") in ("1", "true", "True"), sort=sort)


async def _read(request: web.Request) -> bytes:
    body = bytearray()
    async with asyncio.timeout(60.0):
        async for chunk in request.content.iter_chunked(65536):
            body += chunk
            if len(body) > MAX_BODY:
                raise BadEntry(f"at most {MAX_BODY} bytes")
    return bytes(body)
