"""`busd history` and `busd learn`: what was seen, how good the predictions were, and what to make of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from busd.config import Config
    from busd.history.store import HistoryStore

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
CONFIG = click.option("--config", "config_file", type=FILE, help="Configuration of the daemon: where its state is.")
DATABASE = click.option("--db", type=click.Path(dir_okay=False, path_type=Path), help="History file instead.")


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    text = f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date; YYYY-MM-DD is expected") from None


@click.group()
def history() -> None:
    """Observed visits (TIDES) and the scores of busd's own predictions."""


@history.command()
@CONFIG
@DATABASE
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def days(config_file: Path | None, db: Path | None, as_json: bool) -> None:
    """List the service days that are held."""
    with opened(config_file, db) as store:
        rows = store.days()
    if as_json:
        _json([row._asdict() for row in rows])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("service day")
    for head in ("trips", "vehicles", "stop visits", "scored"):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(row.service_date, f"{row.trips}", f"{row.vehicles}", f"{row.visits}", "yes" if row.scored else "")
    Console().print(table if rows else "nothing yet")


@history.command()
@CONFIG
@DATABASE
@click.option("--gtfs", "gtfs_zip", type=FILE, help="Timetable, for the time zone.  [default: the configuration's]")
@click.option("--from", "first", metavar="DAY", callback=_day, help="First service day.")
@click.option("--to", "last", metavar="DAY", callback=_day, help="Last service day.")
@click.option("--timezone", help="IANA name, instead of the timetable's.")
@click.option("--out", type=FOLDER, required=True, help="Folder for stop_visits.csv.gz and trips_performed.csv.gz.")
def export(
    config_file: Path | None,
    db: Path | None,
    gtfs_zip: Path | None,
    first: str | None,
    last: str | None,
    timezone: str | None,
    out: Path,
) -> None:
    """Write TIDES stop_visits and trips_performed."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from busd.history.export import export_tides

    zone = timezone or _network(config_file, gtfs_zip).timezone
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise click.BadParameter(f"{zone!r} is no time zone", param_hint="--timezone") from None
    with opened(config_file, db) as store:
        counts = export_tides(store, out, zone, first or "", last or "9999")
    click.echo(f"{counts['stop_visits']} stop visits of {counts['trips_performed']} trips -> {out}")


@history.command()
@click.argument("day", callback=_day)
@CONFIG
@DATABASE
@click.option("--json", "as_json", is_flag=True, help="All figures as one JSON object.")
def score(day: str, config_file: Path | None, db: Path | None, as_json: bool) -> None:
    """How good the predictions of a service day were, as the daemon itself has seen it."""
    from busd.history.tally import Tally, merged

    with opened(config_file, db) as store:
        parts = store.scores(day)
    if not parts:
        raise click.ClickException(f"no predictions of {day} were measured")
    try:
        tally = merged([Tally.load(part) for part in parts])
    except (ValueError, KeyError) as error:
        raise click.ClickException(f"the score of {day} is of another version of busd ({error})") from None
    result = {
        "service_date": day,
        "figures": tally.figures(),
        "lines": {x: tally.figures(x) for x in sorted(tally.lines)},
    }
    if as_json:
        _json(result)
    else:
        _print_score(result)


def _print_score(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    figures, console = result["figures"], Console()
    table = Table(
        title=f"{result['service_date']}: p50 by minutes told (seconds, actual - predicted)", title_justify="left"
    )
    heads = ("n", "bias", "mae", "catch", "mbta", "newmark", "coverage", "width", "pinball")
    table.add_column("")
    for head in heads:
        table.add_column(head, justify="right")
    rows = {name: row for name, row in figures["told"].items() if row["n"]} | {"all": figures["all"]}
    for name, row in rows.items():
        table.add_row(name, *["-" if row[head] is None else f"{row[head]:g}" for head in heads])
    console.print(table)
    actual = Table(
        title="by actual minutes: rider point (ETA %), and how often anything was told", title_justify="left"
    )
    actual.add_column("")
    for name in figures["actual"]:
        actual.add_column(name, justify="right")
    for head in ("eta", "availability"):
        shares = [row[head] for row in figures["actual"].values()]
        actual.add_row(head, *["-" if value is None else f"{value:g}" for value in shares])
    console.print(actual)
    lines = Table(title="by line", title_justify="left")
    for head in ("line", "trips", "n", "bias", "mae", "ETA % rider", "MBTA % p50", "coverage", "ghosts %"):
        lines.add_column(head, justify="left" if head == "line" else "right")
    for line, row in (result["lines"] | {"all": figures}).items():
        every = row["all"]
        values = (row["trips"], every["n"], every["bias"], every["mae"], row["eta_mean"], row["mbta_mean"])
        cells = (*values, every["coverage"], row["ghosts"])
        lines.add_row(line, *["-" if value is None else f"{value:g}" for value in cells])
    console.print(lines)


@history.command()
@CONFIG
@DATABASE
@click.option(
    "--journal", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Journal to read instead."
)
def rebuild(config_file: Path | None, db: Path | None, journal: Path | None) -> None:
    """Make the history anew from the journal. The days it speaks of are replaced; stop the daemon before."""
    from busd.daemon import engine_parameters
    from busd.history.rebuild import rebuild as run
    from busd.history.store import HistoryStore
    from busd.networks import NetworkStore
    from replay.source import journal_from_the_start

    config = _config(config_file)
    store = HistoryStore(db or config.state.dir / "history.sqlite")
    try:
        networks = NetworkStore(config.gtfs)
        networks.load()
        inputs = journal_from_the_start(journal or config.state.dir / "journal")
        done = run(inputs, store, networks, engine_parameters(config), config.history)
    finally:
        store.close()
    days_ = f"{done.days[0]} to {done.days[-1]}" if done.days else "no day"
    click.echo(
        f"{done.inputs} inputs ({done.positions} positions) -> {done.visits} stop visits of {days_}, "
        f"{done.predictions_judged} predictions judged"
    )


@click.command()
@CONFIG
@DATABASE
@click.option("--gtfs", "gtfs_zip", type=FILE, help="Timetable.  [default: the configuration's]")
@click.option("--visits", type=FILE, multiple=True, help="TIDES stop_visits, CSV or CSV.gz, instead of the history.")
@click.option(
    "--positions", type=FILE, multiple=True, help="TIDES vehicle_locations, replayed, instead of the history."
)
@click.option("--from", "first", metavar="DAY", callback=_day, help="First service day of the history to learn from.")
@click.option("--to", "last", metavar="DAY", callback=_day, help="Last service day of the history to learn from.")
@click.option("--parameters", metavar="FILE|KEY=VALUE", multiple=True, help="Change numbers of the engine.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File, instead of the daemon's priors.")
@click.option("--json", "as_json", is_flag=True, help="What was done, as one JSON object.")
def learn(
    config_file: Path | None,
    db: Path | None,
    gtfs_zip: Path | None,
    visits: tuple[Path, ...],
    positions: tuple[Path, ...],
    first: str | None,
    last: str | None,
    parameters: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Learn link times and the rest anew from the past.

    The result is a new version of the priors. Without --out the daemon of --config takes it up while it runs.
    """
    if bool(visits) + bool(positions) + bool(db) > 1:
        raise click.UsageError("give one of --db, --visits and --positions")
    if out is None and config_file is None:
        raise click.UsageError("give --config (the daemon's priors) or --out (a file)")
    from busd.config.overrides import load_parameters
    from busd.history.learning import VisitTable
    from busd.history.priors import PriorsStore
    from busd.predict.priors import learn as learn_from

    base = _config(config_file).engine if config_file else None
    changed = load_parameters(parameters, base)
    dropped: dict[str, int] = {}
    used: int
    if positions:
        from replay.cli import default_cache_dir
        from replay.learn import learn_from_positions
        from replay.measure_cli import plain_errors, progress_bar

        zip_ = gtfs_zip or _config(config_file).gtfs.path
        cache = _config(config_file).gtfs.cache_dir if config_file else default_cache_dir()
        with plain_errors(), progress_bar() as told:
            step = None if told is None else lambda done, total: told("learn", done, total)
            priors = learn_from_positions(zip_, positions, changed, cache, step)
        used = len(positions)
    else:
        table = VisitTable(_network(config_file, gtfs_zip))
        if visits:
            for path in visits:
                table.add_tides(path)
        else:
            with opened(config_file, db) as store:
                table.add_history(store.read(first or "", last or "9999"))
        if not len(table):
            raise click.ClickException("nothing to learn from" + _why(table.dropped))
        priors = learn_from(table.network, table.columns(), changed)
        dropped, used = dict(table.dropped), len(table)
    if out is not None:
        priors.save(out)
    else:
        out = PriorsStore(_config(config_file).state.dir / "priors").put(priors)
    if as_json:
        _json({"digest": priors.digest, "version": priors.version, "used": used, "dropped": dropped, "file": str(out)})
    else:
        what = "files of positions" if positions else "stop visits"
        click.echo(f"{used} {what}{_why(dropped)} -> priors {priors.digest[:12]} in {out}")


def _why(dropped: dict[str, int]) -> str:
    return f" ({', '.join(f'{count} left out: {why}' for why, count in sorted(dropped.items()))})" if dropped else ""


# ---- shared ----------------------------------------------------------------------------------------------------------


@contextmanager
def opened(config_file: Path | None, db: Path | None) -> Iterator[HistoryStore]:
    from busd.history.store import HistoryStore

    store = HistoryStore(db or _config(config_file).state.dir / "history.sqlite", read_only=True)
    try:
        yield store
    finally:
        store.close()


def _config(config_file: Path | None) -> Config:
    from busd.config import load_config

    if config_file is None:
        raise click.UsageError("give --config or --db")
    return load_config(config_file)


def _network(config_file: Path | None, gtfs_zip: Path | None) -> Any:
    import gtfs
    from replay.cli import default_cache_dir

    if gtfs_zip is None and config_file is None:
        raise click.UsageError("give --config or --gtfs")
    if config_file is not None:
        config = _config(config_file)
        return gtfs.load_network(gtfs_zip or config.gtfs.path, config.gtfs.cache_dir)
    assert gtfs_zip is not None
    return gtfs.load_network(gtfs_zip, default_cache_dir())


def _json(value: Any) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))
