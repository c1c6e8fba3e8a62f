"""Live and replay are the same engine: a journal gives the same outputs again, and nothing looks ahead."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gtfs
from busd.clock import ManualClock
from busd.engine import Engine
from busd.feeds.tides import read_positions
from busd.journal import Journal
from busd.line import Line
from busd.types import NetworkLoaded, Started, VehiclePosition
from gtfs.network import Network
from replay.digest import OutputDigest
from replay.runner import ReplayRun

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "../shared/data/wmata-2026-02-16/small"
needs_data = pytest.mark.skipif(not SMALL.is_dir(), reason="needs ../shared/data")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def network(cache: Path) -> Network:
    return gtfs.load_network(SMALL / "gtfs.zip", cache)


def arrivals(seed: int, count: int) -> list[tuple[float, VehiclePosition]]:
    """The first positions of a recorded day as a bad network would bring them: 0 to 40 s late, some twice."""
    dice = random.Random(seed)
    rows = [row for row in read_positions(SMALL / "positions.csv.gz") if isinstance(row, VehiclePosition)][:count]
    sent = []
    for row in rows:
        for _ in range(2 if dice.random() < 0.05 else 1):
            at = row.measured_at + dice.choice([0.0, 0.013, dice.uniform(0, 2), dice.uniform(0, 40)])
            sent.append((at, msgspec.structs.replace(row, received_at=at)))
    return sorted(sent, key=lambda item: item[0])


@needs_data
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_journal_of_a_live_line_gives_its_outputs_again(
    cache: Path, network: Network, tmp_path: Path, seed: int
) -> None:
    sent = arrivals(seed, 500)
    clock = ManualClock(sent[0][0] - 5.0)
    live = OutputDigest()
    journal = Journal(tmp_path / "journal", {"network": network.digest})
    line = Line(Engine(lambda digest: network), journal, clock, [live.add])
    line.take([Started(line.now(), epoch=f"e{seed}"), NetworkLoaded(line.now(), digest=network.digest)])
    dice = random.Random(seed)
    for at, position in sent:
        while dice.random() < 0.5 and clock.now() < at - 0.2:  # the loop's timer, now and then
            clock.advance(min(dice.uniform(0.01, 5.0), at - clock.now()))
            line.now()
        clock.advance(max(0.0, at - clock.now()))
        line.submit([position])
    for _ in range(40):
        clock.advance(7.77)
        line.now()
    line.stop()
    journal.close()

    summary = ReplayRun(
        gtfs=SMALL / "gtfs.zip", journal=tmp_path / "journal", out=tmp_path / "out", cache_dir=cache
    ).run()
    assert summary["positions"]["read"] == len(sent)
    assert summary["inputs"]["Tick"] > 200
    assert sum(summary["outputs"].values()) == live.count > 2000
    assert summary["digests"]["outputs"] == live.hexdigest()


@needs_data
def test_the_seed_of_hashes_changes_no_byte(cache: Path, tmp_path: Path, network: Network) -> None:
    made = []
    for seed in ("0", "4711"):
        out = tmp_path / seed
        command = [sys.executable, "-m", "replay.cli", "run", "--cache-dir", str(cache), "--out", str(out)]
        command += ["--gtfs", str(SMALL / "gtfs.zip"), "--positions", str(SMALL / "positions.csv.gz")]
        command += ["--until", "2026-02-16T11:45:00-05:00"]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        files = {p.name: p.read_bytes() for p in sorted(out.glob("*.csv.gz"))}
        made.append((json.loads((out / "summary.json").read_text())["digests"], files))
    assert len(made[0][1]) == 4
    assert made[0] == made[1]


def rows_up_to(path: Path, until: float) -> list[str]:
    with gzip.open(path, "rt") as lines:
        next(lines)
        return [line for line in lines if float(line.split(",", 1)[0]) <= until]


@needs_data
@pytest.mark.parametrize("hide_trips", [False, True])
def test_a_cut_file_gives_the_same_predictions_up_to_the_cut(cache: Path, tmp_path: Path, hide_trips: bool) -> None:
    times = [row.received_at for row in read_positions(SMALL / "positions.csv.gz") if isinstance(row, VehiclePosition)]

    def run(name: str, until: float | None) -> Path:
        options: dict[str, Any] = {"hide_trips": hide_trips, "until": until, "cache_dir": cache}
        job = ReplayRun(
            gtfs=SMALL / "gtfs.zip", positions=(SMALL / "positions.csv.gz",), out=tmp_path / name, **options
        )
        job.run()
        return job.out

    cuts = [times[200] + 0.05, times[450], times[700] + 11.3][int(hide_trips) :]
    whole = run("whole", times[900])
    for k, cut in enumerate(cuts):
        part = run(f"cut{k}", cut)
        assert rows_up_to(whole / "predictions.csv.gz", cut) == rows_up_to(part / "predictions.csv.gz", cut)
        held = gzip.decompress((part / "vehicle_locations.csv.gz").read_bytes()).splitlines()
        all_held = gzip.decompress((whole / "vehicle_locations.csv.gz").read_bytes()).splitlines()
        # a fix is applied at the grid point after it: those of the last 100 ms may still see a later one
        sure = sum(at <= cut - 0.1 for at in times) + 1
        assert held[:sure] == all_held[:sure]
