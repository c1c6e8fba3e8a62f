"""The wheel: never early, at most one resolution late, cheap to move away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from busd.signs.timers import RESOLUTION_S, TimerWheel


class Item:
    def __init__(self) -> None:
        self.timer_bucket = 0


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=30))
def test_entries_come_up_once_in_time(instants: list[float]) -> None:
    wheel: TimerWheel[Item] = TimerWheel()
    items = [(at, Item()) for at in instants]
    for at, item in items:
        wheel.schedule(item, at)
    seen: list[Item] = []
    while (now := wheel.next_at) is not None:
        for item in wheel.due(now):
            at = next(at for at, other in items if other is item)
            assert at - 1e-9 <= now <= at + RESOLUTION_S + 1e-9
            seen.append(item)
    assert len(seen) == len(items) == len(set(map(id, seen)))


def test_only_an_earlier_deadline_moves_an_entry() -> None:
    wheel: TimerWheel[Item] = TimerWheel()
    item = Item()
    wheel.schedule(item, 10)
    wheel.schedule(item, 20)
    wheel.schedule(item, 5)
    assert wheel.due(4.9) == []
    assert wheel.due(5) == [item]
    assert wheel.due(30) == []


def test_a_forgotten_entry_does_not_come_up() -> None:
    wheel: TimerWheel[Item] = TimerWheel()
    item = Item()
    wheel.schedule(item, 1)
    wheel.forget(item)
    assert wheel.due(2) == []
