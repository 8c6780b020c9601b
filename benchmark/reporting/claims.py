"""What a table may claim: the columns of a row that cannot be told apart, and the contrasts that a protocol fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np

from .contrasts import Contrast, Verdict, column_scores, contrast, pooled_contrast, verdicts
from .statistics import ALPHA, holm
from .table import Row, Table
from .ties import letter_groups


@dataclass(frozen=True)
class Ties:
    """The columns of a row, in one metric, that cannot be told apart."""

    letters: dict[str, str]
    """Label → its letters: columns without a common letter differ. A label without a claim is not in it."""
    best: frozenset[str]
    """The labels that cannot be told from the best figure; empty where the best figure carries no claim."""
    least_gap: float
    """The least difference that the row could show: that of Holm's first step, the median over pairs. NaN: no pair."""


@dataclass(frozen=True)
class Claim:
    """A contrast that was fixed beforehand, and what follows from it."""

    contrast: Contrast
    verdict: Verdict
    equivalent: bool
    """Whether the difference lies within the protocol's bound, whatever the verdict."""


def ties(table: Table, row: Row, metric: str) -> Ties:
    """The tie groups of a row: all pairs of its columns that carry a claim, shown or not, Holm at 5 %."""
    table = table.whole
    scored = [column for label in table.labels if (column := column_scores(table, row, label, metric))]
    columns = [column for column in scored if not np.isnan(column.scores.values).any()]
    sign = -1 if table.conventions[metric].higher_is_better else 1
    ranked = sorted(columns, key=lambda column: sign * float(column.scores.averaged.mean()))
    pairs = combinations([column for column in ranked if not column.why_no_claim], 2)
    contrasts = [contrast(*pair, [row], table.view.protocol.independent) for pair in pairs]
    estimates = {(item.first, item.second): item.method for item in contrasts if item.method is not None}
    if not estimates:
        return Ties({}, frozenset(), math.nan)
    adjusted = holm([estimate.p_value for estimate in estimates.values()])
    differing = [pair for pair, p_value in zip(estimates, adjusted, strict=True) if p_value < ALPHA]
    claiming = [column.label for column in ranked if not column.why_no_claim]
    best = ranked[0].label
    tied = {label for label in claiming if (best, label) not in differing}
    return Ties(
        letter_groups(claiming, differing),
        frozenset(tied if best in claiming else ()),
        median(estimate.least_gap(ALPHA / len(estimates)) for estimate in estimates.values()),
    )


def claims(table: Table) -> list[Claim]:
    """The protocol's contrasts over all complete rows: one family, also those that have no column or no claim yet."""
    whole = table.whole
    return judged(whole, [pooled_contrast(whole, whole, pair, whole.rows) for pair in whole.view.protocol.claims])


def judged(table: Table, contrasts: list[Contrast]) -> list[Claim]:
    """A family of contrasts with its verdicts, in the primary metric."""
    words = verdicts(contrasts, table.conventions[table.metrics[0]].higher_is_better)
    return [Claim(item, word, _is_equivalent(table, item)) for item, word in zip(contrasts, words, strict=True)]


def verdict_text(table: Table, claim: Claim) -> str:
    """E.g. 'better, equivalent within ±0.1', or the reason why nothing is claimed."""
    if claim.verdict == "no claim":
        return claim.contrast.why
    bound = table.view.protocol.equivalence
    return f"{claim.verdict}, equivalent within ±{bound:g}" if claim.equivalent else claim.verdict


def _is_equivalent(table: Table, item: Contrast) -> bool:
    bound = table.view.protocol.equivalence
    return bound is not None and item.method is not None and item.method.is_equivalent(bound)


def ties_statements(table: Table) -> list[str]:
    """What letters and bold figures mean, and what each row could show."""
    if not table.view.protocol.independent:
        return ["Nothing is bold and nothing is claimed: the test subjects are not independent people."]
    metric = table.metrics[0]
    gaps = {" ".join(row): ties(table, row, metric).least_gap for row in table.rows}
    shown = [f"{row} {table.figure_text(metric, gap)}" for row, gap in gaps.items() if not math.isnan(gap)]
    if not shown:
        return ["Nothing is bold: no row has two columns that carry a claim about the method."]
    return [
        "Letters: two columns of a row without a common letter differ as methods, by all pairs of the row (Holm at "
        "5 %); a common letter means not told apart, not equal. Bold: what cannot be told from the best figure of the "
        "row. A column with too few seeds has no letter and is never bold; where it has the best figure, nothing is "
        "bold.",
        f"The least difference that a row could show in {metric} (Holm's first step, median over its pairs): "
        f"{', '.join(shown)}.",
    ]


def claims_caption(table: Table) -> list[str]:
    """How the figures of `claims` were made and what they mean: a title, then statements."""
    protocol, metric = table.view.protocol, table.metrics[0]
    convention = table.conventions[metric]
    statements = [
        f"Contrasts that the protocol fixed beforehand, in {metric}: every figure of a seed and a subject is first "
        "averaged over the rows.",
        NETWORKS,
        METHODS,
        "The verdict is about the methods, by Holm at 5 % over this family, those without a claim included; open: "
        "neither is shown.",
    ]
    if protocol.equivalence is not None:
        distance = f"±{protocol.equivalence:g} {convention.unit}".rstrip()
        statements.append(f"Equivalent within {distance}: two one-sided tests at 5 % (TOST), outside the family.")
    return statements


NETWORKS = (
    "Networks (i): the 95 % interval for these trained networks on other subjects (paired over subjects, seeds "
    "averaged, Student's t)."
)
METHODS = (
    "Methods (ii): the 95 % interval for the methods, trained again with other seeds on the same training subjects and "
    "tested on other subjects; learning rates were fixed beforehand, so neither the choice of rates nor that of the "
    "training set is in it. SE² = s²_A/S_A + s²_B/S_B + s²_d/n, degrees of freedom by Satterthwaite "
    "(docs/statistics.md)."
)
