"""The operators' office for the signs: the page ``/signs``, its live feed and its API, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from busd.signs.control import SignControl
from busd.signs.fleet import Fleet
from busd.signs.mirror import Mirror
from busd.web.assets import Assets
from busd.web.operators import OperatorAccess
from busd.web.signs_admin import CommandDoor, SignAdmin
from busd.web.signs_live import MirrorDoor, Pages

if TYPE_CHECKING:
    from busd.web.services import WebServices


@dataclass(frozen=True)
class SignOffice:
    """What the office needs besides the other services. ``commands`` takes orders to signs, ``flush`` sends them."""

    control: SignControl
    admin_token: str = ""
    commands: CommandDoor | None = None
    flush: Callable[[], None] = lambda: None

    def add_to(self, app: web.Application, services: WebServices, assets: Assets, public_url: str) -> None:
        access = OperatorAccess(self.control.registry, self.admin_token)
        fleet = Fleet(self.control, lambda: services.bus.network)
        mirror = Mirror(services.bus, services.frames, self.control.modes, services.clock)
        live = MirrorDoor(Pages(self.control, fleet, mirror, services), access, services, public_url)
        SignAdmin(self.control, fleet, access, services.clock, self.commands, self.flush).add_to(app)
        app.router.add_get("/v1/admin/live", live.handle, allow_head=False)
        app.router.add_get("/signs", assets.signs)

        async def goodbye(_: web.Application) -> None:
            await live.close()

        app.on_shutdown.append(goodbye)
