"""The fan-out bench runs and its numbers fit together."""

from __future__ import annotations

from busd.bench import fanout


def test_a_small_run() -> None:
    result = fanout.run(connections=40, rounds=3)
    assert result["connections"] == 40
    for part in (result, result["joined"]):
        assert part["messages_per_s"] > 0 and part["floor_messages_per_s"] > 0
    assert result["joined"]["bytes_in_a_write"] == 5 * result["bytes_in_a_write"]
    assert result["conflated"] == 0
    assert 200 < result["bytes_in_a_write"] < 4096
    assert result["deflate"]["board_bytes_deflated"] < result["deflate"]["board_bytes"] / 8
    slow = result["slow_reader"]
    assert slow["held_bytes"] + slow["kernel_send_queue_bytes"] <= 64 * 1024
    assert 10 <= slow["aborted_after_s"] <= 10.5
    assert slow["newest_board_after_return"]
