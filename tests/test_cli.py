"""The entry point: what a shell sees of a command's end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from busd.cli import run
from busd.errors import BusdError


def shell_status(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "busd", *arguments], capture_output=True, timeout=120).returncode


def test_a_command_that_says_no_ends_with_its_status(tmp_path: Path) -> None:
    """`busd devices import` of a table with a bad line, where no daemon runs."""
    config, table = tmp_path / "busd.toml", tmp_path / "devices.csv"
    config.write_text('[gtfs]\npath = "feed.zip"\n[state]\ndir = "state"\n[web]\nport = 1\n', encoding="utf-8")
    table.write_text("phone,vehicle_id\n1391,1207\n", encoding="utf-8")
    assert shell_status("devices", "import", str(table), "--config", str(config)) == 0
    table.write_text("phone,vehicle_id\n1391,1207\nno phone,1208\n", encoding="utf-8")
    assert shell_status("devices", "import", str(table), "--config", str(config)) == 1


def test_usage_and_help() -> None:
    assert shell_status("--help") == 0
    assert shell_status("no-such-command") == 2


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
