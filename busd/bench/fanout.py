"""Bench of the sign door: one board to N signs, against a bare loop of ``os.write`` over the very same sockets.

A child process holds the signs and reads everything, so that it costs the server what real signs would. Rounds of both
kinds alternate, which cancels most of the machine's noise; the clock is moved by hand, so that neither pace nor
refreshers come in between.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import select
import socket
import struct
import sys
from statistics import median
from time import perf_counter, process_time
from typing import Any

import uvloop

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.signs.messages import PATH, SUBPROTOCOL
from busd.signs.server import SignServer
from busd.types import Basis, Board, DatedTrip, Departure, LineAtStop, StopStatus
from gtfs.testing import network_from_map

AT = 1_795_000_000.0
WAIT_S = 60.0
_TOTAL = struct.Struct("!Q")


def run(connections: int = 2000, rounds: int = 40) -> dict[str, Any]:
    """Measure; about 10 s for 2,000 connections. Needs that many file descriptors here and in the child process."""
    _allow_files(connections)
    return uvloop.run(_run(connections, rounds))


def _allow_files(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < connections + 100:
        if hard < connections + 100:
            raise RuntimeError(
                f"{connections} connections need {connections + 100} file descriptors, the limit is {hard}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(connections: int, rounds: int) -> dict[str, Any]:
    network = network_from_map("A---B---C", {"8": "ABC"})
    clock, bus = ManualClock(AT), BoardBus(network)
    config = SignsConfig(host="127.0.0.1", port=0, max_connections=connections, hb=3600, grace=3600)
    server = SignServer(config, bus, clock, lambda sign, token: True)
    bus.publish([_board(1)])
    await server.start()
    gc.collect()
    before = _rss()
    signs = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "busd.bench.fanout", str(server.port), str(connections), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    try:
        assert signs.stdin is not None and signs.stdout is not None
        async with asyncio.timeout(WAIT_S):
            await signs.stdout.readexactly(_TOTAL.size)
        gc.collect()
        rss_per_sign = (_rss() - before) / connections
        files = [connection.fileno() for connection in server.connections.values()]

        async def drained(total: int) -> None:
            assert signs.stdin is not None and signs.stdout is not None
            signs.stdin.write(_TOTAL.pack(total))
            async with asyncio.timeout(WAIT_S):
                await signs.stdout.readexactly(_TOTAL.size)

        ours: list[tuple[float, float]] = []
        floor: list[tuple[float, float]] = []
        frame, total = b"", 0
        for rev in range(2, rounds + 4):
            board = _board(rev)
            clock.advance(1.5)
            wall, cpu = perf_counter(), process_time()
            bus.publish([board])
            ours.append((perf_counter() - wall, process_time() - cpu))
            frame = server.frames.board_frame("B", ("en",), 10, server.hub.now_ms()) or b""
            total += connections * len(frame)
            await drained(total)
            wall, cpu = perf_counter(), process_time()
            for file in files:
                os.write(file, frame)
            floor.append((perf_counter() - wall, process_time() - cpu))
            total += connections * len(frame)
            await drained(total)
        ours, floor = ours[2:], floor[2:]  # the first rounds are cold
        wall_ours, wall_floor = median(w for w, _ in ours), median(w for w, _ in floor)
        cpu_ours, cpu_floor = median(c for _, c in ours), median(c for _, c in floor)
        return {
            "bench": "fanout",
            "connections": connections,
            "rounds": rounds,
            "frame_bytes": len(frame),
            "messages_per_s": round(connections / wall_ours),
            "floor_messages_per_s": round(connections / wall_floor),
            "ratio_to_floor": round(wall_floor / wall_ours, 3),
            "cpu_us_per_message": round(cpu_ours / connections * 1e6, 2),
            "floor_cpu_us_per_message": round(cpu_floor / connections * 1e6, 2),
            "cpu_ratio_to_floor": round(cpu_floor / cpu_ours, 3),
            "burst_ms": round(wall_ours * 1e3, 1),
            "rss_per_idle_sign_bytes": round(rss_per_sign),
            "conflated": server.hub.conflated,
            "loop": type(asyncio.get_running_loop()).__module__,
        }
    finally:
        if signs.returncode is None:
            signs.kill()
        await signs.wait()
        await server.stop()


def _board(rev: int) -> Board:
    trip = DatedTrip(0, "20261118")
    departure = Departure(
        trip, 1, 0, 0, AT + 80, AT + 100 + 60 * rev, AT + 90, AT + 9000, Basis.REALTIME, StopStatus.OK, 7.0, 2, 640.0
    )  # fmt: skip
    return Board(1, "bench", rev, AT, 600.0, "live", [departure], [LineAtStop(0, 0, AT - 9000, AT + 9000)])


def _rss() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# ---- the child: signs that read everything -----------------------------------------------------------------------------


def _masked(payload: bytes) -> bytes:
    return bytes([0x81, 0x80 | len(payload)]) + b"\0\0\0\0" + payload  # masked with zeros; < 126 bytes


def _read_all(port: int, connections: int) -> None:
    """Connect as so many signs, report readiness, then report whenever the asked number of bytes has been read."""
    _allow_files(connections)
    request = (
        f"GET {PATH} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()
    poll, sockets = select.epoll(), {}
    for k in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        hello = b'{"type":"hello","v":1,"sign":"bench-%d","token":"","lang":["en"]}' % k
        sock.sendall(request + _masked(hello) + _masked(b'{"type":"sub","id":1,"stops":["B"]}'))
        answer = b""
        while b'"type":"board"' not in answer or not answer.endswith(b"}"):
            answer += sock.recv(65536)
        sock.setblocking(False)
        sockets[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLIN)
    out = sys.stdout.buffer
    out.write(_TOTAL.pack(connections))
    out.flush()
    control = sys.stdin.fileno()
    poll.register(control, select.EPOLLIN)
    buffer, total, wanted = bytearray(1 << 16), 0, 0
    while True:
        for file, _ in poll.poll():
            if file == control:
                asked = os.read(control, _TOTAL.size)
                if not asked:
                    return
                (wanted,) = _TOTAL.unpack(asked)
            else:
                total += sockets[file].recv_into(buffer)
        if wanted and total >= wanted:
            wanted = 0
            out.write(_TOTAL.pack(total))
            out.flush()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _read_all(int(sys.argv[1]), int(sys.argv[2]))
    else:
        print(json.dumps(run(), indent=1))
