"""A few training steps of a network, to see what they take: in a process of its own, whose end costs nothing else."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ..data.pairs import Pair
from ..errors import BenchError
from ..method import Batch, Recipe, TorchMethod
from ..planning.cells import Training
from ..system.environment import peak_memory
from ..system.files import WorkFolder
from ..system.memory import keep_freed_memory
from ..system.processes import forkserver
from ..volumes import Grid

STEPS = 10
SECONDS = 30.0
"""After so long a probe ends with the steps that it has."""


@dataclass(frozen=True)
class Probe:
    """What training steps took."""

    steps: int
    """How many were measured, after one to warm up."""
    seconds: float
    """Of one step, without validation."""
    memory: int
    """Bytes: the peak of the process; on a GPU of what torch allocated there."""


def probe(training: Training, lr: tuple[int, int]) -> Probe:
    """Train a network for a moment, by the suite's loop and its own recipe, on noise with `lr` rows and columns.

    Raises BenchError where the network or its process fails, and where two steps take over `SECONDS`.
    """
    context = forkserver(__name__, "lightning_fabric", "timm")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as scratch:
        process = context.Process(target=_child, args=(theirs, training, lr, Path(scratch)))
        process.start()
        theirs.close()
        try:
            rows = _listen(ours)
        except EOFError:
            process.join()
            code = process.exitcode or 0
            hint = f"killed by signal {-code}; for 9 memory may have run out" if code < 0 else f"exit status {code}"
            raise BenchError(f"its process ended without a word ({hint})") from None
        finally:
            process.kill()
            process.join()
            ours.close()
    if len(rows) < 2:
        raise BenchError(f"two training steps take over {SECONDS:g} s")
    (started, _), (ended, memory) = rows[0], rows[-1]
    return Probe(len(rows) - 1, (ended - started) / (len(rows) - 1), memory)


def _listen(line: Connection) -> list[tuple[float, int]]:
    """The clock in seconds and the memory in bytes after each step that ended in time, the first to warm up.

    Raises BenchError with what the process says, EOFError where it ends before.
    """
    rows: list[tuple[float, int]] = []
    deadline = time.monotonic() + SECONDS
    while len(rows) <= STEPS and line.poll(max(0.0, deadline - time.monotonic())):
        word = line.recv()
        if isinstance(word, str):
            raise BenchError(word)
        rows.append(word)
    return rows


@dataclass
class _Clock:
    """The method's line to the suite (`method.Run`): says when each step ended."""

    line: Connection
    device: str
    scratch: Path
    should_stop: bool = False

    def report(self, step: int, **values: float) -> None:
        self.line.send((time.monotonic(), peak_memory(self.device)))


def _child(line: Connection, training: Training, lr: tuple[int, int], scratch: Path) -> None:
    """The process of a probe: a training that is one step longer than what is looked at, and that validates last."""
    import torch

    from ..training.loop import train

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # what it prints would stand in the middle of the dry run's page; errors go through the line
    os.dup2(silence, 2)
    try:
        keep_freed_memory()  # as in a cell's process
        device = "cuda" if torch.cuda.is_available() else "cpu"
        method, task = training.make_method(), replace(training.task, device=device)
        assert isinstance(method, TorchMethod)
        assert training.recipe is not None
        recipe = training.recipe.model_copy(update={"steps": 1 + STEPS + 1})
        data, val = _noise(scratch, (method.slices_per_sample, *lr), task.factors, recipe)
        train(
            method, task, recipe, data, val, recipe.steps, _Clock(line, device, scratch), WorkFolder(scratch), "probe"
        )
    except BaseException as error:
        line.send(str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}")


def _noise(folder: Path, shape: Sequence[int], factors: Sequence[int], recipe: Recipe) -> tuple[Any, list[Batch]]:
    """A training set of one LR volume of `shape` and its HR, and a validation crop."""
    from ..training.sampling import TrainingPairs, validation_crops

    low = np.random.default_rng(0).integers(0, 1000, tuple(shape), np.int16)
    high = low
    for axis, factor in enumerate(factors):
        high = high.repeat(factor, axis)  # a network near interpolation finds a small loss, as it does in a training
    paths = folder / "hr.npy", folder / "lr.npy"
    for path, array in zip(paths, (high, low), strict=True):
        np.save(path, array)
    sides = high.shape[0], high.shape[1], high.shape[2]
    pair = Pair("noise", "", *paths, Grid(True), (1.0, 1.0, 1.0), np.eye(4).tolist(), "", "", sides, sides)
    return TrainingPairs([pair], factors, recipe, shape[0], 0), validation_crops([pair], factors, 1, 8, shape[0])
