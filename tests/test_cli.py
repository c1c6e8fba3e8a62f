"""The entry point: what a shell sees of an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def status(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "busd", *arguments], capture_output=True, timeout=120).returncode


def test_a_command_that_says_no_ends_with_its_status(tmp_path: Path) -> None:
    """`busd devices import` of a table with a bad line, where no daemon runs."""
    config, table = tmp_path / "busd.toml", tmp_path / "devices.csv"
    config.write_text('[gtfs]\npath = "feed.zip"\n[state]\ndir = "state"\n[web]\nport = 1\n', encoding="utf-8")
    table.write_text("phone,vehicle_id\n1391,1207\n", encoding="utf-8")
    assert status("devices", "import", str(table), "--config", str(config)) == 0
    table.write_text("phone,vehicle_id\n1391,1207\nno phone,1208\n", encoding="utf-8")
    assert status("devices", "import", str(table), "--config", str(config)) == 1


def test_usage_and_help() -> None:
    assert status("--help") == 0
    assert status("no-such-command") == 2
