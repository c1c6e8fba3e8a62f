"""Bench of the whole way: a position is read from a terminal's socket -> the board it changed is written to the signs.

The demo city drives at real speed: its fleet in one process, the signs in another, the daemon measured in this one. A
sample is a board frame written in the flush of a tick: the instant after that flush minus the receipt of the OLDEST
position that waited for the tick, so no frame is charged too little. Frames that the signs' pace (min_interval) held
back are counted apart, and so are ticks whose changes hysteresis kept from the boards; answers to a sign's ``sub`` are
no samples. ``tick_ms`` leaves out the wait for the 100 ms grid: grid point -> written.

The floor is a bare asyncio server in the same run: bytes from a TCP connection -> the same number of ready-made
WebSocket frames of the same size written to that many connections, held by the same process as the signs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import msgspec
import uvloop

from busd import metrics
from busd.clock import SystemClock
from busd.daemon import Daemon
from busd.feeds.transport import Jt808Server, serve_jt808
from busd.registry import DeviceRegistry
from busd.signs.messages import PATH, SUBPROTOCOL
from busd.types import Output, VehiclePosition
from replay.city.demo import TOKEN, DemoOptions, demo_config, fleet_process
from replay.city.feed import SHANGHAI, write_feed
from replay.city.fleet import FleetOptions
from replay.city.timetable import make_plan

WAIT_S = 60.0
SETTLE_S = 5.0
"""after the last sign has its board, before the measurement: connects and catch-up are over"""
FLOOR_ROUNDS = 200


def run(seconds: float = 25.0, buses: int = 120, signs: int = 200) -> dict[str, Any]:
    """Measure for ``seconds`` after everything is connected; about 20 s more for the start."""
    return uvloop.run(_run(seconds, buses, signs))


class Probe:
    """Looks on inside the daemon's loop."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.on = False
        self.samples: list[float] = []
        """received -> written, s; one a board frame"""
        self.tick_samples: list[float] = []
        self.positions = 0
        self.frames_a_flush: list[int] = []
        self._waiting: list[tuple[float, float]] = []
        """(ticks so far, received at) of positions since the last tick that changed boards"""
        self._frames = 0

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        self.daemon.line.submit(positions, historical)
        if not historical:
            ticks = _value(metrics.TICKS)
            self._waiting += ((ticks, position.received_at) for position in positions)
            self.positions += len(positions) * self.on

    def before(self, outputs: Sequence[Output]) -> None:
        """Before the boards of an input are published: what the pace had held back is written by now."""
        self._frames = _board_frames()

    def flushed(self) -> None:
        """After the sign server has written what a tick has changed. A tick is counted when it is over, so positions
        that were submitted under the same count are the ones it used."""
        now, ticks = self.daemon.clock.now(), _value(metrics.TICKS)
        written = _board_frames() - self._frames
        used = [received_at for count, received_at in self._waiting if count == ticks]
        self._waiting.clear()
        if self.on and used and written:
            self.samples += [now - min(used)] * written
            self.tick_samples += [now - self.daemon.line.applied_at] * written
            self.frames_a_flush.append(written)


def _board_frames() -> int:
    return round(_value(metrics.SIGN_FRAMES.labels("board")))


async def _run(seconds: float, buses: int, signs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="busd-bench-") as folder:
        config = demo_config(DemoOptions(web_port=0, sign_port=0, jt808_port=0), Path(folder), {})
        config = msgspec.structs.replace(config, jt808=msgspec.structs.replace(config.jt808, enabled=False))
        clock = SystemClock()
        timezone = _morning_zone(clock.now())
        write_feed(make_plan(config.demo.seed, buses), config.gtfs.path, timezone)
        daemon = Daemon(config, clock)
        stop, up = asyncio.Event(), asyncio.Event()
        async with fleet_process(FleetOptions(buses=buses, timezone=timezone)) as fleet:
            life = asyncio.create_task(daemon.run(stop, lambda _: up.set()), name="daemon")
            try:
                await _either(up.wait(), life)
                return await _measure(daemon, fleet, seconds, buses, signs)
            finally:
                stop.set()
                await life


async def _measure(
    daemon: Daemon, fleet: asyncio.subprocess.Process, seconds: float, buses: int, signs: int
) -> dict[str, Any]:
    probe = Probe(daemon)
    daemon.line.sinks.insert(0, probe.before)
    gateway_config = msgspec.structs.replace(daemon.config.jt808, enabled=True)
    gateway: Jt808Server = await serve_jt808(gateway_config, probe.submit, daemon.clock, DeviceRegistry())
    assert fleet.stdin is not None
    fleet.stdin.write(b"%d\n" % gateway.port)
    stops = [stop_id for stop_id, _ in daemon.bus.boards()]
    async with _signs() as child:
        assert child.stdin is not None
        wanted = [stops[i % len(stops)] for i in range(signs)]
        child.stdin.write(json.dumps({"port": daemon.signs.port, "stops": wanted}).encode() + b"\n")
        async with asyncio.timeout(WAIT_S):
            while daemon.signs.connected < signs or daemon.health()["vehicles"] < buses * 0.9:
                await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)
        daemon.bus.on_flush(probe.flushed)
        frames, sent_bytes, ticks = _board_frames(), _value(metrics.SIGN_BYTES), _value(metrics.TICKS)
        probe.on, began = True, perf_counter()
        await asyncio.sleep(seconds)
        async with asyncio.timeout(WAIT_S):
            while not probe.samples:  # a machine that has other work shows nothing in a short while
                await asyncio.sleep(0.1)
        probe.on, took = False, perf_counter() - began
        frames, sent_bytes = _board_frames() - frames, _value(metrics.SIGN_BYTES) - sent_bytes
        ticks = _value(metrics.TICKS) - ticks
        daemon.bus.off_flush(probe.flushed)
        await gateway.close()
        width = max(1, round(sum(probe.frames_a_flush) / max(len(probe.frames_a_flush), 1)))
        size = round(sent_bytes / max(frames, 1))
        floor = await _floor(child, width, size)
    out: dict[str, Any] = {
        "bench": "e2e",
        "buses": buses,
        "signs": signs,
        "seconds": round(took, 1),
        "positions": probe.positions,
        "board_frames": frames,
        "held_by_pace": frames - len(probe.samples),
        "ticks": round(ticks),
        "ticks_with_frames": len(probe.frames_a_flush),
        "received_to_written_ms": _quantiles(probe.samples),
        "tick_ms": _quantiles(probe.tick_samples),
        "floor_ms": _quantiles(floor) | {"frames": width, "bytes": size},
    }
    out["ratio_to_floor"] = round(_quantile(probe.samples, 0.99) / _quantile(floor, 0.99), 1)
    out["tick_ratio_to_floor"] = round(_quantile(probe.tick_samples, 0.99) / _quantile(floor, 0.99), 1)
    return out


def _morning_zone(now: float) -> str:
    """It is about ten there, after the rush: all buses are out and stay out."""
    offset_h = round((10 * 3600 - now % 86400) / 3600)
    offset_h = offset_h + 24 if offset_h < -12 else offset_h
    return f"Etc/GMT{-offset_h:+d}" if offset_h not in (0, 8) else {0: "Etc/GMT", 8: SHANGHAI}[offset_h]


async def _either(wanted: Any, life: asyncio.Task[None]) -> None:
    """Wait for ``wanted``; if the daemon ends first, raise what it died of."""
    waiting = asyncio.ensure_future(wanted)
    async with asyncio.timeout(WAIT_S):
        await asyncio.wait((waiting, life), return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        waiting.cancel()
        life.result()
        raise RuntimeError("the daemon ended by itself")


def _value(counter: Any) -> float:
    (family,) = counter.collect()
    return float(next(sample.value for sample in family.samples if sample.name.endswith("_total")))


def _quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * q), len(ordered) - 1)]


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(_quantile(seconds, q / 100) * 1000, 3) for q in (50, 90, 99)} if seconds else {}


# ---- the floor -------------------------------------------------------------------------------------------------------


async def _floor(child: asyncio.subprocess.Process, width: int, size: int) -> list[float]:
    """Seconds from bytes read to ``width`` frames of ``size`` bytes written, by a server that does nothing else."""
    loop = asyncio.get_running_loop()
    sinks: list[asyncio.Transport] = []
    samples: list[float] = []
    ready = asyncio.Event()
    frame = _text_frame(b"x" * size)

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of asyncio's

        def data_received(self, data: bytes) -> None:
            if data == b"sink\n":
                sinks.append(self.transport)
                if len(sinks) == width:
                    ready.set()
                return
            start = perf_counter()
            for sink in sinks:
                sink.write(frame)
            samples.append(perf_counter() - start)

    server = await loop.create_server(Bare, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert child.stdin is not None
    child.stdin.write(json.dumps({"port": port, "sinks": width}).encode() + b"\n")
    async with asyncio.timeout(WAIT_S):
        await ready.wait()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        for i in range(FLOOR_ROUNDS):
            writer.write(b"p" * 60)
            while len(samples) <= i:
                await asyncio.sleep(0.005)
        writer.close()
    server.close()
    return samples


def _text_frame(payload: bytes) -> bytes:
    """One unmasked WebSocket text frame (RFC 6455, 5.2) of up to 64 KiB."""
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + payload


# ---- the other end ---------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _signs() -> AsyncIterator[asyncio.subprocess.Process]:
    """The process that holds the signs; it ends with its standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "busd.bench.e2e", stdin=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5.0)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _sign(port: int, number: int, stop_id: str) -> None:
    """Says hello, subscribes, reads for ever, shows that it lives."""
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    async with connect(
        f"ws://127.0.0.1:{port}{PATH}", subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, proxy=None
    ) as socket:
        hello = {"type": "hello", "v": 1, "sign": f"BENCH-{number}", "token": TOKEN, "lang": ["zh-Hans", "en"]}
        await socket.send(json.dumps(hello))
        await socket.send(json.dumps({"type": "sub", "id": 1, "stops": [stop_id]}))

        async def beat() -> None:
            seq = 0
            while True:
                await asyncio.sleep(20.0)
                seq += 1
                await socket.send(json.dumps({"type": "hb", "seq": seq, "mono": seq * 20_000, "t": None}))

        heart = asyncio.create_task(beat())
        try:
            async for _ in socket:
                pass
        finally:
            heart.cancel()


async def _sink(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"sink\n")
    while await reader.read(65536):
        pass


async def _other_end() -> None:
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    tasks: list[asyncio.Task[None]] = []
    while line := await orders.readline():
        order = json.loads(line)
        for number, stop_id in enumerate(order.get("stops", ())):
            tasks.append(asyncio.create_task(_sign(order["port"], number, stop_id)))
        tasks += [asyncio.create_task(_sink(order["port"])) for _ in range(order.get("sinks", 0))]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_other_end())
