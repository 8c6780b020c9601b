"""One look for all figures: widths of a journal's columns, colours that survive grey and colour blindness, fonts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

COLUMN, PAGE = 3.5, 7.16
"""Widths of one column and of a page of two, in inches (IEEE)."""
SMALL, TEXT = 7.0, 8.0
"""Font sizes in points: ticks, legends and notes; labels and titles."""
QUIET = "0.75"
"""The grey of helping lines."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette (Color Universal Design, 2008), without its yellow, which is lost on white."""
_LINES = ("-", "--", "-.", ":")
_FONTS = (
    *("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "PingFang SC", "Arial Unicode MS", "Noto Emoji"),
)
"""The first comes with matplotlib; those of the others that are installed draw the characters that it lacks."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


@dataclass(frozen=True)
class Look:
    """How the column of a table is drawn: no two of the first 28 agree in colour and line, so that grey tells them."""

    colour: str
    line: str
    marker: str


def look(index: int) -> Look:
    """That of the index-th column of a table: the same in every figure."""
    return Look(
        _COLOURS[index % len(_COLOURS)],
        _LINES[(index + index // len(_COLOURS)) % len(_LINES)],
        _MARKERS[index % len(_MARKERS)],
    )


@cache
def fonts() -> tuple[str, ...]:
    """The names of the installed fonts that figures are lettered in, the first one first."""
    from matplotlib.font_manager import get_font_names

    installed = get_font_names()
    return tuple(font for font in _FONTS if font in installed)


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write in this look, whatever the user's matplotlibrc says.

    Fonts are embedded in PDF, text stays text in SVG, and a $ is a $.
    """
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": list(fonts()),
        "font.size": TEXT,
        "axes.titlesize": TEXT,
        "axes.labelsize": TEXT,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "axes.linewidth": 0.6,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "0.92",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "text.parse_math": False,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "mrsr-bench",
        "savefig.dpi": 300,
        "figure.constrained_layout.use": True,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        with matplotlib.rc_context(settings):
            yield
