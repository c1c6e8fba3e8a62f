"""``busd signs``: the fleet of stop signs, on the command line. Asks the running daemon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from busd.asking import CONFIG, URL, Where, ago, ask, clean
from busd.sign_order_commands import message, mode, suppress

if TYPE_CHECKING:
    from rich.table import Table

API = "/v1/admin"
STATES = ("online", "late", "offline", "fallback", "clock_bad", "low_battery", "panel_error", "unseen")
_COLOURS = {
    "online": "green",
    "late": "yellow",
    "offline": "bold red",
    "fallback": "magenta",
    "clock_bad": "cyan",
    "low_battery": "yellow",
    "panel_error": "bold magenta",
    "unseen": "dim",
}
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group(invoke_without_command=True)
@CONFIG
@URL
@click.option("-q", "--find", "q", default="", help="Words in id, name, place, stop id or stop name.")
@click.option("--state", type=click.Choice(STATES), help="Only signs in this state.")
@click.option("--group", default="", help="Only signs of this group.")
@click.option("--line", default="", help="Only signs at stops of this line.")
@click.option("--sort", type=click.Choice(("sign", "state", "seen", "glass")), default="sign", show_default=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@JSON
@click.pass_context
def signs(
    ctx: click.Context,
    config_file: Path | None,
    url: str | None,
    q: str,
    state: str | None,
    group: str,
    line: str,
    sort: str,
    limit: int,
    as_json: bool,
) -> None:
    """The stop signs: list them; messages, modes, alarms, tokens and who did what.

    Without a command it lists the signs. Elsewhere than on the daemon's machine set BUSD_TOKEN to your own token.
    """
    ctx.obj = (config_file, url)
    if ctx.invoked_subcommand is not None:
        return None
    query = {"q": q, "state": state or "", "group": group, "line": line, "sort": sort, "limit": limit}
    answer = _get(ctx.obj, "signs?" + urlencode({k: v for k, v in query.items() if v}))
    if as_json:
        return _print_json(answer)
    _show_fleet(answer)
    return None


@signs.command()
@click.argument("sign")
@JSON
@click.pass_obj
def show(where: Where, sign: str, as_json: bool) -> None:
    """All that is known of one sign."""
    row = _get(where, f"signs/{_part(sign)}", f"no sign {sign!r}; `busd signs -q {sign}` looks for something like it")
    if as_json:
        return _print_json(row)
    from rich.console import Console

    table = _table("", "")
    table.show_header = False
    for name, value in _facts(row):
        table.add_row(name, _styled(value, row["state"]) if name == "state" else clean(value))
    Console().print(table)
    return None


@signs.command()
@click.argument("sign")
@click.option("--name", help="What people call it.")
@click.option("--place", help="Where it hangs.")
@click.option("--stop", "stops", multiple=True, help="A stop it shows; may be given again.")
@click.option("--group", "groups", multiple=True, help="A group it is in; may be given again.")
@click.pass_obj
def add(
    where: Where, sign: str, name: str | None, place: str | None, stops: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    """Enter a sign, or change what is given of one there is."""
    entry: dict[str, Any] = {"sign": sign, "name": name, "place": place}
    entry |= {"stops": list(stops)} if stops else {}
    entry |= {"groups": list(groups)} if groups else {}
    row = _post(where, "signs", {key: value for key, value in entry.items() if value is not None})
    click.echo(
        f"{clean(row['sign'])} is entered" + ("" if row["has_token"] else f"; give it a token: busd signs token {sign}")
    )


@signs.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def import_(ctx: click.Context, file: Path) -> None:
    """Enter signs from a table: columns sign, name, stops, groups, place, token (UTF-8 CSV; several stops or groups with
    ; between). Exit status 1 if a line could not be used; the others are entered."""
    _, report = ask(ctx.obj, "POST", f"{API}/signs", file.read_bytes(), "text/csv")
    click.echo(f"{report['added']} new, {report['changed']} changed, {report['same']} as they were")
    for line, problem in report["problems"]:
        click.echo(f"{file}, line {line}: {clean(problem)}", err=True)
    if report["problems"]:
        ctx.exit(1)


@signs.command()
@click.argument("sign")
@click.pass_obj
def remove(where: Where, sign: str) -> None:
    """Forget a sign, its token and its history."""
    _delete(where, f"signs/{_part(sign)}", f"no sign {sign!r}")


@signs.command()
@click.argument("sign")
@click.pass_obj
def token(where: Where, sign: str) -> None:
    """Make a new token for a sign. It is shown once; the old one ends with the sign's present connection."""
    click.echo(_post(where, f"signs/{_part(sign)}/token")["token"])


@signs.command()
@click.argument("sign")
@click.option("--off", is_flag=True, help="Let it in again.")
@click.pass_obj
def block(where: Where, sign: str, off: bool) -> None:
    """Turn a sign away (close 4403) until --off."""
    _post(where, "signs", {"sign": sign, "is_blocked": not off})
    click.echo(f"{sign} {'may connect again' if off else 'is blocked from its next connection on'}")


@signs.command()
@click.argument("sign")
@click.argument(
    "op", type=click.Choice(("info", "params", "brightness", "test", "reload", "reboot", "upgrade", "reset"))
)
@click.argument("args", nargs=-1)
@click.pass_obj
def send(where: Where, sign: str, op: str, args: tuple[str, ...]) -> None:
    """Remote care: `busd signs send LS-0042 brightness level=60`. Waits for the answer."""
    import orjson

    values: dict[str, Any] = {}
    for arg in args:
        name, equals, value = arg.partition("=")
        if not equals:
            raise click.UsageError(f"{arg!r} is not NAME=VALUE")
        try:
            values[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            values[name] = value
    answer = _post(where, f"signs/{_part(sign)}/commands", {"op": op, "args": values})
    click.echo(clean(f"{'done' if answer['ok'] else 'refused'} {orjson.dumps(answer['info']).decode()}"))


# ---- alarms, people, the log -----------------------------------------------------------------------------------------


@signs.group(invoke_without_command=True)
@click.option("--past", type=click.IntRange(0, 1000), default=0, help="As many that are over, too.")
@JSON
@click.pass_context
def alarms(ctx: click.Context, past: int, as_json: bool) -> None:
    """What is wrong with which sign, newest first."""
    if ctx.invoked_subcommand is not None:
        return None
    answer = _get(ctx.obj, f"alarms?past={past}")
    if as_json:
        return _print_json(answer)
    now, rows = answer["now"], answer["alarms"]
    table = _table("id", "sign", "alarm", "since", "over", "seen by", title=f"{sum(answer['counts'].values())} alarms")
    for row in rows:
        over = row.get("cleared_at")
        table.add_row(
            row["alarm_id"],
            clean(row["sign"]),
            _styled(row["kind"], row["kind"]),
            f"{ago(now - row['raised_at'])} ago",
            "" if over is None else f"{ago(now - over)} ago",
            clean(row.get("seen_by", "")),
        )
    _print(table)
    return None


@alarms.command()
@click.argument("alarm_id")
@click.pass_obj
def seen(where: Where, alarm_id: str) -> None:
    """Say that you take care of an alarm."""
    _post(where, f"alarms/{_part(alarm_id)}/seen")


@signs.command()
@click.option("--about", default="", help="Only entries with this in person, deed or target.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@JSON
@click.pass_obj
def audit(where: Where, about: str, limit: int, as_json: bool) -> None:
    """Who did what, newest first."""
    answer = _get(where, "audit?" + urlencode({"about": about, "limit": limit}))
    if as_json:
        return _print_json(answer)
    table = _table("when", "who", "what", "target", "change")
    for row in answer["audit"]:
        table.add_row(
            f"{ago(answer['now'] - row['at'])} ago", clean(row["who"]), row["what"], clean(row["target"]), _change(row)
        )
    _print(table)
    return None


@signs.group(invoke_without_command=True)
@click.pass_context
def operator(ctx: click.Context) -> None:
    """Who may look (viewer), give orders (dispatcher), change signs and people (admin)."""
    if ctx.invoked_subcommand is not None:
        return
    table = _table("name", "role")
    for row in _get(ctx.obj, "operators")["operators"]:
        table.add_row(clean(row["name"]), row["role"])
    _print(table)


@operator.command(name="add")
@click.argument("name")
@click.option("--role", type=click.Choice(("viewer", "dispatcher", "admin")), default="viewer", show_default=True)
@click.pass_obj
def add_operator(where: Where, name: str, role: str) -> None:
    """A new operator, or a new token for one there is. The token is shown once."""
    click.echo(_post(where, "operators", {"name": name, "role": role})["token"])


@operator.command(name="remove")
@click.argument("name")
@click.pass_obj
def remove_operator(where: Where, name: str) -> None:
    """The token ends at once."""
    _delete(where, f"operators/{_part(name)}", f"no operator {name!r}")


for _command in (message, mode, suppress):
    signs.add_command(_command)


# ---- asking ----------------------------------------------------------------------------------------------------------


def _get(where: Where, path: str, missing: str = "") -> Any:
    status, answer = ask(where, "GET", f"{API}/{path}", known=(404,) if missing else ())
    if status == 404:
        raise click.ClickException(missing)
    return answer


def _post(where: Where, path: str, entry: Mapping[str, Any] | None = None) -> Any:
    import orjson

    return ask(where, "POST", f"{API}/{path}", orjson.dumps(entry or {}))[1]


def _delete(where: Where, path: str, missing: str) -> None:
    status, _ = ask(where, "DELETE", f"{API}/{path}", known=(404,))
    if status == 404:
        raise click.ClickException(missing)


def _part(text: str) -> str:
    return quote(text, safe="")


# ---- tables ----------------------------------------------------------------------------------------------------------


def _table(*columns: str, title: str | None = None) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)


def _print_json(answer: Any) -> None:
    import orjson

    click.echo(orjson.dumps(answer).decode())


def _styled(text: str, state: str) -> Any:
    from rich.text import Text

    return Text(text.replace("_", " "), style=_COLOURS.get(state, ""))


def _show_fleet(answer: Mapping[str, Any]) -> None:
    now, counts = answer["now"], answer["counts"]
    told = ", ".join(f"{counts[state]} {state.replace('_', ' ')}" for state in STATES if counts.get(state))
    table = _table(
        "sign",
        "state",
        "stops",
        "heard",
        "glass p95",
        "signal",
        "mode",
        title=f"{answer['total']} signs: {told or 'none'}",
    )
    for row in answer["signs"]:
        glass, tele = (row.get("glass") or {}).get("p95"), row.get("tele") or {}
        heard = row.get("heard_at")
        table.add_row(
            clean(row["sign"]),
            _styled(row["state"], row["state"]),
            clean(", ".join(row["stops"])),
            "never" if heard is None else f"{ago(now - heard)} ago",
            "" if glass is None else f"{glass:.1f} s",
            clean(f"{tele['rssi']} dBm" if "rssi" in tele else ""),
            "" if row["mode"] == "auto" else row["mode"].replace("_", " "),
        )
    _print(table)
    if len(answer["signs"]) < answer["total"]:
        click.echo(
            f"{len(answer['signs'])} of {answer['total']} are listed; choose with -q, --state, --group, --line, --limit"
        )


def _facts(row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    now, tele, glass = row["now"], row.get("tele") or {}, row.get("glass") or {}

    def since(name: str) -> str:
        return f"{ago(now - row[name])} ago" if row.get(name) else ""

    facts = {
        "sign": row["sign"],
        "state": row["state"],
        "also": ", ".join(row["conditions"][1:]).replace("_", " "),
        "alarms": ", ".join(f"{alarm['kind']} (id {alarm['id']})" for alarm in row["alarms"]).replace("_", " "),
        "name": row.get("name"),
        "place": row.get("place"),
        "groups": ", ".join(row.get("groups") or ()),
        "stops": ", ".join(row["stops"]),
        "mode": row["mode"],
        "text": " / ".join((row.get("text") or {}).values()),
        "entered": "yes" if row["is_entered"] else "no: it connects with a common token",
        "own token": "yes" if row.get("has_token") else "no",
        "blocked": "yes" if row.get("is_blocked") else "",
        "connected": since("connected_at") or "no",
        "last heard": since("heard_at"),
        "last close code": row.get("close_code"),
        "sessions": row.get("sessions"),
        "hardware": " ".join(filter(None, (row.get("hw"), row.get("fw")))),
        "panel": f"{row['rows']} x {row['cols']}" if row.get("rows") else "",
        "languages": ", ".join(row.get("lang") or ()),
        "on the glass": ", ".join(f"{stop} rev {rev}" for stop, (_, rev) in (row.get("shown") or {}).items()),
        "time to glass": f"p50 {glass['p50']} s, p95 {glass['p95']} s, p99 {glass['p99']} s"
        if glass.get("samples")
        else "",
        "telemetry": ", ".join(f"{name} {value}" for name, value in tele.items()),
        "telemetry of": since("tele_at"),
        "fault": row.get("draw_error"),
        "data": ", ".join(f"{m}: {(a + b) / 1e6:.2f} MB" for m, (a, b) in (row.get("traffic") or {}).items()),
    }
    return ((name, str(value)) for name, value in facts.items() if value not in (None, ""))


def _change(row: Mapping[str, Any]) -> str:
    """What differs between before and after, in a line."""
    before, after = row.get("before") or {}, row.get("after") or {}
    hidden = ("set_at", "set_by", "added_at")
    names = [name for name in {**before, **after} if before.get(name) != after.get(name) and name not in hidden]
    if not after or not before:
        known = after or before
        return clean(", ".join(f"{name} {known[name]}" for name in names)[:160])
    return clean(", ".join(f"{name} {before.get(name)} -> {after.get(name)}" for name in names)[:160])
