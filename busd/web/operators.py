"""Who may work with the signs: an operator by token, the holder of ``web.admin_token``, or this machine."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from aiohttp import hdrs, web

from busd.errors import BusdError
from busd.log import strip_control
from busd.sign_registry import BadEntry, Role, SignRegistry
from busd.signs.control import Actor
from busd.web.access import is_local
from busd.web.http import error

Handler = Callable[[web.Request, Actor], Awaitable[web.StreamResponse]]
OPERATOR_HEADER = "Busd-Operator"
"""who is sitting at this machine; only for the audit log, and only believed of local programs"""
_DO = {Role.VIEWER: "look at signs", Role.DISPATCHER: "set messages and modes", Role.ADMIN: "change signs and people"}


class OperatorAccess:
    """Finds out who is asking. Tokens are compared in constant time."""

    def __init__(self, registry: SignRegistry, admin_token: str) -> None:
        self._registry, self._admin = registry, admin_token

    def actor(self, token: str) -> Actor | None:
        """Whose token this is."""
        is_admin = hmac.compare_digest(token.encode("utf-8", "replace"), self._admin.encode()) and bool(self._admin)
        operator = self._registry.find_operator(token)
        if is_admin:
            return Actor("admin", Role.ADMIN)
        return None if operator is None else Actor(operator.name, Role[operator.role.upper()])

    def of(self, request: web.Request) -> Actor | None:
        """By bearer token; without one, a program on this machine counts as admin unless ``web.admin_token`` is set."""
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer":
            return self.actor(token.strip())
        if self._admin or not is_local(request):
            return None
        name = strip_control(unquote(request.headers.get(OPERATOR_HEADER, "")))[:64]
        return Actor(f"local {name}".strip(), Role.ADMIN)

    def guard(self, role: Role, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler for those who may: 401 for nobody, 403 for a role that is not enough; 400 and 500 as JSON too."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            actor = self.of(request)
            if actor is None:
                return error(401, "unauthenticated", **{hdrs.WWW_AUTHENTICATE: "Bearer"})
            if actor.role < role:
                return error(
                    403,
                    "forbidden",
                    f"{actor.name} is {actor.role.name.lower()}; to {_DO[role]} takes {role.name.lower()}",
                )
            try:
                return await handler(request, actor)
            except BadEntry as problem:
                return error(400, "bad_entry", str(problem))
            except BusdError as problem:
                return error(500, "not_written", str(problem))

        return guarded
