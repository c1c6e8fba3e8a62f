"""The command line. Every command loads what it needs when it runs, so that ``busd --help`` is quick."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from busd.errors import BusdError

COMMANDS = {
    "run": "busd.commands:run",
    "check": "busd.commands:check",
    "config": "busd.commands:config",
    "bench": "busd.commands:bench",
    "feed": "busd.feed_commands:feed",
    "devices": "busd.device_commands:devices",
    "signs": "busd.sign_commands:signs",
    "sign": "busd.terminal_sign:sign",
    "explain": "busd.explain_commands:explain",
    "detours": "busd.explain_commands:detours",
    "replay": "replay.cli:replay",
    "history": "busd.history_commands:history",
    "learn": "busd.history_commands:learn",
    "demo": "busd.demo:demo",
}
"""command -> where it is"""


class LazyGroup(click.Group):
    """Knows the names of its commands and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{where} is no command")
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="busd", prog_name="busd")
def cli() -> None:
    """busd turns raw bus positions into honest departure boards."""


def main() -> None:
    """Entry point."""
    run(cli)


def run(command: click.Command, args: Sequence[str] | None = None) -> None:
    """Errors that busd raises on purpose are one line, not a traceback; the exit status is the command's own."""
    from gtfs.errors import GtfsError

    try:
        status = command.main(args, standalone_mode=False)
        if isinstance(status, int) and status:  # what a command gave to `Context.exit` comes back as a value
            sys.exit(status)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except (BusdError, GtfsError) as error:
        click.echo(f"busd: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def config_path(value: str | None) -> Path | None:
    return None if value is None else Path(value)
