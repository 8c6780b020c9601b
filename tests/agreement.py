"""How far a device's results are from the CPU's: networks, gradients and short trainings. For the tests on a GPU."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from loops import Case
from torch import Tensor, nn

from mrsr_bench.degradation import degrade
from mrsr_bench.method import Batch, Scan
from mrsr_bench.system.files import WorkFolder
from mrsr_bench.training.checkpoint import Checkpoints
from mrsr_bench.training.loop import TrainingStopped, train
from mrsr_bench.training.random_streams import stream
from mrsr_bench.training.setup import TrainingSetup

LR_SIDES = (24, 20)


def relative(found: Tensor, reference: Tensor) -> float:
    """‖found − reference‖ / ‖reference‖, in float64."""
    found, reference = found.detach().cpu().double(), reference.detach().cpu().double()
    return float((found - reference).norm() / reference.norm())


def network_errors(case: Case, device: str, half: bool = False) -> tuple[float, float]:
    """The relative errors of `device` against float64 on the CPU: of the output, and of all gradients together."""
    torch.manual_seed(0)
    method = case.make()
    network = method.build(case.task)
    x = torch.rand(2, method.slices_per_sample, *LR_SIDES)
    there = _pass(copy.deepcopy(network).to(device), x.to(device), half)
    here = _pass(network.double(), x.double(), half=False)
    return relative(there[0], here[0]), relative(there[1], here[1])


def _pass(network: nn.Module, x: Tensor, half: bool) -> tuple[Tensor, Tensor]:
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=half):
        out = network(x)
    out.double().square().mean().backward()
    return out, torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def upscaled(case: Case, device: str) -> Tensor:
    """A volume enlarged on `device` by untrained weights."""
    torch.manual_seed(0)
    method = case.make()
    method.network = method.build(case.task)
    array = np.random.default_rng(0).uniform(0, 1000, (method.slices_per_sample * 2, *LR_SIDES)).astype(np.float32)
    return torch.from_numpy(method.upscale(Scan(array, (1.0, 1.0, 1.0), "T1"), replace(case.task, device=device)))


class Texture:
    """Smooth random images as a training set (`loader.Samples`): a pure function of the step."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def crops(self, step: int) -> Batch:
        side = 2 * self.case.lr_patch
        waves = stream(0, "order", step).uniform(-0.4, 0.4, (self.case.batch, 3, 2))
        rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
        angle = waves[..., 0, None, None] * rows + waves[..., 1, None, None] * columns
        hr = (0.5 + np.sin(angle).sum(axis=1) / 6)[:, None]
        lr = np.stack([degrade(one, "bicubic", (1, 2, 2)) for one in hr])
        return lr.astype(np.float32), hr.astype(np.float32)

    def turns(self, step: int) -> np.ndarray:
        return stream(0, "augmentation", step).integers(8, size=self.case.batch)


@dataclass
class Until:
    """A `Run` that stops after the report of step `stop`."""

    scratch: Path
    stop: float = float("inf")
    now: int = 0

    @property
    def should_stop(self) -> bool:
        return self.now >= self.stop

    def report(self, step: int, **values: float) -> None:
        self.now = step


def trained(case: Case, steps: int, stops: Sequence[int] = ()) -> tuple[float, Tensor]:
    """The last validation's PSNR in dB and the weights, after a training that is stopped and resumed at `stops`."""
    method, data = case.make(), Texture(case)
    recipe = case.recipe(steps).model_copy(update={"lr": 1e-3, "schedule_args": {"decay_rate": 1.0}})
    val = [(lr[0], hr[0]) for lr, hr in map(data.crops, range(10_000, 10_004))]
    setup = TrainingSetup(method, case.task, recipe, data, val, steps)
    with tempfile.TemporaryDirectory() as folder:
        for stop in (*stops, float("inf")):
            run = Until(Path(folder), stop)
            try:
                fit = train(setup, run, Checkpoints(WorkFolder(run.scratch), "agreement"))
            except TrainingStopped:
                continue
    assert method.network is not None
    return fit.best_val_psnr, nn.utils.parameters_to_vector(method.network.parameters()).detach().cpu()
