"""The A/A control: a column compared with itself, one half of its seeds against the other. What differs is chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from ..errors import BenchError
from .compare import chosen_rows, estimate_json
from .contrasts import ColumnScores, Contrast, column_scores, contrast
from .statistics import LEAST_SEEDS, Estimate, SeedScores
from .table import Row, Table

MOST_SEEDS = 12
"""With more seeds the first twelve are split: 462 ways."""


@dataclass(frozen=True)
class Control:
    """All ways to split the seeds of one column into two halves, in one row."""

    row: Row
    label: str
    splits: list[Contrast]
    """One half minus the other."""

    @property
    def method_ties(self) -> int:
        """Splits whose interval (ii) holds 0."""
        return sum(_holds_zero(split.method) for split in self.splits)

    @property
    def network_ties(self) -> int:
        """Splits whose interval (i) holds 0."""
        return sum(_holds_zero(split.networks) for split in self.splits)


def controls(table: Table, label: str, rows: Sequence[str] = ()) -> list[Control]:
    """The A/A control of a column, in the requested rows, e.g. 'T1 x2'; default: all in which it has figures.

    Raises UsageError for an unknown label or row, BenchError where a column has too few seeds, or carries no claim.
    """
    return [_control(table, row, label) for row in chosen_rows(table, table, (label, label), rows)]


def statement(control: Control) -> str:
    """What a control shows, e.g. 'T1 x2: of 10 splits, 10 tie by (ii) and 4 by (i).'."""
    return (
        f"{' '.join(control.row)}: of {len(control.splits)} splits, {control.method_ties} tie by (ii) and "
        f"{control.network_ties} by (i)."
    )


def as_json(control: Control) -> dict[str, Any]:
    """A control as plain data."""
    return {
        "row": " ".join(control.row),
        "column": control.label,
        "method_ties": control.method_ties,
        "network_ties": control.network_ties,
        "splits": [
            {
                "seeds": [list(seeds) for seeds in split.seeds],
                "networks": estimate_json(split.networks, split.mean),
                "method": estimate_json(split.method, split.mean),
            }
            for split in control.splits
        ],
    }


def _control(table: Table, row: Row, label: str) -> Control:
    scores = column_scores(table, row, label, table.metrics[0])
    assert scores is not None
    if not scores.seeded:
        raise BenchError(f"'{label}' has no chance: every seed gives the same figures, and nothing can be split")
    if len(scores.seeds) < 2 * LEAST_SEEDS:
        raise BenchError(
            f"{' '.join(row)}: '{label}' has {len(scores.seeds)} of the {2 * LEAST_SEEDS} seeds that a comparison with "
            f"itself needs. Run more: --methods {label} --seeds {','.join(map(str, range(2 * LEAST_SEEDS)))}; or name "
            "two columns"
        )
    splits = [contrast(*halves, [row], table.view.protocol.independent) for halves in _halves(scores)]
    if why := next((split.why for split in splits if split.why), ""):
        raise BenchError(f"{' '.join(row)}: {label}: {why}")
    return Control(row, label, splits)


def _halves(scores: ColumnScores) -> Iterator[tuple[ColumnScores, ColumnScores]]:
    """Every split once: the first seed lies in the first half. Of an odd number of seeds the last one is left out."""
    half = min(len(scores.seeds), MOST_SEEDS) // 2
    for others in combinations(range(1, 2 * half), half - 1):
        first = (0, *others)
        yield _part(scores, first), _part(scores, [index for index in range(2 * half) if index not in first])


def _part(scores: ColumnScores, indices: Sequence[int]) -> ColumnScores:
    """The column as if it had these seeds alone."""
    seeds = tuple(scores.seeds[index] for index in indices)
    return replace(
        scores,
        label=f"{scores.label} {', '.join(map(str, seeds))}",
        seeds=seeds,
        scores=SeedScores(scores.scores.values[list(indices)]),
        trainings=tuple(scores.trainings[index] for index in indices),
    )


def _holds_zero(estimate: Estimate | None) -> bool:
    assert estimate is not None
    low, high = estimate.interval
    return low <= 0 <= high
