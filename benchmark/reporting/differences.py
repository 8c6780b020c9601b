"""How much every column differs from a baseline column, by both claims of docs/statistics.md."""

from __future__ import annotations

from ..errors import UsageError, did_you_mean
from .claims import METHODS, NETWORKS
from .contrasts import Contrast, row_contrast
from .table import Table

DEFAULT = "linear"
"""What a network has to beat (`methods.linear`)."""
NONE = "none"


def find_baseline(table: Table, requested: str | None) -> str | None:
    """The label of the baseline for the request of `bench table --against`.

    None for the request 'none', and where nothing is requested and no column `linear` is shown. A requested one need
    not be shown. Raises UsageError for a label that the whole table lacks.
    """
    if requested is None:
        return DEFAULT if DEFAULT in table.labels else None
    known = table.whole.labels
    if requested != NONE and requested not in known:
        raise UsageError(f"the table has no column '{requested}'. {did_you_mean(requested, [*known, NONE])}")
    return None if requested == NONE else requested


def differences(table: Table, baseline: str) -> list[Contrast]:
    """The difference of every shown row and label but `baseline` from it, in the table's order."""
    labels = [label for label in table.labels if label != baseline]
    return [row_contrast(table.whole, row, label, baseline) for row in table.rows for label in labels]


def differences_caption(table: Table, baseline: str) -> list[str]:
    """How the figures of `differences` were made and what they mean: a title, then statements."""
    metric, higher = table.metrics[0], table.conventions[table.metrics[0]].higher_is_better
    return [
        f"Difference from {baseline}: {metric} minus that of {baseline} on the same subject, mean over subjects "
        f"({'above' if higher else 'below'} 0 is better).",
        NETWORKS,
        METHODS,
        "These intervals are not corrected for the number of comparisons; letters are.",
    ]
