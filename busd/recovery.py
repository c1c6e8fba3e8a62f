"""From disk to a running engine: newest good snapshot, the journal after it, or a fresh start."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from busd import metrics
from busd.engine import Engine
from busd.errors import JournalError
from busd.journal import CrashGuard, load_snapshot, read
from busd.parameters import Parameters
from busd.predict.priors import Priors
from busd.types import AnyInput, NetworkLoaded, Started, StopVisit, StopVisited
from gtfs.network import Network

log = structlog.get_logger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Recovered:
    engine: Engine
    seq: int
    """of the last input the engine has seen; 0 for a fresh one"""
    applied: int
    """inputs replayed after the snapshot"""
    continues: bool
    """the engine holds provably all that was ever shown, so the epoch may go on"""
    visits: tuple[tuple[float, StopVisit], ...] = ()
    """what the replayed inputs saw, and when: the history may not have written it before the end"""


def recover(
    state_dir: Path,
    journal_dir: Path,
    networks: Callable[[str], Network],
    parameters: Parameters,
    guard: CrashGuard,
    priors: Callable[[str], Priors] | None = None,
) -> Recovered:
    """The engine as it was at the last journaled input: newest snapshot, then the journal after it. Where that cannot
    be, a fresh one: what is wrong is said, never fatal."""
    fresh = Recovered(Engine(networks, parameters, priors=priors), 0, 0, False)
    found = load_snapshot(journal_dir)
    if found is None:
        return fresh
    try:
        engine, seq = Engine.restore(found[1], networks, parameters, priors=priors), found[0]
    except (JournalError, LookupError, ValueError, TypeError) as error:
        log.warning("snapshot_unusable", error=str(error), effect="starting anew")
        return fresh
    applied = 0
    visits: list[tuple[float, StopVisit]] = []
    for number, entry in read(journal_dir, after_seq=seq):
        if guard.skips(number):
            metrics.JOURNAL_SKIPPED.inc()
            log.error("input_skipped", seq=number, kind=type(entry).__name__, reason="it ended the process twice")
            continue
        guard.enter(number)
        try:
            outputs = engine.apply(entry)
        except LookupError as error:  # a timetable or priors that are not there any more
            guard.leave()
            log.warning("journal_unusable", seq=number, error=str(error), effect="starting anew")
            return fresh
        if isinstance(entry, NetworkLoaded):
            visits.clear()  # rows of another timetable; a switch within the seconds behind a snapshot is rare
        visits.extend((entry.at, output.visit) for output in outputs if isinstance(output, StopVisited))
        applied, seq = applied + 1, number
    guard.leave()
    return Recovered(engine, seq, applied, _same_boot_or_clean(state_dir), tuple(visits))


def first_inputs(recovered: Recovered, at: float, network_digest: str) -> list[AnyInput]:
    """What a start adds to the journal: a new epoch unless the old one goes on, and the timetable if it is another."""
    engine, inputs = recovered.engine, list[AnyInput]()
    if not (recovered.continues and engine.epoch):
        inputs.append(Started(at, secrets.token_hex(5), keeps=engine.has_network))
    if not engine.has_network or engine.network.digest != network_digest:
        inputs.append(NetworkLoaded(at, network_digest))
    return inputs


def mark_running(state_dir: Path) -> None:
    """While this file names the present boot, an end of the process cannot have lost what it had written."""
    state_dir.mkdir(parents=True, exist_ok=True)
    (state_dir / "boot").write_text(_boot(), encoding="ascii")


def mark_clean(state_dir: Path) -> None:
    (state_dir / "boot").write_text("clean", encoding="ascii")


def _same_boot_or_clean(state_dir: Path) -> bool:
    try:
        last = (state_dir / "boot").read_text(encoding="ascii")
    except OSError:
        return False
    return last == "clean" or (bool(last) and last == _boot())


def _boot() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
