"""`busd demo`: the city's timetable, a daemon that serves it, and the fleet that reports to it.

The daemon runs in this process, the fleet in a subprocess that ends with it. Nothing is kept between two runs unless a
state folder is given: a city that was run fast, or in another time zone, has a journal from the future.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from busd.clock import Clock, ScaledClock, SystemClock
from busd.config import Config, parse_config
from busd.errors import BusdError, ConfigError
from busd.signs.control import SignControl
from replay.city.feed import choose_timezone, write_feed
from replay.city.fleet import FleetOptions
from replay.city.terminal import HINT_ITEMS
from replay.city.timetable import make_plan

log = structlog.get_logger(__name__)

TOKEN = "demo"
READY_TIMEOUT_S = 30.0
POLL_S = 0.1
END_FLEET_S = 5.0
HOST = "127.0.0.1"
"""the demo lets anybody in, so it listens on this machine only; a ``--config`` may say otherwise"""


@dataclass(frozen=True)
class DemoOptions:
    """The options of ``busd demo``. Ports: 0 = any free one."""

    web_port: int | None = None
    sign_port: int | None = None
    jt808_port: int | None = None
    speed: float | None = None
    seed: int | None = None
    buses: int = 120
    config: Path | None = None
    """a TOML file under the demo's own settings; ``gtfs.path`` is always the city's"""
    state_dir: Path | None = None
    timezone: str | None = None
    """None = the one where it is day (`choose_timezone`)"""


class _Port(Protocol):
    @property
    def port(self) -> int: ...


class RunningDaemon(Protocol):
    """What the demo needs of a daemon."""

    @property
    def web(self) -> _Port: ...
    @property
    def signs(self) -> _Port: ...
    @property
    def jt808(self) -> _Port | None: ...
    @property
    def control(self) -> SignControl: ...
    def health(self) -> dict[str, Any]: ...


Beside = Callable[[RunningDaemon, asyncio.Event], Awaitable[None]]
RunDaemon = Callable[[Config, Clock, Beside], Awaitable[None]]
"""Serves until a signal or the event; calls the third argument beside once it listens, and cancels it at the end."""


async def run_demo(options: DemoOptions, run_daemon: RunDaemon, say: Callable[[str], None] = print) -> None:
    """The whole demo; returns after Ctrl-C or SIGTERM. `BusdError` if the fleet could not be started or ended."""
    base = _read(options.config)
    real = SystemClock()
    with contextlib.ExitStack() as stack:
        if options.state_dir is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="busd-demo-")))
        else:
            folder = options.state_dir
            folder.mkdir(parents=True, exist_ok=True)
        config = demo_config(options, folder, base)
        timezone = options.timezone or choose_timezone(real.now())
        started_at = real.now()
        speed = config.demo.speed
        clock: Clock = real if speed == 1.0 else ScaledClock(speed, real, started_at)
        fleet_options = FleetOptions(
            seed=config.demo.seed,
            buses=options.buses,
            timezone=timezone,
            speed=speed,
            city_at=None if speed == 1.0 else started_at,
            real_at=started_at,
        )
        problem: list[str] = []
        async with fleet_process(fleet_options) as fleet:
            await asyncio.to_thread(
                lambda: write_feed(make_plan(config.demo.seed, options.buses), config.gtfs.path, timezone)
            )

            async def beside(daemon: RunningDaemon, stop: asyncio.Event) -> None:
                assert fleet.stdin is not None and daemon.jt808 is not None
                fleet.stdin.write(b"%d\n" % daemon.jt808.port)
                daemon.control.registry.add_operator("demo", "dispatcher", clock.now(), TOKEN)
                await _boards_are_live(daemon, options.buses)
                say(ready_line(config, daemon, timezone))
                code = await fleet.wait()
                problem.append(f"the simulated fleet ended (exit status {code})")
                stop.set()

            await run_daemon(config, clock, beside)
        if problem:
            raise BusdError(problem[0])


def demo_config(options: DemoOptions, folder: Path, base: Mapping[str, Any]) -> Config:
    """The configuration of a demo whose files are in ``folder``: the options, then ``base``, then the demo's own."""
    data: dict[str, Any] = {name: dict(part) if isinstance(part, Mapping) else part for name, part in base.items()}

    def put(section: str, key: str, own: object, option: object = None) -> None:
        table = data.setdefault(section, {})
        if option is not None:
            table[key] = option
        else:
            table.setdefault(key, own)

    put("gtfs", "path", None, str(folder.resolve() / "city.zip"))
    put("gtfs", "cache_dir", str(folder.resolve() / "gtfs"))
    put("gtfs", "reload_s", 0.0)
    put("state", "dir", str(folder.resolve() / "state"))
    for section, port, option in (
        ("web", 8080, options.web_port),
        ("signs", 8081, options.sign_port),
        ("jt808", 6808, options.jt808_port),
    ):
        put(section, "host", HOST)
        put(section, "port", port, option)
    put("signs", "shared_token", TOKEN)
    put("jt808", "mode", "open")
    put("jt808", "enabled", True, True)
    put("jt808", "hint_items", HINT_ITEMS)
    put("demo", "simulated", True, True)
    put("demo", "speed", 1.0, options.speed)
    put("demo", "seed", 1, options.seed)
    base_folder = Path() if options.config is None else options.config.parent
    return parse_config(data, base_folder)


def ready_line(config: Config, daemon: RunningDaemon, timezone: str) -> str:
    """``busd demo ready`` and where everything is."""
    jt808 = daemon.jt808.port if daemon.jt808 is not None else 0
    return (
        f"busd demo ready  rider http://{_shown(config.web.host)}:{daemon.web.port}/"
        f"  signs ws://{_shown(config.signs.host)}:{daemon.signs.port}/v1/sign (token {TOKEN})"
        f"  operators http://{_shown(config.web.host)}:{daemon.web.port}/signs (token {TOKEN})"
        f"  jt808 tcp://{_shown(config.jt808.host)}:{jt808}"
        f"  city time {timezone}, speed {config.demo.speed:g}, simulated"
    )


@contextlib.asynccontextmanager
async def fleet_process(options: FleetOptions) -> AsyncIterator[asyncio.subprocess.Process]:
    """The fleet's subprocess, options sent; write the gateway's port as a line to its standard input to let it go.

    It ends when its standard input does, whatever happens to this process; at the end it gets some seconds for that."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "replay.city.fleet", stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(options) + b"\n")
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_FLEET_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _boards_are_live(daemon: RunningDaemon, buses: int) -> None:
    """Until most buses are seen, or no more come, or patience ends: at night few are out."""
    seen, since = 0, 0.0
    waited = 0.0
    while waited < READY_TIMEOUT_S:
        vehicles = int(daemon.health()["vehicles"])
        if vehicles > seen:
            seen, since = vehicles, waited
        if seen >= buses * 0.9 or (seen > 0 and waited - since > 5.0):
            return
        await asyncio.sleep(POLL_S)
        waited += POLL_S
    log.warning("few_buses", vehicles=seen, expected=buses)


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def _shown(host: str) -> str:
    return HOST if host in ("0.0.0.0", "::", "") else host
