"""What `busd signs` can order: messages, modes, suppressions."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from busd.asking import Where, ago, ask, clean

API = "/v1/admin"
PRIORITIES = ("information", "disruption", "emergency")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(min|m|h|d|s)")
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TARGETS = "all, line:8, line:8/0 (one direction), group:NAME, stop:ID or sign:ID"

_ON = click.option("--on", "targets", multiple=True, help=f"Where: {_TARGETS}. May be given again.  [default: all]")
_TEXT = click.option("--text", "texts", multiple=True, metavar="LANG=TEXT", help="In one language; may be given again.")
_ZH = click.option("--zh", help="The text in Chinese (zh-Hans).")
_EN = click.option("--en", help="The text in English.")
_BO = click.option("--bo", help="The text in Tibetan.")
_UNTIL = click.option("--until", help="HH:MM or 'YYYY-MM-DD HH:MM', in the city's time.")
_FOR = click.option("--for", "lasting", help="So long: 30m, 2h, 1d.")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


# ---- messages --------------------------------------------------------------------------------------------------------


@click.group(invoke_without_command=True)
@_JSON
@click.pass_context
def message(ctx: click.Context, as_json: bool) -> None:
    """Texts on the boards; without a command it lists them."""
    if ctx.invoked_subcommand is not None:
        return
    _, answer = ask(ctx.obj, "GET", f"{API}/messages")
    rows = [
        (
            row["message_id"],
            PRIORITIES[row.get("priority", 0)] + (" takeover" if row.get("takeover") else ""),
            " / ".join(row["text"].values()),
            ", ".join(row["targets"]),
            _when(row, answer["now"]),
            row.get("set_by", ""),
        )
        for row in answer["messages"]
    ]
    _show(answer, as_json, ("id", "kind", "text", "where", "when", "by"), rows)


@message.command(name="set")
@_ZH
@_EN
@_BO
@_TEXT
@_ON
@click.option("--priority", type=click.Choice(PRIORITIES[:2]), default="information", show_default=True)
@click.option("--emergency", is_flag=True, help="First on every board, above all else.")
@click.option("--takeover", is_flag=True, help="With --emergency: signs show nothing but this text.")
@click.option("--from", "start", help="HH:MM or 'YYYY-MM-DD HH:MM', in the city's time.")
@_UNTIL
@_FOR
@click.option("--days", default="", help="Only on these service days: mon,tue,wed,thu,fri,sat,sun.")
@click.option("--change", "message_id", help="Id of the message that this replaces.")
@click.pass_obj
def set_message(
    where: Where,
    zh: str | None,
    en: str | None,
    bo: str | None,
    texts: tuple[str, ...],
    targets: tuple[str, ...],
    priority: str,
    emergency: bool,
    takeover: bool,
    start: str | None,
    until: str | None,
    lasting: str | None,
    days: str,
    message_id: str | None,
) -> None:
    """Put a text on boards: `busd signs message set --zh 8路绕行庆阳路 --en "Line 8 diverted" --on line:8 --until 20:00`."""
    text = _text(zh, en, bo, texts)
    if not text:
        raise click.UsageError("no text: give --zh, --en, --bo or --text LANG=TEXT")
    entry: dict[str, Any] = {
        "text": text,
        "targets": list(targets) or ["all"],
        "priority": 2 if emergency else PRIORITIES.index(priority),
        "takeover": takeover,
        "days": [day for day in re.split(r"[,\s]+", days.lower()) if day],
        "start_at": _instant(where, start),
        "end_at": _end(where, until, lasting),
        "message_id": message_id,
    }
    click.echo(_post(where, "messages", entry)["message_id"])


@message.command(name="end")
@click.argument("message_id")
@click.pass_obj
def end_message(where: Where, message_id: str) -> None:
    """Take a message off all boards."""
    _delete(where, "messages", message_id, f"no message {message_id!r}; `busd signs message` lists them")


# ---- modes -----------------------------------------------------------------------------------------------------------


@click.group(invoke_without_command=True)
@_JSON
@click.pass_context
def mode(ctx: click.Context, as_json: bool) -> None:
    """Signs that do not simply show their board; without a command it lists them."""
    if ctx.invoked_subcommand is not None:
        return
    _, answer = ask(ctx.obj, "GET", f"{API}/modes")
    rows = [
        (
            row["target"],
            row["mode"].replace("_", " "),
            " / ".join((row.get("text") or {}).values()),
            _ends(row.get("until_at"), answer["now"]),
            row.get("set_by", ""),
        )
        for row in answer["modes"]
    ]
    _show(answer, as_json, ("target", "mode", "text", "ends", "by"), rows)


@mode.command(name="set")
@click.argument("target")
@click.argument("name", metavar="MODE", type=click.Choice(("auto", "off", "text", "out_of_order")))
@_ZH
@_EN
@_BO
@_TEXT
@_UNTIL
@_FOR
@click.pass_obj
def set_mode(
    where: Where,
    target: str,
    name: str,
    zh: str | None,
    en: str | None,
    bo: str | None,
    texts: tuple[str, ...],
    until: str | None,
    lasting: str | None,
) -> None:
    """`busd signs mode set group:west off --for 2h`, `busd signs mode set sign:LS-0042 text --zh 本站停用`.

    TARGET is all, line:8, group:NAME, stop:ID or sign:ID; the narrowest order counts for a sign.
    """
    entry = {"target": target, "mode": name, "text": _text(zh, en, bo, texts), "until_at": _end(where, until, lasting)}
    _post(where, "modes", entry)


@mode.command(name="clear")
@click.argument("target")
@click.pass_obj
def clear_mode(where: Where, target: str) -> None:
    """Back to auto."""
    _delete(where, "modes", target, f"no mode is set for {target!r}; `busd signs mode` lists them")


# ---- suppressions ----------------------------------------------------------------------------------------------------


@click.group(invoke_without_command=True)
@_JSON
@click.pass_context
def suppress(ctx: click.Context, as_json: bool) -> None:
    """Lines whose predictions are not shown; without a command it lists them."""
    if ctx.invoked_subcommand is not None:
        return
    _, answer = ask(ctx.obj, "GET", f"{API}/suppressions")
    rows = [
        (row["target"], _ends(row["until_at"], answer["now"]), row.get("reason", ""), row.get("set_by", ""))
        for row in answer["suppressions"]
    ]
    _show(answer, as_json, ("line", "ends", "reason", "by"), rows)


@suppress.command(name="set")
@click.argument("line")
@click.option("--direction", type=click.IntRange(0, 1), help="direction_id of the timetable.  [default: both]")
@click.option("--reason", default="")
@_UNTIL
@_FOR
@click.pass_obj
def set_suppression(
    where: Where, line: str, direction: int | None, reason: str, until: str | None, lasting: str | None
) -> None:
    """Show only the timetable of a line, until the end of the service day or earlier: `busd signs suppress set 8`."""
    target = f"line:{line.removeprefix('line:')}" + ("" if direction is None else f"/{direction}")
    order = _post(where, "suppressions", {"target": target, "until_at": _end(where, until, lasting), "reason": reason})
    click.echo(f"{order['target']}: timetable only")


@suppress.command(name="end")
@click.argument("target")
@click.pass_obj
def end_suppression(where: Where, target: str) -> None:
    """Show the predictions of a line again."""
    target = f"line:{target.removeprefix('line:')}"
    _delete(where, "suppressions", target, f"{target} is not suppressed; `busd signs suppress` lists what is")


# ---- texts, times and tables -----------------------------------------------------------------------------------------


def _text(zh: str | None, en: str | None, bo: str | None, texts: tuple[str, ...]) -> dict[str, str]:
    found = {tag: text for tag, text in (("zh-Hans", zh), ("en", en), ("bo", bo)) if text}
    for entry in texts:
        tag, equals, text = entry.partition("=")
        if not equals or not text:
            raise click.UsageError(f"{entry!r} is not LANG=TEXT, e.g. en=Diverted")
        found[tag] = text
    return found


def _end(where: Where, until: str | None, lasting: str | None) -> float | None:
    if until is not None and lasting is not None:
        raise click.UsageError("give --until or --for, not both")
    if lasting is None:
        return _instant(where, until)
    match = _DURATION.fullmatch(lasting.strip().lower())
    if match is None:
        raise click.UsageError(f"{lasting!r} is no duration: 30m, 2h, 1d")
    _, me = ask(where, "GET", f"{API}/me")
    return float(me["now"]) + float(match[1]) * _UNITS[match[2]]


def _instant(where: Where, text: str | None) -> float | None:
    """Epoch s of a time on the city's clocks; a time of day that is over means tomorrow's."""
    if text is None:
        return None
    from zoneinfo import ZoneInfo

    _, me = ask(where, "GET", f"{API}/me")
    zone = ZoneInfo(me["timezone"])
    now = dt.datetime.fromtimestamp(me["now"], zone)
    for form in ("%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"):
        try:
            given = dt.datetime.strptime(text.strip(), form).replace(tzinfo=zone)
        except ValueError:
            continue
        if form == "%H:%M":
            given = given.replace(year=now.year, month=now.month, day=now.day)
            given += dt.timedelta(days=1 if given <= now else 0)
        return given.timestamp()
    raise click.UsageError(f"{text!r} is no time: HH:MM or 'YYYY-MM-DD HH:MM'")


def _when(row: Mapping[str, Any], now: float) -> str:
    start, parts = row.get("start_at"), []
    if start is not None and start > now:
        parts.append(f"from in {ago(start - now)}")
    parts.append(_ends(row.get("end_at"), now))
    return "; ".join([*parts, *([",".join(row["days"])] if row.get("days") else [])])


def _ends(at: float | None, now: float) -> str:
    return "until ended" if at is None else f"ends in {ago(at - now)}"


def _show(answer: Any, as_json: bool, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if as_json:
        import orjson

        click.echo(orjson.dumps(answer).decode())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not rows:
        click.echo("nothing is set")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(clean, row))
    Console().print(table)


def _post(where: Where, path: str, entry: Mapping[str, Any]) -> Any:
    import orjson

    return ask(where, "POST", f"{API}/{path}", orjson.dumps(entry))[1]


def _delete(where: Where, path: str, key: str, missing: str) -> None:
    status, _ = ask(where, "DELETE", f"{API}/{path}/{quote(key, safe='')}", known=(404,))
    if status == 404:
        raise click.ClickException(missing)
