"""A training that is worth killing: thirty seconds' worth of nothing, in a module that a child imports at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mrsr_bench.method import Batch, Recipe, Task, TorchMethod
from mrsr_bench.system.files import WorkFolder
from mrsr_bench.training.checkpoint import Checkpoints
from mrsr_bench.training.loop import train
from mrsr_bench.training.setup import TrainingSetup

STEPS, SPOILT = 400, 33


class Network(nn.Module):
    """Layers enough for a step of milliseconds, with running statistics and with chance."""

    def __init__(self) -> None:
        super().__init__()
        hidden = [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)]
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), *hidden, nn.Conv2d(8, 4, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Method(TorchMethod):
    def build(self, task: Task) -> nn.Module:
        return Network()


class Data:
    """Random patches, each step's its own, one of them not finite; the process is killed when those of `end` are cut.

    That is done by a thread one step ahead, after `delay` seconds, so the training may be anywhere in a step.
    """

    def __init__(self, end: int | None = None, delay: float = 0.0) -> None:
        self._end, self._delay = end, delay

    def crops(self, step: int) -> Batch:
        if step == self._end:
            time.sleep(self._delay)
            os.kill(os.getpid(), signal.SIGKILL)
        lr = np.random.default_rng(step).uniform(0.2, 0.8, (4, 1, 8, 8)).astype(np.float32)
        hr = lr.repeat(2, -1).repeat(2, -2)
        return lr, hr * np.float32(np.nan if step == SPOILT else 0.9)

    def turns(self, step: int) -> np.ndarray:
        return np.arange(4) + step % 4


class Line:
    """A `Run` that never stops."""

    scratch, should_stop = Path(), False

    def report(self, step: int, **values: float) -> None:
        pass


def survive(
    folder: Path, precision: Any, save_every: float, end: int | None = None, delay: float = 0.0
) -> dict[str, Any]:
    """Train, or train on, as far as `Data` lets it; the last state."""
    torch.set_num_threads(1)
    recipe = Recipe(lr=1e-2, schedule="cosine", schedule_args={}, steps=STEPS, precision=precision, clip_norm=1.0)
    data = Data(end, delay)
    val = [tuple(array[0] for array in data.crops(10_000 + crop)) for crop in range(2)]
    checkpoints = Checkpoints(WorkFolder(folder), "key", save_every)
    train(TrainingSetup(Method(), Task((1, 2, 2)), recipe, data, val, 20), Line(), checkpoints)
    state = checkpoints.load("cpu")
    assert state is not None
    return state
