"""Text on a panel of character cells: how wide it is, where it may be cut or broken, how it scrolls.

A Chinese character takes two columns, a Latin one one, a Tibetan stack one, however many letters stand on each other.
Widths are wcwidth's (Unicode East Asian Width, kept up to date); pieces are grapheme clusters, because half a stack is
another syllable.
"""

from __future__ import annotations

from collections.abc import Iterator

from wcwidth import iter_graphemes, wcswidth

GAP = 4
"""Blank columns between the end of a scrolling text and its next round."""
_TIBETAN_BREAKS = ("\u0f0b", "\u0f0d", "\u0f0e")
"""tsheg and shad: a Tibetan line may end behind them"""
_NO_START = "，。、；：！？）》”’.,;:!?)%" + "".join(_TIBETAN_BREAKS)
"""never at the start of a line"""


def columns(text: str) -> int:
    """Columns that ``text`` (without control characters) takes."""
    return max(0, int(wcswidth(text)))


def cut(text: str, width: int) -> str:
    """The longest beginning of whole clusters that fits into ``width`` columns."""
    if columns(text) <= width:
        return text
    out, used = "", 0
    for cluster in iter_graphemes(text):
        used += columns(cluster)
        if used > width:
            break
        out += cluster
    return out


def pad(text: str, width: int, right: bool = False) -> str:
    """``text`` in exactly ``width`` columns: cut, then filled with blanks behind it (in front with ``right``)."""
    text = cut(text, width)
    blanks = " " * (width - columns(text))
    return blanks + text if right else text + blanks


def wrap(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` columns, broken at blanks, between Chinese characters and behind a tsheg."""
    lines: list[str] = []
    line = ""
    for piece in pieces(text):
        if columns((line + piece).rstrip()) <= width:
            line += piece
            continue
        if line.strip():
            lines.append(line.strip())
        while columns(piece.rstrip()) > width:
            head = cut(piece, width)
            if not head:
                break  # a character wider than the panel
            lines.append(head)
            piece = piece[len(head) :]
        line = piece
    if line.strip():
        lines.append(line.strip())
    return [cut(line, width) for line in lines]


def pieces(text: str) -> Iterator[str]:
    """Unbreakable parts of a text, in order."""
    piece = ""
    for cluster in iter_graphemes(text):
        wide = columns(cluster) == 2
        if piece and cluster[0] not in _NO_START and not cluster.isspace():
            last = piece[-1]
            if wide or last.isspace() or last.endswith(_TIBETAN_BREAKS) or columns(last) == 2:
                yield piece
                piece = ""
        piece += cluster
    if piece:
        yield piece


def window(text: str, width: int, step: int) -> str:
    """``width`` columns of a text that moves left by one column a step; a text that fits stands still.

    A wide character that is half outside is blank, as on a panel that scrolls by columns. The text comes round after
    `rounds` steps.
    """
    if columns(text) <= width:
        return pad(text, width)
    cells: list[str] = []
    for cluster in iter_graphemes(text + " " * GAP):
        size = columns(cluster)
        if size == 0 and cells:
            cells[-1] += cluster
        elif size:
            cells.append(cluster)
            cells.extend([""] * (size - 1))
    start = step % len(cells)
    turned = cells[start:] + cells[:start]
    while len(turned) < width:
        turned += turned
    shown = turned[:width]
    if shown[0] == "":
        shown[0] = " "
    if columns("".join(shown)) > width:
        shown[-1] = " "  # its second half would be outside
    return "".join(shown)


def rounds(text: str, width: int) -> int:
    """Steps until a scrolling text is back at its start; 0 for one that fits."""
    return 0 if columns(text) <= width else columns(text) + GAP
