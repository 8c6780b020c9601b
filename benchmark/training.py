"""The one training loop of all networks: deterministic batches, exact resuming, the best weights by validation PSNR.

Resuming is exact because nothing random has a state: batch k and the generator of step k follow from (seed, k), the
learning rate from k, and the checkpoint holds the rest. That stays so where the guard skips step k or rolls back.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from .divergence import Guard
from .errors import BenchError
from .files import atomic_file, write_text
from .method import Batch, Recipe, Run, Task, TorchMethod, TrainingSet
from .records import CHECKPOINT, CURVE
from .seeds import derive

_LOSSES = {"l1": nn.functional.l1_loss, "mse": nn.functional.mse_loss}
_CURVE_POINTS = 200
_CHECKPOINT_SECONDS = 60.0
_FIELDS = ("step", "loss", "val_psnr", "lr", "seconds", "skipped", "rollbacks")


class TrainingStopped(BenchError):
    """The suite asked for an end; the checkpoint is written and the next run goes on from it."""


@dataclass(frozen=True)
class Fit:
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


def train(
    method: TorchMethod,
    task: Task,
    recipe: Recipe,
    data: TrainingSet,
    val: Sequence[Batch],
    every: int,
    run: Run,
    folder: Path,
    key: str,
) -> Fit:
    """Train `method.network` from scratch, or on from `folder`/state.pt where it has the same `key`.

    Writes train.csv and state.pt as it goes; leaves the weights of the best validation in `method.network`.
    Raises TrainingStopped where the run should stop, BenchError where the training diverges for good.
    """
    loop = _Loop(method, task, recipe, val, folder, key)
    points = max(1, min(every, recipe.steps // _CURVE_POINTS))
    saved = time.monotonic()
    while loop.step < recipe.steps:
        loop.advance(data.batch(loop.step))
        if loop.step % points and loop.step % every and loop.step < recipe.steps and not run.should_stop:
            continue
        validated = loop.step % every == 0 or loop.step == recipe.steps
        row = loop.row(loop.validate() if validated else None)
        run.report(**row)
        if validated or run.should_stop or time.monotonic() - saved > _CHECKPOINT_SECONDS:
            loop.save()
            saved = time.monotonic()
        if run.should_stop:
            raise TrainingStopped(f"stopped at step {loop.step} of {recipe.steps}; the next run goes on from there")
    return loop.finish()


class _Loop:
    """The state of a training between two steps."""

    def __init__(
        self, method: TorchMethod, task: Task, recipe: Recipe, val: Sequence[Batch], folder: Path, key: str
    ) -> None:
        self.method, self.recipe, self.seed, self.folder, self.key = method, recipe, task.seed, folder, key
        self.fabric = Fabric(accelerator=task.device.partition(":")[0], devices=1, precision=recipe.precision)
        torch.manual_seed(derive(task.seed, "init"))
        self.network = method.build(task)
        self.optimizer = create_optimizer_v2(
            method.parameter_groups(self.network), opt=recipe.optimizer, lr=recipe.lr, **recipe.optimizer_args
        )
        self.scheduler = make_scheduler(self.optimizer, recipe)
        self.model, self.optimizer = self.fabric.setup(self.network, self.optimizer)
        self.guard = Guard(self.network, self.optimizer, recipe.loss)
        self.val = [tuple(torch.from_numpy(array)[None].to(self.fabric.device) for array in crop) for crop in val]
        self.step, self.best_step, self.best_psnr = 0, 0, float("-inf")
        self.best: dict[str, Tensor] = {}
        self.losses: list[float] = []
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self.started = time.monotonic()
        self._resume()

    def advance(self, batch: Batch) -> None:
        """One step on one batch, part by part; the optimiser takes it unless the guard objects."""
        self.model.train()
        self.guard.begin()
        torch.manual_seed(derive(self.seed, "step", self.step))
        self.scheduler.step_update(self.step)
        self.optimizer.zero_grad()
        lr, hr = (torch.from_numpy(array).to(self.fabric.device, non_blocking=True) for array in batch)
        parts = -(-len(lr) // (self.recipe.micro_batch or len(lr)))
        total = torch.zeros((), device=self.fabric.device)
        for x, y in zip(lr.tensor_split(parts), hr.tensor_split(parts), strict=True):
            loss = _LOSSES[self.recipe.loss](self.model(x), y) * (len(x) / len(lr))
            self.fabric.backward(loss)
            total += loss.detach()
        bound = self.recipe.clip_norm or math.inf
        norm = self.fabric.clip_gradients(self.model, self.optimizer, max_norm=bound, error_if_nonfinite=False)
        value, norm = torch.stack([total, norm]).tolist()  # the step's one wait for the device
        if self.guard.accepts(self.step, value, norm):
            self.optimizer.step()
            self.losses.append(value)
        self.step += 1

    def validate(self) -> float:
        """Mean PSNR of the crops in float32; the weights are kept where it is the best so far."""
        self.network.eval()
        with torch.inference_mode():
            errors = [torch.mean((self.network(lr).float() - hr) ** 2) for lr, hr in self.val]
        value = float(torch.mean(-10 * torch.log10(torch.stack(errors).double().clamp(min=1e-20))))
        self.guard.validated(value)
        if math.isfinite(value) and value > self.best_psnr:
            self.best_step, self.best_psnr = self.step, value
            self.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        return value

    def row(self, val_psnr: float | None) -> dict[str, Any]:
        """The next row of train.csv: the mean loss of the steps taken since the last one, NaN where none was."""
        row = {
            "step": self.step,
            "loss": math.fsum(self.losses) / len(self.losses) if self.losses else math.nan,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            "seconds": round(self._elapsed(), 3),
            "skipped": self.guard.skipped,
            "rollbacks": self.guard.rollbacks,
        }
        self.losses.clear()
        if val_psnr is not None:
            row["val_psnr"] = val_psnr
        self.rows.append(row)
        self._append_row(row)
        return row

    def save(self) -> None:
        """Write the checkpoint; with it, and only with it, the next run goes on."""
        state = {
            "key": self.key,
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_step": self.best_step,
            "best_psnr": self.best_psnr,
            "guard": self.guard.state(),
            "rows": self.rows,
            "seconds": self._elapsed(),
        }
        with atomic_file(self.folder / CHECKPOINT) as file:
            torch.save(state, file)

    def finish(self) -> Fit:
        """Leave the best weights in the method. Raises BenchError where no validation was finite."""
        if not self.best:
            raise BenchError(
                "training diverged: no validation gave a finite PSNR; lower the learning rate (lr) or bound the "
                "gradient (clip_norm)"
            )
        self.network.load_state_dict(self.best)
        self.method.network = self.network
        parameters = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        return Fit(
            steps=self.step,
            best_step=self.best_step,
            best_val_psnr=self.best_psnr,
            seconds=round(self._elapsed(), 3),
            parameters=parameters,
            skipped_steps=self.guard.skipped,
            rollbacks=self.guard.rollbacks,
        )

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if path.is_file():
            state = torch.load(path, map_location=self.fabric.device, weights_only=True)
            if state["key"] == self.key:
                self.network.load_state_dict(state["network"])
                self.optimizer.load_state_dict(state["optimizer"])
                self.guard.load_state(state["guard"])
                self.step, self.best, self.rows = state["step"], state["best"], state["rows"]
                self.best_step, self.best_psnr, self.seconds = state["best_step"], state["best_psnr"], state["seconds"]
        # Rows after the checkpoint, from a run that was killed, go: their steps are done again.
        text = io.StringIO()
        rows = csv.DictWriter(text, _FIELDS, lineterminator="\n")
        rows.writeheader()
        rows.writerows(self.rows)
        write_text(self.folder / CURVE, text.getvalue())

    def _append_row(self, row: dict[str, Any]) -> None:
        with (self.folder / CURVE).open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, _FIELDS, lineterminator="\n").writerow(row)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.started


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe) -> Scheduler:
    """The recipe's timm schedule, counted in steps."""
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=recipe.schedule,
        num_epochs=recipe.steps,
        step_on_epochs=False,
        updates_per_epoch=1,
        **{"warmup_epochs": 0, **recipe.schedule_args},
    )
    if scheduler is None:
        raise BenchError(f"timm knows no schedule '{recipe.schedule}'; for a constant rate use step with decay_rate 1")
    return scheduler
