"""The rim of the rider websocket: one reader and one writer per connection, limits on both.

A page that breaks the protocol loses its own connection (close codes as in busd.sign.v1: 4400 bad message, 4005 too
many, 4001 server stops); one that does not take its bytes is cut off without a handshake.
"""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import msgspec
import orjson
import structlog
from aiohttp import WSMsgType, hdrs, web

from busd import metrics
from busd.clock import Clock
from busd.web.http import error
from busd.web.live import LiveHub, Rider, Watch, valid
from busd.web.services import WebServices

MAX_RIDERS = 5_000
MAX_MESSAGE_BYTES = 16_384
WRITE_DEADLINE_S = 10.0
PING_S = 30.0
RATE_PER_S = 5.0
BURST = 20.0
SEND_BUFFER_BYTES = 65_536

log = structlog.get_logger(__name__)
_watch = msgspec.json.Decoder(Watch)


class _Kind(msgspec.Struct, frozen=True):
    type: str


_kind = msgspec.json.Decoder(_Kind)


class Allowance:
    """A token bucket: ``rate`` messages a second on average, ``burst`` at once."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock, self._rate, self._burst = clock, rate, burst
        self._left, self._at = burst, clock.monotonic()

    def take(self) -> bool:
        now = self._clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def same_origin(request: web.Request, public_url: str = "") -> bool:
    """Browsers always send Origin with a websocket, so another site's page cannot read through a rider's browser.
    Programs send none and are welcome; what is here is public."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return True
    try:
        host = urlsplit(origin).netloc.lower()
        own = urlsplit(public_url).netloc.lower()
    except ValueError:
        return False
    return bool(host) and host in (request.headers.get(hdrs.HOST, "").lower(), own)


class RiderDoor:
    """``GET /v1/live``."""

    def __init__(
        self, services: WebServices, hub: LiveHub, public_url: str = "", write_deadline_s: float = WRITE_DEADLINE_S
    ) -> None:
        self._services = services
        self._hub = hub
        self._public_url = public_url
        self._write_deadline_s = write_deadline_s
        self._sockets: set[web.WebSocketResponse] = set()

    async def close(self) -> None:
        """Says goodbye to every rider; pages come back by themselves."""
        await asyncio.gather(
            *(ws.close(code=4001, message=b"restart", drain=False) for ws in list(self._sockets)),
            return_exceptions=True,
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if not same_origin(request, self._public_url):
            return error(403, "foreign_origin")
        if len(self._sockets) >= MAX_RIDERS:
            return error(503, "overload", **{hdrs.RETRY_AFTER: "30"})
        ws = web.WebSocketResponse(
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            heartbeat=PING_S,
            timeout=2.0,
            writer_limit=SEND_BUFFER_BYTES,
        )
        if not ws.can_prepare(request):
            return error(426, "websocket_only", **{hdrs.UPGRADE: "websocket"})
        transport = request.transport
        sock = None if transport is None else transport.get_extra_info("socket")
        if sock is not None:
            # What the kernel holds cannot be replaced by something newer, so it shall hold little.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        await ws.prepare(request)
        rider = Rider()
        self._sockets.add(ws)
        metrics.RIDER_CONNECTIONS.inc()
        writer: asyncio.Task[None] | None = None
        try:
            await ws.send_frame(self._hello(), WSMsgType.TEXT)
            self._hub.join(rider)
            writer = asyncio.create_task(self._write(ws, rider, transport))
            await self._read(ws, rider)
        except ConnectionError:
            pass  # the rider is gone; nothing to tell
        finally:
            self._hub.leave(rider)
            if writer is not None:
                writer.cancel()
            self._sockets.discard(ws)
            metrics.RIDER_CONNECTIONS.dec()
        return ws

    def _hello(self) -> bytes:
        return orjson.dumps(
            {
                "type": "hello",
                "v": 1,
                "now": int(self._services.clock.now() * 1000),
                "speed": self._services.speed,
                "simulated": self._services.simulated,
                "network": self._services.bus.network.digest[:12],
            }
        )

    async def _read(self, ws: web.WebSocketResponse, rider: Rider) -> None:
        allowance = Allowance(self._services.clock, RATE_PER_S, BURST)
        async for message in ws:
            if message.type is not WSMsgType.TEXT:
                if message.type is WSMsgType.BINARY:
                    await ws.close(code=1003)
                return
            if not allowance.take():
                await ws.close(code=4005, message=b"rate limit")
                return
            try:
                if _kind.decode(message.data).type != "watch":
                    continue
                watch = _watch.decode(message.data)
            except msgspec.DecodeError as problem:
                await ws.close(code=4400, message=str(problem).encode()[:100])
                return
            if not valid(watch):
                await ws.close(code=4400, message=b"bbox must be south,west,north,east")
                return
            bad = self._hub.watch(rider, watch)
            rider.put_answer(orjson.dumps({"type": "watching", "stops": sorted(rider.stops), "err": bad}))

    async def _write(self, ws: web.WebSocketResponse, rider: Rider, transport: asyncio.Transport | None) -> None:
        try:
            while True:
                await rider.wake.wait()
                rider.wake.clear()
                async with asyncio.timeout(self._write_deadline_s):
                    for frame in rider.take():
                        await ws.send_frame(frame, WSMsgType.TEXT)
                rider.heard_at = self._services.clock.monotonic()
        except (TimeoutError, ConnectionError):
            if transport is not None:
                transport.abort()
