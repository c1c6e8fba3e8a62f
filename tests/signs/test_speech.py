"""What a voice says: well-formed SSML with golden texts in three languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from defusedxml import ElementTree
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.signs.glance import look
from busd.signs.speech import ssml

GOLDEN = Path(__file__).parents[1] / "golden" / "signs"
BOARD = json.loads((GOLDEN / "full_board.json").read_text(encoding="utf-8"))
NOW = BOARD["now"] / 1000
SSML = "{http://www.w3.org/2001/10/synthesis}"


def sentences(changes: dict[str, Any], lang: str) -> list[str]:
    glance, _ = look(BOARD | changes, NOW)
    root = ElementTree.fromstring(ssml(glance, lang, "Asia/Shanghai").encode())
    assert root.tag == f"{SSML}speak" and root.get("version") == "1.1"
    return ["".join(s.itertext()) for s in root.iter(f"{SSML}s")]


@pytest.mark.parametrize("lang", ["zh", "en", "bo"])
def test_golden_speech(lang: str) -> None:
    glance, _ = look(BOARD, NOW)
    golden = (GOLDEN / f"speech.{lang}.ssml").read_text(encoding="utf-8")
    assert ssml(glance, lang, "Asia/Shanghai") == golden


def test_reasons_modes_and_emergencies() -> None:
    ended = {"deps": [], "msgs": [], "lines": [{"line": "8", "head": {"en": "Station"}, "status": "ended"}]}
    assert sentences(ended, "en") == ["Xiguan Cross.", "service has ended.", "Line 8 to Station, service has ended."]
    assert sentences(ended | {"lines": []}, "en")[1:] == ["There is no service today."]
    assert sentences({"mode": "off"}, "en") == ["Xiguan Cross."]
    assert sentences({"mode": "text", "text": {"en": "Stop closed"}}, "en")[1:] == ["Stop closed."]
    assert sentences({"mode": "out_of_order"}, "zh")[1:] == ["设备故障。"]
    alarm = {"msgs": [{"id": "e", "prio": 2, "text": {"en": "Leave now"}}]}
    assert sentences(alarm, "en")[1:] == ["Leave now."]
    assert "no live information" in sentences({"state": "schedule"}, "en")[1]


def test_numbers_are_said_in_the_singular() -> None:
    dep = {"key": "a", "line": "8", "head": {"en": "Station"}, "sched": None, "pred": NOW + 70, "src": "realtime"}
    said = sentences({"deps": [dep | {"st": "ok", "away": 1}], "lines": [], "msgs": []}, "en")
    assert said[1] == "Line 8 to Station, in 1 minute, 1 stop away."


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["zh", "en", "bo", "fr"]))
def test_whatever_a_name_is_the_document_is_well_formed(name: str, lang: str) -> None:
    head = {"en": name, "zh-Hans": f"<{name}&"}
    deps = [dep | {"line": name + "{time}", "head": head} for dep in BOARD["deps"]]
    assert sentences({"deps": deps, "name": head, "msgs": [{"id": "1", "prio": 0, "text": head}]}, lang)
