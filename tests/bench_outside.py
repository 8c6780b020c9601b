"""What a training step spends outside the network and its optimiser: python tests/bench_outside.py [--csv PATH].

Clocks stand inside the suite's own loop, around the forward and backward passes and the optimiser of every step, so a
machine whose speed varies moves both sides of the share. Batches are cut from generated slices of 192×228.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_training import SCANS, scans
from benching import Row, report
from loops import Case

from mrsr_bench.data.pairs import Pair
from mrsr_bench.system.files import WorkFolder
from mrsr_bench.system.memory import keep_freed_memory
from mrsr_bench.training import loop as training
from mrsr_bench.training.checkpoint import Checkpoints
from mrsr_bench.training.sampling import TrainingPairs
from mrsr_bench.training.setup import TrainingSetup

CASES = ((Case("srcnn"), 60), (Case("edsr", "baseline"), 30), (Case("csn", batch=4), 8))
"""Networks and steps."""
WARM_UP, GOAL = 2, 0.05


class Clock:
    """Seconds spent in what it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = call(*args, **kwargs)
            self.seconds += time.perf_counter() - started
            return result

        return timed


class Clocked(training._Loop):
    """The loop, with a clock around what is the network's, read after every step."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.clock, self.marks = Clock(), list[tuple[float, float]]()
        self._backward = self.clock.wrap(self._backward)  # type: ignore[method-assign]
        self.optimizer.step = self.clock.wrap(self.optimizer.step)  # type: ignore[method-assign]

    def advance(self, *batch: Any) -> None:
        super().advance(*batch)
        self.marks.append((time.perf_counter(), self.clock.seconds))


def row(case: Case, steps: int, pairs: list[Pair], folder: Path) -> Row:
    """Milliseconds of a step, of what is outside, and its share of all steps together."""
    method, recipe = case.make(), case.recipe(steps)
    data = TrainingPairs(pairs, case.task.factors, recipe, method.slices_per_sample, seed=0)
    val = [(lr[0], hr[0]) for lr, hr in [data.crops(0)]]
    setup = TrainingSetup(method, case.task, recipe, data, val, steps)
    loop = Clocked(setup, Checkpoints(WorkFolder(folder), case.name), torch.get_num_threads)
    with loop.loader(data) as loader:
        while loop.step < steps:
            loop.advance(*loader.next())
    whole, network = np.diff(np.array(loop.marks), axis=0)[WARM_UP:].T
    figures = {"step_ms": np.median(whole) * 1e3, "outside_ms": np.median(whole - network) * 1e3}
    share = round(float(1 - network.sum() / whole.sum()), 4)
    rounded = {name: round(float(value), 2) for name, value in figures.items()}
    return {"network": case.name, "batch": case.batch, **rounded, "share": share, "goal": GOAL}


def measure(root: Path) -> Iterator[Row]:
    """A row for every network."""
    keep_freed_memory()
    _, pairs, _ = scans(root / "slices", *SCANS["slices"])
    for number, (case, steps) in enumerate(CASES):
        folder = root / str(number)
        folder.mkdir()
        yield row(case, steps, pairs, folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MRSR_CACHE"] = f"{folder}/cache"
        line = "{network:14} step {step_ms:8} ms, outside {outside_ms:6} ms, share {share:.4f} (goal {goal})"
        report(__doc__, lambda: measure(Path(folder)), line)
