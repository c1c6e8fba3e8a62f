"""The entry point: what a shell sees of a command's end."""

from __future__ import annotations

import click
import pytest

from busd.cli import run
from busd.errors import BusdError


@click.command()
@click.argument("how")
@click.pass_context
def ending(ctx: click.Context, how: str) -> None:
    if how == "status":
        ctx.exit(3)
    if how == "usage":
        raise click.UsageError("no")
    if how == "busd":
        raise BusdError("the disk is full")
    if how == "interrupt":
        raise click.Abort


@pytest.mark.parametrize(("how", "status"), [("status", 3), ("usage", 2), ("busd", 1), ("interrupt", 130)])
def test_the_exit_status_is_what_the_command_said(how: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(ending, [how])
    assert end.value.code == status
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_that_simply_ends_is_a_success() -> None:
    run(ending, ["well"])
