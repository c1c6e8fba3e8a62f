"""``/v1/vehicles/{id}/explain`` and ``/v1/detours``: why a bus is predicted or not, and where buses leave their routes.

For dispatchers, so behind the token of the admin doors (web.admin_token): it names vehicles that riders do not see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import hdrs, web

from busd.types import OperatorCommand
from busd.web.access import may_use
from busd.web.http import error, read_body, send_json

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_BODY = 4096


class Verdict(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/detours/{id}."""

    verdict: str
    operator: str = ""


class DispatchDoor:
    """``explain`` gives None for a vehicle that has never reported, ``similar`` ids that may have been meant; ``command``
    brings an operator's decision into the journal and so to the engine, dated by ``now``."""

    def __init__(
        self,
        token: str,
        explain: Callable[[str], dict[str, Any] | None],
        similar: Callable[[str], Sequence[str]],
        detours: Callable[[], Sequence[dict[str, Any]]],
        command: Callable[[Sequence[OperatorCommand]], None],
        now: Callable[[], float],
    ) -> None:
        self._token, self._explain, self._similar = token, explain, similar
        self._detours, self._command, self._now = detours, command, now

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/v1/vehicles/{id}/explain", self._guarded(self.explain), allow_head=False)
        app.router.add_get("/v1/detours", self._guarded(self.list), allow_head=False)
        app.router.add_post("/v1/detours/{id}", self._guarded(self.decide))

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not may_use(request, self._token):
                return error(401, "unauthenticated", **{hdrs.WWW_AUTHENTICATE: "Bearer"})
            return await handler(request)

        return guarded

    async def explain(self, request: web.Request) -> web.Response:
        """All that is known of one vehicle (`busd.track.explain`)."""
        vehicle_id = request.match_info["id"]
        explained = self._explain(vehicle_id)
        if explained is None:
            near = self._similar(vehicle_id)
            meant = f"; did you mean {', '.join(near)}?" if near else "; `busd devices` lists the devices that report"
            return error(404, "unknown_vehicle", f"no vehicle {vehicle_id[:64]!r} has reported{meant}")
        return send_json(explained)

    async def list(self, request: web.Request) -> web.Response:
        """``{"detours": [...]}``, newest first; those that have ended only with ``?all=1``."""
        every = request.query.get("all", "") not in ("", "0")
        found = [row for row in self._detours() if every or row["status"] not in ("ended", "dismissed")]
        return send_json({"detours": found})

    async def decide(self, request: web.Request) -> web.Response:
        """``{"verdict": "confirm"|"dismiss", "operator": "name"}``; answers with the finding."""
        body = await read_body(request, MAX_BODY)
        if body is None:
            return error(413, "too_large", **{hdrs.CONNECTION: "close"})
        try:
            said = msgspec.json.decode(body, type=Verdict)
        except (msgspec.DecodeError, RecursionError) as problem:
            return error(400, "unreadable", str(problem)[:300])
        if said.verdict not in ("confirm", "dismiss"):
            return error(400, "unreadable", "verdict is confirm or dismiss")
        number = request.match_info["id"]
        found = {str(row["id"]): row for row in self._detours()}
        if number not in found:
            return error(404, "unknown_detour", f"no detour {number[:20]!r}; GET /v1/detours lists them")
        if found[number]["status"] == "ended":
            return error(409, "ended", "the buses drive the route again: there is nothing to decide")
        args: dict[str, str | int | float | bool | None] = {"id": int(number), "verdict": said.verdict}
        self._command([OperatorCommand(self._now(), "detour", args, said.operator[:64])])
        return send_json(next(row for row in self._detours() if str(row["id"]) == number))
