"""Checks of a compiled network, and the report of `busd check feed.zip`.

Faults of single rows are counted where they are met (reader, stops, stop_times ...); here is what only the whole shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gtfs.errors import GtfsError
from gtfs.findings import Findings, Severity
from gtfs.network import Network

if TYPE_CHECKING:
    from rich.console import Console

    from gtfs.archive import ReaderLimits

TOO_FAST_MPS = 150 / 3.6
TIME_GRAIN_S = 60
"""Timetables are rounded to the minute: so much may be missing between two stops."""


def check_feed(path: Path | str, limits: ReaderLimits | None = None) -> Findings:
    """All findings of a feed; one that cannot be used at all has the finding ``unreadable`` (`Findings.usable`)."""
    from gtfs.archive import ReaderLimits, read_zip
    from gtfs.compile import compile_bytes

    findings = Findings()
    try:
        compile_bytes(read_zip(path, limits or ReaderLimits()), limits, findings)
    except GtfsError as error:
        findings.add("unreadable", text=str(error))
    return findings


def render_findings(findings: Findings, console: Console) -> None:
    """A table for people, one line a code, file and field, with the first example."""
    from rich.markup import escape
    from rich.table import Table

    color = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "dim"}
    if len(findings):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("severity", "count", "where", "what", "for example"):
            table.add_column(name, justify="right" if name == "count" else "left", overflow="fold")
        for group in findings:
            example = group.examples[0] if group.examples else None
            words = "" if example is None else example.text
            if example is not None and example.row is not None:
                words = f"row {example.row}: {words}".removesuffix(": ")
            where = " ".join(part for part in (group.file, group.field) if part)
            severity = f"[{color[group.severity]}]{group.severity}[/]"
            table.add_row(severity, f"{group.count:,}", escape(where), group.meaning, escape(words))
        console.print(table)
    counts = ", ".join(f"{findings.count_severity(s):,} {s}" for s in Severity)
    console.print(f"{'usable' if findings.usable else 'NOT usable'}: {counts}")


def check_network(network: Network, findings: Findings) -> None:
    """Adds the findings that need the whole timetable."""
    _check_speed(network, findings)
    _check_stops(network, findings)
    _check_blocks(network, findings)
    trips_of_route = np.bincount(network.pattern_route, minlength=len(network.route_id))
    idle = np.flatnonzero(trips_of_route == 0)
    findings.add_many(
        "route_without_trips", "routes.txt", "route_id", len(idle), ((None, network.route_id[i]) for i in idle.tolist())
    )


def _check_speed(network: Network, findings: Findings) -> None:
    trip = np.repeat(np.arange(len(network.trip_id)), np.diff(network.trip_time_offset))
    position = np.arange(len(trip)) - network.trip_time_offset[trip]
    metres = network.pattern_stop_m[network.pattern_stop_offset[network.trip_pattern[trip]] + position]
    allowed_m = (network.arrival_s[1:] - network.departure_s[:-1] + TIME_GRAIN_S) * TOO_FAST_MPS
    fast = np.flatnonzero((np.diff(metres) > allowed_m) & (trip[1:] == trip[:-1]))
    pairs = np.unique(trip[fast])
    examples = ((None, f"trip {network.trip_id[t]}") for t in pairs.tolist())
    findings.add_many("too_fast", "stop_times.txt", "arrival_time", len(pairs), examples)


def _check_stops(network: Network, findings: Findings) -> None:
    served = np.diff(network.stop_call_offset) > 0
    unused = np.flatnonzero(~served & (network.stop_location_type == 0))
    findings.add_many(
        "unused_stop", "stops.txt", "stop_id", len(unused), ((None, network.stop_id[i]) for i in unused.tolist())
    )
    odd = np.flatnonzero(served & (network.stop_location_type != 0))
    findings.add_many(
        "station_in_stop_times",
        "stop_times.txt",
        "stop_id",
        len(odd),
        ((None, network.stop_id[i]) for i in odd.tolist()),
    )


def _check_blocks(network: Network, findings: Findings) -> None:
    if len(network.block_id) == 0:
        findings.add("no_blocks", "trips.txt", field="block_id")
        return
    first, last = network.trip_time_offset[:-1], network.trip_time_offset[1:] - 1
    start, end = network.departure_s[first], network.arrival_s[last]
    trip = network.block_trip
    key = network.trip_block[trip].astype(np.int64) << 32 | network.trip_service[trip]
    order = np.lexsort((start[trip], key))
    trip, key = trip[order], key[order]
    runs_often = np.zeros(len(start), np.bool_)
    runs_often[network.frequency_trip] = True
    clash = (key[1:] == key[:-1]) & (start[trip[1:]] < end[trip[:-1]]) & ~runs_often[trip[1:]] & ~runs_often[trip[:-1]]
    where = np.flatnonzero(clash)
    examples = (
        (
            None,
            f"block {network.block_id[int(network.trip_block[trip[i]])]}: {network.trip_id[trip[i]]} and {network.trip_id[trip[i + 1]]}",
        )
        for i in where
    )
    findings.add_many("overlapping_block", "trips.txt", "block_id", len(where), examples)
