"""Commands of ``busd`` that are not a package of their own: run, check, config, bench."""

from __future__ import annotations

import sys
from pathlib import Path

import click

PATH = click.Path(path_type=Path)


@click.command()
@click.option("--config", "config_file", type=PATH, help="TOML file; `busd config keys` lists what it may say.")
def run(config_file: Path | None) -> None:
    """Serve: take positions in, make boards, feed signs and riders. Ends cleanly at SIGTERM."""
    from busd.clock import SystemClock
    from busd.config import load_config
    from busd.daemon import serve
    from busd.log import set_up_logging

    config = load_config(config_file)
    clock = SystemClock()
    set_up_logging(config.log, clock=clock)
    serve(config, clock)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Findings as one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Check a GTFS zip or a configuration file. Exit status 1 if it cannot be used."""
    if file.suffix.lower() == ".toml":
        _check_config(file, as_json)
    else:
        _check_feed(file, as_json)


def _check_feed(file: Path, as_json: bool) -> None:
    import gtfs

    findings = gtfs.check_feed(file)
    if as_json:
        click.echo(findings.to_json())
    else:
        from rich.console import Console

        gtfs.render_findings(findings, Console())
    if not findings.usable:
        sys.exit(1)


def _check_config(file: Path, as_json: bool) -> None:
    import orjson

    from busd.config import load_config
    from busd.errors import ConfigError

    problem = ""
    try:
        load_config(file)
    except ConfigError as error:
        problem = str(error)
    if as_json:
        click.echo(orjson.dumps({"ok": not problem, "problem": problem or None}))
    else:
        click.echo(problem or f"{file}: good")
    if problem:
        sys.exit(1)


@click.group()
def config() -> None:
    """What the configuration may say, and what it says."""


@config.command()
def keys() -> None:
    """All keys with their defaults, as a TOML file to start from."""
    from busd.config import describe_config

    click.echo(describe_config(), nl=False)


BENCHES = ("ingest", "match", "predict", "fanout", "e2e", "gtfs", "journal", "restart", "off-route", "sign-bill")
LONG = ("sign-bill",)
"""a whole day of the city: only when it is asked for by name"""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(BENCHES))
@click.option(
    "--gtfs", "gtfs_zip", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="sign-bill: timetable."
)
@click.option(
    "--positions",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="sign-bill: a recorded day (TIDES vehicle_locations) instead of the simulated one.",
)
@click.option("--hours", type=click.FloatRange(0.1, 24), default=18.0, help="sign-bill: of the day.", show_default=True)
def bench(names: tuple[str, ...], gtfs_zip: Path | None, positions: tuple[Path, ...], hours: float) -> None:
    """Measure this machine: one JSON object a bench, each with its ratio to a floor of the same run."""
    import importlib

    import orjson

    from busd.config import LogConfig
    from busd.log import set_up_logging

    if (gtfs_zip is None) != (not positions):
        raise click.UsageError("--gtfs and --positions belong together")
    set_up_logging(LogConfig(level="warning"))
    options = {"sign-bill": {"gtfs_zip": gtfs_zip, "positions": positions, "hours": hours}}
    for name in names or [name for name in BENCHES if name not in LONG]:
        module = importlib.import_module(f"busd.bench.{name.replace('-', '_')}")
        result = module.run(**options.get(name, {}))
        click.echo(orjson.dumps({"bench": name} | result))
