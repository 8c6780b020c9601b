"""One training and its cells: data → fit → upscale → score → record. Runs in a process that an executor gives it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save

from . import checkpoint, records
from .cell import Cell, Training
from .complexity import count_macs
from .degradation import degrade
from .ensemble import self_ensemble
from .environment import environment, git_commit, peak_memory
from .errors import BenchError
from .files import atomic_file, write_text
from .memory import keep_freed_memory
from .method import Method, Recipe, Task, TorchMethod
from .preparation import Pair, demand_disjoint, open_dataset, padded, prepare
from .protocol import digest
from .sampling import TrainingPairs, validation_crops
from .scoring import Case, radial_errors, score
from .training import TrainingStopped, train
from .volumes import read_prediction, write_nifti

Event = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training to run, and which of its cells want a record. Picklable."""

    training: Training
    cells: tuple[Cell, ...]
    results: Path
    data: Path | None
    keep_volumes: bool = False
    score_only: bool = False
    """Score again from kept volumes or weights; where there are neither, the job fails and nothing is trained."""
    save_every: float = 60.0
    """Seconds between two states of a training on disk."""
    deterministic: bool = False
    """On a GPU, only operations that give the same bits each time; one that has no such form fails the job."""

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
        with contextlib.suppress(BrokenPipeError):  # the driver is gone: a state is written before this process ends
            self.send({"kind": "progress", "step": step, "steps": self.steps, **values})


def run_job(job: Job, send: Callable[[Event], None], stopping: Callable[[], bool]) -> None:
    """Run a job to the end of its last record.

    Sends events, dicts with a "kind": prepare (fold, done, total), warning (message), progress (step, steps, loss,
    val_psnr …), upscale (label, subject, subjects), recorded (label, metrics). Raises what the method or the data
    raise; records of earlier cells stand.
    """
    training = job.training
    if job.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before cuBLAS starts, as torch asks for
        torch.use_deterministic_algorithms(True)
    keep_freed_memory()
    task = replace(training.task, device="cuda" if torch.cuda.is_available() else "cpu")
    method = training.make_method()
    pairs = _pairs(job, "test", send)
    fit: dict[str, Any] = {}
    if method.learns and not all(_kept(job, cell, pairs) for cell in job.cells):
        restored = _restored(job, method, task)
        fit = _fit(job, method, task, pairs, send, stopping) if restored is None else restored
    if isinstance(method, TorchMethod):
        fit["macs_lr24"] = macs_if_possible(method, task)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for cell in job.cells:
        _record(job, cell, method, task, pairs, fit, send)


def _pairs(job: Job, fold: str, send: Callable[[Event], None]) -> list[Pair]:
    """A fold's volumes, prepared."""
    training, data = job.training, job.training.loaded.protocol.data
    cell = training.base

    def progress(done: int, total: int) -> None:
        send({"kind": "prepare", "fold": fold, "done": done, "total": total})

    subjects = training.loaded.split[fold]
    if fold == "train":
        subjects = training.loaded.train_subjects(training.train_subjects)
    dataset, cut = open_dataset(data.dataset, job.data), data.cut(cell.contrast)
    pairs = prepare(dataset, subjects, cell.contrast, cut, cell.degradation, cell.factors, progress)
    if small := padded(pairs, cut):
        message = f"{cell.contrast}: smaller than the crop and padded with zeros: {', '.join(small)}"
        send({"kind": "warning", "message": message})
    return pairs


def _restored(job: Job, method: Method, task: Task) -> dict[str, Any] | None:
    """Load the weights where they are those asked for, and return the figures of their fit; else None."""
    path = job.folder(job.training.base) / records.WEIGHTS
    if path.is_file():
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("train_key") == job.training.base.train_key:
                method.load_state({name: file.get_tensor(name) for name in file.keys()}, task)  # noqa: SIM118
                return dict(json.loads(metadata["fit"]))
    if job.score_only:
        raise BenchError(f"there are neither weights nor kept volumes in {path.parent}; train it again with: bench run")
    return None


def _fit(
    job: Job,
    method: Method,
    task: Task,
    test: list[Pair],
    send: Callable[[Event], None],
    stopping: Callable[[], bool],
) -> dict[str, Any]:
    """Train and write the weights. Returns the figures of the fit."""
    training, folder = job.training, job.folder(job.training.base)
    line = Line(send, stopping, folder)
    folds = {fold: _pairs(job, fold, send) for fold in ("train", "val")}
    demand_disjoint({**folds, "test": test})
    key, factors, validation = training.base.train_key, training.base.factors, training.loaded.protocol.validation
    slices = method.slices_per_sample if isinstance(method, TorchMethod) else 1
    data = TrainingPairs(folds["train"], factors, training.recipe or Recipe(), slices, task.seed)
    val = validation_crops(folds["val"], factors, validation.patches, validation.lr_patch, slices)
    data_digest = digest([pair.digest for pair in folds["train"]])
    started = time.monotonic()
    if isinstance(method, TorchMethod) and training.recipe is not None:
        line.steps = training.recipe.steps
        state = digest([key, data_digest])
        every = validation.every
        fit = asdict(train(method, task, training.recipe, data, val, every, line, folder, state, job.save_every))
    else:
        method.fit(task, data, val, line)
        if line.should_stop:
            raise TrainingStopped(f"stopped while {training.source.name} was fitting; the next run fits it anew")
        fit = {"seconds": round(time.monotonic() - started, 3)}
    fit |= {"train_data_digest": data_digest, "git": git_commit(), "source_digest": training.source.digest}
    weights = {name: np.ascontiguousarray(array) for name, array in method.state().items()}
    with atomic_file(folder / records.WEIGHTS) as file:
        file.write(save(weights, {"train_key": key, "fit": json.dumps(fit)}))
    checkpoint.clear(folder)
    return fit


def _kept(job: Job, cell: Cell, pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """What is remembered of a cell's kept volumes, or None where they are not those of this cell, all of them."""
    try:
        about = json.loads((job.folder(cell) / records.VOLUMES / records.KEPT).read_text(encoding="utf-8"))
        return dict(about) if about["of"] == _identity(job, cell, pairs) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _identity(job: Job, cell: Cell, pairs: Sequence[Pair]) -> str:
    """What decides a cell's predictions: its key, the method's file, the test data and the tiles."""
    training, volumes = job.training, [pair.digest for pair in pairs]
    return digest([cell.train_key, training.source.digest, volumes, training.inference])


def _predictions(
    job: Job, cell: Cell, method: Method, task: Task, pairs: Sequence[Pair], kept: bool, send: Callable[[Event], None]
) -> Iterator[tuple[Pair, np.ndarray, float]]:
    """Each test volume, its prediction before it is rounded, and the seconds that took; from kept volumes if `kept`."""
    for number, pair in enumerate(pairs, start=1):
        send({"kind": "upscale", "label": cell.label, "subject": number, "subjects": len(pairs)})
        path = job.folder(cell) / records.VOLUMES / f"{pair.subject}.nii.gz"
        if kept:
            yield pair, read_prediction(path), 0.0
            continue
        scan, started = pair.scan(cell.factors), time.monotonic()
        torch.manual_seed(task.seed)
        output = self_ensemble(method, scan, task) if cell == job.training.plus else method.upscale(scan, task)
        seconds = time.monotonic() - started
        if job.keep_volumes:
            write_nifti(path, output, np.array(pair.affine))
        yield pair, output, seconds


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
    scoring, folder = job.training.loaded.protocol.scoring, job.folder(cell)
    (folder / records.VOLUMES if job.keep_volumes else folder).mkdir(parents=True, exist_ok=True)
    kept = _kept(job, cell, pairs)
    down = functools.partial(degrade, name=cell.degradation.name, factors=cell.factors, **cell.degradation.options)
    scores: dict[str, dict[str, float]] = {}
    radial: list[np.ndarray] = []
    seconds = []
    for pair, output, taken in _predictions(job, cell, method, task, pairs, kept is not None, send):
        seconds.append(taken)
        case = Case(pair.hr, pair.lr, pair.grid, cell.factors, down)
        try:
            scores[pair.subject] = score(output, case, scoring)
            radial.append(radial_errors(output, case, scoring))
        except ValueError as error:
            raise BenchError(f"{cell.label}, subject {pair.subject}: {error}") from None
    made = kept or {"fit": fit, "seconds_per_volume": round(float(np.mean(seconds)), 4)}
    if job.keep_volumes and not kept:
        about = {**made, "of": _identity(job, cell, pairs)}
        write_text(folder / records.VOLUMES / records.KEPT, json.dumps(about))
    metrics = {name: float(np.mean([of[name] for of in scores.values()])) for name in scoring.metrics}
    outcome = {
        "state": "done",
        "metrics": metrics,
        "n": len(scores),
        "fit": made["fit"],
        "seconds_per_volume": made["seconds_per_volume"],
        "peak_memory_bytes": peak_memory(task.device),
        "environment": environment(task.device),
        "test_data_digest": digest([pair.digest for pair in pairs]),
        "intensity_scales": {pair.subject: pair.scale for pair in pairs},
    }
    if job.training.resolved.get("grid") == "native":
        outcome["acquired_samples"] = {pair.subject: [pair.full_shape[1:], pair.file_shape[1:]] for pair in pairs}
    if "source_digest" in made["fit"]:  # weights scored again keep the mark of the file that they were trained by
        outcome["source_digest"] = made["fit"]["source_digest"]
    records.replace_scores(folder, scores, radial)
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
