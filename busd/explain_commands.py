"""``busd explain`` and ``busd detours``: what a dispatcher asks. Both ask the running daemon."""

from __future__ import annotations

from pathlib import Path

import click

from busd.asking import CONFIG, URL, Where, ask


@click.group()
def explain() -> None:
    """Why is it so? Asks the running daemon."""


@explain.command()
@click.argument("vehicle_id")
@CONFIG
@URL
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def vehicle(vehicle_id: str, config_file: Path | None, url: str | None, as_json: bool) -> None:
    """Is this bus predicted, and why not: its run, place, hint, the runs that come into question and the evidence for
    each, its last events."""
    from urllib.parse import quote

    import orjson

    from busd.explain_tables import show_vehicle

    path = f"/v1/vehicles/{quote(vehicle_id, safe='')}/explain"
    status, answer = ask((config_file, url), "GET", path, known=(404,))
    if status == 404:
        raise click.ClickException(answer.get("detail") or f"{answer.get('error')}: is this daemon older than busd?")
    if as_json:
        click.echo(orjson.dumps(answer).decode())
    else:
        show_vehicle(answer)


@click.group(invoke_without_command=True)
@CONFIG
@URL
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--all", "every", is_flag=True, help="Also those that have ended or were dismissed.")
@click.pass_context
def detours(ctx: click.Context, config_file: Path | None, url: str | None, as_json: bool, every: bool) -> None:
    """Where several buses of a line leave their route and come back to it: since when, which stops they miss."""
    ctx.obj = (config_file, url)
    if ctx.invoked_subcommand is not None:
        return
    import orjson

    from busd.explain_tables import show_detours

    _, answer = ask(ctx.obj, "GET", "/v1/detours" + ("?all=1" if every else ""))
    if as_json:
        click.echo(orjson.dumps(answer).decode())
    else:
        show_detours(answer)


@detours.command()
@click.argument("number", type=int)
@click.option("--operator", default="", help="Who says so; it is kept with the finding.")
@click.pass_obj
def confirm(where: Where, number: int, operator: str) -> None:
    """Say that a detour is one."""
    _decide(where, number, "confirm", operator)


@detours.command()
@click.argument("number", type=int)
@click.option("--operator", default="", help="Who says so; it is kept with the finding.")
@click.pass_obj
def dismiss(where: Where, number: int, operator: str) -> None:
    """Say that a detour is none: it is no longer shown."""
    _decide(where, number, "dismiss", operator)


def _decide(where: Where, number: int, verdict: str, operator: str) -> None:
    import orjson

    body = orjson.dumps({"verdict": verdict, "operator": operator})
    status, answer = ask(where, "POST", f"/v1/detours/{number}", body, known=(400, 404, 409))
    if status != 200:
        raise click.ClickException(answer.get("detail") or answer["error"])
    click.echo(f"detour {number} of line {answer['line']} is {answer['status']}")
