"""Compiled timetables of this process, by digest: the one of the config, and those that the journal still names."""

from __future__ import annotations

import threading
from pathlib import Path

import gtfs
from busd.config import GtfsConfig
from gtfs.cache import load_compiled
from gtfs.errors import GtfsError
from gtfs.network import Network


class NetworkStore:
    """Callable as the engine wants it: digest -> `Network`. LookupError for one that is not in the cache any more."""

    def __init__(self, config: GtfsConfig) -> None:
        self.config = config
        self._known: dict[str, Network] = {}
        self._lock = threading.Lock()
        self._seen: tuple[float, int] | None = None
        self.refused = 0
        """changed files that could not be loaded"""

    def load(self) -> Network:
        """The timetable of the config, compiled if need be. `GtfsError` says what is wrong with the file."""
        self._seen = self._stamp()
        network = gtfs.load_network(self.config.path, self.config.cache_dir)
        with self._lock:
            self._known[network.digest] = network
        return network

    def load_changed(self) -> Network | None:
        """As `load`, but only if the file is another one than at the last look."""
        if self._stamp() == self._seen:
            return None
        try:
            return self.load()
        except GtfsError:
            self.refused += 1
            raise

    def __call__(self, digest: str) -> Network:
        with self._lock:
            known = self._known.get(digest)
        if known is not None:
            return known
        try:
            network = load_compiled(digest, self.config.cache_dir)
        except GtfsError as error:
            raise LookupError(str(error)) from error
        with self._lock:
            self._known[digest] = network
        return network

    def _stamp(self) -> tuple[float, int] | None:
        try:
            stat = Path(self.config.path).stat()
        except OSError:
            return None
        return stat.st_mtime, stat.st_size
