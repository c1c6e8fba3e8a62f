"""The baselines: formulas worked by hand, no look-ahead, and agreement with an independent implementation."""

from __future__ import annotations

import csv
import datetime as dt
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gtfs
from gtfs.calendar import service_day_start
from gtfs.testing import frame_of_map, network_from_map
from replay.baselines import GOLDEN, METHODS, LinkMemory, _begin, run_baselines
from replay.logs import Grid, PredictionRows, call_of, count_ghosts, latest_words, read_predictions
from replay.score import score
from replay.truth import Fixes, derive_passages, read_fixes

MAP = "A---B---C---D"
PLACES = frame_of_map(MAP)
NETWORK = network_from_map(MAP, {"1": "ABCD"}, trips=12, headway_s=300)
DAY = dt.date(2026, 3, 2).toordinal()
START = service_day_start(DAY, "Asia/Shanghai") + 8 * 3600
SHARED = Path(__file__).parents[2] / "../shared"


def fixes(*drives: tuple[int, float, float], every: float = 10.0) -> Fixes:
    """(trip, late at the start, speed); a bus each."""
    rows = []
    for bus, (trip, late, speed) in enumerate(drives):
        begin = START + 300 * trip + late
        for t in np.arange(-30.0, 1200 / speed + 30, every):
            metres = min(max(0.0, t * speed), 1199.9)
            rows.append(
                (
                    begin + t,
                    *PLACES.between("ABCD"[int(metres // 400)], "ABCD"[int(metres // 400) + 1], metres % 400 / 400),
                    trip,
                    bus,
                )
            )
    rows.sort()
    at, lat, lon, trip, bus = (np.array(column) for column in zip(*rows))
    return Fixes(
        at, lat, lon, trip.astype(int), np.full(len(at), DAY), bus.astype(int), [f"bus{k}" for k in range(len(drives))]
    )


def said(log: PredictionRows, trip: int, pos: int) -> list[tuple[float, float]]:
    """(made, told) of a call, seconds after the trip's scheduled start."""
    call = call_of(np.array([DAY]), np.array([int(NETWORK.trip_time_offset[trip]) + pos]), NETWORK)[0]
    zero = START + 300 * trip
    return [(m - zero, p - zero) for c, m, p in zip(log.call, log.made_at, log.p50) if c == call]


def logs(of: Fixes) -> dict[str, PredictionRows]:
    return {log.name: log for log in run_baselines(of, NETWORK)[0]}


def test_schedule_and_schedule_plus_delay() -> None:
    """A bus that leaves 60 s late and then runs as planned (50 s a link)."""
    got = logs(fixes((0, 60.0, 8.0)))
    assert {told for _, told in said(got["B0"], 0, 3)} == {150.0}
    on_the_way = [told for made, told in said(got["B1"], 0, 3) if made > 80]
    assert on_the_way == pytest.approx([210.0] * len(on_the_way), abs=3.0)
    waiting = dict(said(got["B1"], 0, 0))
    assert waiting[30.0] == pytest.approx(30.0)  # overdue: it leaves now at the earliest


def test_means_ratios_and_the_last_bus() -> None:
    """Two buses before at 4 and 2 m/s: 100 and 200 s on a link of 50 s."""
    got = logs(fixes((0, 0.0, 4.0), (2, 0.0, 2.0), (6, 0.0, 8.0)))
    # what each says of the link B-C while the third bus waits at A
    link = {name: min(said(got[name], 6, 2))[1] - min(said(got[name], 6, 1))[1] for name in METHODS}
    assert link["B0"] == link["B1"] == 50.0
    assert link["B2"] == pytest.approx(150.0, abs=0.5)
    assert link["B3"] == link["B4"] == pytest.approx(200.0, abs=0.5)
    # shrunk as if three runs had kept to the network's ratio, which is 1 in the first hour
    assert link["B2S"] == pytest.approx(50 * (300 + 150) / (100 + 150), abs=0.5)
    assert link["B4P"] == pytest.approx(GOLDEN * link["B2S"] + (1 - GOLDEN) * link["B3"])


def test_the_ratio_of_the_network_counts_after_an_hour_of_timetable() -> None:
    memory = LinkMemory(NETWORK)
    memory.all_s, memory.all_scheduled_s = 9000.0, 3000.0
    assert memory.ratio == 1.0
    memory.all_scheduled_s = 3601.0
    assert memory.ratio == 2.0  # bounded
    memory.all_s = 3601 * 1.2
    assert memory.ratio == pytest.approx(1.2)


def test_the_kalman_blend_after_three_days_of_the_trip() -> None:
    """TransitClock's own example: 380, 420, 400 s; last bus 300 s; error 72.4 ms^2 -> 355.98 s."""
    memory = LinkMemory(NETWORK)
    run = _begin(NETWORK, memory, (DAY, 0, 0))
    for day, seconds in ((DAY - 3, 380.0), (DAY - 2, 420.0), (DAY - 1, 400.0)):
        memory.days.setdefault("1-0", {})[day] = np.full(3, seconds)
    memory.error[run.link] = 72.4
    fresh = np.full(3, 300.0)
    variance = np.var([380, 420, 400]) * 1e6
    gain = (72.4 + variance) / (72.4 + 2 * variance)
    assert memory._kalman(run, fresh) == pytest.approx(np.full(3, (1 - gain) * 300 + gain * 400))
    assert run.error_after == pytest.approx(np.full(3, variance * gain))
    # with one day less: the last bus, and where there is none the trip's own days
    del memory.days["1-0"][DAY - 3]
    assert memory._kalman(run, np.array([300.0, np.nan, np.nan])).tolist() == [300.0, 410.0, 410.0]


def test_the_gain_settles_at_the_golden_ratio() -> None:
    """e' = V g(e): g^2 + g = 1 whatever the variance, which is why B4P may use a fixed blend."""
    for variance in (1e6, 4e9):
        error = 100.0
        for _ in range(40):
            gain = (error + variance) / (error + 2 * variance)
            error = variance * gain
        assert gain == pytest.approx(GOLDEN, abs=1e-4)


def test_nothing_is_known_before_its_fix() -> None:
    whole = fixes((0, 0.0, 4.0), (2, 30.0, 3.0), (4, 0.0, 8.0))
    cut = int(len(whole) * 0.6)
    early = replace(
        whole, **{name: getattr(whole, name)[:cut] for name in ("at", "lat", "lon", "trip", "day", "vehicle")}
    )
    until = float(early.at[-1])
    for full, part in zip(run_baselines(whole, NETWORK)[0], run_baselines(early, NETWORK)[0]):
        keep = full.made_at <= until
        assert full.call[keep].tolist() == part.call.tolist()
        assert full.p50[keep].tolist() == part.p50.tolist()


def test_memory_goes_over_to_another_timetable() -> None:
    other = network_from_map(MAP, {"2": "BCD", "1": "ABCD"}, trips=3)
    memory = run_baselines(fixes((0, 0.0, 4.0)), NETWORK, ())[1].carried_to(other)
    names = {
        (other.stop_id[a], other.stop_id[b]): memory.count[k]
        for k, (a, b) in enumerate(zip(other.link_from, other.link_to))
    }
    assert names[("B", "C")] == 1 and names[("A", "B")] == 1


# ---- beside the independent judge ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of a real line, cut out of the shared set."""
    source = SHARED / "data/nyc-b63"
    if not (source / "gtfs.zip").exists() or not (SHARED / "referee").exists():
        pytest.skip("needs ../shared (recorded positions and the referee), which is not here")
    folder = tmp_path_factory.mktemp("few")
    import gzip

    with gzip.open(source / "positions.csv.gz", "rt") as lines:
        rows = list(csv.reader(lines))
    date = rows[0].index("event_timestamp")
    kept = [row for row in rows[1:] if row[date][:10] in ("2010-11-23", "2010-11-24")]
    assert len(kept) > 300
    with (folder / "positions.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([rows[0], *kept])
    (folder / "gtfs.zip").write_bytes((source / "gtfs.zip").read_bytes())
    return folder


def referee(folder: Path, tool: str, *arguments: str) -> None:
    command = [sys.executable, str((SHARED / "referee" / tool).resolve()), *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)


def test_truth_baselines_and_scores_agree_with_the_referee(few: Path) -> None:
    import json

    import pandas as pd

    referee(few, "passages.py", "gtfs.zip", "positions.csv", "passages.csv")
    for method in ("B1", "B2S", "B4P"):
        referee(few, "baselines.py", "gtfs.zip", "positions.csv", f"{method}.csv", "--method", method)
    referee(few, "score_predictions.py", "passages.csv", "B1=B1.csv", "B2S=B2S.csv", "--json", "scores.json")

    network = gtfs.load_network(few / "gtfs.zip", few / "cache")
    seen = read_fixes(few / "positions.csv", network)
    ours = derive_passages(seen, network)
    theirs = pd.read_csv(few / "passages.csv", dtype={"service_date": str, "trip_id": str})
    assert len(ours) == len(theirs) > 200
    assert sorted(ours.arrival_at) == pytest.approx(sorted(theirs.arrival), abs=0.11)

    made = {log.name: log for log in run_baselines(seen, network)[0]}
    for method in ("B1", "B2S", "B4P"):
        log = read_predictions(few / f"{method}.csv", network)
        assert len(log) == len(made[method])
        assert sorted(log.p50) == pytest.approx(sorted(made[method].p50), abs=0.11)

    near = ours.where(np.round(ours.bracket_s, 1) <= 60)
    grid = Grid.around(near)
    result = score(
        grid,
        [latest_words(made[name], grid, network, count_ghosts(made[name], ours, network)) for name in ("B1", "B2S")],
        200,
    )
    judged = json.loads((few / "scores.json").read_text())
    pairs = {"actual": "actual", "predicted": "told", "reference": "reference"}
    for name in ("B1", "B2S"):
        mine, other = result["logs"][name]["points"]["p50"], judged["scores"][name]["arrival_p50"]
        for by, here in pairs.items():
            for bucket, row in other[by].items():
                for key, tolerance in (
                    ("mae", 0.3),
                    ("bias", 0.3),
                    ("eta", 0.6),
                    ("mbta", 0.6),
                    ("newmark", 0.6),
                    ("eta_all", 0.6),
                ):
                    if row.get(key) is not None and row["n_common"] > 200:
                        assert mine[here][bucket][key] == pytest.approx(row[key], abs=tolerance), (
                            name,
                            by,
                            bucket,
                            key,
                        )
        assert mine["means"]["mbta_all"] == pytest.approx(other["mbta_mean_all"], abs=0.5)
    assert result["ratios"]["B2S"]["actual"]["3-15"]["ratio"] == pytest.approx(
        judged["mae_ratio"]["B2S"]["ratio"], abs=0.003
    )
