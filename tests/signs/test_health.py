"""The state of a sign and its alarms, by an injected clock."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from busd.clock import ManualClock
from busd.metrics import REGISTRY
from busd.shelf import Store
from busd.sign_registry import SignRegistry
from busd.signs.alarms import CLEAR_S, RAISE_S, AlarmBook
from busd.signs.condition import Condition, SignHealth, checked_tele, conditions_of
from busd.signs.glass import FULL, RATIO, add_sample, quantile
from busd.signs.health import FleetHealth

NOW = 1_795_000_000.0
HELLO = {"fw": "2.1.0", "hw": "led", "rows": 4, "cols": 32, "lang": ["zh-Hans"], "caps": ["cmd"]}


class World:
    def __init__(self, path: Path | None = None) -> None:
        self.clock = ManualClock(NOW)
        self.muted: set[str] = set()
        self.open(path)

    def open(self, path: Path | None) -> None:
        self.store = Store(path)
        self.registry = SignRegistry(self.store)
        self.health = FleetHealth(
            self.store, self.registry, self.clock, 45.0, lambda: "Asia/Shanghai", lambda sign: sign in self.muted
        )

    def hello(self, sign: str = "s1", **more: Any) -> SignHealth:
        self.health.opened(sign, self.clock.now(), HELLO | more)
        found = self.health.find(sign)
        assert found is not None
        return found

    def go(self, seconds: float, talking: str | None = None) -> None:
        """Second by second, as the daemon does; ``talking``: a sign that sends its heartbeats."""
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            if talking is not None:
                self.health.heard(talking, self.clock.now())
            self.health.sweep()

    def tele(self, sign: str = "s1", **values: Any) -> None:
        self.health.telemetry(sign, self.clock.now(), values)

    def state(self, sign: str = "s1") -> str:
        return self.health.state_of(sign)

    def alarms(self) -> list[tuple[str, str]]:
        return [(alarm.sign, alarm.kind) for alarm in self.health.alarms.active()]


def test_life_of_a_sign() -> None:
    world = World()
    world.registry.enter({"sign": "s1"}, NOW, lambda stop: True)
    assert world.state() == "unseen"
    world.hello()
    assert world.state() == "online"
    world.go(60)
    assert world.state() == "late", "it says nothing"
    world.health.heard("s1", world.clock.now())
    world.go(10)
    assert world.state() == "online"
    world.health.closed("s1", world.clock.now(), 1006)
    assert world.state() == "offline"
    assert world.alarms() == []
    world.go(RAISE_S[Condition.OFFLINE] + 10)
    assert world.alarms() == [("s1", "offline")]
    world.hello()
    assert world.state() == "online"
    world.go(CLEAR_S - 10, talking="s1")
    assert world.alarms() == [("s1", "offline")], "not over at its first word"
    world.go(20, talking="s1")
    assert world.alarms() == []
    (past,) = world.health.alarms.past()
    assert past.cleared_at is not None and past.raised_at < past.cleared_at


def test_a_sign_that_comes_and_goes_raises_one_alarm_and_no_more() -> None:
    """Links of 2G flap; the log of alarms must not."""
    world, dice = World(), random.Random(5)
    world.hello()
    raised = 0
    for _ in range(150):
        world.health.closed("s1", world.clock.now(), 1006)
        world.go(dice.uniform(20, 100))
        world.hello()
        world.go(dice.uniform(10, 100), talking="s1")
        raised = max(raised, len(world.health.alarms.past()) + len(world.alarms()))
    assert raised == 0, "no outage lasted long enough"
    world.health.closed("s1", world.clock.now(), 1006)
    world.go(300)
    for _ in range(50):
        world.hello()
        world.go(dice.uniform(5, CLEAR_S - 10), talking="s1")
        world.health.closed("s1", world.clock.now(), 1006)
        world.go(dice.uniform(5, 60))
    assert world.alarms() == [("s1", "offline")]
    assert world.health.alarms.past() == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 400.0), st.booleans()), max_size=60))
def test_alarms_of_one_kind_never_overlap_and_keep_their_distance(steps: list[tuple[float, bool]]) -> None:
    book, now = AlarmBook(Store()), NOW
    for wait, is_bad in steps:
        now += wait
        book.judge("s1", {"clock_bad"} if is_bad else (), now)
    alarms = sorted([*book.active(), *book.past()], key=lambda alarm: alarm.raised_at)
    assert len(book.active()) <= 1
    for alarm in alarms:
        if alarm.cleared_at is not None:
            assert alarm.cleared_at - alarm.raised_at >= RAISE_S[Condition.CLOCK_BAD] + CLEAR_S
    for one, other in pairwise(alarms):
        assert one.cleared_at is not None and other.raised_at >= one.cleared_at - CLEAR_S


def test_telemetry_makes_and_ends_conditions_with_room_between() -> None:
    world = World()
    world.hello()
    for volt, low in ((12.4, False), (11.7, False), (11.5, True), (11.9, True), (12.3, False), (11.9, False)):
        world.tele(volt=volt)
        assert (world.state() == "low_battery") is low, volt
    for error_ms, bad in ((300, False), (-4000, False), (6000, True), (-3000, True), (1500, False), (3000, False)):
        world.tele(clock_err_ms=error_ms)
        assert (world.state() == "clock_bad") is bad, error_ms
    world.tele(panel_err=["row 3"], volt=11.0, clock_err_ms=9e9)
    sign = world.health.find("s1")
    assert sign is not None
    assert sign.conditions == ("panel_error", "clock_bad", "low_battery")
    world.tele()
    assert world.state() == "online"


@pytest.mark.parametrize(
    ("volt", "low"), [(3.7, False), (3.4, True), (11.0, True), (12.6, False), (22.5, True), (25, False)]
)
def test_a_battery_is_judged_by_its_kind(volt: float, low: bool) -> None:
    sign = SignHealth("s", connected_at=NOW, heard_at=NOW, tele={"volt": volt}, tele_at=NOW)
    assert ("low_battery" in conditions_of(sign, NOW, 45.0)) is low


def test_fallback_ends_with_a_live_board_on_the_glass() -> None:
    world = World()
    world.hello()
    world.health.subscribed("s1", ["A"])
    world.tele(fallback=True)
    assert world.state() == "fallback"
    world.clock.advance(5.0)
    world.health.shown("s1", "A", "e1", 7, 0.4)
    world.go(6, talking="s1")
    assert world.state() == "online"


def test_a_board_that_cannot_be_drawn_is_a_panel_error_until_one_can() -> None:
    world = World()
    world.hello()
    world.health.draw_error("s1", "A", "no font\x1b[2J")
    sign = world.health.find("s1")
    assert sign is not None
    assert (world.state(), sign.draw_error) == ("panel_error", "no font[2J")
    world.health.shown("s1", "A", "e1", 8, 0.1)
    assert world.state() == "online"


def test_slow_glass_and_silent_acknowledgements_are_late() -> None:
    world = World()
    world.hello()
    for k in range(20):
        world.health.shown("s1", "A", "e1", k, 40.0)
    world.go(6, talking="s1")
    assert world.state() == "late"
    for k in range(20):
        world.health.shown("s1", "A", "e1", k, 0.5)
    world.go(6, talking="s1")
    assert world.state() == "online"
    world.go(1000, talking="s1")
    assert world.state() == "late", "it has stopped telling what it shows"


def test_old_telemetry_says_nothing_about_now() -> None:
    world = World()
    world.hello()
    world.tele(volt=11.0)
    world.go(4 * 3600, talking="s1")
    assert world.state() == "online"


def test_a_sign_that_is_meant_to_be_silent_raises_nothing() -> None:
    world = World()
    world.hello()
    world.muted.add("s1")
    world.health.closed("s1", world.clock.now(), 1006)
    world.go(1000)
    assert (world.state(), world.alarms()) == ("offline", [])


def test_what_was_known_survives_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path / "s.sqlite")
    world.hello()
    world.health.subscribed("s1", ["A"])
    world.health.shown("s1", "A", "e1", 7, 0.4)
    world.health.sent("s1", 1000, 50)
    world.tele(volt=11.0)
    world.health.closed("s1", world.clock.now(), 4003)
    world.go(300)
    (before,) = world.health.alarms.active()
    world.health.keep_all()
    world.store.close()
    world.open(tmp_path / "s.sqlite")
    sign = world.health.find("s1")
    assert sign is not None
    assert (sign.fw, sign.stops, sign.shown, sign.close_code) == ("2.1.0", ("A",), {"A": ("e1", 7)}, 4003)
    assert (sign.traffic, sign.tele) == ({"2026-11": (1000, 50)}, {"volt": 11.0})
    (after,) = world.health.alarms.active()
    assert after == before
    world.hello()
    world.go(300, talking="s1")
    assert ("s1", "offline") not in world.alarms()


def test_after_a_restart_signs_have_time_to_come_back(tmp_path: Path) -> None:
    world = World(tmp_path / "s.sqlite")
    world.hello()
    world.health.keep_all()
    world.store.close()
    world.open(tmp_path / "s.sqlite")
    assert world.state() == "offline"
    world.go(60)
    world.hello()
    world.go(400, talking="s1")
    assert world.health.alarms.past() == []


def test_the_month_of_the_data_bill_is_the_citys() -> None:
    world = World()
    world.clock = ManualClock(1_796_054_400.0 - 60)  # 2026-11-30T23:59 in Shanghai
    world.open(None)
    world.hello()
    world.health.sent("s1", 10, 1)
    world.clock.advance(120.0)
    world.health.sent("s1", 20, 2)
    sign = world.health.find("s1")
    assert sign is not None and sign.traffic == {"2026-11": (10, 1), "2026-12": (20, 2)}


def test_counts_by_state_are_on_the_metrics_page() -> None:
    world = World()
    for k in range(7):
        world.hello(f"s{k}")
    world.health.closed("s3", world.clock.now(), 1006)
    world.go(300)
    for k in range(7):
        if k != 3:
            world.health.heard(f"s{k}", world.clock.now())
    world.go(15)
    page = generate_latest(REGISTRY).decode()
    assert 'busd_signs{state="online"} 6.0' in page
    assert 'busd_signs{state="offline"} 1.0' in page
    assert 'busd_sign_alarms{kind="offline"} 1.0' in page


tele_values = st.dictionaries(
    st.sampled_from(("volt", "temp", "rssi", "door", "fallback", "panel_err", "clock_err_ms", "clock_src", "x")),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.integers()),
)


@given(tele_values)
def test_odd_telemetry_is_left_out(values: dict[str, Any]) -> None:
    tele = checked_tele(values)
    assert set(tele) <= {"volt", "temp", "rssi", "door", "fallback", "panel_err", "clock_err_ms", "clock_src"}
    conditions_of(SignHealth("s", connected_at=NOW, heard_at=NOW, tele=tele, tele_at=NOW), NOW, 45.0)


@given(st.lists(st.floats(0.0, 300.0), min_size=1, max_size=400), st.sampled_from((0.5, 0.95, 0.99)))
def test_percentiles_are_near_the_true_ones(samples: list[float], share: float) -> None:
    counts: list[int] = []
    for sample in samples:
        add_sample(counts, sample)
    found = quantile(counts, share)
    rank = max(0, -(-int(share * len(samples) * 1e6) // 1_000_000) - 1)
    true = sorted(samples)[min(rank, len(samples) - 1)]
    assert found is not None
    if 0.05 < true < 130:
        assert true / RATIO / RATIO <= found <= true * RATIO * RATIO


def test_the_memory_of_a_sign_is_bounded() -> None:
    counts: list[int] = []
    for k in range(10 * FULL):
        add_sample(counts, 0.3 if k < 5 * FULL else 3.0)
    assert len(counts) <= 32 and sum(counts) <= FULL
    p50 = quantile(counts, 0.5)
    assert p50 is not None and p50 > 2.0, "what is long ago counts less"


def test_in_a_fast_city_signs_are_as_quick_as_ever() -> None:
    """At ten times the speed a heartbeat every 30 s comes every 300 s of the city's clock."""
    sign = SignHealth("s", connected_at=NOW - 9000, heard_at=NOW - 290, shown_at=NOW - 900, recent_glass_s=20.0)
    assert conditions_of(sign, NOW, 45.0) == ("late",)
    assert conditions_of(sign, NOW, 45.0, speed=10.0) == ()
