"""Records as a run would leave them, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrsr_bench.planning.cells import Cell, Training
from mrsr_bench.planning.planner import make_plan, plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.running.recording import done_record, undone_record
from mrsr_bench.scoring.metrics.bands import FREQUENCIES
from mrsr_bench.store.cell_files import write_record, write_scores
from mrsr_bench.store.locks import HeldFolder
from mrsr_bench.store.plan import View, add_plan
from mrsr_bench.store.record import Checksums, DoneRecord
from mrsr_bench.store.results import Store
from mrsr_bench.system.environment import Environment

Plan = tuple[Store, Any, list[Training]]
FIT: dict[str, Any] = {"parameters": 1234567, "seconds": 61.234, "train_data_digest": "same", "git": None}
MACHINE = Environment(
    device="a machine", threads=2, python="3.11", platform="Linux", versions={}, git="0123456789abcdef"
)
RECORDED: dict[str, Any] = {
    "fit": FIT,
    "macs_lr24": 5_000_000,
    "seconds_per_volume": 0.01234,
    "peak_memory_bytes": 512_000_000,
    "environment": MACHINE,
    "test_data_digest": "same",
    "intensity_scales": {},
}


def view(plan: Plan) -> View:
    """What is planned, as if it had been asked for last and by itself."""
    store, loaded, trainings = plan
    return View(store.runs / loaded.folder, (make_plan(Request(str(loaded.path)), loaded, trainings),))


def remember(plan: Plan, methods: list[str], scales: tuple[str, ...] = ()) -> Path:
    """Write down a plan, as a run would that asks for these."""
    store, loaded, _ = plan
    request = Request(str(loaded.path), methods, (), scales)
    return add_plan(store.runs / loaded.folder, make_plan(request, *plan_request(request)))


def find(trainings: list[Training], label: str, scale: str, seed: int = 0) -> tuple[Training, Cell]:
    return next((t, c) for t in trainings for c in t.cells if (c.label, c.scale, c.seed) == (label, scale, seed))


def fill(plan: Plan, label: str, scale: str, psnr: float, ssim: float, seed: int = 0, **changes: Any) -> Path:
    """Record one cell as done, with two subjects that have the figures of their mean. Returns its folder.

    `changes` replace fields of the record; a fit is made by the method's present file.
    """
    metrics = changes.pop("metrics", {"psnr": psnr, "ssim": ssim})
    return fill_subjects(plan, label, dict.fromkeys(("one", "two"), metrics), seed, scale, **changes)


def fill_scores(plan: Plan, label: str, scores: dict[str, float], seed: int = 0, scale: str = "x2") -> Path:
    """Record one cell as done with the PSNR of every subject; the record holds their mean."""
    subjects = {subject: {"psnr": psnr, "ssim": 0.9} for subject, psnr in scores.items()}
    return fill_subjects(plan, label, subjects, seed, scale)


def fill_subjects(
    plan: Plan, label: str, scores: dict[str, dict[str, float]], seed: int, scale: str, **changes: Any
) -> Path:
    """Record one cell as done with subject → metric → figure."""
    store, _, trainings = plan
    training, cell = find(trainings, label, scale, seed)
    folder = training.folder(store, cell)
    write_done(folder, training, cell, scores, **changes)
    return folder


def write_done(
    folder: Path, training: Training, cell: Cell, scores: dict[str, dict[str, float]], **changes: Any
) -> DoneRecord:
    """Write the scores and the record of a done cell into any folder."""
    figures = {**RECORDED, **changes}
    if figures["fit"] is not None:
        figures["fit"] = {"source_digest": training.source.digest, **figures["fit"]}
    folder.mkdir(parents=True, exist_ok=True)
    held = HeldFolder(folder)
    blank = np.stack([FREQUENCIES, np.zeros(len(FREQUENCIES)), np.zeros(len(FREQUENCIES))], axis=1)
    scores_sum, radial_sum = write_scores(held, scores, [blank])
    names = next(iter(scores.values()))
    record = done_record(
        training,
        cell,
        metrics={name: float(np.mean([of[name] for of in scores.values()])) for name in names},
        n=len(scores),
        checksums=Checksums(scores=scores_sum, radial=radial_sum),
        **figures,
    )
    write_record(held, record)
    return record


def write_undone(folder: Path, training: Training, cell: Cell, state: Any, error: str) -> None:
    """Write the record of a cell that has no figures."""
    folder.mkdir(parents=True, exist_ok=True)
    write_record(HeldFolder(folder), undone_record(training, cell, state, error))
