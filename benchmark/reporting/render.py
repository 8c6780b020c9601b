"""Tables as Markdown, LaTeX or CSV: the best and the second figure of a row marked, quoted figures never."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tabulate import tabulate

from . import data_frames as frames
from .caption import caption_of
from .differences import differences, differences_caption
from .efficiency import efficiencies, efficiency_caption
from .table import Column, Row, Table

Format = Literal["markdown", "latex", "csv"]
_MARKS = {"markdown": ("**{}**", "<u>{}</u>"), "latex": (r"\textbf{{{}}}", r"\underline{{{}}}")}
_LATEX: dict[int, str] = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "<": r"$<$", ">": r"$>$",
    "|": r"\textbar\allowbreak{}", "†": r"$^\dagger$", "±": r"$\pm$", "−": r"$-$",
})  # fmt: skip
"""Letter → LaTeX. pandas' Styler escapes the first ten alone, and neither captions nor the parts of a cell."""


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text."""

    headings: list[str]
    rows: list[list[str]]


def render_table(table: Table, format: Format, baseline: str | None = None, flops: bool = False) -> str:
    """The table as Markdown, LaTeX (needs the package booktabs) or CSV.

    Metrics beyond those of the main table's cells have a table below it, one row per metric. The differences from the
    label `baseline` and, with `flops`, quality against multiply-accumulates have tables below that. CSV holds the
    figures and the signature of the first metric.
    """
    if format == "csv":
        frame = frames.frame_of(table)
        frame.columns = frame.columns.map(" ".join)
        frame["signature"] = table.signature(table.metrics[0])
        return frame.to_csv()
    main = _figure_table(table, format, {(): table.main_metrics})
    others = _figure_table(table, format, {(metric,): [metric] for metric in table.other_metrics})
    views = []
    if baseline:
        views.append((_difference_table(table, baseline), differences_caption(table, baseline), "difference"))
    if flops:
        views.append((_efficiency_table(table), efficiency_caption(table), "flops"))
    if format == "markdown":
        statements = "\n".join(f"- {statement}" for statement in caption_of(table).splitlines())
        blocks = [_markdown(main), *([_markdown(others)] if table.other_metrics else []), statements]
        for view, caption, _ in views:
            blocks += [_markdown(view), caption]
        return "\n\n".join([*blocks, _markdown(_record_table(frames.record_rows(table)))]) + "\n"
    label = f"tab:{table.view.protocol.name}"
    text = _booktabs(main, _latex(caption_of(table, "†").replace("\n", " ")), label)
    if table.other_metrics:
        text += "\n" + _booktabs(others, rf"The other metrics of table~\ref{{{label}}}.", f"{label}-more")
    for view, caption, name in views:
        escaped = TextTable([*map(_latex, view.headings)], [[*map(_latex, row)] for row in view.rows])
        text += "\n" + _booktabs(escaped, _latex(caption), f"{label}-{name}")
    return text


def _difference_table(table: Table, baseline: str) -> TextTable:
    """Every difference as text, e.g. '+2.25', '[+2.19, +2.31]'."""
    metric = table.metrics[0]

    def text(value: float, sign: str = "+") -> str:
        return "–" if math.isnan(value) else f"{value:{sign}.{table.conventions[metric].decimals}f}".replace("-", "−")

    rows = [
        [
            *difference.row,
            difference.label,
            text(difference.mean),
            "–" if math.isnan(difference.low) else f"[{text(difference.low)}, {text(difference.high)}]",
            str(difference.subjects) if difference.subjects else "–",
            text(difference.spread, ""),
        ]
        for difference in differences(table, baseline)
    ]
    headings = [f"{metric} − {baseline}", "95 % interval", "subjects", "SD over seeds"]
    return TextTable([*table.row_headings(), "method", *headings], rows)


def _efficiency_table(table: Table) -> TextTable:
    """Every efficiency as text, e.g. '787 M'."""
    metric = table.metrics[0]
    optimal = {True: "yes", False: "no", None: "–"}
    rows = [
        [
            *cell.row,
            cell.label,
            table.figure_text(metric, cell.quality) + _plus_minus(table.figure_text(metric, cell.spread)),
            _with_prefix(cell.macs),
            _with_prefix(cell.training),
            _with_prefix(cell.parameters),
            optimal[cell.optimal],
        ]
        for cell in efficiencies(table)
    ]
    headings = ["MACs (LR 24×24)", "training MACs", "parameters", "Pareto"]
    return TextTable([*table.row_headings(), "method", metric, *headings], rows)


def _with_prefix(number: float | None) -> str:
    """Three digits and a prefix for a power of a thousand: 787304448 → '787 M'."""
    if number is None:
        return "–"
    mantissa, exponent = f"{number:.2e}".split("e")
    thousands, digits = divmod(int(exponent), 3)
    return f"{float(mantissa) * 10**digits:.{2 - digits}f}{('', ' k', ' M', ' G', ' T', ' P', ' E')[thousands]}"


def _plus_minus(spread: str) -> str:
    """'±0.05', or nothing where there is no spread ('–')."""
    return "" if spread == "–" else f"±{spread}"


def _figure_table(table: Table, format: str, lines: dict[Row, list[str]]) -> TextTable:
    """For each row of the table a line per item of `lines`: cells after the row's own → the metrics of its figures."""
    plain: Callable[[str], str] = _latex if format == "latex" else str
    printed = any(table.quoted_metric(metric) for metrics in lines.values() for metric in metrics)
    columns = [column for column in table.columns if printed or not column.source]
    rows = []
    for row in table.rows:
        for names, metrics in lines.items():
            texts = [_marked(table, row, columns, metric, format) for metric in metrics]
            cells = ["/".join(parts) if set(parts) != {"–"} else "–" for parts in zip(*texts, strict=True)]
            cells = [cell.replace("–", plain("–")).replace("±", plain("±")) for cell in cells]
            rows.append([*map(plain, (*row, *names)), *cells])
    headings = [*table.row_headings(), *(["metric"] if () not in lines else [])]
    return TextTable([*map(plain, [*headings, *(_heading(column, format) for column in columns)])], rows)


def _heading(column: Column, format: str) -> str:
    return f"{column.name}† [{column.source}]" if format == "latex" and column.source else str(column)


def _marked(table: Table, row: Row, columns: Sequence[Column], metric: str, format: str) -> list[str]:
    """A row's figures and their spread, the best and the second of ours marked, by the digits shown; ties alike."""
    figures = [(column, table.figure_text(metric, table.value(row, column, metric))) for column in columns]
    ours = {float(text) for column, text in figures if not column.source and text != "–"}
    ranked = sorted(ours, reverse=table.conventions[metric].higher_is_better)
    marks = dict(zip(ranked, _MARKS[format], strict=False))
    return [
        text
        if column.source or text == "–"
        else marks.get(float(text), "{}").format(text)
        + _plus_minus(table.figure_text(metric, table.spread(row, column, metric)))
        for column, text in figures
    ]


def _record_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Numbers as text: thousands separated, no more digits than mean something."""

    def text(value: str | float | None) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return "–"
        if float(value).is_integer() or value >= 100:
            return f"{value:,.0f}"
        return f"{value:.3g}" if value < 1 else f"{value:.2f}"

    rows = [[text(value) for value in record.values()] for record in records]
    return TextTable([*records[0]] if records else [], rows)


def _markdown(table: TextTable) -> str:
    return tabulate(table.rows, table.headings, "github", disable_numparse=True) if table.rows else ""


def _booktabs(table: TextTable, caption: str, label: str) -> str:
    """A LaTeX table; headings, cells and caption are LaTeX already."""
    import pandas as pd

    cells = pd.DataFrame(table.rows, columns=table.headings)
    return cells.to_latex(index=False, escape=False, caption=caption, label=label, position="tbp")


def _latex(text: str) -> str:
    return text.translate(_LATEX)
