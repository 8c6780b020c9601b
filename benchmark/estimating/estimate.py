"""What a run would do and need, before it runs: cells, data, hours and memory. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from ..planning.cells import Cell, Training
from ..protocol.loading import Loaded
from ..running.decisions import ACTING, Decision
from ..system.units import size_text
from .costs import RATE, Cost, Costs
from .needs import DataNeeds, Folds

_ENSEMBLE = 8


@dataclass
class EstimateRow:
    """Steps that are one to a reader: the same done to the same columns at one scale, for whatever contrasts."""

    action: str
    why: str
    labels: str
    scale: str
    steps: list[Decision] = field(default_factory=list)
    cost: Cost | None = None

    @property
    def trainings(self) -> list[Training]:
        return list({id(step.training): step.training for step in self.steps}.values())

    @property
    def trains(self) -> bool:
        """Whether something is fitted; else only the test is run."""
        base = any(step.cell == step.training.base for step in self.steps)
        return base and self.action in ("run", "resume")

    @property
    def hours(self) -> float | None:
        """Hours of one of the trainings, with its test as far as that is known; None where nothing is."""
        if self.cost is None or not (self.trains or self.tested):
            return None
        of_one = [step for step in self.steps if step.training is self.steps[0].training]
        passes = sum(_ENSEMBLE if step.cell == step.training.plus else 1 for step in of_one)
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
    """All that a dry run says, for people: `steps` of each training (`decisions.decide`), data in `folder`."""
    data, lines = DataNeeds(loaded, folder), group(steps)
    for line in lines:
        training = line.steps[0].training
        if line.action in ACTING:
            line.cost = costs.of(training, data.shape(training.base.contrast))
    needed = [(training.base, _folds(training, line)) for line in lines if _ahead(line) for training in line.trainings]
    parts = [
        f"Protocol {loaded.folder}, version {loaded.protocol.version}: {sum(map(len, steps))} cells of {len(steps)} "
        "trainings. This is a dry run: nothing is recorded.",
        "\n".join(data.lines(needed)) if needed else "Nothing is to be done, so no data are needed.",
        _table(lines),
        "\n".join(
            [
                *(f"{line.action} {line.labels} {line.scale}: {line.why}" for line in lines if line.why),
                *costs.failed_probes,
            ]
        ),
        _assumptions(lines, costs) if needed else "",
    ]
    return "\n\n".join(part for part in parts if part)


def group(steps: Iterable[Sequence[Decision]]) -> list[EstimateRow]:
    """Lines in the order of the first step of each; `steps` of each training."""
    lines: dict[tuple[str, ...], EstimateRow] = {}
    for of in steps:
        for action, why in dict.fromkeys((step.action, step.why) for step in of):
            alike = [step for step in of if (step.action, step.why) == (action, why)]
            key = (action, why, ", ".join(step.cell.label for step in alike), alike[0].cell.scale)
            lines.setdefault(key, EstimateRow(*key)).steps += alike
    return list(lines.values())


def _ahead(line: EstimateRow) -> bool:
    return line.action in ACTING


def _folds(training: Training, line: EstimateRow) -> Folds:
    """Fold → the subjects that a line's steps of a training need."""
    split = training.loaded.split
    if not (line.trains and training.make_method().learns):
        return {"test": split["test"]}
    return {**split, "train": training.loaded.train_subjects(training.train_subjects)}


_SEVERAL: dict[str, Callable[[Cell], str]] = {
    "degradation": lambda cell: cell.degradation.title,
    "seed": lambda cell: str(cell.seed),
}
"""Columns that are shown where a run has several such."""


def _table(lines: Sequence[EstimateRow]) -> str:
    """A row per line, and the totals."""
    cells = [step.cell for line in lines for step in line.steps]
    several = {name: of for name, of in _SEVERAL.items() if len(set(map(of, cells))) > 1}
    named: dict[str, Callable[[Cell], str]] = {"contrast": lambda cell: cell.contrast, **several}
    rows = []
    for line in lines:
        words = [" ".join(dict.fromkeys(of(step.cell) for step in line.steps)) for of in named.values()]
        rows.append([line.action, line.labels, line.scale, *words, f"{len(line.steps):,}", *_figures(line)])
    for number, (hours, where) in enumerate(_totals(lines) or [("–", "")]):
        count = "" if number else f"{len(cells):,}"
        rows.append(["total", "", "", *("" for _ in named), count, "", where, "", hours, ""])
    headings = ["", "method", "scale", *named, "cells", "training", "hours from", "h each", "hours", "memory"]
    align = ["left"] * (3 + len(named)) + ["right"] * 2 + ["left"] + ["right"] * 3
    return tabulate(rows, headings, tablefmt="plain", disable_numparse=True, colalign=align)


def _total(lines: Sequence[EstimateRow], measured: bool) -> float | None:
    """The hours of all lines of a kind; None where there is none. Measured and counted ones never mix."""
    of = [line for line in lines if line.cost and line.cost.measured is measured and line.hours is not None]
    return sum((line.hours or 0.0) * len(line.trainings) for line in of) if of else None


def _totals(lines: Sequence[EstimateRow]) -> list[tuple[str, str]]:
    """Hours, and those of what."""
    sums = ((_total(lines, True), "this machine"), (_total(lines, False), "assumed GPU"))
    return [(_hours(hours), where) for hours, where in sums if hours is not None]


def _figures(line: EstimateRow) -> list[str]:
    """Training, what the hours are from, hours of each and of all, memory."""
    recipe = line.steps[0].training.recipe
    side = f"{recipe.lr_patch}×{recipe.lr_patch}" if recipe else ""
    budget = f"{recipe.steps:,} × {recipe.batch} patches {side}" if recipe and line.trains else "–"
    if line.cost is None or line.hours is None:
        return [budget, "–", *["unknown" if line.unknown else "–"] * 3]
    memory = size_text(line.cost.memory) if line.trains else "–"
    return [budget, str(line.cost), _hours(line.hours), _hours(line.hours * len(line.trainings)), memory]


def _hours(hours: float) -> str:
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:.2g}" if hours >= 0.01 else "<0.01"


def _assumptions(lines: Sequence[EstimateRow], costs: Costs) -> str:
    """What the estimates are made of, and what they leave out."""
    parts = []
    if (hours := _total(lines, True)) is not None:
        parts.append(
            f"Hours from records and probes are hours of this machine ({costs.machine}): {_in_all(hours)}. A record "
            "gives the time of a step and of a test volume, and the peak memory, of an earlier training of the same "
            "method, options, version, factors, batch, LR patch and precision on such a machine; a probe those of "
            "training steps tried now on noise, without validation. Where no test volume was timed, the operations of "
            "the test are taken to run as fast as those of the training."
        )
    if (hours := _total(lines, False)) is not None:
        parts.append(
            f"Hours from a count are an estimate, not a measurement: {_in_all(hours)} of one GPU that sustains "
            f"{RATE / 1e12:g} TFLOP/s, half of an A100's float32 peak. They count the multiply-accumulates of the "
            "networks: a training step as three forward passes, and the test. Validation, reading and scoring are left "
            "out, and memory is counted from shapes, in float32: weights, gradients, optimiser state and kept copies, "
            "and what the forward pass saves for the largest part of a batch. Kernels need more while they run."
        )
    if parts:
        parts.append("A training that is resumed counts as a whole one.")
    if untested := [line for line in lines if line.hours is not None and not line.tested]:
        parts.append(f"Without the test, whose cost is not known: {_names(untested)}.")
    if any(_ahead(line) and line.hours is None and not line.unknown for line in lines):
        parts.append("–: no network, and not yet timed on this machine.")
    if unknown := [line for line in lines if line.unknown]:
        parts.append(
            f"unknown, and not in the totals: the network does not run on shapes alone ({_names(unknown)}); "
            "bench run --dry-run --probe tries it."
        )
    return "\n".join(parts)


def _in_all(hours: float) -> str:
    return f"{_hours(hours)} h" + (f", or {hours / 24:,.0f} days," if hours >= 48 else "")


def _names(lines: Sequence[EstimateRow]) -> str:
    return ", ".join(f"{line.labels} {line.scale}" for line in lines)
