"""`busd replay ...`: commands about the past. Everything heavy is imported when a command runs."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replay import measure_cli

if TYPE_CHECKING:
    from rich.progress import Progress

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _instant(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    from replay.source import parse_instant

    if value is None:
        return None
    try:
        return parse_instant(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def replay() -> None:
    """The past, through the very same engine."""


@replay.command()
@click.option("--gtfs", "gtfs_zip", type=FILE, required=True, help="Timetable: GTFS zip.")
@click.option("--positions", type=FILE, multiple=True, help="TIDES vehicle_locations, CSV or CSV.gz. May be repeated.")
@click.option("--journal", type=FOLDER, help="A journal instead of positions.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the results.")
@click.option(
    "--history", type=FILE, multiple=True, help="Positions of an earlier day, to learn from. May be repeated."
)
@click.option("--history-gtfs", type=FILE, multiple=True, help="Timetable of each --history, in the same order.")
@click.option("--hide-trips", is_flag=True, help="Do not tell the engine which trip a position says it is on.")
@click.option("--until", metavar="T", callback=_instant, help="Stop reading at this time: unix seconds or ISO 8601.")
@click.option(
    "--boards/--no-boards",
    default=None,
    help="Work out the boards too; they are in the digest of outputs.  [default: for a journal]",
)
@click.option(
    "--parameters", metavar="FILE|KEY=VALUE", multiple=True, help="Change numbers of the engine. May be repeated."
)
@click.option(
    "--priors",
    type=click.Path(exists=True, path_type=Path),
    help="What `busd learn` made; with --journal the folder of priors.",
)
@click.option(
    "--cache-dir", type=click.Path(file_okay=False, path_type=Path), help="Where compiled timetables are kept."
)
def run(
    gtfs_zip: Path,
    positions: tuple[Path, ...],
    journal: Path | None,
    out: Path,
    history: tuple[Path, ...],
    history_gtfs: tuple[Path, ...],
    hide_trips: bool,
    until: float | None,
    boards: bool | None,
    parameters: tuple[str, ...],
    priors: Path | None,
    cache_dir: Path | None,
) -> None:
    """Run recorded positions through the engine, as fast as it goes.

    Writes predictions, vehicle_locations, stop_visits and trips_performed (CSV.gz) and summary.json to --out.
    """
    if bool(positions) == (journal is not None):
        raise click.UsageError("give either --positions or --journal")
    if journal is not None and (hide_trips or history):
        raise click.UsageError("a journal is replayed exactly as it is: neither --hide-trips nor --history")
    if len(history_gtfs) > len(history):
        raise click.UsageError("each --history-gtfs needs its --history")
    from busd.config.overrides import load_parameters
    from busd.errors import BusdError, ConfigError
    from gtfs.errors import GtfsError
    from replay.runner import ReplayRun

    try:
        changed = load_parameters(parameters)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--parameters") from None

    timetables: list[Path | None] = [*history_gtfs, *[None] * (len(history) - len(history_gtfs))]
    job = ReplayRun(
        gtfs=gtfs_zip,
        out=out,
        positions=positions,
        journal=journal,
        history=tuple(zip(history, timetables, strict=True)),
        hide_trips=hide_trips,
        until=until,
        boards=boards,
        cache_dir=cache_dir or default_cache_dir(),
        parameters=changed,
        priors=priors,
    )
    bar = _progress_bar() if sys.stderr.isatty() else None
    try:
        with bar or nullcontext():
            if bar is None:
                summary = job.run()
            else:
                task = bar.add_task("replay", total=None)
                summary = job.run(lambda done, total: bar.update(task, completed=done, total=total or None))
    except (BusdError, GtfsError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: {error.strerror or error}") from None
    _print(summary, out)


def default_cache_dir() -> Path:
    """The user's cache folder (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "busd" / "gtfs"


def _progress_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("positions"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _print(summary: dict[str, Any], out: Path) -> None:
    seen, rows, seconds = summary["positions"], summary["rows"], summary["seconds"]
    rejected = sum(summary["rejected"].values())
    click.echo(
        f"{seen['read']} positions ({rejected} rejected) -> {rows['predictions']} predictions, "
        f"{rows['stop_visits']} stop visits, {rows['trips_performed']} trips in {seconds['wall']:.1f} s -> {out}"
    )
    for example in seen["examples"]:
        click.echo(f"  unreadable: {example}", err=True)


for name in ("score", "diff", "stringline", "excursions"):
    replay.add_command(getattr(measure_cli, name))


if __name__ == "__main__":
    replay()
