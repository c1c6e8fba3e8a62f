"""``busd devices``: which device is in which bus, who is connected, how it goes. Asks the running daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from busd.asking import CONFIG, TIMEOUT_S, URL, NotRunning, Where, ask, load, quoted

if TYPE_CHECKING:
    from busd.config import Config


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

    from busd.device_tables import show_devices

    _, answer = _ask(ctx.obj, "GET", "")
    if connected:
        answer["devices"] = [row for row in answer["devices"] if row.get("connected") is not False]
    if as_json:
        click.echo(orjson.dumps(answer).decode())
    else:
        show_devices(answer)


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
        _, report = _ask(where, "POST", "", body, "text/csv")
        place = "the running daemon"
    except NotRunning:
        report = _import_directly(load(where[0], writes=True), body)
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
    status, _ = _ask(ctx.obj, "DELETE", f"/{kind}/{quoted(key)}", known=(404,))
    if status == 404:
        raise click.ClickException(f"no {kind} {key!r} is known")


@devices.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def conflicts(ctx: click.Context, as_json: bool) -> None:
    """List the phones that two terminals seem to have: a second connection, or jumps between two places."""
    import orjson

    from busd.device_tables import show_conflicts

    _, answer = _ask(ctx.obj, "GET", "/conflicts")
    if as_json:
        click.echo(orjson.dumps(answer).decode())
    else:
        show_conflicts(answer)


@devices.command()
@click.argument("phone")
@click.pass_context
def release(ctx: click.Context, phone: str) -> None:
    """End a conflict: the phone is one terminal, and its positions are used again."""
    status, answer = _ask(ctx.obj, "POST", f"/phone/{quoted(phone)}/release", known=(404,))
    if status == 404:
        raise click.ClickException(answer.get("detail", answer["error"]))
    click.echo(f"released {answer['released']}")


@devices.command()
@click.argument("phone")
@click.argument("command", type=click.Choice(("locate", "text", "time", "parameters")))
@click.argument("arguments", nargs=-1)
@click.option("--timeout", default=20.0, type=click.FloatRange(0.1, 60.0), help="Seconds to wait for the answer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def send(
    ctx: click.Context, phone: str, command: str, arguments: tuple[str, ...], timeout: float, as_json: bool
) -> None:
    """Send a command to a connected JT/T 808 terminal and show its answer. Exit status 1 if it refuses.

    \b
    busd devices send 13912345678 locate               where are you? (0x8201)
    busd devices send 13912345678 text "Use stop 3"    for the driver (0x8300)
    busd devices send 13912345678 time                 the platform's time (0x8004)
    busd devices send 13912345678 parameters           all parameters (0x8104)
    busd devices send 13912345678 parameters 0x0029    these only (0x8106)
    busd devices send 13912345678 parameters 0x0029=10 set them (0x8103)
    """
    import orjson

    from busd.device_tables import show_answer

    order = orjson.dumps(_order(command, arguments) | {"timeout_s": timeout})
    path = f"/phone/{quoted(phone)}/command"
    status, answer = _ask(ctx.obj, "POST", path, order, known=(400, 404, 409, 504), timeout_s=timeout + TIMEOUT_S)
    if status != 200:
        raise click.ClickException(answer.get("detail", answer["error"]))
    if as_json:
        click.echo(orjson.dumps(answer).decode())
    else:
        show_answer(answer)
    if not answer["ok"]:
        ctx.exit(1)


def _order(command: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """The JSON of a command."""
    if command == "text":
        if not arguments:
            raise click.UsageError("what is the text?")
        return {"command": "text", "text": " ".join(arguments)}
    if command != "parameters":
        if arguments:
            raise click.UsageError(f"{command} takes nothing more: {arguments[0]!r}")
        return {"command": command}
    changes = [argument.partition("=") for argument in arguments if "=" in argument]
    if not changes:
        return {"command": "parameters", "ids": list(arguments)}
    if len(changes) != len(arguments):
        raise click.UsageError("either ids to ask for or ID=VALUE to set, not both")
    return {"command": "set", "parameters": {name: value for name, _, value in changes}}


def _ask(
    where: Where,
    method: str,
    path: str,
    body: bytes | None = None,
    content_type: str = "application/json",
    known: Sequence[int] = (),
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, Any]:
    return ask(where, method, "/v1/admin/devices" + path, body, content_type, known, timeout_s)


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
