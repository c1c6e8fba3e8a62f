"""The planned service: GTFS feeds, compiled once to flat arrays. Knows no vehicle and no clock.

Only what works on a compiled network is imported here; reading a feed brings pandas, and only where it is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gtfs.archive import ReaderLimits
from gtfs.errors import GtfsError
from gtfs.findings import Finding, Findings, Severity
from gtfs.network import Network
from gtfs.strings import Strings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Finding",
    "Findings",
    "GtfsError",
    "Network",
    "ReaderLimits",
    "Severity",
    "Strings",
    "check_feed",
    "compile_feed",
    "load_network",
    "render_findings",
]


def compile_feed(zip_path: Path | str, limits: ReaderLimits | None = None) -> tuple[Network, Findings]:
    """Compiles a feed in this process. Raises `GtfsError` where it cannot be used at all."""
    from gtfs.compile import compile_feed as compile_

    return compile_(zip_path, limits)


def load_network(zip_path: Path | str, cache_dir: Path | str, timeout_s: float = 600.0) -> Network:
    """The feed's compiled network, memory-mapped; compiled in a child process where the cache has none.

    Raises `GtfsError` where the feed cannot be used, or the child dies, is killed or takes too long."""
    from gtfs.cache import Child
    from gtfs.cache import load_network as load

    return load(zip_path, cache_dir, Child(timeout_s=timeout_s))


def check_feed(zip_path: Path | str) -> Findings:
    """All findings of a feed; never raises for a bad one (`Findings.usable`)."""
    from gtfs.checks import check_feed as check

    return check(zip_path)


def render_findings(findings: Findings, console: Console) -> None:
    """Prints findings for people."""
    from gtfs.checks import render_findings as render

    render(findings, console)
