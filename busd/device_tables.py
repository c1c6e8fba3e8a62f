"""Tables of ``busd devices``: two lines a device, so that they read well in 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from busd.log import strip_control

if TYPE_CHECKING:
    from rich.table import Table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def show_devices(answer: Mapping[str, Any]) -> None:
    """The answer of ``GET /v1/admin/devices``."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    now = float(answer["now"])
    table = _table(
        f"{len(answer['devices'])} devices", "vehicle\ndevice", "connected\nfrom", "last fix\nplace", "rejects\nack"
    )
    for row in answer["devices"]:
        table.add_row(*(Text(cell) for cell in _cells(row, now)))
    console.print(table)
    if answer["names"]:
        names = _table("names of buses", "kind", "name", "vehicle")
        for entry in answer["names"]:
            names.add_row(*(Text(_clean(entry[key])) for key in ("kind", "key", "vehicle_id")))
        console.print(names)
    for source in answer["sources"]:
        if "suspicion" in source:
            console.print(Text(_clean(f"{source['source']}: {source['suspicion']}"), style="bold yellow"))
        elif source.get("rejects"):
            console.print(Text(_clean(f"{source['source']}: rejected without a device: {_counts(source['rejects'])}")))


def show_conflicts(answer: Mapping[str, Any]) -> None:
    """The answer of ``GET /v1/admin/devices/conflicts``."""
    from rich.console import Console
    from rich.text import Text

    now = float(answer["now"])
    table = _table(f"{len(answer['conflicts'])} conflicts", "phone", "what", "since\nlast sign", "signs", "addresses")
    for row in answer["conflicts"]:
        what = row["kind"] + (f", {row['distance_m'] / 1000:.1f} km" if row["distance_m"] else "")
        state = "positions held back" if row["is_quarantined"] else "positions used"
        when = _lines(f"{_ago(now - row['since'])} ago", f"{_ago(now - row['last_at'])} ago")
        addresses = _lines(*map(_clean, row["addresses"]))
        cells = (_clean(row["phone"]), _lines(_clean(what), state), when, str(row["signs"]), addresses)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


def show_answer(answer: Mapping[str, Any]) -> None:
    """What a terminal has answered to a command."""
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.text import Text

    console = Console()
    sent = f"terminal {answer['phone']}, {answer['message_id']}: "
    console.print(Text(_clean(sent + (answer["result"] if answer["answered"] else "sent; nothing answers it"))))
    position = answer["position"]
    if position is not None:
        at = datetime.fromtimestamp(position["measured_at"], UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")
        speed = "" if position["speed_mps"] is None else f", {position['speed_mps'] * 3.6:.0f} km/h"
        console.print(
            Text(_clean(f"{position['vehicle_id']} at {position['lat']:.6f}, {position['lon']:.6f}{speed}, {at}"))
        )
    elif answer["message_id"] == "0x8201" and answer["ok"]:
        console.print("its fix cannot be used")
    if answer["parameters"] is not None:
        table = _table(f"{len(answer['parameters'])} parameters", "id", "value", "hex")
        for number, found in answer["parameters"].items():
            value = "" if found["value"] is None else str(found["value"])
            table.add_row(*(Text(_clean(cell)) for cell in (number, value, found["hex"])))
        console.print(table)


def _cells(row: Mapping[str, Any], now: float) -> list[str]:
    connected = row.get("connected")
    if connected:
        since = row.get("connected_at")
        state = "yes" if since is None else f"for {_ago(now - since)}"
        state += ", QUARANTINED" if row.get("is_quarantined") else ""
    elif connected is None:
        state = f"heard {_ago(now - row['last_seen_at'])} ago"
    else:
        last = row.get("last_seen_at")
        state = "no" if last is None else f"no, seen {_ago(now - last)} ago"
    fix = row.get("last_fix_at")
    lat, lon = row.get("lat"), row.get("lon")
    clock, offset = row.get("clock"), row.get("clock_offset_s")
    age = "" if fix is None else f"{_ago(now - fix)} ago"
    if offset:
        age += f" (clock off by {offset:+.0f} s)"
    elif clock not in (None, "device"):
        age += f" ({clock} clock)"
    device_id, vehicle_id = _clean(row.get("device_id", "")), _clean(row.get("vehicle_id", ""))
    return [
        _lines(vehicle_id, device_id if device_id != vehicle_id else ""),
        _lines(state, _clean(f"{row.get('source', row['kind'])} {row.get('address') or ''}".strip())),
        _lines(age, "" if lat is None or lon is None else f"{lat:.5f}, {lon:.5f}"),
        _lines(_counts(row.get("rejects") or {}), _latency(row)),
    ]


def _lines(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


def _latency(row: Mapping[str, Any]) -> str:
    """Read to acknowledgement: mean and longest."""
    mean, most = row.get("ack_s"), row.get("ack_max_s")
    if mean is None:
        return ""
    return f"{mean * 1000:.1f} ms" + (f", max {most * 1000:.1f}" if most else "")


def _counts(counts: Mapping[str, int]) -> str:
    return _clean(", ".join(f"{reason} {count}" for reason, count in sorted(counts.items())))


def _ago(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _clean(text: object) -> str:
    return strip_control(str(text))
