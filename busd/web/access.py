"""Who may use the doors that change something: whoever shows the token, or, where none is set, this machine alone."""

from __future__ import annotations

import hmac
import ipaddress

from aiohttp import hdrs, web

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
_LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))


def may_use(request: web.Request, token: str, *, in_query: bool = False) -> bool:
    """Whether the request shows ``token`` (RFC 6750 bearer header; with ``in_query`` also ``?token=``), compared in
    constant time. An empty token stands for requests from this machine."""
    if not token:
        return is_local(request)
    scheme, _, shown = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer":
        shown = request.query.get("token", "") if in_query else ""
    return hmac.compare_digest(shown.strip().encode("utf-8", "replace"), token.encode())


def is_local(request: web.Request) -> bool:
    """Sent by a program on this machine to this machine. Not a proxy that passes on what the outside asks, and not a
    browser: a page from anywhere can make that send requests here (hence Origin and the name that was asked for)."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    try:
        if not peer or not ipaddress.ip_address(str(peer[0]).partition("%")[0]).is_loopback:
            return False
    except ValueError:
        return False
    if any(name in request.headers for name in (*_FORWARDED, hdrs.ORIGIN, "Sec-Fetch-Site")):
        return False
    host = request.headers.get(hdrs.HOST, "").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name in _LOCAL_NAMES
