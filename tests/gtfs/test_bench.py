"""The bench's made-up city is a clean feed, and its figures are there."""

from __future__ import annotations

from busd.bench.gtfs import STOPS_A_TRIP, run


def test_a_small_run() -> None:
    figures = run(stop_times=3000, stops=300)
    assert figures["stop_times"] == 3000
    assert figures["trips"] == 3000 // STOPS_A_TRIP
    assert figures["errors_found"] == 0
    assert figures["ratio_to_floor"] > 0
    assert 10 < figures["peak_rss_mib"] < 1500
