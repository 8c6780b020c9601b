"""Every pair of a protocol's columns: both claims in every row and metric, and what `bench compare` says of it."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

from ..errors import BenchError
from ..reporting.claims import Claim, verdict_text
from ..reporting.compare import compare, family_statement
from ..reporting.contrasts import ColumnScores, Contrast, column_scores, contrast
from ..reporting.statistics import Estimate
from ..reporting.table import Table


def column_pairs(table: Table) -> list[tuple[str, str]]:
    """All pairs of our columns, each once: as the protocol's contrasts name it, else in the table's order."""
    fixed = table.view.protocol.claims
    return [pair[::-1] if pair[::-1] in fixed else pair for pair in combinations(table.labels, 2)]


def pairs_content(table: Table, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The pairs as plain data, the first column minus the second one; by metric, row and pair."""
    return {
        "pairs": [list(pair) for pair in pairs],
        "estimates": [_estimates(table, metric, pairs) for metric in table.metrics],
        "comparisons": [_comparison(table, pair) for pair in pairs],
    }


def _estimates(table: Table, metric: str, pairs: list[tuple[str, str]]) -> list[list[dict[str, Any] | None]]:
    by_row = list[list[dict[str, Any] | None]]()
    for row in table.rows:
        columns = {label: column_scores(table, row, label, metric) for label in table.labels}
        by_row.append([_estimate(table, columns[first], columns[second]) for first, second in pairs])
    return by_row


def _estimate(table: Table, first: ColumnScores | None, second: ColumnScores | None) -> dict[str, Any] | None:
    if first is None or second is None:
        return None
    try:
        return _contrast(contrast(first, second, [], table.view.protocol.independent))
    except BenchError as error:  # other subjects
        return {"mean": math.nan, "why": str(error)}


def _contrast(item: Contrast) -> dict[str, Any]:
    estimates = {"networks": item.networks, "method": item.method}
    intervals = {name: _interval(estimate) for name, estimate in estimates.items() if estimate}
    return {"mean": item.mean, **intervals, **({"why": item.why} if item.why else {})}


def _interval(estimate: Estimate) -> list[float]:
    return [*estimate.interval]


def _comparison(table: Table, pair: tuple[str, str]) -> dict[str, Any]:
    """`bench compare` of a pair, in the primary metric; where it refuses, why."""
    try:
        comparison = compare(table, table, pair)
    except BenchError as error:
        return {"why": str(error)}
    return {
        "rows": [_claim(table, claim) for claim in comparison.rows],
        "pooled": _claim(table, comparison.pooled),
        "family": family_statement(comparison),
        "fixed": comparison.fixed,
    }


def _claim(table: Table, claim: Claim) -> dict[str, Any]:
    item = claim.contrast
    return {
        "rows": [table.rows.index(row) for row in item.rows],
        **_contrast(item),
        "verdict": claim.verdict,
        "text": verdict_text(table, claim),
        "subjects": len(item.subjects),
        "seeds": [list(seeds) for seeds in item.seeds],
    }
