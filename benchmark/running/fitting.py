"""The fit of a job: a network by the suite's loop, any other method by its own `fit`; then its weights are written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

from ..data.pairs import Pair, demand_disjoint
from ..method import Method, Recipe, Task, TorchMethod
from ..planning.cells import Training
from ..store.locks import HeldFolder
from ..store.record import Fit
from ..store.weights import WeightsMark, write_weights
from ..system.cores import threads_to_take
from ..system.environment import git_commit
from ..system.files import digest, sha256_of
from ..system.training_states import CURVE, remove_states
from ..training.checkpoint import Checkpoints
from ..training.random_streams import row_seed
from ..training.sampling import TrainingPairs, validation_crops
from .evaluation import Provenance
from .job import HeldJob, Job, JobRun


def fit(held: HeldJob, method: Method, task: Task, folds: Mapping[str, Sequence[Pair]]) -> Provenance:
    """Train on the folds train and val and write the weights. Raises BenchError where an image is in two folds."""
    demand_disjoint(folds)
    training, folder = held.training, held.folder(held.training.base)
    run = JobRun(held.send, held.stopping, folder.path)
    validation, factors = training.loaded.protocol.validation, training.base.factors
    slices, seed = method.slices_per_sample if isinstance(method, TorchMethod) else 1, stream_seed(training)
    data = TrainingPairs(list(folds["train"]), factors, training.recipe or Recipe(), slices, seed)
    val = validation_crops(list(folds["val"]), factors, validation.patches, validation.lr_patch, slices)
    marks = {
        "train_data_digest": digest([pair.digest for pair in folds["train"]]),
        "git": git_commit(),
        "source_digest": training.source.digest,
    }
    if isinstance(method, TorchMethod) and training.recipe is not None:
        from ..training.loop import train  # with Fabric and timm: seconds that other methods do without
        from ..training.setup import TrainingSetup

        run.steps = training.recipe.steps
        key = digest([training.base.train_key, marks["train_data_digest"], training.source.digest])
        setup = TrainingSetup(method, task, training.recipe, data, val, validation.every, seed)
        checkpoints = Checkpoints(folder, key, held.settings.save_every)
        trained = train(setup, run, checkpoints, partial(take_threads, held.settings.threads))
        fitted = Fit(**asdict(trained), **marks)
    else:
        started = time.monotonic()
        method.fit(task, data, val, run)
        if run.should_stop:
            from ..training.loop import TrainingStopped

            raise TrainingStopped(f"stopped while {training.source.name} was fitting; the next run fits it again")
        fitted = Fit(seconds=round(time.monotonic() - started, 3), **marks)
    return _write_weights(held.job, folder, method, fitted)


def stream_seed(training: Training) -> int:
    """The seed of a training's random streams: the cell's or, with `streams: row`, one of the cell's seed and row."""
    cell = training.base
    if training.loaded.protocol.training.streams != "row":
        return cell.seed
    return row_seed(cell.seed, (cell.degradation.title, cell.contrast, cell.scale))


def take_threads(requested: int | None) -> int:
    """The CPU threads of a network's training, or of its evaluation alone; the log names them."""
    threads = threads_to_take(requested)
    print(f"CPU threads: {threads}", flush=True)
    return threads


def _write_weights(job: Job, folder: HeldFolder, method: Method, fit: Fit) -> Provenance:
    """Write what the fit learned, and whose it is; then the training's states are deleted."""
    training, path = job.training, folder.path / CURVE
    curve = sha256_of(path) if fit.steps is not None and path.is_file() else None
    mark = WeightsMark(
        train_key=training.base.train_key,
        method=training.source.name,
        version=training.version,
        preset=training.preset,
        options=training.options,
        fit=fit,
        curve=curve,
    )
    checksum = write_weights(folder, method.state(), mark)
    remove_states(folder)
    return Provenance(fit, checksum, curve)
