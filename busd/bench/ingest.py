"""Bench of the JT/T 808 gateway: CPU of the server process for one acknowledged position, and memory of an idle terminal.

The floor is a bare `asyncio.BufferedProtocol` in the same run, on the same loop and driven by the same bytes: it splits
the stream at the flags and answers every frame with a ready-made acknowledgement. It checks, decodes and decides nothing.

Reports are fresh and a second apart, as those of a driving bus; ``late`` ones are stored reports sent a quarter of an
hour later.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import socket
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any, cast

from busd.clock import SystemClock
from busd.config import Jt808Config
from busd.feeds.jt808.frame import FrameReader, encode_frame, phone_bytes
from busd.feeds.jt808.message import MessageId, decode_registration_answer
from busd.feeds.jt808.terminal import encode_auth, encode_location, encode_registration
from busd.feeds.transport import READ_BYTES, serve_jt808
from busd.registry import DeviceRegistry
from busd.types import VehiclePosition

PHONE = 13_900_000_000
FRESH_S = 40
"""Reports of one terminal in one measurement: so many seconds around now are fresh to the gateway."""
LATE_S = 900.0


def run(links: int = 200, idle: int = 1500, repeats: int = 5) -> dict[str, Any]:
    """Positions of ``links`` terminals; microseconds of server CPU (user and system) per frame, medians of ``repeats``."""
    idle = min(idle, max(100, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200))
    out: dict[str, Any] = {"bench": "ingest", "loop": _loop_name(), "links": links}
    floors: dict[str, list[float]] = {name: [] for name, _, _ in _LOADS}
    ours: dict[str, list[float]] = {name: [] for name, _, _ in _LOADS}
    for _ in range(repeats):
        for name, per_read, late_s in _LOADS:
            for serve, figures in ((_serve_bare, floors), (_serve_gateway, ours)):
                with _Child(serve) as child, closing(_Driver(child.port, links, serve is _serve_gateway)) as driver:
                    figures[name].append(_measure(child, driver, per_read, late_s))
    for name, _, _ in _LOADS:
        mine, floor = statistics.median(ours[name]), statistics.median(floors[name])
        out[name] = {
            "cpu_us_per_frame": round(mine, 2),
            "frames_per_core_second": round(1e6 / mine),
            "floor_cpu_us_per_frame": round(floor, 2),
            "ratio_to_floor": round(mine / floor, 2),
        }
    out["idle_terminals"] = idle
    out["bytes_per_idle_terminal"] = round(_idle_bytes(_serve_gateway, idle))
    out["floor_bytes_per_connection"] = round(_idle_bytes(_serve_bare, idle))
    return out


_LOADS = (
    ("one_frame_per_read", 1, 0.0),
    ("ten_frames_per_read", 10, 0.0),
    ("ten_late_frames_per_read", 10, LATE_S),
)
"""name, frames in one write, age of the reports"""


# ---- the driver ------------------------------------------------------------------------------------------------------


class _Driver:
    """Blocking sockets of many terminals; sends a round to all, then reads all answers."""

    def __init__(self, port: int, links: int, login: bool) -> None:
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(links)]
        self.raws = [phone_bytes(str(PHONE + n)) for n in range(links)]
        for sock in self.sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(10.0)
        if login:
            for n in range(links):
                self._login(n)

    def _login(self, n: int) -> None:
        sock, raw = self.sockets[n], self.raws[n]
        sock.sendall(encode_frame(MessageId.REGISTER, raw, 0, encode_registration(f"BENCH{n:05d}")))
        (answer,) = FrameReader().receive_data(sock.recv(4096))
        granted = decode_registration_answer(getattr(answer, "body", b""))
        if granted is None or granted[1] != 0:
            raise RuntimeError("the gateway did not register a terminal")
        sock.sendall(encode_frame(MessageId.AUTHENTICATE, raw, 1, encode_auth(granted[2])))
        sock.recv(4096)

    def frames(self, rounds: int, per_read: int, start: float) -> list[list[bytes]]:
        """By round and terminal: what is sent in one write. Every report differs, as those of a driving bus do."""
        out, serial = [], 2
        for k in range(rounds):
            bodies = [
                encode_location(
                    36.0 + k / 1e4, 103.8 + i / 1e4, 8.0, 90.0, 1520.0, start + k * per_read + i, _ITEMS, odometer_m=1e6
                )
                for i in range(per_read)
            ]
            out.append(
                [
                    b"".join(encode_frame(MessageId.LOCATION, raw, serial + i, body) for i, body in enumerate(bodies))
                    for raw in self.raws
                ]
            )
            serial += per_read
        return out

    def play(self, rounds: Sequence[Sequence[bytes]], per_read: int) -> None:
        for frames in rounds:
            for sock, data in zip(self.sockets, frames):
                sock.sendall(data)
            for sock in self.sockets:
                flags = 0
                while flags < 2 * per_read:
                    data = sock.recv(65536)
                    if not data:
                        raise RuntimeError("the server closed a connection")
                    flags += data.count(b"~")

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


_ITEMS = ((0x03, b"\x00\x50"), (0x25, bytes(4)), (0x30, b"\x1c"), (0x31, b"\x11"))


def _measure(child: _Child, driver: _Driver, per_read: int, late_s: float) -> float:
    """Server CPU, microseconds per frame; the first reports warm up and do not count."""
    rounds, warming = FRESH_S // per_read, max(1, 5 // per_read)
    frames = driver.frames(rounds + warming, per_read, SystemClock().now() - FRESH_S / 2 - late_s)
    driver.play(frames[:warming], per_read)
    before = child.ask()[0]
    driver.play(frames[warming:], per_read)
    return (child.ask()[0] - before) / (rounds * len(driver.sockets) * per_read) * 1e6


def _idle_bytes(serve: _Serve, links: int) -> float:
    """Resident bytes of the server per connection that has logged in and says nothing."""
    with _Child(serve) as child, closing(_Driver(child.port, 50, serve is _serve_gateway)):
        before = child.ask()[1]
        driver = _Driver(child.port, links, serve is _serve_gateway)
        try:
            return (child.ask()[1] - before) / links
        finally:
            driver.close()


# ---- the servers, each in a process of its own -----------------------------------------------------------------------

_Serve = Callable[[], Coroutine[Any, Any, int]]


class _Child:
    """A server process; ``ask`` gives its CPU seconds and resident bytes."""

    def __init__(self, serve: _Serve) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_child, args=(serve, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.port: int = self._pipe.recv()

    def ask(self) -> tuple[float, int]:
        self._pipe.send(None)
        answer: tuple[float, int] = self._pipe.recv()
        return answer

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


def _child(serve: _Serve, pipe: Connection) -> None:
    async def main() -> None:
        pipe.send(await serve())
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def answer() -> None:
            try:
                pipe.recv()
                pipe.send((time.process_time(), _resident_bytes()))
            except (EOFError, OSError):
                ended.set()

        loop.add_reader(pipe.fileno(), answer)
        await ended.wait()
        loop.remove_reader(pipe.fileno())

    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if _loop_name() == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


async def _serve_gateway() -> int:
    def submit(positions: Sequence[VehiclePosition], historical: bool) -> None:
        """The line's part is not measured here."""

    config = Jt808Config(host="127.0.0.1", port=0, max_messages_per_s=10_000_000, max_pending_per_address=10_000)
    server = await serve_jt808(config, submit, SystemClock(), DeviceRegistry())
    _KEPT.append(server)
    return server.port


class _Bare(asyncio.BufferedProtocol):
    """Splits at the flags and answers; nothing else."""

    view = memoryview(bytearray(READ_BYTES))
    ack = encode_frame(MessageId.PLATFORM_ANSWER, phone_bytes(str(PHONE)), 1, bytes(5))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.rest = b""

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        parts = (self.rest + self.view[:nbytes].tobytes()).split(b"~")
        self.rest = parts.pop()
        frames = sum(1 for part in parts if part)
        if frames:
            self.transport.write(self.ack * frames)


async def _serve_bare() -> int:
    server = await asyncio.get_running_loop().create_server(_Bare, "127.0.0.1", 0, backlog=1024)
    _KEPT.append(server)
    port: int = server.sockets[0].getsockname()[1]
    return port


_KEPT: list[object] = []
"""Servers of this process: a loop does not hold them."""


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def _loop_name() -> str:
    try:
        import uvloop
    except ImportError:
        return "asyncio"
    return "uvloop" if uvloop else "asyncio"
