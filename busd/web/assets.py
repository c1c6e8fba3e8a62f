"""The page's own files, read once into memory with their gzip and ETag.

What is not in the table is not served, so no path from outside ever reaches the file system.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

from busd.web.http import Body, error, send

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "woff2": "font/woff2",
    "webmanifest": "application/manifest+json",
}
_PLAIN = "text/plain; charset=utf-8"


def load_assets() -> dict[str, Body]:
    """Path below ``static/`` -> body."""
    table: dict[str, Body] = {}

    def walk(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                walk(entry, f"{prefix}{entry.name}/")
            else:
                kind = entry.name.rpartition(".")[2]
                table[prefix + entry.name] = Body.of(entry.read_bytes(), _TYPES.get(kind, _PLAIN))

    walk(files("busd.web") / "static", "")
    return table


class Assets:
    """``/``, ``/signs`` and ``/static/{path}``. Own files are revalidated at every load (the tag makes that cheap), so an update of
    the server can never mix old and new modules; vendored ones change only with their version."""

    def __init__(self) -> None:
        self._table = load_assets()

    async def page(self, request: web.Request) -> web.Response:
        return send(request, self._table["index.html"], "no-cache")

    async def signs(self, request: web.Request) -> web.Response:
        return send(request, self._table["signs.html"], "no-cache")

    async def favicon(self, request: web.Request) -> web.Response:
        return send(request, self._table["icon.svg"], "max-age=86400")

    async def file(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        body = self._table.get(path)
        if body is None:
            return error(404, "not_found")
        return send(request, body, "max-age=604800" if path.startswith("vendor/") else "no-cache")
