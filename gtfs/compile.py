"""Zip -> Network, in this process; and the command line that `gtfs.cache` runs in a child process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gtfs.archive import ReaderLimits, read_zip
from gtfs.build import build_network
from gtfs.checks import check_network
from gtfs.errors import GtfsError
from gtfs.files import feed_digest, write_compiled
from gtfs.findings import Findings
from gtfs.network import Network
from gtfs.reader import read_feed


def compile_feed(zip_path: Path | str, limits: ReaderLimits | None = None) -> tuple[Network, Findings]:
    """Reads and compiles a feed. Raises `GtfsError` where it cannot be used at all."""
    limits = limits or ReaderLimits()
    return compile_bytes(read_zip(zip_path, limits), limits)


def compile_bytes(
    data: bytes, limits: ReaderLimits | None = None, findings: Findings | None = None
) -> tuple[Network, Findings]:
    """`compile_feed` for a zip in memory; ``findings`` collects even where `GtfsError` is raised."""
    feed = read_feed(data, limits, findings)
    network = build_network(feed, feed_digest(data), limits)
    check_network(network, feed.findings)
    return network, feed.findings


def main(arguments: list[str]) -> int:
    """One argument, a JSON object: ``zip``, ``directory`` (empty), ``max_memory`` (bytes of address space, 0 any),
    ``limits`` (fields of `ReaderLimits`). One line of JSON on stdout says how it went."""
    import resource

    order = json.loads(arguments[0])
    zip_path, directory, memory = Path(order["zip"]), Path(order["directory"]), int(order["max_memory"])
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        network, findings = compile_feed(zip_path, ReaderLimits(**order["limits"]))
        write_compiled(network, findings, directory)
    except GtfsError as error:
        print(json.dumps({"error": str(error)}))
        return 2
    except MemoryError:
        print(json.dumps({"error": f"compiling needs more than {memory >> 20} MiB"}))
        return 2
    except OSError as error:
        print(json.dumps({"error": f"the compiled network cannot be written: {error}"}))
        return 2
    print(json.dumps({"digest": network.digest, "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
