"""One replay: recorded positions through the engine as fast as it goes, and what came out as files."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

import gtfs
from busd.clock import Clock, SystemClock
from busd.engine import Engine
from busd.errors import FeedError
from busd.history.priors import PriorsStore
from busd.history.tides import TRIPS, VISITS, Day
from busd.parameters import Parameters
from busd.predict.priors import Priors
from busd.types import (
    AnyInput,
    BoardsChanged,
    Output,
    PositionReceived,
    Predicted,
    ProgressChanged,
    Rejected,
    StopVisited,
    Tick,
    VehicleEvent,
)
from gtfs.network import Network
from replay.columns import CsvGz
from replay.digest import OutputDigest
from replay.grid import GridDriver, start_before
from replay.predictions import PredictionLog
from replay.source import PositionFiles, journal_inputs
from replay.tables import LocationLog

EPOCH = "replay"
PROGRESS_EVERY = 200

Told = Callable[[int, int], None]
"""positions done, positions in all"""


class Recorder:
    """Writes what the engine gives out to the files of one directory."""

    def __init__(self, directory: Path, network: Network) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.day = Day(network)
        self.predictions = PredictionLog(directory / "predictions.csv.gz", network)
        self.locations = LocationLog(directory / "vehicle_locations.csv.gz", self.day)
        self.digest = OutputDigest()
        self.inputs: Counter[str] = Counter()
        self.outputs: Counter[str] = Counter()
        self.boards = 0
        self.rejected: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.digests: dict[str, str] = {}
        self.rows: dict[str, int] = {}

    def take(self, entry: AnyInput, outputs: list[Output]) -> None:
        kind = type(entry)
        self.inputs[kind.__name__] += 1
        self.digest.add(outputs)
        if isinstance(entry, PositionReceived):
            self.locations.received(entry.position)
        for output in outputs:
            if type(output) is BoardsChanged:
                self.outputs[BoardsChanged.__name__] += 1
                self.boards += len(output.boards)
            else:
                self._take(output)
        if kind is Tick:
            self.locations.tick()

    def _take(self, output: Output) -> None:
        self.outputs[type(output).__name__] += 1
        match output:
            case Predicted():
                self.predictions.add(output.table)
            case ProgressChanged():
                self.locations.held(output.progress)
            case StopVisited():
                self.day.add(output.visit)
            case Rejected():
                self.rejected[str(output.reason)] += 1
            case VehicleEvent():
                self.events[str(output.kind)] += 1

    def close(self) -> None:
        """Completes all files; only now do they carry their names."""
        self.predictions.close()
        self.locations.close()
        files = [self.predictions.file, self.locations.file]
        for name, header, rows in (
            ("stop_visits", VISITS, self.day.visit_rows()),
            ("trips_performed", TRIPS, self.day.trip_rows()),
        ):
            with CsvGz(self.directory / f"{name}.csv.gz", header) as file:
                file.write_rows(sorted(rows))
            files.append(file)
        for file in files:
            name = file.path.name.partition(".")[0]
            self.digests[name], self.rows[name] = file.digest, file.rows

    def discard(self) -> None:
        self.predictions.file.discard()
        self.locations.file.discard()


@dataclass(frozen=True)
class ReplayRun:
    """What to replay and where to put it; `run` does it. Errors: `busd.errors.FeedError` (positions), `JournalError`,
    `gtfs.errors.GtfsError` (timetables); each says which file."""

    gtfs: Path
    out: Path
    positions: tuple[Path, ...] = ()
    journal: Path | None = None
    """a journal's directory instead of positions: its inputs are applied exactly as they are"""
    history: tuple[tuple[Path, Path | None], ...] = ()
    """(positions, timetable or None for ``gtfs``) of earlier days, oldest first: they warm the engine, nothing of them
    is written"""
    hide_trips: bool = False
    until: float | None = None
    boards: bool | None = None
    """work out the boards too, which are in the digest of outputs and nowhere else; None: only for a journal"""
    cache_dir: Path = Path("var/gtfs")
    parameters: Parameters = field(default_factory=Parameters)
    priors: Path | None = None
    """what `busd learn` made; with a journal, the folder of all versions that it names"""
    clock: Clock = field(default_factory=SystemClock)

    def run(self, told: Told | None = None) -> dict[str, Any]:
        """Replays, writes the files and returns what summary.json holds."""
        started = self.clock.monotonic()
        networks: dict[str, Network] = {}
        paths: dict[Path, str] = {}

        def load(path: Path) -> Network:
            if path not in paths:
                network = gtfs.load_network(path, self.cache_dir)
                networks[network.digest] = network
                paths[path] = network.digest
            return networks[paths[path]]

        def known(digest: str) -> Network:
            if digest not in networks:
                raise FeedError(f"the timetable {digest[:12]} that was in use is none of the given ones")
            return networks[digest]

        network = load(self.gtfs)
        files = PositionFiles(self.positions, self.hide_trips, self.until)
        history = [(PositionFiles((path,), self.hide_trips), load(zip_ or self.gtfs)) for path, zip_ in self.history]
        self._check_order([past for past, _ in history] + [files])
        learned, priors = self._priors()
        loaded = self.clock.monotonic()

        recorder = Recorder(self.out, network)
        boards = self.journal is not None if self.boards is None else self.boards
        engine = Engine(known, self.parameters, boards=boards, priors=priors)
        try:
            if self.journal is not None:
                self._replay_journal(engine, recorder, told)
            else:
                self._replay_positions(engine, recorder, network, files, history, learned, told)
            recorder.close()
        except BaseException:
            recorder.discard()
            raise
        summary = self._summary(recorder, network, files, history)
        summary["seconds"] = {
            "wall": round(self.clock.monotonic() - started, 3),
            "load": round(loaded - started, 3),
            "cpu": round(_cpu_s(), 3),
        }
        summary["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        text = orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (self.out / "summary.json").write_bytes(text)
        return summary

    def _replay_positions(
        self,
        engine: Engine,
        recorder: Recorder,
        network: Network,
        files: PositionFiles,
        history: list[tuple[PositionFiles, Network]],
        learned: str | None,
        told: Told | None,
    ) -> None:
        driver = GridDriver(engine, _ignore)
        in_use: str | None = None
        done, total = 0, files.count + sum(past.count for past, _ in history)
        for part, timetable in [*history, (files, network)]:
            if part is files:
                driver.sink = recorder.take
            first_at = part.first_at
            if first_at is None:
                continue
            at = start_before(first_at)
            if in_use is None:
                driver.start(at, EPOCH)
            if timetable.digest != in_use:
                driver.load_network(at, timetable.digest)
                if in_use is None and learned is not None:
                    driver.load_priors(at, learned)
                in_use = timetable.digest
            for position in part.read():
                driver.feed(position)
                done += 1
                if told is not None and done % PROGRESS_EVERY == 0:
                    told(done, total)
        driver.drain()
        if told is not None:
            told(total, total)

    def _priors(self) -> tuple[str | None, Callable[[str], Priors]]:
        """(digest of the priors to begin with, how the engine finds priors)."""
        if self.priors is None or self.priors.is_dir():
            return None, PriorsStore(self.priors or Path())
        priors = Priors.load(self.priors)
        return priors.digest, {priors.digest: priors}.__getitem__

    def _replay_journal(self, engine: Engine, recorder: Recorder, told: Told | None) -> None:
        assert self.journal is not None
        done = 0
        for entry in journal_inputs(self.journal):
            if self.until is not None and entry.at > self.until:
                break
            recorder.take(entry, engine.apply(entry))
            done += isinstance(entry, PositionReceived)
            if told is not None and done % PROGRESS_EVERY == 0:
                told(done, 0)

    def _check_order(self, parts: Iterable[PositionFiles]) -> None:
        before: PositionFiles | None = None
        for part in parts:
            if part.first_at is None:
                continue
            if before is not None and before.last_at is not None and before.last_at > part.first_at:
                raise FeedError(
                    f"{before.paths[0].name} ends after {part.paths[0].name} begins; history must be earlier than what "
                    "it warms, oldest first"
                )
            before = part

    def _summary(
        self,
        recorder: Recorder,
        network: Network,
        files: PositionFiles,
        history: list[tuple[PositionFiles, Network]],
    ) -> dict[str, Any]:
        unreadable = sum(files.rejected.values())
        return {
            "positions": {
                "read": recorder.inputs[PositionReceived.__name__],
                "unreadable": unreadable,
                "used": recorder.inputs[PositionReceived.__name__] - sum(recorder.rejected.values()),
                "first_at": files.first_at,
                "last_at": files.last_at,
                "examples": files.examples,
            },
            "rejected": dict(sorted((recorder.rejected + files.rejected).items())),
            "events": dict(sorted(recorder.events.items())),
            "inputs": dict(sorted(recorder.inputs.items())),
            "outputs": dict(sorted(recorder.outputs.items())),
            "boards": recorder.boards,
            "rows": recorder.rows,
            "history": [
                {"positions": past.count, "unreadable": sum(past.rejected.values()), "network": timetable.digest}
                for past, timetable in history
            ],
            "hide_trips": self.hide_trips,
            "until": self.until,
            "digests": {
                "network": network.digest,
                "parameters": self.parameters.digest,
                "outputs": recorder.digest.hexdigest(),
                "files": recorder.digests,
            },
        }


def _ignore(entry: AnyInput, outputs: list[Output]) -> None:
    pass


def _cpu_s() -> float:
    """Seconds of processor time of this process, all threads; a compiling child is not in it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
