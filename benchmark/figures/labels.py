"""The names of a table's columns as a figure can show them: in the font at hand, short, and still different."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache

from .style import FONT

_LENGTH = 18
"""Most characters of a name in a legend or on an axis."""


def short_names(labels: Iterable[str], length: int = _LENGTH) -> dict[str, str]:
    """Label → its name in a figure: no two the same, long ones with … for their middle (`shortened`)."""
    names: dict[str, str] = {}
    for label in labels:
        names[label] = _unused(shortened(label, length), names.values())
    return names


def printable(text: str) -> str:
    """The text with every character that the figures' font lacks as Python writes it: '我' as '\\u6211'."""
    return "".join(_characters(text))


def shortened(text: str, length: int) -> str:
    """The `printable` text with … for its middle, where it has more than `length` characters (at least 3)."""
    shown = _characters(text)
    if sum(map(len, shown)) <= length:
        return "".join(shown)
    head, tail, room = list[str](), list[str](), length - 1
    while shown:
        side, character = (head, shown[0]) if len("".join(head)) <= len("".join(tail)) else (tail, shown[-1])
        room -= len(character)
        if room < 0:
            break
        side.append(character)
        shown = shown[1:] if side is head else shown[:-1]
    return f"{''.join(head)}…{''.join(reversed(tail))}"


def _characters(text: str) -> list[str]:
    """The characters of a text, each as it is shown."""
    glyphs = _glyphs()
    return [character if _is_shown(character, glyphs) else _escaped(character) for character in text]


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
