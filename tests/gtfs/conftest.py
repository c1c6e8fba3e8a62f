"""A small drawn feed whose files a test may change, and where the real feeds are."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gtfs.compile import compile_bytes
from gtfs.findings import Findings
from gtfs.network import Network
from gtfs.testing import zip_from_map, zip_of

MAP = """
A--B--C
      |
      D
"""

Compile = Callable[..., tuple[Network, Findings]]


@pytest.fixture
def files() -> dict[str, str]:
    """File name -> CSV of one line A B C D, three trips from 08:00:00 on."""
    data = zip_from_map(MAP, {"1": "ABCD"})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture
def compile_files(files: dict[str, str]) -> Compile:
    """Compiles the feed with files put in place of its own (``stops="..."``); None takes one out."""

    def compile_(**changed: str | bytes | None) -> tuple[Network, Findings]:
        content: dict[str, str | bytes] = dict(files)
        for table, text in changed.items():
            if text is None:
                del content[f"{table}.txt"]
            else:
                content[f"{table}.txt"] = text
        return compile_bytes(zip_of(content))

    return compile_


@pytest.fixture(
    params=[
        "wmata-2026-02-16/gtfs.zip",
        "capmetro-2015/gtfs-2015-03-07.zip",
        "capmetro-2015/gtfs-2015-06-07.zip",
        "nyc-b63/gtfs.zip",
        "metrotransit-2019/gtfs.zip",
    ]
)
def real_feed(request: pytest.FixtureRequest) -> Path:
    path = Path(__file__).parents[2] / "../shared/data" / request.param
    if not path.is_file():
        pytest.skip(f"real feed {request.param} is not there (../shared/data)")
    return path
