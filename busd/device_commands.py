"""``busd devices``: which device is in which bus, who is connected, how it goes. Asks the running daemon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from busd.asking import CONFIG, URL, NotRunning, ago, ask, clean, load_here

if TYPE_CHECKING:
    from busd.config import Config

PATH = "/v1/admin/devices"


@click.group(invoke_without_command=True)
@CONFIG
@URL
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--connected", is_flag=True, help="Only devices that are connected or were heard in this run.")
@click.pass_context
def devices(ctx: click.Context, config_file: Path | None, url: str | None, as_json: bool, connected: bool) -> None:
    """List the devices: who is connected, since when, last fix, rejects by reason, ack latency."""
    ctx.obj = (config_file, url)
    if ctx.invoked_subcommand is not None:
        return
    import orjson

    _, answer = ask(ctx.obj, "GET", PATH)
    if connected:
        answer["devices"] = [row for row in answer["devices"] if row.get("connected") is not False]
    if as_json:
        click.echo(orjson.dumps(answer).decode())
    else:
        _show(answer)


@devices.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@CONFIG
@URL
@click.pass_context
def import_(ctx: click.Context, file: Path, config_file: Path | None, url: str | None) -> None:
    """Enter devices from a table: columns phone, imei, id, plate (at least one) and vehicle_id, UTF-8 CSV. Where no
    daemon runs, the table goes into its state directory. Exit status 1 if a line could not be used."""
    body = file.read_bytes()
    where = (config_file or ctx.obj[0], url or ctx.obj[1])
    try:
        _, report = ask(where, "POST", PATH, body, "text/csv")
        place = "the running daemon"
    except NotRunning:
        report = _import_directly(load_here(where[0], writes=True), body)
        place = "the state directory (no daemon is running)"
    click.echo(f"{report['added']} new, {report['changed']} changed, in {place}")
    for line, problem in report["problems"]:
        click.echo(f"{file}, line {line}: {problem}", err=True)
    if report["problems"]:
        ctx.exit(1)


@devices.command(name="set")
@click.argument("kind", type=click.Choice(("phone", "imei", "id", "plate")))
@click.argument("key")
@click.argument("vehicle_id")
@click.pass_context
def set_(ctx: click.Context, kind: str, key: str, vehicle_id: str) -> None:
    """Say which bus a device is in: `busd devices set imei 860000000000001 1207`."""
    import orjson

    _, report = ask(ctx.obj, "POST", PATH, orjson.dumps({kind: key, "vehicle_id": vehicle_id}), "application/json")
    for _, problem in report["problems"]:
        raise click.ClickException(problem)


@devices.command()
@click.argument("kind", type=click.Choice(("phone", "imei", "id", "plate")))
@click.argument("key")
@click.pass_context
def remove(ctx: click.Context, kind: str, key: str) -> None:
    """Forget a device; a terminal loses its code too and has to register again."""
    from urllib.parse import quote

    status, _ = ask(ctx.obj, "DELETE", f"{PATH}/{kind}/{quote(key, safe='')}", known=(404,))
    if status == 404:
        raise click.ClickException(f"no {kind} {key!r} is known")


def _import_directly(config: Config, body: bytes) -> Mapping[str, Any]:
    import msgspec

    from busd.registry import DeviceRegistry

    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.ClickException("the table is not UTF-8") from error
    registry = DeviceRegistry(config.state.dir / "registry.sqlite")
    try:
        report: Mapping[str, Any] = msgspec.to_builtins(registry.import_csv(text))
    finally:
        registry.close()
    return report


# ---- tables ----------------------------------------------------------------------------------------------------------


def _show(answer: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    now = float(answer["now"])
    table = Table(title=f"{len(answer['devices'])} devices")
    for name in ("device", "vehicle", "from", "connected", "last fix", "place", "rejects", "ack"):
        table.add_column(name, overflow="fold")
    for row in answer["devices"]:
        table.add_row(*(Text(cell) for cell in _cells(row, now)))
    console.print(table)
    if answer["names"]:
        names = Table(title="names of buses")
        for name in ("kind", "name", "vehicle"):
            names.add_column(name, overflow="fold")
        for entry in answer["names"]:
            names.add_row(*(Text(clean(entry[key])) for key in ("kind", "key", "vehicle_id")))
        console.print(names)
    for source in answer["sources"]:
        if "suspicion" in source:
            console.print(Text(clean(f"{source['source']}: {source['suspicion']}"), style="bold yellow"))
        elif source.get("rejects"):
            console.print(Text(clean(f"{source['source']}: rejected without a device: {_counts(source['rejects'])}")))


def _cells(row: Mapping[str, Any], now: float) -> list[str]:
    connected = row.get("connected")
    if connected:
        since = row.get("connected_at")
        state = "yes" if since is None else f"for {ago(now - since)}"
        state += ", QUARANTINED" if row.get("is_quarantined") else ""
    elif connected is None:
        state = f"heard {ago(now - row['last_seen_at'])} ago"
    else:
        last = row.get("last_seen_at")
        state = "no" if last is None else f"no, seen {ago(now - last)} ago"
    fix = row.get("last_fix_at")
    lat, lon = row.get("lat"), row.get("lon")
    clock, offset = row.get("clock"), row.get("clock_offset_s")
    age = "" if fix is None else f"{ago(now - fix)} ago"
    if offset:
        age += f" (clock off by {offset:+.0f} s)"
    elif clock not in (None, "device"):
        age += f" ({clock} clock)"
    return [
        clean(row.get("device_id", "")),
        clean(row.get("vehicle_id", "")),
        clean(f"{row.get('source', row['kind'])} {row.get('address') or ''}".strip()),
        state,
        age,
        "" if lat is None or lon is None else f"{lat:.5f}, {lon:.5f}",
        _counts(row.get("rejects") or {}),
        _latency(row),
    ]


def _latency(row: Mapping[str, Any]) -> str:
    """Read to acknowledgement: mean and longest."""
    mean, most = row.get("ack_s"), row.get("ack_max_s")
    if mean is None:
        return ""
    return f"{mean * 1000:.1f} ms" + (f", max {most * 1000:.1f}" if most else "")


def _counts(counts: Mapping[str, int]) -> str:
    return clean(", ".join(f"{reason} {count}" for reason, count in sorted(counts.items())))
