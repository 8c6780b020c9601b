"""The names of a table's columns as a figure can show them: in the font at hand, short, and still different."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .lettering import characters

_LENGTH = 18
"""Most characters of a name in a legend or on an axis."""


def short_names(labels: Iterable[str], length: int = _LENGTH) -> dict[str, str]:
    """Label → its name in a figure: no two the same, long ones with … for their middle (`shortened`)."""
    names: dict[str, str] = {}
    for label in labels:
        names[label] = _unused(shortened(label, length), names.values())
    return names


def shortened(text: str, length: int) -> str:
    """The `lettering.printable` text with … for its middle, where it has more than `length` characters (at least 3)."""
    shown = characters(text)
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


def _unused(name: str, used: Collection[str]) -> str:
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{name} ({number})"
    return candidate
