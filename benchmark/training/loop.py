"""The one training loop of all networks: deterministic batches, exact resuming, the best weights by validation PSNR.

Resuming is exact because nothing random has a state: batch k and the generator of step k follow from (seed, k), the
learning rate from k, and the state on disk holds the rest. That stays so where the guard skips step k or rolls back.
"""

from __future__ import annotations

import contextlib
import csv
import io
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
from ..system.memory import is_out_of_memory, largest_that_fits
from ..system.training_states import CURVE
from .checkpoint import Checkpoints
from .divergence import Guard
from .loader import Loader, Samples
from .random_streams import derive
from .setup import TrainingSetup, layout, make_optimizer, make_scheduler

_LOSSES = {"l1": nn.functional.l1_loss, "mse": nn.functional.mse_loss}
_CURVE_POINTS = 200
_FIELDS = ("step", "loss", "val_psnr", "lr", "seconds", "pixels_per_second", "memory_bytes", "skipped", "rollbacks")
_STATE = ("step", "network", "optimizer", "best", "best_step", "best_psnr", "guard", "rows", "seconds", "threads")
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
    Raises TrainingStopped where the run should stop, BenchError where the training diverges for good or memory does
    not suffice.
    """
    loop, steps, every = _Loop(setup, checkpoints, threads), setup.recipe.steps, setup.validate_every
    points = max(1, min(every, steps // _CURVE_POINTS))
    saved = time.monotonic()
    with loop.loader(setup.samples) as loader:
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
        self.method, self.recipe, self.seed, self.checkpoints = method, recipe, task.seed, checkpoints
        self.fabric = Fabric(accelerator=task.device.partition(":")[0], devices=1, precision=recipe.precision)
        device = self.fabric.device
        state = checkpoints.load(device, _STATE)
        self.threads = state["threads"] if state else threads()
        torch.set_num_threads(self.threads)
        torch.manual_seed(derive(task.seed, "init"))
        self.layout = layout(device, recipe)
        self.network = method.build(task)
        self.model = self.fabric.setup_module(self.network.to(memory_format=self.layout))
        self.optimizer = make_optimizer(method.parameter_groups(self.network), recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe)
        self.guard = Guard(self.network, self.optimizer, recipe.loss)
        self.crops = [
            tuple(torch.from_numpy(part)[None].to(device) for part in crop) for crop in setup.validation_crops
        ]
        self.step, self.best_step, self.best_psnr = 0, 0, float("-inf")
        self.best: dict[str, Tensor] = {}
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        if state is not None:
            self._resume(state)
        self._write_rows()
        self.pixels, self.started = 0, time.monotonic()
        self.timed = self.started

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
        torch.manual_seed(derive(self.seed, "step", self.step))
        self.scheduler.step_update(self.step)
        try:
            loss = self._backward(lr, hr)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = str(error).partition("\n")[0]
        else:
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm or math.inf)
            self.guard.step(self.step, loss, norm)
            self.step += 1
            self.pixels += lr.shape[0] * lr.shape[1] * lr.shape[2] * lr.shape[3]
            return
        raise BenchError(self._out_of_memory_text(message, lr, hr))

    def _backward(self, lr: Tensor, hr: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar on the device; its gradient is left in the parameters."""
        self.optimizer.zero_grad()
        parts = -(-len(lr) // (self.recipe.micro_batch or len(lr)))
        total = torch.zeros((), device=self.fabric.device)
        for x, y in zip(lr.tensor_split(parts), hr.tensor_split(parts), strict=True):
            loss = _LOSSES[self.recipe.loss](self.model(x), y) * (len(x) / len(lr))
            self.fabric.backward(loss)
            total += loss.detach()
        return total

    def _out_of_memory_text(self, message: str, lr: Tensor, hr: Tensor) -> str:
        """What to do where memory does not suffice: the number of samples that fits is found by trying."""
        samples = min(self.recipe.micro_batch or len(lr), len(lr))
        self.optimizer.zero_grad()
        fits = largest_that_fits(samples, lambda number: self._backward(lr[:number], hr[:number]))
        advice = (
            f"{fits} at once fit: set batch (track equal) or micro_batch (the method's recipe) to {fits}"
            if fits
            else "not even a single one fits: take a smaller patch (lr_patch) or network"
        )
        side = "×".join(map(str, lr.shape[2:]))
        return f"out of memory at step {self.step} with {samples} LR patches of {side} at once; {advice} ({message})"

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
        self.rows.append(row)
        self._append_row(row)
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
            "rows": self.rows,
            "seconds": self._elapsed(),
            "threads": self.threads,
        }
        self.checkpoints.save(self.step, state)

    def finish(self) -> Trained:
        """Leave the best weights in the method. Raises BenchError where no validation was finite."""
        if not self.best:
            raise BenchError(
                "training diverged: no validation gave a finite PSNR; lower the learning rate (lr) or bound the "
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
        )

    def _resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.guard.load_state(state["guard"])
        self.step, self.best, self.rows = state["step"], state["best"], state["rows"]
        self.best_step, self.best_psnr, self.seconds = state["best_step"], state["best_psnr"], state["seconds"]
        print(f"going on from step {self.step} with {self.threads} CPU threads, as before", flush=True)

    def _write_rows(self) -> None:
        """Write train.csv up to this step. Rows after it, of a run that was killed, go: their steps are done again."""
        text = io.StringIO()
        rows = csv.DictWriter(text, _FIELDS, lineterminator="\n")
        rows.writeheader()
        rows.writerows(self.rows)
        self.checkpoints.folder.write_text(CURVE, text.getvalue())

    def _append_row(self, row: dict[str, Any]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, _FIELDS, lineterminator="\n").writerow(row)
        self.checkpoints.folder.append_text(CURVE, text.getvalue())

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.started
