"""What quality costs: parameters, multiply-accumulates, hours, milliseconds and memory, from records alone.

Pareto marks are by multiply-accumulates, never by seconds, which are of a machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..store.record import DoneRecord
from .budget import grouped
from .statistics import mean, spread
from .table import Row, Table

CostKind = Literal["macs", "parameters"]
"""What quality may cost: a field of `Efficiency`."""
_ENSEMBLE = 8
"""Forward passes of a self-ensemble (`self_ensemble`)."""
_LR_SIDE = 24
"""Side of the LR patch for which a record holds the MACs."""


@dataclass(frozen=True)
class Efficiency:
    """The quality of a cell and what it took."""

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
    hours: float | None
    """Hours of one fit, the mean over seeds; None for a method that is not fitted."""
    slice_seconds: float | None
    """Seconds to upscale one HR slice, the mean over seeds; None where the number of slices is not recorded."""
    memory: int
    """Peak memory in bytes, the largest of all seeds."""
    optimal: bool | None = None
    """Pareto-optimal: nothing in its row is as good at a lower cost, or better at the same. None without a cost."""

    def cost(self, kind: CostKind) -> int | None:
        """The MACs or the parameters; None where they are not known."""
        return self.macs if kind == "macs" else self.parameters


def inference_macs(label: str, record: DoneRecord) -> int | None:
    """The count of `complexity.count_macs` for one LR patch of 24×24, eight times that for a self-ensemble."""
    return None if record.macs_lr24 is None else record.macs_lr24 * (_ENSEMBLE if label.endswith("+") else 1)


def training_macs(record: DoneRecord) -> float | None:
    """An estimate: three forward passes (one forward, two for the gradients) × steps × batch × pixels of a patch.

    The forward pass is that of LR 24×24, scaled by the pixels of the recipe's patch; attention grows faster than that.
    """
    counted, recipe = record.macs_lr24, record.resolved.recipe
    if counted is None or recipe is None:
        return None
    return float(3 * counted * recipe.steps * recipe.batch * recipe.lr_patch**2 / _LR_SIDE**2)


def efficiencies(table: Table, kind: CostKind = "macs") -> list[Efficiency]:
    """Every figure of ours that is shown: rows in the table's order, in a row by cost, those without one last.

    What is Pareto-optimal is so among all columns of the row, shown or not.
    """
    cells = [cell for row in table.rows for cell in _with_optimal(table, _row_efficiencies(table.whole, row), kind)]
    shown = [cell for cell in cells if cell.label in table.labels]
    return sorted(shown, key=lambda cell: (table.rows.index(cell.row), _rank(cell.cost(kind))))


def _row_efficiencies(table: Table, row: Row) -> list[Efficiency]:
    cells = []
    for label in table.labels:
        if records := table.records.get((row, label)):
            scores, first = [record.metrics[table.metrics[0]] for record in records], records[0]
            cells.append(
                Efficiency(
                    row,
                    label,
                    mean(scores),
                    spread(scores),
                    inference_macs(label, first),
                    training_macs(first),
                    first.fit.parameters if first.fit else None,
                    _mean([record.fit.seconds / 3600 for record in records if record.fit]),
                    _mean([seconds for record in records if (seconds := slice_seconds(record)) is not None]),
                    max(record.peak_memory_bytes for record in records),
                )
            )
    return cells


def slice_seconds(record: DoneRecord) -> float | None:
    """Seconds to upscale one HR slice: those of a volume by the slices of the crop; None without a crop."""
    crop = record.resolved.crop
    return record.seconds_per_volume / crop[0] if crop else None


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _rank(cost: int | None) -> float:
    return math.inf if cost is None else cost


def _with_optimal(table: Table, cells: Sequence[Efficiency], kind: CostKind) -> list[Efficiency]:
    """The cells of a row, those with a cost told whether they are Pareto-optimal."""
    sign = -1 if table.conventions[table.metrics[0]].higher_is_better else 1
    points = {
        cell.label: (cost, sign * cell.quality)
        for cell in cells
        if (cost := cell.cost(kind)) is not None and not math.isnan(cell.quality)
    }
    optimal = dict(zip(points, pareto_optimal(list(points.values())), strict=True))
    return [replace(cell, optimal=optimal.get(cell.label)) for cell in cells]


def pareto_optimal(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point: whether no other point is at most as large in both coordinates and smaller in one."""
    return [not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]


def efficiency_caption(table: Table) -> list[str]:
    """What the figures of `efficiencies` are: a title, then statements."""
    cells = efficiencies(table)
    uncounted = list(dict.fromkeys(cell.label for cell in cells if cell.macs is None))
    parts = [
        f"Quality ({table.metrics[0]}) against what it costs, from the same trainings.",
        "MACs: multiply-accumulates (two FLOPs each) to upscale one LR patch of 24×24; eight forward passes for a "
        "self-ensemble. Not counted: the extra cost of attention on a whole slice, and pixels that overlapping tiles "
        "compute twice.",
        "Training MACs: an estimate for one seed, 3 forward passes × steps × batch × LR pixels of a patch, without "
        "validation.",
        f"Training h: hours of one fit, validation included; ms/slice: milliseconds to upscale one HR slice; both are "
        f"means over seeds, and of the machine as much as of the method: {_machines(table)}.",
        "Peak memory: of the process of a cell, on a GPU what torch allocated there; the largest of the seeds.",
        "Pareto: yes where no other method in the row is as good with fewer MACs, or better with as many.",
    ]
    if any(cell.slice_seconds is None for cell in cells):
        parts.append("ms/slice: – where the protocol has no crop, so that the number of slices is not recorded.")
    if uncounted:
        parts.append(f"MACs are not counted for {', '.join(uncounted)}; the Pareto column leaves them out.")
    return parts


def _machines(table: Table) -> str:
    """The devices and CPU threads of fits and of upscaling, e.g. 'AMD EPYC, 1 thread'; by label where they differ."""
    texts = {}
    for label in dict.fromkeys(label for _, label in table.records):
        records = [record for (_, own), records in table.records.items() if own == label for record in records]
        texts[label] = " or ".join(dict.fromkeys(map(_machine, records)))
    return grouped(texts, len(texts)) if texts else "no record"


def _machine(record: DoneRecord) -> str:
    """E.g. 'AMD EPYC, 2 threads', and how many the fit had where that is another number."""
    environment, fit = record.environment, record.fit
    text = f"{environment.device}, {_threads(environment.threads)}"
    if fit and fit.threads and fit.threads != environment.threads:
        return f"{text}, {fit.threads} in the fit"
    return text


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"
