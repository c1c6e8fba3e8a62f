"""Two terminals under one phone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from busd.feeds.jt808.conflicts import FAR_M, PLACE_S, ConflictWatch, speaks_within_s

NOW = 1_795_400_000.0
HERE, THERE = (36.06, 103.83), (36.20, 103.83)  # 15.6 km


def alternate(watch: ConflictWatch, times: int, step_s: float = 20.0) -> list[object]:
    """Two devices take turns: each logs in, reports its place, and is thrown out by the other."""
    out = []
    for k in range(times):
        at, (lat, lon) = NOW + k * step_s, (HERE, THERE)[k % 2]
        out.append(watch.moved("1391", k, f"10.0.0.{k % 2}", lat, lon, at))
        watch.left("1391", k, lat, lon, at)
    return [conflict for conflict in out if conflict is not None]


def test_to_and_fro() -> None:
    watch = ConflictWatch(quarantine=False, quiet_s=300)
    assert alternate(watch, 2) == [], "one jump may be one bad fix"
    watch = ConflictWatch(quarantine=True, quiet_s=300)
    assert len(alternate(watch, 5)) == 3
    (conflict,) = watch.conflicts(NOW + 100)
    assert (conflict.kind, conflict.is_quarantined, conflict.signs) == ("two-places", True, 3)
    assert 15_000 < conflict.distance_m < 16_000
    assert set(conflict.addresses) == {"10.0.0.0", "10.0.0.1"}
    assert watch.holds("1391", NOW + 100)
    assert not watch.holds("1391", NOW + 400), "quiet for five minutes"
    assert watch.conflicts(NOW + 400) == []


def test_release() -> None:
    watch = ConflictWatch(quarantine=True, quiet_s=300)
    watch.left("1391", 1, *HERE, NOW)
    watch.second_connection("1391", ("10.0.0.1", "10.0.0.2"), NOW)
    assert watch.holds("1391", NOW)
    assert watch.release("1391")
    assert not watch.holds("1391", NOW)
    assert not watch.release("1391")


def test_a_bus_that_comes_back_on_another_connection_is_not_held() -> None:
    watch = ConflictWatch(quarantine=True, quiet_s=300)
    watch.left("1391", 1, *HERE, NOW)
    watch.second_connection("1391", ("10.0.0.1", "10.0.0.2"), NOW + 5)
    assert watch.moved("1391", 2, "10.0.0.2", *THERE, NOW + 6) is None
    assert watch.holds("1391", NOW + 6), "far away; may be one bad fix"
    assert watch.moved("1391", 2, "10.0.0.2", HERE[0] + 0.001, HERE[1], NOW + 16) is None
    assert not watch.holds("1391", NOW + 16)
    assert [conflict.is_quarantined for conflict in watch.conflicts(NOW + 16)] == [False], "the event stays"


def test_an_old_connection_of_no_known_place_holds_nobody() -> None:
    watch = ConflictWatch(quarantine=True, quiet_s=1000)
    watch.second_connection("1391", ("10.0.0.1", "10.0.0.2"), NOW)
    assert not watch.holds("1391", NOW)
    watch.left("1391", 1, *HERE, NOW)
    watch.second_connection("1391", ("10.0.0.1", "10.0.0.2"), NOW)
    assert watch.holds("1391", NOW) and not watch.holds("1391", NOW + PLACE_S + 1)


def test_a_rhythm_that_is_missed_is_a_dead_link() -> None:
    assert speaks_within_s(1000.0, 100) == 30.0, "every ten seconds"
    assert speaks_within_s(1000.0, 1000) == 15.0
    assert speaks_within_s(1000.0, 10) == 60.0
    assert speaks_within_s(0.0, 2) == 60.0, "too new to have a rhythm"


def test_without_quarantine_nothing_is_held() -> None:
    watch = ConflictWatch(quarantine=False, quiet_s=300)
    watch.second_connection("1391", ("10.0.0.1", "10.0.0.2"), NOW)
    assert [conflict.kind for conflict in watch.conflicts(NOW)] == ["second-connection"]
    assert not watch.holds("1391", NOW)


@given(st.lists(st.tuples(st.floats(0, 25), st.floats(1, 300), st.booleans()), max_size=40))
def test_a_bus_that_drives_and_reconnects_is_no_conflict(steps: list[tuple[float, float, bool]]) -> None:
    watch, at, lat, link = ConflictWatch(quarantine=True, quiet_s=300), NOW, 36.0, 0
    for mps, seconds, reconnects in steps:
        at += seconds
        lat += mps * seconds / 111_320.0
        if reconnects:
            link += 1
        assert watch.moved("1391", link, "10.0.0.1", lat, 103.8, at) is None
        watch.left("1391", link, lat, 103.8, at)


def test_far_and_late_is_no_conflict() -> None:
    watch = ConflictWatch(quarantine=True, quiet_s=300)
    assert alternate(watch, 6, step_s=PLACE_S + 1) == []
    assert FAR_M == 5000.0


def test_bounded() -> None:
    watch = ConflictWatch(quarantine=True, quiet_s=300, max_phones=20)
    for n in range(500):
        watch.left(str(n), n, 36.0, 103.0, NOW)
        watch.second_connection(str(n), ("a", "b"), NOW)
    assert len(watch.conflicts(NOW)) == 20
