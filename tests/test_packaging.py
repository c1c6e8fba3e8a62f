"""The wheel holds what runs, its data files, and nothing else; and what it holds runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("busd", "gtfs", "replay")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "-w", str(out), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as file:
        yield file


def own_files(package: str) -> set[str]:
    """What git would have of a package, as paths from the root."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", package],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout, so the list of files is not known")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).exists()}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_the_packages_is_in_it(wheel: zipfile.ZipFile, package: str) -> None:
    names = {name for name in wheel.namelist() if name.startswith(f"{package}/")}
    assert names == own_files(package)
    assert f"{package}/py.typed" in names


def test_nothing_else_is_in_it(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in wheel.namelist() if "test_" in Path(name).name or "__pycache__" in name]


def test_pages_and_licences_are_in_it(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any(name.startswith("busd/web/static/") and name.endswith(".html") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_what_it_holds_runs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")).split("/")[0]
    version = metadata.removesuffix(".dist-info").split("-")[1]
    (entry,) = re.findall(r"^busd *= *([\w.]+):(\w+)$", wheel.read(f"{metadata}/entry_points.txt").decode(), re.M)
    script = f"import sys, busd; sys.argv = ['busd', '--version']; print(busd.__file__)\nfrom {entry[0]} import {entry[1]}; {entry[1]}()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    origin, said = done.stdout.splitlines()[:2]
    assert Path(origin).is_relative_to(tmp_path)
    assert version in said
