"""The application: which door is where, the headers every answer carries, and the listening socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import structlog
from aiohttp import hdrs, web

from busd import metrics
from busd.config import WebConfig
from busd.web.api import Api
from busd.web.assets import Assets
from busd.web.boards import BoardDoor, BoardFrames
from busd.web.catalogue import CatalogueCache
from busd.web.events import EventDoor
from busd.web.http import BadQuery, error
from busd.web.live import LiveHub
from busd.web.packs import PackDoor
from busd.web.pictures import Looks, PictureDoor, SpeechDoor
from busd.web.rider import RiderDoor
from busd.web.services import WebServices

log = structlog.get_logger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "geolocation=(self), camera=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def busd_version() -> str:
    try:
        return version("busd")
    except PackageNotFoundError:  # run from a tree that was never installed
        return "0"


def create_app(services: WebServices, public_url: str = "") -> web.Application:
    """The rider web on ``services``. ``public_url`` is one more origin whose pages may open the websocket."""
    catalogues = CatalogueCache(lambda: services.bus.network)
    frames = BoardFrames(services)
    hub = LiveHub(services, catalogues, frames)
    assets = Assets()
    looks = Looks(services)
    pictures = PictureDoor(services, looks, public_url)
    boards = BoardDoor(services, pictures)
    events = EventDoor(services)
    api = Api(services, catalogues, busd_version())
    riders = RiderDoor(services, hub, public_url)

    app = web.Application(middlewares=[_measure, _errors], client_max_size=16_384)
    app.on_response_prepare.append(_secure)
    app.router.add_get("/", assets.page)
    app.router.add_get("/favicon.ico", assets.favicon)
    app.router.add_get("/static/{path:.+}", assets.file)
    app.router.add_get("/v1/config", api.config)
    app.router.add_get("/v1/stops", api.stops)
    app.router.add_get("/v1/lines", api.lines)
    app.router.add_get("/v1/lines/{route_id}", api.line)
    app.router.add_get("/v1/map", api.map)
    app.router.add_get("/v1/vehicles", api.vehicles)
    app.router.add_get("/v1/boards/{stop}", boards.handle)
    app.router.add_get("/v1/boards/{stop}/events", events.handle)
    app.router.add_get("/v1/boards/{stop}/speech", SpeechDoor(services, looks).handle)
    app.router.add_get("/v1/live", riders.handle, allow_head=False)
    app.router.add_get("/healthz", api.healthz)
    app.router.add_get("/v1/quality", api.quality)
    app.router.add_get("/metrics", api.metrics)
    if services.push is not None:
        app.router.add_post("/feeds/{name}", services.push.post)
        app.router.add_get("/feeds/{name}", services.push.get, allow_head=False)
    if services.packs is not None:
        app.router.add_get("/v1/packs/{id}", PackDoor(services.packs).handle)
    if services.devices is not None:
        services.devices.add_to(app)
    if services.signs is not None:
        services.signs.add_to(app, services, assets, public_url)
    if services.dispatch is not None:
        services.dispatch.add_to(app)

    async def rounds(_: web.Application) -> AsyncIterator[None]:
        services.bus.on_flush(hub.announce)
        task = asyncio.create_task(hub.run())
        yield
        services.bus.off_flush(hub.announce)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def goodbye(_: web.Application) -> None:
        await asyncio.gather(riders.close(), events.close(), pictures.close())

    app.cleanup_ctx.append(rounds)
    app.on_shutdown.append(goodbye)
    return app


@dataclass(frozen=True)
class WebServer:
    """A listening rider web."""

    host: str
    port: int
    """the real one, also where the config said 0"""
    _runner: web.AppRunner

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}"

    async def close(self) -> None:
        """Closes the port, then the connections, within about 3 s."""
        await self._runner.cleanup()


async def start_web(config: WebConfig, services: WebServices) -> WebServer:
    """Serves the rider web on ``config.host:config.port``. Raises OSError when the port is taken."""
    runner = web.AppRunner(
        create_app(services, config.public_url), access_log=None, keepalive_timeout=75.0, shutdown_timeout=2.0
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port, backlog=512)
        await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    port = int(runner.addresses[0][1])
    log.info("web_listening", host=config.host, port=port)
    return WebServer(config.host, port, runner)


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    # Boards and timetables are public data: other people's pages may read them, never with credentials.
    response.headers.setdefault(hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, "*")
    response.headers[hdrs.SERVER] = "busd"


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadQuery as problem:
        return error(400, "bad_query", str(problem))
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        words = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
        allow = {hdrs.ALLOW: answer.headers[hdrs.ALLOW]} if hdrs.ALLOW in answer.headers else {}
        return error(answer.status, words.get(answer.status, answer.reason.lower().replace(" ", "_")), **allow)


@web.middleware
async def _measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "other"
    loop = asyncio.get_running_loop()
    began = loop.time()
    response = await handler(request)
    metrics.WEB_REQUESTS.labels(route, str(response.status)).inc()
    if response.status != 101:
        metrics.WEB_SECONDS.labels(route).observe(loop.time() - began)
    return response
