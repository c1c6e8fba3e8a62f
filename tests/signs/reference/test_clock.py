"""The server's time: the largest of the last samples, never stepping back visibly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from busd.signs.reference import ServerClock


def test_the_largest_sample_wins() -> None:
    clock = ServerClock()
    assert clock.now(0) is None and clock.server_now(0) is None
    clock.sample(100_000, 10.0)
    clock.sample(101_000, 15.0)  # was 4 s under way
    assert clock.now(20.0) == 110.0


def test_it_follows_a_server_that_was_set_back_step_by_step() -> None:
    clock = ServerClock()
    clock.sample(100_000, 10.0)
    shown = 110.0
    for k in range(60):
        mono = 20.0 + k
        clock.sample(50_000 + 1000 * k, mono)
        after = clock.now(mono)
        assert after is not None and after >= shown - 2.0
        shown = after
    assert shown == 109.0, "50 s + 59 s: it does follow in the end"


def test_a_server_that_had_no_clock_at_all() -> None:
    """It said 2099, then found its time: a sign must not show 2099 for decades."""
    clock = ServerClock()
    clock.sample(4_070_908_800_000, 0.0)
    for k in range(8):
        clock.sample(1_795_000_000_000 + 1000 * k, float(k))
    assert clock.now(7.0) == 1_795_000_007.0


def test_1970_is_a_time_too_and_is_left_at_once() -> None:
    clock = ServerClock()
    clock.sample(5_000, 0.0)
    assert clock.now(1.0) == 6.0
    clock.sample(1_795_000_000_000, 2.0)
    assert clock.now(2.0) == 1_795_000_000.0
    clock.sample(-5, 3.0)
    clock.sample(10**17, 3.0)
    assert clock.now(3.0) == 1_795_000_001.0, "what no calendar can write is no sample"


@given(st.lists(st.tuples(st.integers(0, 4_000_000), st.floats(0, 20)), min_size=1, max_size=60))
def test_shown_time_never_jumps_back_by_more_than_two_seconds(samples: list[tuple[int, float]]) -> None:
    """Within an hour of steps: between two looks the shown time loses at most 2 s."""
    clock, mono, shown = ServerClock(), 0.0, float("-inf")
    for now_ms, later in samples:
        mono += later
        clock.sample(now_ms % 3_000_000, mono)
        after = clock.now(mono)
        assert after is not None
        assert after >= shown - 2.0
        shown = after
