"""``/v1/admin/devices``: which device is in which bus, who is connected, how it goes. Behind a token (web.admin_token)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
import structlog
from aiohttp import hdrs, web

from busd.clock import Clock
from busd.feeds.intake import Roll
from busd.registry import ALIAS_KINDS, DeviceRegistry
from busd.web.access import may_use
from busd.web.gateway import Gateway, GatewayDoor
from busd.web.http import error, read_body, send_json

log = structlog.get_logger(__name__)

MAX_BODY = 8_000_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DeviceDoor:
    """The registry, the terminals that are connected and what was heard of trackers, as one list.

    ``connected`` gives structs whose fields go into the answer as they are, by ``phone``; ``sources`` what is known of
    whole sources (datum watch); ``gateway`` the port of the terminals, None where there is none (web/gateway.py)."""

    def __init__(
        self,
        registry: DeviceRegistry,
        roll: Roll,
        clock: Clock,
        token: str,
        connected: Callable[[], Iterable[msgspec.Struct]] = list,
        sources: Callable[[], Sequence[Mapping[str, Any]]] = list,
        gateway: Callable[[], Gateway | None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._roll = roll
        self._clock = clock
        self._token = token
        self._connected = connected
        self._sources = sources
        self._terminals_door = GatewayDoor(gateway, registry, clock)

    def add_to(self, app: web.Application) -> None:
        path = "/v1/admin/devices"
        app.router.add_get(path, self._guarded(self.show), allow_head=False)
        app.router.add_post(path, self._guarded(self.enter))
        app.router.add_delete(path + "/{kind}/{key}", self._guarded(self.remove))
        app.router.add_get(path + "/conflicts", self._guarded(self._terminals_door.conflicts), allow_head=False)
        app.router.add_post(path + "/phone/{phone}/release", self._guarded(self._terminals_door.release))
        app.router.add_post(path + "/phone/{phone}/command", self._guarded(self._terminals_door.command))

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not may_use(request, self._token):
                return error(401, "unauthenticated", **{hdrs.WWW_AUTHENTICATE: "Bearer"})
            return await handler(request)

        return guarded

    async def show(self, request: web.Request) -> web.Response:
        """``{"now", "devices": [...], "names": [...], "sources": [...]}``."""
        return send_json(
            {
                "now": round(self._clock.now(), 3),
                "devices": [*self._terminals(), *self._trackers()],
                "names": [
                    {"kind": kind, "key": key, "vehicle_id": vehicle_id}
                    for kind, key, vehicle_id in self._registry.aliases()
                ],
                "sources": [
                    *self._sources(),
                    *(
                        {"source": source, "rejects": {reason: count}}
                        for (source, reason), count in self._roll.nameless.items()
                    ),
                ],
            }
        )

    async def enter(self, request: web.Request) -> web.Response:
        """CSV (text/csv) or JSON: an object or an array of objects with the columns of the CSV. 200 with what became of
        it; entries that cannot be used are in ``problems`` and do not cost the others."""
        body = await read_body(request, MAX_BODY)
        if body is None:
            return error(413, "too_large", **{hdrs.CONNECTION: "close"})
        if request.content_type == "text/csv":
            try:
                report = self._registry.import_csv(body.decode("utf-8-sig"))
            except UnicodeDecodeError:
                return error(400, "unreadable", "the table is not UTF-8")
            result: dict[str, Any] = msgspec.to_builtins(report)
        else:
            try:
                entries = msgspec.json.decode(body, type=dict[str, str] | list[dict[str, str]])
            except (msgspec.DecodeError, RecursionError) as problem:
                return error(400, "unreadable", str(problem)[:300])
            result = {"added": 0, "changed": 0, "problems": []}
            for number, entry in enumerate([entries] if isinstance(entries, dict) else entries, 1):
                try:
                    new = self._registry.enter({key: value.strip() for key, value in entry.items()})
                except ValueError as problem:
                    result["problems"].append([number, str(problem)])
                    continue
                result["added" if new else "changed"] += 1
        if not await self._write():
            return error(500, "not_written", "the entries work until the next restart; the disk refuses them")
        return send_json(result)

    async def remove(self, request: web.Request) -> web.Response:
        """``DELETE /v1/admin/devices/{phone|imei|id|plate}/{key}``."""
        kind, key = request.match_info["kind"], request.match_info["key"]
        if kind != "phone" and kind not in ALIAS_KINDS:
            return error(404, "unknown_kind", f"one of phone, {', '.join(ALIAS_KINDS)}")
        known = self._registry.remove_device(key) if kind == "phone" else self._registry.remove_alias(kind, key)
        if not known:
            return error(404, "unknown_device")
        if not await self._write():
            return error(500, "not_written", "removed until the next restart; the disk refuses the change")
        return send_json({"removed": 1})

    async def _write(self) -> bool:
        changes = self._registry.take_changes()
        if changes is None:
            return True
        try:
            await asyncio.to_thread(self._registry.write_changes, changes)
        except sqlite3.Error as problem:
            self._registry.give_back(changes)
            log.error("device registry not written", error=str(problem))
            return False
        return True

    # ---- rows --------------------------------------------------------------------------------------------------------

    def _terminals(self) -> list[dict[str, Any]]:
        connected = {str(row.get("phone")): row for row in map(_fields, self._connected())}
        rows = []
        for device in sorted(self._registry.devices(), key=lambda device: device.phone):
            now = connected.pop(device.phone, None)
            rows.append(
                {
                    "kind": "terminal",
                    "device_id": device.phone,
                    "vehicle_id": device.name,
                    "plate": device.plate or None,
                    "listed": device.listed,
                    "connected": now is not None,
                    "first_seen_at": device.first_seen_at,
                    "last_seen_at": device.last_seen_at,
                    "last_fix_at": device.live_at if isfinite(device.live_at) else None,
                    **{key: value for key, value in (now or {}).items() if key != "last_fix_at" or value is not None},
                }
            )
        rows.extend(
            {"kind": "terminal", "device_id": phone, "connected": True, **row} for phone, row in connected.items()
        )
        return rows

    def _trackers(self) -> Iterable[dict[str, Any]]:
        for heard in self._roll:
            yield {
                "kind": "tracker",
                "source": heard.source,
                "device_id": heard.device_id,
                "vehicle_id": heard.vehicle_id,
                "connected": None,
                "address": heard.address or None,
                "first_seen_at": heard.first_at,
                "last_seen_at": heard.last_at,
                "last_fix_at": heard.last_fix_at,
                "lat": heard.lat,
                "lon": heard.lon,
                "clock": heard.clock or None,
                "positions": heard.positions,
                "rejects": heard.rejects,
            }


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(struct, str_keys=True)
    return fields
