"""What a run would do and need, before it runs: cells, data, hours and memory. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tabulate import tabulate

from ..estimating.costs import RATE, Cost, Costs
from ..estimating.needs import DataNeeds, Folds
from ..planning.cells import Cell, Training
from ..protocol.loading import Loaded
from ..system.units import size_text
from .decisions import ACTING, Decision

_ENSEMBLE = 8


@dataclass
class EstimateRow:
    """A row of the dry run's table: steps with the same action on the same columns at one scale, for all contrasts."""

    action: str
    why: str
    labels: str
    scale: str
    steps: list[Decision] = field(default_factory=list)
    cost: Cost | None = None

    @property
    def cells(self) -> list[Cell]:
        return [step.cell for step in self.steps]

    @property
    def trainings(self) -> list[Training]:
        return list({id(step.training): step.training for step in self.steps}.values())

    @property
    def trains(self) -> bool:
        """Whether something is fitted; otherwise only the test is run."""
        base = any(step.cell == step.training.base for step in self.steps)
        return base and self.action in ("run", "resume")

    @property
    def hours(self) -> float | None:
        """Hours of one of the trainings, with its test as far as that is known; None where nothing is."""
        if self.cost is None or not (self.trains or self.tested):
            return None
        first = [step for step in self.steps if step.training is self.steps[0].training]
        passes = sum((_ENSEMBLE if step.cell == step.training.plus else 1) * _test_sets(step) for step in first)
        return self.trains * self.cost.train_hours + passes * (self.cost.test_hours or 0.0)

    @property
    def tested(self) -> bool:
        """Whether the test is in the hours."""
        return self.cost is not None and self.cost.test_hours is not None

    @property
    def unknown(self) -> bool:
        """Whether there is a network, but no estimate of it."""
        return self.action in ACTING and self.steps[0].training.recipe is not None and self.hours is None


def report(loaded: Loaded, steps: Sequence[Sequence[Decision]], folder: Path | None, costs: Costs) -> str:
    """The text of a dry run: `steps` of each training (`decisions.decide`), data in `folder`."""
    data, rows = DataNeeds(loaded, folder), group(steps)
    for row in rows:
        training = row.steps[0].training
        if row.action in ACTING:
            row.cost = costs.of(training, data.shape(training.base.contrast))
    needed = [(training.base, _folds(training, row)) for row in rows if _acts(row) for training in row.trainings]
    needed += [
        (replace(step.cell, degradation=test.degradation), {"test": loaded.split["test"]})
        for row in rows
        for step in row.steps
        for test in step.tests
    ]
    parts = [
        f"Protocol {loaded.folder}, version {loaded.protocol.version}: {sum(map(len, steps))} cells of {len(steps)} "
        "trainings. This is a dry run: nothing is recorded.",
        "\n".join(data.describe(needed)) if needed else "Nothing is left to do, so no data are needed.",
        _table(rows),
        "\n".join(
            [
                *(f"{row.action} {row.labels} {row.scale}: {row.why}" for row in rows if row.why),
                *costs.failed_probes,
            ]
        ),
        _assumptions(rows, costs) if needed else "",
    ]
    return "\n\n".join(part for part in parts if part)


def group(steps: Iterable[Sequence[Decision]]) -> list[EstimateRow]:
    """Rows in the order of the first step of each; `steps` of each training."""
    rows: dict[tuple[str, ...], EstimateRow] = {}
    for steps_of_training in steps:
        for action, why in dict.fromkeys((step.action, step.why) for step in steps_of_training):
            alike = [step for step in steps_of_training if (step.action, step.why) == (action, why)]
            key = (action, why, ", ".join(step.cell.label for step in alike), alike[0].cell.scale)
            rows.setdefault(key, EstimateRow(*key)).steps += alike
    return list(rows.values())


def _acts(row: EstimateRow) -> bool:
    return row.action in ACTING


def _test_sets(step: Decision) -> int:
    """How many sets of test volumes are upscaled: that of the cell's own degradation, and those of other LR."""
    return (step.action != "test") + len(step.tests)


def _folds(training: Training, row: EstimateRow) -> Folds:
    """Fold → the subjects that a row's steps of a training need."""
    split = training.loaded.split
    if not (row.trains and training.make_method().learns):
        return {"test": split["test"]}
    return {**split, "train": training.loaded.train_subjects(training.train_subjects)}


_SEVERAL: dict[str, Callable[[Cell], str]] = {
    "degradation": lambda cell: cell.degradation.title,
    "seed": lambda cell: str(cell.seed),
}
"""Columns that are shown where a run has several such."""


def _table(rows: Sequence[EstimateRow]) -> str:
    """The table as text, with the totals below."""
    cells = [cell for row in rows for cell in row.cells]
    several = {name: value_of for name, value_of in _SEVERAL.items() if len(set(map(value_of, cells))) > 1}
    columns: dict[str, Callable[[Cell], str]] = {"contrast": lambda cell: cell.contrast, **several}
    table = []
    for row in rows:
        values = [" ".join(dict.fromkeys(map(value_of, row.cells))) for value_of in columns.values()]
        table.append([row.action, row.labels, row.scale, *values, f"{len(row.steps):,}", *_figures(row)])
    for number, (hours, machine) in enumerate(_totals(rows) or [("–", "")]):
        count = "" if number else f"{len(cells):,}"
        table.append(["total", "", "", *("" for _ in columns), count, "", machine, "", hours, ""])
    headings = ["", "method", "scale", *columns, "cells", "training", "hours from", "h each", "hours", "memory"]
    align = ["left"] * (3 + len(columns)) + ["right"] * 2 + ["left"] + ["right"] * 3
    return tabulate(table, headings, tablefmt="plain", disable_numparse=True, colalign=align)


def _total(rows: Sequence[EstimateRow], measured: bool) -> float | None:
    """The hours of all rows of a kind; None where there is none. Measured and counted ones never mix."""
    counted = [row for row in rows if row.cost and row.cost.measured is measured and row.hours is not None]
    return sum((row.hours or 0.0) * len(row.trainings) for row in counted) if counted else None


def _totals(rows: Sequence[EstimateRow]) -> list[tuple[str, str]]:
    """Hours, and of which machine they are."""
    sums = ((_total(rows, True), "this machine"), (_total(rows, False), "assumed GPU"))
    return [(_hours(hours), machine) for hours, machine in sums if hours is not None]


def _figures(row: EstimateRow) -> list[str]:
    """Training, what the hours are from, hours of each and of all, memory."""
    recipe = row.steps[0].training.recipe
    side = f"{recipe.lr_patch}×{recipe.lr_patch}" if recipe else ""
    budget = f"{recipe.steps:,} × {recipe.batch} patches {side}" if recipe and row.trains else "–"
    if row.cost is None or row.hours is None:
        return [budget, "–", *["unknown" if row.unknown else "–"] * 3]
    memory = size_text(row.cost.memory) if row.trains else "–"
    return [budget, str(row.cost), _hours(row.hours), _hours(row.hours * len(row.trainings)), memory]


def _hours(hours: float) -> str:
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:.2g}" if hours >= 0.01 else "<0.01"


def _assumptions(rows: Sequence[EstimateRow], costs: Costs) -> str:
    """What the estimates are made of, and what they leave out."""
    parts = []
    if (hours := _total(rows, True)) is not None:
        parts.append(
            f"Hours from records and probes are hours of this machine ({costs.machine}): {_in_all(hours)}. A record "
            "gives the time of a step and of a test volume, and the peak memory, of an earlier training of the same "
            "method, options, version, factors, batch, LR patch and precision on such a machine; a probe those of "
            "training steps tried now on noise, without validation. Where no test volume was timed, the operations of "
            "the test are assumed to run as fast as those of the training."
        )
    if (hours := _total(rows, False)) is not None:
        parts.append(
            f"Hours from a count are an estimate, not a measurement: {_in_all(hours)} of one GPU that sustains "
            f"{RATE / 1e12:g} TFLOP/s, half of an A100's float32 peak. They count the multiply-accumulates of the "
            "networks: a training step as three forward passes, and the test. Validation, reading and scoring are left "
            "out, and memory is counted from shapes, in float32: weights, gradients, optimiser state and kept copies, "
            "and what the forward pass saves for the largest part of a batch. Kernels need more while they run."
        )
    if parts:
        parts.append("A training that is resumed counts as a whole one.")
    if titles := dict.fromkeys(test.title for row in rows for step in row.steps for test in step.tests):
        parts.append(f"The tests on other LR ({', '.join(titles)}) count like that on a cell's own.")
    if untested := [row for row in rows if row.hours is not None and not row.tested]:
        parts.append(f"Without the test, whose cost is not known: {_names(untested)}.")
    if any(_acts(row) and row.hours is None and not row.unknown for row in rows):
        parts.append("–: no network, and not yet timed on this machine.")
    if unknown := [row for row in rows if row.unknown]:
        parts.append(
            f"unknown, and not in the totals: the network does not run on shapes alone ({_names(unknown)}); "
            "bench run --dry-run --probe tries it."
        )
    return "\n".join(parts)


def _in_all(hours: float) -> str:
    return f"{_hours(hours)} h" + (f", or {hours / 24:,.0f} days," if hours >= 48 else "")


def _names(rows: Sequence[EstimateRow]) -> str:
    return ", ".join(f"{row.labels} {row.scale}" for row in rows)
