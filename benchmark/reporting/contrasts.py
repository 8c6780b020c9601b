"""One column minus another: what the two claims of docs/statistics.md say of it, in a row and over rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import BenchError
from .statistics import (
    ALPHA,
    LEAST_SEEDS,
    LEAST_SUBJECTS,
    Estimate,
    SeedScores,
    holm,
    method_estimate,
    networks_estimate,
    paired_estimate,
)
from .table import Row, Table

Verdict = Literal["better", "worse", "open", "no claim"]


@dataclass(frozen=True)
class ColumnScores:
    """A column's figures of one metric, in one row or averaged over rows."""

    label: str
    seeds: tuple[int, ...]
    subjects: tuple[str, ...]
    scores: SeedScores
    """(seeds, subjects)."""
    seeded: bool
    """Whether another seed gives another result (`Method.seeded`)."""
    trainings: tuple[str, ...]
    """The train keys of every seed: a label and its self-ensemble share them."""

    @property
    def why_no_claim(self) -> str:
        """Why these figures carry no claim about the method; '' where they do."""
        if len(self.subjects) < LEAST_SUBJECTS:
            return f"{_counted(len(self.subjects), 'subject')}: no claim"
        if not self.scores.is_finite:
            return "not finite: no claim"
        if self.seeded and len(self.seeds) < LEAST_SEEDS:
            return f"{_counted(len(self.seeds), 'seed')}: no claim"
        return ""


@dataclass(frozen=True)
class Contrast:
    """Column `first` minus column `second`."""

    first: str
    second: str
    rows: tuple[Row, ...]
    """The rows that it is of; where there are several, of the mean over them."""
    mean: float
    """NaN where one of the two has no figure."""
    networks: Estimate | None = None
    """These trained networks on other subjects."""
    method: Estimate | None = None
    """The methods, trained again, on other subjects."""
    why: str = ""
    """Why there is no claim about the methods."""
    subjects: tuple[str, ...] = ()
    seeds: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    """Those of `first` and of `second`."""


def column_scores(table: Table, row: Row, label: str, metric: str) -> ColumnScores | None:
    """A column's figures in a row; None where it has none."""
    records = sorted(table.records.get((row, label), []), key=lambda record: record.resolved.seed)
    if not records:
        return None
    seeds = tuple(record.resolved.seed for record in records)
    by_seed = [table.scores[row, label][seed][metric] for seed in seeds]
    subjects = tuple(sorted(by_seed[0]))
    scores = SeedScores(np.array([[scores[subject] for subject in subjects] for scores in by_seed]))
    trainings = tuple(record.train_key for record in records)
    return ColumnScores(label, seeds, subjects, scores, table.seeded[label], trainings)


def contrast(first: ColumnScores, second: ColumnScores, rows: Sequence[Row], independent: bool) -> Contrast:
    """`first` minus `second`. `independent`: whether subjects are independent people, without which nothing is claimed.

    Raises BenchError where the two were not scored on the same subjects.
    """
    _demand_same_subjects(first, second, rows)
    # An exact prediction is infinite, and infinite minus infinite is no number.
    with np.errstate(invalid="ignore"):
        mean = float((first.scores.averaged - second.scores.averaged).mean())
    plain = Contrast(
        first.label, second.label, tuple(rows), mean, subjects=first.subjects, seeds=(first.seeds, second.seeds)
    )
    if not independent:
        return replace(plain, why="subjects are not independent: no claim")
    if len(first.subjects) < LEAST_SUBJECTS or not (first.scores.is_finite and second.scores.is_finite):
        return replace(plain, why=first.why_no_claim or second.why_no_claim)
    networks = networks_estimate(first.scores, second.scores)
    if why := _fewest_seeds(first, second):
        return replace(plain, networks=networks, why=why)
    share_trainings = (first.seeds, first.trainings) == (second.seeds, second.trainings) and first.seeded
    estimate = (paired_estimate if share_trainings else method_estimate)(first.scores, second.scores)
    return replace(plain, networks=networks, method=estimate)


def row_contrast(table: Table, row: Row, first: str, second: str, metric: str | None = None) -> Contrast:
    """Two columns of a row, by default in the primary metric; without figures where one of the two has none."""
    scores = [column_scores(table, row, label, metric or table.metrics[0]) for label in (first, second)]
    if scores[0] is None or scores[1] is None:
        return Contrast(first, second, (row,), math.nan, why="no figure")
    return contrast(scores[0], scores[1], [row], table.view.protocol.independent)


def pooled_contrast(first: Table, second: Table, labels: tuple[str, str], rows: Sequence[Row]) -> Contrast:
    """A column of a table minus one of another table, or of the same, each averaged over the complete rows.

    Every (seed, subject) is averaged over the rows first: rows share subjects and, by their seeds, chance. Complete is
    a row where both columns have all planned seeds, the same as in the first such row. Subjects that a complete row
    lacks are left out.
    """
    metric = first.metrics[0]
    complete: dict[Row, list[ColumnScores]] = {}
    for row in rows:
        pair = zip((first, second), labels, strict=True)
        scores = [found for table, label in pair if (found := _complete_scores(table, row, label, metric))]
        reference = next(iter(complete.values()), scores)
        if len(scores) == 2 and all(own.seeds == theirs.seeds for own, theirs in zip(scores, reference, strict=True)):
            complete[row] = scores
    if not complete:
        return Contrast(*labels, (), math.nan, why="no complete row")
    columns = [_averaged(parts) for parts in zip(*complete.values(), strict=True)]
    return contrast(columns[0], columns[1], [*complete], first.view.protocol.independent)


def _averaged(parts: Sequence[ColumnScores]) -> ColumnScores:
    """The mean over rows of the figures of one column, for the subjects that all rows have."""
    common = set.intersection(*(set(part.subjects) for part in parts))
    subjects = tuple(subject for subject in parts[0].subjects if subject in common)
    values = [part.scores.values[:, [part.subjects.index(subject) for subject in subjects]] for part in parts]
    trainings = tuple(map(" ".join, zip(*(part.trainings for part in parts), strict=True)))
    return replace(parts[0], subjects=subjects, scores=SeedScores(np.mean(values, axis=0)), trainings=trainings)


def verdicts(contrasts: Sequence[Contrast], higher_is_better: bool) -> list[Verdict]:
    """Of a family of contrasts, each about the methods: better or worse by Holm at 5 %, else open; or no claim.

    A contrast without a claim counts as one of the family: what is not run, or not yet, makes the others no easier.
    """
    adjusted = holm([item.method.p_value if item.method else 1.0 for item in contrasts])
    words: list[Verdict] = []
    for item, p_value in zip(contrasts, adjusted, strict=True):
        if item.method is None:
            words.append("no claim")
        elif p_value < ALPHA:
            words.append("better" if (item.mean > 0) == higher_is_better else "worse")
        else:
            words.append("open")
    return words


def _complete_scores(table: Table, row: Row, label: str, metric: str) -> ColumnScores | None:
    scores = column_scores(table, row, label, metric)
    return scores if scores and set(scores.seeds) == table.seeds[row, label] else None


def _fewest_seeds(first: ColumnScores, second: ColumnScores) -> str:
    """The reason of the column with fewer seeds; '' where both have enough."""
    lacking = [scores for scores in (first, second) if scores.why_no_claim]
    return min(lacking, key=lambda scores: len(scores.seeds)).why_no_claim if lacking else ""


def _demand_same_subjects(first: ColumnScores, second: ColumnScores, rows: Sequence[Row]) -> None:
    if unpaired := sorted(set(first.subjects) ^ set(second.subjects)):
        raise BenchError(
            f"{first.label} and {second.label} were scored on different subjects of {', '.join(map(' '.join, rows))}: "
            f"only one of them has {', '.join(unpaired)}. Score both again with: bench score"
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
