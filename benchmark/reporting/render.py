"""Tables as Markdown, LaTeX or CSV: what cannot be told from a row's best figure is bold, a quoted figure never."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import data_frames as frames
from .caption import caption_of
from .claims import claims, claims_caption, ties
from .contrast_tables import claim_table, difference_table
from .differences import differences_caption
from .efficiency import efficiencies, efficiency_caption
from .table import Column, Row, Table
from .text_tables import Format, TextTable, booktabs, latex, markdown

_BOLD = {"markdown": "**{}**", "latex": r"\textbf{{{}}}"}
_RAISED = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ𐞥ʳˢᵗᵘᵛʷˣʸᶻ")
"""Letters of ties as they are printed in Markdown."""


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
        views.append((difference_table(table, baseline), differences_caption(table, baseline), "difference"))
    if flops:
        views.append((_efficiency_table(table), efficiency_caption(table), "flops"))
    if format == "markdown":
        statements = "\n".join(f"- {statement}" for statement in caption_of(table).splitlines())
        blocks = [markdown(main), *([markdown(others)] if table.other_metrics else []), statements]
        for view, caption, _ in views:
            blocks += [markdown(view), caption]
        return "\n\n".join([*blocks, markdown(_record_table(frames.record_rows(table)))]) + "\n"
    label = f"tab:{table.view.protocol.name}"
    text = booktabs(main, latex(caption_of(table, "†").replace("\n", " ")), label)
    if table.other_metrics:
        text += "\n" + booktabs(others, rf"The other metrics of table~\ref{{{label}}}.", f"{label}-more")
    for view, caption, name in views:
        escaped = TextTable([*map(latex, view.headings)], [[*map(latex, row)] for row in view.rows])
        text += "\n" + booktabs(escaped, latex(caption), f"{label}-{name}")
    return text


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
    plain: Callable[[str], str] = latex if format == "latex" else str
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
        raised = _raised(letters, format)
        texts.append(text + _plus_minus(table.figure_text(metric, table.spread(row, column, metric))) + raised)
    return texts


def _raised(letters: str, format: str) -> str:
    """Letters of ties above the line; in LaTeX's mathematics a prime is an apostrophe."""
    if format != "latex":
        return letters.translate(_RAISED)
    return f"$^{{{letters.replace('′', chr(39))}}}$" if letters else ""


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
