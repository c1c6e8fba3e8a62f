"""Runs tests/stories/*.md: maps and fixes in, board text out (tests/stories/README.md)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from busd.engine import Engine, grid
from busd.types import (
    Basis,
    Board,
    Departure,
    NetworkLoaded,
    PositionReceived,
    Started,
    StopStatus,
    StopVisited,
    Tick,
    TripHint,
    VehicleEvent,
    VehiclePosition,
)
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import MapFrame, frame_of_map, network_from_map

STORIES = Path(__file__).parent / "stories"
DAY = "20260302"


@dataclass
class Story:
    title: str
    map: str
    steps: list[str]


def stories() -> Iterator[Story]:
    for path in sorted(STORIES.glob("*.md")):
        for part in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            if path.name == "README.md":
                continue
            found = re.search(r"```map\n(.*?)```.*?```story\n(.*?)```", part, re.S)
            assert found, f"{path.name}: no map and story in {part[:40]!r}"
            yield Story(f"{path.stem}: {part.splitlines()[0]}", found[1], found[2].strip().splitlines())


@dataclass(eq=False)
class Drive:
    """A bus that goes from letter to letter at one speed, or stands, and reports every so many seconds."""

    at: float
    vehicle: str
    trip: str | None
    letters: str
    speed: float
    every: float
    until: float | None
    beside: tuple[float, float]
    source: str

    def fixes(self, frame: MapFrame) -> Iterator[tuple[float, Drive, tuple[float, float]]]:
        cells = [frame.cells[letter] for letter in self.letters]
        length = [0.0]
        for (x1, y1), (x2, y2) in pairwise(cells):
            length.append(length[-1] + math.hypot(x2 - x1, y2 - y1))
        at = self.at
        while at <= self.until if self.until is not None else (at - self.at) * self.speed <= length[-1]:
            m = min((at - self.at) * self.speed, length[-1])
            k = max(i for i in range(len(cells)) if i == 0 or length[i] <= m)
            share = (m - length[k]) / (length[k + 1] - length[k]) if k + 1 < len(cells) else 0.0
            x1, y1 = cells[k]
            x2, y2 = cells[min(k + 1, len(cells) - 1)]
            yield at, self, frame.xy(x1 + share * (x2 - x1) + self.beside[0], y1 + share * (y2 - y1) + self.beside[1])
            at += self.every


DRIVE = re.compile(
    r"([\d:.]+) (\S+?)(?:@(\w+))?(?: on (\S+))? (?:drives (\w+) at ([\d.]+)|stands at (\w)(?: ([+-]\d+),([+-]\d+))? until ([\d:]+))"
    r" every ([\d.]+)(?: beside ([+-]\d+),([+-]\d+))?$"
)


def _drive(step: str) -> Drive | None:
    found = DRIVE.match(step)
    if found is None:
        return None
    beside = (found[8], found[9]) if found[7] else (found[12], found[13])
    return Drive(
        _seconds(found[1]),
        found[2],
        found[4],
        found[5] or found[7],
        float(found[6] or 0.0),
        float(found[11]),
        _seconds(found[10]) if found[10] else None,
        (float(beside[0] or 0), float(beside[1] or 0)),
        found[3] or "story",
    )


@dataclass
class Run:
    """One engine that is told a story."""

    network: Network
    frame: MapFrame
    start: float
    engine: Engine = field(init=False)
    networks: dict[str, Network] = field(init=False)
    events: dict[str, list[str]] = field(default_factory=dict)
    visits: dict[str, list[str]] = field(default_factory=dict)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.networks = {self.network.digest: self.network}
        self.engine = Engine(self.networks.__getitem__)
        self.at = self.start + 7 * 3600
        self.engine.apply(Started(self.at, "story"))
        self.engine.apply(NetworkLoaded(self.at, self.network.digest))

    def tick_until(self, at: float) -> None:
        while (due := self.engine.next_deadline) is not None and grid(due) <= at:
            self.at = max(self.at, grid(due))
            self._apply(Tick(self.at))
        self.at = max(self.at, at)

    def report(
        self,
        at: float,
        vehicle: str,
        trip: str | None,
        place: tuple[float, float],
        speed: float | None,
        source: str = "story",
    ) -> None:
        self.tick_until(at)
        hint = TripHint(trip_id=trip) if trip else None
        position = VehiclePosition(source, vehicle, *place, at, at, speed_mps=speed, hint=hint)
        self._apply(PositionReceived(at, position))
        self.at = max(self.at, grid(at))
        self._apply(Tick(self.at))

    def drive(self, drives: list[Drive]) -> None:
        """Buses on their ways at the same time, each fix in its turn."""
        fixes = sorted((fix for drive in drives for fix in drive.fixes(self.frame)), key=lambda fix: fix[0])
        for at, drive, place in fixes:
            self.report(self.start + at, drive.vehicle, drive.trip, place, drive.speed, drive.source)

    def place(self, vehicle: str) -> str:
        """What the engine holds of a vehicle: its trip, the phase, how sure; ``no trip`` and the phase."""
        (held,) = [p for p in self.engine.progress() if p.vehicle_id == vehicle]
        if held.trip is None:
            return f"no trip, {held.phase.value}"
        trip = self.network.trip_id[held.trip.trip_idx]
        if held.trip.start_s is not None:
            trip += f" of {held.trip.start_s // 3600:02d}:{held.trip.start_s % 3600 // 60:02d}"
        words = [trip, held.phase.value, *(["off route"] if held.off_route else [])]
        return ", ".join(words + (["unsure"] if (held.probability or 0.0) < 0.7 else []))

    def swap(self, network: Network) -> None:
        """Another timetable replaces the one in use."""
        self.networks[network.digest] = network
        self.network = network
        self._apply(NetworkLoaded(self.at, network.digest))

    def _apply(self, entry: PositionReceived | Tick | NetworkLoaded) -> None:
        for output in self.engine.apply(entry):
            if isinstance(output, VehicleEvent):
                self.events.setdefault(output.vehicle_id, []).append(str(output.kind))
            elif isinstance(output, StopVisited):
                trip = self.network.trip_pattern[output.visit.trip.trip_idx]
                stop = self.network.pattern_stop[self.network.pattern_stop_offset[trip] + output.visit.stop_pos]
                self.visits.setdefault(output.visit.vehicle_id, []).append(self.network.stop_id[int(stop)])

    def text(self, stop_id: str) -> str:
        stop = self.network.find_stop(stop_id)
        assert stop is not None, f"no stop {stop_id}"
        board = self.engine.board(stop)
        assert board is not None
        return board_text(board, self.network, self.at)


def board_text(board: Board, network: Network, at: float) -> str:
    return " | ".join(_departure_text(d, network, at) for d in board.departures) or "(nothing)"


def _departure_text(d: Departure, network: Network, at: float) -> str:
    when = d.pred_at if d.pred_at is not None else d.sched_at
    assert when is not None
    words = [network.route_short_name[d.route_idx], "to", network.headsign[d.headsign_idx]]
    words += [str(max(int((when - at) // 60), 0)), "min"]
    words += {StopStatus.ARRIVING: ["arriving"], StopStatus.AT_STOP: ["at", "stop"]}.get(d.status, [])
    words += {Basis.SCHEDULE: ["timetable"], Basis.FROZEN: ["frozen"]}.get(d.basis, [])
    return " ".join(words + (["away", str(d.stops_away)] if d.stops_away is not None else []))


def _begin(story: Story) -> Run:
    network, frame = _network(story.map, story.steps[0])
    return Run(network, frame, service_day_start(DAY, network.timezone))


def _network(drawn: str, step: str) -> tuple[Network, MapFrame]:
    words = step.split()
    assert words[0] in ("lines", "swap")
    lines = dict(w.split("=", 1) for w in words[1:] if re.match(r"^\S+=[A-Z]+$", w))
    options: dict[str, object] = {}
    for key, value in (w.split("=", 1) for w in words[1:] if w.split("=", 1)[0] not in lines):
        if key in ("frequencies", "start"):
            options[key] = value
        elif key == "shapes":
            options[key] = dict(pair.split(":") for pair in value.split(","))
        else:
            options[key] = (
                value == "true" if value in ("true", "false") else float(value) if "." in value else int(value)
            )
    tables = {}
    if (row := options.pop("frequencies", None)) is not None:
        tables["frequencies.txt"] = f"trip_id,start_time,end_time,headway_secs,exact_times\n{row}\n"
    if options.pop("shapeless", False):
        tables["shapes.txt"] = "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n"
    options["tables"] = tables
    network = network_from_map(drawn, lines, **options)  # type: ignore[arg-type]
    return network, frame_of_map(drawn)


def _place(frame: MapFrame, text: str) -> tuple[float, float]:
    between = re.match(r"(\w)>(\w) ([\d.]+)", text)
    if between:
        return frame.between(between[1], between[2], float(between[3]))
    beside = re.match(r"(\w) ([+-]\d+),([+-]\d+)", text)
    if beside:
        return frame.beside(beside[1], float(beside[2]), float(beside[3]))
    return frame.at(text.split()[0])


def _seconds(text: str) -> float:
    h, m, s = text.split(":")
    return int(h) * 3600 + int(m) * 60 + float(s)


@pytest.mark.parametrize("story", list(stories()), ids=lambda story: story.title)
def test_story(story: Story) -> None:
    run = _begin(story)
    drives: list[Drive] = []
    for step in story.steps[1:]:
        if drive := _drive(step):
            drives.append(drive)
            continue
        run.drive(drives)
        drives = []
        if fix := re.match(r"([\d:.]+) (\S+)(?: on (\S+))? at (.+?)(?: speed ([\d.]+))?$", step):
            speed = None if fix[5] is None else float(fix[5])
            run.report(run.start + _seconds(fix[1]), fix[2], fix[3], _place(run.frame, fix[4]), speed)
        elif step.startswith("wait "):
            run.tick_until(run.start + _seconds(step[5:]))
        elif step.startswith("swap "):
            run.swap(_network(story.map, step)[0])
        elif seen := re.match(r"(events|visits) (\S+): (.*)$", step):
            log, joint = (run.events, "; ") if seen[1] == "events" else (run.visits, " ")
            assert joint.join(log.pop(seen[2], [])) == seen[3], step
        elif held := re.match(r"(\S+) is (.*)$", step):
            assert run.place(held[1]) == held[2], step
        else:
            stop, _, expected = step.partition(": ")
            assert run.text(stop) == expected.strip(), step
