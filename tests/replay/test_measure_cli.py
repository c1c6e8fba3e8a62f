"""`busd replay score`, `diff` and `stringline` as a user calls them, on a made-up line."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from busd.config.overrides import switches
from replay import cli

City = Any  # of conftest.py


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.replay, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def score(city: City, *more: str | Path, code: int = 0) -> Result:
    common = ("--gtfs", city.gtfs, "--positions", city.positions, "--cache-dir", city.cache_dir)
    return run("score", *common, *more, code=code)


@pytest.fixture
def replayed(city: City) -> Path:
    out = city.folder / "out"
    run("run", "--gtfs", city.gtfs, "--positions", city.positions, "--out", out, "--cache-dir", city.cache_dir)
    return Path(out)


def test_a_score_of_its_own_replay_and_of_the_log_are_the_same(city: City, replayed: Path) -> None:
    own = json.loads(score(city, "--json", "-").output)
    given = json.loads(score(city, "--predictions", f"busd={replayed}", "--json", "-").output)
    assert own == given
    assert own["truth"]["passages"] > 30 and own["truth"]["trips"] == 6
    assert list(own["logs"]) == ["busd", "B0", "B1", "B2", "B2S", "B3", "B4", "B4P"]
    assert own["reference"] == "B2S"
    mine = own["logs"]["busd"]["points"]
    assert set(mine) == {"p50", "rider"} and mine["p50"]["stops"]["all"]["availability"] > 15
    groups = mine["p50"]["groups"]
    assert set(groups) - {"off peak"} == {"peak", "waiting at the terminal", "on the way", "line 1"}  # a Monday at 8
    assert groups["line 1"]["n"] == groups["waiting at the terminal"]["n"] + groups["on the way"]["n"]
    assert own["over_best"]["actual"]["3-15"]["ratio"] > 0


def test_tables_and_pictures(city: City, replayed: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra 'plots'")
    output = score(
        city, "--predictions", replayed, "--plot", city.folder / "p.png", "--json", city.folder / "s.json"
    ).output
    for words in ("passages", "All logs on common points", "out, rider", "best of each bucket", "B4P", "missing"):
        assert words in output
    assert (city.folder / "p.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((city.folder / "s.json").read_text())["calibration"]["out"]


def test_two_logs_beside_each_other(city: City, replayed: Path) -> None:
    both = ("--predictions", f"a={replayed}", "--predictions", f"b={replayed / 'predictions.csv.gz'}")
    result = json.loads(score(city, *both, "--no-baselines", "--json", "-").output)
    assert list(result["logs"]) == ["a", "b"]
    assert result["ratios"]["b"]["actual"]["3-15"]["ratio"] == 1.0
    assert "two logs are called out" in score(city, "--predictions", replayed, "--predictions", replayed, code=1).output


def test_an_ablation_of_one_part(city: City) -> None:
    parts = switches()
    if not parts:
        pytest.skip("no part of the predictor can be switched off")
    result = json.loads(score(city, "--ablate", "--part", parts[0], "--no-baselines", "--json", "-").output)
    row = result["ablation"][parts[0]]
    assert row["mae_ratio"]["actual"]["3-15"]["ratio"] > 0 and set(row) > {"eta_all", "mbta_all", "pinball", "ghosts"}
    assert "there are:" in score(city, "--ablate", "--part", "nothing.x", code=2).output


def test_other_parameters_are_another_replay(city: City) -> None:
    near = json.loads(score(city, "--parameters", "predicting.horizon_s=120", "--no-baselines", "--json", "-").output)
    rows = near["logs"]["busd"]["points"]["p50"]["actual"]
    assert rows["0-3"]["availability"] > 50 and rows["6-10"]["availability"] == 0.0
    assert "no parameter" in score(city, "--parameters", "predicting.nothing=1", code=1).output


def test_a_cold_start_can_be_left_out_and_warmed(city: City) -> None:
    yesterday = city.write("yesterday.csv", city.fixes(0, 6, seed=3, day=-1))
    warm = json.loads(score(city, "--history", yesterday, "--skip-hours", "0.5", "--json", "-").output)
    cold = json.loads(score(city, "--json", "-").output)
    assert warm["truth"]["grid_points"] < cold["truth"]["grid_points"]
    assert warm["truth"]["passages"] == cold["truth"]["passages"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--predictions", "nowhere"), "no such prediction log"),
        (("--max-bracket", "1"), "no stop passage can be derived"),
    ],
)
def test_what_cannot_be_scored_is_said(city: City, options: tuple[str, ...], words: str) -> None:
    assert words in score(city, *options, code=1).output


def test_a_given_log_takes_no_replay_options(city: City, replayed: Path) -> None:
    assert "for a replay" in score(city, "--predictions", replayed, "--hide-trips", code=2).output


def test_positions_without_labels_have_no_truth(city: City) -> None:
    blind = city.folder / "blind.csv"
    rows = list(csv.reader(city.positions.read_text().splitlines()))
    column = rows[0].index("trip_id_scheduled")
    with blind.open("w", newline="") as file:
        csv.writer(file).writerows([row[:column] + row[column + 1 :] for row in rows])
    result = run("score", "--gtfs", city.gtfs, "--positions", blind, "--cache-dir", city.cache_dir, code=1)
    assert "trip_id_scheduled" in result.output


def test_diff(city: City, replayed: Path) -> None:
    assert "the same" in run("diff", replayed, replayed).output
    other = city.folder / "other"
    common = ("--gtfs", city.gtfs, "--positions", city.positions, "--cache-dir", city.cache_dir)
    run(
        "run",
        *common,
        "--out",
        other,
        "--parameters",
        "visits.arrive_zone_m=60",
        "--until",
        "2026-02-16T08:50:00+08:00",
    )
    found = json.loads(run("diff", replayed, other, "--json", code=1).output)
    assert not found["same"] and set(found["digests"]) == {"parameters", "outputs"}
    visits = found["files"]["stop_visits"]
    assert visits["only_a"] > 0 and visits["only_b"] == 0
    # 40 m at 4.5 to 6.5 m/s
    assert 6 <= visits["columns"]["actual_arrival_time"]["median"] <= 9
    assert visits["examples"][0]["row"]["service_date"] == "2026-02-16"
    text = run("diff", replayed, other, code=1).output
    assert "stop_visits:" in text and "only in the first" in text
    assert "the folder of a replay is expected" in run("diff", replayed, city.folder, code=1).output


def test_stringline(city: City, replayed: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra 'plots'")
    common = ("--gtfs", city.gtfs, "--cache-dir", city.cache_dir, "--out", city.folder / "x.png")
    output = run("stringline", replayed, "--route", "1", *common).output
    assert output.startswith("6 trips") and (city.folder / "x.png").read_bytes()[:4] == b"\x89PNG"
    part = run("stringline", replayed, "--route", "r1", "--to", "2026-02-16T08:12:00+08:00", *common).output
    assert part.startswith("2 trips")
    assert "there are: 1" in run("stringline", replayed, "--route", "9", *common, code=2).output
    assert (
        "no position"
        in run("stringline", replayed, "--route", "1", "--from", "2026-02-17T00:00:00Z", *common, code=1).output
    )
    assert "neither unix" in run("stringline", replayed, "--route", "1", "--from", "soon", *common, code=2).output


def test_strokes_break_between_runs_and_silences() -> None:
    import numpy as np

    from replay.stringline import Strings, _apart, with_breaks

    at = np.array([0.0, 20.0, 700.0, 720.0, 10.0, 30.0])
    run_, zero = np.array([0, 0, 0, 0, 1, 1]), np.zeros(6, int)
    strings = Strings(at, np.arange(6.0), run_, zero, zero)
    when, where = with_breaks(strings, np.arange(6))
    assert np.isnan(when).tolist() == [False, False, True, False, False, True, False, False]
    assert np.isnan(where).tolist() == np.isnan(when).tolist()
    assert _apart(np.array([0.0, 5.0, 100.0, 195.0, 200.0]), 10.0) == [0, 2, 4]


def test_predictions_that_were_written_elsewhere(city: City, replayed: Path) -> None:
    """A log of another system: no intervals, no rider point, its own name."""
    with gzip.open(replayed / "predictions.csv.gz", "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    keep = ("generated_at", "service_date", "trip_id", "stop_sequence", "arrival_p50")
    path = city.folder / "theirs.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, keep, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    result = json.loads(score(city, "--predictions", path, "--json", "-").output)
    assert set(result["logs"]["theirs"]["points"]) == {"p50"}
    assert "coverage" not in result["logs"]["theirs"]["points"]["p50"]["stops"]["all"]
