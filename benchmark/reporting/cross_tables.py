"""The tests on other LR as tables."""

from __future__ import annotations

from .cross_tests import CrossFigure, CrossTable, cross_caption
from .html import document, statements_html, text_html
from .latex import best_size, floats, prose, text_table, with_packages
from .text_tables import Format, TextTable, markdown


def render_cross_tests(cross: CrossTable, format: Format) -> str:
    """The tests on other LR as Markdown, LaTeX, an HTML page, or CSV, which has every digit."""
    if format == "csv":
        return _cross_csv(cross)
    text, name = _cross_table(cross), cross.table.view.protocol.name
    title, *statements = cross_caption(cross).splitlines()
    if format == "markdown":
        listed = "\n".join(f"- {statement}" for statement in [title, *statements])
        return f"{markdown(text)}\n\n{listed}\n"
    if format == "html":
        return document(f"{name}: tests on other LR", text_html(text, title) + statements_html(statements))
    set_table = text_table(text.headings, text.rows)
    return with_packages(floats(set_table, best_size(set_table), prose(title), statements, f"tab:{name}-tests"))


_CROSS_HEADINGS = ["contrast", "scale", "method", "trained on"]


def _cross_table(cross: CrossTable) -> TextTable:
    """Every row as text, e.g. '28.10 (−2.31)'."""

    def text(figure: CrossFigure | None) -> str:
        if figure is None:
            return "–"
        value = cross.table.figure_text(cross.metric, figure.value)
        if figure.difference is None:
            return value
        digits = cross.table.conventions[cross.metric].decimals
        return f"{value} ({figure.difference:+.{digits}f})".replace("-", "−")

    several = len(cross.trained) > 1
    rows = []
    for row in cross.rows:
        trained = row.trained if row.learns else f"– ({row.trained})" if several else "–"
        rows.append([*row.row, row.label, trained, *(text(row.figures.get(column)) for column in cross.columns)])
    return TextTable([*_CROSS_HEADINGS, *cross.columns], rows)


def _cross_csv(cross: CrossTable) -> str:
    """A line per figure."""
    import pandas as pd

    lines = [
        [*row.row, row.label, row.trained, column, figure.value, figure.difference]
        for row in cross.rows
        for column, figure in row.figures.items()
    ]
    return pd.DataFrame(lines, columns=[*_CROSS_HEADINGS, "tested on", cross.metric, "difference"]).to_csv(index=False)
