"""The entry point: what a shell sees of an error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from busd.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["busd", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_command_that_says_no_ends_with_its_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`busd devices import` of a table with a bad line, where no daemon runs."""
    config, table = tmp_path / "busd.toml", tmp_path / "devices.csv"
    config.write_text('[gtfs]\npath = "feed.zip"\n[state]\ndir = "state"\n[web]\nport = 1\n', encoding="utf-8")
    table.write_text("phone,vehicle_id\n1391,1207\n", encoding="utf-8")
    assert run(monkeypatch, "devices", "import", str(table), "--config", str(config)) == 0
    table.write_text("phone,vehicle_id\n1391,1207\nno phone,1208\n", encoding="utf-8")
    assert run(monkeypatch, "devices", "import", str(table), "--config", str(config)) == 1


def test_usage_and_help(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--help") == 0
    assert run(monkeypatch, "no-such-command") == 2
