"""Says "this feed looks shifted like GCJ-02": samples of what goes in to the line, held against the shapes.

`note` is called with everything that is submitted and keeps a few fixes a source; `look` judges them (it may run in a
thread while `note` goes on). What it finds is a log line, a metric and a `Suspicion` for whoever wants it; nothing
is converted by itself, because whoever is wrong about a datum once would be wrong about a whole city. Only fixes inside
the rectangle of GCJ-02 are looked at: elsewhere the datums are one.

The reading of another datum undoes the configured conversion first, so a feed that is converted although it already
speaks WGS-84 is found as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, hypot, radians
from typing import Any

import msgspec
import structlog

from busd import metrics
from busd.feeds.datum import TO_WGS84, in_china, wgs84_to_bd09, wgs84_to_gcj02
from busd.track.datum_watch import ShapeDistance, Verdict, Votes
from busd.types import VehiclePosition

log = structlog.get_logger(__name__)

WAITING = 256
"""fixes of one source that wait for the next look"""
WAITING_WHEN_FINE = 32
ENOUGH_PLACES = 100
"""a source that fits in so many places is looked at less"""
MOVED_DEG = 0.0003
"""about 30 m: a bus that stands says nothing new"""
MAX_VEHICLES = 50_000
NAMES = {"wgs84": "WGS-84", "gcj02": "GCJ-02", "bd09": "BD-09"}
_DEGREE_M = 111_195.0
_FROM_WGS84: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "wgs84": lambda lat, lon: (lat, lon),
    "gcj02": wgs84_to_gcj02,
    "bd09": wgs84_to_bd09,
}


class Suspicion(msgspec.Struct, frozen=True):
    """A source that looks like another datum than the configured one. ``since``: fixes sampled up to then."""

    source: str
    configured: str
    datum: str
    shift_m: float
    """how far positions are off, typically"""
    places: int
    fits: int
    fits_configured: int
    fixes: int

    @property
    def text(self) -> str:
        """One sentence for an operator."""
        if self.configured == "wgs84":
            head = f"this feed looks shifted like {NAMES[self.datum]}"
        else:
            head = f"this feed looks like {NAMES[self.datum]}, but is converted as {NAMES[self.configured]}"
        return (
            f"{head}: {self.fits} of {self.places} places lie on the shapes then, {self.fits_configured} as configured; "
            f'about {self.shift_m:.0f} m off. Set datum = "{self.datum}" for {self.source}.'
        )


class _Source:
    def __init__(self, configured: str) -> None:
        self.configured = configured
        self.waiting: list[tuple[float, float]] = []
        self.limit = WAITING
        self.fixes = 0
        self.place = (0.0, 0.0)
        self.forget()

    def forget(self) -> None:
        self.votes = Votes([self.configured, *(datum for datum in TO_WGS84 if datum != self.configured)])


class DatumWatch:
    """``datums``: source -> configured datum; sources that are not in it are not watched."""

    def __init__(self, datums: Mapping[str, str]) -> None:
        self._sources = {source: _Source(datum) for source, datum in datums.items()}
        self._places: dict[str, tuple[float, float]] = {}
        self.suspicions: dict[str, Suspicion] = {}

    def note(self, positions: Sequence[VehiclePosition]) -> None:
        """Keeps what is worth a look: moved since the last one kept, inside the rectangle, not too many."""
        for position in positions:
            source = self._sources.get(position.source)
            if source is None or len(source.waiting) >= source.limit:
                continue
            lat, lon = position.lat, position.lon
            was = self._places.get(position.vehicle_id)
            if was is not None and abs(was[0] - lat) + abs(was[1] - lon) < MOVED_DEG:
                continue
            if not in_china(lat, lon):
                continue
            if len(self._places) >= MAX_VEHICLES:
                self._places.clear()
            self._places[position.vehicle_id] = (lat, lon)
            source.waiting.append((lat, lon))

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to judge."""
        return any(source.waiting for source in self._sources.values())

    def forget(self) -> None:
        """The shapes have changed: what was learned from the old ones no longer counts."""
        for source in self._sources.values():
            source.forget()

    def look(self, shapes: ShapeDistance) -> list[Suspicion]:
        """Judges what waits; the suspicions that are new."""
        new = []
        for name, source in self._sources.items():
            waiting, source.waiting = source.waiting, []
            if not waiting:
                continue
            source.fixes += len(waiting)
            self._vote(source, waiting, shapes)
            verdict = source.votes.verdict()
            if verdict is not None:
                suspicion = self._suspect(name, source, verdict)
                if suspicion is not None:
                    new.append(suspicion)
            elif source.votes.share_as_configured() > 0.5:
                self._clear(name)
            fine = len(source.votes) >= ENOUGH_PLACES and name not in self.suspicions
            source.limit = WAITING_WHEN_FINE if fine else WAITING
        return new

    def rows(self) -> list[dict[str, Any]]:
        """For lists: one row for each suspicion."""
        return [
            {"source": suspicion.source, "suspicion": suspicion.text, "datum": suspicion.datum}
            for suspicion in self.suspicions.values()
        ]

    def _vote(self, source: _Source, waiting: Sequence[tuple[float, float]], shapes: ShapeDistance) -> None:
        undo = _FROM_WGS84[source.configured]
        raw = [undo(lat, lon) for lat, lon in waiting]
        metres, headings, rights = [], [], []
        for k, datum in enumerate(source.votes.readings):
            read = waiting if k == 0 else [TO_WGS84[datum](lat, lon) for lat, lon in raw]
            near, heading, right = shapes.nearest([lat for lat, _ in read], [lon for _, lon in read])
            metres.append(near)
            headings.append(heading)
            rights.append(right)
        source.place = waiting[-1]
        cells = shapes.cells([lat for lat, _ in waiting], [lon for _, lon in waiting])
        for cell, *of_readings in zip(cells, zip(*metres), zip(*headings), zip(*rights)):
            source.votes.add(cell, *of_readings)

    def _suspect(self, name: str, source: _Source, verdict: Verdict) -> Suspicion | None:
        """None if this is known already."""
        known = self.suspicions.get(name)
        if known is not None and known.datum == verdict.reading:
            return None
        self._clear(name)
        suspicion = Suspicion(
            name,
            source.configured,
            verdict.reading,
            _shift_m(source.place, source.configured, verdict.reading),
            verdict.places,
            verdict.fits,
            verdict.fits_configured,
            source.fixes,
        )
        self.suspicions[name] = suspicion
        metrics.FEED_DATUM_SUSPECT.labels(name, verdict.reading).set(1)
        log.warning("datum suspect", source=name, datum=verdict.reading, text=suspicion.text)
        return suspicion

    def _clear(self, name: str) -> None:
        known = self.suspicions.pop(name, None)
        if known is not None:
            metrics.FEED_DATUM_SUSPECT.labels(name, known.datum).set(0)
            log.info("datum no longer suspect", source=name, datum=known.datum)


def _shift_m(place: tuple[float, float], configured: str, datum: str) -> float:
    """Metres between the two readings of a position."""
    lat, lon = TO_WGS84[datum](*_FROM_WGS84[configured](*place))
    return hypot((lat - place[0]) * _DEGREE_M, (lon - place[1]) * _DEGREE_M * cos(radians(lat)))
