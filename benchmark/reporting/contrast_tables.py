"""Differences of columns as tables: from a baseline, of a protocol's claims, and of `bench compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .claims import METHODS, NETWORKS, Claim, verdict_text
from .compare import ColumnComparison, statements
from .contrasts import Contrast
from .control import Control, statement
from .differences import differences
from .statistics import Estimate
from .table import Row, Table
from .text_tables import TextTable, markdown


def difference_table(table: Table, baseline: str) -> TextTable:
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
        named = [_rows_text(table, contrast.rows)] if several else [*contrast.rows[0]]
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


def _rows_text(table: Table, rows: Sequence[Row]) -> str:
    """The rows of a contrast: 'T1 x2, T1 x3', 'all 9 rows' or 'all but PD x4', whichever names fewer."""
    left_out = [row for row in table.whole.rows if row not in rows]
    if len(rows) > 2 and len(left_out) < len(rows):
        return f"all but {', '.join(map(' '.join, left_out))}" if left_out else f"all {len(rows)} rows"
    return ", ".join(map(" ".join, rows)) or "–"


def claim_table(table: Table, family: Sequence[Claim]) -> TextTable:
    """Contrasts with their verdicts as text."""
    contrasts = contrast_table(table, [claim.contrast for claim in family])
    rows = [[*row, verdict_text(table, claim)] for row, claim in zip(contrasts.rows, family, strict=True)]
    return TextTable([*contrasts.headings, "verdict"], rows)


def render_comparison(comparison: ColumnComparison) -> str:
    """`bench compare` as Markdown."""
    table = comparison.tables[0]
    blocks = [markdown(claim_table(table, comparison.rows))]
    if len(comparison.rows) > 1:
        blocks.append(markdown(claim_table(table, [comparison.pooled])))
    lines = [*statements(comparison), f"{NETWORKS} {METHODS}"]
    return "\n\n".join([*blocks, "\n".join(f"- {line}" for line in lines)]) + "\n"


def render_controls(table: Table, controls: Sequence[Control]) -> str:
    """`bench compare` of a column with itself, as Markdown."""
    blocks = [markdown(contrast_table(table, control.splits)) for control in controls]
    lines = [
        *map(statement, controls),
        "A/A control: both halves are one method, and only the chance of their seeds differs. A right claim about "
        "methods ties in nearly every split; a claim about these networks need not, since they do differ.",
        f"{NETWORKS} {METHODS}",
    ]
    return "\n\n".join([*blocks, "\n".join(f"- {line}" for line in lines)]) + "\n"
