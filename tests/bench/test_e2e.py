"""The bench of the whole way runs, and its samples are of the right kind."""

from __future__ import annotations

from busd.bench import e2e


def test_a_small_run() -> None:
    result = e2e.run(seconds=4.0, buses=40, signs=60)
    assert (result["buses"], result["signs"]) == (40, 60)
    assert result["seconds"] >= 4.0 and 2.5 < result["positions"] / result["seconds"] < 15
    assert 0 < result["ticks_with_frames"] <= result["ticks"]
    assert 0 <= result["held_by_pace"] < result["board_frames"]
    received, tick, floor = result["received_to_written_ms"], result["tick_ms"], result["floor_ms"]
    assert 0.0 < floor["p50"] < tick["p50"] <= received["p99"]
    assert result["ratio_to_floor"] > 1.0
