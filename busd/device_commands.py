"""``busd devices``: which device is in which bus, who is connected, how it goes. Asks the running daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from busd.config import Config

_CONFIG = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="The TOML file the daemon runs with."
)
_URL = click.option("--url", help="Where the daemon's web port is, if the configuration does not say it right.")
TIMEOUT_S = 15.0


@click.group(invoke_without_command=True)
@_CONFIG
@_URL
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--connected", is_flag=True, help="Only devices that are connected or were heard in this run.")
@click.pass_context
def devices(ctx: click.Context, config_file: Path | None, url: str | None, as_json: bool, connected: bool) -> None:
    """List the devices: who is connected, since when, last fix, rejects by reason, ack latency."""
    ctx.obj = (config_file, url)
    if ctx.invoked_subcommand is not None:
        return
    import orjson

    _, answer = _ask(ctx.obj, "GET", "")
    if connected:
        answer["devices"] = [row for row in answer["devices"] if row.get("connected") is not False]
    if as_json:
        click.echo(orjson.dumps(answer).decode())
    else:
        _show(answer)


@devices.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_CONFIG
@_URL
@click.pass_context
def import_(ctx: click.Context, file: Path, config_file: Path | None, url: str | None) -> None:
    """Enter devices from a table: columns phone, imei, id, plate (at least one) and vehicle_id, UTF-8 CSV. Where no
    daemon runs, the table goes into its state directory. Exit status 1 if a line could not be used."""
    body = file.read_bytes()
    where = (config_file or ctx.obj[0], url or ctx.obj[1])
    try:
        _, report = _ask(where, "POST", "", body, "text/csv")
        place = "the running daemon"
    except _NotRunning:
        report = _import_directly(_load(where[0], writes=True), body)
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

    _, report = _ask(ctx.obj, "POST", "", orjson.dumps({kind: key, "vehicle_id": vehicle_id}), "application/json")
    for _, problem in report["problems"]:
        raise click.ClickException(problem)


@devices.command()
@click.argument("kind", type=click.Choice(("phone", "imei", "id", "plate")))
@click.argument("key")
@click.pass_context
def remove(ctx: click.Context, kind: str, key: str) -> None:
    """Forget a device; a terminal loses its code too and has to register again."""
    from urllib.parse import quote

    status, _ = _ask(ctx.obj, "DELETE", f"/{kind}/{quote(key, safe='')}", known=(404,))
    if status == 404:
        raise click.ClickException(f"no {kind} {key!r} is known")


# ---- the daemon ------------------------------------------------------------------------------------------------------


class _NotRunning(click.ClickException):
    pass


def _load(config_file: Path | None, writes: bool = False) -> Config:
    """The configuration; without a file the defaults, which are enough to ask a daemon on this machine, not to write
    into its files."""
    import os

    from busd.config import load_config

    env = dict(os.environ)
    if config_file is None and not writes:
        env.setdefault("BUSD__GTFS__PATH", "feed.zip")
    return load_config(config_file, env)


def _ask(
    where: tuple[Path | None, str | None],
    method: str,
    path: str,
    body: bytes | None = None,
    content_type: str = "application/json",
    known: Sequence[int] = (),
) -> tuple[int, Any]:
    """(status, JSON) of the admin door; `click.ClickException` says what is wrong in words."""
    import http.client
    from urllib.parse import urlsplit

    import orjson

    config_file, url = where
    token = ""
    if url is None or config_file is not None:
        config = _load(config_file)
        token = config.web.admin_token
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(config.web.host, config.web.host)
        url = url or f"http://{f'[{host}]' if ':' in host else host}:{config.web.port}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.ClickException(f"{url!r} is no http address")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    headers = {"Content-Type": content_type} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, parts.path.rstrip("/") + "/v1/admin/devices" + path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
    except ConnectionRefusedError as error:
        raise _NotRunning(f"no daemon at {url}; is `busd run` up?") from error
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(f"{url}: {error}") from error
    finally:
        connection.close()
    if answer.status == 401:
        raise click.ClickException(
            f"{url} refuses: give --config with web.admin_token, or ask from the daemon's own machine"
        )
    try:
        result = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise click.ClickException(f"{url} answers {answer.status} and no JSON; is that busd?") from error
    if answer.status != 200 and answer.status not in known:
        detail = result.get("detail") or result.get("error") if isinstance(result, dict) else result
        raise click.ClickException(f"{url} answers {answer.status}: {detail}")
    return answer.status, result


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
            names.add_row(*(Text(_clean(entry[key])) for key in ("kind", "key", "vehicle_id")))
        console.print(names)
    for source in answer["sources"]:
        if "suspicion" in source:
            console.print(Text(_clean(f"{source['source']}: {source['suspicion']}"), style="bold yellow"))
        elif source.get("rejects"):
            console.print(Text(_clean(f"{source['source']}: rejected without a device: {_counts(source['rejects'])}")))


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
    return [
        _clean(row.get("device_id", "")),
        _clean(row.get("vehicle_id", "")),
        _clean(f"{row.get('source', row['kind'])} {row.get('address') or ''}".strip()),
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
    return _clean(", ".join(f"{reason} {count}" for reason, count in sorted(counts.items())))


def _ago(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _clean(text: object) -> str:
    from busd.log import strip_control

    return strip_control(str(text))
