"""Offline packs over HTTP: ``GET /v1/packs/{id}`` (docs/sign-protocol.md §7). A pack never changes, its name is its hash."""

from __future__ import annotations

import gzip
import re

from aiohttp import hdrs, web

from busd.signs.packs import PackShelf
from busd.web.http import JSON, accepts_gzip, error, matches

_CACHE = "max-age=31536000, immutable"
_ID = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{0,10})-([0-9]{0,10})")


class PackDoor:
    """Whole packs, gzip where it is accepted, and single byte ranges of the identity encoding (RFC 9110 14)."""

    def __init__(self, shelf: PackShelf) -> None:
        self._shelf = shelf

    async def handle(self, request: web.Request) -> web.Response:
        pack_id = request.match_info["id"]
        held = await self._shelf.fetch(pack_id) if _ID.fullmatch(pack_id) else None
        if held is None:
            return error(404, "unknown_pack")
        ref, packed = held
        headers = {
            hdrs.ETAG: f'"{ref.id}"',
            hdrs.CACHE_CONTROL: _CACHE,
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
            hdrs.ACCEPT_RANGES: "bytes",
        }
        if matches(request, ref.id):
            return web.Response(status=304, headers=headers)
        headers[hdrs.CONTENT_TYPE] = JSON
        part = _wanted_range(request, ref.id, ref.size)
        if part is None and accepts_gzip(request):
            # another representation, another strong tag (RFC 9110 8.8.3); a range of it would help nobody
            headers |= {hdrs.CONTENT_ENCODING: "gzip", hdrs.ETAG: f'W/"{ref.id}"'}
            return web.Response(body=packed, headers=headers)
        body = gzip.decompress(packed)
        if part is None:
            return web.Response(body=body, headers=headers)
        if not part:
            return error(416, "range", **{hdrs.CONTENT_RANGE: f"bytes */{ref.size}", hdrs.ETAG: f'"{ref.id}"'})
        headers[hdrs.CONTENT_RANGE] = f"bytes {part.start}-{part.stop - 1}/{ref.size}"
        return web.Response(status=206, body=body[part.start : part.stop], headers=headers)


def _wanted_range(request: web.Request, tag: str, size: int) -> range | None:
    """None: the whole. Empty: a range outside. What is no single byte range, or names another tag, means the whole."""
    found = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, "").strip())
    if found is None or request.headers.get(hdrs.IF_RANGE, f'"{tag}"') != f'"{tag}"':
        return None
    first, last = found.groups()
    if first:
        stop = min(int(last) + 1, size) if last else size
        return range(int(first), max(stop, int(first))) if not last or int(last) >= int(first) else None
    return range(max(size - int(last), 0), size) if last else None
