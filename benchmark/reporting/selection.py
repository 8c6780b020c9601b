"""A part of a table: some rows and columns are shown, and what is claimed stays that of the whole table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..errors import UsageError, did_you_mean
from ..replication import published as papers
from .table import Row, Table


def select(table: Table, labels: Sequence[str] = (), rows: Sequence[str] = (), scales: Sequence[str] = ()) -> Table:
    """The table with these columns, in this order, and these rows, in the table's own order; empty: all.

    `rows`: contrasts, or whole rows such as 'T1 x2'; `scales`: '2', 'x2' or '4x1x1'. Letters, bold figures, contrasts
    fixed beforehand and Pareto marks are those of the whole table: who hides a column gains no claim. Raises UsageError
    for a name that the table lacks, and where no row is left.
    """
    if not (labels or rows or scales):
        return table
    names = {" ".join(row): row for row in table.rows}
    contrasts, known_scales = ({row[place] for row in table.rows} for place in (-2, -1))
    scales = [scale if scale.startswith("x") else f"x{scale}" for scale in scales]
    _demand_known("column", labels, table.labels)
    _demand_known("row", rows, [*contrasts, *names])
    _demand_known("scale", scales, known_scales)
    kept = [
        row
        for name, row in names.items()
        if (not rows or name in rows or row[-2] in rows) and (not scales or row[-1] in scales)
    ]
    if not kept:
        raise UsageError(f"no row is both in {', '.join(rows)} and in {', '.join(scales)}. Rows: {', '.join(names)}")
    return _part(table, list(dict.fromkeys(labels)) or table.labels, kept)


def selection_statements(table: Table) -> list[str]:
    """Which columns and rows are hidden, and that claims are of all; nothing for a whole table."""
    whole = table.whole
    hidden = [label for label in whole.labels if label not in table.labels]
    parts = []
    if hidden:
        parts.append(f"{len(table.labels)} of {len(whole.labels)} columns (not shown: {', '.join(hidden)})")
    if len(table.rows) < len(whole.rows):
        parts.append(f"{len(table.rows)} of {len(whole.rows)} rows")
    if not parts:
        return []
    return [
        f"Shown: {' and '.join(parts)}. Letters, bold figures and Pareto marks are of all {len(whole.labels)} columns "
        "of a row, contrasts fixed beforehand of all rows."
    ]


def _demand_known(noun: str, names: Sequence[str], known: Collection[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"the table has no {noun} '{unknown[0]}'. {did_you_mean(unknown[0], known)}")


def _part(table: Table, labels: list[str], rows: list[Row]) -> Table:
    methods = {papers.METHODS.get(label) for label in labels}
    absent = {
        reason: {text: cell for text, cell in cells.items() if cell is None or (cell[0] in rows and cell[1] in labels)}
        for reason, cells in table.absent.items()
    }
    return replace(
        table,
        rows=rows,
        labels=labels,
        records={key: records for key, records in table.records.items() if key[0] in rows and key[1] in labels},
        quotes={key: quote for key, quote in table.quotes.items() if key[0] in rows and key[1].name in methods},
        absent={reason: cells for reason, cells in absent.items() if cells},
        selected_from=table.whole,
    )
