"""A bus obeys physics."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.city.motion import ACCELERATE, BRAKE, Motion


@given(
    st.lists(
        st.tuples(st.floats(1.0, 900.0), st.floats(1.2, 15.0), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_distance_and_speed_are_continuous(parts: list[tuple[float, float, bool]]) -> None:
    motion = Motion(100.0, 0.0)
    goal = 0.0
    for metres, cruise, halt in parts:
        goal += metres
        motion.drive(goal, cruise, halt)
        _t, s, v = motion.end
        assert s == pytest.approx(goal)
        assert (v == 0.0) if halt else (v > 0.0)
    assert all(b > a for a, b in pairwise(motion.t))
    assert all(b >= a for a, b in pairwise(motion.s))
    for (t0, s0, v0), (t1, s1, v1) in pairwise(zip(motion.t, motion.s, motion.v, strict=True)):
        assert s1 - s0 == pytest.approx((v0 + v1) / 2 * (t1 - t0), abs=1e-6), "constant acceleration"
        assert (v1 - v0) / (t1 - t0) <= ACCELERATE + 1e-6
        middle = motion.at((t0 + t1) / 2)
        assert s0 - 1e-9 <= middle[0] <= s1 + 1e-9
    assert motion.at(0.0) == (0.0, 0.0)


def test_a_stop_to_stop_run_takes_as_long_as_it_should() -> None:
    motion = Motion(0.0, 0.0)
    motion.drive(500.0, 12.0, halt=True)
    expected = 500.0 / 12.0 + 12.0 / (2 * ACCELERATE) + 12.0 / (2 * BRAKE)
    assert motion.end == pytest.approx((expected, 500.0, 0.0))
    assert motion.at(expected / 2)[1] == 12.0


def test_standing_and_forgetting() -> None:
    motion = Motion(0.0, 0.0)
    motion.hold(20.0)
    motion.drive(300.0, 10.0, halt=True)
    before = [motion.at(t) for t in (30.0, 31.5, 44.0)]
    assert motion.at(19.9) == (0.0, 0.0)
    motion.forget(30.0)
    assert [motion.at(t) for t in (30.0, 31.5, 44.0)] == before
