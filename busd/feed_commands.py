"""``busd feed``: look into what devices send. decode, tap, replay."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import click

from busd.feeds.tools import CODECS

_POSITION_KEYS = (
    "lat",
    "lon",
    "speed_mps",
    "bearing_deg",
    "altitude_m",
    "measured_at",
    "positioned",
    "alarm",
    "status",
    "items",
)
_FRAME_KEYS = ("ok", "reason", "msg_id", "phone", "serial", "version", "positions")


@click.group()
def feed() -> None:
    """Look into what devices and feeds send: decode, tap, replay."""


@feed.command()
@click.argument("codec", type=click.Choice(CODECS))
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a frame or message.")
@click.option("--all", "everything", is_flag=True, help="jt808: all that is known of a frame, also with --json.")
@click.option("--datum", type=click.Choice(("wgs84", "gcj02", "bd09")), default="wgs84", help="What coordinates are.")
@click.option("--id", "device_id", default="unknown", help="nmea: id of lines that name none.")
@click.option("--utc-offset", default=8.0, help="jt808: the terminals' clock minus UTC, h.", show_default=True)
@click.option("--timezone", default="UTC", help="siri-vm: of times without an offset.", show_default=True)
def decode(
    codec: str,
    file: BinaryIO,
    as_json: bool,
    everything: bool,
    datum: str,
    device_id: str,
    utc_offset: float,
    timezone: str,
) -> None:
    """Say what each frame or message of a capture means. Reads FILE or standard input: hex lines, raw bytes, or a
    recording of `busd feed tap`."""
    import orjson

    from busd.clock import SystemClock
    from busd.feeds.tools import Options, describe, read_capture

    options = Options(SystemClock().now(), datum, device_id, utc_offset * 3600.0, timezone)
    try:
        for number, item in enumerate(describe(codec, read_capture(file), options), 1):
            if as_json:
                shown = item if everything or codec != "jt808" else _essence(item)
                sys.stdout.buffer.write(orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE))
                sys.stdout.buffer.flush()
            else:
                click.echo("\n".join(_block(number, item)))
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _essence(item: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {key: item[key] for key in _FRAME_KEYS}
    out["positions"] = [{key: place[key] for key in _POSITION_KEYS} for place in item["positions"]]
    return out


def _block(number: int, item: Mapping[str, Any]) -> Iterator[str]:
    """A frame or message for people: a head line, then its values, then positions and their items."""
    from busd.log import strip_control

    for line in _lines_of(number, item):
        yield strip_control(line)
    yield ""


def _lines_of(number: int, item: Mapping[str, Any]) -> Iterator[str]:
    verdict = "good" if item["ok"] else f"REFUSED: {item['reason']}"
    if item["ok"] and item["reason"]:
        verdict = f"good ({item['reason']})"
    head = [f"#{number}", verdict]
    if item.get("msg_id") is not None:
        head.append(f"{item['msg_id']} {item.get('name', '')}".rstrip())
        head += [f"{key} {item[key]}" for key in ("version", "phone", "serial") if item.get(key) is not None]
    yield "  ".join(head)
    hidden = {"ok", "reason", "msg_id", "name", "version", "phone", "serial", "positions", "rejects"}
    for key, value in item.items():
        if key not in hidden and value not in (None, "", False):
            yield from _value(key, value, 2)
    for reject in item.get("rejects", ()):
        yield "  rejected: " + "  ".join(str(reject[key]) for key in ("reason", "vehicle_id", "detail") if reject[key])
    for place in item["positions"]:
        yield "  position " + _place(place)
        for key, value in place.items():
            if key not in ("lat", "lon", "measured_at", "items", "received_at", "source") and value is not None:
                yield from _value(key, value, 4)
        for extra in place.get("items", ()):
            yield _extra(extra)


def _place(place: Mapping[str, Any]) -> str:
    from datetime import UTC, datetime

    text = f"{place['lat']:.6f}, {place['lon']:.6f}"
    at = place.get("measured_at")
    if at is None:
        return text + "  no time"
    try:
        return f"{text}  {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{text}  {at}"


def _value(key: str, value: object, indent: int) -> Iterator[str]:
    space = " " * indent
    if isinstance(value, Mapping):
        yield f"{space}{key}: " + ", ".join(f"{name} {part}" for name, part in value.items() if part not in (None, ""))
    elif key in ("alarm", "status") and isinstance(value, int):
        yield f"{space}{key}: 0x{value:08x}"
    else:
        yield f"{space}{key}: {value}"


def _extra(extra: Mapping[str, Any]) -> str:
    value = extra["value"] if "value" in extra else extra["hex"]
    return f"    item 0x{extra['id']:02x} {extra['name']} = {value}   [{extra['clause']}]"


# ---- recording and sending again -------------------------------------------------------------------------------------

_OUT = click.Path(dir_okay=False, path_type=Path)


@feed.command()
@click.argument("source", required=False)
@click.option("--listen", help="Wait for devices here instead: PORT or HOST:PORT.")
@click.option("--to", "forward", help="With --listen: pass everything on to HOST:PORT, answers come back.")
@click.option("--udp", is_flag=True, help="Datagrams instead of connections.")
@click.option("--out", "file", type=_OUT, required=True, help="File to write; must not exist.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this time.")
def tap(
    source: str | None, listen: str | None, forward: str | None, udp: bool, file: Path, seconds: float | None
) -> None:
    """Record raw bytes with their times: of a server at SOURCE (HOST:PORT), or of devices that connect to --listen.
    Ctrl-C ends it; `busd feed decode` and `busd feed replay` read the file."""
    import asyncio
    import contextlib

    from busd.clock import SystemClock
    from busd.feeds.tap import TapWriter, record_datagrams, record_from, record_port

    if (source is None) == (listen is None):
        raise click.UsageError("give SOURCE or --listen, one of them")
    if source is not None and (udp or forward):
        raise click.UsageError("--udp and --to need --listen")
    to = _address(forward, None) if forward else None
    try:
        out = file.open("xb")
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from error

    async def record(writer: TapWriter) -> None:
        async with asyncio.timeout(seconds):
            if source is not None:
                await record_from(*_address(source, None), writer)
                return
            port = record_datagrams if udp else record_port
            async with port(*_address(listen or "", "0.0.0.0"), writer, to) as number:
                click.echo(f"listening on port {number}", err=True)
                await asyncio.Event().wait()

    with out:
        writer = TapWriter(out, SystemClock())
        try:
            with contextlib.suppress(TimeoutError, KeyboardInterrupt):
                asyncio.run(record(writer))
        except OSError as error:
            raise click.ClickException(f"cannot connect or listen: {error.strerror or error}") from error
        finally:
            click.echo(f"{writer.records} records, {writer.bytes} bytes in {file}", err=True)


@feed.command()
@click.argument("file", type=click.File("rb"))
@click.option("--to", "target", required=True, help="HOST:PORT to send to.")
@click.option(
    "--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Times as fast; 0 = without waiting."
)
def replay(file: BinaryIO, target: str, speed: float) -> None:
    """Send a recording of `busd feed tap` again: its connections, its bytes, its pace."""
    import asyncio

    from busd.clock import SystemClock
    from busd.feeds.tap import read_tap, send_again

    try:
        sent = asyncio.run(send_again(read_tap(file), *_address(target, None), SystemClock(), speed))
    except OSError as error:
        raise click.ClickException(f"{target}: {error.strerror or error}") from error
    failed = f", {sent.failed} not taken" if sent.failed else ""
    click.echo(f"{sent.streams} connections or senders, {sent.records} records, {sent.bytes} bytes{failed}", err=True)


def _address(text: str, default_host: str | None) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon and default_host is not None:
        host = default_host
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"{text!r} is not {'PORT or ' if default_host else ''}HOST:PORT")
    return host, int(port)
