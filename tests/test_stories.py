"""Runs tests/stories/*.md: maps and fixes in, board text out (tests/stories/README.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass
class Run:
    """One engine that is told a story."""

    network: Network
    frame: MapFrame
    start: float
    engine: Engine = field(init=False)
    events: dict[str, list[str]] = field(default_factory=dict)
    visits: dict[str, list[str]] = field(default_factory=dict)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.engine = Engine(lambda digest: self.network)
        self.at = self.start + 7 * 3600
        self.engine.apply(Started(self.at, "story"))
        self.engine.apply(NetworkLoaded(self.at, self.network.digest))

    def tick_until(self, at: float) -> None:
        while (due := self.engine.next_deadline) is not None and grid(due) <= at:
            self.at = max(self.at, grid(due))
            self._apply(Tick(self.at))
        self.at = max(self.at, at)

    def report(
        self, at: float, vehicle: str, trip: str | None, place: tuple[float, float], speed: float | None
    ) -> None:
        self.tick_until(at)
        hint = TripHint(trip_id=trip) if trip else None
        position = VehiclePosition("story", vehicle, *place, at, at, speed_mps=speed, hint=hint)
        self._apply(PositionReceived(at, position))
        self.at = grid(at)
        self._apply(Tick(self.at))

    def _apply(self, entry: PositionReceived | Tick) -> None:
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
    words = story.steps[0].split()
    assert words[0] == "lines"
    lines = dict(w.split("=", 1) for w in words[1:] if re.match(r"^\S+=[A-Z]+$", w))
    options: dict[str, object] = {}
    for key, value in (w.split("=", 1) for w in words[1:] if w.split("=", 1)[0] not in lines):
        if key == "shapes":
            options[key] = dict(pair.split(":") for pair in value.split(","))
        else:
            options[key] = (
                value == "true" if value in ("true", "false") else float(value) if "." in value else int(value)
            )
    network = network_from_map(story.map, lines, **options)  # type: ignore[arg-type]
    return Run(network, frame_of_map(story.map), service_day_start(DAY, network.timezone))


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
    for step in story.steps[1:]:
        if fix := re.match(r"([\d:.]+) (\S+)(?: on (\S+))? at (.+?)(?: speed ([\d.]+))?$", step):
            speed = None if fix[5] is None else float(fix[5])
            run.report(run.start + _seconds(fix[1]), fix[2], fix[3], _place(run.frame, fix[4]), speed)
        elif step.startswith("wait "):
            run.tick_until(run.start + _seconds(step[5:]))
        elif seen := re.match(r"(events|visits) (\S+): (.*)$", step):
            log, joint = (run.events, "; ") if seen[1] == "events" else (run.visits, " ")
            assert joint.join(log.pop(seen[2], [])) == seen[3], step
        else:
            stop, _, expected = step.partition(": ")
            assert run.text(stop) == expected.strip(), step
