"""One training and its cells: data → fit → upscale → score → record. Runs in a process that an executor gives it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save

from . import records
from .cell import Cell, Training
from .complexity import count_macs
from .ensemble import self_ensemble
from .environment import environment, git_commit, peak_memory
from .errors import BenchError
from .files import atomic_file
from .method import Method, Recipe, Task, TorchMethod
from .preparation import Pair, open_dataset, prepare
from .protocol import digest
from .sampling import TrainingPairs, validation_crops
from .scoring import score
from .training import TrainingStopped, train
from .volumes import write_nifti

Event = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training to run, and which of its cells want a record. Picklable."""

    training: Training
    cells: tuple[Cell, ...]
    results: Path
    data: Path | None
    keep_volumes: bool = False

    def folder(self, cell: Cell) -> Path:
        """Where a cell's files go; the fit's lie with the base cell."""
        return records.Store(self.results).folder(self.training.loaded, cell)


@dataclass
class Line:
    """A job's line to its executor, and the method's to the suite (`method.Run`)."""

    send: Callable[[Event], None]
    stopping: Callable[[], bool]
    scratch: Path
    steps: int = 0

    @property
    def should_stop(self) -> bool:
        return self.stopping()

    def report(self, step: int, **values: float) -> None:
        self.send({"kind": "progress", "step": step, "steps": self.steps, **values})


def run_job(job: Job, send: Callable[[Event], None], stopping: Callable[[], bool]) -> None:
    """Run a job to the end of its last record.

    Sends events, dicts with a "kind": progress (step, steps, loss, val_psnr …), upscale (label, subject, subjects),
    recorded (label, metrics). Raises what the method or the data raise; records of earlier cells stand.
    """
    training, protocol = job.training, job.training.loaded.protocol
    task = replace(training.task, device="cuda" if torch.cuda.is_available() else "cpu")
    method = training.make_method()
    dataset = open_dataset(protocol.data.dataset, job.data)
    folds = ("train", "val", "test") if method.learns else ("test",)
    contrast, factors = training.base.contrast, training.base.factors
    plane, crop = protocol.data.plane[contrast], protocol.data.crop
    pairs = {
        fold: prepare(dataset, training.loaded.split[fold], contrast, plane, crop, training.base.degradation, factors)
        for fold in folds
    }
    line = Line(send, stopping, job.folder(training.base))
    fit = _fit(job, method, task, pairs, line) if method.learns else {}
    if isinstance(method, TorchMethod):
        fit["macs_lr24"] = macs_if_possible(method, task)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for cell in job.cells:
        _record(job, cell, method, task, pairs["test"], fit, send)


def _fit(job: Job, method: Method, task: Task, pairs: dict[str, list[Pair]], line: Line) -> dict[str, Any]:
    """Load the weights where they are those asked for, else train and write them. Returns the figures of the fit."""
    training, folder = job.training, job.folder(job.training.base)
    path, key = folder / records.WEIGHTS, training.base.train_key
    if path.is_file():
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("train_key") == key:
                method.load_state({name: file.get_tensor(name) for name in file.keys()}, task)  # noqa: SIM118
                return dict(json.loads(metadata["fit"]))
    factors, validation = training.base.factors, training.loaded.protocol.validation
    slices = method.slices_per_sample if isinstance(method, TorchMethod) else 1
    data = TrainingPairs(pairs["train"], factors, training.recipe or Recipe(), slices, task.seed)
    val = validation_crops(pairs["val"], factors, validation.patches, validation.lr_patch, slices)
    data_digest = digest([pair.digest for pair in pairs["train"]])
    started = time.monotonic()
    if isinstance(method, TorchMethod) and training.recipe is not None:
        line.steps = training.recipe.steps
        checkpoint = digest([key, data_digest])
        fit = asdict(train(method, task, training.recipe, data, val, validation.every, line, folder, checkpoint))
    else:
        method.fit(task, data, val, line)
        if line.should_stop:
            raise TrainingStopped(f"stopped while {training.source.name} was fitting; the next run fits it anew")
        fit = {"seconds": round(time.monotonic() - started, 3)}
    fit |= {"train_data_digest": data_digest, "git": git_commit()}
    state = {name: np.ascontiguousarray(array) for name, array in method.state().items()}
    with atomic_file(path) as file:
        file.write(save(state, {"train_key": key, "fit": json.dumps(fit)}))
    (folder / records.CHECKPOINT).unlink(missing_ok=True)
    return fit


def _record(
    job: Job,
    cell: Cell,
    method: Method,
    task: Task,
    pairs: list[Pair],
    fit: dict[str, Any],
    send: Callable[[Event], None],
) -> None:
    """Upscale and score the test subjects of one cell and write its record, last."""
    protocol, folder = job.training.loaded.protocol, job.folder(cell)
    folder.mkdir(parents=True, exist_ok=True)
    scores: dict[str, dict[str, float]] = {}
    seconds = []
    for number, pair in enumerate(pairs, start=1):
        send({"kind": "upscale", "label": cell.label, "subject": number, "subjects": len(pairs)})
        scan, started = pair.scan(cell.factors), time.monotonic()
        torch.manual_seed(task.seed)
        output = self_ensemble(method, scan, task) if cell == job.training.plus else method.upscale(scan, task)
        seconds.append(time.monotonic() - started)
        try:
            scores[pair.subject] = score(output, pair.hr, pair.grid, protocol.scoring)
        except ValueError as error:
            raise BenchError(f"{cell.label}, subject {pair.subject}: {error}") from None
        if job.keep_volumes:
            (folder / records.VOLUMES).mkdir(exist_ok=True)
            final = pair.grid.round(output) if protocol.scoring.round == "stored" else output
            write_nifti(folder / records.VOLUMES / f"{pair.subject}.nii.gz", final, np.array(pair.affine))
    records.write_scores(folder, scores)
    metrics = {name: float(np.mean([of[name] for of in scores.values()])) for name in protocol.scoring.metrics}
    outcome = {
        "state": "done",
        "metrics": metrics,
        "n": len(scores),
        "fit": fit,
        "seconds_per_volume": round(float(np.mean(seconds)), 4),
        "peak_memory_bytes": peak_memory(task.device),
        "environment": environment(task.device),
        "test_data_digest": digest([pair.digest for pair in pairs]),
        "intensity_scales": {pair.subject: pair.scale for pair in pairs},
    }
    records.write_record(folder, {**records.describe(job.training, cell), **outcome})
    send({"kind": "recorded", "label": cell.label, "metrics": metrics})


def macs_if_possible(method: TorchMethod, task: Task) -> int | None:
    """`count_macs`; where the network needs values, with real zeros; None where it cannot take such a sample at all.

    No score depends on this figure, so nothing that a network does here may end its run.
    """
    for device in ("meta", "cpu"):
        with contextlib.suppress(Exception):
            return count_macs(method, task, device=device)
    return None
