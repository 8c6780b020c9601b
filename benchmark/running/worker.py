"""One training and its cells: data → fit → upscale → score → record. Runs in a process that an executor gives it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ..data.folders import open_dataset
from ..data.pairs import Pair, small_volumes
from ..data.preparation import prepare
from ..errors import BenchError
from ..method import Method, Task, TorchMethod
from ..planning.cells import Cell
from ..planning.entrants import error_text
from ..protocol.data_blocks import DegradationSpec
from ..store.cell_files import VOLUMES, WEIGHTS, clear_damage, clear_stale
from ..store.cross_tests import CrossStanding, cross_scores_name
from ..store.locks import Hold
from ..store.record import AnyRecord, DoneRecord
from ..store.weights import read_weights
from ..system.files import DamagedFile, remove_leftovers, set_aside
from ..system.memory import keep_freed_memory
from ..training.complexity import macs_if_possible
from .cross_testing import make_test
from .decisions import Decision, decide, is_stale
from .evaluation import Predictor, Provenance, evaluate, find_kept_volumes
from .events import Event, Prepared
from .fitting import fit, take_threads
from .job import HeldJob, Job


def run_job(job: Job, hold: Hold, send: Callable[[Event], None], stopping: Callable[[], bool]) -> None:
    """Run a job to the end of its last record, under the hold of its folder.

    What is on disk is looked at again first: nothing is done that another run has done meanwhile. Raises what the
    method or the data raise; records of earlier cells stay.
    """
    held = HeldJob(job, hold, send, stopping)
    decisions = decide(job.store, job.training, job.settings, held=True)
    for cell in job.training.cells:
        remove_leftovers(job.folder(cell))
        remove_leftovers(job.folder(cell) / VOLUMES)
    if any(decision.acts for decision in decisions):
        if job.settings.deterministic:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before cuBLAS starts, as torch asks for
            torch.use_deterministic_algorithms(True)
        keep_freed_memory()
        _make_cells(held, decisions)


def _make_cells(held: HeldJob, decisions: Sequence[Decision]) -> None:
    """Make the cells that need it: by kept volumes, else by weights, else by a training."""
    training, acting = held.training, [decision for decision in decisions if decision.acts]
    task = replace(training.task, device="cuda" if torch.cuda.is_available() else "cpu")
    method = training.make_method()
    pairs = prepare_fold(held, "test")
    if not held.settings.score_only:
        _set_aside_old_files(held, acting)
    scoring = [decision.cell for decision in acting if decision.action != "test"]
    volumes = {cell: find_kept_volumes(held, cell, pairs) for cell in scoring}
    provenance = Provenance()
    if method.learns and not all(volumes.values()):
        provenance = _restore(held, method, task, decisions[0].standing.record) or _train(held, method, task, pairs)
        volumes |= dict.fromkeys(_cells_of_other_weights(decisions, provenance))
    macs = macs_if_possible(method, task) if isinstance(method, TorchMethod) else None
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    predictor = Predictor(method, task, provenance, macs)
    for cell in volumes:
        evaluate(held, cell, predictor, pairs, volumes[cell])
    _make_tests(held, predictor)


def _make_tests(held: HeldJob, predictor: Predictor) -> None:
    """Make the tests on other LR that the cells lack; without weights, which kept volumes do without, none."""
    training = held.training
    standings = {cell: training.look(held.job.store, cell, held=True) for cell in training.cells}
    if not any(standing.open_tests for standing in standings.values()):
        return
    method, task = predictor.method, predictor.task
    has_weights = not method.learns or predictor.provenance.weights is not None
    if not (has_weights or _load_weights(held.job, method, task, standings[training.base].record)):
        held.warn(f"{training.base}: its weights are not here, so it is not tested on other LR")
        return
    for number, test in enumerate(training.base.tests):
        if cells := [cell for cell in training.cells if test.title in standings[cell].open_tests]:
            pairs = prepare_fold(held, "test", test.degradation)
            for cell in cells:
                _set_aside_damaged_test(held, cell, test.title, standings[cell].open_tests[test.title])
                make_test(held, cell, cell.tests[number], predictor, pairs)


def _set_aside_damaged_test(held: HeldJob, cell: Cell, title: str, standing: CrossStanding) -> None:
    if standing.state == "damaged":
        held.hold.check()
        set_aside(held.job.folder(cell) / cross_scores_name(title), "damaged")
        held.warn(f"{cell}: {standing.why}. It is set aside and made again")


def _train(held: HeldJob, method: Method, task: Task, test: Sequence[Pair]) -> Provenance:
    """Prepare the folds of the fit, and train. The test of a search for learning rates is its validation."""
    folds = {"train": prepare_fold(held, "train"), "val": prepare_fold(held, "val")}
    return fit(held, method, task, folds if held.training.loaded.searches_rates else {**folds, "test": test})


def _cells_of_other_weights(decisions: Sequence[Decision], provenance: Provenance) -> list[Cell]:
    """The cells that were to be kept, but whose records name other weights than those that are there now."""
    keeping = [(decision.cell, decision.standing.done) for decision in decisions if decision.action in ("keep", "test")]
    return [cell for cell, record in keeping if record and record.checksums.weights not in (None, provenance.weights)]


def _set_aside_old_files(held: HeldJob, acting: Sequence[Decision]) -> None:
    """Set aside what is stale or damaged of the cells that are made now."""
    stale = is_stale(held.training, acting[0].standing)
    for decision in acting:
        folder = held.folder(decision.cell)
        if stale and held.settings.redo and folder.path.is_dir():
            clear_stale(folder)
        elif decision.standing.damaged:
            clear_damage(folder, decision.standing.damaged)
            held.warn(f"{decision.cell}: {decision.standing.why}. It is set aside and made again")


def prepare_fold(held: HeldJob, fold: str, degradation: DegradationSpec | None = None) -> list[Pair]:
    """A fold's volumes, prepared; LR by another degradation than the training's, where one is given."""
    training, data = held.training, held.training.loaded.protocol.data
    cell = training.base

    def progress(done: int, total: int) -> None:
        held.send(Prepared(fold=fold, done=done, total=total))

    subjects = training.loaded.split[fold]
    if fold == "train":
        subjects = training.loaded.train_subjects(training.train_subjects)
    dataset, cut = open_dataset(data.dataset, held.settings.data), data.cut(cell.contrast)
    pairs = prepare(dataset, subjects, cell.contrast, cut, degradation or cell.degradation, cell.factors, progress)
    if message := small_volumes(subjects, pairs, cut):
        held.warn(f"{cell.contrast}: {message}")
    return pairs


def _restore(held: HeldJob, method: Method, task: Task, record: AnyRecord | None) -> Provenance | None:
    """Load the weights of this training, which the record, where there is one, must name; None where there are none.

    Weights that cannot be used are set aside; where nothing may be trained, BenchError is raised instead.
    """
    folder = held.job.folder(held.training.base)
    try:
        provenance = _load_weights(held.job, method, task, record)
    except DamagedFile as error:
        if held.settings.score_only:
            raise BenchError(f"{error}; set it aside and train its cell again with: bench run") from None
        held.hold.check()
        set_aside(folder / WEIGHTS, "damaged")
        held.warn(f"{error}. It is set aside and made again")
        return None
    if provenance is None and held.settings.score_only:
        raise BenchError(f"there are neither weights nor kept volumes in {folder}; train it again with: bench run")
    return provenance


def _load_weights(job: Job, method: Method, task: Task, record: AnyRecord | None) -> Provenance | None:
    """Load the weights of this very training; None where there are none. Raises DamagedFile."""
    training, path = job.training, job.folder(job.training.base) / WEIGHTS
    weights = read_weights(path.parent)
    if weights is None:
        return None
    arrays, mark, checksum = weights
    identity = training.base.train_key, training.source.name, training.version, training.options
    if (mark.train_key, mark.method, mark.version, mark.options) != identity:
        return None
    recorded = record.checksums.weights if isinstance(record, DoneRecord) else None
    if recorded not in (None, checksum):
        raise DamagedFile(path, "they are not the weights that the record beside them names")
    try:
        method.load_state(arrays, task)
    except Exception as error:
        raise DamagedFile(path, f"{training.source.name} cannot take them ({error_text(error)})") from None
    if isinstance(method, TorchMethod):
        torch.set_num_threads(take_threads(job.settings.threads))
    return Provenance(mark.fit, checksum, mark.curve)
