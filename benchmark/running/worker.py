"""One training and its cells: data → fit → upscale → score → record. Runs in a process that an executor gives it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

import torch

from ..data.preparation import Pair, demand_disjoint, open_dataset, padded, prepare
from ..errors import BenchError
from ..method import Method, Recipe, Task, TorchMethod
from ..planning.cells import Cell
from ..planning.entrants import words
from ..store.cell_files import VOLUMES, WEIGHTS, clear_damage, clear_stale
from ..store.locks import HeldFolder, Hold
from ..store.record import AnyRecord, DoneRecord, Fit
from ..store.weights import WeightsMark, read_weights, write_weights
from ..system.cores import threads_to_take
from ..system.environment import git_commit
from ..system.files import DamagedFile, digest, remove_leftovers, set_aside, sha256_of
from ..system.memory import keep_freed_memory
from ..system.states import CURVE, remove_states
from ..training.checkpoint import Checkpoints
from ..training.loop import TrainingStopped, train
from ..training.sampling import TrainingPairs, validation_crops
from ..training.setup import TrainingSetup
from .evaluation import Made, Predictor, evaluate, kept_volumes, macs_if_possible
from .events import Event, Prepared, Warned
from .job import Job, JobRun
from .steps import Step, is_stale, steps_of


def run_job(job: Job, held: Hold, send: Callable[[Event], None], stopping: Callable[[], bool]) -> None:
    """Run a job to the end of its last record, under the hold of its folder.

    What is on disk is looked at again first: nothing is done that another run has done meanwhile. Raises what the
    method or the data raise; records of earlier cells stand.
    """
    training = job.training
    steps = steps_of(job.store, training, job.wish, held=True)
    todo = [step for step in steps if step.acts]
    for cell in training.cells:
        remove_leftovers(job.folder(cell))
        remove_leftovers(job.folder(cell) / VOLUMES)
    if not todo:
        return
    if job.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before cuBLAS starts, as torch asks for
        torch.use_deterministic_algorithms(True)
    keep_freed_memory()
    task = replace(training.task, device="cuda" if torch.cuda.is_available() else "cpu")
    method = training.make_method()
    pairs = _pairs(job, "test", send)
    if not job.wish.score_only:
        _make_room(job, held, todo, send)
    kept = {step.cell: kept_volumes(job, held, step.cell, pairs, send) for step in todo}
    made = Made()
    if method.learns and not all(kept.values()):
        restored = _restored(job, held, method, task, steps[0].standing.record, send)
        if restored and isinstance(method, TorchMethod):
            torch.set_num_threads(_take_threads(job))
        made = restored or _fit(job, held, method, task, pairs, send, stopping)
        kept |= dict.fromkeys(_of_other_weights(steps, made))
    macs = macs_if_possible(method, task) if isinstance(method, TorchMethod) else None
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    predictor = Predictor(method, task, made, macs)
    for cell in kept:
        evaluate(job, held, cell, predictor, pairs, kept[cell], send)


def _of_other_weights(steps: list[Step], made: Made) -> list[Cell]:
    """The cells whose records, which stood until now, name other weights than those that lie there now."""
    stood = [(step.cell, step.standing.done) for step in steps if not step.acts]
    return [cell for cell, record in stood if record and record.checksums.weights not in (None, made.weights)]


def _make_room(job: Job, held: Hold, todo: list[Step], send: Callable[[Event], None]) -> None:
    """Set aside what is stale or damaged of the cells that are made now."""
    stale = is_stale(job.training, todo[0].standing)
    for step in todo:
        folder = held.folder(job.folder(step.cell))
        if stale and job.wish.redo and folder.path.is_dir():
            clear_stale(folder)
        elif step.standing.damaged:
            clear_damage(folder, step.standing.damaged)
            send(Warned(message=f"{step.cell}: {step.standing.why}. It is set aside and made anew"))


def _pairs(job: Job, fold: str, send: Callable[[Event], None]) -> list[Pair]:
    """A fold's volumes, prepared."""
    training, data = job.training, job.training.loaded.protocol.data
    cell = training.base

    def progress(done: int, total: int) -> None:
        send(Prepared(fold=fold, done=done, total=total))

    subjects = training.loaded.split[fold]
    if fold == "train":
        subjects = training.loaded.train_subjects(training.train_subjects)
    dataset, cut = open_dataset(data.dataset, job.data), data.cut(cell.contrast)
    pairs = prepare(dataset, subjects, cell.contrast, cut, cell.degradation, cell.factors, progress)
    if small := padded(pairs, cut):
        send(Warned(message=f"{cell.contrast}: smaller than the crop and padded with zeros: {', '.join(small)}"))
    return pairs


def _restored(
    job: Job, held: Hold, method: Method, task: Task, recorded: AnyRecord | None, send: Callable[[Event], None]
) -> Made | None:
    """Load the weights where they are those asked for and, where there is a record, those that it names; else None.

    Weights that cannot be used are set aside; where nothing may be trained, BenchError is raised instead.
    """
    folder = job.folder(job.training.base)
    try:
        made = _load(job, method, task, recorded)
    except DamagedFile as error:
        if job.wish.score_only:
            raise BenchError(f"{error}; set it aside and train its cell again with: bench run") from None
        held.check()
        set_aside(folder / WEIGHTS, "damaged")
        send(Warned(message=f"{error}. It is set aside and made anew"))
        return None
    if made is None and job.wish.score_only:
        raise BenchError(f"there are neither weights nor kept volumes in {folder}; train it again with: bench run")
    return made


def _load(job: Job, method: Method, task: Task, recorded: AnyRecord | None) -> Made | None:
    """Load the weights of this very training; None where there are none. Raises DamagedFile."""
    training, path = job.training, job.folder(job.training.base) / WEIGHTS
    found = read_weights(path.parent)
    if found is None:
        return None
    arrays, mark, checksum = found
    asked = training.base.train_key, training.source.name, training.version, training.options
    if (mark.train_key, mark.method, mark.version, mark.options) != asked:
        return None
    named = recorded.checksums.weights if isinstance(recorded, DoneRecord) else None
    if named not in (None, checksum):
        raise DamagedFile(path, "they are not the weights that the record beside them names")
    try:
        method.load_state(arrays, task)
    except Exception as error:
        raise DamagedFile(path, f"{training.source.name} cannot take them ({words(error)})") from None
    return Made(mark.fit, checksum, mark.curve)


def _fit(
    job: Job,
    held: Hold,
    method: Method,
    task: Task,
    test: list[Pair],
    send: Callable[[Event], None],
    stopping: Callable[[], bool],
) -> Made:
    """Train and write the weights."""
    training, folder = job.training, held.folder(job.folder(job.training.base))
    line = JobRun(send, stopping, folder.path)
    folds = {fold: _pairs(job, fold, send) for fold in ("train", "val")}
    demand_disjoint({**folds, "test": test})
    key, factors, validation = training.base.train_key, training.base.factors, training.loaded.protocol.validation
    slices = method.slices_per_sample if isinstance(method, TorchMethod) else 1
    data = TrainingPairs(folds["train"], factors, training.recipe or Recipe(), slices, task.seed)
    val = validation_crops(folds["val"], factors, validation.patches, validation.lr_patch, slices)
    marks = {
        "train_data_digest": digest([pair.digest for pair in folds["train"]]),
        "git": git_commit(),
        "source_digest": training.source.digest,
    }
    started = time.monotonic()
    if isinstance(method, TorchMethod) and training.recipe is not None:
        line.steps = training.recipe.steps
        state = digest([key, marks["train_data_digest"], training.source.digest])
        setup = TrainingSetup(method, task, training.recipe, data, val, validation.every)
        trained = train(setup, line, Checkpoints(folder, state, job.save_every), partial(_take_threads, job))
        fit = Fit(**asdict(trained), **marks)
    else:
        method.fit(task, data, val, line)
        if line.should_stop:
            raise TrainingStopped(f"stopped while {training.source.name} was fitting; the next run fits it anew")
        fit = Fit(seconds=round(time.monotonic() - started, 3), **marks)
    return _write_weights(job, folder, method, fit)


def _take_threads(job: Job) -> int:
    """The CPU threads of a network's training or, where that is over, of its evaluation; the log tells."""
    threads = threads_to_take(job.threads)
    print(f"CPU threads: {threads}", flush=True)
    return threads


def _write_weights(job: Job, folder: HeldFolder, method: Method, fit: Fit) -> Made:
    """Write what the fit learned, with whose it is; then its states are of no more use."""
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
    return Made(fit, checksum, curve)
