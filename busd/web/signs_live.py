"""``/v1/admin/live``: one feed that mirrors the signs a page is looking at.

The page says who it is (``{"type":"auth","token":...}``, first and within 10 s; never in the URL) and what it shows
(``{"type":"view",...}``, as the query of ``/v1/admin/signs``). The server answers with ``hello`` and, about once a second
when something has changed, ``page``: the ids in view, the counts by state, and the rows that look different from what
this page was told before. However large the fleet is, a page costs what it shows.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import orjson
import structlog
from aiohttp import WSMsgType, web

from busd.sign_registry import BadEntry, Role
from busd.signs.control import SignControl
from busd.signs.fleet import Choice, Fleet, Page
from busd.signs.mirror import Mirror
from busd.web.http import error
from busd.web.operators import OperatorAccess
from busd.web.rider import Allowance, same_origin
from busd.web.services import WebServices
from busd.web.signs_admin import read_choice

log = structlog.get_logger(__name__)

MAX_VIEWERS = 64
MAX_ROWS = 120
MAX_BOARDS = 4
"""stops of one sign that are mirrored; a sign with more turns its pages"""
AUTH_S = 10.0
FORGET_S = 5.0
"""A view that nobody has asked for in this time is no longer worked out."""
SHARE = 0.05
WRITE_DEADLINE_S = 10.0
MAX_MESSAGE = 4096


class View(msgspec.Struct, frozen=True):
    """What a page shows: the chosen signs from ``offset`` on."""

    choice: Choice
    offset: int = 0
    limit: int = 30


class _Auth(msgspec.Struct, tag="auth", tag_field="type"):
    token: str


class _View(msgspec.Struct, tag="view", tag_field="type"):
    q: str = ""
    state: str = ""
    group: str = ""
    line: str = ""
    alarmed: bool = False
    sort: str = "sign"
    offset: int = 0
    limit: int = 30


_decoder = msgspec.json.Decoder(_Auth | _View)


class Pages:
    """What pages are told. A choice is worked out once a round for all pages that make the same one."""

    def __init__(self, control: SignControl, fleet: Fleet, mirror: Mirror, services: WebServices) -> None:
        self._control, self._fleet, self._mirror, self._services = control, fleet, mirror, services
        self._chosen: dict[View, tuple[float, float, Page]] = {}
        """view -> when it was chosen, what that took in s, and what came out"""

    def page(self, view: View, told: dict[str, bytes]) -> bytes:
        """The next message for a page that was ``told`` these rows; ``told`` is brought up to date."""
        page = self._choose(view)
        rows: dict[str, orjson.Fragment] = {}
        for sign in page.signs:
            row = orjson.dumps(self._row(sign))
            if told.get(sign) != row:
                told[sign] = row
                rows[sign] = orjson.Fragment(row)
        for sign in told.keys() - set(page.signs):
            del told[sign]
        message = {
            "type": "page",
            "now": int(self._services.clock.now() * 1000),
            "offset": view.offset,
            "total": page.total,
            "counts": page.counts,
            "alarms": len(self._control.health.alarms.active()),
            "groups": self._control.registry.groups(),
            "signs": page.signs,
            "rows": rows,
        }
        return orjson.dumps(message)

    def _row(self, sign: str) -> dict[str, Any]:
        row = self._fleet.row(sign) or {"sign": sign, "state": "unseen", "stops": []}
        health = self._control.health.find(sign)
        drawn = [self._mirror.stop(health, stop) for stop in row["stops"][:MAX_BOARDS]] if health is not None else []
        return row | {"boards": [board for board in drawn if board is not None]}

    def _choose(self, view: View) -> Page:
        clock = self._services.clock
        now = clock.monotonic()
        held = self._chosen.get(view)
        if held is not None and 0 <= now - held[0] < max(0.9 * self._services.tick_s, held[1] * self._patience):
            return held[2]
        self._chosen = {v: kept for v, kept in self._chosen.items() if now - kept[0] < FORGET_S}
        page = self._fleet.choose(view.choice, view.offset, view.limit)
        self._chosen[view] = now, clock.monotonic() - now, page
        return page

    @property
    def _patience(self) -> float:
        """All pages together may take `SHARE` of the loop's time for choosing."""
        return len(self._chosen) / SHARE


class MirrorDoor:
    """``GET /v1/admin/live``."""

    def __init__(self, pages: Pages, access: OperatorAccess, services: WebServices, public_url: str = "") -> None:
        self._pages, self._access, self._services, self._public_url = pages, access, services, public_url
        self._sockets: set[web.WebSocketResponse] = set()

    async def close(self) -> None:
        await asyncio.gather(
            *(ws.close(code=4001, message=b"restart") for ws in list(self._sockets)), return_exceptions=True
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if not same_origin(request, self._public_url):
            return error(403, "foreign_origin")
        if len(self._sockets) >= MAX_VIEWERS:
            return error(503, "overload")
        ws = web.WebSocketResponse(compress=False, max_msg_size=MAX_MESSAGE, heartbeat=30.0, timeout=2.0)
        if not ws.can_prepare(request):
            return error(426, "websocket_only")
        await ws.prepare(request)
        self._sockets.add(ws)
        try:
            if await self._enter(ws, request):
                await self._serve(ws, request)
        except (ConnectionError, TimeoutError):
            pass  # the page is gone, or does not read
        finally:
            self._sockets.discard(ws)
        return ws

    async def _enter(self, ws: web.WebSocketResponse, request: web.Request) -> bool:
        actor = self._access.of(request)
        if actor is None:
            try:
                async with asyncio.timeout(AUTH_S):
                    message = _read(await ws.receive())
            except TimeoutError:
                message = None
            actor = self._access.actor(message.token) if isinstance(message, _Auth) else None
        if actor is None or actor.role < Role.VIEWER:
            await ws.close(code=4401, message=b"authentication")
            return False
        hello = {
            "type": "hello",
            "name": actor.name,
            "role": actor.role.name.lower(),
            "now": int(self._services.clock.now() * 1000),
            "speed": self._services.speed,
            "timezone": self._services.bus.network.timezone,
        }
        await ws.send_str(orjson.dumps(hello).decode())
        return True

    async def _serve(self, ws: web.WebSocketResponse, request: web.Request) -> None:
        """A reader that takes views and a writer that sends pages; whichever ends, ends both."""
        wanted = _Wanted()
        writer = asyncio.create_task(self._write(ws, wanted))
        writer.add_done_callback(lambda task: self._ended(task, request))
        allowance = Allowance(self._services.clock, 10.0, 60.0)
        try:
            async for raw in ws:
                message = _read(raw)
                if not isinstance(message, _View):
                    await ws.close(code=4400, message=b"bad message")
                elif not allowance.take():
                    await ws.close(code=4005, message=b"rate")
                else:
                    try:
                        wanted.want(_view_of(message))
                    except BadEntry as problem:
                        await ws.close(code=4400, message=str(problem).encode()[:100])
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    @staticmethod
    def _ended(writer: asyncio.Task[None], request: web.Request) -> None:
        """A page that does not take its bytes is cut off, and so is one that we cannot draw: it comes back."""
        if writer.cancelled():
            return
        problem = writer.exception()
        if problem is not None and not isinstance(problem, ConnectionError | TimeoutError):
            log.error("mirror_failed", error=repr(problem))
        if problem is not None and request.transport is not None:
            request.transport.abort()

    async def _write(self, ws: web.WebSocketResponse, wanted: _Wanted) -> None:
        told: dict[str, bytes] = {}
        last = b""
        while not ws.closed:
            if await wanted.asked(self._services.tick_s):
                last = b""
            if wanted.view is None:
                continue
            data = self._pages.page(wanted.view, told)
            news = data[data.index(b'"offset"') :]  # all but the time
            if news != last:
                last = news
                async with asyncio.timeout(WRITE_DEADLINE_S):
                    await ws.send_str(data.decode())


class _Wanted:
    """The newest view, and whether it is a new one."""

    def __init__(self) -> None:
        self.view: View | None = None
        self._event = asyncio.Event()

    def want(self, view: View) -> None:
        self.view = view
        self._event.set()

    async def asked(self, within_s: float) -> bool:
        """Waits for a new view, at most so long."""
        try:
            async with asyncio.timeout(within_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


def _read(raw: Any) -> _Auth | _View | None:
    if raw.type is not WSMsgType.TEXT:
        return None
    try:
        message: _Auth | _View = _decoder.decode(raw.data)
    except (msgspec.DecodeError, RecursionError):
        return None
    return message


def _view_of(message: _View) -> View:
    choice = read_choice(msgspec.to_builtins(message) | {"alarmed": "1" if message.alarmed else ""})
    return View(choice, min(max(message.offset, 0), 1_000_000), min(max(message.limit, 1), MAX_ROWS))
