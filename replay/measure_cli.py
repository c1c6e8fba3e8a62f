"""`busd replay score`, `diff`, `stringline` and `excursions`: looking at a day that was replayed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from replay.scoring import Progress

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
CACHE_DIR = click.option(
    "--cache-dir", type=click.Path(file_okay=False, path_type=Path), help="Where compiled timetables are kept."
)


@click.command()
@click.option("--gtfs", "gtfs_zip", type=FILE, required=True, help="Timetable: GTFS zip.")
@click.option("--positions", type=FILE, required=True, help="TIDES vehicle_locations with trip labels: the truth.")
@click.option(
    "--predictions",
    metavar="[NAME=]LOG",
    multiple=True,
    help="A prediction log or the folder of a replay, instead of replaying here. May be repeated; the first is compared "
    "with the others.",
)
@click.option("--history", type=FILE, multiple=True, help="Positions of an earlier day, to learn from.")
@click.option("--history-gtfs", type=FILE, multiple=True, help="Timetable of each --history, in the same order.")
@click.option("--hide-trips", is_flag=True, help="Do not tell the engine which trip a position says it is on.")
@click.option("--parameters", metavar="FILE|KEY=VALUE", multiple=True, help="Change numbers of the engine.")
@click.option("--priors", type=FILE, help="What `busd learn` made, to start from.")
@click.option("--baselines/--no-baselines", default=True, help="Compare with B0 ... B4P over the same positions.")
@click.option("--ablate", is_flag=True, help="Replay once more without each part of the predictor.")
@click.option("--part", "parts", multiple=True, metavar="KEY", help="With --ablate: only this part. May be repeated.")
@click.option(
    "--max-bracket",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Leave out passages whose two fixes are farther apart, s.",
)
@click.option("--skip-hours", type=click.FloatRange(min=0), default=0.0, help="Ask nothing in the first hours.")
@click.option("--json", "json_file", metavar="FILE|-", help="All figures as JSON; '-' prints them and nothing else.")
@click.option("--plot", type=NEW_FILE, help="Picture: accuracy by horizon, calibration, fan of errors (PNG, SVG, PDF).")
@CACHE_DIR
def score(
    gtfs_zip: Path,
    positions: Path,
    predictions: tuple[str, ...],
    history: tuple[Path, ...],
    history_gtfs: tuple[Path, ...],
    hide_trips: bool,
    parameters: tuple[str, ...],
    priors: Path | None,
    baselines: bool,
    ablate: bool,
    parts: tuple[str, ...],
    max_bracket: float,
    skip_hours: float,
    json_file: str | None,
    plot: Path | None,
    cache_dir: Path | None,
) -> None:
    """Score predictions against what the positions say happened.

    The truth is interpolated between two later fixes of each bus around each stop. All three standards, plain errors,
    intervals and availability, by actual, told and reference horizon, beside simple predictors, with 95 % intervals over
    trips.
    """
    if predictions and (ablate or history or hide_trips or parameters or priors):
        raise click.UsageError("--predictions are scored as they are; the other options are for a replay")
    if len(history_gtfs) > len(history):
        raise click.UsageError("each --history-gtfs needs its --history")
    from busd.config.overrides import load_parameters, switches
    from replay.cli import default_cache_dir
    from replay.scoring import ScoreRun, named

    with plain_errors():
        changed = load_parameters(parameters)
        known = switches(changed)
        if unknown := [part for part in parts if part not in known]:
            raise click.BadParameter(f"{unknown[0]}; there are: {', '.join(known) or 'none'}", param_hint="--part")
        job = ScoreRun(
            gtfs=gtfs_zip,
            positions=positions,
            predictions=named(predictions),
            history=tuple(zip(history, [*history_gtfs, *[None] * (len(history) - len(history_gtfs))], strict=True)),
            hide_trips=hide_trips,
            baselines=baselines,
            parts=(parts or tuple(known)) if ablate else (),
            parameters=changed,
            priors=priors,
            max_bracket_s=max_bracket,
            skip_hours=skip_hours,
            cache_dir=cache_dir or default_cache_dir(),
        )
        with progress_bar() as told:
            result = job.run(told)
        if plot is not None:
            from replay.plots import plot_scores

            plot_scores(result, plot)
    _write(result, json_file)


@click.command()
@click.argument("a", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def diff(a: Path, b: Path, as_json: bool) -> None:
    """Compare the folders of two replays. Exit status 1 if they differ."""
    from replay.diff import diff_replays

    with plain_errors():
        found = diff_replays(a, b)
    if as_json:
        import orjson

        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    else:
        _print_diff(found)
    if not found["same"]:
        sys.exit(1)


def _print_diff(found: dict[str, Any]) -> None:
    for name, (first, second) in found["digests"].items():
        click.echo(f"{name}: {str(first)[:12]} and {str(second)[:12]}")
    for name, file in found["files"].items():
        lost, new, changed = file["only_a"], file["only_b"], file["changed"]
        if not lost + new + changed:
            click.echo(f"{name}: the same, {file['rows'][0]} rows")
            continue
        click.echo(f"{name}: {changed} rows changed, {lost} only in the first, {new} only in the second")
        for column, change in file["columns"].items():
            amount = (
                f", by {change['median']:g} in the middle, {change['largest']:g} at most" if "median" in change else ""
            )
            click.echo(f"  {column}: {change['rows']} rows{amount}")
        for example in file["examples"]:
            where = ", ".join(example["row"].values())
            what = "; ".join(f"{column} {old!r} -> {now!r}" for column, (old, now) in example["values"].items())
            click.echo(f"    {where}: {what}")


@click.command()
@click.argument("replayed", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--gtfs", "gtfs_zip", type=FILE, required=True, help="Timetable of that replay.")
@click.option("--route", required=True, help="route_id or the name on the bus.")
@click.option("--from", "first", metavar="T", help="Begin: unix seconds or ISO 8601.")
@click.option("--to", "last", metavar="T", help="End.")
@click.option("--out", type=NEW_FILE, required=True, help="Picture (PNG, SVG, PDF).")
@CACHE_DIR
def stringline(
    replayed: Path, gtfs_zip: Path, route: str, first: str | None, last: str | None, out: Path, cache_dir: Path | None
) -> None:
    """Draw the buses of a route over time and distance, from the folder of a replay."""
    import gtfs
    from replay.cli import default_cache_dir
    from replay.source import parse_instant
    from replay.stringline import draw, read_strings

    try:
        span = [None if text is None else parse_instant(text) for text in (first, last)]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    with plain_errors():
        network = gtfs.load_network(gtfs_zip, cache_dir or default_cache_dir())
        names = list(network.route_short_name)
        row = network.find_route(route)
        row = names.index(route) if row is None and route in names else row
        if row is None:
            raise click.BadParameter(f"{route}; there are: {', '.join(sorted(names)[:20])}", param_hint="--route")
        drawn = draw(read_strings(replayed, network, row), network, row, out, *span)
    click.echo(f"{drawn['trips']} trips, {drawn['positions']} positions -> {out}")


@click.command()
@click.option("--gtfs", "gtfs_zip", type=FILE, required=True, help="Timetable: GTFS zip.")
@click.option("--positions", type=FILE, multiple=True, required=True, help="TIDES vehicle_locations. May be repeated.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for list and pictures."
)
@click.option("--hide-trips", is_flag=True, help="Do not tell the engine which trip a position says it is on.")
@click.option(
    "--pictures/--no-pictures", default=True, help="Draw each alarm, twelve a sheet (PNG).", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The list as JSON, and nothing else.")
@CACHE_DIR
def excursions(
    gtfs_zip: Path,
    positions: tuple[Path, ...],
    out: Path,
    hide_trips: bool,
    pictures: bool,
    as_json: bool,
    cache_dir: Path | None,
) -> None:
    """List every off-route alarm of a recorded day, and draw it: fixes, shape and stops.

    Writes excursions.csv and excursions-NNN.png to --out, alarms of one place together.
    """
    import orjson

    from replay.cli import default_cache_dir
    from replay.excursion_sheets import draw_sheets
    from replay.excursions import find_excursions, row_of, write_csv

    with plain_errors():
        out.mkdir(parents=True, exist_ok=True)
        with progress_bar() as told:
            network, alarms = find_excursions(
                gtfs_zip,
                positions,
                cache_dir or default_cache_dir(),
                hide_trips=hide_trips,
                told=None if told is None else lambda done, total: told("replay", done, total),
            )
            rows = [row_of(alarm, number, network) for number, alarm in enumerate(alarms, start=1)]
            write_csv(rows, out / "excursions.csv")
            drawn = None if told is None else lambda done, total: told("pictures", done, total)
            sheets = draw_sheets(alarms, network, out, drawn) if pictures else []
    if as_json:
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    for place in dict.fromkeys(row["place"] for row in rows):
        here = [row for row in rows if row["place"] == place]
        ends = f"{here[0]['left_m'] / 1000:.1f} km"
        buses = len({row["vehicle_id"] for row in here})
        click.echo(
            f"place {place}: line {here[0]['route_id']} direction {here[0]['direction_id']} at {ends}: "
            f"{len(here)} alarms of {buses} buses, up to {max(row['farthest_m'] for row in here)} m off"
        )
    click.echo(f"{len(rows)} alarms, {len(sheets)} sheets -> {out}")


def _write(result: dict[str, Any], json_file: str | None) -> None:
    import orjson

    text = orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if json_file == "-":
        click.echo(text, nl=False)
        return
    if json_file is not None:
        Path(json_file).write_bytes(text)
    from rich.console import Console

    from replay.report import print_report

    # a pipe has no width of its own, and a table cut to 80 columns says nothing
    print_report(result, Console(width=None if sys.stdout.isatty() else 220))


@contextmanager
def plain_errors() -> Iterator[None]:
    """What is wrong with the input is one line."""
    from busd.errors import BusdError
    from gtfs.errors import GtfsError

    try:
        yield
    except (BusdError, GtfsError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror or error}") from None


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar for each job on a terminal; None in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=None)
            bar.update(tasks[what], completed=done, total=total or None)

        yield told
