"""Tables as Markdown, LaTeX or CSV: the best and the second figure of a row marked, quoted figures never."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tabulate import tabulate

from . import cost, distance, frames
from .caption import caption_of
from .table import Column, Row, Table

Format = Literal["markdown", "latex", "csv"]
_MARKS = {"markdown": ("**{}**", "<u>{}</u>"), "latex": (r"\textbf{{{}}}", r"\underline{{{}}}")}
_LATEX: dict[str, Any] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "<": r"$<$", ">": r"$>$",
    "†": r"$^\dagger$", "±": r"$\pm$", "−": r"$-$",
}  # fmt: skip


@dataclass(frozen=True)
class TextTable:
    """A table of words."""

    headings: list[str]
    rows: list[list[str]]


def render(table: Table, format: Format, against: str | None = None, flops: bool = False) -> str:
    """The table as Markdown, LaTeX (needs the package booktabs) or CSV.

    Metrics beyond those of the main table's cells have a table below it, a line each. So have the distances from the
    label `against` and, with `flops`, quality against multiply-accumulates; CSV holds the figures alone.
    """
    if format == "csv":
        frame = frames.frame_of(table)
        frame.columns = frame.columns.map(" ".join)
        return frame.to_csv()
    main = _figures(table, format, {(): table.main})
    others = _figures(table, format, {(metric,): [metric] for metric in table.others})
    views = []
    if against:
        views.append((_distances(table, against), distance.describe(table, against), "distance"))
    if flops:
        views.append((_costs(table), cost.describe(table), "flops"))
    if format == "markdown":
        blocks = [_markdown(main), *([_markdown(others)] if table.others else []), caption_of(table)]
        for lines, words, _ in views:
            blocks += [_markdown(lines), words]
        return "\n\n".join([*blocks, _markdown(_readable(frames.records_of(table)))]) + "\n"
    label = f"tab:{table.view.protocol.name}"
    text = _booktabs(main, _latex(caption_of(table, "†").replace("\n", " ")), label)
    if table.others:
        text += "\n" + _booktabs(others, rf"The other metrics of table~\ref{{{label}}}.", f"{label}-more")
    for lines, words, name in views:
        escaped = TextTable([*map(_latex, lines.headings)], [[*map(_latex, row)] for row in lines.rows])
        text += "\n" + _booktabs(escaped, _latex(words), f"{label}-{name}")
    return text


def _distances(table: Table, against: str) -> TextTable:
    """Every distance in words, e.g. '+2.25', '[+2.19, +2.31]'."""
    metric = table.metrics[0]

    def shown(value: float, sign: str = "+") -> str:
        return "–" if math.isnan(value) else f"{value:{sign}.{table.conventions[metric].decimals}f}".replace("-", "−")

    lines = [
        [
            *of.row,
            of.label,
            shown(of.mean),
            "–" if math.isnan(of.low) else f"[{shown(of.low)}, {shown(of.high)}]",
            str(of.subjects) if of.subjects else "–",
            shown(of.spread, ""),
        ]
        for of in distance.distances(table, against)
    ]
    names = [f"{metric} − {against}", "95 % interval", "subjects", "SD over seeds"]
    return TextTable([*table.row_names(), "method", *names], lines)


def _costs(table: Table) -> TextTable:
    """Every cost in words, e.g. '787 M'."""
    metric = table.metrics[0]
    optimal = {True: "yes", False: "no", None: "–"}
    lines = [
        [
            *of.row,
            of.label,
            table.shown(metric, of.quality) + _plus_minus(table.shown(metric, of.spread)),
            _count(of.macs),
            _count(of.training),
            _count(of.parameters),
            optimal[of.optimal],
        ]
        for of in cost.efficiencies(table)
    ]
    names = ["MACs (LR 24×24)", "training MACs", "parameters", "Pareto"]
    return TextTable([*table.row_names(), "method", metric, *names], lines)


def _count(number: float | None) -> str:
    """Three digits and a power of a thousand: 787304448 → '787 M'."""
    if number is None:
        return "–"
    mantissa, exponent = f"{number:.2e}".split("e")
    thousands, digits = divmod(int(exponent), 3)
    return f"{float(mantissa) * 10**digits:.{2 - digits}f}{('', ' k', ' M', ' G', ' T', ' P', ' E')[thousands]}"


def _plus_minus(spread: str) -> str:
    """'±0.05', or nothing where there is no spread ('–')."""
    return "" if spread == "–" else f"±{spread}"


def _figures(table: Table, format: str, lines: dict[Row, list[str]]) -> TextTable:
    """For each row of the table a line per item of `lines`: what follows the row's names → the metrics of its cells."""
    plain: Callable[[str], str] = _latex if format == "latex" else str
    printed = any(table.quoted_as(metric) for metrics in lines.values() for metric in metrics)
    columns = [column for column in table.columns if printed or not column.source]
    found = []
    for row in table.rows:
        for beside, metrics in lines.items():
            texts = [_marked(table, row, columns, metric, format) for metric in metrics]
            cells = ["/".join(parts) if set(parts) != {"–"} else "–" for parts in zip(*texts, strict=True)]
            cells = [cell.replace("–", plain("–")).replace("±", plain("±")) for cell in cells]
            found.append([*map(plain, (*row, *beside)), *cells])
    names = [*table.row_names(), *(["metric"] if () not in lines else [])]
    return TextTable([plain(name) for name in [*names, *(_heading(c, format) for c in columns)]], found)


def _heading(column: Column, format: str) -> str:
    return f"{column.name}† [{column.source}]" if format == "latex" and column.source else str(column)


def _marked(table: Table, row: Row, columns: Sequence[Column], metric: str, format: str) -> list[str]:
    """A row's figures and their spread, the best and the second of ours marked, by the digits shown; ties alike."""
    shown = [(column, table.shown(metric, table.value(row, column, metric))) for column in columns]
    ours = {float(text) for column, text in shown if not column.source and text != "–"}
    ranked = sorted(ours, reverse=table.conventions[metric].higher_is_better)
    marks = dict(zip(ranked, _MARKS[format], strict=False))
    return [
        text
        if column.source or text == "–"
        else marks.get(float(text), "{}").format(text)
        + _plus_minus(table.shown(metric, table.spread(row, column, metric)))
        for column, text in shown
    ]


def _markdown(lines: TextTable) -> str:
    return tabulate(lines.rows, lines.headings, "github", disable_numparse=True) if lines.rows else ""


def _readable(records: Sequence[dict[str, Any]]) -> TextTable:
    """Numbers as text: thousands apart, no digits that mean nothing."""

    def text(value: str | float | None) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return "–"
        if float(value).is_integer() or value >= 100:
            return f"{value:,.0f}"
        return f"{value:.3g}" if value < 1 else f"{value:.2f}"

    return TextTable(
        [*records[0]] if records else [], [[text(value) for value in record.values()] for record in records]
    )


def _booktabs(lines: TextTable, text: str, label: str) -> str:
    """A LaTeX table; all words are LaTeX."""
    import pandas as pd

    cells = pd.DataFrame(lines.rows, columns=lines.headings)
    return cells.to_latex(index=False, escape=False, caption=text, label=label, position="tbp")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
