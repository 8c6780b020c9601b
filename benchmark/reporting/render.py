"""Tables as Markdown, LaTeX, HTML or CSV: bold is what cannot be told from a row's best figure, never a quoted one."""

from __future__ import annotations

from dataclasses import dataclass

from . import data_frames as frames
from .caption import CaptionLength, table_caption
from .claims import claims, claims_caption
from .contrast_tables import claim_table, difference_table
from .cost_tables import efficiency_table, record_table
from .differences import differences_caption
from .efficiency import efficiency_caption
from .grid import main_grids, other_grids
from .html import document, folded, grid_html, statements_html, text_html
from .latex import best_size, floats, latex, pages, paragraph, prose, tabular, text_table, with_packages
from .latex_layout import choose_layout
from .table import Table
from .text_tables import Format, TextTable, grid_markdown, markdown


@dataclass(frozen=True)
class Extra:
    """A table below the main one."""

    name: str
    """For its label in LaTeX."""
    table: TextTable
    statements: list[str]
    """A title, then what its figures are."""

    def caption(self, length: CaptionLength) -> list[str]:
        """The statements that a caption of that length has."""
        return {"full": self.statements, "short": self.statements[:1], "none": []}[length]


def render_table(
    table: Table,
    format: Format,
    baseline: str | None = None,
    efficiency: bool = False,
    transposed: bool = False,
    length: CaptionLength = "full",
) -> str:
    """The table as Markdown, LaTeX (its first line names the packages it needs), an HTML page, or CSV.

    Metrics beyond those of the main table's cells have a table below it. The contrasts that the protocol fixed, the
    differences from the label `baseline` and, with `efficiency`, what quality costs have tables below that. With
    `transposed`, methods are lines; `length` is that of all captions. CSV holds the figures and a signature.
    """
    if format == "csv":
        return _csv(table, transposed)
    extras = []
    if claimed := claims(table):
        extras.append(Extra("claims", claim_table(table, claimed), claims_caption(table)))
    if baseline:
        statements = differences_caption(table, baseline)
        extras.append(Extra("difference", difference_table(table, baseline), statements))
    if efficiency:
        extras.append(Extra("efficiency", efficiency_table(table), efficiency_caption(table)))
    if format == "latex":
        return _latex(table, extras, transposed, length)
    return (_markdown if format == "markdown" else _html)(table, extras, transposed, length)


def notebook_html(table: Table) -> str:
    """The figures as HTML for a notebook's page, with the short caption, and the full one folded below."""
    caption = table_caption(table)
    below = statements_html(caption.key) + folded("How these figures were made", statements_html(caption.details))
    return _figures_html(table, transposed=False, title=caption.title) + below


def _csv(table: Table, transposed: bool) -> str:
    """The signature is that of the first metric; transposed, that of each line's metric."""
    frame = frames.frame_of(table)
    if transposed:
        frame = frame.T
        signatures = [table.signature(metric.removesuffix(" SD")) for _, metric in frame.index]
    else:
        signatures = [table.signature(table.metrics[0])] * len(frame)
    frame.columns = frame.columns.map(" ".join)
    frame["signature"] = signatures
    return frame.to_csv()


def _markdown(table: Table, extras: list[Extra], transposed: bool, length: CaptionLength) -> str:
    statements = table_caption(table).statements(length)
    blocks = [
        grid_markdown(main_grids(table).choose(transposed)),
        grid_markdown(other_grids(table).choose(transposed)) if table.other_metrics else "",
        "\n".join(f"- {' '.join(statement.splitlines())}" for statement in statements),
    ]
    for extra in extras:
        blocks += [markdown(extra.table), " ".join(extra.caption(length))]
    blocks.append(markdown(record_table(table)))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _html(table: Table, extras: list[Extra], transposed: bool, length: CaptionLength) -> str:
    caption = table_caption(table)
    title, *statements = caption.statements(length) or [""]
    parts = [_figures_html(table, transposed, title), statements_html(statements)]
    for extra in extras:
        title, *statements = extra.caption(length) or [""]
        parts += [text_html(extra.table, title), statements_html(statements)]
    parts.append(text_html(record_table(table), "" if length == "none" else "The records behind the figures."))
    return document(f"{table.view.protocol.folder}: table", "".join(parts))


def _figures_html(table: Table, transposed: bool, title: str) -> str:
    others = grid_html(other_grids(table).choose(transposed)) if table.other_metrics else ""
    return grid_html(main_grids(table).choose(transposed), title) + others


def _latex(table: Table, extras: list[Extra], transposed: bool, length: CaptionLength) -> str:
    """Floats, and the details of a full caption as a paragraph for an appendix; without captions, tabulars alone."""
    label = f"tab:{table.view.protocol.name}"
    layout, main = choose_layout(main_grids(table), transposed)
    caption = table_caption(table, layout.separator, "†")
    set_tables = [(main, layout.size, latex(caption.title), caption.key, label)]
    if table.other_metrics:
        below, others = choose_layout(other_grids(table), transposed)
        title = rf"The other metrics of table~\ref{{{label}}}."
        set_tables.append((others, below.size, title, [], f"{label}-more"))
    for extra in extras:
        text = text_table(extra.table.headings, extra.table.rows)
        title, *notes = extra.caption(length) or [""]
        set_tables.append((text, best_size(text), prose(title), notes, f"{label}-{extra.name}"))
    if length == "none":
        pieces = [(piece, size) for text, size, *_ in set_tables for piece in pages(text, size)]
        parts = [f"{{\\noindent{tabular(*piece).rstrip()}}}\n" for piece in pieces]
    else:
        parts = [floats(*arguments) for arguments in set_tables]
    if length == "full":
        parts.append(paragraph(rf"Table~\ref{{{label}}}.", caption.details))
    return with_packages("\n".join(parts))
