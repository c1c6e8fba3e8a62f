"""Drawing for small palettes: text in several scripts on flat colours, as a PNG of 1 or 8 bits.

The image holds palette indices from the start. A text is drawn through its grey mask onto a ramp of `LEVELS` colours
between its paper and its ink, so edges stay smooth, the palette is exact, and the same drawing gives the same bytes. With
one bit every colour is black or white and the mask is cut at `CUT`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from PIL import Image, ImageDraw
from wcwidth import iter_graphemes

from busd.signs.fonts import Run, font, runs

Rgb = tuple[int, int, int]
Align = Literal["left", "center", "right"]
Weight = Literal["Bold", "Regular"]

WHITE: Rgb = (255, 255, 255)
BLACK: Rgb = (0, 0, 0)
LEVELS = 16
CUT = 112
"""Grey level from which a pixel is ink in one bit; under half, so that thin strokes do not break."""
SMALLEST = 8
"""Pixels; smaller text is noise."""
TIBETAN_SCALE = 0.92
"""Tibetan stacks reach lower than Latin letters; a little smaller they look as large."""


def luminance(color: Rgb) -> float:
    """Relative luminance, 0..1 (WCAG 2)."""

    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = map(linear, color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Rgb, other: Rgb) -> float:
    """Contrast ratio, 1..21 (WCAG 2)."""
    a, b = luminance(one) + 0.05, luminance(other) + 0.05
    return max(a, b) / min(a, b)


def readable_on(paper: Rgb) -> Rgb:
    """White or black, whichever reads better."""
    return WHITE if contrast(WHITE, paper) >= contrast(BLACK, paper) else BLACK


class Canvas:
    """``bits`` 1 or 8. Coordinates are pixels from the upper left corner; text stands on its baseline."""

    def __init__(self, width: int, height: int, bits: int, paper: Rgb = WHITE) -> None:
        self.width, self.height, self.bits = width, height, bits
        self._palette: list[Rgb] = [BLACK, WHITE]
        self._index: dict[Rgb, int] = {BLACK: 0, WHITE: 1}
        self._ramps: dict[tuple[Rgb, Rgb], list[int]] = {}
        self._image = Image.new("L", (width, height), self._color(paper))
        self._draw = ImageDraw.Draw(self._image)

    # ---- colours -----------------------------------------------------------------------------------------------------

    def _color(self, color: Rgb) -> int:
        if self.bits == 1:
            return 1 if luminance(color) > 0.35 else 0
        index = self._index.get(color)
        if index is None:
            if len(self._palette) == 256:
                return min(range(256), key=lambda i: sum(abs(a - b) for a, b in zip(self._palette[i], color)))
            index = self._index[color] = len(self._palette)
            self._palette.append(color)
        return index

    def _ramp(self, paper: Rgb, ink: Rgb) -> list[int]:
        """Mask value -> palette index."""
        ramp = self._ramps.get((paper, ink))
        if ramp is None:
            if self.bits == 1:
                a, b = self._color(paper), self._color(ink)
                ramp = [a] * CUT + [b] * (256 - CUT)
            else:
                steps = [
                    self._color((_mix(paper[0], ink[0], k), _mix(paper[1], ink[1], k), _mix(paper[2], ink[2], k)))
                    for k in range(LEVELS)
                ]
                ramp = [steps[level] for level in _LEVEL_OF]
            self._ramps[paper, ink] = ramp
        return ramp

    # ---- shapes ------------------------------------------------------------------------------------------------------

    def box(self, x: float, y: float, width: float, height: float, color: Rgb, radius: float = 0) -> None:
        if width >= 1 and height >= 1:
            corner = _corners(x, y, width, height)
            self._draw.rounded_rectangle(corner, max(0.0, min(radius, width / 2, height / 2)), self._color(color))

    def frame(
        self, x: float, y: float, width: float, height: float, color: Rgb, stroke: int, radius: float = 0
    ) -> None:
        if width >= 2 * stroke and height >= 2 * stroke:
            corner = _corners(x, y, width, height)
            radius = max(0.0, min(radius, width / 2, height / 2))
            self._draw.rounded_rectangle(corner, radius, None, self._color(color), stroke)

    def dot(self, x: float, y: float, radius: float, color: Rgb) -> None:
        self._disc(x, y, radius, color)

    def ring(self, x: float, y: float, radius: float, stroke: float, color: Rgb, paper: Rgb) -> None:
        self._disc(x, y, radius, color)
        self._disc(x, y, radius - stroke, paper)

    def _disc(self, x: float, y: float, radius: float, color: Rgb) -> None:
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), self._color(color))

    def bitmap(self, x: float, y: float, rows: Sequence[Sequence[int]], scale: int, ink: Rgb, paper: Rgb) -> None:
        """Rows of 0 and 1, each ``scale`` pixels wide and high (a QR code)."""
        on, off = self._color(ink), self._color(paper)
        cells = Image.new("L", (len(rows[0]), len(rows)))
        cells.putdata([on if cell else off for row in rows for cell in row])
        self._image.paste(cells.resize((cells.width * scale, cells.height * scale), 0), (round(x), round(y)))

    # ---- text --------------------------------------------------------------------------------------------------------

    def text(
        self,
        x: float,
        baseline: float,
        text: str,
        size: float,
        ink: Rgb,
        paper: Rgb,
        weight: Weight = "Bold",
        align: Align = "left",
    ) -> float:
        """Draws one line; returns its width."""
        if self.bits == 1:
            weight = "Bold"  # the thin strokes of Regular do not survive the cut
        width = text_width(text, size, weight)
        left = x - {"left": 0.0, "center": width / 2, "right": width}[align]
        mask_width, above, below = int(width) + round(size) + 4, round(size * 1.3), round(size)
        if not text or width <= 0:
            return 0.0
        mask = Image.new("L", (mask_width, above + below))
        draw = ImageDraw.Draw(mask)
        inset = round(size / 4)
        at = inset + left % 1
        for run in runs(text):
            pixels = _size(run.script, size)
            draw.text((at, above), run.text, 255, font(run.script, pixels, weight), anchor="ls")
            at += _advance(run, pixels, weight)
        ramp = self._ramp(paper, ink)
        where = (int(left // 1) - inset, round(baseline) - above)
        self._image.paste(mask.point(ramp), where, mask.point(_INKED if self.bits == 1 else _VISIBLE))
        return width

    # ---- out ---------------------------------------------------------------------------------------------------------

    def png(self) -> bytes:
        """The PNG file; the same drawing gives the same bytes."""
        if self.bits == 1:
            image = self._image.point([0, *[255] * 255]).convert("1", dither=Image.Dither.NONE)
        else:
            image = self._image.copy()
            image.putpalette([value for color in self._palette for value in color])
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=4, **({} if self.bits == 1 else {"bits": 8}))
        return out.getvalue()


_LEVEL_OF = [round(value * (LEVELS - 1) / 255) for value in range(256)]
_VISIBLE = [0] * (128 // LEVELS + 1) + [255] * (255 - 128 // LEVELS)
_INKED = [0] * CUT + [255] * (256 - CUT)


def _corners(x: float, y: float, width: float, height: float) -> tuple[int, int, int, int]:
    left, top = round(x), round(y)
    return left, top, max(left, round(x + width) - 1), max(top, round(y + height) - 1)


def _mix(paper: int, ink: int, step: int) -> int:
    return round(paper + (ink - paper) * step / (LEVELS - 1))


def _size(script: str, size: float) -> int:
    return max(SMALLEST, round(size * TIBETAN_SCALE if script == "TIBETAN" else size))


def text_width(text: str, size: float, weight: Weight = "Bold") -> float:
    """Advance of one line in pixels."""
    return _width(text, max(SMALLEST, round(size)), weight)


def _width(text: str, size: int, weight: Weight) -> float:
    return sum(_advance(run, _size(run.script, size), weight) for run in runs(text))


@lru_cache(maxsize=4096)
def _advance(run: Run, size: int, weight: Weight) -> float:
    return float(font(run.script, size, weight).getlength(run.text))


def fitted(text: str, size: float, least: float, width: float, weight: Weight = "Bold") -> tuple[str, float]:
    """``text`` and the size, from ``size`` down to ``least``, at which it fits; cut with an ellipsis if it must be."""
    needs = text_width(text, size, weight)
    if needs <= width:
        return text, size
    smaller = max(least, size * width / needs)
    while smaller > least and text_width(text, smaller, weight) > width:
        smaller -= 1
    smaller = max(least, smaller)
    if text_width(text, smaller, weight) <= width:
        return text, smaller
    clusters = list(iter_graphemes(text))
    low, high = 0, len(clusters)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width("".join(clusters[:middle]).rstrip() + "…", smaller, weight) <= width:
            low = middle
        else:
            high = middle - 1
    return ("".join(clusters[:low]).rstrip() + "…" if low else ""), smaller
