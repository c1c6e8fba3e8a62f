"""Asking the daemon of this machine, or one at a URL, through its admin doors; errors say what to do next."""

from __future__ import annotations

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
TIMEOUT_S = 15.0
Where = tuple[Path | None, str | None]
"""configuration file and URL, as the options give them"""


class NotRunning(click.ClickException):
    pass


def load(config_file: Path | None, writes: bool = False) -> Config:
    """The configuration; without a file the defaults, which are enough to ask a daemon on this machine, not to write
    into its files."""
    import os

    from busd.config import load_config

    env = dict(os.environ)
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
    """(status, JSON) of a door; `click.ClickException` says what is wrong in words."""
    import http.client
    from urllib.parse import urlsplit

    import orjson

    config_file, url = where
    token = ""
    if url is None or config_file is not None:
        config = load(config_file)
        token = config.web.admin_token
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(config.web.host, config.web.host)
        url = url or f"http://{f'[{host}]' if ':' in host else host}:{config.web.port}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.ClickException(f"{url!r} is no http address")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    headers = {"Content-Type": content_type} | ({"Authorization": f"Bearer {token}"} if token else {})
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
            f"{url} refuses: give --config with web.admin_token, or ask from the daemon's own machine"
        )
    try:
        result = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise click.ClickException(f"{url} answers {answer.status} and no JSON; is that busd?") from error
    if answer.status != 200 and answer.status not in known:
        detail = result.get("detail") or result.get("error") if isinstance(result, dict) else result
        raise click.ClickException(f"{url} answers {answer.status}: {detail}")
    return answer.status, result


def quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
