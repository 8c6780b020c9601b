"""Tables as HTML: a caption, headings with their scope, no script; every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .grid import ONE_SEED, FigureGrid, MarkedText, printed
from .text_tables import TextTable

_STYLE = """\
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { max-width: 80rem; margin: 2rem auto; padding: 0 1rem }
table { display: block; overflow-x: auto; margin: 2rem 0 0.6rem; border-collapse: collapse }
caption { padding-bottom: 0.5rem; font-weight: 600; white-space: nowrap }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; white-space: nowrap; font-variant-numeric: tabular-nums }
thead th { border-bottom: 1px solid }
tbody th { font-weight: normal }
tbody tr + tr > * { border-top: 1px solid color-mix(in srgb, currentColor 12%, transparent) }
sup { line-height: 0 }
ul { max-width: 60rem; padding-left: 1.2rem; font-size: 13px; overflow-wrap: anywhere }
"""


def document(title: str, body: str) -> str:
    """A whole page, readable in light and dark and as wide as its reader's window: a wide table scrolls by itself."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n"
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
