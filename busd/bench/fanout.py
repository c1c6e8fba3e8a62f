"""Bench of the sign door: boards to N signs, against a bare loop of ``os.write`` over the very same sockets.

A child process holds the signs and reads everything (crowd.py), so that it costs the server what real signs would. Rounds
of both kinds alternate, and so does which of them comes first, which cancels most of the machine's noise; the clock is
moved by hand, so that neither pace nor refreshers come in between.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import os
import resource
import struct
import sys
from statistics import median
from time import perf_counter, process_time
from typing import Any

import uvloop

from busd.bench.crowd import Crowd, allow_files, monotonic
from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.signs.server import SignServer
from busd.types import Basis, Board, DatedTrip, Departure, LineAtStop, StopStatus
from gtfs.testing import network_from_map

AT = 1_795_000_000.0
STOPS = "ABCDEFGH"
COLD_ROUNDS = 3
PACE_S = 0.1
SIOCOUTQ = 0x5411
"""Linux: bytes in a socket's send queue"""
Measured = tuple[float, float]
"""wall s, CPU s"""


def run(connections: int = 10_000, rounds: int = 40) -> dict[str, Any]:
    """Measure; about a minute for 10,000 connections. Needs that many file descriptors here and in the child process."""
    allow_files(connections)
    return uvloop.run(_run(connections, rounds))


class Stage:
    """One server, its boards and its crowd of signs."""

    def __init__(self, connections: int) -> None:
        self.network = network_from_map("A---B---C---D---E---F---G---H", {"8": STOPS}, trips=20, headway_s=600)
        self.clock, self.bus = ManualClock(AT), BoardBus(self.network)
        self.config = SignsConfig(
            host="127.0.0.1", port=0, max_connections=connections, hb=3600, grace=3600, min_interval=PACE_S
        )
        self.rev = 1
        self.publish(STOPS)
        self.crowd: Crowd
        self.server: SignServer

    async def __aenter__(self) -> Stage:
        self.server = SignServer(self.config, self.bus, self.clock, lambda sign, token: True)
        await self.server.start()
        self.crowd = await Crowd.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.crowd.end()
        await self.server.stop()

    def publish(self, stops: str, departures: int = 1) -> None:
        """A new board of each stop, which goes out before this returns."""
        self.bus.publish([self._board(stop, departures) for stop in stops])

    def turn(self) -> None:
        """Time goes on, beyond the pace."""
        self.clock.advance(PACE_S * 1.1)
        self.rev += 1

    def frame(self, stop: str) -> bytes:
        return self.server.frames.board_frame(stop, ("en",), 10, self.server.hub.now_ms()) or b""

    def _board(self, stop: str, departures: int) -> Board:
        rows = [
            Departure(
                DatedTrip(k, "20261118"), 1, 0, 0, AT + 80, AT + 100 + 60 * (self.rev + k), AT + 90, AT + 90_000,
                Basis.REALTIME, StopStatus.OK, 7.0, 2, 640.0,
            )
            for k in range(departures)
        ]  # fmt: skip
        stop_idx = self.network.find_stop(stop)
        assert stop_idx is not None
        return Board(stop_idx, "bench", self.rev, AT, 600.0, "live", rows, [LineAtStop(0, 0, AT - 9000, AT + 9000)])


async def _run(connections: int, rounds: int) -> dict[str, Any]:
    async with Stage(connections) as stage:
        gc.collect()
        before = rss()
        await stage.crowd.ask("open", port=stage.server.port, signs=connections, stops=["B"])
        gc.collect()
        rss_per_sign = (rss() - before) / connections
        single = await _against_floor(stage, "B", connections, rounds)
        reconnect_s, reconnect_cpu_s = await _restart(stage, connections)
        conflated = stage.server.hub.conflated
        joined_signs = max(1, connections // 5)
        await stage.crowd.ask("close")
        await stage.crowd.ask("open", port=stage.server.port, signs=joined_signs, stops=list(STOPS[:5]))
        joined = await _against_floor(stage, STOPS[:5], joined_signs, rounds)
    deflate = await _deflated(max(1, connections // 5))
    async with Stage(connections) as stage:
        slow = await _slow_reader(stage, max(2, connections // 10), rounds)
    return {
        "bench": "fanout",
        "connections": connections,
        "rounds": rounds,
        **single,
        "rss_per_idle_sign_bytes": round(rss_per_sign),
        "conflated": conflated,
        "reconnect_all_s": round(reconnect_s, 2),
        "reconnect_server_cpu_s": round(reconnect_cpu_s, 2),
        "joined": {"connections": joined_signs, "boards_in_a_write": 5, **joined},
        "deflate": deflate,
        "slow_reader": slow,
        "loop": type(asyncio.get_running_loop()).__module__,
    }


async def _against_floor(stage: Stage, stops: str, connections: int, rounds: int) -> dict[str, Any]:
    """Boards of ``stops`` to every sign, and the same bytes by ``os.write``, by turns."""
    files = [connection.fileno() for connection in stage.server.connections.values()]
    ours: list[Measured] = []
    floor: list[Measured] = []
    data = b""
    for turn in range(rounds + COLD_ROUNDS):
        for step in (0, 1) if turn % 2 else (1, 0):
            stage.turn()
            if step:
                began = perf_counter(), process_time()
                stage.publish(stops)
                ours.append((perf_counter() - began[0], process_time() - began[1]))
                data = b"".join(map(stage.frame, stops))
            else:
                data = data or b"".join(map(stage.frame, stops))
                began = perf_counter(), process_time()
                for file in files:
                    os.write(file, data)
                floor.append((perf_counter() - began[0], process_time() - began[1]))
            await stage.crowd.ask("read", bytes_=connections * len(data))
    ours, floor = ours[COLD_ROUNDS:], floor[COLD_ROUNDS:]
    wall_ours, wall_floor = median(w for w, _ in ours), median(w for w, _ in floor)
    cpu_ours, cpu_floor = median(c for _, c in ours), median(c for _, c in floor)
    messages = connections * len(stops)
    return {
        "bytes_in_a_write": len(data),
        "messages_per_s": round(messages / wall_ours),
        "floor_messages_per_s": round(messages / wall_floor),
        "ratio_to_floor": round(wall_floor / wall_ours, 3),
        "cpu_us_per_message": round(cpu_ours / messages * 1e6, 2),
        "floor_cpu_us_per_message": round(cpu_floor / messages * 1e6, 2),
        "cpu_ratio_to_floor": round(cpu_floor / cpu_ours, 3),
        "burst_ms": round(wall_ours * 1e3, 1),
    }


async def _restart(stage: Stage, connections: int) -> Measured:
    """The server stops and starts again; every sign comes back at once. The time until the last one has its board."""
    port = stage.server.port
    stopping = asyncio.create_task(stage.server.stop())
    await asyncio.sleep(0)
    await stage.crowd.ask("close")
    await stopping
    stage.config = SignsConfig(
        host="127.0.0.1", port=port, max_connections=connections, hb=3600, grace=3600, min_interval=PACE_S
    )
    stage.server = SignServer(stage.config, stage.bus, stage.clock, lambda sign, token: True)
    began = monotonic(), process_time()
    await stage.server.start()
    await stage.crowd.ask("open", port=port, signs=connections, stops=["B"])
    return monotonic() - began[0], process_time() - began[1]


async def _deflated(connections: int) -> dict[str, Any]:
    """See deflated.py."""
    command = sys.executable, "-m", "busd.bench.deflated", str(connections)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the bench of compressed boards failed")
    result: dict[str, Any] = json.loads(output)
    return result


async def _slow_reader(stage: Stage, connections: int, rounds: int) -> dict[str, Any]:
    """One sign stops reading. What it costs, and what the others notice."""
    await stage.crowd.ask("open", port=stage.server.port, signs=connections, stops=["B"])
    for _ in range(COLD_ROUNDS):
        await _burst(stage, connections)
    quiet = [await _burst(stage, connections) for _ in range(rounds)]
    await stage.crowd.ask("stall", sign=0)
    stopped = stage.server.hub.signs["bench-0"]
    connection = stage.server.connections[stopped]
    held = queued = 0
    while not stopped.blocked:  # the kernels at both ends take what they can
        await _burst(stage, connections - 1)
    blocked_at = stage.clock.monotonic()
    disturbed = []
    for _ in range(rounds):
        disturbed.append(await _burst(stage, connections - 1))
        held = max(held, connection.held_bytes)
        queued = max(queued, _send_queue(connection.fileno()))
    while stopped in stage.server.connections:
        stage.clock.advance(0.25)
        stage.server.tick()
        await asyncio.sleep(0)
    aborted_after = stage.clock.monotonic() - blocked_at
    back = await stage.crowd.ask("open", port=stage.server.port, signs=1, stops=["B"])
    return {
        "connections": connections,
        "held_bytes": held,
        "kernel_send_queue_bytes": queued,
        "aborted_after_s": round(aborted_after, 1),
        "p99_ms_without": round(median(quiet) * 1e3, 2),
        "p99_ms_with": round(median(disturbed) * 1e3, 2),
        "p99_ratio": round(median(disturbed) / median(quiet), 3),
        "newest_board_after_return": back["revisions"] == [stage.rev],
    }


async def _burst(stage: Stage, connections: int) -> float:
    """One board of a real size to everybody; the time until 99 % have it, s."""
    stage.turn()
    began = monotonic()
    stage.publish("B", departures=10)
    answer = await stage.crowd.ask("read", bytes_=connections * len(stage.frame("B")))
    return float(answer["p99_at"]) - began


def _send_queue(file: int) -> int:
    (size,) = struct.unpack("i", fcntl.ioctl(file, SIOCOUTQ, b"\0\0\0\0"))
    return int(size)


def rss() -> int:
    """Resident memory of this process, bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
