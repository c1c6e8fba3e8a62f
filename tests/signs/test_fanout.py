"""The fan-out bench runs and its numbers fit together."""

from __future__ import annotations

from busd.bench import fanout


def test_a_small_run() -> None:
    result = fanout.run(connections=20, rounds=3)
    assert result["connections"] == 20
    assert result["messages_per_s"] > 0 and result["floor_messages_per_s"] > 0
    assert result["conflated"] == 0
    assert 200 < result["frame_bytes"] < 4096
