"""Tables as HTML: a caption, headings with their scope, no script; every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .grid import ONE_SEED, FigureGrid, MarkedText, printed
from .text_tables import TextTable


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n</head>\n'
        f"<body>\n{body}</body>\n</html>\n"
    )


def grid_html(grid: FigureGrid, title: str = "") -> str:
    """A grid of figures as a table, the metrics of a cell with / between; without a title it has no caption."""
    lines = []
    for line in grid.lines:
        names = [f'<th scope="row">{_marked(name)}</th>' for name in line.names]
        cells = ["/".join(map(_marked, printed(figures))) for figures in line.cells]
        lines.append(f"<tr>{''.join(names)}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n")
    return _table([*map(MarkedText, grid.name_headings), *grid.headings], lines, title)


def text_html(table: TextTable, title: str = "") -> str:
    """A table of text, whose first cell names the line."""
    lines = [
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>\n'
        for first, *cells in table.rows
    ]
    return _table([*map(MarkedText, table.headings)], lines, title)


def statements_html(statements: Sequence[str]) -> str:
    """A list of statements; '' where there are none."""
    items = "".join(f"<li>{escape(statement)}</li>\n" for statement in statements)
    return f"<ul>\n{items}</ul>\n" if items else ""


def folded(summary: str, body: str) -> str:
    """What a reader unfolds; '' without a body."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{body}</details>\n" if body else ""


def _table(headings: Sequence[MarkedText], lines: Sequence[str], title: str) -> str:
    caption = f'<caption style="text-align: left">{escape(title)}</caption>\n' if title else ""
    head = "".join(f'<th scope="col">{_marked(heading)}</th>' for heading in headings)
    return (
        f'<table style="text-align: left">\n{caption}<thead>\n<tr>{head}</tr>\n</thead>\n'
        f"<tbody>\n{''.join(lines)}</tbody>\n</table>\n"
    )


def _marked(cell: MarkedText) -> str:
    text = f"<strong>{escape(cell.text)}</strong>" if cell.bold else escape(cell.full_text)
    raised = escape(cell.raised.replace(ONE_SEED, "1"))
    return text + escape(cell.spread) + (f"<sup>{raised}</sup>" if raised else "")
