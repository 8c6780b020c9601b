"""Training loss and validation PSNR over the training, two panels a row of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import BenchError
from ..reporting.budget import training_pixels
from ..reporting.shown_cells import shown_cells
from ..reporting.table import Table
from ..store.record import DoneRecord, RecipeMark
from ..store.series import TrainingCurve, read_curve
from .axes import log_axis, plain_axis
from .labels import short_names
from .panels import absences, finish, grid, left_out, marked_line, read_cells
from .picture import Picture
from .style import look, styled

Position = Literal["steps", "pixels"]
POSITIONS: dict[Position, str] = {"steps": "training step", "pixels": "LR pixels in all batches so far"}
"""What the curves can be drawn over → the title of the axis."""
_POINTS = 40
"""Most points of a line of losses: a single row of train.csv is noise."""
_FALL = 2.0
"""A validation that lies below the range of all lines by more than so many times this range is cut off."""

Seeds = Sequence[tuple[DoneRecord, TrainingCurve]]


@dataclass(frozen=True, eq=False)
class Line:
    """One figure of the trainings of a column, at the points that all seeds have."""

    label: str
    positions: np.ndarray
    """(points,): steps or LR pixels."""
    values: np.ndarray
    """(seeds, points)"""

    @property
    def mean(self) -> np.ndarray:
        mean: np.ndarray = self.values.mean(axis=0)
        return mean


def draw(table: Table, over: Position = "steps") -> Picture:
    """Loss and validation PSNR over steps, or over LR pixels (`reporting.budget.training_pixels`).

    A line is the mean over seeds, its band reaches from the least to the greatest. There is no line for bicubic or
    linear: validation PSNR is of crops of the validation subjects, and no record holds theirs, nor that of step 0. A
    self-ensemble has the curve of its plain label. Curves that are absent or damaged are left out and named below.
    Raises BenchError where no cell has a curve.
    """
    networks = (cell for cell in shown_cells(table) if cell.record.resolved.recipe and not cell.label.endswith("+"))
    curves, problems = read_cells(networks, read_curve)
    if not curves:
        raise BenchError(
            f"no cell of '{table.view.protocol.folder}' has a training curve: only networks that the suite's loop has "
            "trained have one. Train one with: bench run"
        )
    rows = [row for row in table.rows if any(row == known for known, _ in curves)]
    names, handles, falls = short_names(table.labels), dict[str, Any](), list[str]()
    with styled():
        from matplotlib.figure import Figure

        lines, columns, width = grid(len(rows))
        figure = Figure(figsize=(width, 2.9 * lines))
        panels = figure.subplots(2 * lines, columns, squeeze=False)
        for number in range(lines * columns):
            line, column = divmod(number, columns)
            above, below = panels[2 * line : 2 * line + 2, column]
            if number >= len(rows):
                above.remove()
                below.remove()
                continue
            own = {label: seeds for (row, label), seeds in curves.items() if row == rows[number]}
            scales = {label: _per_step(seeds[0][0], over) for label, seeds in own.items()}
            series = {label: [curve for _, curve in seeds] for label, seeds in own.items()}
            losses = [loss_line(label, seeds, scales[label]) for label, seeds in series.items()]
            validations = [validation_line(label, seeds, scales[label]) for label, seeds in series.items()]
            handles |= _panel(above, table, losses)
            handles |= _panel(below, table, validations)
            falls += [f"{name} {' '.join(rows[number])}" for name in _cut_falls(below, validations)]
            above.set_title(" ".join(rows[number]))
            above.set_ylabel(f"training loss ({', '.join(_losses(own))})")
            below.set_ylabel("validation PSNR (dB)")
            below.set_xlabel(POSITIONS[over])
            log_axis(above.yaxis, [value for line in losses for value in line.values.flat])
            for axes in (above, below):
                plain_axis(axes.xaxis)
                axes.set_xlim(left=0)
        legend = {names[label]: handles[label] for label in table.labels if label in handles}
        notes = [*left_out("Falls below the panel", falls), *left_out("No curve", problems), *absences(table)]
        finish(figure, legend, notes)
    shown = tuple(record for seeds in curves.values() for record, _ in seeds)
    return Picture(figure, f"Training loss and validation PSNR over {POSITIONS[over]}", table, shown)


def loss_line(label: str, seeds: Sequence[TrainingCurve], per_step: float = 1) -> Line:
    """Every point is the mean loss of all steps since the point before it. `per_step`: positions that a step takes."""
    steps = _common_steps([curve.steps for curve in seeds])
    ends = steps[::-1][:: -(-len(steps) // _POINTS) or 1][::-1]
    means = []
    for curve in seeds:
        counts = np.where(np.isfinite(curve.losses), np.diff(curve.steps, prepend=0), 0)
        totals = np.cumsum(np.where(counts, counts * curve.losses, 0))
        rows = np.searchsorted(curve.steps, ends)
        with np.errstate(invalid="ignore"):
            means.append(np.diff(totals[rows], prepend=0) / np.diff(np.cumsum(counts)[rows], prepend=0))
    return _line(label, ends, means, per_step)


def validation_line(label: str, seeds: Sequence[TrainingCurve], per_step: float = 1) -> Line:
    """The PSNR of the validations that all seeds have. `per_step`: positions that a step takes."""
    steps = _common_steps([curve.steps[np.isfinite(curve.psnr)] for curve in seeds])
    values = [curve.psnr[np.searchsorted(curve.steps, steps)] for curve in seeds]
    return _line(label, steps, values, per_step)


def _common_steps(steps: Sequence[np.ndarray]) -> np.ndarray:
    """Those of all seeds, ascending."""
    return np.array(sorted(set.intersection(*(set(own.tolist()) for own in steps))), dtype=int)


def _line(label: str, steps: np.ndarray, values: Sequence[np.ndarray], per_step: float) -> Line:
    """The line without the points at which a seed has no figure."""
    stacked = np.stack(values)
    finite = np.isfinite(stacked).all(axis=0)
    return Line(label, steps[finite] * per_step, stacked[:, finite])


def _per_step(record: DoneRecord, over: Position) -> float:
    return training_pixels(record.resolved) / _recipe(record).steps if over == "pixels" else 1


def _recipe(record: DoneRecord) -> RecipeMark:
    """The recipe of a cell that the loop trained."""
    assert record.resolved.recipe is not None
    return record.resolved.recipe


def _panel(axes: Any, table: Table, lines: Sequence[Line]) -> dict[str, Any]:
    """Draw the lines of a panel; label → handle for the legend."""
    handles = {}
    for number, line in enumerate(lines):
        own = look(table.labels.index(line.label))
        handles[line.label] = marked_line(axes, line.positions, line.mean, own, number / max(1, len(lines)))
        low, high = line.values.min(axis=0), line.values.max(axis=0)
        axes.fill_between(line.positions, low, high, color=own.colour, alpha=0.2, linewidth=0)
    return handles


def _cut_falls(axes: Any, lines: Sequence[Line]) -> list[str]:
    """Let the panel end above deep falls, which would flatten all else. Returns the labels that are cut off."""
    drawn = [line for line in lines if line.values.size]
    if not drawn:
        return []
    usual = np.concatenate([np.quantile(line.values, (0.1, 1)) for line in drawn])
    low, high = usual.min(), usual.max()
    cut = [line.label for line in drawn if line.values.min() < low - _FALL * (high - low)]
    if cut:
        axes.set_ylim(low - 0.5 * (high - low), high + 0.1 * (high - low))
    return cut


def _losses(seeds: Mapping[str, Seeds]) -> list[str]:
    """The names of the losses, each once."""
    return list(dict.fromkeys(_recipe(own[0][0]).loss for own in seeds.values()))
