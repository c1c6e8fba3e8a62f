"""Priors from recorded positions: the engine follows them as it would have live, and what it has learned is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import gtfs
from busd.engine import Engine
from busd.errors import FeedError
from busd.parameters import Parameters
from busd.predict.priors import Priors
from busd.types import AnyInput, Output
from gtfs.network import Network
from replay.grid import GridDriver, start_before
from replay.runner import PROGRESS_EVERY
from replay.source import PositionFiles


def learn_from_positions(
    timetable: Path,
    positions: Sequence[Path],
    parameters: Parameters,
    cache_dir: Path,
    told: Callable[[int, int], None] | None = None,
) -> Priors:
    """TIDES vehicle_locations of any number of days -> what the predictor knows after them. `FeedError`, `GtfsError`."""
    network = gtfs.load_network(timetable, cache_dir)
    files = PositionFiles(tuple(positions))
    if files.first_at is None:
        raise FeedError(f"no usable position in {', '.join(path.name for path in positions)}")

    def known(digest: str) -> Network:
        return network

    engine = Engine(known, parameters, boards=False)
    driver = GridDriver(engine, _ignore)
    at = start_before(files.first_at)
    driver.start(at, "learn")
    driver.load_network(at, network.digest)
    for done, position in enumerate(files.read()):
        driver.feed(position)
        if told is not None and done % PROGRESS_EVERY == 0:
            told(done, files.count)
    driver.drain()
    return engine.priors()


def _ignore(entry: AnyInput, outputs: list[Output]) -> None:
    pass
