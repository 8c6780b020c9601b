"""The tests on other LR as tables."""

from __future__ import annotations

from .cross_tests import CrossFigure, CrossTable, cross_caption
from .text_tables import Format, TextTable, booktabs, latex, markdown


def render_cross_tests(cross: CrossTable, format: Format) -> str:
    """The tests on other LR as Markdown, LaTeX (needs the package booktabs) or CSV, which has every digit."""
    if format == "csv":
        return _cross_csv(cross)
    text, caption = _cross_table(cross), cross_caption(cross)
    if format == "markdown":
        statements = "\n".join(f"- {statement}" for statement in caption.splitlines())
        return f"{markdown(text)}\n\n{statements}\n"
    escaped = TextTable([*map(latex, text.headings)], [[*map(latex, row)] for row in text.rows])
    return booktabs(escaped, latex(caption.replace("\n", " ")), f"tab:{cross.table.view.protocol.name}-tests")


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
