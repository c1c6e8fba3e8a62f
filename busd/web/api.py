"""The JSON doors for stops, lines, buses, health and metrics. Lists are bare arrays; instants are Unix seconds."""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs, web

from busd import metrics
from busd.web.catalogue import CatalogueCache
from busd.web.http import BadQuery, check_point, error, one, query_int, query_numbers, send, send_json
from busd.web.services import WebServices
from busd.web.vehicles import route_of, vehicle_row

_PLANNED = "max-age=60"
"""planned service changes with a reload only; a minute keeps a page from asking twice while it is used"""


class Api:
    def __init__(self, services: WebServices, catalogues: CatalogueCache, version: str) -> None:
        self._services = services
        self._catalogues = catalogues
        self._version = version

    async def config(self, _: web.Request) -> web.Response:
        """What the page must know before it draws: time zone, languages, extent, whether the buses are real."""
        catalogue = await self._catalogues.get()
        network = catalogue.network
        return send_json(
            {
                "name": network.agency_name,
                "timezone": network.timezone,
                "lang": network.default_lang,
                "bbox": catalogue.bbox,
                "network": network.digest[:12],
                "simulated": self._services.simulated,
                "speed": self._services.speed,
                "now": int(self._services.clock.now() * 1000),
                "version": self._version,
            }
        )

    async def stops(self, request: web.Request) -> web.Response:
        """All stops; with ``q`` (words, any language), ``near`` (lat,lon) or ``limit`` a selection, best first."""
        query = one(request, "q")
        near = query_numbers(request, "near", 2)
        limit = query_int(request, "limit", 20 if near else 50, 1, 1000)
        if query is not None and len(query) > 100:
            raise BadQuery("q must be at most 100 characters")
        if near is not None:
            check_point("near", *near)
        catalogue = await self._catalogues.get()
        if query is None and near is None and "limit" not in request.query:
            return send(request, catalogue.stops_body, _PLANNED)
        point = None if near is None else (near[0], near[1])
        return send_json(catalogue.find_stops(query, point, limit))

    async def lines(self, request: web.Request) -> web.Response:
        return send(request, (await self._catalogues.get()).lines_body, _PLANNED)

    async def line(self, request: web.Request) -> web.Response:
        body = (await self._catalogues.get()).line_body(request.match_info["route_id"])
        return error(404, "unknown_line") if body is None else send(request, body, _PLANNED)

    async def map(self, request: web.Request) -> web.Response:
        return send(request, (await self._catalogues.get()).map_body, _PLANNED)

    async def vehicles(self, request: web.Request) -> web.Response:
        """Buses on a trip; ``line`` (route id) and ``bbox`` (south,west,north,east) select. ``age`` = s since the fix."""
        line = one(request, "line")
        box = query_numbers(request, "bbox", 4)
        if box is not None:
            check_point("bbox", *box[:2])
            check_point("bbox", *box[2:])
            if box[0] > box[2] or box[1] > box[3]:
                raise BadQuery("bbox must be south,west,north,east")
        catalogue = await self._catalogues.get()
        if line is not None and line not in catalogue.route_row:
            return error(404, "unknown_line")
        now = self._services.clock.now()
        rows: list[dict[str, Any]] = []
        for progress in self._services.vehicles():
            route = route_of(progress, catalogue)
            if route is None or (line is not None and route != line):
                continue
            if box is not None and not (box[0] <= progress.lat <= box[2] and box[1] <= progress.lon <= box[3]):
                continue
            rows.append({**vehicle_row(progress, catalogue), "age": max(0, round(now - progress.measured_at))})
        return send_json(rows)

    async def healthz(self, _: web.Request) -> web.Response:
        """``ok`` and what it rests on; 503 while the process is up but its boards are not to be relied on."""
        health = dict(self._services.health())
        return send_json(health, 200 if health.get("ok") else 503)

    async def quality(self, _: web.Request) -> web.Response:
        """How good the predictions are, as busd itself sees it: figures by line and horizon, and the alarms."""
        quality = self._services.quality
        return error(404, "not_measured") if quality is None else send_json(quality())

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=metrics.render(), headers={hdrs.CONTENT_TYPE: metrics.CONTENT_TYPE, hdrs.CACHE_CONTROL: "no-store"}
        )
