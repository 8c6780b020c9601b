"""Tables as Markdown, LaTeX or CSV: the best and the second figure of a row marked, quoted figures never."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pandas as pd

from .table import Column, Row, Table

Format = Literal["markdown", "latex", "csv"]
_MARKS = {"markdown": ("**{}**", "<u>{}</u>"), "latex": (r"\textbf{{{}}}", r"\underline{{{}}}")}
_LATEX: dict[str, Any] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "<": r"$<$", ">": r"$>$",
    "†": r"$^\dagger$",
}  # fmt: skip


def render(table: Table, format: Format) -> str:
    """The table as Markdown, LaTeX (needs the package booktabs) or CSV.

    Metrics beyond those of the main table's cells have a table below it, a line each.
    """
    if format == "csv":
        frame = table.frame()
        frame.columns = frame.columns.map(" ".join)
        return frame.to_csv()
    main = _frame(table, format, {(): table.main})
    others = _frame(table, format, {(metric,): [metric] for metric in table.others})
    if format == "markdown":
        blocks = [_markdown(main), table.caption(), _markdown(_readable(table.records()))]
        return "\n\n".join(blocks[:1] + [_markdown(others)] * bool(table.others) + blocks[1:]) + "\n"
    label = f"tab:{table.loaded.protocol.name}"
    text = _booktabs(main, _latex(table.caption("†").replace("\n", " ")), label)
    if table.others:
        text += "\n" + _booktabs(others, rf"The other metrics of table~\ref{{{label}}}.", f"{label}-more")
    return text


def _frame(table: Table, format: str, lines: dict[Row, list[str]]) -> pd.DataFrame:
    """For each row of the table a line per item of `lines`: what follows the row's names → the metrics of its cells."""
    plain: Callable[[str], str] = _latex if format == "latex" else str
    printed = any(table.quoted_as(metric) for metrics in lines.values() for metric in metrics)
    columns = [column for column in table.columns if printed or not column.source]
    found = []
    for row in table.rows:
        for beside, metrics in lines.items():
            texts = [_marked(table, row, columns, metric, format) for metric in metrics]
            cells = ["/".join(parts) if set(parts) != {"–"} else "–" for parts in zip(*texts, strict=True)]
            found.append([*map(plain, (*row, *beside)), *(cell.replace("–", plain("–")) for cell in cells)])
    names = [*table.row_names(), *(["metric"] if () not in lines else [])]
    return pd.DataFrame(found, columns=[plain(name) for name in [*names, *(_heading(c, format) for c in columns)]])


def _heading(column: Column, format: str) -> str:
    return f"{column.name}† [{column.source}]" if format == "latex" and column.source else str(column)


def _marked(table: Table, row: Row, columns: Sequence[Column], metric: str, format: str) -> list[str]:
    """The figures of a row, the best and the second of ours marked, by the digits shown; ties alike."""
    shown = [(column, table.shown(metric, table.value(row, column, metric))) for column in columns]
    ours = {float(text) for column, text in shown if not column.source and text != "–"}
    ranked = sorted(ours, reverse=table.conventions[metric].higher_is_better)
    marks = dict(zip(ranked, _MARKS[format], strict=False))
    return [
        text if column.source or text == "–" else marks.get(float(text), "{}").format(text) for column, text in shown
    ]


def _markdown(frame: pd.DataFrame) -> str:
    return frame.to_markdown(index=False, tablefmt="github", disable_numparse=True) if len(frame) else ""


def _readable(records: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text: thousands apart, no digits that mean nothing."""

    def text(value: Any) -> str:
        if isinstance(value, str):
            return value
        if pd.isna(value):
            return "–"
        return (
            f"{value:,.0f}"
            if float(value).is_integer() or value >= 100
            else f"{value:.3g}"
            if value < 1
            else f"{value:.2f}"
        )

    return records.map(text)


def _booktabs(cells: pd.DataFrame, caption: str, label: str) -> str:
    """A LaTeX table; all words are LaTeX."""
    return cells.to_latex(index=False, escape=False, caption=caption, label=label, position="tbp")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
