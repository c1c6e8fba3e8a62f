"""The script that installs system packages says what it cannot do, and fails only where skipping would hide it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("system.py")


@pytest.mark.parametrize(("build_server", "code"), [({}, 0), ({"CI": "true"}, 1), ({"CI": "false"}, 0)])
def test_where_nothing_can_be_installed(build_server: dict[str, str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={"PATH": "/nonexistent", **build_server},  # neither the programs nor apt-get are found
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert "apt-get install chromium redis-server" in done.stderr
    assert "missing: chromium" in done.stderr
