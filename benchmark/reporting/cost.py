"""Quality against computation: the multiply-accumulates behind a table's figures, from records alone. Never seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..store.record import DoneRecord
from .statistics import mean, spread
from .table import Row, Table

_ENSEMBLE = 8
"""Forward passes of a self-ensemble (`self_ensemble`)."""
_LR = 24
"""Side of the LR patch that a record's MACs are of."""


@dataclass(frozen=True)
class Efficiency:
    """What the figure of a cell cost."""

    row: Row
    label: str
    quality: float
    """The primary metric, the mean over seeds."""
    spread: float
    """Its sample standard deviation over seeds; NaN for one seed."""
    macs: int | None
    """Multiply-accumulates of the inference of an LR patch of 24×24; None where nothing was counted."""
    training: float | None
    """Multiply-accumulates of one training, by the rule of `training_macs`; None where the loop did not train."""
    parameters: int | None
    optimal: bool | None = None
    """Pareto-optimal: nothing in its row is as good for fewer MACs, or better for as many. None without MACs."""


def inference_macs(label: str, record: DoneRecord) -> int | None:
    """What `complexity.count_macs` counted for one LR patch of 24×24, eight times that for a self-ensemble."""
    return None if record.macs_lr24 is None else record.macs_lr24 * (_ENSEMBLE if label.endswith("+") else 1)


def training_macs(record: DoneRecord) -> float | None:
    """An estimate: three forward passes (one forward, two for the gradients) × steps × batch × pixels of a patch.

    The forward pass is that of LR 24×24, scaled by the pixels of the recipe's patch; attention grows faster than that.
    """
    counted, recipe = record.macs_lr24, record.resolved.recipe
    if counted is None or recipe is None:
        return None
    return float(3 * counted * recipe.steps * recipe.batch * recipe.lr_patch**2 / _LR**2)


def efficiencies(table: Table) -> list[Efficiency]:
    """Every figure of ours with its cost: rows in the table's order, in them by MACs, those without MACs last."""
    metric = table.metrics[0]
    sign = -1 if table.conventions[metric].higher_is_better else 1
    found = []
    for row in table.rows:
        of_row = []
        for label in table.labels:
            if records := table.values.get((row, label)):
                values, first = [record.metrics[metric] for record in records], records[0]
                macs, training = inference_macs(label, first), training_macs(first)
                parameters = first.fit.parameters if first.fit else None
                of_row.append(Efficiency(row, label, mean(values), spread(values), macs, training, parameters))
        counted = {cost.label: (cost.macs, sign * cost.quality) for cost in of_row if cost.macs is not None}
        optimal = dict(zip(counted, pareto(list(counted.values())), strict=True))
        found += [replace(cost, optimal=optimal.get(cost.label)) for cost in of_row]
    return sorted(found, key=lambda cost: (table.rows.index(cost.row), math.inf if cost.macs is None else cost.macs))


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether no other point is at most as large in both coordinates and smaller in one."""
    return [not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]


def describe(table: Table) -> str:
    """What the figures of `efficiencies` are."""
    uncounted = list(dict.fromkeys(cost.label for cost in efficiencies(table) if cost.macs is None))
    parts = [
        f"Quality ({table.metrics[0]}) against computation, from the same trainings.",
        "MACs: multiply-accumulates (two FLOPs each) that upscale one LR patch of 24×24, in a self-ensemble by eight "
        "forward passes; not counted is what attention costs more on a whole slice, nor what overlapping tiles compute "
        "twice.",
        "Training MACs, of one seed: an estimate, 3 forward passes × steps × batch × LR pixels of a patch, without "
        "validation.",
        "Pareto: nothing in the row is as good for fewer MACs, or better for as many.",
        *([f"No MACs are counted for {', '.join(uncounted)}, which take no part in that."] if uncounted else []),
    ]
    return " ".join(parts)
