"""A cell's exhibit on disk: a few whole slices of its predictions. Their truth is stored once for a row of cells.

    <protocol>/<degradation>/<contrast>-x2/truth-<digest>.npz
    <protocol>/<degradation>/<contrast>-x2/<label>/seed0/exhibit.npz

Both are files of `images`, with one array (slices, rows, columns) for each subject and kind. The truth's name is the
digest of its description, which has the checksums of its arrays: every process that writes the truth writes the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from ..system.files import DamagedFile, Readable, digest, remove_leftovers, set_aside
from .cell_files import EXHIBIT
from .images import MAX_SLICES, Description, Number, Positive, Stored, Window, archive, as_stored, read_archive
from .locks import HeldFolder
from .record import Part

TRUTH = re.compile(r"truth-[0-9a-f]{16}\.npz")
"""The names of truth files, in the folder of a row."""
MAX_SUBJECTS = 16
MAX_MAPS = 16
"""Maps of one subject."""
MapName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Index = Annotated[int, Field(ge=0)]
_NAME: TypeAdapter[str] = TypeAdapter(MapName)
Indices = Annotated[tuple[Index, ...], Field(min_length=1, max_length=MAX_SLICES)]


class SubjectTruth(Part):
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
    """The direction in which slices, rows and columns count: left, right, anterior, posterior, superior, inferior."""
    hr: Stored
    lr: Stored


class Truth(Description):
    """What a truth file holds."""

    format: Literal[1] = 1
    subjects: tuple[SubjectTruth, ...] = Field(min_length=1, max_length=MAX_SUBJECTS)

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"truth-{digest(self.model_dump(mode='json'))[:16]}.npz"

    def arrays(self) -> dict[str, Stored]:
        arrays = dict[str, Stored]()
        for number, truth in enumerate(self.subjects):
            if {truth.hr.shape[0], truth.lr.shape[0], len(truth.lr_slices)} != {len(truth.slices)}:
                raise ValueError("its arrays have other numbers of slices than its description says")
            arrays |= {f"hr-{number}": truth.hr, f"lr-{number}": truth.lr}
        return arrays


class SubjectPrediction(Part):
    """The predicted slices of one test subject, as they were scored."""

    subject: str
    slices: Indices
    prediction: Stored
    maps: dict[MapName, Stored] = Field(default_factory=dict, max_length=MAX_MAPS)
    """What the method says that it looks at (`Method.maps`), of the LR slices."""


class Predictions(Description):
    """What `exhibit.npz` holds."""

    format: Literal[1] = 1
    truth: Annotated[str, Field(pattern=rf"^{TRUTH.pattern}$")]
    """Name of the truth's file, in the folder of the row."""
    subjects: tuple[SubjectPrediction, ...] = Field(min_length=1, max_length=MAX_SUBJECTS)

    def arrays(self) -> dict[str, Stored]:
        arrays = dict[str, Stored]()
        for number, subject in enumerate(self.subjects):
            if any(stored.shape[0] != len(subject.slices) for stored in subject.maps.values()):
                raise ValueError("its maps have other numbers of slices than its description says")
            arrays[f"prediction-{number}"] = subject.prediction
            arrays |= {_map_member(number, index): stored for index, stored in enumerate(subject.maps.values())}
        return arrays


@dataclass(frozen=True, eq=False)
class SubjectSlices:
    """The slices of one test subject to keep, in the file's intensity units."""

    subject: str
    slices: tuple[int, ...]
    lr_slices: tuple[int, ...]
    prediction: np.ndarray
    """(slices, rows, columns), rounded as it was scored."""
    hr: np.ndarray
    """(slices, rows, columns)."""
    lr: np.ndarray
    """(slices, LR rows, LR columns)."""
    maps: Mapping[str, np.ndarray]
    """Name → (slices, rows, columns) of the LR slices, of any size and unit; `check_maps` passed."""
    step: float | None
    """The step of the file's intensities; None for float data."""
    spacing: tuple[float, float, float]
    axes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ExhibitSlice:
    """One slice to show. Images are float32 in the file's intensity units, read-only, (rows, columns)."""

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
    maps: Mapping[str, np.ndarray]
    """The method's maps of the LR slice, by name, each at its own resolution, in a unit of its own."""
    display: tuple[float, float]
    """Least and greatest intensity of the subject's HR slices here: the window to show every image in."""
    prediction_window: Window
    hr_window: Window
    lr_window: Window
    spacing: tuple[float, float, float]
    """HR voxel distances in mm: slices, rows, columns. Rows to columns is the aspect of a pixel."""
    axes: tuple[str, ...]
    """The direction in which slices, rows and columns count: L, R, A, P, S or I."""


@dataclass(frozen=True, eq=False)
class Exhibit:
    """The slices that a cell keeps for figures and pages."""

    slices: tuple[ExhibitSlice, ...]
    """By subject, in the order of the split, and by slice."""
    truth: str
    """Name of the truth's file: cells that share it show the same slices of the same images."""


def check_maps(maps: Mapping[str, np.ndarray], depth: int) -> None:
    """Raise ValueError that says what an exhibit cannot keep of a method's maps of a volume of `depth` LR slices."""
    if len(maps) > MAX_MAPS:
        raise ValueError(f"{len(maps)} maps; at most {MAX_MAPS} are kept")
    for name, value in maps.items():
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise ValueError(f"a map's name must be text of 1 to 60 letters, not {name!r}") from None
        if value.ndim != 3 or len(value) != depth or not value.size > 0:
            raise ValueError(f"map '{name}' must be (slices, rows, columns) with {depth} slices, not {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"map '{name}' has values that are not finite")


def write_exhibit(folder: HeldFolder, row: HeldFolder, subjects: Sequence[SubjectSlices]) -> str:
    """Write a cell's exhibit into its folder, and its truth into the row's, unless it is there and undamaged.

    Both are complete or absent. Returns the SHA-256 of exhibit.npz. Raises OSError, and ValueError for more than an
    exhibit may hold.
    """
    truths, truth_arrays = list[SubjectTruth](), dict[str, np.ndarray]()
    predictions, arrays = list[SubjectPrediction](), dict[str, np.ndarray]()
    for number, selection in enumerate(subjects):
        hr, truth_arrays[f"hr-{number}"] = as_stored(selection.hr, selection.step)
        lr, truth_arrays[f"lr-{number}"] = as_stored(selection.lr, selection.step)
        prediction, arrays[f"prediction-{number}"] = as_stored(selection.prediction, selection.step)
        subject_truth = {
            "subject": selection.subject,
            "slices": selection.slices,
            "lr_slices": selection.lr_slices,
            "display": (float(selection.hr.min()), float(selection.hr.max())),
            "spacing": selection.spacing,
            "axes": selection.axes,
            "hr": hr,
            "lr": lr,
        }
        truths.append(SubjectTruth.model_validate(subject_truth))
        maps = dict[str, Stored]()
        for index, name in enumerate(selection.maps):
            maps[name], arrays[_map_member(number, index)] = as_stored(selection.maps[name], None)
        predictions.append(
            SubjectPrediction(subject=selection.subject, slices=selection.slices, prediction=prediction, maps=maps)
        )
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

    Runs nothing from the files and takes no more memory than the bounds of `images` allow. Raises DamagedFile where the
    truth is missing, or any bit of a value in one of the two files differs from what `write_exhibit` wrote.
    """
    path = folder / EXHIBIT
    try:
        predictions, predicted_images = read_archive(path, Predictions)
    except FileNotFoundError:
        return None
    truth_path = folder.parent.parent / predictions.truth
    try:
        truth, truth_images = _read_truth(truth_path)
    except FileNotFoundError:
        raise DamagedFile(truth_path, f"it is missing, but {path} names it") from None
    predicted_slices = [(subject.subject, subject.slices, subject.prediction.shape) for subject in predictions.subjects]
    if predicted_slices != [(subject.subject, subject.slices, subject.hr.shape) for subject in truth.subjects]:
        raise DamagedFile(path, f"it has other subjects or slices than {truth_path}")
    slices = [
        ExhibitSlice(
            subject=subject.subject,
            number=subject.slices[index],
            lr_number=subject.lr_slices[index],
            prediction=predicted_images[f"prediction-{number}"][index],
            hr=truth_images[f"hr-{number}"][index],
            lr=truth_images[f"lr-{number}"][index],
            maps={
                name: predicted_images[_map_member(number, place)][index]
                for place, name in enumerate(predictions.subjects[number].maps)
            },
            display=subject.display,
            prediction_window=predictions.subjects[number].prediction.window,
            hr_window=subject.hr.window,
            lr_window=subject.lr.window,
            spacing=subject.spacing,
            axes=subject.axes,
        )
        for number, subject in enumerate(truth.subjects)
        for index in range(len(subject.slices))
    ]
    return Exhibit(tuple(slices), predictions.truth)


def _read_truth(path: Readable) -> tuple[Truth, dict[str, np.ndarray]]:
    truth, images = read_archive(path, Truth)
    if truth.name != path.name:
        raise DamagedFile(path, "its name is not the digest of its content")
    return truth, images


def _map_member(subject: int, index: int) -> str:
    return f"map-{subject}-{index}"


def _is_whole(path: Readable) -> bool:
    try:
        _read_truth(path)
    except (FileNotFoundError, DamagedFile):
        return False
    return True
