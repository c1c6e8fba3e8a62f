"""The historian of a daemon, and history made anew from a journal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from busd import metrics
from busd.clock import ManualClock
from busd.config import HistoryConfig
from busd.engine import Engine
from busd.errors import HistoryError
from busd.history.rebuild import rebuild
from busd.history.service import Historian
from busd.history.store import HistoryStore
from busd.journal import CrashGuard, Journal, write_snapshot
from busd.parameters import Parameters
from busd.recovery import recover
from busd.types import AnyInput, NetworkLoaded, Output, Started, StopVisited, TripHint, VehiclePosition
from gtfs.testing import frame_of_map
from replay.grid import GridDriver
from replay.source import journal_from_the_start

Line = Any  # of conftest.py
PLACES = frame_of_map("A---B---C---D")


def historian(line: Line, path: Path, **config: Any) -> tuple[Historian, ManualClock]:
    clock = ManualClock(line.start)
    return Historian(HistoryConfig(**config), path, clock, clock.now, lambda: line.network), clock


async def test_visits_and_scores_are_written_in_batches(line: Line, tmp_path: Path) -> None:
    it, clock = historian(line, tmp_path / "h.sqlite")
    trip = line.trip(0)
    it.sink([line.told(trip, line.start, {1: line.start + 60, 2: line.start + 110})])
    it.sink([line.seen(trip, 1, line.start + 66), line.seen(trip, 2, line.start + 119)])
    assert it.store is not None and list(it.store.read()) == []
    await it.flush()
    assert [row.visit.pos for row in it.store.read()] == [1, 2]
    assert it.store.days()[0].scored
    quality = it.quality()
    assert quality["service_date"] == "20260302" and quality["figures"]["all"]["n"] == 2
    assert quality["lines"]["1"]["all"]["bias"] == 7.5
    assert metrics.OUTCOME_BIAS.labels("1", "0-3")._value.get() == 7.5
    clock.advance(100)
    it.sink([line.seen(trip, 3, line.start + 160)])
    await it.close()
    reader = HistoryStore(tmp_path / "h.sqlite", read_only=True)
    assert len(list(reader.read())) == 3
    reader.close()


async def test_a_drift_is_told_and_ended(line: Line, tmp_path: Path) -> None:
    it, clock = historian(line, tmp_path / "h.sqlite")

    async def trips(numbers: range, often: int) -> None:
        """Every ``often``-th trip 90 s off, in turn early and late; the interval is 60 s to both sides."""
        for k in numbers:
            zero, off = line.start + 300 * k, (90.0 if k % often == 0 else 20.0) * (-1) ** (k // 2)
            it.sink([line.told(line.trip(k), zero, {pos: zero + 100 * pos for pos in (1, 2, 3)})])
            it.sink([line.seen(line.trip(k), pos, zero + 100 * pos + off) for pos in (1, 2, 3)])
            clock.advance(300)
        await it.flush()

    await trips(range(20), often=1)
    assert [(a["line"], a["kind"]) for a in it.quality()["alarms"]] == [("1", "coverage")]
    assert metrics.DRIFT.labels("1", "coverage")._value.get() == 1
    await trips(range(20, 95), often=5)
    assert it.quality()["alarms"] == []
    assert metrics.DRIFT.labels("1", "coverage")._value.get() == 0
    await it.close()


async def test_a_full_disk_costs_nothing_but_time(line: Line, tmp_path: Path) -> None:
    it, _ = historian(line, tmp_path / "h.sqlite")
    assert it.store is not None
    it.sink([line.seen(line.trip(0), 1, line.start + 66)])
    write, tries = it.store.write, 0

    def full(batch: Any) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise HistoryError("disk full")
        return write(batch)

    it.store.write = full  # type: ignore[method-assign]
    await it.flush()
    assert list(it.store.read()) == []
    await it.flush()
    assert len(list(it.store.read())) == 1
    await it.close()


async def test_what_is_switched_off_is_not_done(line: Line, tmp_path: Path) -> None:
    it, _ = historian(line, tmp_path / "h.sqlite", enabled=False, measure=False)
    it.sink([line.told(line.trip(0), line.start, {1: line.start + 60}), line.seen(line.trip(0), 1, line.start + 66)])
    await it.flush()
    assert it.quality()["measured"] is False and not (tmp_path / "h.sqlite").exists()
    await it.close()


def drive(line: Line, driver: GridDriver, trips: int) -> None:
    reports = []
    for k in range(trips):
        for t in range(-20, 190, 10):
            metres = min(max(t * 8.0 * 0.9, 0.0), 1199.0)
            lat, lon = PLACES.between("ABCD"[int(metres // 400)], "ABCD"[int(metres // 400) + 1], metres % 400 / 400)
            at = line.start + 300 * k + t
            reports.append(VehiclePosition("t", f"bus{k}", lat, lon, at, at, hint=TripHint(trip_id=f"1-{k}")))
    for report in sorted(reports, key=lambda report: report.received_at):
        driver.feed(report)
    driver.drain()


@pytest.mark.parametrize("whole", [True, False])
def test_a_journal_gives_the_history_of_the_live_line(line: Line, tmp_path: Path, whole: bool) -> None:
    """What was written live and what is rebuilt are the same rows; also where retention took the journal's start."""
    networks = {line.network.digest: line.network}
    engine = Engine(networks.__getitem__, Parameters(), boards=False)
    journal = Journal(tmp_path / "journal", {"network": line.network.digest})
    live: list[tuple[float, Output]] = []

    def sink(entry: AnyInput, outputs: list[Output]) -> None:
        if whole or not isinstance(entry, Started | NetworkLoaded):
            journal.append_many([entry])
        live.extend((entry.at, output) for output in outputs if isinstance(output, StopVisited))

    driver = GridDriver(engine, sink)
    driver.start(line.start - 600, "e")
    driver.load_network(line.start - 600, line.network.digest)
    drive(line, driver, 6)
    journal.close()
    assert len(live) > 15

    store = HistoryStore(tmp_path / "h.sqlite")
    done = rebuild(journal_from_the_start(tmp_path / "journal"), store, networks.__getitem__, Parameters())
    assert done.visits == len(live) and done.days == ["2026-03-02"] and done.predictions_judged > 15
    rows = list(store.read())
    assert [row.visit.known_at for row in rows] == sorted(at for at, _ in live)
    assert all(
        row.visit.known_at >= max(row.visit.arrival or -math.inf, row.visit.departure or -math.inf) for row in rows
    )
    again = rebuild(journal_from_the_start(tmp_path / "journal"), store, networks.__getitem__, Parameters())
    assert again == done and list(store.read()) == rows
    assert len(store.scores("2026-03-02")) == 1
    store.close()


async def test_what_a_crash_left_unwritten_is_recalled(line: Line, tmp_path: Path) -> None:
    """A snapshot at the start, a journal behind it, and an end before the history was written."""
    networks = {line.network.digest: line.network}
    engine = Engine(networks.__getitem__, Parameters())
    journal = Journal(tmp_path / "journal", {"network": line.network.digest})
    seen = []

    def sink(entry: AnyInput, outputs: list[Output]) -> None:
        journal.append_many([entry])
        seen.extend(output.visit for output in outputs if isinstance(output, StopVisited))

    driver = GridDriver(engine, sink)
    driver.start(line.start - 600, "e")
    driver.load_network(line.start - 600, line.network.digest)
    write_snapshot(tmp_path / "journal", journal.seq, engine.snapshot())
    drive(line, driver, 2)
    journal.close()
    recovered = recover(
        tmp_path, tmp_path / "journal", networks.__getitem__, Parameters(), CrashGuard(tmp_path / "journal")
    )
    assert [visit for _, visit in recovered.visits] == seen and len(seen) >= 7
    it, _ = historian(line, tmp_path / "h.sqlite")
    for _ in range(2):  # what had been written stays as it is
        it.recall(recovered.visits)
        await it.flush()
    assert it.store is not None and len(list(it.store.read())) == len(seen)
    await it.close()


def test_a_timetable_that_is_gone_is_named(line: Line, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", {})
    journal.append_many([Started(1.0, "e"), NetworkLoaded(1.0, "f" * 64)])
    journal.close()

    def none(digest: str) -> Any:
        raise LookupError(f"no timetable {digest[:6]}")

    store = HistoryStore(tmp_path / "h.sqlite")
    with pytest.raises(HistoryError, match="ffffff"):
        rebuild(journal_from_the_start(tmp_path / "journal"), store, none, Parameters())
    store.close()
