"""`busd demo`: the one place that puts the daemon and the simulated city together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

PORT = click.IntRange(0, 65535)


@click.command(context_settings={"show_default": True})
@click.option("--web-port", type=PORT, help="Rider page and HTTP API.  [default: 8080]")
@click.option("--sign-port", type=PORT, help="Stop signs (path /v1/sign, token demo).  [default: 8081]")
@click.option("--jt808-port", type=PORT, help="Terminals of the buses.  [default: 6808]")
@click.option("--speed", type=click.FloatRange(0, 1000, min_open=True), help="City seconds a second.  [default: 1]")
@click.option("--seed", type=click.IntRange(0, 2**53), help="Another seed, another day.  [default: 1]")
@click.option("--buses", type=click.IntRange(26, 400), default=120, help="Size of the fleet.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML under the options.")
@click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep the files of the run here.")
@click.option("--timezone", help="Where the city lies.  [default: where it is day now]")
def demo(
    web_port: int | None,
    sign_port: int | None,
    jt808_port: int | None,
    speed: float | None,
    seed: int | None,
    buses: int,
    config: Path | None,
    state_dir: Path | None,
    timezone: str | None,
) -> None:
    """A simulated bus city on this machine: terminals report over JT/T 808, boards are live at http://127.0.0.1:8080.

    Ports may be 0 for any free one. Stop it with Ctrl-C.
    """
    import asyncio
    import contextlib
    import zoneinfo

    from busd.clock import Clock
    from busd.config import Config
    from busd.daemon import run_daemon
    from busd.errors import BusdError
    from busd.log import set_up_logging
    from replay.city.demo import Beside, DemoOptions, run_demo

    if timezone is not None and timezone not in zoneinfo.available_timezones():
        raise click.BadParameter(f"no such time zone: {timezone}", param_hint="--timezone")
    set_up_logging()
    options = DemoOptions(web_port, sign_port, jt808_port, speed, seed, buses, config, state_dir, timezone)

    async def serve(settings: Config, clock: Clock, beside: Beside) -> None:
        await run_daemon(settings, clock, beside=beside)

    runner: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop

        runner = uvloop.run
    try:
        runner(run_demo(options, serve, click.echo))
    except OSError as error:
        raise BusdError(f"cannot listen: {error.strerror or error}; is another busd running?") from error
