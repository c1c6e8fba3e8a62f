"""Nothing that a controller, a terminal or a bidi algorithm obeys leaves `plain`."""

from __future__ import annotations

import unicodedata

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.signs.plain import plain


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("火车站", "火车站"),
        ("མེ་འཁོར་འབབ་ཚུགས།", "མེ་འཁོར་འབབ་ཚུགས།"),
        ("Lanshan <Park> & Co", "Lanshan <Park> & Co"),
        ("\x1b[31;1mRailway\x1b[0m Station", "Railway Station"),
        ("\x9b2JRailway", "Railway"),
        ("\x1b]0;title\x07Station", "Station"),
        ("\x1b]8;;http://x\x1b\\Station\x1b]8;;\x1b\\", "Station"),
        ("Railway\x07 Station", "Railway Station"),
        ("one\r\ntwo\u2028three\t four", "one two three four"),
        ("abc\u202edef\u2066x\u2069\u200f", "abcdefx"),
        ("\ufeffzero\u200bwidth\u00ad", "zerowidth"),
        ("lone\ud800surrogate", "lonesurrogate"),
        ("private\ue000\U000f0000", "private"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("z" + "\u0301" * 50, "z" + "\u0301" * 12),
        ("\x1b", ""),
        ("", ""),
    ],
)
def test_plain(text: str, safe: str) -> None:
    assert plain(text) == safe


@given(st.text(st.characters() | st.sampled_from("\x1b[\x9b]m0;\x07\u202e\ud800 \n")), st.integers(1, 50))
def test_plain_is_always_safe(text: str, limit: int) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert shown == plain(shown, limit)
    orjson.dumps(shown)
    for char in shown:
        kind = unicodedata.category(char)
        assert kind not in ("Cc", "Cs", "Co", "Zl", "Zp") and (kind != "Cf" or char in "\u200c\u200d"), repr(char)
        assert unicodedata.bidirectional(char) not in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
