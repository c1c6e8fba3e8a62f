"""Scores as tables of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from busd.history.standards import ACTUAL_EDGES_S, names

BUCKETS = names(ACTUAL_EDGES_S)
COLUMNS: Sequence[tuple[str, str, int]] = (
    ("n", "n", 0),
    ("availability", "avail %", 1),
    ("bias", "bias", 1),
    ("median", "median", 1),
    ("mae", "MAE", 1),
    ("p90", "p90 |e|", 0),
    ("eta", "ETA %", 1),
    ("mbta", "MBTA %", 1),
    ("newmark", "Newm %", 1),
    ("catch", "catch %", 1),
    ("coverage", "cov80 %", 1),
    ("coverage_sd", "± sd", 1),
    ("width", "width", 0),
    ("pinball", "pinball", 1),
    ("wobble", "wobble", 0),
    ("eta_all", "ETA %*", 1),
    ("mbta_all", "MBTA %*", 1),
    ("newmark_all", "Newm %*", 1),
)
SLICES = {
    "actual": "minutes to the arrival (actual)",
    "told": "minutes told",
    "reference": "minutes by the reference",
    "stops": "stops",
    "groups": "less than 15 min away",
}


def print_report(result: dict[str, Any], console: Console) -> None:
    truth = result["truth"]
    console.print(
        f"{truth['passages']} passages of {truth['trips']} trips (bracket <= {truth['max_bracket_s']:.0f} s, median "
        f"{truth['median_bracket_s']:.0f} s; {truth['left_out_percent']:.1f} % left out), {truth['grid_points']} grid "
        f"points, {result['common_points']} predicted by all logs; reference: {result['reference']}"
    )
    console.print(
        "seconds, actual - predicted: negative = the bus came before the time told.  * = missing counts as wrong"
    )
    console.print(overview(result))
    first = next(iter(result["logs"]))
    for point, slicings in result["logs"][first]["points"].items():
        for by, title in SLICES.items():
            console.print(_slices(f"{first}, {point}: {title}", slicings[by]))
    if result["over_best"]:
        console.print(_over_best(first, result))
    if "ablation" in result:
        console.print(_ablation(result["ablation"]))


def overview(result: dict[str, Any]) -> Table:
    """One row a log and point: MAE by bucket and the overall figures."""
    table = Table(title="All logs on common points", title_justify="left")
    table.add_column("log")
    for head in (*[f"MAE {name}" for name in BUCKETS], "bias 3-15", "ETA %", "MBTA %", "cov80 3-15", "avail %"):
        table.add_column(head, justify="right")
    for head in ("ETA %*", "MBTA %*", "ghosts %"):
        table.add_column(head, justify="right")
    for name, log in result["logs"].items():
        for point, slicings in log["points"].items():
            actual, means = slicings["actual"], slicings["means"]
            table.add_row(
                f"{name} {point}" if point != "p50" else name,
                *[number(actual[bucket].get("mae"), 1) for bucket in BUCKETS],
                number(_weighted(actual, "bias"), 1),
                number(means["eta"], 1),
                number(means["mbta"], 1),
                number(_weighted(actual, "coverage"), 1),
                number(slicings["stops"]["all"]["availability"], 1),
                number(means["eta_all"], 1),
                number(means["mbta_all"], 1),
                number(100.0 * log["ghosts"].get("share", float("nan")), 1),
            )
    return table


def _weighted(actual: dict[str, Any], key: str) -> float | None:
    """Mean over the points of 3-15 min."""
    rows = [actual[name] for name in BUCKETS[1:4] if actual[name].get(key) is not None]
    points = sum(row["n_common"] for row in rows)
    return sum(row[key] * row["n_common"] for row in rows) / points if points else None


def _slices(title: str, rows: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for _, head, _ in COLUMNS:
        table.add_column(head, justify="right")
    for name, row in rows.items():
        table.add_row(name, *[number(row.get(key), digits) for key, _, digits in COLUMNS])
    return table


def _over_best(first: str, result: dict[str, Any]) -> Table:
    table = Table(title=f"MAE of {first} over others' (95 % interval over trips)", title_justify="left")
    table.add_column("over")
    heads = ("3-15", *BUCKETS)
    for by in ("actual", "reference"):
        for head in heads:
            table.add_column(f"{head}\n{by}", justify="right")
    rows = {"best of each bucket": result["over_best"]} | dict(result["ratios"])
    for name, row in rows.items():
        cells = []
        for by in ("actual", "reference"):
            for head in heads:
                cell = row.get(by, {}).get(head, {})
                cells.append(ratio(cell))
        table.add_row(name, *cells)
    return table


def _ablation(parts: dict[str, Any]) -> Table:
    table = Table(
        title="Without each part: MAE ratio (above 1: the part helps), and what changes", title_justify="left"
    )
    table.add_column("without")
    heads = ("3-15", *BUCKETS)
    for head in (*heads, "ETA %* rider", "MBTA %* p50", "cov80", "pinball", "wobble", "ghosts %"):
        table.add_column(head, justify="right")
    for name, row in parts.items():
        table.add_row(
            name,
            *[ratio(row["mae_ratio"]["actual"].get(head, {})) for head in heads],
            *[number(row[key], 1, sign=True) for key in ("eta_all", "mbta_all", "coverage", "pinball", "wobble")],
            number(100.0 * row["ghosts"], 1, sign=True),
        )
    return table


def ratio(cell: dict[str, Any]) -> str:
    if cell.get("ratio") is None:
        return "-"
    text = f"{cell['ratio']:.3f}"
    if cell.get("ci"):
        text += f"\n{cell['ci'][0]:.2f}-{cell['ci'][1]:.2f}"
    if cell.get("best"):
        text += f"\n({cell['best']})"
    return text


def number(value: float | None, digits: int, sign: bool = False) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
