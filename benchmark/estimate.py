"""What a run would do and need, before it runs: cells, data, GPU hours and memory. Nothing is written or trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from .cell import Cell, Training
from .method import TorchMethod
from .needs import Data, Folds, in_bytes
from .protocol import Loaded
from .runner import Step

RATE = 10e12
"""FLOP/s that a GPU is taken to sustain: half of the 19.5 TFLOP/s that NVIDIA states for an A100 in float32, the
precision of inference and of attention here. Large convolutions, trained in TF32, can be several times faster."""
_TRAINING = 3
"""A training step over its forward pass: the gradients of inputs and of weights cost as much again, each."""
_ENSEMBLE = 8
_AHEAD = ("run", "resume", "score")


@dataclass(frozen=True)
class Cost:
    """An estimate for one training and for one pass over its test set."""

    train_hours: float
    test_hours: float
    memory: int
    """Bytes, in training."""


@dataclass
class Line:
    """Steps that are one to a reader: the same done to the same columns at one scale, for whatever contrasts."""

    action: str
    why: str
    labels: str
    scale: str
    steps: list[Step] = field(default_factory=list)
    cost: Cost | None = None
    unknown: bool = False
    """Whether there is a network, but no estimate of it."""

    @property
    def trainings(self) -> list[Training]:
        return list({id(step.training): step.training for step in self.steps}.values())

    @property
    def trains(self) -> bool:
        """Whether something is fitted; else only the test is run."""
        base = any(step.cell == step.training.base for step in self.steps)
        return base and self.action in ("run", "resume")

    @property
    def hours(self) -> float:
        """GPU hours of one of the trainings, with its test; 0 where there is no estimate."""
        if self.cost is None:
            return 0.0
        of_one = [step for step in self.steps if step.training is self.steps[0].training]
        passes = sum(_ENSEMBLE if step.cell == step.training.plus else 1 for step in of_one)
        return self.trains * self.cost.train_hours + passes * self.cost.test_hours


def report(loaded: Loaded, steps: Sequence[Sequence[Step]], folder: Path | None) -> str:
    """All that a dry run says, for people: `steps` of each training (`runner.steps_of`), data in `folder`."""
    data, lines = Data(loaded, folder), group(steps)
    costs: dict[tuple[object, ...], Cost | None] = {}
    for line in lines:
        training = line.steps[0].training
        if line.action in _AHEAD and training.recipe is not None:
            shape = data.shape(training.base.contrast)
            key = (training.base.label, training.base.factors, shape)
            if key not in costs:
                costs[key] = _estimate(training, shape)
            line.cost, line.unknown = costs[key], costs[key] is None
    needed = [(training.base, _folds(training, line)) for line in lines if _ahead(line) for training in line.trainings]
    parts = [
        f"Protocol {loaded.folder}, version {loaded.protocol.version}: {sum(map(len, steps))} cells of {len(steps)} "
        "trainings. This is a dry run: nothing is trained or written.",
        "\n".join(data.lines(needed)) if needed else "Nothing is to be done, so no data are needed.",
        _table(lines),
        "\n".join(f"{line.action} {line.labels} {line.scale}: {line.why}" for line in lines if line.why),
        _assumptions(lines) if any(line.cost or line.unknown for line in lines) else "",
    ]
    return "\n\n".join(part for part in parts if part)


def group(steps: Iterable[Sequence[Step]]) -> list[Line]:
    """Lines in the order of the first step of each; `steps` of each training."""
    lines: dict[tuple[str, ...], Line] = {}
    for of in steps:
        for action, why in dict.fromkeys((step.action, step.why) for step in of):
            alike = [step for step in of if (step.action, step.why) == (action, why)]
            key = (action, why, ", ".join(step.cell.label for step in alike), alike[0].cell.scale)
            lines.setdefault(key, Line(*key)).steps += alike
    return list(lines.values())


def _ahead(line: Line) -> bool:
    return line.action in _AHEAD


def _folds(training: Training, line: Line) -> Folds:
    """Fold → the subjects that a line's steps of a training need."""
    split = training.loaded.split
    if not (line.trains and training.make_method().learns):
        return {"test": split["test"]}
    return {**split, "train": training.loaded.train_subjects(training.train_subjects)}


def _estimate(training: Training, shape: tuple[int, int, int] | None) -> Cost | None:
    """The cost of a network on HR volumes of `shape`; None where it does not run on shapes alone."""
    from .complexity import count_macs, count_training

    method, recipe, task = training.make_method(), training.recipe, training.task
    assert isinstance(method, TorchMethod)
    assert recipe is not None
    slices, rows, columns = (n // f for n, f in zip(shape or (0, 0, 0), task.factors, strict=True))
    side = min(recipe.lr_patch, rows, columns) if shape else recipe.lr_patch
    samples = len(training.loaded.split["test"]) * slices // method.slices_per_sample
    try:
        macs, memory = count_training(method, task, recipe, (side, side))
        train = _TRAINING * recipe.steps * recipe.batch * macs
        test = samples * count_macs(method, task, (rows, columns)) if samples else 0
    except Exception:  # a plugin's network, which may need values
        return None
    return Cost(2 * train / RATE / 3600, 2 * test / RATE / 3600, memory)


_SEVERAL: dict[str, Callable[[Cell], str]] = {
    "degradation": lambda cell: cell.degradation.title,
    "seed": lambda cell: str(cell.seed),
}
"""Columns that are shown where a run has several such."""


def _table(lines: Sequence[Line]) -> str:
    """A row per line, and the totals."""
    cells = [step.cell for line in lines for step in line.steps]
    several = {name: of for name, of in _SEVERAL.items() if len(set(map(of, cells))) > 1}
    named: dict[str, Callable[[Cell], str]] = {"contrast": lambda cell: cell.contrast, **several}
    rows = []
    for line in lines:
        words = [" ".join(dict.fromkeys(of(step.cell) for step in line.steps)) for of in named.values()]
        rows.append([line.action, line.labels, line.scale, *words, f"{len(line.steps):,}", *_figures(line)])
    hours = sum(line.hours * len(line.trainings) for line in lines)
    total = _hours(hours) if hours else "–"
    rows.append(["total", "", "", *("" for _ in named), f"{len(cells):,}", "", "", total, ""])
    headings = ["", "method", "scale", *named, "cells", "training", "GPU h each", "GPU h", "GPU memory"]
    align = ["left"] * (3 + len(named)) + ["right"] * 5
    return tabulate(rows, headings, tablefmt="plain", disable_numparse=True, colalign=align)


def _figures(line: Line) -> list[str]:
    """Training, GPU hours of each and of all, GPU memory."""
    recipe = line.steps[0].training.recipe
    side = f"{recipe.lr_patch}×{recipe.lr_patch}" if recipe else ""
    budget = f"{recipe.steps:,} × {recipe.batch} patches {side}" if recipe and line.trains else "–"
    if line.cost is None:
        return [budget, *["unknown" if line.unknown else "–"] * 3]
    memory = in_bytes(line.cost.memory) if line.trains else "–"
    return [budget, _hours(line.hours), _hours(line.hours * len(line.trainings)), memory]


def _hours(hours: float) -> str:
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:.2g}" if hours >= 0.01 else "<0.01"


def _assumptions(lines: Sequence[Line]) -> str:
    """What the estimates are made of, and what they leave out."""
    hours = sum(line.hours * len(line.trainings) for line in lines)
    days = f", or {hours / 24:,.0f} days," if hours >= 48 else ""
    parts = [
        f"GPU hours are an estimate, not a measurement: {_hours(hours)} h{days} of one GPU that "
        f"sustains {RATE / 1e12:g} TFLOP/s, half of an A100's float32 peak. They count the multiply-accumulates of the "
        "networks: a training step as three forward passes, and the test. Validation, reading and scoring are left "
        "out, and a training that is resumed counts as a whole one.",
        "GPU memory is an estimate from shapes, in float32: weights, gradients, optimiser state and kept copies, and "
        "what the forward pass saves for the largest part of a batch. Kernels need more while they run.",
        "–: no GPU is needed; the time of a CPU is not estimated.",
    ]
    if unknown := [f"{line.labels} {line.scale}" for line in lines if line.unknown]:
        parts.append(
            f"unknown, and not in the totals: the network does not run on shapes alone ({', '.join(unknown)})."
        )
    return "\n".join(parts)
