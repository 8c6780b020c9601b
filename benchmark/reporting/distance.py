"""How far every column lies from one of them: paired over test subjects, with an interval and the spread over seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import BenchError, UsageError, did_you_mean
from .statistics import LEVEL, RESAMPLES, interval, mean, spread
from .table import Row, Table

DEFAULT = "linear"
"""What a network has to beat (`methods.linear`)."""
NONE = "none"
Scores = dict[int, dict[str, float]]
"""Seed → subject → the primary metric."""


@dataclass(frozen=True)
class Distance:
    """A column less the baseline, in the primary metric. NaN where one of the two has no figure."""

    row: Row
    label: str
    mean: float
    """The mean difference over subjects, whose scores are means over seeds."""
    low: float
    high: float
    """`statistics.interval` of the subjects' differences."""
    subjects: int
    spread: float
    """The sample standard deviation over seeds of the mean difference; NaN for one seed."""


def baseline(table: Table, asked: str | None) -> str | None:
    """The label that `bench table --against` stands for. None: 'none', or nothing asked for and no `linear` there."""
    if asked is None:
        return DEFAULT if DEFAULT in table.labels else None
    if asked != NONE and asked not in table.labels:
        raise UsageError(f"the table has no column '{asked}'. {did_you_mean(asked, [*table.labels, NONE])}")
    return None if asked == NONE else asked


def distances(table: Table, against: str) -> list[Distance]:
    """Every row's and every other label's distance from `against`, in the table's order."""
    found = []
    for row in table.rows:
        base = _scores(table, row, against)
        others = (label for label in table.labels if label != against)
        found += [_distance(row, label, _scores(table, row, label), base) for label in others]
    return found


def _scores(table: Table, row: Row, label: str) -> Scores:
    """Of every record that the table shows."""
    seeds = [record.resolved.seed for record in table.values.get((row, label), [])]
    return {seed: table.scores[row, label][seed][table.metrics[0]] for seed in seeds}


def _distance(row: Row, label: str, own: Scores, base: Scores) -> Distance:
    if not own or not base:
        return Distance(row, label, math.nan, math.nan, math.nan, 0, math.nan)
    one, other = _over_seeds(own), _over_seeds(base)
    if set(one) != set(other):
        strange = ", ".join(sorted(set(one) ^ set(other)))
        raise BenchError(
            f"{label} {' '.join(row)}: subjects that it or the baseline lacks: {strange}; score both again with: "
            "bench score"
        )
    differences = [one[subject] - other[subject] for subject in one]
    low, high = interval(differences)
    # Seeds are paired, since methods share the order of the data; a baseline of one seed stands for every seed.
    alone = other if len(base) == 1 else {}
    pairs = [(of, base.get(seed, alone)) for seed, of in own.items()]
    by_seed = [mean([*of.values()]) - mean([*beside.values()]) for of, beside in pairs if beside]
    return Distance(row, label, mean(differences), low, high, len(differences), spread(by_seed))


def _over_seeds(scores: Scores) -> dict[str, float]:
    """Subject → its mean over seeds. The seeds of a row share their test volumes, and so their subjects."""
    return {subject: mean([of[subject] for of in scores.values()]) for subject in next(iter(scores.values()))}


def describe(table: Table, against: str) -> str:
    """How the figures of `distances` were made and what they say."""
    metric, higher = table.metrics[0], table.conventions[table.metrics[0]].higher_is_better
    return (
        f"Distance from {against}: {metric} less that of {against} on the same subject, mean over subjects "
        f"({'above' if higher else 'below'} 0 is better); a subject's scores are first averaged over seeds. "
        f"In brackets its {100 * LEVEL:.0f} % confidence interval: subjects resampled {RESAMPLES} times, "
        "bias-corrected and accelerated bootstrap (BCa), fixed seed, not corrected for the number of comparisons. "
        "It speaks of other subjects under these trained networks. What another training would give, the SD over seeds "
        "tells: the sample standard deviation of the mean difference, for those of several seeds."
    )
