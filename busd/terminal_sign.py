"""``busd sign``: the reference sign in a terminal, or without a screen for scripts and tests in the field."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from busd.clock import Clock
    from busd.signs.client import SignRim
    from busd.signs.reference import Glass, ReferenceSign

PROFILES: dict[str, dict[str, float]] = {
    "default": {"min_interval": 1.0, "hysteresis": 10.0, "tele_s": 300.0},
    "cellular": {"min_interval": 15.0, "hysteresis": 10.0, "tele_s": 3600.0},
}
"""what the sign asks for; heartbeat and ttl are the server's to say"""
DOORS = ("auto", "websocket", "sse", "polling")


@click.command(context_settings={"show_default": True})
@click.argument("stops", nargs=-1, required=True)
@click.option("--url", default="ws://127.0.0.1:8081", help="Sign door of the server.")
@click.option(
    "--http",
    default="",
    show_default=False,
    help="Base URL of the HTTP doors and packs.  [default: what the server says]",
)
@click.option("--sign", "sign_id", default="BUSD-SIGN", help="Id of this sign.")
@click.option(
    "--token", envvar="BUSD_SIGN_TOKEN", default="", show_default=False, help="Its token; better in BUSD_SIGN_TOKEN."
)
@click.option("--lang", "langs", default="zh-Hans,en", help="Languages, the preferred one first.")
@click.option("--panel", default="48x8", help="Size of the panel, columns x rows.")
@click.option("--max-deps", type=click.IntRange(1, 30), default=10, help="Departures to ask for.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="default", help="What the SIM card can afford.")
@click.option(
    "--door", type=click.Choice(DOORS), default="auto", help="auto: the others where no WebSocket gets through."
)
@click.option("--no-deflate", is_flag=True, help="Do not offer compression.")
@click.option(
    "--timezone", default="", show_default=False, help="Zone of the clock times.  [default: what the server says]"
)
@click.option(
    "--state-dir", type=click.Path(file_okay=False, path_type=Path), help="Keeps offline packs over restarts."
)
@click.option("--json", "as_json", is_flag=True, help="No screen: one JSON line for every change.")
@click.option("--verbose", is_flag=True, help="Log to standard error.")
def sign(
    stops: tuple[str, ...],
    url: str,
    http: str,
    sign_id: str,
    token: str,
    langs: str,
    panel: str,
    max_deps: int,
    profile: str,
    door: str,
    no_deflate: bool,
    timezone: str,
    state_dir: Path | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """A stop sign for STOPS, as sign-protocol.md wants it: counts down by the server's clock, falls back to the timetable
    when nobody answers, comes back by itself.

    With the demo: busd sign --token demo 21801
    """
    from busd.clock import SystemClock
    from busd.config import LogConfig
    from busd.log import set_up_logging
    from busd.signs.client import SignRim
    from busd.signs.client_store import SignStore
    from busd.signs.messages import MAX_STOPS, is_name
    from busd.signs.reference import ReferenceSign
    from busd.signs.reference.pack import is_zone
    from busd.signs.reference.sign import Door
    from busd.signs.screen import Machine

    size = re.fullmatch(r"([0-9]{1,3})x([0-9]{1,2})", panel)
    if size is None or not (8 <= int(size[1]) <= 200 and 1 <= int(size[2]) <= 50):
        raise click.BadParameter("columns x rows, for instance 32x4", param_hint="--panel")
    if timezone and not is_zone(timezone):
        raise click.BadParameter(f"no such time zone: {timezone}", param_hint="--timezone")
    if len(stops) > MAX_STOPS or not all(map(is_name, (*stops, sign_id))):
        raise click.BadParameter(f"at most {MAX_STOPS} stops; ids have 1 to 128 characters", param_hint="STOPS")
    if not re.fullmatch(r"((wss?|https?)://)?[^\s/]+(/[^\s]*)?", url):
        raise click.BadParameter("ws://host:port", param_hint="--url")
    set_up_logging(LogConfig(level="debug" if verbose else "error"))
    clock = SystemClock()
    tags = [tag for tag in re.split(r"[,\s]+", langs) if tag]
    try:
        store = SignStore(state_dir) if state_dir is not None else None
    except OSError as error:
        raise click.BadParameter(error.strerror or str(error), param_hint="--state-dir") from None
    machine = Machine(clock, lambda: rim.restart(), lambda: store.clear() if store is not None else None)
    state = ReferenceSign(
        sign_id,
        dict.fromkeys(stops),
        tags,
        token,
        max_deps,
        **PROFILES[profile],
        hardware=machine,
        panel=(f"terminal-{panel}", int(size[2]), int(size[1])),
    )
    doors = tuple(Door) if door == "auto" else (Door(door),)
    rim = SignRim(url, state, clock, _nothing, http, doors, not no_deflate, store=store)
    if as_json:
        _run(_headless(rim, tags, timezone))
    else:
        _run(_on_screen(rim, (int(size[1]), int(size[2])), tags, timezone, clock, machine))


def _nothing(sign: ReferenceSign, glasses: Sequence[Glass]) -> None:
    """Stands until the screen is there."""


def _run(work: object) -> None:
    assert asyncio.iscoroutine(work)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(work)


async def _until_told(rim: SignRim) -> None:
    """Ends cleanly at SIGTERM, so that the terminal gets its cursor back."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await rim.run()


async def _headless(rim: SignRim, langs: Sequence[str], timezone: str) -> None:
    from busd.signs.screen import JsonLines

    def write(line: bytes) -> None:
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # whoever read this has enough
            if task is not None:
                task.cancel()

    task = asyncio.current_task()
    lines = JsonLines(langs, timezone, write)
    rim.render = lambda sign, glasses: lines.tell(sign, glasses, rim.status)
    await _until_told(rim)


async def _on_screen(
    rim: SignRim, size: tuple[int, int], langs: Sequence[str], timezone: str, clock: Clock, machine: object
) -> None:
    from rich.console import Console
    from rich.live import Live

    from busd.signs.screen import Machine, TerminalScreen

    assert isinstance(machine, Machine)
    screen = TerminalScreen(*size, langs, timezone, clock, machine)
    with Live(console=Console(), auto_refresh=False, screen=sys.stdout.isatty()) as live:

        def render(sign: ReferenceSign, glasses: Sequence[Glass]) -> None:
            live.update(screen.draw(sign, glasses, f"{sign.sign}  {rim.status}  {_bytes(sign)}"), refresh=True)

        rim.render = render
        await _until_told(rim)


def _bytes(sign: ReferenceSign) -> str:
    return f"{sign.meter.used / 1000:.1f} kB"
