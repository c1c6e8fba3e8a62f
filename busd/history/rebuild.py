"""History made anew from a journal: the same engine over the same inputs sees the same visits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from busd.config import HistoryConfig
from busd.engine import Engine
from busd.errors import HistoryError
from busd.history.outcomes import Outcomes
from busd.history.store import HistoryStore
from busd.history.tally import Tally
from busd.history.visits import Describer, Seen
from busd.parameters import Parameters
from busd.types import AnyInput, PositionReceived, StopVisited
from gtfs.network import Network

BATCH = 5_000
WORK_EVERY = 2_000
"""inputs between two rounds of the measurement"""
PART = "journal"
"""name of a rebuilt score, in place of the parts that a live process left"""


class Rebuilt(msgspec.Struct, frozen=True):
    inputs: int
    positions: int
    visits: int
    predictions_judged: int
    days: list[str]


def rebuild(
    inputs: Iterable[AnyInput],
    store: HistoryStore,
    networks: Callable[[str], Network],
    parameters: Parameters,
    config: HistoryConfig | None = None,
    told: Callable[[int], None] | None = None,
) -> Rebuilt:
    """Applies ``inputs``, a journal's from the start, and writes what was seen to ``store``; the service days that they
    touch are replaced. A LookupError from ``networks`` becomes a HistoryError that names the timetable."""
    config = config or HistoryConfig()
    engine = Engine(networks, parameters, boards=False)
    outcomes = Outcomes(config.measure_runs, config.measure_lines)
    scored: dict[str, Tally] = {}
    counts: Counter[str] = Counter()
    describer: Describer | None = None
    batch: list[Seen] = []
    replaced: set[str] = set()

    def write() -> None:
        for day in sorted({seen.trip.service_date for seen in batch} - replaced):
            store.forget(day)
            replaced.add(day)
        counts["visits"] += store.write(batch)
        batch.clear()

    for entry in inputs:
        counts["inputs"] += 1
        counts["positions"] += isinstance(entry, PositionReceived)
        try:
            outputs = engine.apply(entry)
        except LookupError as error:
            raise HistoryError(
                f"the journal speaks of a timetable that is not in the cache any more: {error}"
            ) from None
        if outputs and engine.has_network:
            network = engine.network
            outcomes.take(entry.at, outputs, network)
            if describer is None or describer.network is not network:
                describer = Describer(network)
            batch.extend(describer.seen(out.visit, entry.at) for out in outputs if type(out) is StopVisited)
        if len(batch) >= BATCH:
            write()
        if counts["inputs"] % WORK_EVERY == 0:
            counts["judged"] += outcomes.work()
            scored |= outcomes.days
            if told is not None:
                told(counts["inputs"])
    write()
    counts["judged"] += outcomes.work()
    scored |= outcomes.days
    for date, tally in scored.items():
        store.put_score(date, PART, tally.dump())
    return Rebuilt(counts["inputs"], counts["positions"], counts["visits"], counts["judged"], sorted(replaced))
