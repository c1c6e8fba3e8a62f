"""The latest board of every stop, and who wants to know when it changes.

A board is a latest value, not a log: the bus keeps one per stop and tells watchers that there is a newer one; what they
send, and when, is theirs. Pure and in-process. All calls come from one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from busd.types import Board
from gtfs.network import Network


class Watcher(Protocol):
    """Told of every new board of the stops it watches, before the flush."""

    def board_changed(self, board: Board) -> None: ...


class BoardBus:
    """Latest board per stop id. `publish` once per tick; watchers hear of each board, flush callbacks once at the end.

    Stops are named by their id here, because an id outlives the row number when the timetable is reloaded.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._latest: dict[str, tuple[Board, Network]] = {}
        self._watchers: dict[str, dict[Watcher, None]] = {}
        self._flush: list[Callable[[], None]] = []

    @property
    def network(self) -> Network:
        """The timetable whose row numbers newly published boards use."""
        return self._network

    def rebind(self, network: Network) -> None:
        """From here on boards come from ``network``.

        Boards of stops that it no longer has are forgotten: their signs hear nothing more and fall back by themselves
        when the ttl ends. The others stay, with the timetable they were made from, until they are published anew.
        """
        self._network = network
        self._latest = {
            stop_id: held for stop_id, held in self._latest.items() if network.find_stop(stop_id) is not None
        }

    def publish(self, boards: Iterable[Board]) -> None:
        """Make ``boards`` the latest of their stops, tell the watchers, then flush once (also when there were none)."""
        stop_ids, watchers_of = self._network.stop_id, self._watchers
        for board in boards:
            stop_id = stop_ids[board.stop_idx]
            self._latest[stop_id] = (board, self._network)
            watchers = watchers_of.get(stop_id)
            if watchers:
                for watcher in tuple(watchers):
                    watcher.board_changed(board)
        for callback in tuple(self._flush):
            callback()

    def latest(self, stop_id: str) -> Board | None:
        held = self._latest.get(stop_id)
        return None if held is None else held[0]

    def held(self, stop_id: str) -> tuple[Board, Network] | None:
        """The latest board together with the timetable that its row numbers belong to."""
        return self._latest.get(stop_id)

    def knows(self, stop_id: str) -> bool:
        """True for a stop of the timetable, even before its first board."""
        return stop_id in self._latest or self._network.find_stop(stop_id) is not None

    def boards(self) -> Iterator[tuple[str, Board]]:
        """(stop id, latest board) of every stop that has one."""
        for stop_id, (board, _) in list(self._latest.items()):
            yield stop_id, board

    def watch(self, stop_id: str, watcher: Watcher) -> None:
        """Idempotent; the stop may be one that has no board yet."""
        self._watchers.setdefault(stop_id, {})[watcher] = None

    def unwatch(self, stop_id: str, watcher: Watcher) -> None:
        """Idempotent."""
        watchers = self._watchers.get(stop_id)
        if watchers is not None:
            watchers.pop(watcher, None)
            if not watchers:
                del self._watchers[stop_id]

    def on_flush(self, callback: Callable[[], None]) -> None:
        """``callback()`` after every `publish`, when all watchers have been told."""
        self._flush.append(callback)

    def off_flush(self, callback: Callable[[], None]) -> None:
        """Idempotent."""
        if callback in self._flush:
            self._flush.remove(callback)
