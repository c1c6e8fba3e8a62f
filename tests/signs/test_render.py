"""A Board becomes exactly the JSON of busd.sign.v1, whatever the engine hands over. [n] = rules of the specification."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.signs.render import MAX_BYTES, board_json, choose_langs, same_json, text_frame
from busd.types import Basis, Board, BoardMessage, DatedTrip, Departure, LineAtStop, StopStatus
from gtfs.testing import network_from_map

GOLDEN = Path(__file__).parents[1] / "golden" / "signs"
AT = 1_795_000_000.0
NOW_MS = 1_795_000_000_150
Make = Callable[..., Any]


def render(
    board: Board, network: Any, langs: tuple[str, ...] = ("en", "zh-Hans"), max_deps: int = 10
) -> dict[str, Any]:
    data = board_json(board, network, langs, max_deps, NOW_MS)

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    parsed: dict[str, Any] = json.loads(data, object_pairs_hook=no_duplicates)
    return parsed


def test_golden_board(board: Make, network: Any) -> None:
    golden = (GOLDEN / "board.json").read_bytes()
    assert board_json(board(), network, ("en", "zh-Hans"), 10, NOW_MS) == golden.rstrip(b"\n")


def test_golden_same(board: Make) -> None:
    assert same_json(board(), "S4", NOW_MS) == (GOLDEN / "same.json").read_bytes().rstrip(b"\n")


def test_now_is_never_before_at(board: Make, network: Any) -> None:
    early = orjson.loads(board_json(board(), network, (), 10, 0))
    assert early["now"] == early["at"] == 1_795_000_000_123  # [13]


def test_texts_hold_what_was_asked_for_and_never_nothing() -> None:
    text = {"zh": "火车站", "en": "Railway Station", "bo": "མེ་འཁོར།"}
    assert choose_langs(text, ("en", "zh-Hans"), "") == {"en": "Railway Station", "zh-Hans": "火车站"}
    assert choose_langs(text, ("de",), "") == {"zh": "火车站"}
    assert choose_langs(text, (), "") == text
    assert choose_langs({"zh-Hans-CN": "站"}, ("zh",), "") == {"zh": "站"}
    assert choose_langs({"zh-Hant": "車站", "en": "Station"}, ("zh-Hans", "EN"), "") == {"EN": "Station"}
    assert choose_langs({}, ("en",), "S1") == {"und": "S1"}
    assert choose_langs({"en": "\x00\x1b"}, ("en",), "S1") == {"und": "S1"}


def test_control_characters_never_reach_a_panel(board: Make, departure: Make, network: Any) -> None:
    shown = render(board(departures=[departure(vehicle_id="12\r\n07")]), network)
    assert shown["deps"][0]["veh"] == "12 07"
    assert shown["deps"][0]["head"]["en"] == "Railway Station"
    hostile = [BoardMessage("m\x1b[2J", 0, {"en": "\x1b[31mgo\u202e home\x9b0m\ud800"})]
    (message,) = render(board(messages=hostile), network)["msgs"]
    assert message["text"] == {"en": "go home"}


def test_a_frequency_trip_without_exact_times_has_no_schedule(board: Make, departure: Make, network: Any) -> None:
    rows = [
        departure(trip=DatedTrip(38, "20261118", 25200)),
        departure(trip=DatedTrip(38, "20261118", 25800), pred_at=None, basis=Basis.SCHEDULE),
        departure(trip=DatedTrip(39, "20261118", 25200)),
    ]
    shown = render(board(departures=rows), network)
    assert [(d["key"], d["sched"]) for d in shown["deps"]] == [
        ("T38:20261118:50:25200", None),
        ("T39:20261118:50:25200", AT + 80),
    ]


def test_realtime_is_never_claimed_without_a_prediction(board: Make, departure: Make, network: Any) -> None:
    rows = [
        departure(1, pred_at=None, status=StopStatus.ARRIVING),
        departure(2, status=StopStatus.SKIPPED),
        departure(3, basis=Basis.FROZEN),
    ]
    assert {d["key"][:2]: (d["src"], d["st"], d["pred"]) for d in render(board(departures=rows), network)["deps"]} == {
        "T1": ("schedule", "ok", None),
        "T2": ("realtime", "skipped", None),
        "T3": ("frozen", "ok", AT + 140),
    }
    assert {d["src"] for d in render(board(departures=rows, state="schedule"), network)["deps"]} == {"schedule"}  # [16]


def test_departed_buses_leave_unless_they_stand_at_the_stop(board: Make, departure: Make, network: Any) -> None:
    gone = {"pred_at": AT - 61, "low_at": None, "high_at": None}
    rows = [
        departure(1, **gone),
        departure(2, **gone, status=StopStatus.AT_STOP),
        departure(3, **gone | {"pred_at": AT - 59}),
    ]
    assert [d["key"][:2] for d in render(board(departures=rows), network)["deps"]] == ["T2", "T3"]


def test_every_departure_has_its_line_and_keys_are_unique(board: Make, departure: Make, network: Any) -> None:
    shown = render(board(departures=[departure(1), departure(1), departure(2, route_idx=1, headsign_idx=1)]), network)
    assert [d["key"] for d in shown["deps"]] == ["T1:20261118:50", "T2:20261118:50"]
    assert [(line["line"], line["first"]) for line in shown["lines"]] == [("8", AT - 41800), ("K1", None)]


def test_messages_come_by_priority_and_the_list_is_cut(board: Make, departure: Make, network: Any) -> None:
    shown = render(board(departures=[departure(k) for k in range(1, 30)]), network, max_deps=3)
    assert len(shown["deps"]) == 3
    assert [m["prio"] for m in shown["msgs"]] == [1, 0]


def test_a_board_that_is_too_large_is_cut_to_one_message(board: Make, departure: Make, network: Any) -> None:
    large = board(
        departures=[departure(k, vehicle_id="车" * 200) for k in range(1, 31)],
        lines=[LineAtStop(k % 2, 0, AT, AT) for k in range(900)],
        messages=[BoardMessage(f"m{k}", k % 3, {"zh": "报" * 5000}) for k in range(40)],
    )
    data = board_json(large, network, (), 30, NOW_MS)
    assert len(data) <= MAX_BYTES
    assert orjson.loads(data)["deps"]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frame_header(size: int) -> None:
    frame = text_frame(b"x" * size)
    head = len(frame) - size
    assert frame[0] == 0x81
    assert head == (2 if size < 126 else 4 if size < 65536 else 10)
    assert (frame[1] if head == 2 else int.from_bytes(frame[2:head], "big")) == size


instants = st.none() | st.floats(AT - 200, AT + 4000, allow_nan=False)


@st.composite
def departures(draw: st.DrawFn) -> Departure:
    return Departure(
        trip=DatedTrip(draw(st.integers(0, 39)), "20261118", draw(st.none() | st.integers(0, 90000))),
        stop_pos=draw(st.integers(0, 23)),
        route_idx=draw(st.integers(0, 1)),
        headsign_idx=draw(st.integers(0, 1)),
        sched_at=draw(instants),
        pred_at=draw(instants),
        low_at=draw(instants),
        high_at=draw(instants),
        basis=draw(st.sampled_from(Basis)),
        status=draw(st.sampled_from(StopStatus)),
        age_s=draw(st.none() | st.floats(-1, 900)),
        stops_away=draw(st.none() | st.integers(-1, 60)),
        distance_m=draw(st.none() | st.floats(-5, 9000)),
        occupancy=draw(st.none() | st.integers(-1, 9)),
    )


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(departures(), max_size=30),
    state=st.sampled_from(["live", "degraded", "schedule"]),
    at=st.floats(AT, AT + 60),
    max_deps=st.integers(1, 30),
)
def test_any_departures_make_a_board_that_keeps_the_rules(
    hand_network: Any, rows: list[Departure], state: str, at: float, max_deps: int
) -> None:
    board = Board(3, "e", 1, at, 90.0, state, rows, [])
    shown = render(board, hand_network, max_deps=max_deps)
    last = -math.inf
    assert len(shown["deps"]) <= max_deps  # [24]
    assert len({d["key"] for d in shown["deps"]}) == len(shown["deps"])  # [18]
    for d in shown["deps"]:
        dropped = d["st"] in ("cancelled", "skipped")
        assert (d["pred"] is not None) == (d["src"] in ("realtime", "frozen") and not dropped)  # [19]
        assert state != "schedule" or d["src"] == "schedule"  # [16]
        assert d["line"] in {line["line"] for line in shown["lines"]}  # [17]
        effective = d["pred"] if d["pred"] is not None else d["sched"]
        assert last <= effective  # [23]
        last = effective
        assert effective >= shown["at"] / 1000 - 60 or d["st"] == "at_stop"  # [25]
        if d["pred"] is not None:
            assert d.get("lo", d["pred"]) <= d["pred"] <= d.get("hi", d["pred"])  # [20]
        assert d.get("away", 0) >= 0 and d.get("dist", 0) >= 0  # [22]


def test_a_compiled_network_renders() -> None:
    network = network_from_map(
        "A---B---C",
        {"8": "ABC", "8/back": "CBA"},
        names={"en": {"B": "Bridge"}},
        tables={
            "frequencies.txt": "trip_id,start_time,end_time,headway_secs,exact_times\n8-0,08:00:00,09:00:00,600,0\n"
        },
    )
    trip, run = network.find_trip("8-1"), network.find_trip("8-0")
    assert trip is not None and run is not None
    rows = [
        Departure(
            DatedTrip(idx, "20261118", start_s), 1, 0, int(network.trip_headsign[idx]), AT + 60, AT + 50, AT + 40, AT + 90,
            Basis.REALTIME, StopStatus.OK,
        )
        for idx, start_s in ((trip, None), (run, 28800))
    ]  # fmt: skip
    stop = network.find_stop("B")
    assert stop is not None
    shown = render(Board(stop, "e", 1, AT, 90.0, "live", rows, [LineAtStop(0, 0, AT, AT)]), network)
    assert (shown["stop"], shown["name"]["en"]) == ("B", "Bridge")
    assert [d["sched"] for d in shown["deps"]] == [AT + 60, None]
    assert {d["line"] for d in shown["deps"]} == {"8"}
