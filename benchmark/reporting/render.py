"""Tables as Markdown, LaTeX or CSV: what cannot be told from a row's best figure is bold, a quoted figure never."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tabulate import tabulate

from . import data_frames as frames
from .caption import caption_of
from .claims import METHODS, NETWORKS, Claim, claims, claims_caption, ties, verdict_text
from .compare import ColumnComparison, statements
from .contrasts import Contrast
from .cross_tests import CrossFigure, CrossTable, cross_caption
from .differences import differences, differences_caption
from .efficiency import efficiencies, efficiency_caption
from .statistics import Estimate
from .table import Column, Row, Table

Format = Literal["markdown", "latex", "csv"]
_BOLD = {"markdown": "**{}**", "latex": r"\textbf{{{}}}"}
_RAISED = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ𐞥ʳˢᵗᵘᵛʷˣʸᶻ")
"""Letters of ties as they are printed in Markdown."""
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
    if claimed := claims(table):
        views.append((claim_table(table, claimed), claims_caption(table), "claims"))
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


def render_cross_tests(cross: CrossTable, format: Format) -> str:
    """The tests on other LR as Markdown, LaTeX (needs the package booktabs) or CSV, which has every digit."""
    if format == "csv":
        return _cross_csv(cross)
    text, caption = _cross_table(cross), cross_caption(cross)
    if format == "markdown":
        statements = "\n".join(f"- {statement}" for statement in caption.splitlines())
        return f"{_markdown(text)}\n\n{statements}\n"
    escaped = TextTable([*map(_latex, text.headings)], [[*map(_latex, row)] for row in text.rows])
    return _booktabs(escaped, _latex(caption.replace("\n", " ")), f"tab:{cross.table.view.protocol.name}-tests")


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


def _difference_table(table: Table, baseline: str) -> TextTable:
    """Every difference as text; the baseline stands in the heading."""
    contrasts = contrast_table(table, differences(table, baseline))
    label, metric = len(table.row_headings()), f"{table.metrics[0]} − {baseline}"
    for row in contrasts.rows:
        row[label] = row[label].removesuffix(f" − {baseline}")
    return TextTable([*table.row_headings(), "method", metric, *contrasts.headings[label + 2 :]], contrasts.rows)


def contrast_table(table: Table, contrasts: Sequence[Contrast]) -> TextTable:
    """Contrasts as text, e.g. 'poan − edsr', '+0.25', '[+0.19, +0.31]', '3 seeds: no claim', '30', '3, 3'."""
    metric, several = table.metrics[0], any(len(contrast.rows) != 1 for contrast in contrasts)

    def number(value: float) -> str:
        text = "–" if math.isnan(value) else f"{value:+.{table.conventions[metric].decimals}f}"
        return text.replace("-", "−")

    def interval(estimate: Estimate | None, why: str) -> str:
        return f"[{', '.join(map(number, estimate.interval))}]" if estimate else why or "–"

    rows = []
    for contrast in contrasts:
        named = [", ".join(map(" ".join, contrast.rows)) or "–"] if several else [*contrast.rows[0]]
        rows.append(
            [
                *named,
                f"{contrast.first} − {contrast.second}",
                number(contrast.mean),
                interval(contrast.networks, ""),
                interval(contrast.method, contrast.why),
                str(len(contrast.subjects)) if contrast.subjects else "–",
                ", ".join(str(len(seeds)) for seeds in contrast.seeds) if contrast.subjects else "–",
            ]
        )
    headings = ["rows"] if several else table.row_headings()
    return TextTable([*headings, "columns", metric, "networks (i)", "methods (ii)", "subjects", "seeds"], rows)


def claim_table(table: Table, family: Sequence[Claim]) -> TextTable:
    """Contrasts with their verdicts as text."""
    contrasts = contrast_table(table, [claim.contrast for claim in family])
    rows = [[*row, verdict_text(table, claim)] for row, claim in zip(contrasts.rows, family, strict=True)]
    return TextTable([*contrasts.headings, "verdict"], rows)


def render_comparison(comparison: ColumnComparison) -> str:
    """`bench compare` as Markdown."""
    table = comparison.tables[0]
    blocks = [_markdown(claim_table(table, comparison.rows))]
    if len(comparison.rows) > 1:
        blocks.append(_markdown(claim_table(table, [comparison.pooled])))
    lines = [*statements(comparison), f"{NETWORKS} {METHODS}"]
    return "\n\n".join([*blocks, "\n".join(f"- {line}" for line in lines)]) + "\n"


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
    """A row's figures with their spread and letters; bold is what cannot be told from the best one of ours."""
    tied = ties(table, row, metric)
    texts = []
    for column in columns:
        text = table.figure_text(metric, table.value(row, column, metric))
        if not column.source and column.name in tied.best:
            text = _BOLD[format].format(text)
        letters = "" if column.source else tied.letters.get(column.name, "")
        raised = rf"$^{{{letters}}}$" if format == "latex" and letters else letters.translate(_RAISED)
        texts.append(text + _plus_minus(table.figure_text(metric, table.spread(row, column, metric))) + raised)
    return texts


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
