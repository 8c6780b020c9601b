"""How a grid of figures is laid out in LaTeX: the first of several layouts, the most readable first, that fits.

A layout fits if its lines are no longer than an article's text (345 pt) or, where none is, than a two-column page
(516 pt). No letters are smaller than scriptsize.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from .grid import ONE_SEED, FigureGrid, FigureGrids, GridLine, MarkedText, printed
from .latex import (
    ARTICLE,
    BOLD,
    FOOTNOTE,
    NORMAL,
    PAGE,
    RAISED,
    SCRIPT,
    SMALL,
    Size,
    TexTable,
    em_width,
    latex,
    natural_width,
)

Form = Literal["line", "stacked", "below"]
"""A cell in one line; its metrics one above the other; and the spread of each below its figure."""
Texts = Sequence[MarkedText]
"""What stands in one line of a cell, with / between."""


@dataclass(frozen=True)
class Layout:
    """A way to set a grid."""

    down: bool
    """Methods down, the rows of the table across."""
    form: Form
    size: Size
    upright: bool = False
    """Headings are turned by 90°."""

    @property
    def separator(self) -> str:
        """What stands between the metrics of a cell, in words."""
        return "/" if self.form == "line" else " above "


LAYOUTS = (
    *(Layout(False, "line", size) for size in (NORMAL, SMALL, FOOTNOTE)),
    *(Layout(False, "stacked", size) for size in (SMALL, FOOTNOTE)),
    *(Layout(True, "line", size) for size in (NORMAL, SMALL, FOOTNOTE)),
    *(Layout(True, "stacked", size) for size in (SMALL, FOOTNOTE)),
    *(Layout(down, "below", size) for size in (FOOTNOTE, SCRIPT) for down in (False, True)),
    *(Layout(down, "below", size, upright=True) for size in (FOOTNOTE, SCRIPT) for down in (False, True)),
)


def choose_layout(grids: FigureGrids, transposed: bool) -> tuple[Layout, TexTable]:
    """The first layout that fits, and the grid in it; the last one where none does. `transposed`: methods down only."""
    only_down = transposed or grids.across is None
    tables = [
        (layout, lay_out(grids.choose(layout.down), layout)) for layout in LAYOUTS if layout.down or not only_down
    ]
    for width in (ARTICLE, PAGE):
        for layout, table in tables:
            if natural_width(table, layout.size) <= width:
                return layout, table
    return tables[-1]


def lay_out(grid: FigureGrid, layout: Layout) -> TexTable:
    """The grid as LaTeX, a group of lines for each of its lines."""
    groups = [_lines(line, layout.form) for line in grid.lines]
    headings = [[heading] for heading in [*map(MarkedText, grid.name_headings), *grid.headings]]
    columns = zip(*(cells for group in groups for cells in group), strict=True)
    head_widths = [1.0 if layout.upright else _width(heading) for heading in headings]
    body = [max(map(_width, column)) for column in columns]
    widths = [*map(max, head_widths, body)]
    texts = [rf"\rotatebox{{90}}{{{_tex(heading)}}}" if layout.upright else _tex(heading) for heading in headings]
    return TexTable(texts, [[[*map(_tex, cells)] for cells in group] for group in groups], widths, body, widths)


def _lines(line: GridLine, form: Form) -> list[list[Texts]]:
    """The lines that a line of a grid takes, each a text per column."""
    with_spread = any(figure.spread for figures in line.cells for figure in figures)
    columns: list[list[Texts]] = [[[name]] for name in line.names]
    for figures in line.cells:
        if form == "line":
            columns.append([printed(figures)])
        elif form == "stacked" or not with_spread:
            columns.append([[figure] for figure in figures])
        else:
            columns.append(
                [[part] for figure in figures for part in (replace(figure, spread=""), MarkedText(figure.spread))]
            )
    if form == "below" and len(columns[-1]) > 1:
        columns[0] = [[part] for part in _broken(line.names[0])]
    return [list(cells) for cells in zip_longest(*columns, fillvalue=[])]


def _broken(name: MarkedText) -> list[MarkedText]:
    """A name in one line, or in two, broken after the - or _ that makes the longer part shortest."""
    text = name.text
    places = [place for place, letter in enumerate(text[:-1], 1) if letter in "-_"]
    if not places:
        return [name]
    place = min(places, key=lambda place: max(em_width(text[:place]), em_width(text[place:])))
    return [MarkedText(text[:place]), replace(name, text=text[place:])]


def _tex(texts: Texts) -> str:
    return "/".join(_marked(text) for text in texts)


def _marked(cell: MarkedText) -> str:
    """In LaTeX's mathematics a prime, of the letters beyond z, is an apostrophe."""
    text = rf"\textbf{{{latex(cell.text)}}}" if cell.bold else latex(_plain(cell))
    raised = cell.raised.replace("′", "'").replace(ONE_SEED, "1")
    return text + latex(cell.spread) + (f"$^{{{raised}}}$" if raised else "")


def _plain(cell: MarkedText) -> str:
    """The text, with the dagger of a quoted column, which the notes explain, and its source."""
    return f"{cell.text}† [{cell.source}]" if cell.source else cell.text


def _width(texts: Texts) -> float:
    """In em, with the slashes between the texts."""
    widths = [
        em_width(_plain(text)) * (BOLD if text.bold else 1) + em_width(text.spread) + em_width(text.raised) * RAISED
        for text in texts
    ]
    return sum(widths) + em_width("/") * max(0, len(widths) - 1)
