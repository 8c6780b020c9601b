"""Text of any script and length, made to fit: what no font can draw is escaped, what is too long is wrapped or cut."""

from __future__ import annotations

from functools import cache

from .style import SMALL, fonts

_HINTING = 1.02


def printable(text: str) -> str:
    r"""The text with every character that no font here can draw, or nobody can see, as in '\u4e2d'."""
    return "".join(characters(text))


def characters(text: str) -> list[str]:
    """The characters of a text, each as `printable` shows it."""
    known = _known()
    return [letter if letter.isprintable() and ord(letter) in known else _escaped(letter) for letter in text]


def text_width(text: str, size: float = SMALL, weight: str = "normal") -> float:
    """The width of one line in points, with room for what hinting adds on a screen."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    properties = FontProperties(size=size, weight=weight)
    return _HINTING * float(text_to_path.get_text_width_height_descent(text, properties, ismath=False)[0])


def fitted(text: str, width: float, lines: int = 1, size: float = SMALL) -> str:
    """`printable` text in at most `lines` lines of `width` points; what does not fit is cut off, with … at its end."""
    wrapped = wrapped_lines(text, width, size)
    if len(wrapped) <= lines:
        return "\n".join(wrapped)
    last = " ".join(wrapped[lines - 1 :])
    while last and text_width(f"{last}…", size) > width:
        last = last[:-1]
    return "\n".join([*wrapped[: lines - 1], f"{last.rstrip()}…"])


def wrapped_lines(text: str, width: float, size: float = SMALL) -> list[str]:
    """`printable` text in lines of at most `width` points: broken at spaces, and within words that are too long."""
    lines = [""]
    for word in printable(text).split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(joined, size) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        while text_width(word, size) > width and len(word) > 1:
            part = _longest_start(word, width, size)
            lines[-1:] = [part, ""]
            word = word[len(part) :]
        lines[-1] = word
    return lines


def _longest_start(word: str, width: float, size: float) -> str:
    """The longest start of a word, of one character at least, that is no wider."""
    low, high = 1, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(word[:middle], size) <= width else (low, middle - 1)
    return word[:low]


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


@cache
def _known() -> frozenset[int]:
    """The code points that the fonts of figures can draw."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(point for font in fonts() for point in get_font(findfont(font)).get_charmap())
