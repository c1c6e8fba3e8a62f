"""Orders of operators in the engine: on boards at once, by the clock of the inputs, in the snapshot and in the replay."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.clock import ManualClock
from busd.engine import Engine, grid
from busd.journal import Journal, read
from busd.line import Line
from busd.notices import Notice, day_ends, day_of
from busd.types import (
    Basis,
    Board,
    BoardsChanged,
    NetworkLoaded,
    OperatorCommand,
    Output,
    PositionReceived,
    Started,
    Tick,
    TripHint,
    VehiclePosition,
)
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import frame_of_map, network_from_map
from replay.digest import OutputDigest

MAP = "A---B---C---D---E\n    |\n    X"
LINES = {"1": "ABCDE", "1/back": "EDCBA", "9": "XB"}
NETWORK = network_from_map(MAP, LINES, trips=20, headway_s=300)
OTHER = network_from_map(MAP, {"1": "ABCDE", "9": "XBC"}, trips=20, headway_s=240)
PLACES = frame_of_map(MAP)
START = service_day_start("20260302", "Asia/Shanghai")  # a Monday
AT = START + 7.9 * 3600
TEXT = {"zh-Hans": "绕行", "en": "Diverted"}


def networks(digest: str) -> Network:
    return {NETWORK.digest: NETWORK, OTHER.digest: OTHER}[digest]


def started(at: float = AT) -> Engine:
    engine = Engine(networks)
    engine.apply(Started(at, "e1"))
    engine.apply(NetworkLoaded(at, NETWORK.digest))
    return engine


def board(engine: Engine, stop_id: str) -> Board:
    stop = engine.network.find_stop(stop_id)
    assert stop is not None
    found = engine.board(stop)
    assert found is not None
    return found


def message(at: float, notice_id: str = "m1", **more: Any) -> OperatorCommand:
    return OperatorCommand(at, "message", {"notice_id": notice_id, "text": TEXT, **more}, "anna")


def changed(outputs: list[Output]) -> set[str]:
    boards = [board for output in outputs if isinstance(output, BoardsChanged) for board in output.boards]
    return {NETWORK.stop_id[board.stop_idx] for board in boards}


def messages(engine: Engine, stop_id: str) -> list[str]:
    return [entry.message_id for entry in board(engine, stop_id).messages]


def tick_until(engine: Engine, at: float) -> list[Output]:
    """All ticks that are due, up to ``at``, as a line would make them."""
    outputs = list[Output]()
    while (due := engine.next_deadline) is not None and grid(max(due, engine.last_at)) <= at:
        outputs += engine.apply(Tick(grid(max(due, engine.last_at))))
    return outputs


def test_a_message_is_on_the_boards_of_its_stops_at_once_and_nowhere_else() -> None:
    engine = started()
    before = {stop: board(engine, stop).rev for stop in "ABCDEX"}
    told = engine.apply(message(AT + 1, stops=["B", "nowhere"]))
    assert changed(told) == {"B"}
    (entry,) = board(engine, "B").messages
    assert (entry.text, entry.priority, entry.until_at) == (TEXT, 0, None)
    assert board(engine, "B").rev == before["B"] + 1
    assert {s for s in "ACDEX" if board(engine, s).rev != before[s]} == set()
    assert changed(engine.apply(OperatorCommand(AT + 2, "message.end", {"notice_id": "m1"}))) == {"B"}
    assert messages(engine, "B") == []


def test_a_line_means_its_stops_and_a_direction_those_of_its_way() -> None:
    engine = started()
    engine.apply(message(AT, "both", routes=[["1", None]]))
    engine.apply(message(AT, "nine", routes=[["9", 0]]))
    engine.apply(message(AT, "none", routes=[["9", 1], ["no such line", None]]))
    engine.apply(message(AT, "all", everywhere=True, priority=1))
    assert messages(engine, "A") == ["all", "both"]
    assert messages(engine, "B") == ["all", "both", "nine"]
    assert messages(engine, "X") == ["all", "nine"]


def test_the_most_urgent_comes_first_and_a_takeover_is_told() -> None:
    engine = started()
    for priority in (1, 0, 2):
        engine.apply(message(AT, f"p{priority}", stops=["B"], priority=priority, takeover=priority == 2))
    assert messages(engine, "B") == ["p2", "p1", "p0"]
    assert [entry.takeover for entry in board(engine, "B").messages] == [True, False, False]


def test_a_new_wording_is_a_new_revision_and_the_same_one_is_none() -> None:
    engine = started()
    engine.apply(message(AT, stops=["B"]))
    rev = board(engine, "B").rev
    assert changed(engine.apply(message(AT + 1, stops=["B"]))) == set()
    assert changed(engine.apply(message(AT + 2, stops=["B", "C"]))) == {"B", "C"}
    assert board(engine, "B").rev == rev + 1


def test_start_and_end_come_with_a_tick_of_their_own() -> None:
    engine = started()
    engine.apply(message(AT, stops=["X"], start_at=AT + 61.3, end_at=AT + 200.0))
    tick_until(engine, AT + 61.2)
    assert messages(engine, "X") == []
    tick_until(engine, AT + 61.4)
    assert messages(engine, "X") == ["m1"]
    tick_until(engine, AT + 200.1)
    assert messages(engine, "X") == []
    assert engine.notices.messages == {}, "what is over is not kept"


def test_days_are_service_days() -> None:
    engine = started()
    engine.apply(message(AT, stops=["X"], days=[1, 4]))  # Tuesdays and Fridays
    assert messages(engine, "X") == []
    tuesday = START + 86400 + 3 * 3600
    tick_until(engine, tuesday - 1)
    assert messages(engine, "X") == [], "after midnight it is still Monday's service"
    tick_until(engine, tuesday + 1)
    assert messages(engine, "X") == ["m1"]
    tick_until(engine, tuesday + 86401)
    assert messages(engine, "X") == []


def test_a_message_before_the_timetable_and_over_its_change_stands() -> None:
    engine = Engine(networks)
    engine.apply(Started(AT, "e1"))
    assert engine.apply(message(AT, stops=["C"])) == []
    engine.apply(NetworkLoaded(AT, NETWORK.digest))
    assert messages(engine, "C") == ["m1"]
    engine.apply(message(AT, "nine", routes=[["9", None]]))
    engine.apply(NetworkLoaded(AT + 10, OTHER.digest))
    assert messages(engine, "C") == ["m1", "nine"], "line 9 goes to C now"


@pytest.mark.parametrize(
    "command",
    [
        OperatorCommand(AT, "fly to the moon", {}),
        OperatorCommand(AT, "message", {"notice_id": 7}),
        OperatorCommand(AT, "message", {"notice_id": "m", "text": "plain"}),
        OperatorCommand(AT, "suppress", {"route_id": "1"}),
        OperatorCommand(AT, "message.end", {}),
        OperatorCommand(AT, "suppress.end", {"key": "1/"}),
    ],
)
def test_a_command_that_makes_no_sense_changes_nothing(command: OperatorCommand) -> None:
    engine = started()
    before = engine.snapshot()
    assert engine.apply(command) == []
    assert engine.snapshot() == before


# ---- suppression -----------------------------------------------------------------------------------------------------


def with_a_bus() -> Engine:
    """Bus 1 is on its way from A to B on line 1; C expects it."""
    engine = started()
    for k in range(6):
        at = START + 8 * 3600 + 5 * k
        lat, lon = PLACES.between("A", "B", 0.1 * k)
        hint = TripHint(trip_id="1-0")
        engine.apply(PositionReceived(at, VehiclePosition("t", "bus1", lat, lon, at, at, speed_mps=8.0, hint=hint)))
        engine.apply(Tick(grid(at)))
    return engine


def bases(engine: Engine, stop_id: str) -> set[Basis]:
    return {departure.basis for departure in board(engine, stop_id).departures}


def test_suppression_shows_the_timetable_until_it_ends() -> None:
    engine = with_a_bus()
    assert Basis.REALTIME in bases(engine, "C")
    now = engine.last_at
    order = {"route_id": "1", "direction_id": None, "until_at": now + 60.0}
    told = engine.apply(OperatorCommand(now, "suppress", order))
    assert "C" in changed(told)
    assert bases(engine, "C") == {Basis.SCHEDULE}
    tick_until(engine, now + 59.0)
    assert bases(engine, "C") == {Basis.SCHEDULE}
    tick_until(engine, now + 60.2)
    assert Basis.REALTIME in bases(engine, "C"), "the bus was followed all the time"
    assert engine.notices.suppressions == {}


def test_suppression_of_the_other_direction_or_its_end_leaves_the_bus() -> None:
    engine = with_a_bus()
    direction = int(NETWORK.pattern_direction[NETWORK.trip_pattern[NETWORK.find_trip("1-0") or 0]])
    order = {"route_id": "1", "until_at": engine.last_at + 600.0}
    if direction >= 0:
        engine.apply(OperatorCommand(engine.last_at, "suppress", order | {"direction_id": 1 - direction}))
        assert Basis.REALTIME in bases(engine, "C")
    engine.apply(OperatorCommand(engine.last_at, "suppress", order | {"direction_id": None}))
    assert bases(engine, "C") == {Basis.SCHEDULE}
    engine.apply(OperatorCommand(engine.last_at, "suppress.end", {"key": "1/"}))
    assert Basis.REALTIME in bases(engine, "C")


# ---- continuity ------------------------------------------------------------------------------------------------------


def test_orders_are_in_the_snapshot_due_or_not() -> None:
    engine = with_a_bus()
    now = engine.last_at
    engine.apply(message(now, stops=["B"]))
    engine.apply(message(now, "later", stops=["B"], start_at=now + 1.0))
    engine.apply(OperatorCommand(now, "suppress", {"route_id": "1", "direction_id": None, "until_at": now + 30.0}))
    lat, lon = PLACES.between("A", "B", 0.6)
    engine.apply(  # later than the start, before the tick that carries it out
        PositionReceived(now + 1.05, VehiclePosition("t", "bus1", lat, lon, now + 1, now + 1.05, hint=TripHint("1-0")))
    )
    again = Engine.restore(engine.snapshot(), networks)
    assert again.snapshot() == engine.snapshot()
    one, other = OutputDigest(), OutputDigest()
    for each, digest in ((engine, one), (again, other)):
        digest.add(tick_until(each, now + 45.0))
    assert one.hexdigest() == other.hexdigest()
    assert messages(again, "B") == ["later", "m1"]


async def test_the_journal_gives_the_boards_with_their_messages_again(tmp_path: Path) -> None:
    clock, live = ManualClock(AT), OutputDigest()
    journal = Journal(tmp_path, {"network": NETWORK.digest})
    line = Line(Engine(networks), journal, clock, [live.add])
    line.take([Started(line.now(), "e1"), NetworkLoaded(line.now(), NETWORK.digest)])
    line.take([message(line.now(), routes=[["1", None]], end_at=AT + 30.0)])
    clock.advance(10.0)
    line.take([OperatorCommand(line.now(), "suppress", {"route_id": "9", "direction_id": None, "until_at": AT + 20.0})])
    for _ in range(10):
        clock.advance(4.0)
        line.now()
    line.stop()
    journal.close()
    engine, again, count = Engine(networks), OutputDigest(), 0
    for _, entry in read(tmp_path):
        again.add(engine.apply(entry))
        count += isinstance(entry, OperatorCommand)
    assert count == 2
    assert again.hexdigest() == live.hexdigest()


def test_the_digest_tells_two_wordings_apart() -> None:
    digests = []
    for text in ("one", "two"):
        engine, digest = started(), OutputDigest()
        order = {"notice_id": "m1", "text": {"en": text}, "stops": ["B"]}
        digest.add(engine.apply(OperatorCommand(AT, "message", order)))
        digests.append(digest.hexdigest())
    assert digests[0] != digests[1]


@settings(max_examples=200, deadline=None)
@given(
    start=st.none() | st.floats(0, 10 * 86400),
    end=st.none() | st.floats(0, 10 * 86400),
    days=st.sets(st.integers(0, 6)),
    at=st.floats(0, 10 * 86400),
    later=st.floats(0, 1),
)
def test_nothing_changes_between_the_named_instants(
    start: float | None, end: float | None, days: set[int], at: float, later: float
) -> None:
    notice = Notice(
        "m",
        TEXT,
        start_at=None if start is None else START + start,
        end_at=None if end is None else START + end,
        days=tuple(sorted(days)),
    )
    now, zone = START + at, NETWORK.timezone
    upto = notice.next_change(now, zone)
    moment = now + later * (min(upto, now + 3 * 86400) - now)
    if moment < upto:
        assert notice.stands(moment, zone) == notice.stands(now, zone)


def test_the_day_goes_on_until_three() -> None:
    zone = "Asia/Shanghai"
    assert day_of(START + 2.9 * 3600, zone) + 1 == day_of(START + 3 * 3600, zone)
    assert day_ends(START + 12 * 3600, zone) == START + 27 * 3600
    assert math.isinf(Notice("m", TEXT).next_change(START, zone))
