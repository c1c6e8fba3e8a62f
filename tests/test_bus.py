"""The bus keeps one board per stop and tells everybody once."""

from __future__ import annotations

from typing import Any

import pytest

from busd.bus import BoardBus
from busd.types import Board


class Names(list):
    def find(self, value: str) -> int | None:
        return self.index(value) if value in self else None


class Stops:
    def __init__(self, *stop_ids: str) -> None:
        self.stop_id = Names(stop_ids)

    def find_stop(self, stop_id: str) -> int | None:
        return self.stop_id.find(stop_id)


class Ear:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def board_changed(self, board: Board) -> None:
        self.heard.append((board.stop_idx, board.rev))


def make(stop_idx: int, rev: int) -> Board:
    return Board(stop_idx, "e", rev, 0.0, 90.0, "live", (), ())


@pytest.fixture
def bus() -> BoardBus:
    return BoardBus(Stops("A", "B"))


def test_latest_is_the_last_published_board(bus: BoardBus) -> None:
    assert bus.latest("A") is None
    assert bus.knows("A") and not bus.knows("nowhere")
    first, second = make(0, 1), make(0, 2)
    bus.publish([first, make(1, 1), second])
    assert bus.latest("A") is second
    assert [stop for stop, _ in bus.boards()] == ["A", "B"]


def test_watchers_hear_each_board_before_one_flush(bus: BoardBus) -> None:
    ear = Ear()
    bus.on_flush(lambda: ear.heard.append("flush"))
    bus.watch("A", ear)
    bus.watch("A", ear)
    bus.publish([make(0, 1), make(1, 1), make(0, 2)])
    assert ear.heard == [(0, 1), (0, 2), "flush"]
    bus.unwatch("A", ear)
    bus.unwatch("A", ear)
    bus.publish([])
    bus.publish([make(0, 3)])
    assert ear.heard[3:] == ["flush", "flush"]


def test_a_flush_callback_can_be_taken_off(bus: BoardBus) -> None:
    calls: list[int] = []

    def flush() -> None:
        calls.append(1)

    bus.on_flush(flush)
    bus.off_flush(flush)
    bus.off_flush(flush)
    bus.publish([])
    assert not calls


def test_a_watcher_may_leave_while_it_is_told(bus: BoardBus) -> None:
    class Leaver(Ear):
        def board_changed(self, board: Board) -> None:
            super().board_changed(board)
            bus.unwatch("A", self)

    leavers = [Leaver(), Leaver()]
    for leaver in leavers:
        bus.watch("A", leaver)
    bus.publish([make(0, 1), make(0, 2)])
    assert [leaver.heard for leaver in leavers] == [[(0, 1)], [(0, 1)]]


def test_rebind_keeps_boards_with_their_own_timetable(bus: BoardBus) -> None:
    old, new = bus.network, Stops("B", "C")
    board = make(1, 4)
    bus.publish([make(0, 1), board])
    bus.rebind(new)
    assert bus.latest("A") is None and not bus.knows("A")
    assert bus.held("B") == (board, old)
    fresh = make(0, 5)
    bus.publish([fresh])
    assert bus.held("B") == (fresh, new)
    assert bus.knows("C")
