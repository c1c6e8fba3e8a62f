"""Screens of ``busd explain`` and ``busd detours``, for 80 columns: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from busd.log import strip_control

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def show_vehicle(answer: Mapping[str, Any]) -> None:
    """The answer of ``GET /v1/vehicles/{id}/explain``."""
    from rich.console import Console, Group
    from rich.panel import Panel

    console = Console(highlight=False)
    style = "green" if answer["predicted"] and not answer["place"]["off_route"] else "yellow"
    facts = _grid()
    for name, value in _facts(answer):
        facts.add_row(_text(name, "dim"), _text(value))
    name = answer["vehicle_id"] + (f" ({answer['label']})" if answer.get("label") else "")
    title = _text(f"{name}: {'predicted' if answer['predicted'] else 'not predicted'}", f"bold {style}")
    console.print(Panel(Group(_text(answer["why"], style), "", facts), title=title, title_align="left"))
    if answer["hypotheses"]:
        console.print(_hypotheses(answer["hypotheses"]))
    if answer["events"]:
        events = _table("last events", "when", "what", "why")
        for event in answer["events"]:
            events.add_row(_text(_ago(answer["at"] - event["at"])), _text(event["event"]), _text(event["reason"]))
        console.print(events)


def show_detours(answer: Mapping[str, Any]) -> None:
    """The answer of ``GET /v1/detours``."""
    from rich.console import Console

    console = Console(highlight=False)
    if not answer["detours"]:
        console.print("no detours: all buses that are followed keep to their routes")
        return
    table = _table(
        f"{len(answer['detours'])} detours",
        "id\nstate",
        "line\ndirection",
        "from\nto",
        "since\nlast",
        "buses\nstops missed",
    )
    for row in answer["detours"]:
        missed = ", ".join(stop["name"] or stop["stop_id"] for stop in row["stops_missed"]) or "misses no stop"
        table.add_row(
            _text(f"{row['id']}\n{row['status']}"),
            _text(f"{row['line']}\n{row['direction_id']}"),
            _text(f"{_km(row['leaves']['distance_m'])}\n{_km(row['rejoins']['distance_m'])}"),
            _text(f"{_clock(row['since'])}\n{_clock(row['last_at'])}"),
            _text(f"{row['passes']} passes: {', '.join(row['vehicles'])}\n{missed}"),
        )
    console.print(table)
    console.print(_text("busd detours confirm ID, busd detours dismiss ID", "dim"))


def _facts(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    run, place, report, hint = answer["run"], answer["place"], answer["report"], answer["hint"]
    facts = []
    if run is not None:
        sure = "" if run["probability"] is None else f", {run['probability']:.0%} sure"
        facts.append(
            (
                "run",
                f"line {run['line']}, trip {run['trip_id']} of {run['service_date']}, by {answer['decided_by']}{sure}",
            )
        )
    where = [answer["phase"]]
    if place["distance_m"] is not None:
        where.append(f"{_km(place['distance_m'])} along, {place['offset_m'] or 0:.0f} m beside the shape")
    if place["next_stop"] is not None:
        where.append(f"next {place['next_stop']['name'] or place['next_stop']['stop_id']}")
    if place["deviation_s"] is not None:
        late = place["deviation_s"]
        where.append(f"{abs(late) / 60:.1f} min {'late' if late >= 0 else 'early'}")
    facts.append(("place", ", ".join(where)))
    speed = "" if report["speed_mps"] is None else f", {report['speed_mps'] * 3.6:.0f} km/h"
    facts.append(
        ("report", f"{_ago(report['age_s'])}, {report['lat']:.5f}, {report['lon']:.5f}{speed}, from {report['source']}")
    )
    said = ", ".join(
        f"{key.removesuffix('_id')} {value}" for key, value in hint.items() if key not in ("given", "verdict", "trust")
    )
    trust = "" if hint["trust"] in (None, 1.0) else f"; trusted to {hint['trust']:.0%}"
    facts.append(("hint", f"{said}: {hint['verdict']}{trust}" if said else hint["verdict"] + trust))
    return facts


def _hypotheses(rows: list[dict[str, Any]]) -> Table:
    table = _table(
        "what it may be doing (evidence in nats: higher fits better)", "sure", "line, trip", "where", *EVIDENCE.values()
    )
    for row in rows:
        late = row["deviation_s"]
        where = [row["phase"]] + ([] if row["distance_m"] is None else [_km(row["distance_m"])])
        where += [] if late is None else [f"{late / 60:+.1f} min"]
        where += [f"{row['misses']} misses"] if row["misses"] else []
        where += [f"claimed {row['claimed_by_others']:.0%}"] if row["claimed_by_others"] > 0.05 else []
        table.add_row(
            _text(f"{row['probability']:.0%}"),
            _text(f"{row['route_id']}\n{row['trip_id']}"),
            _text("\n".join([", ".join(where[:2]), ", ".join(where[2:])]).strip()),
            *(_text(f"{row['evidence'].get(name) or 0.0:.1f}") for name in EVIDENCE),
        )
    return table


EVIDENCE = {
    "place": "place",
    "timetable now": "time\nnow",
    "timetable so far": "time\nso far",
    "how it came about": "how it\ncame",
}
"""evidence -> its column"""


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")
    return grid


def _text(text: object, style: str = "") -> Text:
    from rich.text import Text

    return Text("\n".join(strip_control(line) for line in str(text).split("\n")), style=style)


def _km(metres: float) -> str:
    return f"{metres / 1000:.2f} km"


def _ago(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M")
