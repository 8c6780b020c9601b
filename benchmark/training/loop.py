"""The one training loop of all networks: deterministic batches, exact resuming, the best weights by validation PSNR.

Resuming is exact because nothing random has a state: batch k and the generator of step k follow from (seed, k), the
learning rate from k, and the state on disk holds the rest. That stays so where the guard skips step k or rolls back.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..errors import BenchError
from ..method import Run
from ..system.environment import peak_memory
from ..system.training_states import DIVERGED
from .checkpoint import Checkpoints
from .curve import Curve, late_gain, validation_fall
from .devices import fastest_kernels, resolve_precision
from .divergence import Guard
from .loader import Loader, Samples
from .parts import PartedBackward
from .random_streams import derive
from .setup import TrainingSetup, demand_bicubic, layout, make_optimizer, make_scheduler, parameter_groups

_CURVE_POINTS = 200
_STATE = (
    "step", "network", "optimizer", "best", "best_step", "best_psnr", "guard", "rows", "seconds", "threads",
    "precision", "micro_batch",
)  # fmt: skip
"""What a state on disk holds, beside its key."""


class TrainingStopped(BenchError):
    """The suite asked for an end; the state is written and the next run goes on from it."""


@dataclass(frozen=True)
class Trained:
    """How a training went; recorded with the weights."""

    steps: int
    best_step: int
    best_val_psnr: float
    """Mean over the validation crops of each crop's PSNR in dB; peak = the subject's intensity scale."""
    seconds: float
    parameters: int
    skipped_steps: int
    """Steps whose loss or gradient was not finite or exploded: they count, but changed nothing."""
    rollbacks: int
    """Returns to the last good state (see `divergence`)."""
    threads: int
    """CPU threads of torch."""
    precision: str
    """The precision that the recipe's was on this device."""
    micro_batch: int | None
    """Most samples at once, by the recipe or because no more fitted into memory; None: the whole batch."""
    validation_fall: float
    """`curve.validation_fall`, in dB."""
    late_gain: float | None
    """`curve.late_gain`, in dB."""


def train(
    setup: TrainingSetup,
    run: Run,
    checkpoints: Checkpoints,
    threads: Callable[[], int] = torch.get_num_threads,
) -> Trained:
    """Train `method.network` from scratch, or on from the state in the checkpoints' folder that has the same key.

    Writes train.csv as it goes and a state every so many seconds, when the run should stop, and at the end; leaves the
    weights of the best validation in `method.network`. `threads`: tells how many CPU threads a training takes that
    begins; one that goes on takes as many as before, since other numbers give other last bits. The process keeps them.
    Precision and the samples at once stay as they were, too.
    Raises TrainingStopped where the run should stop, BenchError where the training diverges for good or memory does
    not suffice for a single sample.
    """
    loop, steps, every = _Loop(setup, checkpoints, threads), setup.recipe.steps, setup.validate_every
    points = max(1, min(every, steps // _CURVE_POINTS))
    saved = time.monotonic()
    with loop.kernels(), loop.loader(setup.samples) as loader:
        while loop.step < steps:
            loop.advance(*loader.next())
            validated = loop.step % every == 0 or loop.step == steps
            if validated or loop.step % points == 0:
                run.report(**loop.row(loop.validate() if validated else None))
            if run.should_stop or loop.step == steps or time.monotonic() - saved > checkpoints.seconds:
                loop.save()
                saved = time.monotonic()
            if run.should_stop:
                raise TrainingStopped(f"stopped at step {loop.step} of {steps}; the next run goes on from there")
    return loop.finish()


class _Loop:
    """The state of a training between two steps."""

    def __init__(self, setup: TrainingSetup, checkpoints: Checkpoints, threads: Callable[[], int]) -> None:
        method, task, recipe = setup.method, setup.task, setup.recipe
        self.method, self.recipe, self.checkpoints = method, recipe, checkpoints
        self.seed = task.seed if setup.stream_seed is None else setup.stream_seed
        kind = torch.device(task.device)
        state = checkpoints.load(kind, _STATE)
        self.threads = state["threads"] if state else threads()
        self.precision = state["precision"] if state else resolve_precision(recipe.precision, kind)
        torch.set_num_threads(self.threads)
        self.fabric = Fabric(accelerator=kind.type, devices=1, precision=self.precision)
        device = self.fabric.device
        torch.manual_seed(derive(self.seed, "init"))
        self.layout = layout(device, self.precision)
        self.network = method.make_network(task)
        self.model = self.fabric.setup_module(self.network.to(memory_format=self.layout))
        self.optimizer = make_optimizer(parameter_groups(method, self.network, recipe), recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe)
        micro_batch = state["micro_batch"] if state else recipe.micro_batch
        self.parts = PartedBackward(self.fabric, self.model, self.optimizer, recipe.loss, micro_batch)
        self.guard = Guard(self.network, self.optimizer, recipe.loss)
        self.crops = [
            (torch.from_numpy(lr)[None].to(device), torch.from_numpy(hr)[None].to(device))
            for lr, hr in setup.validation_crops
        ]
        if task.start == "bicubic" and state is None:
            demand_bicubic(self.network, self.crops)
        self.step, self.best_step, self.best_psnr = 0, 0, float("-inf")
        self.best: dict[str, Tensor] = {}
        self.seconds = 0.0
        if state is not None:
            self._resume(state)
        self.curve = Curve(checkpoints.folder, state["rows"] if state else [])
        self.pixels, self.started = 0, time.monotonic()
        self.timed = self.started

    def kernels(self) -> contextlib.AbstractContextManager[None]:
        """The device's fastest kernels for as long as the training goes on."""
        tf32 = self.recipe.precision == "fast" and self.precision == "32-true"
        return fastest_kernels(self.fabric.device, tf32)

    @contextlib.contextmanager
    def loader(self, samples: Samples) -> Iterator[Loader]:
        """The batches from this step on."""
        loader = Loader(samples, self.step, self.recipe.steps, self.fabric.device, self.layout)
        try:
            yield loader
        finally:
            loader.close()

    def advance(self, lr: Tensor, hr: Tensor) -> None:
        """One step on one batch, part by part; the optimiser takes it unless the guard objects."""
        self.guard.look(self.step)
        self.model.train()
        self.guard.begin()
        self.scheduler.step_update(self.step)
        loss = self.parts.backward(lr, hr, self._begin_attempt, self.step)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm or math.inf)
        self.guard.step(self.step, loss, norm)
        self.step += 1
        self.pixels += lr.shape[0] * lr.shape[1] * lr.shape[2] * lr.shape[3]

    def _begin_attempt(self) -> None:
        """Running statistics and random numbers as at the beginning of the step."""
        self.guard.take_back()
        torch.manual_seed(derive(self.seed, "step", self.step))

    def validate(self) -> float:
        """Mean PSNR of the crops in float32; the weights are kept where it is the best so far."""
        self.network.eval()
        with torch.inference_mode():
            errors = [torch.mean((self.network(lr).float() - hr) ** 2) for lr, hr in self.crops]
        value = float(torch.mean(-10 * torch.log10(torch.stack(errors).double().clamp(min=1e-20))))
        self.guard.validated(value)
        if math.isfinite(value) and value > self.best_psnr:
            self.best_step, self.best_psnr = self.step, value
            self.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        return value

    def row(self, val_psnr: float | None) -> dict[str, Any]:
        """The next row of train.csv: the mean loss of the steps taken since the last one, NaN where none was."""
        loss, skipped = self.guard.mean_loss(), int(self.guard.read()["skipped"])  # both wait for the device
        now = time.monotonic()
        row = {
            "step": self.step,
            "loss": loss,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            "seconds": round(self._elapsed(), 3),
            "pixels_per_second": round(self.pixels / (now - self.timed)),
            "memory_bytes": peak_memory(self.fabric.device.type),
            "skipped": skipped,
            "rollbacks": self.guard.rollbacks,
        }
        self.pixels, self.timed = 0, now
        if val_psnr is not None:
            row["val_psnr"] = val_psnr
        self.curve.add(row)
        return row

    def save(self) -> None:
        """Write the state that the next run goes on from."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_step": self.best_step,
            "best_psnr": self.best_psnr,
            "guard": self.guard.state(),
            "rows": self.curve.rows,
            "seconds": self._elapsed(),
            "threads": self.threads,
            "precision": self.precision,
            "micro_batch": self.parts.micro_batch,
        }
        self.checkpoints.save(self.step, state)

    def finish(self) -> Trained:
        """Leave the best weights in the method. Raises BenchError where no validation was finite."""
        if not self.best:
            raise BenchError(
                f"{DIVERGED}: no validation gave a finite PSNR; lower the learning rate (lr) or bound the "
                "gradient (clip_norm)"
            )
        self.network.load_state_dict(self.best)
        self.method.network = self.network
        parameters = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        return Trained(
            steps=self.step,
            best_step=self.best_step,
            best_val_psnr=self.best_psnr,
            seconds=round(self._elapsed(), 3),
            parameters=parameters,
            skipped_steps=int(self.guard.read()["skipped"]),
            rollbacks=self.guard.rollbacks,
            threads=self.threads,
            precision=self.precision,
            micro_batch=self.parts.micro_batch,
            validation_fall=validation_fall(self.curve.validations, self.recipe.steps),
            late_gain=late_gain(self.curve.validations, self.recipe.steps),
        )

    def _resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.guard.load_state(state["guard"])
        self.step, self.best = state["step"], state["best"]
        self.best_step, self.best_psnr, self.seconds = state["best_step"], state["best_psnr"], state["seconds"]
        print(f"going on from step {self.step} with {self.threads} CPU threads, as before", flush=True)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.started
