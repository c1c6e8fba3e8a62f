"""Along the trip: the column form is the loop, to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from busd.predict.walk import walk, walk_all, walk_one

leg = st.tuples(st.floats(-120, 300), st.floats(-0.95, 0.2))
buses = st.lists(st.tuples(st.floats(-1500, 3000), st.lists(leg, max_size=15)), max_size=8)


def arrays(rows: list[tuple[float, list[tuple[float, float]]]]) -> tuple[np.ndarray, ...]:
    count = np.array([len(legs) for _, legs in rows], np.int64)
    flat = np.array([x for _, legs in rows for x in legs]).reshape(-1, 2)
    return np.array([d for d, _ in rows]), np.cumsum(count) - count, count, *flat.T


@given(buses)
def test_columns_are_the_loop(rows: list[tuple[float, list[tuple[float, float]]]]) -> None:
    data = arrays(rows)
    assert walk_all(*data, 600.0).tolist() == walk_one(*data, 600.0).tolist() == walk(*data, 600.0).tolist()


def test_late_buses_keep_their_delay_and_early_ones_drift_back() -> None:
    n = 20
    start, count = np.array([0, n, 2 * n]), np.array([n, n, n])
    drift, slope = np.zeros(3 * n), np.full(3 * n, -0.1)
    for form in (walk_one, walk_all):
        d = form(np.array([300.0, -300.0, -2000.0]), start, count, drift, slope, 600.0).reshape(3, n)
        assert d[0].tolist() == [300.0] * n
        np.testing.assert_allclose(d[1], -300 * 0.9 ** np.arange(n))
        assert d[2][1] == -2000 + 60  # what is earlier than the limit tells nothing more
