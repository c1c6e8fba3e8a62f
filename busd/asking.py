"""How commands ask the daemon: the address and token of its configuration, one request, errors in words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from busd.config import Config

CONFIG = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="The TOML file the daemon runs with."
)
URL = click.option("--url", help="Where the daemon's web port is, if the configuration does not say it right.")
TIMEOUT_S = 30.0
TOKEN = "BUSD_TOKEN"
"""environment variable: an operator's own token, instead of the one of the configuration"""

Where = tuple[Path | None, str | None]
"""configuration file and address, as they were given"""


class NotRunning(click.ClickException):
    """Nobody listens there."""


def load_here(config_file: Path | None, writes: bool = False) -> Config:
    """The configuration; without a file the defaults, which are enough to ask a daemon on this machine, not to write
    into its files."""
    from busd.config import load_config

    env = dict(os.environ)
    env.pop(TOKEN, None)
    if config_file is None and not writes:
        env.setdefault("BUSD__GTFS__PATH", "feed.zip")
    return load_config(config_file, env)


def ask(
    where: Where,
    method: str,
    path: str,
    body: bytes | None = None,
    content_type: str = "application/json",
    known: Sequence[int] = (),
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, Any]:
    """(status, JSON) of ``path``; `click.ClickException` says what is wrong in words. ``known``: other answers than 200
    that the caller knows what to do with."""
    import http.client
    from urllib.parse import quote, urlsplit

    import orjson

    config_file, url = where
    token = os.environ.get(TOKEN, "")
    if url is None or config_file is not None:
        config = load_here(config_file)
        token = token or config.web.admin_token
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(config.web.host, config.web.host)
        url = url or f"http://{f'[{host}]' if ':' in host else host}:{config.web.port}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.ClickException(f"{url!r} is no http address")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    headers = {"Content-Type": content_type, "Busd-Operator": quote(_login())}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
    except ConnectionRefusedError as error:
        raise NotRunning(f"no daemon at {url}; is `busd run` up?") from error
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(f"{url}: {error}") from error
    finally:
        connection.close()
    if answer.status == 401:
        raise click.ClickException(
            f"{url} refuses: give --config with web.admin_token, set {TOKEN}, or ask from the daemon's own machine"
        )
    try:
        result = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise click.ClickException(f"{url} answers {answer.status} and no JSON; is that busd?") from error
    if answer.status != 200 and answer.status not in known:
        detail = result.get("detail") or result.get("error") if isinstance(result, dict) else result
        raise click.ClickException(f"{url} answers {answer.status}: {clean(detail)}")
    return answer.status, result


def _login() -> str:
    """Who is sitting here, for the log of the daemon."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def ago(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def clean(text: object) -> str:
    """Text from outside, harmless for a terminal."""
    from busd.log import strip_control

    return strip_control(str(text))
