"""Results for the page: records with scores, curves and slices, of any number of columns and rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figure_records
import numpy as np
from conftest import write_small_protocol
from figure_records import fill_cell, make_plan
from recorded import Plan, remember

from mrsr_bench.store.cell_files import read_record, write_record
from mrsr_bench.store.exhibit import SubjectSlices, write_exhibit
from mrsr_bench.store.locks import HeldFolder
from mrsr_bench.store.record import DoneRecord

HOSTILE = "<img src=x onerror=boom()>&\"'`${boom()}"
"""A name that would do something, were it markup or code."""
METHODS: dict[str, Any] = {"bicubic": {}, "linear": {}, "srcnn": {}, "edsr": {"preset": "tiny"}}
CLAIMS = [["edsr", "linear"], ["linear", "srcnn"]]
SHOWN = (0, 5, 11)
"""Places of the subjects that keep slices."""


def head(seed: int, size: tuple[int, int]) -> np.ndarray:
    """An image like a head: (rows, columns), smooth shapes in an ellipse, 0 to 1000."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    image = np.where(rows**2 / 0.8 + columns**2 / 0.6 < 1, 500.0, 0.0)
    for _ in range(12):
        row, column, width = *random.uniform(-0.5, 0.5, 2), random.uniform(0.05, 0.3)
        image += 300 * random.normal() * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / width**2) * (image > 0)
    return np.rint(image.clip(0, 1000))


def slices(place: int, size: tuple[int, int], subjects: Sequence[str], count: int = 1) -> list[SubjectSlices]:
    """`count` slices of every subject, those of a column at a later place with less noise; rows count to the back."""
    kept = []
    for number, subject in enumerate(subjects):
        hr = np.stack([head(10 * number + at, size) for at in range(count)])
        noise = np.random.default_rng([place, number]).normal(0, 60 / (place + 1), hr.shape)
        kept.append(
            SubjectSlices(
                subject=subject,
                slices=tuple(range(3, 3 + count)),
                lr_slices=tuple(range(3, 3 + count)),
                prediction=np.rint(hr + noise),
                hr=hr,
                lr=hr[:, ::2, ::2],
                maps={},
                step=1.0,
                spacing=(1.0, 1.0, 1.5),
                axes=("S", "P", "L"),
            )
        )
    return kept


def keep_slices(folder: Path, kept: Sequence[SubjectSlices]) -> None:
    """Add an exhibit to a recorded cell."""
    record = read_record(folder)
    assert isinstance(record, DoneRecord)
    held = HeldFolder(folder)
    checksum = write_exhibit(held, HeldFolder(folder.parents[1]), kept)
    write_record(
        held, record.model_copy(update={"checksums": record.checksums.model_copy(update={"exhibit": checksum})})
    )


def fill(
    plan: Plan,
    methods: Sequence[str],
    size: tuple[int, int] = (48, 40),
    subjects: Sequence[str] = figure_records.SUBJECTS,
    count: int = 1,
) -> Path:
    """Record every cell of a plan; those of seed 0 keep slices. Returns the results folder."""
    order = list(dict.fromkeys(cell.label for training in plan[2] for cell in training.cells))
    for training in plan[2]:
        for cell in training.cells:
            place = order.index(cell.label)
            folder = fill_cell(plan, training, cell, place, subjects)
            if cell.seed == 0:
                keep_slices(folder, slices(place, size, [subjects[number] for number in SHOWN], count))
    remember(plan, [*methods])
    return plan[0].results


def hostile_results(folder: Path, contrasts: Sequence[str], **given: Any) -> Path:
    """Five columns at two scales, three seeds; a method, a subject and the description are `HOSTILE`."""

    def write_protocol(**changes: Any) -> Path:
        return write_small_protocol(folder, **changes)

    data = {"dataset": "folder", "contrasts": [*contrasts], "split": "split.csv", "plane": "axial"}
    changes: dict[str, Any] = {"scales": [2, 4], "description": f"a protocol {HOSTILE}", "report": {"claims": CLAIMS}}
    plan = make_plan(write_protocol, folder, METHODS, (HOSTILE,), data=data, **changes)
    methods = [*METHODS, str(folder / f"{HOSTILE}.py")]
    return fill(plan, methods, subjects=[*figure_records.SUBJECTS[:-1], HOSTILE], **given)
