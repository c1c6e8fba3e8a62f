"""Fonts of the pictures: found among the system's, asked whether they have a glyph, never a box in its place.

Chinese, Latin and digits come from Noto Sans CJK, Tibetan from Noto Serif Tibetan, other scripts from the Noto font
that is named after them. A font that is missing is an error that names the Debian package; a single rare character that
its font does not have becomes U+3013, the mark that Chinese and Japanese printers put for a missing type, and is logged.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import structlog
from PIL import ImageFont, features

from busd.errors import BusdError

log = structlog.get_logger(__name__)

ROOTS = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path.home() / ".local/share/fonts",
    Path.home() / ".fonts",
)
GETA = "\u3013"
MAX_SIZES = 96
"""Font objects held; one display uses about ten."""

_CJK = ("NotoSansCJK-{w}.ttc", "NotoSansCJKsc-{w}.otf", "NotoSansSC-{w}.otf", "SourceHanSansSC-{w}.otf")
_TIBETAN = (
    "NotoSerifTibetan-{w}.ttf",
    "NotoSansTibetan-{w}.ttf",
    "DDC_Uchen.ttf",
    "Jomolhari.ttf",
    "TibetanMachineUni.ttf",
)
_PACKAGES = {"CJK": "fonts-noto-cjk", "TIBETAN": "fonts-noto-core"}
_CJK_SCRIPTS = ("CJK", "LATIN", "DIGIT", "GREEK", "CYRILLIC", "HIRAGANA", "KATAKANA", "FULLWIDTH", "HANGUL", "BOPOMOFO")


class FontMissing(BusdError):
    """A picture cannot be drawn on this machine; the text names what to install."""


class Run(NamedTuple):
    """A piece of text in one script."""

    text: str
    script: str
    """``CJK`` (with Latin and all that its font has), ``TIBETAN``, or the first word of the characters' Unicode names"""


@cache
def check() -> None:
    """Raises FontMissing where complex text cannot be shaped or the base font is missing. Cheap after the first call."""
    if not (features.check("raqm") and features.check("fribidi")):
        raise FontMissing("text cannot be shaped: libfribidi is missing (apt-get install libfribidi0)")
    _path("CJK", "Bold")  # the others are missed when a text needs them


@cache
def _installed() -> dict[str, Path]:
    """File name -> path of every font on the machine."""
    return {path.name: path for root in ROOTS if root.is_dir() for path in sorted(root.rglob("*.[ot]t[fc]"))}


@cache
def _path(script: str, weight: str) -> Path:
    return find_font(script, weight, _installed())


def find_font(script: str, weight: str, installed: Mapping[str, Path]) -> Path:
    """The file of a script's font among ``installed`` (file name -> path); raises FontMissing, which names its package."""
    patterns: Sequence[str]
    if script == "CJK":
        patterns = _CJK
    elif script == "TIBETAN":
        patterns = _TIBETAN
    else:
        name = script.title()
        patterns = (f"NotoSans{name}-{{w}}.ttf", f"NotoSerif{name}-{{w}}.ttf", f"NotoNaskh{name}-{{w}}.ttf")
    for wanted in (weight, "Regular"):
        for pattern in patterns:
            path = installed.get(pattern.format(w=wanted))
            if path is not None:
                return path
    package = _PACKAGES.get(script, "fonts-noto-core")
    raise FontMissing(f"no font for {script.title() if script != 'CJK' else 'Chinese'} (apt-get install {package})")


@cache
def _index(path: Path) -> int:
    """Which font of a collection has the mainland's shapes."""
    if path.suffix != ".ttc":
        return 0
    for index in range(10):
        try:
            family = ImageFont.truetype(path, 12, index=index).getname()[0] or ""
        except OSError:
            break
        if family.endswith("CJK SC"):
            return index
    return 0


@lru_cache(maxsize=MAX_SIZES)
def font(script: str, size: int, weight: str = "Bold") -> ImageFont.FreeTypeFont:
    """The font of a script at a size in pixels. Raises FontMissing."""
    path = _path(script, weight)
    return ImageFont.truetype(path, size, index=_index(path), layout_engine=ImageFont.Layout.RAQM)


@lru_cache(maxsize=8192)
def _has_glyph(char: str, script: str) -> bool:
    """Whether the script's font has more for ``char`` than the box that stands for what it does not have."""
    # 16 px is enough to tell the box from anything else, and the basic layout does not look elsewhere
    path = _path(script, "Bold")
    small = ImageFont.truetype(path, 16, index=_index(path), layout_engine=ImageFont.Layout.BASIC)
    return bytes(small.getmask(char)) != _box(path)


@cache
def _box(path: Path) -> bytes:
    small = ImageFont.truetype(path, 16, index=_index(path), layout_engine=ImageFont.Layout.BASIC)
    return bytes(small.getmask("\U0010fffd"))


@lru_cache(maxsize=8192)
def _script(char: str) -> str:
    """The script whose font draws the character; empty for one that goes with its neighbours."""
    if "\u0f00" <= char <= "\u0fff":
        return "TIBETAN"
    if char < "\u02b0" or "\u3000" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef":
        return "" if char == " " else "CJK"
    name = unicodedata.name(char, "").partition(" ")[0]
    if unicodedata.category(char)[0] in "MCZ" and not name.startswith(_CJK_SCRIPTS):
        return ""
    if name in _CJK_SCRIPTS or not unicodedata.category(char).startswith("L"):
        return "CJK"
    return name


@lru_cache(maxsize=4096)
def runs(text: str) -> tuple[Run, ...]:
    """``text`` cut where the font changes. Raises FontMissing for a script without a font."""
    return tuple(_runs(text))


def _runs(text: str) -> Iterator[Run]:
    piece, script = "", ""
    for char in text:
        its = _script(char)
        if its and its != script and script:
            yield Run(piece, script)
            piece, script = "", its
        script = script or its
        piece += _drawable(char, its) if its else char
    if piece:
        yield Run(piece, script or "CJK")


@lru_cache(maxsize=8192)
def _drawable(char: str, script: str) -> str:
    if _has_glyph(char, script):
        return char
    if unicodedata.category(char).startswith("L"):
        log.warning("no_glyph", char=f"U+{ord(char):04X}", script=script)
        return GETA
    return ""  # an emoji or ornament: the sentence loses nothing
