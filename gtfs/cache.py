"""Compiled networks on disk, named by digest; a missing one is compiled in a child process.

A child, because reading a hostile or huge feed may take all memory or crash a library, and because the daemon shall
neither wait for it in its loop nor keep pandas in memory. A directory appears under its name only when it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gtfs.errors import GtfsError
from gtfs.files import feed_digest, load_findings
from gtfs.findings import Findings
from gtfs.network import Network

NETWORKS_KEPT = 8
"""Older ones go when a new one comes; a journal of last week may still name them."""

MAX_ZIP_BYTES = 1 << 30


@dataclass(frozen=True)
class Child:
    """How the compiler is run. ``limits``: those of `ReaderLimits` that are not the default."""

    timeout_s: float = 600.0
    max_memory: int = 8 << 30
    """address space; far above what a feed needs, far below what makes a machine swap to death"""
    limits: Mapping[str, float] = field(default_factory=dict)
    python: str = sys.executable


def load_network(zip_path: Path | str, cache_dir: Path | str, child: Child | None = None) -> Network:
    """See `gtfs.load_network`."""
    zip_path, cache_dir = Path(zip_path), Path(cache_dir)
    directory = cache_dir / feed_digest(_read(zip_path))
    if directory.is_dir():
        try:
            network = Network.load(directory)
            os.utime(directory)
            return network
        except (GtfsError, OSError):
            shutil.rmtree(directory, ignore_errors=True)
    return Network.load(_compile(zip_path, cache_dir, child or Child()))


def load_compiled(digest: str, cache_dir: Path | str) -> Network:
    """The network that was compiled before under ``digest``. Raises `GtfsError` where the cache has it no more."""
    if not digest.isalnum():
        raise GtfsError(f"{digest[:80]!r} is no digest of a network")
    return Network.load(Path(cache_dir) / digest)


def findings_of(network: Network, cache_dir: Path | str) -> Findings:
    """What was found when the network was compiled."""
    return load_findings(Path(cache_dir) / network.digest)


def _compile(zip_path: Path, cache_dir: Path, child: Child) -> Path:
    """The directory of the network that a child process compiled."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".compiling-", dir=cache_dir))
    except OSError as error:
        raise GtfsError(f"{cache_dir} cannot be written: {error.strerror or error}") from error
    try:
        digest = _run_child(zip_path, work, child)
        return _publish(work, cache_dir / digest)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read(zip_path: Path) -> bytes:
    try:
        if zip_path.stat().st_size > MAX_ZIP_BYTES:
            raise GtfsError(f"{zip_path} is larger than {MAX_ZIP_BYTES} bytes")
        return zip_path.read_bytes()
    except OSError as error:
        raise GtfsError(f"{zip_path} cannot be read: {error.strerror or error}") from error


def _run_child(zip_path: Path, work: Path, child: Child) -> str:
    """The digest of what the child wrote into ``work``."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(part for part in (root, environment.get("PYTHONPATH", "")) if part)
    # Many threads of BLAS would cost address space and bring nothing here.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    order = {
        "zip": str(zip_path.absolute()),
        "directory": str(work),
        "max_memory": child.max_memory,
        "limits": dict(child.limits),
    }
    command = [child.python, "-m", "gtfs.compile", json.dumps(order)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=child.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise GtfsError(f"compiling {zip_path} took longer than {child.timeout_s:g} s and was stopped") from error
    except OSError as error:
        raise GtfsError(f"the compiler of {zip_path} could not be started: {error}") from error
    try:
        answer = json.loads(done.stdout.decode().strip().rpartition("\n")[2])
        if "error" in answer:
            raise GtfsError(f"{zip_path}: {answer['error']}")
        if done.returncode == 0:
            return str(answer["digest"])
    except (ValueError, KeyError, TypeError):
        pass
    if done.returncode < 0:
        raise GtfsError(f"the compiler of {zip_path} was killed by signal {-done.returncode} (out of memory?)")
    words = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    raise GtfsError(f"the compiler of {zip_path} failed with status {done.returncode}: {words[:500]}")


def _publish(work: Path, directory: Path) -> Path:
    try:
        os.rename(work, directory)
    except OSError as error:
        if not directory.is_dir():  # else another process was faster: its result is the same
            raise GtfsError(f"{directory} cannot be written: {error.strerror or error}") from error
    _forget_old(directory)
    return directory


def _forget_old(newest: Path) -> None:
    """What is mapped stays readable: only names go."""
    networks = [path for path in newest.parent.iterdir() if (path / "network.json").is_file() and path != newest]
    networks.sort(key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
    for path in networks[NETWORKS_KEPT - 1 :]:
        if not path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
