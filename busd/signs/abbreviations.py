"""Destinations for narrow panels: the longest form that fits, by tables of what may be shortened.

Applied in the order of the table until the name fits, so the usual and harmless come first. What still does not fit is
cut between characters and marked with two dots, which every panel has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from busd.signs.cells import columns, cut
from busd.signs.wording import language

Table = Sequence[tuple[str, str]]

ABBREVIATIONS: dict[str, Table] = {
    "zh": (
        ("公共汽车总站", "总站"),
        ("公交总站", "总站"),
        ("公交枢纽站", "枢纽"),
        ("长途汽车站", "汽车站"),
        ("汽车客运站", "汽车站"),
        ("客运中心站", "客运站"),
        ("国际机场", "机场"),
        ("航站楼", "楼"),
        ("人民医院", "医院"),
        ("妇幼保健院", "妇幼院"),
        ("师范大学", "师大"),
        ("理工大学", "理工大"),
        ("交通大学", "交大"),
        ("医科大学", "医大"),
        ("农业大学", "农大"),
        ("职业技术学院", "职院"),
        ("体育中心", "体育场"),
        ("开发区", "开区"),
        ("什字", ""),
        ("大学", "大"),
        ("公园", "园"),
        ("（", "("),
        ("）", ")"),
    ),
    "en": (
        ("Station", "Stn"),
        ("Railway", "Rly"),
        ("International", "Intl"),
        ("University", "Univ"),
        ("Hospital", "Hosp"),
        ("Terminal", "Term"),
        ("Terminus", "Term"),
        ("Airport", "Apt"),
        ("Avenue", "Ave"),
        ("Street", "St"),
        ("Road", "Rd"),
        ("Square", "Sq"),
        ("Bridge", "Br"),
        ("Centre", "Ctr"),
        ("Center", "Ctr"),
        ("District", "Dist"),
        ("Development", "Dev"),
        ("Government", "Govt"),
        ("College", "Coll"),
        ("School", "Sch"),
        ("Middle School", "MS"),
        ("Market", "Mkt"),
        ("Mountain", "Mt"),
        ("Park", "Pk"),
        ("North", "N"),
        ("South", "S"),
        ("East", "E"),
        ("West", "W"),
        ("Intersection", "X"),
        ("Crossroads", "X"),
        ("Cross", "X"),
        ("Number", "No"),
        (" and ", " & "),
        (" of ", " "),
        ("the ", ""),
        ("The ", ""),
        (" & ", "&"),
        (" Stn", ""),
    ),
    "bo": (
        ("།", ""),
        ("འབབ་ཚུགས", "ཚུགས"),
        ("་ཚུགས", ""),
        ("སློབ་གྲྭ་ཆེན་མོ", "སློབ་ཆེན"),
    ),
}


def fit(text: str, lang: str, width: int, extra: Mapping[str, str] | None = None) -> str:
    """``text`` in at most ``width`` columns. ``extra``: a city's own short names, by the full name; they come first."""
    shortest = text
    for shortest in forms(text, lang, extra):
        if columns(shortest) <= width:
            return shortest
    return cut(shortest, width) if width < 6 else cut(shortest, width - 2).rstrip() + ".."


def forms(text: str, lang: str, extra: Mapping[str, str] | None = None) -> Iterator[str]:
    """``text``, then shorter and shorter forms of it."""
    yield text
    own = (extra or {}).get(text)
    if own:
        text = own
        yield text
    for long, short in ABBREVIATIONS[language(lang)]:
        if (shorter := _replaced(text, long, short)) != text:
            text = shorter
            yield text


def _replaced(text: str, long: str, short: str) -> str:
    """Words are replaced as words: ``Parkside`` keeps its ``Park``; nothing is shortened to nothing."""
    pattern = re.escape(long)
    if long[0].isascii() and long[0].isalpha():
        pattern = rf"\b{pattern}"
    if long[-1].isascii() and long[-1].isalpha():
        pattern = rf"{pattern}\b"
    shorter = re.sub(pattern, short, text).strip()
    return shorter if shorter else text
