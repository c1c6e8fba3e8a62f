"""One encoded board for everybody, a fresh ``now`` at most once a second, bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from busd.bus import BoardBus
from busd.signs.frames import MAX_VARIANTS, NOW_MS, FrameCache
from busd.signs.render import board_json

LANGS = ("en", "zh-Hans")
START = 1_795_000_001_000
Make = Callable[..., Any]


def test_a_frame_is_built_once_until_the_board_changes(bus: BoardBus, board: Make, network: Any) -> None:
    cache = FrameCache(bus)
    frame = cache.board_frame("S1", LANGS, 10, START)
    assert frame is cache.board_frame("S1", LANGS, 10, START + NOW_MS - 1)
    assert cache.board_json("S1", LANGS, 10, START) == board_json(bus.latest("S1"), network, LANGS, 10, START)
    bus.publish([board(1, 19)])
    assert orjson.loads(cache.board_json("S1", LANGS, 10, START))["rev"] == 19


def test_only_now_differs_after_a_second(bus: BoardBus) -> None:
    cache = FrameCache(bus)
    first = orjson.loads(cache.board_json("S1", LANGS, 10, START))
    later = orjson.loads(cache.board_json("S1", LANGS, 10, START + NOW_MS))
    assert later["now"] == START + NOW_MS
    assert first | {"now": 0} == later | {"now": 0}


def test_a_clock_that_went_back_does_not_freeze_now(bus: BoardBus) -> None:
    cache = FrameCache(bus)
    cache.board_json("S1", LANGS, 10, START + 3_600_000)
    assert orjson.loads(cache.board_json("S1", LANGS, 10, START))["now"] == START


def test_variants_and_stops_are_bounded(bus: BoardBus) -> None:
    cache = FrameCache(bus, max_stops=4)
    for k in range(24):
        for n in range(1, 31):
            cache.board_frame(f"S{k}", LANGS, n, START)
    assert list(cache._entries) == ["S20", "S21", "S22", "S23"]
    assert {len(entry.variants) for entry in cache._entries.values()} == {MAX_VARIANTS}


def test_unknown_stops_have_no_frames(bus: BoardBus) -> None:
    cache = FrameCache(bus)
    assert cache.board_frame("nowhere", (), 10, START) is None
    assert cache.board_json("nowhere", (), 10, START) is None
    assert cache.same_frame("nowhere", START) is None


def test_same_names_the_latest_revision(bus: BoardBus, board: Make) -> None:
    cache = FrameCache(bus)
    assert orjson.loads(cache.same_frame("S1", START)[2:])["rev"] == 18
    assert cache.same_frame("S1", START) is cache.same_frame("S1", START + 999)
    bus.publish([board(1, 19)])
    assert orjson.loads(cache.same_frame("S1", START)[2:])["rev"] == 19
