"""The names of a table's columns as a figure can show them: in the font at hand, short, and still different."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache

from .style import FONT

_LENGTH = 18
"""Most characters of a name in a legend or on an axis."""


def short_names(labels: Iterable[str], length: int = _LENGTH) -> dict[str, str]:
    """Label → its name in a figure: no two the same, those with more than `length` characters with … in their middle."""
    names: dict[str, str] = {}
    for label in labels:
        text = printable(label)
        names[label] = _unused(shortened(text, length), names.values())
    return names


def printable(text: str) -> str:
    """The text with every character that the figures' font lacks as Python writes it: '我' as '\\u6211'."""
    glyphs = _glyphs()
    return "".join(character if _is_shown(character, glyphs) else _escaped(character) for character in text)


def shortened(text: str, length: int) -> str:
    """The text with … for its middle, where it has more than `length` characters (3 at least)."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def _unused(name: str, used: Collection[str]) -> str:
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{name} ({number})"
    return candidate


def _is_shown(character: str, glyphs: frozenset[int]) -> bool:
    return ord(character) in glyphs and unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    """The code points that `FONT` has, which comes with matplotlib."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())
