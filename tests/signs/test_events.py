"""The SSE door without sockets: the same pace, refreshers and conflation as for signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.signs.events import EventStream
from busd.signs.frames import FrameCache
from busd.signs.messages import CloseCode

Make = Callable[..., Any]


class Page:
    """The browser's end: parses events as the HTML standard says."""

    def __init__(
        self, bus: BoardBus, clock: ManualClock, last_event_id: str = "", stop: str = "S1", **how: Any
    ) -> None:
        self.clock, self.woken = clock, 0
        frames = FrameCache(bus)
        self.stream = EventStream(bus, frames, stop, frames.variant(("en",), 10), last_event_id, self.wake, **how)
        self.retry: int | None = None
        self.comments = 0

    def wake(self) -> None:
        self.woken += 1

    def read(self) -> list[dict[str, Any]]:
        events = []
        text = self.stream.take(self.clock.monotonic(), int(self.clock.now() * 1000)).decode()
        assert text == "" or text.endswith("\n\n")
        for block in text.split("\n\n")[:-1]:
            event: dict[str, Any] = {}
            for line in block.split("\n"):
                name, _, value = line.partition(":")
                if not name:
                    self.comments += 1
                elif name == "retry":
                    self.retry = int(value)
                else:
                    event[name] = value.removeprefix(" ")
            if "data" in event:
                event["data"] = orjson.loads(event["data"])
                assert event["event"] == event["data"]["type"]
                events.append(event)
        return events

    def pass_time(self, seconds: float) -> list[dict[str, Any]]:
        """As the rim does: `take` whenever the stream says that something is due."""
        events, end = [], self.clock.monotonic() + seconds
        while (at := self.stream.next_deadline()) <= end and not self.stream.is_over:
            self.clock.advance(max(0.0, at - self.clock.monotonic()))
            events += self.read()
        self.clock.advance(max(0.0, end - self.clock.monotonic()))
        return events


@pytest.fixture
def open_page(bus: BoardBus, clock: ManualClock) -> Callable[..., Page]:
    return lambda *args, **how: Page(bus, clock, *args, **how)


def test_a_page_gets_the_board_at_once(open_page: Callable[..., Page]) -> None:
    page = open_page()
    [event] = page.read()
    assert page.retry == 5000
    assert (event["event"], event["id"], event["data"]["stop"]) == ("board", "k3f9-18", "S1")
    assert page.read() == []


@pytest.mark.parametrize(
    ("last", "kind"),
    [("k3f9-18", "same"), ("k3f9-17", "board"), ("zz-18", "board"), ("", "board"), ("\x00" * 999, "board")],
)
def test_the_last_event_id_plays_the_role_of_have(open_page: Callable[..., Page], last: str, kind: str) -> None:
    [event] = open_page(last).read()
    assert (event["event"], event["id"]) == (kind, "k3f9-18")


def test_pace_and_conflation(open_page: Callable[..., Page], bus: BoardBus, board: Make) -> None:
    page = open_page()
    page.read()
    for rev in range(19, 30):
        bus.publish([board(1, rev)])
        assert page.read() == []
    assert page.woken == 11
    assert [event["data"]["rev"] for event in page.pass_time(1.5)] == [29]


def test_refreshers_and_comments(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.read()
    events = page.pass_time(95)
    assert [event["event"] for event in events] == ["same"] * 3
    assert page.comments == 6  # every 14 s
    assert events[0]["data"]["now"] - 1_795_000_001_000 == 30_000


def test_a_ttl_in_fast_time_is_refreshed_in_time(open_page: Callable[..., Page]) -> None:
    page = open_page(speed=10.0)
    page.read()
    assert len(page.pass_time(9.5)) == 3


def test_bye_is_the_last_word(open_page: Callable[..., Page], bus: BoardBus, board: Make) -> None:
    page = open_page()
    page.read()
    page.stream.close(CloseCode.RESTART, "restart")
    bus.publish([board(1, 19)])
    [event] = page.read()
    assert event["data"] == {"type": "bye", "code": 4001, "retry": 5, "jitter": 30, "reason": "restart"}
    assert "id" not in event, "what the page has stays its Last-Event-ID"
    assert page.stream.is_over and page.read() == [] and not bus._watchers


def test_a_stop_that_left_the_timetable_ends_the_stream(
    open_page: Callable[..., Page], bus: BoardBus, network: Any
) -> None:
    page = open_page(stop="S5")
    page.read()
    bus.rebind(type(network)(stops=2))
    [event] = page.pass_time(31)
    assert event["data"]["code"] == 4001


def test_a_stop_without_a_board_gets_its_first_one(
    open_page: Callable[..., Page], bus: BoardBus, board: Make, network: Any
) -> None:
    network.stop_id.append("late")
    page = open_page(stop="late")
    assert page.read() == [] and page.retry == 5000
    assert page.pass_time(20) == [] and page.comments == 1
    bus.publish([board(len(network.stop_id) - 1, 1)])
    assert [event["event"] for event in page.read()] == ["board"]
