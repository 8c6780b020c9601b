"""How much every column differs from a baseline column: paired over test subjects, with an interval and the SD over
seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import BenchError, UsageError, did_you_mean
from .statistics import LEVEL, RESAMPLES, confidence_interval, mean, spread
from .table import Row, Table

DEFAULT = "linear"
"""What a network has to beat (`methods.linear`)."""
NONE = "none"
SeedScores = dict[int, dict[str, float]]
"""Seed → subject → the primary metric."""


@dataclass(frozen=True)
class Difference:
    """A column minus the baseline, in the primary metric. NaN where one of the two has no figure."""

    row: Row
    label: str
    mean: float
    """The mean difference over subjects, whose scores are means over seeds."""
    low: float
    high: float
    """`statistics.confidence_interval` of the subjects' differences."""
    subjects: int
    spread: float
    """The sample standard deviation over seeds of the mean difference; NaN for one seed."""


def find_baseline(table: Table, requested: str | None) -> str | None:
    """The label of the baseline for the request of `bench table --against`.

    None for the request 'none', and where nothing is requested and the table has no column `linear`.
    Raises UsageError for a label that the table lacks.
    """
    if requested is None:
        return DEFAULT if DEFAULT in table.labels else None
    if requested != NONE and requested not in table.labels:
        raise UsageError(f"the table has no column '{requested}'. {did_you_mean(requested, [*table.labels, NONE])}")
    return None if requested == NONE else requested


def differences(table: Table, baseline: str) -> list[Difference]:
    """The difference of every row and every label but `baseline` from it, in the table's order."""
    labels = [label for label in table.labels if label != baseline]
    return [_difference(table, row, label, baseline) for row in table.rows for label in labels]


def _scores(table: Table, row: Row, label: str) -> SeedScores:
    """Of every record that the table shows."""
    seeds = [record.resolved.seed for record in table.records.get((row, label), [])]
    return {seed: table.scores[row, label][seed][table.metrics[0]] for seed in seeds}


def _difference(table: Table, row: Row, label: str, baseline: str) -> Difference:
    own_seeds, base_seeds = _scores(table, row, label), _scores(table, row, baseline)
    if not own_seeds or not base_seeds:
        return Difference(row, label, math.nan, math.nan, math.nan, 0, math.nan)
    own, base = _mean_over_seeds(own_seeds), _mean_over_seeds(base_seeds)
    if set(own) != set(base):
        unpaired = ", ".join(sorted(set(own) ^ set(base)))
        raise BenchError(
            f"{label} {' '.join(row)} and its baseline {baseline} were scored on different subjects: only one of them "
            f"has {unpaired}. Score both again with: bench score"
        )
    by_subject = [own[subject] - base[subject] for subject in own]
    low, high = confidence_interval(by_subject)
    # Seeds are paired, since methods share the order of the data; a baseline of one seed is paired with every seed.
    fallback = base if len(base_seeds) == 1 else {}
    pairs = [(scores, base_seeds.get(seed, fallback)) for seed, scores in own_seeds.items()]
    by_seed = [mean([*scores.values()]) - mean([*paired.values()]) for scores, paired in pairs if paired]
    return Difference(row, label, mean(by_subject), low, high, len(by_subject), spread(by_seed))


def _mean_over_seeds(scores: SeedScores) -> dict[str, float]:
    """Subject → its mean over seeds. The seeds of a row share their test volumes, and so their subjects."""
    subjects = next(iter(scores.values()))
    return {subject: mean([by_subject[subject] for by_subject in scores.values()]) for subject in subjects}


def differences_caption(table: Table, baseline: str) -> str:
    """How the figures of `differences` were made and what they mean."""
    metric, higher = table.metrics[0], table.conventions[table.metrics[0]].higher_is_better
    return (
        f"Difference from {baseline}: {metric} minus that of {baseline} on the same subject, mean over subjects "
        f"({'above' if higher else 'below'} 0 is better). A subject's scores are first averaged over seeds. "
        f"The brackets hold the {100 * LEVEL:.0f} % confidence interval of this mean: the subjects are resampled "
        f"{RESAMPLES} times (bias-corrected and accelerated bootstrap, BCa, with a fixed seed); it is not corrected "
        "for the number of comparisons. The interval is about other subjects with the same trained networks. "
        "The SD over seeds is about other trainings: it is the sample standard deviation of the mean difference, "
        "given where there are several seeds."
    )
