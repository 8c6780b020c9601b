"""A cell's exhibit on disk: a few whole slices of its predictions; beside the cells of a row their truth, once.

    <protocol>/<degradation>/<contrast>-x2/truth-<digest>.npz
    <protocol>/<degradation>/<contrast>-x2/<label>/seed0/exhibit.npz

Both are files of `images`, with one array (slices, rows, columns) a subject and kind. The truth's name is the digest of
what it says of itself, checksums of its arrays included: whoever writes it writes the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..system.files import DamagedFile, Readable, digest, remove_leftovers, set_aside
from .cell_files import EXHIBIT
from .images import MAX_SLICES, About, Number, Positive, Stored, Window, archive, as_stored, read_archive
from .locks import HeldFolder
from .record import Part

TRUTH = re.compile(r"truth-[0-9a-f]{16}\.npz")
"""The names of truth files, in the folder of a row."""
MAX_SUBJECTS = 16
Index = Annotated[int, Field(ge=0)]
Indices = Annotated[tuple[Index, ...], Field(min_length=1, max_length=MAX_SLICES)]


class TruthOf(Part):
    """The truth of one test subject."""

    subject: str
    slices: Indices
    """Numbers of HR's slices, from 0, in the volume as it was prepared: in its plane, cropped."""
    lr_slices: Indices
    """The LR slices that these lie in."""
    display: tuple[Number, Number]
    """Least and greatest intensity of these HR slices: the window to show all images of the subject in."""
    spacing: tuple[Positive, Positive, Positive]
    """HR voxel distances in mm: slices, rows, columns."""
    axes: tuple[Literal["L", "R", "A", "P", "S", "I"], ...] = Field(min_length=3, max_length=3)
    """Where slices, rows and columns count up to: left, right, anterior, posterior, superior, inferior."""
    hr: Stored
    lr: Stored


class Truth(About):
    """What a truth file holds."""

    format: Literal[1] = 1
    subjects: tuple[TruthOf, ...] = Field(min_length=1, max_length=MAX_SUBJECTS)

    @property
    def name(self) -> str:
        """That of its file."""
        return f"truth-{digest(self.model_dump(mode='json'))[:16]}.npz"

    def arrays(self) -> dict[str, Stored]:
        arrays = dict[str, Stored]()
        for number, true in enumerate(self.subjects):
            if {true.hr.shape[0], true.lr.shape[0], len(true.lr_slices)} != {len(true.slices)}:
                raise ValueError("its arrays have other numbers of slices than it says")
            arrays |= {f"hr-{number}": true.hr, f"lr-{number}": true.lr}
        return arrays


class PredictionOf(Part):
    """The predicted slices of one test subject, as they were scored."""

    subject: str
    slices: Indices
    prediction: Stored


class Predictions(About):
    """What `exhibit.npz` holds."""

    format: Literal[1] = 1
    truth: Annotated[str, Field(pattern=rf"^{TRUTH.pattern}$")]
    """Name of the truth's file, in the folder of the row."""
    subjects: tuple[PredictionOf, ...] = Field(min_length=1, max_length=MAX_SUBJECTS)

    def arrays(self) -> dict[str, Stored]:
        return {f"prediction-{number}": predicted.prediction for number, predicted in enumerate(self.subjects)}


@dataclass(frozen=True, eq=False)
class SubjectSlices:
    """What is kept of one test subject, in the file's intensity units."""

    subject: str
    slices: tuple[int, ...]
    lr_slices: tuple[int, ...]
    prediction: np.ndarray
    """(slices, rows, columns), rounded as it was scored."""
    hr: np.ndarray
    """(slices, rows, columns)."""
    lr: np.ndarray
    """(slices, LR rows, LR columns)."""
    step: float | None
    """The step of the file's intensities; None for float data."""
    spacing: tuple[float, float, float]
    axes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ExhibitSlice:
    """One slice to look at. Images are float32 in the file's intensity units, read-only, (rows, columns)."""

    subject: str
    number: int
    """Of HR's slice, from 0, in the volume as it was prepared: in its plane, cropped."""
    lr_number: int
    """The LR slice that it lies in."""
    prediction: np.ndarray
    """As it was scored: after rounding. Nothing is clipped: it may leave `display`."""
    hr: np.ndarray
    lr: np.ndarray
    """At its own resolution."""
    display: tuple[float, float]
    """Least and greatest intensity of the subject's HR slices here: the window to show every image in."""
    prediction_window: Window
    hr_window: Window
    lr_window: Window
    spacing: tuple[float, float, float]
    """HR voxel distances in mm: slices, rows, columns. Rows to columns is the aspect of a pixel."""
    axes: tuple[str, ...]
    """Where slices, rows and columns count up to: L, R, A, P, S or I."""


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What a cell keeps to be looked at."""

    slices: tuple[ExhibitSlice, ...]
    """By subject, in the order of the split, and by slice."""
    truth: str
    """Name of the truth's file: cells that share it show the same slices of the same images."""


def write_exhibit(folder: HeldFolder, row: HeldFolder, subjects: Sequence[SubjectSlices]) -> str:
    """Write a cell's exhibit into its folder, and its truth into the row's where it is not there yet, whole.

    Both are complete or absent. Returns the SHA-256 of exhibit.npz. Raises OSError, and ValueError for more than an
    exhibit may hold.
    """
    truths, truth_arrays = list[TruthOf](), dict[str, np.ndarray]()
    predictions, arrays = list[PredictionOf](), dict[str, np.ndarray]()
    for number, kept in enumerate(subjects):
        hr, truth_arrays[f"hr-{number}"] = as_stored(kept.hr, kept.step)
        lr, truth_arrays[f"lr-{number}"] = as_stored(kept.lr, kept.step)
        prediction, arrays[f"prediction-{number}"] = as_stored(kept.prediction, kept.step)
        true = {
            "subject": kept.subject,
            "slices": kept.slices,
            "lr_slices": kept.lr_slices,
            "display": (float(kept.hr.min()), float(kept.hr.max())),
            "spacing": kept.spacing,
            "axes": kept.axes,
            "hr": hr,
            "lr": lr,
        }
        truths.append(TruthOf.model_validate(true))
        predictions.append(PredictionOf(subject=kept.subject, slices=kept.slices, prediction=prediction))
    truth = Truth(subjects=tuple(truths))
    content = archive(Predictions(truth=truth.name, subjects=tuple(predictions)), arrays)
    remove_leftovers(row.path)
    path = row.path / truth.name
    if not _is_whole(path):
        if path.is_dir():
            set_aside(path, "damaged")
        with row.file(truth.name) as file:
            file.write(archive(truth, truth_arrays))
    with folder.file(EXHIBIT) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def read_exhibit(folder: Readable) -> Exhibit | None:
    """The exhibit in a cell's folder, with its truth; None where there is none.

    Runs nothing that the files hold and takes no more memory than the bounds of `images` allow. Raises DamagedFile
    where one of the two files is not, to the last bit of a value, what `write_exhibit` wrote, or the truth is missing.
    """
    path = folder / EXHIBIT
    try:
        predictions, predicted = read_archive(path, Predictions)
    except FileNotFoundError:
        return None
    truth_path = folder.parent.parent / predictions.truth
    try:
        truth, images = _read_truth(truth_path)
    except FileNotFoundError:
        raise DamagedFile(truth_path, f"it is missing, and {path} names it") from None
    shown = [(each.subject, each.slices, each.prediction.shape) for each in predictions.subjects]
    if shown != [(each.subject, each.slices, each.hr.shape) for each in truth.subjects]:
        raise DamagedFile(path, f"it has other subjects or slices than {truth_path}")
    slices = [
        ExhibitSlice(
            subject=true.subject,
            number=true.slices[index],
            lr_number=true.lr_slices[index],
            prediction=predicted[f"prediction-{number}"][index],
            hr=images[f"hr-{number}"][index],
            lr=images[f"lr-{number}"][index],
            display=true.display,
            prediction_window=predictions.subjects[number].prediction.window,
            hr_window=true.hr.window,
            lr_window=true.lr.window,
            spacing=true.spacing,
            axes=true.axes,
        )
        for number, true in enumerate(truth.subjects)
        for index in range(len(true.slices))
    ]
    return Exhibit(tuple(slices), predictions.truth)


def _read_truth(path: Readable) -> tuple[Truth, dict[str, np.ndarray]]:
    truth, images = read_archive(path, Truth)
    if truth.name != path.name:
        raise DamagedFile(path, "its name is not the digest of what it holds")
    return truth, images


def _is_whole(path: Readable) -> bool:
    try:
        _read_truth(path)
    except (FileNotFoundError, DamagedFile):
        return False
    return True
