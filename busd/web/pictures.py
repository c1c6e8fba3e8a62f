"""Boards as pictures (busd.sign.v1, 8.3) and as speech, for signs that cannot draw and riders who cannot see.

A picture is a pure function of what the board says at this minute, its size and its languages: drawn once, in one thread
beside the loop, and kept by those. Its tag is that of its bytes, so a sign that polls gets 304 until a pixel changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from busd.signs.fonts import FontMissing
from busd.signs.glance import NO_MEMORY, Glance, Memory, look
from busd.signs.picture import MAX_SIDE, MIN_SIDE, Format, draw
from busd.signs.render import board_object
from busd.signs.speech import ssml
from busd.web.boards import MAX_DEPS, stop_of
from busd.web.http import BadQuery, error, matches, query_int, query_langs
from busd.web.services import WebServices

log = structlog.get_logger(__name__)

MAX_LANGS = 3
"""Languages of one picture; more would be too small to read."""
MAX_KEPT_BYTES = 32 << 20
MAX_WAITING = 64
"""Drawings that wait for the one thread; who comes then is told to come again."""
MAX_STOPS = 4096
MAX_PAGE = 300
"""Characters of an address that still makes a QR code a phone can read"""
MAX_AGE_S = 60
Draw = Callable[[Glance, Format, float], bytes]
_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?")
_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Picture:
    png: bytes
    tag: str

    @classmethod
    def of(cls, png: bytes) -> Picture:
        return cls(png, hashlib.sha256(png).hexdigest()[:20])


class Boardless(Exception):
    """There is nothing to show; ``response`` says why."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


class Looks:
    """What the doors say of each stop now, with the memory that keeps numbers from counting up. Bounded."""

    def __init__(self, services: WebServices) -> None:
        self._services = services
        self._memory: OrderedDict[tuple[str, int], Memory] = OrderedDict()

    def at(self, stop_id: str, langs: tuple[str, ...], max_deps: int) -> tuple[Glance, tuple[str, ...], str, float]:
        """(glance, its languages, timezone, now). Raises Boardless."""
        bus = self._services.bus
        held = bus.held(stop_id)
        if held is None:
            if not bus.knows(stop_id):
                raise Boardless(error(404, "unknown_stop"))
            raise Boardless(error(503, "no_board_yet", **{hdrs.RETRY_AFTER: "5"}))
        board, network = held
        now = max(self._services.clock.now(), board.at)
        content = board_object(board, network, langs, max_deps)
        # a shorter list has its own memory: a bus that does not fit into it has not gone
        key = stop_id, max_deps
        glance, memory = look(content, now, self._memory.get(key, NO_MEMORY))
        self._memory[key] = memory
        self._memory.move_to_end(key)
        if len(self._memory) > MAX_STOPS:
            self._memory.popitem(last=False)
        return glance, langs or languages(content, network.default_lang), network.timezone, now


def languages(board: Mapping[str, Any], default: str) -> tuple[str, ...]:
    """The languages of a board's texts, the timetable's own first, then English; for who asks for none."""
    texts = [board["name"], *(line["head"] for line in board["lines"])]
    tags = dict.fromkeys(tag for text in texts for tag in text if tag != "und")
    if default == "und":
        default = "zh" if any(_HAN.search(value) for text in texts for value in text.values()) else "en"
    return tuple(dict.fromkeys([default, *(tag for tag in tags if tag.startswith("en")), *tags]))[:MAX_LANGS]


class PictureDoor:
    """``GET /v1/boards/{stop}.png?w=800&h=480&bits=1``; an instance is a `boards.PictureDoor`."""

    def __init__(self, services: WebServices, looks: Looks, public_url: str = "", draw: Draw = draw) -> None:
        self._services = services
        self._looks = looks
        self._draw = draw
        self._public_url = public_url.rstrip("/")
        self._kept: OrderedDict[tuple[bytes, Format, int], Picture] = OrderedDict()
        self._kept_bytes = 0
        self._drawing: dict[tuple[bytes, Format, int], asyncio.Future[Picture]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")

    async def __call__(self, request: web.Request, stop_id: str) -> web.StreamResponse:
        width = query_int(request, "w", 800, MIN_SIDE, MAX_SIDE)
        height = query_int(request, "h", 480, MIN_SIDE, MAX_SIDE)
        bits = query_int(request, "bits", 1, 1, 8)
        if bits not in (1, 8):
            raise BadQuery("bits must be 1 or 8")
        max_deps = query_int(request, "max_deps", MAX_DEPS, 1, 30)
        langs = query_langs(request)[:MAX_LANGS]
        try:
            glance, langs, timezone, now = self._looks.at(stop_id, langs, max_deps)
        except Boardless as reason:
            return reason.response
        form = Format(width, height, bits, langs, timezone, self._page(request, stop_id))
        try:
            picture = await self._picture(glance, form, now)
        except FontMissing as problem:
            return error(503, "fonts_missing", str(problem), **{hdrs.RETRY_AFTER: "60"})
        if picture is None:
            return error(503, "overload", **{hdrs.RETRY_AFTER: "5"})
        board = self._services.bus.latest(stop_id)
        ttl = board.ttl_s if board is not None else 90.0
        headers = {
            hdrs.ETAG: f'"{picture.tag}"',
            hdrs.CACHE_CONTROL: f"max-age={max(0, int(min(MAX_AGE_S, ttl / 3) / self._services.speed))}",
        }
        if matches(request, picture.tag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=picture.png, content_type="image/png", headers=headers)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _page(self, request: web.Request, stop_id: str) -> str:
        """The stop's page for a phone, as the outside reaches it."""
        base = self._public_url
        if not base and _HOST.fullmatch(request.host):
            base = f"{request.scheme}://{request.host}"
        page = f"{base}/#/stop/{quote(stop_id, safe='')}" if base else ""
        return page if len(page) <= MAX_PAGE else ""

    async def _picture(self, glance: Glance, form: Format, now: float) -> Picture | None:
        """None: too many wait. One drawing for all who ask for the same at the same time."""
        key = (hashlib.sha256(glance.digest()).digest(), form, int(now // 60) if glance.live else 0)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        drawing = self._drawing.get(key)
        if drawing is None:
            if len(self._drawing) >= MAX_WAITING:
                return None
            loop = asyncio.get_running_loop()
            drawing = loop.run_in_executor(self._thread, lambda: Picture.of(self._draw(glance, form, now)))
            self._drawing[key] = drawing
            drawing.add_done_callback(lambda done: self._drawn(key, done))
        # whoever asked first may hang up; the others still wait for the same drawing
        return await asyncio.shield(drawing)

    def _drawn(self, key: tuple[bytes, Format, int], done: asyncio.Future[Picture]) -> None:
        del self._drawing[key]
        if done.cancelled():
            return
        problem = done.exception()
        if problem is not None:
            log.error("picture_failed", error=str(problem), kind=type(problem).__name__)
            return
        picture = self._kept[key] = done.result()
        self._kept_bytes += len(picture.png)
        while self._kept_bytes > MAX_KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.png)


class SpeechDoor:
    """``GET /v1/boards/{stop}/speech?lang=zh``: the board as SSML, in the first of the languages asked for."""

    def __init__(self, services: WebServices, looks: Looks) -> None:
        self._services = services
        self._looks = looks

    async def handle(self, request: web.Request) -> web.Response:
        asked = query_langs(request)
        max_deps = query_int(request, "max_deps", MAX_DEPS, 1, 30)
        try:
            glance, langs, timezone, _ = self._looks.at(stop_of(request), asked, max_deps)
        except Boardless as reason:
            return reason.response
        body = ssml(glance, langs[0] if langs else "en", timezone).encode()
        tag = hashlib.sha256(body).hexdigest()[:20]
        headers = {hdrs.ETAG: f'"{tag}"', hdrs.CACHE_CONTROL: f"max-age={int(10 / self._services.speed)}"}
        if matches(request, tag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers | {hdrs.CONTENT_TYPE: "application/ssml+xml; charset=utf-8"})
