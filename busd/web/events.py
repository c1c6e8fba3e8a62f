"""``GET /v1/boards/{stop}/events``: boards as server-sent events (busd.sign.v1, 8.1). The rules are in signs/events.py."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from aiohttp import hdrs, web

from busd.metrics import EVENT_STREAMS, EVENT_STREAMS_CLOSED
from busd.signs.events import EventStream
from busd.signs.messages import CloseCode
from busd.web.boards import MAX_DEPS, stop_of
from busd.web.http import error, one, query_int, query_langs
from busd.web.services import WebServices

MAX_STREAMS = 4096
"""each is a connection and a task, about 20 kB"""
WRITE_DEADLINE_S = 10.0
SEND_BUFFER = 32 * 1024
"""SO_SNDBUF, as for signs: events queued in the kernel are events that no newer one can replace"""
CLOSE_S = 2.0
_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",
}


class EventDoor:
    """All open streams. `close` ends them with a ``bye``."""

    def __init__(self, services: WebServices, max_streams: int = MAX_STREAMS) -> None:
        self._services = services
        self._max_streams = max_streams
        self._streams: set[EventStream] = set()
        self._empty = asyncio.Event()
        self._is_closing = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        services = self._services
        langs = query_langs(request)
        max_deps = query_int(request, "max_deps", MAX_DEPS, 1, 30)
        last_event_id = request.headers.get("Last-Event-ID") or one(request, "last_event_id") or ""
        stop_id = stop_of(request)
        if not services.bus.knows(stop_id):
            return error(404, "unknown_stop")
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=_HEADERS)
        if self._is_closing or len(self._streams) >= self._max_streams:
            return error(503, "too_many_streams", **{hdrs.RETRY_AFTER: "30"})
        wake = asyncio.Event()
        stream = EventStream(
            services.bus,
            services.frames,
            stop_id,
            services.frames.variant(langs, max_deps),
            last_event_id,
            wake.set,
            speed=services.speed,
        )
        self._streams.add(stream)
        EVENT_STREAMS.set(len(self._streams))
        cause = "left"
        try:
            response = web.StreamResponse(headers=_HEADERS)
            await self._serve(request, response, stream, wake)
            cause = "bye"
            return response
        except TimeoutError:
            cause = "too_slow"
            if request.transport is not None:
                request.transport.abort()
            return response
        except (ConnectionError, OSError):
            return response
        finally:
            stream.leave()
            self._streams.discard(stream)
            EVENT_STREAMS.set(len(self._streams))
            EVENT_STREAMS_CLOSED.labels(cause).inc()
            if not self._streams:
                self._empty.set()

    async def _serve(
        self, request: web.Request, response: web.StreamResponse, stream: EventStream, wake: asyncio.Event
    ) -> None:
        clock: Callable[[], float] = self._services.clock.monotonic
        if (transport := request.transport) is not None:
            # What the kernel does not take at once makes us wait: the stream conflates instead of a buffer growing.
            transport.set_write_buffer_limits(high=0)
            with contextlib.suppress(OSError, AttributeError):
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        writer = await response.prepare(request)
        if writer is None:
            return
        while not stream.is_over:
            wake.clear()
            data = stream.take(clock(), int(self._services.clock.now() * 1000))
            if data:
                async with asyncio.timeout(WRITE_DEADLINE_S):
                    await writer.write(data)
                    await writer.drain()
            elif (delay := stream.next_deadline() - clock()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), delay)

    async def close(self) -> None:
        """Bye 4001 to everybody; waits until they are gone, at most `CLOSE_S`."""
        self._is_closing = True
        self._empty.clear()
        for stream in tuple(self._streams):
            stream.close(CloseCode.RESTART, "restart")
        if self._streams:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), CLOSE_S)
