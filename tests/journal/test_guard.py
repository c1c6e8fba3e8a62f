from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from busd.journal import CrashGuard

START = """
import os, sys
from pathlib import Path
from busd.journal import CrashGuard
guard = CrashGuard(Path(sys.argv[1]))
for seq in range(1, 10):
    if guard.skips(seq):
        continue
    guard.enter(seq)
    if seq == 7:
        os.kill(os.getpid(), 9)
    guard.leave()
"""


def start(directory: Path) -> int:
    return subprocess.run([sys.executable, "-c", START, str(directory)], check=False, capture_output=True).returncode


def test_an_input_that_kills_twice_is_skipped_from_then_on(tmp_path: Path) -> None:
    assert [start(tmp_path) for _ in range(4)] == [-9, -9, 0, 0]
    guard = CrashGuard(tmp_path)
    assert [seq for seq in range(1, 10) if guard.skips(seq)] == [7]
    guard.forget(6)
    assert guard.skips(7)
    guard.forget(7)
    assert not CrashGuard(tmp_path).skips(7)


def test_one_death_is_forgiven(tmp_path: Path) -> None:
    CrashGuard(tmp_path).enter(3)
    assert not CrashGuard(tmp_path).skips(3)
    assert not CrashGuard(tmp_path).skips(3)


def test_without_a_disk_it_forgets_but_works(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"")
    guard = CrashGuard(place)
    guard.enter(1)
    guard.leave()
    assert not guard.skips(1)
