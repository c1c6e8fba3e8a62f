"""The door of the sources that post: ``POST /feeds/NAME`` and, for OsmAnd and its like, ``GET /feeds/NAME?id=...``.

Answers 200 only after the line has the positions, with ``{"positions", "historical", "rejected": {reason: count}}``. A
report that cannot be used is counted and still answered 200, because trackers repeat whatever they get an error for.
400 is for messages that no repetition mends: no JSON, no device id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from aiohttp import hdrs, web

from busd import metrics
from busd.clock import Clock
from busd.config import PushConfig
from busd.errors import FeedError, Reason
from busd.feeds import KINDS, Submit
from busd.feeds.intake import Intake, Roll
from busd.feeds.report import Reports
from busd.feeds.traccar import decode_query
from busd.web.access import may_use
from busd.web.http import error, send_json

log = structlog.get_logger(__name__)

BODY_TIMEOUT_S = 20.0
QUERIES = ("traccar", "osmand")
"""types that may put everything into the query"""


class Codec(Protocol):
    def __call__(self, body: bytes, *, source: str, received_at: float, datum: str) -> Reports: ...


class PushDoor:
    """All sources of the ``[[push]]`` sections."""

    def __init__(
        self,
        configs: Sequence[PushConfig],
        submit: Submit,
        clock: Clock,
        vehicle_of: Callable[[str], str | None],
        roll: Roll,
    ) -> None:
        self._clock = clock
        self._sources = {
            config.name: (config, _codec(config.type), Intake(config.name, submit, clock, vehicle_of, roll))
            for config in configs
        }

    async def post(self, request: web.Request) -> web.Response:
        return await self._answer(request)

    async def get(self, request: web.Request) -> web.Response:
        """Only with a query to read: a plain look is a 405, as for every address that is posted to."""
        return await self._answer(request)

    async def _answer(self, request: web.Request) -> web.Response:
        source = self._sources.get(request.match_info["name"])
        if source is None:
            return error(404, "unknown_feed")
        config, codec, intake = source
        takes_query = config.type in QUERIES
        if not may_use(request, config.token, in_query=takes_query):
            metrics.REJECTED.labels(config.name, Reason.UNAUTHENTICATED.value).inc()
            return error(401, "unauthenticated", **{hdrs.WWW_AUTHENTICATE: "Bearer"})
        if request.method == hdrs.METH_GET and not (takes_query and request.query_string):
            return error(405, "method_not_allowed", **{hdrs.ALLOW: "POST"})
        received_at = self._clock.now()
        try:
            body = await _read(request, config.max_bytes) if request.method == hdrs.METH_POST else b""
            if body is None:
                metrics.REJECTED.labels(config.name, Reason.BAD_LENGTH.value).inc()
                return error(413, "too_large", f"at most {config.max_bytes} bytes", **{hdrs.CONNECTION: "close"})
            if body.strip() or not takes_query:
                reports = codec(body, source=config.name, received_at=received_at, datum=config.datum)
            else:
                query = request.rel_url.raw_query_string
                reports = decode_query(query, source=config.name, received_at=received_at, datum=config.datum)
        except TimeoutError:
            return error(408, "too_slow", **{hdrs.CONNECTION: "close"})
        except FeedError as problem:
            metrics.REJECTED.labels(config.name, Reason.MALFORMED.value).inc()
            return error(400, "unreadable", str(problem)[:300])
        taken = intake.take(reports, request.remote or "")
        if not reports.positions and any(reject.reason == Reason.MALFORMED for reject in reports.rejects):
            return error(400, "malformed", reports.rejects[0].detail)
        return send_json(
            {"positions": taken.live + taken.historical, "historical": taken.historical, "rejected": taken.rejected}
        )


def _codec(kind: str) -> Codec:
    codec = KINDS[kind].load_codec()
    assert callable(codec)
    return codec


async def _read(request: web.Request, most: int) -> bytes | None:
    """The body, None if it is larger. What is unpacked counts, so a small zip cannot fill the memory."""
    if request.content_length is not None and request.content_length > most:
        return None
    body = bytearray()
    async with asyncio.timeout(BODY_TIMEOUT_S):
        try:
            async for chunk in request.content.iter_chunked(65536):
                body += chunk
                if len(body) > most:
                    return None
        except web.RequestPayloadError as problem:
            raise FeedError(f"the body cannot be unpacked ({problem})") from None
    return bytes(body)
