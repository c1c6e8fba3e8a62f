"""Boards over HTTP: the polling door of busd.sign.v1 (8.2), and the same bytes for the rider websocket.

Nothing is rendered here: the frames come from the cache that the signs use too (busd/signs/frames.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from aiohttp import hdrs, web

from busd.signs.render import same_json
from busd.web.http import JSON, accepts_gzip, error, matches, query_int, query_langs
from busd.web.services import WebServices

PICTURE = ".png"
PictureDoor = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
"""(request, stop id) -> the stop's board as a picture (8.3)"""
MAX_DEPS = 10
"""sign-protocol 3: the default, so that riders, polling programs and most signs share one encoding"""


class BoardFrames:
    """Boards of the rider websocket: every language, `MAX_DEPS` departures."""

    def __init__(self, services: WebServices) -> None:
        self._services = services

    def frame(self, stop_id: str) -> bytes | None:
        """The latest board as JSON; None before its first one."""
        return self._services.frames.board_json(stop_id, (), MAX_DEPS, self._now_ms())

    def fresh_until(self, stop_id: str) -> float:
        """Epoch s up to which a page may trust a board or same of this stop that is made now."""
        board = self._services.bus.latest(stop_id)
        return 0.0 if board is None else self._services.clock.now() + board.ttl_s

    def same(self, stop_id: str, fresh_until: float) -> bytes | None:
        """A ``same`` if a third of the ttl has gone since the last board or same, else None."""
        board = self._services.bus.latest(stop_id)
        if board is None or fresh_until - self._services.clock.now() > board.ttl_s * 2 / 3:
            return None
        return same_json(board, stop_id, self._now_ms())

    def _now_ms(self) -> int:
        return int(self._services.clock.now() * 1000)


class BoardDoor:
    """``GET /v1/boards/{stop}``."""

    def __init__(self, services: WebServices, picture: PictureDoor | None = None) -> None:
        self._services = services
        self._picture = picture

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The board with a weak tag of its revision: two renderings of one revision differ in ``now`` only."""
        if self._picture is not None and raw_stop(request).endswith(PICTURE):
            return await self._picture(request, stop_of(request).removesuffix(PICTURE))
        langs = query_langs(request)
        max_deps = query_int(request, "max_deps", MAX_DEPS, 1, 30)
        stop_id = stop_of(request)
        bus = self._services.bus
        board = bus.latest(stop_id)
        if board is None:
            if not bus.knows(stop_id):
                return error(404, "unknown_stop")
            return error(503, "no_board_yet", **{hdrs.RETRY_AFTER: "5"})
        now_ms = int(self._services.clock.now() * 1000)
        ttl = max(10, min(600, int(board.ttl_s)))
        tag = f"{board.epoch}-{board.rev}"
        headers = {
            hdrs.ETAG: f'W/"{tag}"',
            hdrs.CACHE_CONTROL: f"max-age={int(ttl / 3 / self._services.speed)}",
            "Busd-Now": str(max(now_ms, round(board.at * 1000))),
            "Busd-Ttl": str(ttl),
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
            hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "ETag, Busd-Now, Busd-Ttl",
        }
        if matches(request, tag):
            return web.Response(status=304, headers=headers)
        frames = self._services.frames
        encoded = frames.encoded(stop_id, frames.variant(langs, max_deps), now_ms)
        assert encoded is not None  # the bus has just shown its board
        headers[hdrs.CONTENT_TYPE] = JSON
        body = encoded.payload
        if accepts_gzip(request) and len(body) > 1024:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
            body = encoded.zipped
        return web.Response(body=body, headers=headers)


def raw_stop(request: web.Request) -> str:
    """The stop's segment of the path as it was sent: only here is ``.png`` something else than ``%2Epng``."""
    path = request.raw_path.partition("?")[0]
    return path.split("/boards/", 1)[-1].split("/", 1)[0]


def stop_of(request: web.Request) -> str:
    """The stop id in the path."""
    return unquote(raw_stop(request), errors="replace")
