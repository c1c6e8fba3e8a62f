"""The HTTP doors from the sign's side (§8): events, polling, packs. Whatever fails raises and ends the session."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urljoin

import aiohttp
import orjson

from busd.clock import Clock
from busd.signs.reference.event_stream import EventStream
from busd.signs.reference.pack import MAX_BYTES as MAX_PACK
from busd.signs.reference.sign import Door, ReferenceSign

MAX_BOARD = 1 << 17
SILENCE_S = 45.0
"""The events door says something every 15 s [§8.1]; a proxy that holds it back is no way to a board."""
REQUEST_S = 30.0
MIN_POLL_S, MAX_POLL_S = 5.0, 200.0
_REVISION = re.compile(r'W/"([A-Za-z0-9_.]{1,32})-([0-9]{1,16})"')
_MAX_AGE = re.compile(r"max-age=([0-9]{1,6})")

Say = Callable[[str], None]


async def follow_events(base: str, sign: ReferenceSign, clock: Clock, say: Say) -> None:
    """One event stream a stop, until one of them ends. Raises OSError, ClientError, TimeoutError or ValueError."""
    sign.connected(clock.monotonic(), Door.SSE)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S, sock_read=SILENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=_headers(sign)) as session:
        tasks = [asyncio.create_task(_follow_one(session, base, stop, sign, clock, say)) for stop in sign.stops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if isinstance(error := task.exception(), OSError | aiohttp.ClientError | ValueError):
            raise OSError(str(error)) from None
        if error is not None:
            raise error


async def _follow_one(
    session: aiohttp.ClientSession, base: str, stop: str, sign: ReferenceSign, clock: Clock, say: Say
) -> None:
    held = sign.boards.get(stop)
    headers = {"Accept": "text/event-stream"}
    if held is not None:
        headers["Last-Event-ID"] = "{}-{}".format(*held.revision)
    async with session.get(_board_url(base, stop, sign, "/events"), headers=headers) as response:
        if response.status != 200 or response.content_type != "text/event-stream":
            raise OSError(f"no events here: {response.status}")
        say("connected (events)")
        stream = EventStream()
        async for data in response.content.iter_any():
            mono = clock.monotonic()
            sign.count_bytes(len(data), mono)
            for event in stream.feed(data):
                sign.receive(event.data, mono)
            if sign.bye is not None:
                return
    raise OSError("the stream ended")


async def poll_boards(base: str, sign: ReferenceSign, clock: Clock, say: Say) -> None:
    """Ask for every stop as often as the answers allow, for ever. Raises as `follow_events`."""
    sign.connected(clock.monotonic(), Door.POLLING)
    timeout = aiohttp.ClientTimeout(total=REQUEST_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=_headers(sign)) as session:
        while True:
            wait = MAX_POLL_S
            for stop in sign.stops:
                wait = min(wait, await _poll_one(session, base, stop, sign, clock))
            say("connected (polling)")
            await asyncio.sleep(max(wait, MIN_POLL_S))


async def _poll_one(session: aiohttp.ClientSession, base: str, stop: str, sign: ReferenceSign, clock: Clock) -> float:
    """Seconds until it is worth asking again."""
    held = sign.boards.get(stop)
    headers = {} if held is None else {"If-None-Match": 'W/"{}-{}"'.format(*held.revision)}
    async with session.get(_board_url(base, stop, sign), headers=headers) as response:
        mono = clock.monotonic()
        if response.status == 200:
            data = await _read(response, MAX_BOARD)
            sign.count_bytes(len(data), mono)
            sign.receive(data, mono)
        elif response.status == 304 and (same := same_of_headers(stop, response.headers)) is not None:
            sign.receive(same, mono)
        elif response.status == 404:
            sign.refused[stop] = "unknown_stop"
        else:
            raise OSError(f"no board here: {response.status}")
        found = _MAX_AGE.search(response.headers.get("Cache-Control", ""))
        return float(found[1]) if found else MIN_POLL_S


def same_of_headers(stop: str, headers: Mapping[str, str]) -> bytes | None:
    """A 304 says what a ``same`` says (§8.2); None if it does not say which board it means, or when."""
    revision = _REVISION.fullmatch(headers.get("ETag", ""))
    now, ttl = headers.get("Busd-Now", ""), headers.get("Busd-Ttl", "")
    if revision is None or not re.fullmatch(r"[0-9]{1,15}", now) or not re.fullmatch(r"[0-9]{1,4}(\.[0-9]+)?", ttl):
        return None
    epoch, rev = revision[1], int(revision[2])
    return orjson.dumps({"type": "same", "stop": stop, "epoch": epoch, "rev": rev, "now": int(now), "ttl": float(ttl)})


async def get_pack(base: str, url: str, sign: ReferenceSign, clock: Clock) -> bytes | None:
    """The body of an offline pack, None if it could not be had. Only from where the boards come from."""
    wanted = urljoin(base + "/", url)
    if not wanted.startswith(("http://", "https://")):
        return None
    timeout = aiohttp.ClientTimeout(total=4 * REQUEST_S, sock_connect=REQUEST_S, sock_read=REQUEST_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(wanted, headers=_headers(sign) if wanted.startswith(base + "/") else {}) as response,
        ):
            if response.status != 200:
                return None
            data = await _read(response, MAX_PACK)
            sign.count_bytes(response.content_length or len(data), clock.monotonic())
            return data
    except (OSError, aiohttp.ClientError, TimeoutError, ValueError):
        return None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body after decompression; ValueError beyond ``limit``."""
    parts = bytearray()
    async for chunk in response.content.iter_chunked(16384):
        parts += chunk
        if len(parts) > limit:
            raise ValueError(f"more than {limit} bytes")
    return bytes(parts)


def _board_url(base: str, stop: str, sign: ReferenceSign, tail: str = "") -> str:
    name = quote(stop, safe="").replace(".png", "%2Epng")
    return f"{base}/v1/boards/{name}{tail}?lang={quote(','.join(sign.langs))}&max_deps={sign.max_deps}"


def _headers(sign: ReferenceSign) -> dict[str, str]:
    return {"Authorization": f"Bearer {sign.token}"} if sign.token else {}
