"""Two columns, of one results folder or of two: both claims for every row and over all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BenchError, UsageError, did_you_mean
from .claims import Claim, claims, judged, verdict_text
from .contrasts import Contrast, column_scores, contrast, pooled_contrast
from .statistics import Estimate
from .table import Row, Table


@dataclass(frozen=True)
class ColumnComparison:
    """Column `labels[0]` of the first table minus column `labels[1]` of the second, in the primary metric."""

    tables: tuple[Table, Table]
    labels: tuple[str, str]
    rows: list[Claim]
    """One family: every row in which both have figures."""
    pooled: Claim
    fixed: bool
    """Whether the protocol fixed this contrast beforehand; `pooled` is then judged in the protocol's family."""


def compare(first: Table, second: Table, labels: tuple[str, str], rows: Sequence[str] = ()) -> ColumnComparison:
    """Compare two columns in the requested rows, e.g. 'T1 x2'; default all.

    Raises UsageError for an unknown label or row, BenchError where the two cannot be compared: they have no row in
    common, other conventions, or other test data.
    """
    _demand_same_conventions(first, second)
    common = chosen_rows(first, second, labels, rows)
    contrasts = [_row_contrast(first, second, labels, row) for row in common]
    pooled = pooled_contrast(first, second, labels, common)
    fixed = _fixed_claim(first, labels) if first is second and not rows else None
    return ColumnComparison(
        (first, second), labels, judged(first, contrasts), fixed or judged(first, [pooled])[0], fixed is not None
    )


def as_json(comparison: ColumnComparison) -> dict[str, Any]:
    """The comparison as plain data; what is not known is null."""
    table = comparison.tables[0]
    return {
        "protocol": table.view.protocol.folder,
        "metric": table.metrics[0],
        "a": comparison.labels[0],
        "b": comparison.labels[1],
        "rows": [{"row": " ".join(claim.contrast.rows[0]), **_claim_json(claim)} for claim in comparison.rows],
        "pooled": {
            "rows": [" ".join(row) for row in comparison.pooled.contrast.rows],
            **_claim_json(comparison.pooled),
            "fixed_beforehand": comparison.fixed,
        },
    }


def statements(comparison: ColumnComparison) -> list[str]:
    """What the figures are of, and how they were judged."""
    table, pooled = comparison.tables[0], comparison.pooled
    listed = [claim.contrast for claim in comparison.rows]
    seeds = [sorted({seed for item in listed for seed in item.seeds[side]}) for side in (0, 1)]
    subjects = dict.fromkeys(subject for item in listed for subject in item.subjects)
    return [
        *(f"{label}: seeds {', '.join(map(str, own))}" for label, own in zip(comparison.labels, seeds, strict=True)),
        f"Subjects: {len(subjects)} ({', '.join(subjects)})",
        f"{family_statement(comparison)}. Over rows: {verdict_text(table, pooled)}",
    ]


def family_statement(comparison: ColumnComparison) -> str:
    """Of which families the verdicts are."""
    rows = len(comparison.rows)
    judged_rows = f"Verdicts of the {rows} rows are one family (Holm at 5 %)" if rows > 1 else "One row"
    if comparison.fixed:
        claimed = len(comparison.tables[0].view.protocol.claims)
        return f"{judged_rows}; the verdict over rows is that of the protocol's {claimed} fixed contrasts"
    return (
        f"{judged_rows}; the protocol did not fix this contrast beforehand: its verdict over rows is of this one pair "
        "alone"
    )


def _claim_json(claim: Claim) -> dict[str, Any]:
    item, method = claim.contrast, claim.contrast.method
    return {
        "a": item.first,
        "b": item.second,
        "networks": {**estimate_json(item.networks, item.mean), "n": len(item.subjects)},
        "method": method
        and {**estimate_json(method, item.mean), "df": method.df, "seeds": [len(seeds) for seeds in item.seeds]},
        "verdict": claim.verdict,
        "why": item.why or None,
        "equivalent": claim.equivalent,
        "subjects": list(item.subjects),
        "seeds": [list(seeds) for seeds in item.seeds],
    }


def estimate_json(estimate: Estimate | None, mean: float) -> dict[str, float | None]:
    """A difference and its interval as plain data; what is not known is null."""
    low, high = estimate.interval if estimate else (math.nan, math.nan)
    figures = {"mean": mean, "low": low, "high": high}
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _row_contrast(first: Table, second: Table, labels: tuple[str, str], row: Row) -> Contrast:
    scores = [
        column_scores(table, row, label, first.metrics[0]) for table, label in zip((first, second), labels, strict=True)
    ]
    assert scores[0] is not None
    assert scores[1] is not None
    return contrast(scores[0], scores[1], [row], first.view.protocol.independent)


def _fixed_claim(table: Table, labels: tuple[str, str]) -> Claim | None:
    """The protocol's own claim about this pair, in its family; None where it fixed none in this direction."""
    return next((claim for claim in claims(table) if (claim.contrast.first, claim.contrast.second) == labels), None)


def chosen_rows(first: Table, second: Table, labels: tuple[str, str], requested: Sequence[str]) -> list[Row]:
    """The requested rows, by default all, where both columns have figures.

    Raises UsageError for a column or row that is not known, BenchError where there is no such row.
    """
    for table, label in zip((first, second), labels, strict=True):
        if label not in table.labels:
            raise UsageError(f"{_place(table)} has no column '{label}'. {did_you_mean(label, table.labels)}")
    names = {" ".join(row): row for row in first.rows}
    if unknown := [name for name in requested if name not in names]:
        raise UsageError(f"{_place(first)} has no row '{unknown[0]}'. {did_you_mean(unknown[0], names)}")
    wanted = [names[name] for name in requested] or first.rows
    common = [row for row in wanted if (row, labels[0]) in first.records and (row, labels[1]) in second.records]
    if not common:
        raise BenchError(f"{labels[0]} and {labels[1]} have figures in no common row; see: bench status")
    for row in common:
        digests = {
            table.records[row, label][0].test_data_digest for table, label in zip((first, second), labels, strict=True)
        }
        if len(digests) > 1:
            raise BenchError(
                f"{' '.join(row)}: the two columns were scored on different test data; nothing can be compared"
            )
    return common


def _demand_same_conventions(first: Table, second: Table) -> None:
    signatures = [table.signature(table.metrics[0]) for table in (first, second)]
    if signatures[0] != signatures[1]:
        raise BenchError(f"figures of different conventions cannot be compared: {' and '.join(signatures)}")


def _place(table: Table) -> str:
    return f"the table of '{table.view.protocol.folder}'"
