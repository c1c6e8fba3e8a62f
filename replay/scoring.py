"""One scoring: a replay (or given logs), the truth, the baselines and the ablation, put into one result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import gtfs
from busd.errors import FeedError
from busd.parameters import Parameters
from gtfs.network import Network
from replay.baselines import METHODS, LinkMemory, run_baselines
from replay.groups import groups_of
from replay.logs import Grid, PredictionRows, Told, count_ghosts, latest_words, read_predictions
from replay.runner import ReplayRun
from replay.score import score
from replay.truth import Fixes, Passages, derive_passages, read_fixes

Progress = Callable[[str, int, int], None]
"""(what is being done, steps done, steps in all)"""

OURS = "busd"


@dataclass(frozen=True)
class ScoreRun:
    """What to score; `run` does it. Errors as those of `ReplayRun`."""

    gtfs: Path
    positions: Path
    predictions: tuple[tuple[str, Path], ...] = ()
    """(name, log or folder of a replay); none: the positions are replayed here"""
    history: tuple[tuple[Path, Path | None], ...] = ()
    """earlier days that warm busd and the baselines alike"""
    hide_trips: bool = False
    baselines: bool = True
    parts: tuple[str, ...] = ()
    """for the ablation: parameters that are switched off, one replay each"""
    parameters: Parameters = field(default_factory=Parameters)
    priors: Path | None = None
    max_bracket_s: float = 60.0
    skip_hours: float = 0.0
    draws: int = 1000
    cache_dir: Path = Path("var/gtfs")

    def run(self, told: Progress | None = None) -> dict[str, Any]:
        """The figures of `replay.score.score` with what they rest on."""
        network = gtfs.load_network(self.gtfs, self.cache_dir)
        fixes = read_fixes(self.positions, network)
        passages = derive_passages(fixes, network)
        near = passages.where(passages.bracket_s <= self.max_bracket_s)
        if not len(near):
            raise FeedError(
                f"no stop passage can be derived from {self.positions.name}: it needs trip_id_scheduled of this timetable, "
                f"shapes, and two fixes within {self.max_bracket_s:.0f} s around a stop"
            )
        grid = Grid.around(near, self.skip_hours * 3600.0)
        held = _Held(network, grid, passages, fixes)
        logs = self._logs(held, told)
        if self.baselines:
            logs += [held.against(log) for log in self._baselines(network, fixes, told)]
        result = score(grid, logs, self.draws, groups_of(grid, network))
        result["truth"] = {
            "passages": len(near),
            "left_out_percent": 100.0 * (1.0 - len(near) / len(passages)),
            "max_bracket_s": self.max_bracket_s,
            "median_bracket_s": float(np.median(near.bracket_s)),
            "trips": int(near.run.max(initial=-1)) + 1,
            "grid_points": len(grid.at),
            "fixes": len(fixes),
        }
        if self.parts:
            result["ablation"] = self._ablation(held, logs[0], told)
        return result

    def _logs(self, held: _Held, told: Progress | None) -> list[Told]:
        if self.predictions:
            return [
                held.against(read_predictions(_log_in(path), held.network, name)) for name, path in self.predictions
            ]
        return [self._replayed(held, OURS, self.parameters, told)]

    def _replayed(self, held: _Held, name: str, parameters: Parameters, told: Progress | None) -> Told:
        with tempfile.TemporaryDirectory(prefix="busd-score-") as folder:
            job = ReplayRun(
                gtfs=self.gtfs,
                out=Path(folder),
                positions=(self.positions,),
                history=self.history,
                hide_trips=self.hide_trips,
                cache_dir=self.cache_dir,
                parameters=parameters,
                priors=self.priors,
            )
            job.run(None if told is None else lambda done, total: told(f"replay: {name}", done, total))
            return held.against(read_predictions(_log_in(Path(folder)), held.network, name))

    def _baselines(self, network: Network, fixes: Fixes, told: Progress | None) -> list[PredictionRows]:
        memory: LinkMemory | None = None
        for past, timetable in self.history:
            earlier = gtfs.load_network(timetable, self.cache_dir) if timetable else network
            _, memory = run_baselines(read_fixes(past, earlier), earlier, (), memory)
        step = None if told is None else lambda done, total: told("baselines", done, total)
        return run_baselines(fixes, network, METHODS, memory, step)[0]

    def _ablation(self, held: _Held, whole: Told, told: Progress | None) -> dict[str, Any]:
        """Part -> the scores of the same replay without it, over the whole's: above 1 the part is worth something."""
        from replay.ablation import compared, without

        out: dict[str, Any] = {}
        for part in self.parts:
            lacking = self._replayed(held, f"without {part}", without(self.parameters, part), told)
            out[part] = compared(held.grid, whole, lacking, self.draws)
        return out


@dataclass(frozen=True)
class _Held:
    """What logs are held against."""

    network: Network
    grid: Grid
    passages: Passages
    """all of them, whatever their bracket"""
    fixes: Fixes

    def against(self, log: PredictionRows) -> Told:
        until = float(self.fixes.at.max(initial=-np.inf))
        return latest_words(log, self.grid, self.network, count_ghosts(log, self.passages, self.network, until))


def _log_in(path: Path) -> Path:
    return path / "predictions.csv.gz" if path.is_dir() else path


def named(items: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """``[NAME=]PATH`` -> (name, path). `FeedError` for a name twice or a path that is not there."""
    out: dict[str, Path] = {}
    for item in items:
        name, equals, rest = item.partition("=")
        path = Path(rest) if equals and not Path(item).exists() else Path(item)
        if not _log_in(path).exists():
            raise FeedError(f"{path}: no such prediction log")
        label = name if path != Path(item) else (path.name or path.resolve().name).partition(".")[0]
        if label in out:
            raise FeedError(f"two logs are called {label}; name them: NAME={path}")
        out[label] = path
    return tuple(out.items())
