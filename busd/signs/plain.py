"""Text from outside made safe for a panel: no control, ANSI or bidi characters, nothing invisible, one line.

LED controllers obey control bytes, terminals obey ANSI sequences, and a bidi override turns a destination round; none
of them may come from a timetable or an operator's keyboard.
"""

from __future__ import annotations

import re
import unicodedata

MAX_TEXT = 200
"""Characters of a name that a sign could ever show; longer ones are cut."""
MAX_MARKS = 12
"""Combining marks on one base; Tibetan and Sanskrit stacks have fewer. More is somebody painting over the next row."""

_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"  # two-character sequences
)
_SPACE = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029 \u00a0\u3000]+")
_JOINERS = "\u200c\u200d"
"""Format characters that shape letters (Persian, Indic scripts): the only ones that stay."""
_DROPPED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))
_PLAIN = re.compile(r"[!-~\u0f00-\u0fbc\u4e00-\u9fff\uff01-\uff5e\u3001-\u3011 ]*")
"""What nearly every name consists of (unassigned Tibetan code points lie above U+0FBC or are harmless gaps)"""


def plain(text: str, limit: int = MAX_TEXT) -> str:
    """``text`` as one line that can be shown anywhere, at most ``limit`` characters; may be empty.

    White space of all kinds becomes one space; escape sequences go as a whole, other control, format, private and
    unassigned characters and lone surrogates one by one.
    """
    if _PLAIN.fullmatch(text) and "  " not in text:
        return text.strip()[:limit].rstrip()
    text = _SPACE.sub(" ", _ANSI.sub("", text[: 8 * limit]))
    kept: list[str] = []
    marks = 0
    for char in text:
        kind = unicodedata.category(char)
        if kind in _DROPPED and char not in _JOINERS:
            continue
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            kept.append(char)
    return "".join(kept).strip()[:limit].rstrip()
