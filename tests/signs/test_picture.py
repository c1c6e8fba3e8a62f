"""Pictures: exact sizes, the same bytes for the same content, shaped Tibetan, no box for a missing glyph, not slow."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
import segno
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from busd.signs.canvas import BLACK, WHITE, Canvas, contrast, fitted, readable_on, text_width
from busd.signs.fonts import FontMissing, Run, check, find_font, runs
from busd.signs.glance import look
from busd.signs.picture import QR_QUIET, Format, broken, draw

try:
    check()
    runs("བོད")
except FontMissing as problem:
    pytest.skip(str(problem), allow_module_level=True)

BOARD = json.loads((Path(__file__).parents[1] / "golden/signs/full_board.json").read_text(encoding="utf-8"))
NOW = BOARD["now"] / 1000
PAGE = "https://bus.example.cn/#/stop/S1001"
LANGS = ("zh-Hans", "en", "bo")


def form(
    width: int = 800, height: int = 480, bits: int = 8, langs: tuple[str, ...] = LANGS, page: str = PAGE
) -> Format:
    return Format(width, height, bits, langs, "Asia/Shanghai", page)


def png(changes: dict[str, Any] | None = None, at: Format | None = None, now: float = NOW) -> bytes:
    return draw(look(BOARD | (changes or {}), now)[0], at or form(), now)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def grey(data: bytes) -> Image.Image:
    return opened(data).convert("L")


@pytest.mark.parametrize(("bits", "mode"), [(1, "1"), (8, "P")])
@pytest.mark.parametrize(("width", "height"), [(800, 480), (1024, 600), (480, 800), (600, 1024)])
@pytest.mark.parametrize("lang", LANGS)
def test_formats(width: int, height: int, bits: int, mode: str, lang: str) -> None:
    at = form(width, height, bits, tuple(dict.fromkeys([lang, *LANGS])))
    data = png(at=at)
    image = opened(data)
    assert (image.format, image.size, image.mode) == ("PNG", (width, height), mode)
    assert data[24] == bits, "the bit depth in the file itself"
    assert data == png(at=at), "the same board gives the same bytes"
    assert 0.03 < sum(grey(data).histogram()[:128]) / (width * height) < 0.6, "ink, but not a black sheet"


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(64, 700),
    height=st.integers(64, 700),
    bits=st.sampled_from([1, 8]),
    langs=st.lists(st.sampled_from([*LANGS, "de"]), max_size=3, unique=True),
    changes=st.sampled_from(
        [
            {},
            {"deps": []},
            {"deps": [], "lines": []},
            {"mode": "off"},
            {"mode": "text", "text": {"en": "Closed"}},
            {"mode": "out_of_order"},
            {"state": "schedule"},
            {"msgs": [{"id": "e", "prio": 2, "text": {"zh-Hans": "请立即离开本站", "en": "Leave this stop now"}}]},
            {"name": {"en": "x" * 200}, "deps": [dep | {"line": "旅游观光1号线" * 3} for dep in BOARD["deps"]]},
        ]
    ),
)
@example(width=64, height=64, bits=1, langs=[], changes={})
@example(width=64, height=2048, bits=8, langs=["bo"], changes={})
@example(width=2048, height=64, bits=8, langs=["en"], changes={})
@example(width=2048, height=2048, bits=1, langs=list(LANGS), changes={})
def test_any_size_is_drawn_exactly(
    width: int, height: int, bits: int, langs: list[str], changes: dict[str, Any]
) -> None:
    assert opened(png(changes, form(width, height, bits, tuple(langs)))).size == (width, height)


def test_pixels_change_with_what_a_rider_reads_and_not_otherwise() -> None:
    before = png()
    assert png({"rev": 99, "at": BOARD["at"] + 1000}, now=NOW + 1) == before
    moved = [dep | {"dist": 12345, "veh": "1", "age": 20} for dep in BOARD["deps"]]
    assert png({"deps": moved}) == before
    minute = png(now=NOW + 60)
    assert minute != before
    quiet = {"deps": [], "lines": BOARD["lines"][4:], "msgs": []}
    assert png(quiet, now=NOW) == png(quiet, now=NOW + 1800), "a timetable alone has no time of its own"


def test_the_code_leads_to_the_stops_page() -> None:
    image = grey(png())
    code = segno.make(PAGE, error="l", micro=False, boost_error=False)
    rows = [list(row) for row in code.matrix_iter(border=QR_QUIET)]
    module = 112 // len(rows)
    inset = (112 - module * len(rows)) // 2
    left = 800 - 112 + inset
    for y, row in enumerate(rows):
        for x, dark in enumerate(row):
            centre = image.getpixel((left + x * module + module // 2, inset + y * module + module // 2))
            assert (centre < 128) == bool(dark), (x, y)


def test_without_a_page_there_is_no_code() -> None:
    assert png() != png(at=form(page=""))
    assert opened(png(at=form(page="https://bus.example.cn/#/stop/" + "x" * 250))).size == (800, 480)


def test_tibetan_stacks_are_shaped() -> None:
    stacked, flat = text_width("རྒྱ", 40), sum(text_width(part, 40) for part in ("ར", "ག", "ཡ"))
    assert stacked < 0.6 * flat


def test_scripts_take_their_fonts() -> None:
    assert runs("8路 མེ་འཁོར 3") == (Run("8路 ", "CJK"), Run("མེ་འཁོར ", "TIBETAN"), Run("3", "CJK"))
    assert runs("a\U0001f68cb") == (Run("ab", "CJK"),), "an emoji is left out"
    assert runs("\U00030000") in ((Run("\u3013", "CJK"),), (Run("\U00030000", "CJK"),)), "never a box"


def test_a_missing_font_names_its_package() -> None:
    regular = {"NotoSerifTibetan-Regular.ttf": Path("/x/NotoSerifTibetan-Regular.ttf")}
    assert find_font("TIBETAN", "Bold", regular) == regular["NotoSerifTibetan-Regular.ttf"]
    with pytest.raises(FontMissing, match=r"Chinese.*apt-get install fonts-noto-cjk"):
        find_font("CJK", "Bold", regular)
    with pytest.raises(FontMissing, match=r"Tibetan.*apt-get install fonts-noto-core"):
        find_font("TIBETAN", "Bold", {})
    with pytest.raises(FontMissing, match=r"Mongolian.*apt-get install fonts-noto-core"):
        find_font("MONGOLIAN", "Bold", regular)


def test_a_name_is_made_smaller_then_cut_between_characters() -> None:
    assert fitted("火车站", 40, 20, 500) == ("火车站", 40)
    text, size = fitted("中川国际机场", 40, 20, 150)
    assert text == "中川国际机场" and 20 <= size < 40 and text_width(text, size) <= 150
    text, size = fitted("བསྐོར་བསྐོར་བསྐོར", 40, 30, 60)
    assert size == 30 and text.endswith("…") and text_width(text, size) <= 60
    assert text[:-1] in ("བ", "བསྐོ", "བསྐོར", "བསྐོར་")
    assert fitted("火车站", 40, 30, 3)[0] == ""


def test_long_texts_are_broken_into_lines_that_fit() -> None:
    lines = broken("Leave this stop now and wait at Xiguan Cross", 40, 300)
    assert len(lines) > 2 and all(text_width(line, 40) <= 300 for line in lines)


def test_contrast() -> None:
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert readable_on((255, 210, 0)) == BLACK
    assert readable_on((0, 85, 164)) == WHITE


def test_a_palette_that_is_full_takes_the_nearest_colour() -> None:
    canvas = Canvas(64, 64, 8)
    for k in range(300):
        canvas.box(0, 0, 9, 9, (k % 256, 255 - k % 256, k // 256 * 99))
    canvas.text(0, 40, "8", 30, (1, 2, 3), (9, 9, 9))
    assert opened(canvas.png()).size == (64, 64)


def test_a_picture_costs_little() -> None:
    at = form(1024, 600, 8)
    png(at=at)
    spent = []
    for k in range(5):
        began = time.process_time()
        png(now=NOW + 60 * k, at=at)
        spent.append(time.process_time() - began)
    assert sorted(spent)[0] < 0.15, spent  # about 0.025 s; a loaded machine gets some air
