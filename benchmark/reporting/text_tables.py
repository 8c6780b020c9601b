"""Tables whose cells are text, and the same as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tabulate import tabulate

from .grid import FigureGrid, MarkedText, printed

Format = Literal["markdown", "latex", "csv", "html"]
_RAISED = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ𐞥ʳˢᵗᵘᵛʷˣʸᶻ")
"""Letters of ties as they are printed in Markdown."""


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text."""

    headings: list[str]
    rows: list[list[str]]


def markdown(table: TextTable) -> str:
    """The table in GitHub's form; '' without rows."""
    return tabulate(table.rows, table.headings, "github", disable_numparse=True) if table.rows else ""


def grid_markdown(grid: FigureGrid) -> str:
    """A grid of figures in GitHub's form, the metrics of a cell with / between."""
    rows = [
        [*map(_marked, line.names), *("/".join(map(_marked, printed(figures))) for figures in line.cells)]
        for line in grid.lines
    ]
    return markdown(TextTable([*grid.name_headings, *map(_marked, grid.headings)], rows))


def _marked(cell: MarkedText) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.full_text
    return text + cell.spread + cell.raised.translate(_RAISED)
