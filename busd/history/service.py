"""The daemon's historian: listens to the engine's outputs, and does its work in a thread, a batch every few seconds."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from busd import metrics
from busd.clock import Clock
from busd.config import HistoryConfig
from busd.errors import HistoryError
from busd.history.drift import Drift, DriftWatch
from busd.history.outcomes import Outcomes
from busd.history.store import HistoryStore
from busd.history.tally import Tally
from busd.history.visits import Describer, Seen
from busd.types import Output, StopVisit, StopVisited
from gtfs.network import Network

log = structlog.get_logger(__name__)

MAX_WAITING = 200_000
"""visits kept in memory while the disk does not take them"""
PRUNE_S = 3600.0
SCORE_S = 60.0
SHOW_S = 15.0
"""gauges and /v1/quality are worked out this often"""
GAUGE_TRIPS = 0.5
"""a line of which less is left in the fading tally has no gauges"""


class Historian:
    """``sink`` is called with every input's outputs; ``now`` and ``network`` tell when, and by which timetable."""

    def __init__(
        self,
        config: HistoryConfig,
        path: Path,
        clock: Clock,
        now: Callable[[], float],
        network: Callable[[], Network | None],
    ) -> None:
        self.config, self._clock, self._now, self._network = config, clock, now, network
        self.store = HistoryStore(path) if config.enabled or config.measure else None
        self.outcomes = Outcomes(config.measure_runs, config.measure_lines)
        self.watch = DriftWatch()
        self._waiting: list[tuple[float, StopVisit, Network]] = []
        self._describer: Describer | None = None
        self._part = f"{clock.now():.3f}"
        self._pruned_at = self._scored_at = float("-inf")
        self._counted_out = 0
        self._shown_at = float("-inf")
        self._quality: dict[str, Any] = self._look_at_quality()
        self._lock = asyncio.Lock()

    # ---- on the loop -------------------------------------------------------------------------------------------------

    def sink(self, outputs: Sequence[Output]) -> None:
        network = self._network()
        if network is None:
            return
        at = self._now()
        if self.config.measure:
            self.outcomes.take(at, outputs, network)
        if not self.config.enabled:
            return
        for output in outputs:
            if type(output) is StopVisited:
                if len(self._waiting) >= MAX_WAITING:
                    metrics.HISTORY_LOST.labels("queue").inc()
                else:
                    self._waiting.append((at, output.visit, network))

    def recall(self, visits: Sequence[tuple[float, StopVisit]]) -> None:
        """What a restart found in the journal behind the last snapshot; a visit that was written already stays as it
        is."""
        network = self._network()
        if network is not None and self.config.enabled:
            self._waiting.extend((at, visit, network) for at, visit in visits)

    async def run(self) -> None:
        """Until cancelled; `close` does what is left."""
        while True:
            await asyncio.sleep(self.config.write_s)
            await self.flush()

    async def flush(self) -> None:
        async with self._lock:
            batch, self._waiting = self._waiting, []
            try:
                raised, ended = await asyncio.to_thread(self._work, batch)
            except HistoryError as error:
                self._waiting = (batch + self._waiting)[:MAX_WAITING]  # the next round tries again
                log.error("history_not_written", error=str(error), visits=len(batch))
                return
            self._tell(raised, ended)

    async def close(self) -> None:
        self._scored_at = float("-inf")  # whatever was measured since the last time is kept too
        await self.flush()
        if self._waiting:
            metrics.HISTORY_LOST.labels("disk").inc(len(self._waiting))
        if self.store is not None:
            self.store.close()

    def quality(self) -> dict[str, Any]:
        """The JSON of /v1/quality: the latest service day's figures, by line, and the alarms that stand."""
        return self._quality

    # ---- in the thread -----------------------------------------------------------------------------------------------

    def _work(self, batch: list[tuple[float, StopVisit, Network]]) -> tuple[list[Drift], list[Drift]]:
        now = self._clock.now()
        changes: tuple[list[Drift], list[Drift]] = ([], [])
        if self.config.measure:
            metrics.OUTCOMES.inc(self.outcomes.work())
            changes = self.watch.look(self.outcomes.recent, self.outcomes.at)
            if now - self._shown_at >= SHOW_S or any(changes):
                self._shown_at = now
                self._quality = self._look_at_quality()
                set_gauges(self.outcomes.recent)
        if self.store is not None:
            if batch:
                metrics.HISTORY_VISITS.inc(self.store.write([self._seen(*entry) for entry in batch]))
            if self.config.measure and now - self._scored_at >= SCORE_S:
                self._scored_at = now
                for date, tally in list(self.outcomes.days.items()):
                    self.store.put_score(date, self._part, tally.dump())
            if now - self._pruned_at >= PRUNE_S:
                self._pruned_at = now
                before = dt.datetime.fromtimestamp(now, dt.UTC).date() - dt.timedelta(days=self.config.keep_days)
                metrics.HISTORY_BYTES.set(self.store.prune(before.isoformat(), self.config.max_bytes).bytes)
        return changes

    def _look_at_quality(self) -> dict[str, Any]:
        days = self.outcomes.days
        tally = days[max(days)] if days else Tally()
        return {
            "measured": self.config.measure,
            "at": self.outcomes.at if days else None,
            "service_date": max(days, default=None),
            "figures": tally.figures(),
            "lines": {line: tally.figures(line) for line in tally.lines},
            "alarms": [_alarm(drift) for drift in self.watch.alarms.values()],
            "runs_left_out": self.outcomes.left_out,
        }

    def _seen(self, at: float, visit: StopVisit, network: Network) -> Seen:
        if self._describer is None or self._describer.network is not network:
            self._describer = Describer(network)
        return self._describer.seen(visit, at)

    # ---- telling -----------------------------------------------------------------------------------------------------

    def _tell(self, raised: list[Drift], ended: list[Drift]) -> None:
        for drift in raised:
            metrics.DRIFT.labels(drift.line, drift.kind).set(1)
            log.warning("calibration_drift", **_alarm(drift))
        for drift in ended:
            metrics.DRIFT.labels(drift.line, drift.kind).set(0)
            log.info("calibration_restored", line=drift.line, kind=drift.kind, since_at=drift.since_at)
        if self.config.measure:
            metrics.OUTCOME_RUNS_LEFT_OUT.inc(self.outcomes.left_out - self._counted_out)
            self._counted_out = self.outcomes.left_out


def set_gauges(recent: Tally) -> None:
    """The fading tally on /metrics; what has no data says NaN rather than an old number."""
    whole = recent.figures()
    for minutes, row in whole["told"].items():
        for standard in ("mbta", "newmark"):
            metrics.OUTCOME_ACCURATE.labels(standard, minutes).set(_ratio(row[standard]))
    for minutes, row in whole["actual"].items():
        metrics.OUTCOME_AVAILABLE.labels(minutes).set(_ratio(row["availability"]))
        if row["eta"] is not None:
            metrics.OUTCOME_ACCURATE.labels("eta", minutes).set(_ratio(row["eta"]))
    metrics.GHOSTS.set(_ratio(whole["ghosts"]))
    for k, line in enumerate(recent.lines):
        alive = recent.trips[k] >= GAUGE_TRIPS
        for minutes, row in recent.figures(line)["told"].items():
            labels = (line, minutes)
            metrics.OUTCOME_BIAS.labels(*labels).set(_number(row["bias"] if alive else None))
            metrics.OUTCOME_ERROR.labels(*labels).set(_number(row["mae"] if alive else None))
            metrics.OUTCOME_COVERAGE.labels(*labels).set(_ratio(row["coverage"] if alive else None))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _ratio(percent: float | None) -> float:
    return float("nan") if percent is None else percent / 100.0


def _alarm(drift: Drift) -> dict[str, Any]:
    return {
        "line": drift.line,
        "kind": drift.kind,
        "share": drift.share,
        "expected": drift.expected,
        "trips": drift.trips,
        "since_at": drift.since_at,
    }
