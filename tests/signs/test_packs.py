"""Offline packs as the server makes them, and as the reference sign reads them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from datetime import date

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.clock import ManualClock
from busd.signs.packs import DAYS, MAX_BYTES, PackShelf, build_pack
from busd.signs.reference import OfflinePack
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import network_from_map

MAP = "A--B--C"
DAY = date(2026, 3, 3).toordinal()
NAMES = {"en": {"A": "Alpha"}, "bo": {"A": "ཨ"}}


def make(
    headway_s: int = 600, trips: int = 100, days: tuple[str, str] = ("20260101", "20261231"), **more: object
) -> Network:
    return network_from_map(
        MAP, {"1": "ABC", "2": "AB"}, start="06:00:00", headway_s=headway_s, trips=trips, days=days, names=NAMES, **more
    )  # type: ignore[arg-type]


def at_hour(hour: float, day: int = DAY) -> float:
    return service_day_start(day, "Asia/Shanghai") + hour * 3600


def test_a_pack_as_the_protocol_wants_it() -> None:
    network = make()
    body = build_pack(network, 0, DAY)
    assert body is not None and len(body) <= MAX_BYTES
    pack = orjson.loads(body)
    assert list(pack) == ["v", "stop", "tz", "from", "to", "name", "lines", "deps"]
    assert (pack["v"], pack["stop"], pack["tz"]) == (1, "A", "Asia/Shanghai")
    assert (pack["from"], pack["to"]) == (at_hour(0), at_hour(24 * DAYS))
    assert pack["name"] == {"zh-Hans": "A", "en": "Alpha", "bo": "ཨ"}
    assert [line["line"] for line in pack["lines"]] == ["1", "2"]
    assert pack["lines"][0]["head"]["zh-Hans"] == "C"
    times = [at for at, _ in pack["deps"]]
    assert times == sorted(times) and all(pack["from"] <= at < pack["to"] for at in times)
    assert len(times) == 2 * 100 * DAYS
    assert body == build_pack(make(), 0, DAY), "the same timetable gives the same bytes"


def test_the_calendar_and_the_limit_cut_a_pack() -> None:
    short = build_pack(make(days=("20260101", "20260306")), 0, DAY)
    assert short is not None and orjson.loads(short)["to"] == at_hour(0, DAY + 4)
    assert build_pack(make(days=("20260101", "20260201")), 0, DAY) is None
    dense = build_pack(make(headway_s=20, trips=3000), 0, DAY)
    assert dense is not None and len(dense) <= MAX_BYTES
    assert orjson.loads(dense)["to"] >= at_hour(24 * 4), "and no shorter than it must"


def test_headway_lines_have_no_clock_times() -> None:
    frequencies = "trip_id,start_time,end_time,headway_secs,exact_times\n2-0,07:00:00,09:00:00,480,0\n"
    network = make(trips=1, tables={"frequencies.txt": frequencies})
    body = build_pack(network, 0, DAY)
    assert body is not None
    pack = OfflinePack.read(hashlib.sha256(body).hexdigest(), "A", body)
    assert pack is not None
    shown = pack.board(at_hour(8), 10)
    assert shown is not None
    assert {dep["line"] for dep in shown["deps"]} == {"1"}
    assert [line.get("headway") for line in shown["lines"]] == [None, [480, 480]]
    later = pack.board(at_hour(10), 10)
    assert later is not None and all("headway" not in line for line in later["lines"])


# ---- the sign reads it -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed() -> tuple[str, bytes]:
    body = build_pack(make(), 0, DAY)
    assert body is not None
    return hashlib.sha256(body).hexdigest(), body


def test_the_day_as_the_sign_shows_it(packed: tuple[str, bytes]) -> None:
    pack = OfflinePack.read(packed[0], "A", packed[1])
    assert pack is not None
    morning = pack.board(at_hour(5), 3)
    assert morning is not None
    assert [dep["sched"] for dep in morning["deps"]] == [at_hour(6), at_hour(6), at_hour(6) + 600]
    assert all(dep["src"] == "schedule" and dep["pred"] is None for dep in morning["deps"])
    assert morning["lines"][0]["first"] == at_hour(6) and morning["lines"][0]["last"] == at_hour(6) + 99 * 600
    night = pack.board(at_hour(25), 3)
    assert night is not None
    assert night["lines"][0]["status"] == "ended" and night["lines"][0]["next"] == at_hour(30)
    assert night["deps"][0]["sched"] == at_hour(30)
    assert pack.board(at_hour(0) - 1, 3) is None
    assert pack.board(at_hour(24 * DAYS), 3) is None, "an old pack shows nothing"


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_pack_is_never_used(packed: tuple[str, bytes], data: st.DataObject) -> None:
    pack_id, body = packed
    place = data.draw(st.integers(0, len(body) - 1))
    broken = body[:place] + bytes([body[place] ^ data.draw(st.integers(1, 255))]) + body[place + 1 :]
    cut = data.draw(st.integers(0, len(body) - 1))
    assert OfflinePack.read(pack_id, "A", broken) is None
    assert OfflinePack.read(pack_id, "A", body[:cut]) is None
    assert OfflinePack.read(pack_id, "B", body) is None


Wild = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), now=st.floats(0, 4e9))
def test_a_pack_of_a_broken_server_never_raises(data: st.DataObject, now: float) -> None:
    """The hash is right, the content is anything."""
    good = {"v": 1, "stop": "A", "tz": "Asia/Shanghai", "from": 0, "to": 2**31, "name": {"en": "A"},
            "lines": [{"line": "1", "head": {"en": "B"}, "headway": [[0, 9, 5]]}], "deps": [[5, 0], [7, 0]]}  # fmt: skip
    for key in data.draw(st.lists(st.sampled_from(list(good)), max_size=2)):
        good[key] = data.draw(Wild)
    try:
        body = orjson.dumps(good)
    except TypeError:
        return
    pack = OfflinePack.read(hashlib.sha256(body).hexdigest(), "A", body)
    if pack is not None:
        pack.board(now, 10)


# ---- the shelf -------------------------------------------------------------------------------------------------------


class Town:
    """A timetable that may be replaced."""

    def __init__(self) -> None:
        self.network = make()
        self.clock = ManualClock(at_hour(9))
        self.shelf = PackShelf(lambda: self.network, self.clock)


async def test_a_pack_is_made_when_it_is_first_wanted() -> None:
    town = Town()
    maker = asyncio.create_task(town.shelf.run())
    assert town.shelf.note("A") is None
    async with asyncio.timeout(10):
        while town.shelf.find("A") is None:
            await asyncio.sleep(0.01)
    maker.cancel()
    ref = town.shelf.find("A")
    assert ref is not None
    note = orjson.loads(town.shelf.note("A") or b"")
    assert note == {"id": ref.id, "url": f"/v1/packs/{ref.id}", "bytes": ref.size}
    held = await town.shelf.fetch(ref.id)
    assert held is not None
    body = gzip.decompress(held[1])
    assert hashlib.sha256(body).hexdigest() == ref.id and len(body) == ref.size
    assert await town.shelf.fetch("0" * 64) is None


async def test_the_next_pack_comes_with_a_week_left() -> None:
    town = Town()
    first = await town.shelf.make("A")
    town.clock.advance(7 * 86400.0)
    assert await town.shelf.make("A") == first
    town.clock.advance(86400.0)
    second = await town.shelf.make("A")
    assert first is not None and second is not None and second.id != first.id
    assert second.first_day == first.first_day + 8
    held = await town.shelf.fetch(first.id)
    assert held is not None, "signs that were told of the old one may still ask for it"


async def test_a_new_timetable_that_says_the_same_here_costs_nothing() -> None:
    town = Town()
    first = await town.shelf.make("A")
    town.clock.advance(3 * 86400.0)
    town.network = make(days=("20260102", "20261231"))
    again = await town.shelf.make("A")
    assert first is not None and again is not None and again.id == first.id
    town.network = make(headway_s=900)
    changed = await town.shelf.make("A")
    assert changed is not None and changed.id != first.id


async def test_a_stop_without_a_timetable_is_tried_once_a_day() -> None:
    town = Town()
    town.network = make(days=("20260101", "20260201"))
    assert await town.shelf.make("A") is None
    made = town.shelf._make
    town.shelf._make = lambda *args: pytest.fail("tried again")  # type: ignore[method-assign,assignment]
    assert town.shelf.find("A") is None and await town.shelf.make("A") is None
    town.shelf._make = made  # type: ignore[method-assign]
    assert await town.shelf.make("nowhere") is None


async def test_a_dropped_body_is_made_again() -> None:
    town = Town()
    ref = await town.shelf.make("A")
    assert ref is not None
    town.shelf._bodies.clear()
    held = await town.shelf.fetch(ref.id)
    assert held is not None and hashlib.sha256(gzip.decompress(held[1])).hexdigest() == ref.id
