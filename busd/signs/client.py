"""The rim of the reference sign: one render loop, one connection at a time, one fetcher of packs.

All decisions are those of `busd.signs.reference`; here bytes are moved. `busd sign` puts a terminal screen on top.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol

from busd.clock import Clock
from busd.signs.client_http import follow_events, get_pack, poll_boards
from busd.signs.client_store import SignStore
from busd.signs.messages import PATH, SUBPROTOCOL, CloseCode
from busd.signs.reference.boards import Glass
from busd.signs.reference.sign import Door, ReferenceSign

MAX_MESSAGE = 1 << 17
OPEN_S = 15.0
SEND_S = 10.0
CLOSE_S = 5.0
RESTART_S = 1.0
MAX_TROUBLE = 100
PATIENCE = 3
"""WebSocket attempts in a row before the other doors get their turn: some networks let no upgrade through."""
HTTP_DOOR_S = 300.0
"""Then the WebSocket is tried again: only there does the server hear that the sign is alive."""
PACK_LOOK_S = 2.0
PACK_SPREAD_S = 30.0
"""A whole fleet learns of its packs in the same second."""

Render = Callable[[ReferenceSign, Sequence[Glass]], None]
"""Puts the glasses of all stops on the panel. What it raises is reported to the server in the place of an ack."""

log = structlog.get_logger(__name__)


def websocket_url(url: str) -> str:
    """``ws://host:port`` with or without the path; http(s) is understood as ws(s)."""
    scheme, _, rest = url.rpartition("://")
    scheme = {"": "ws", "http": "ws", "https": "wss"}.get(scheme, scheme)
    return f"{scheme}://{rest if rest.endswith(PATH) else rest.rstrip('/') + PATH}"


def origin_of(url: str) -> str:
    """The HTTP origin of the sign door."""
    return "http" + websocket_url(url).removesuffix(PATH).removeprefix("ws")


@dataclass
class SignRim:
    """Keeps ``sign`` connected and its glass drawn until cancelled: ``await run()``."""

    url: str
    sign: ReferenceSign
    clock: Clock
    render: Render
    http: str = ""
    """base URL of the HTTP doors; else what ``welcome`` said, else the sign door's own host and port"""
    doors: Sequence[Door] = tuple(Door)
    """the first one is used as long as it works, and tried again in between"""
    deflate: bool = True
    tick_s: float = 0.25
    store: SignStore | None = None
    dice: Callable[[], float] = random.random
    status: str = "starting"
    """for people"""
    _told_http: str = ""
    _trouble: str = ""
    """why the last connection ended, for people"""
    _link: ClientConnection | None = None
    _outbox: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        if self.store is not None:
            self.store.load(self.sign)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._turns(), name="render")
            tasks.create_task(self._stay_connected(), name="connection")
            tasks.create_task(self._fetch_packs(), name="packs")

    # ---- the render loop ---------------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        while True:
            self.turn()
            await asyncio.sleep(self.tick_s)

    def turn(self) -> None:
        """One round: what is due, then the glass."""
        began = self.clock.monotonic()
        if not self.sign.tick(began):
            self._drop()
        glasses = [self.sign.glass(stop, began) for stop in self.sign.stops]
        problem: str | None = None
        try:
            self.render(self.sign, glasses)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            log.warning("not_drawn", error=problem)
        mono = self.clock.monotonic()
        for glass in glasses:
            self.sign.drawn(glass, mono, int((mono - began) * 1000), problem)
        self._outbox.set()

    def restart(self) -> None:
        """Leave as after a power cut, and come back: what was to be sent is still sent."""
        asyncio.get_running_loop().call_later(RESTART_S, self._drop)

    def _drop(self) -> None:
        if self._link is not None:
            self._link.transport.abort()

    # ---- connections -------------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        while True:
            door = self._next_door()
            self.status = f"connecting ({door.value})"
            code = await self._session(door)
            wait = self.sign.disconnected(code, self.dice())
            why = f" ({self._trouble})" if self._trouble else ""
            self.status = f"no connection, next attempt in {wait:.0f} s{why}"
            log.debug("disconnected", door=door.value, code=code, wait_s=round(wait, 1))
            await asyncio.sleep(wait)

    def _next_door(self) -> Door:
        turn, others = self.sign.failures - PATIENCE, self.doors[1:]
        if turn < 0 or turn % 2 or not others:
            return self.doors[0]  # every other time: an outage is more likely than a network without upgrades
        return others[turn // 2 % len(others)]

    async def _session(self, door: Door) -> int | None:
        """One connection from its beginning to its end; the close code if one was received."""
        self._trouble = ""
        try:
            if door is Door.WEBSOCKET:
                await self._websocket()
            else:
                follow = follow_events if door is Door.SSE else poll_boards
                async with asyncio.timeout(HTTP_DOOR_S):
                    await follow(self.base_url, self.sign, self.clock, self._say_status)
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd is not None else None
            self._trouble = f"closed with {code}{_name(code)}" if code else ""
            return code
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError, aiohttp.ClientError, ValueError) as error:
            self._trouble = (str(error) or type(error).__name__)[:MAX_TROUBLE]
            log.debug("connection_failed", door=door.value, error=self._trouble)
        return None

    def _say_status(self, status: str) -> None:
        self.status = status

    async def _websocket(self) -> None:
        sign, clock = self.sign, self.clock

        class Counted(ClientConnection):
            """Tells the sign of pings, which count as a sign of life, and of every byte."""

            def process_event(self, event: Frame | Response) -> None:  # type: ignore[override]
                if isinstance(event, Frame) and event.opcode is Opcode.PING:
                    sign.heard(clock.monotonic())
                super().process_event(event)

            def data_received(self, data: bytes) -> None:
                sign.count_bytes(len(data), clock.monotonic())
                super().data_received(data)

        async with connect(
            websocket_url(self.url),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression="deflate" if self.deflate else None,
            create_connection=Counted,
            max_size=MAX_MESSAGE,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=None,  # the heartbeat is ours, and comes from the render loop
            proxy=None,
        ) as socket:
            sign.connected(clock.monotonic())
            if socket.subprotocol != SUBPROTOCOL:
                sign.must_drop = True  # the server did not say that it speaks this protocol [1]
                return
            self._link = socket
            sender = asyncio.create_task(self._send(socket), name="send")
            try:
                while True:
                    data = await socket.recv(decode=False)
                    sign.receive(data, clock.monotonic())
                    if sign.welcome is not None:
                        self.status = "connected"
                        told = sign.welcome.get("http")
                        self._told_http = told if isinstance(told, str) else self._told_http
                    self._outbox.set()
            finally:
                self._link = None
                sender.cancel()
                # not `await sender`: a cancellation of ours that comes meanwhile must not be taken for the sender's
                await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            for message in self.sign.messages_to_send():
                self.sign.count_bytes(len(message) + 8, self.clock.monotonic())
                try:
                    await asyncio.wait_for(socket.send(message, text=True), SEND_S)
                except TimeoutError:
                    socket.transport.abort()
                    return
            await self._outbox.wait()
            self._outbox.clear()

    # ---- packs -------------------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        return (self.http or self._told_http or origin_of(self.url)).rstrip("/")

    async def _fetch_packs(self) -> None:
        begin = self.clock.monotonic() + self.dice() * PACK_SPREAD_S
        while True:
            mono = self.clock.monotonic()
            hurry = self.sign.zone is None  # the other doors do not say it: the pack does
            for stop, pack_id, url in self.sign.wanted_packs(mono) if hurry or mono >= begin else ():
                data = await get_pack(self.base_url, url, self.sign, self.clock)
                good = self.sign.pack_received(stop, pack_id, data, self.clock.monotonic())
                log.debug("pack", stop=stop, good=good, bytes=len(data or b""))
                if good and data is not None and self.store is not None:
                    self.store.keep_pack(stop, pack_id, data)
            if self.store is not None:
                self.store.save(self.sign)
            await asyncio.sleep(PACK_LOOK_S)


def _name(code: int) -> str:
    """What a close code of the protocol says, for people."""
    try:
        return " " + CloseCode(code).name.lower().replace("_", " ")
    except ValueError:
        return ""


async def run_sign(url: str, sign: ReferenceSign, clock: Clock, render: Render, tick_s: float = 0.25) -> None:
    """Keep ``sign`` connected to ``url`` (``ws://host:port``) and its glass drawn, until cancelled."""
    await SignRim(url, sign, clock, render, tick_s=tick_s).run()
