"""Answers: JSON bodies with their gzip and ETag made once, errors with one shape, query values checked.

A wrong query value is a 400 ``{"error": "bad_query", "detail": ...}``; the doors raise `BadQuery` and the middleware in
server.py turns it into that answer.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import hdrs, web
from aiohttp.helpers import ETag

JSON = "application/json"
_GZIP_FROM = 860
"""below this a packet holds it anyway"""
_LANG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")


class BadQuery(Exception):
    """A query value that cannot be used; the text names it."""


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that is the same for everybody: bytes, their gzip (where it pays) and their strong tag."""

    raw: bytes
    zipped: bytes | None
    tag: str
    content_type: str = JSON

    @classmethod
    def of(cls, raw: bytes, content_type: str = JSON) -> Body:
        zipped = gzip.compress(raw, 6, mtime=0) if len(raw) >= _GZIP_FROM else None
        if zipped is not None and len(zipped) > 0.9 * len(raw):
            zipped = None
        return cls(raw, zipped, hashlib.sha256(raw).hexdigest()[:20], content_type)


def accepts_gzip(request: web.Request) -> bool:
    """Whether Accept-Encoding names gzip without ``q=0``."""
    for part in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().split(","):
        name, _, parameters = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return re.fullmatch(r"q=0(\.0*)?", parameters.strip()) is None
    return False


def matches(request: web.Request, tag: str) -> bool:
    """Whether If-None-Match names ``tag`` (weak comparison, RFC 9110 13.1.2) or is ``*``."""
    wanted: tuple[ETag, ...] | None = request.if_none_match
    return wanted is not None and any(e.value in (tag, "*") for e in wanted)


def send(request: web.Request, body: Body, cache: str) -> web.Response:
    """``body`` or 304, with Vary and Cache-Control."""
    headers = {hdrs.CACHE_CONTROL: cache, hdrs.VARY: hdrs.ACCEPT_ENCODING, hdrs.ETAG: f'"{body.tag}"'}
    zipped = body.zipped if accepts_gzip(request) else None
    if zipped is not None:
        # Two encodings are two representations, so their strong tags differ (RFC 9110 8.8.3.3).
        headers[hdrs.ETAG] = f'"{body.tag}-gz"'
    if matches(request, body.tag) or matches(request, f"{body.tag}-gz"):
        return web.Response(status=304, headers=headers)
    if zipped is not None:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    headers[hdrs.CONTENT_TYPE] = body.content_type
    return web.Response(body=body.raw if zipped is None else zipped, headers=headers)


def send_json(value: Any, status: int = 200, cache: str = "no-store", **headers: str) -> web.Response:
    """A small answer that is made for this request."""
    return web.Response(
        body=orjson.dumps(value),
        status=status,
        headers={hdrs.CONTENT_TYPE: JSON, hdrs.CACHE_CONTROL: cache, **headers},
    )


def error(status: int, word: str, detail: str = "", **headers: str) -> web.Response:
    """``{"error": word, "detail": detail}``; the word is for programs, the detail for people."""
    return send_json({"error": word, "detail": detail} if detail else {"error": word}, status, **headers)


async def read_body(request: web.Request, most: int, timeout_s: float = 60.0) -> bytes | None:
    """The body, None if it is larger than ``most`` bytes. TimeoutError for one that drips."""
    body = bytearray()
    async with asyncio.timeout(timeout_s):
        async for chunk in request.content.iter_chunked(65536):
            body += chunk
            if len(body) > most:
                return None
    return bytes(body)


def query_int(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = one(request, name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,6}", text) or not low <= int(text) <= high:
        raise BadQuery(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def query_langs(request: web.Request) -> tuple[str, ...]:
    """``lang=zh-Hans,en`` -> tags in order; () when absent."""
    text = one(request, "lang")
    if text is None:
        return ()
    tags = tuple(text.split(","))
    if len(tags) > 8 or not all(_LANG.fullmatch(tag) for tag in tags):
        raise BadQuery("lang must be up to 8 BCP 47 tags with commas between")
    return tags


def query_numbers(request: web.Request, name: str, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers with commas between; None when absent."""
    text = one(request, name)
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise BadQuery(f"{name} must be {count} numbers with commas between") from None
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise BadQuery(f"{name} must be {count} numbers with commas between")
    return numbers


def check_point(name: str, lat: float, lon: float) -> None:
    if abs(lat) > 90 or abs(lon) > 180:
        raise BadQuery(f"{name} must be degrees: latitude, longitude")


def one(request: web.Request, name: str) -> str | None:
    """The value of a query key that may be given once."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise BadQuery(f"{name} is given {len(values)} times")
    return values[0] if values else None
