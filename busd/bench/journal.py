"""What a day of positions costs on disk: bytes a position in a sealed segment, ticks included. The floor is zstd over
the plain records of the same inputs."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import zstandard

from busd.journal import Journal, read, seal, segments
from busd.types import AnyInput, PositionReceived, Tick, TripHint, VehiclePosition

START = 1_772_400_000.0
GIGABYTE = 1e9


def run(vehicles: int = 10_000, seconds: int = 120) -> dict[str, Any]:
    """Journals ``seconds`` of a fleet that reports every 10 s each, seals it, reads it back."""
    inputs = _inputs(vehicles, seconds)
    with tempfile.TemporaryDirectory(prefix="busd-bench-") as name:
        folder = Path(name)
        journal = Journal(folder, {})
        began = perf_counter()
        for start in range(0, len(inputs), 100):
            journal.append_many(inputs[start : start + 100])
        append_s = perf_counter() - began
        journal.close()
        open_bytes = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
        for segment in segments(folder):
            seal(segment.path)
        sealed = sum(segment.path.stat().st_size for segment in segments(folder))
        began = perf_counter()
        same = all(a == b for (_, a), b in zip(read(folder), inputs, strict=True))
        read_s = perf_counter() - began
    plain = b"".join(map(msgspec.msgpack.encode, inputs))
    floor = len(zstandard.ZstdCompressor(level=3).compress(plain))
    positions = sum(isinstance(entry, PositionReceived) for entry in inputs)
    a_day = positions / seconds * 86400
    return {
        "positions": positions,
        "ticks": len(inputs) - positions,
        "read_back_equal": same,
        "bytes_a_position": round(sealed / positions, 2),
        "gb_a_day": round(sealed / positions * a_day / GIGABYTE, 2),
        "positions_a_second": round(positions / seconds),
        "open_bytes_a_position": round(open_bytes / positions, 1),
        "floor_zstd_bytes_a_position": round(floor / positions, 2),
        "ratio_to_floor": round(sealed / floor, 3),
        "append_us": round(append_s / len(inputs) * 1e6, 2),
        "read_us": round(read_s / len(inputs) * 1e6, 2),
    }


def _inputs(vehicles: int, seconds: int) -> list[AnyInput]:
    """Buses that wander; receipt some milliseconds after the device's whole second, as terminals report."""
    dice = random.Random(808)
    place = [(36.0 + dice.uniform(0, 0.1), 103.6 + dice.uniform(0, 0.3), dice.uniform(0, 360)) for _ in range(vehicles)]
    inputs: list[AnyInput] = []
    a_tick = vehicles // 100
    for k in range(seconds * 10):
        at = START + k / 10
        for i in range(a_tick):
            bus = (k * a_tick + i) % vehicles
            lat, lon, heading = place[bus]
            lat, lon = round(lat + dice.gauss(0, 3e-4), 6), round(lon + dice.gauss(0, 3e-4), 6)
            heading = (heading + dice.gauss(0, 15)) % 360
            place[bus] = (lat, lon, heading)
            received = at + dice.random() / 10
            inputs.append(
                PositionReceived(
                    received,
                    VehiclePosition(
                        "jt808",
                        f"A-{bus:05d}",
                        lat,
                        lon,
                        float(int(received) - 1),
                        received,
                        bearing_deg=float(round(heading)),
                        speed_mps=round(max(dice.gauss(7, 4), 0.0), 1),
                        odometer_m=float(round(1e6 + bus * 100 + k)) * 100,
                        hint=TripHint(trip_id=f"trip-{bus % 3000}"),
                    ),
                )
            )
        inputs.append(Tick(round(at + 0.1, 1)))
    return inputs
