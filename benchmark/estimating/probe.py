"""A few training steps of a network, to measure time and memory: in a process of its own, which may crash."""

from __future__ import annotations

import contextlib
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
from ..system.processes import child
from ..volumes import Grid

STEPS = 10
SECONDS = 30.0
"""A probe that takes longer ends with the steps that it has."""


@dataclass(frozen=True)
class Probe:
    """What training steps took."""

    steps: int
    """How many were measured, after one to warm up."""
    seconds: float
    """Of one step, without validation."""
    memory: int
    """Bytes: the peak of the process; on a GPU of what torch allocated there."""


def probe(training: Training, lr: tuple[int, int], threads: int) -> Probe:
    """Train a network for a moment by the suite's loop and its own recipe, on noise with `lr` rows and columns.

    Raises BenchError where the network or its process fails, and where two steps take over `SECONDS`.
    """
    arrivals: list[tuple[float, int]] = []
    modules = (__name__, "mrsr_bench.training.loop", "mrsr_bench.training.sampling")
    with (
        tempfile.TemporaryDirectory() as scratch,
        child(_train_on_noise, training, lr, threads, Path(scratch), preload=modules, seconds=SECONDS) as running,
        contextlib.suppress(TimeoutError),
    ):
        while len(arrivals) <= STEPS:  # the first step is the warm-up
            message = running.receive()
            if isinstance(message, str):
                raise BenchError(message)
            arrivals.append(message)
    if len(arrivals) < 2:
        raise BenchError(f"two training steps take over {SECONDS:g} s")
    (started, _), (ended, memory) = arrivals[0], arrivals[-1]
    return Probe(len(arrivals) - 1, (ended - started) / (len(arrivals) - 1), memory)


@dataclass
class _Clock:
    """The method's `Run`: sends the clock in seconds and the memory in bytes after each step."""

    connection: Connection
    device: str
    scratch: Path
    should_stop: bool = False

    def report(self, step: int, **values: float) -> None:
        self.connection.send((time.monotonic(), peak_memory(self.device)))


def _train_on_noise(
    connection: Connection, training: Training, lr: tuple[int, int], threads: int, scratch: Path
) -> None:
    """The process of a probe: a training that is one step longer than what is measured, and that validates last."""
    import torch

    from ..training.checkpoint import Checkpoints
    from ..training.loop import train
    from ..training.setup import TrainingSetup

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # what it prints would mix with the dry run's page; errors are sent
    os.dup2(silence, 2)
    try:
        keep_freed_memory()  # as in a cell's process
        device = "cuda" if torch.cuda.is_available() else "cpu"
        method, task = training.make_method(), replace(training.task, device=device)
        assert isinstance(method, TorchMethod)
        assert training.recipe is not None
        recipe = training.recipe.model_copy(update={"steps": 1 + STEPS + 1})
        samples, crops = _noise(scratch, (method.slices_per_sample, *lr), task.factors, recipe)
        setup = TrainingSetup(method, task, recipe, samples, crops, recipe.steps)
        clock, checkpoints = _Clock(connection, device, scratch), Checkpoints(WorkFolder(scratch), "probe")
        train(setup, clock, checkpoints, lambda: threads)
    except BaseException as error:
        connection.send(str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}")


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
