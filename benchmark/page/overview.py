"""What the page shows of a protocol at once: the figures of its table with their marks, its claims and its caption."""

from __future__ import annotations

from typing import Any

from ..reporting.caption import table_caption
from ..reporting.claims import METHODS, NETWORKS, claims, claims_caption
from ..reporting.contrast_tables import claim_table
from ..reporting.differences import DEFAULT
from ..reporting.grid import MarkedText, column_heading, row_figures
from ..reporting.table import METHOD_CHANGED, Column, Row, Table


def overview(table: Table) -> dict[str, Any]:
    """The overview as plain data: rows, columns and metrics are lists, everything else names them by their index."""
    protocol, caption = table.view.protocol, table_caption(table)
    return {
        "folder": protocol.folder,
        "version": protocol.version,
        "digest": protocol.digest,
        "description": protocol.description,
        "dataset": protocol.dataset,
        "rowHeadings": table.row_headings(),
        "rows": [list(row) for row in table.rows],
        "labels": table.labels,
        "columns": [_column(table, column) for column in table.columns],
        "metrics": [_metric(table, metric) for metric in table.metrics],
        "figures": [[_figures(table, row, metric) for row in table.rows] for metric in table.metrics],
        "baseline": DEFAULT if DEFAULT in table.labels else None,
        "absent": _absent(table),
        "caption": {"title": caption.title, "key": caption.key, "details": caption.details},
        "claims": _claims(table),
        "words": {"networks": NETWORKS, "methods": METHODS},
    }


def _column(table: Table, column: Column) -> dict[str, Any]:
    heading = column_heading(table, column)
    return {"name": column.name, "source": column.source, "raised": heading.raised}


def _metric(table: Table, metric: str) -> dict[str, Any]:
    convention = table.conventions[metric]
    return {
        "name": metric,
        "text": table.metric_text(metric),
        "unit": convention.unit,
        "decimals": convention.decimals,
        "higher": convention.higher_is_better,
        "signature": table.signature(metric),
    }


def _figures(table: Table, row: Row, metric: str) -> list[dict[str, Any]]:
    columns = table.columns
    marked = row_figures(table, row, columns, metric)
    return [_figure(table, row, *pair, metric) for pair in zip(columns, marked, strict=True)]


def _figure(table: Table, row: Row, column: Column, marked: MarkedText, metric: str) -> dict[str, Any]:
    return {
        "value": table.value(row, column, metric),
        "text": marked.text,
        "spread": marked.spread,
        "sd": table.spread(row, column, metric),
        "raised": marked.raised,
        "best": marked.bold,
        "seeds": 0 if column.source else len(table.records.get((row, column.name), [])),
    }


def _absent(table: Table) -> list[dict[str, Any]]:
    """The cells without a figure, and those whose method has changed since."""
    return [
        {
            "reason": reason,
            "text": text,
            "row": table.rows.index(place[0]) if place else None,
            "label": place[1] if place else None,
            "shown": reason == METHOD_CHANGED,
        }
        for reason, texts in table.absent.items()
        for text, place in texts.items()
    ]


def _claims(table: Table) -> dict[str, Any] | None:
    """The contrasts that the protocol fixed, as `bench table` prints them; None where it fixed none."""
    family = claims(table)
    if not family:
        return None
    text, (title, *statements) = claim_table(table, family), claims_caption(table)
    return {
        "title": title,
        "headings": list(text.headings),
        "lines": [list(line) for line in text.rows],
        "pairs": [[claim.contrast.first, claim.contrast.second] for claim in family],
        "statements": statements,
    }
