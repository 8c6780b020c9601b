"""Records with all that figures of data are made from: scores of subjects, curves and radial energies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recorded import FIT, Plan, write_done

from mrsr_bench.planning.cells import Cell, Training
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.scoring.metrics.bands import FREQUENCIES
from mrsr_bench.store.cell_files import RADIAL, write_record
from mrsr_bench.store.locks import HeldFolder
from mrsr_bench.store.results import Store
from mrsr_bench.store.score_files import csv_text
from mrsr_bench.system.training_states import CURVE

TINY = {"method": "edsr", "preset": "tiny"}
NETWORKS = {"srcnn": {}, "edsr": {"preset": "tiny"}, "poan": {"preset": "tiny"}}
LOOSE = '''"""A network of one layer."""

from torch import nn
from mrsr_bench import Recipe, TorchMethod


class Loose(TorchMethod):
    recipe = Recipe(lr=1e-3)

    def build(self, task):
        return nn.Sequential(nn.Conv2d(1, task.scale**2, 3, padding=1), nn.PixelShuffle(task.scale))
'''
STEPS = range(3, 31, 3)
SUBJECTS = tuple(f"subject{number:02}" for number in range(12))


def make_plan(
    write_protocol: Callable[..., Path],
    folder: Path,
    methods: dict[str, Any],
    files: Sequence[str] = (),
    **changes: Any,
) -> Plan:
    """A plan over labels with their settings and over loose files of these names, three seeds."""
    path = write_protocol(**{"methods": methods, "seeds": [0, 1, 2], **changes})
    paths = [folder / f"{name}.py" for name in files]
    for file in paths:
        file.write_text(LOOSE, encoding="utf-8")
    asked = [*methods, *map(str, paths)] if files else []
    loaded, trainings = plan_request(Request(str(path), asked))
    return Store(folder / "results"), loaded, trainings


def fill_plan(plan: Plan, wanted: Callable[[Cell], bool] = lambda cell: True) -> None:
    """Record the wanted cells with scores of twelve subjects; networks also with curve and counts."""
    order = list(dict.fromkeys(cell.label for training in plan[2] for cell in training.cells))
    for training in plan[2]:
        for cell in training.cells:
            if wanted(cell):
                fill_cell(plan, training, cell, order.index(cell.label))


def fill_cell(plan: Plan, training: Training, cell: Cell, place: int, subjects: Sequence[str] = SUBJECTS) -> Path:
    """Record a cell whose figures follow from the place of its label, its row and its seed. Returns its folder."""
    chance = np.random.default_rng([place, cell.seed, *cell.factors, *map(ord, cell.contrast)])
    learned = training.recipe is not None
    easy = np.random.default_rng(cell.factors).normal(0, 1, 12)
    quality = 36 - 2 * cell.factors[1] + 0.4 * place + (0.05 * chance.normal() if learned else 0)
    scores = {
        subject: {"psnr": float(quality + ease + 0.1 * chance.normal()), "ssim": 0.9}
        for subject, ease in zip(subjects, easy, strict=True)
    }
    folder = training.folder(plan[0], cell)
    fit = {**FIT, "parameters": 10_000 * (place + 1) ** 2} if learned else None
    record = write_done(
        folder, training, cell, scores, fit=fit, macs_lr24=3_000_000 * (place + 1) ** 2 if learned else None
    )
    texts = {RADIAL: _radial_text(place)}
    if learned and not cell.label.endswith("+"):
        texts[CURVE] = curve_text(quality, chance)
    held = HeldFolder(folder)
    for name, text in texts.items():
        held.write_text(name, text)
    sums = {name.partition(".")[0]: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    checksums = record.checksums.model_copy(update={"radial": sums["radial"], "curve": sums.get("train")})
    write_record(held, record.model_copy(update={"checksums": checksums}))
    return folder


def curve_text(quality: float, chance: np.random.Generator) -> str:
    """A train.csv: a loss every three steps, a validation every fifteen."""
    rows = [
        [
            str(step),
            repr(0.02 / step**0.3 * chance.uniform(0.9, 1.1)),
            repr(quality + step / 20) if step % 15 == 0 else "",
        ]
        for step in STEPS
    ]
    return csv_text([["step", "loss", "val_psnr"], *rows])


def _radial_text(place: int) -> str:
    truth = 1e4 * np.exp(-20 * FREQUENCIES)
    error = truth * np.clip(np.exp(40 * (FREQUENCIES - 0.25)) / (place + 1), 1e-6, 1)
    rows = np.stack([FREQUENCIES, error, truth], axis=1)
    return csv_text([["frequency", "error", "truth"], *([repr(float(value)) for value in row] for row in rows)])
