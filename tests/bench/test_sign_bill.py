"""The bill adds up, and no sign is lost on the way. The figures themselves are the bench's business."""

from __future__ import annotations

import pytest

from busd.bench.sign_bill import OVERHEAD_BYTES, run


def test_a_few_minutes_of_the_city() -> None:
    result = run(hours=0.05, buses=40)
    assert result["positions"] > 300
    for name, profile in result["profiles"].items():
        for bill in profile["stops"]:
            parts = bill["mb_by_kind"]
            assert bill["mb_month"] == pytest.approx(sum(parts.values()), abs=0.02)
            messages = sum(bill["messages_per_hour"].values()) * 18 * 30
            assert parts["overhead"] == pytest.approx(messages * OVERHEAD_BYTES / 1e6, rel=0.01)
            assert bill["final_rev_shown"] is not None
            kinds = set(bill["messages_per_hour"])
            assert {
                "server:welcome",
                "server:subscribed",
                "server:board",
                "sign:hello",
                "sign:sub",
                "sign:ack",
            } <= kinds
            assert ("server:ping" in kinds) <= (name != "cellular")
    assert result["cellular_mb"] < result["default_mb"]
