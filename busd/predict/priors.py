"""What was learned, as a file: a version, the timetable it speaks of, and the state of `Learned`.

`learn` goes through `Learned.observe` in the order in which visits became known, exactly as a running engine does.
Loaded on another timetable, what is known of links and stops that are still there (by stop_id) goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from busd.errors import HistoryError
from busd.parameters import Parameters
from busd.predict.learning import Learned, Seen
from busd.table import pack_state, unpack_state
from gtfs.calendar import service_day_start
from gtfs.network import F64, I64, Network

VERSION = 2
STEP_S = 60.0
"""visits that became known within so long are learned together, and the table is renewed between"""


@dataclass(frozen=True, eq=False)
class VisitColumns:
    """Observed visits, parallel arrays, ascending by ``known_at``; epoch seconds, NaN unknown."""

    trip_idx: I64
    stop_pos: I64
    service_ordinal: I64
    start_s: I64  # of a frequency run, -1 otherwise
    vehicle: I64
    arrival_at: F64
    departure_at: F64
    bracket_s: F64
    known_at: F64


@dataclass(frozen=True, eq=False)
class Priors:
    """Immutable. ``network`` is the digest of the timetable whose rows ``body`` speaks of."""

    version: int
    network: str
    body: bytes

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.version} {self.network} ".encode() + self.body).hexdigest()

    @classmethod
    def of(cls, learned: Learned) -> Priors:
        return cls(VERSION, learned.network.digest, pack_state(learned.dump()))

    def save(self, path: Path) -> None:
        """Complete or not at all. OSError where the disk does not take it."""
        part = path.with_name(path.name + ".part")
        part.write_bytes(msgspec.msgpack.encode([self.version, self.network, self.digest, self.body]))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Priors:
        """`HistoryError` where the file is damaged, of another version, or cannot be read."""
        try:
            version, network, digest, body = msgspec.msgpack.decode(path.read_bytes(), type=tuple[int, str, str, bytes])
        except OSError as error:
            raise HistoryError(f"{path}: {error.strerror or error}") from None
        except msgspec.MsgspecError as error:
            raise HistoryError(f"{path}: is no file of priors ({error})") from None
        if version != VERSION:
            raise HistoryError(f"{path}: has version {version}; this version of busd knows {VERSION}; learn again")
        priors = cls(version, network, body)
        if priors.digest != digest:
            raise HistoryError(f"{path}: is damaged; learn again")
        return priors

    def into(self, learned: Learned, parameters: Parameters, networks: Callable[[str], Network]) -> None:
        """Puts them in place of what ``learned`` knows. LookupError where their timetable is not known any more,
        HistoryError where they were made with parts of another shape."""
        state: dict[str, Any] = unpack_state(self.body)
        try:
            if self.network == learned.network.digest:
                learned.load(state)
            else:
                old = Learned(networks(self.network), parameters)
                old.load(state)
                learned.carry_over(old)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise HistoryError(f"the priors do not fit this version of busd; learn again ({error!r})") from None
        learned.table_at = -np.inf


def learn(network: Network, visits: VisitColumns, parameters: Parameters) -> Priors:
    """Priors from nothing but ``visits``. Terminals' turns, paces and places inside links need positions: they are
    learned by a running engine or a replay only."""
    learned = Learned(network, parameters)
    seen = _as_seen(network, visits)
    starts = np.flatnonzero(np.diff(visits.known_at // STEP_S, prepend=-1.0))
    for first, end in zip(starts.tolist(), [*starts[1:].tolist(), len(visits.known_at)]):
        at, here = float(visits.known_at[first]), slice(first, end)
        learned.refresh(at, int(visits.service_ordinal[first]), at - float(seen.base_at[first]))
        part = Seen(**{name: getattr(seen, name)[here] for name in seen.__dataclass_fields__})
        learned.observe(part, at)
    return Priors.of(learned)


def _as_seen(network: Network, visits: VisitColumns) -> Seen:
    pattern = network.trip_pattern[visits.trip_idx].astype(np.int64)
    first_row = network.trip_time_offset[visits.trip_idx]
    midnight = {int(day): service_day_start(int(day), network.timezone) for day in np.unique(visits.service_ordinal)}
    base = np.array([midnight[day] for day in visits.service_ordinal.tolist()], np.float64)
    shift = visits.start_s - network.departure_s[first_row].astype(np.float64)
    at = np.where((visits.stop_pos == 0) | np.isnan(visits.arrival_at), visits.departure_at, visits.arrival_at)
    return Seen(
        pattern=pattern,
        stop_pos=visits.stop_pos,
        time_row=first_row + visits.stop_pos,
        base_at=base + np.where(visits.start_s >= 0, shift, 0.0),
        day=visits.service_ordinal,
        at=at,
        before_at=_before(visits, at),
        bracket_s=visits.bracket_s,
        habit_s=np.zeros(len(at)),
    )


def _before(visits: VisitColumns, at: F64) -> F64:
    """The same vehicle's time at the stop before on the same run, if that was known by then."""
    latest: dict[tuple[int, int, int, int], tuple[int, float]] = {}
    out = np.full(len(at), np.nan)
    columns = (visits.service_ordinal, visits.trip_idx, visits.start_s, visits.vehicle, visits.stop_pos, at)
    for k, (day, trip, start, vehicle, pos, when) in enumerate(zip(*(column.tolist() for column in columns))):
        key = (day, trip, start, vehicle)
        known = latest.get(key)
        if known is not None and known[0] == pos - 1:
            out[k] = known[1]
        latest[key] = (pos, when)
    return out
