"""From a data set to what cells use: HR cut and LR made once, memory-mapped from a cache keyed by content.

<cache>/<dataset>/<subject>-<contrast>-<key>/hr.npy, hr.json, lr-<degradation>-1x2x2-<round>.npy, .json

The JSON files are notes (`cached_arrays`); that of HR holds the grid and the geometry too. Files are checked against
their notes when they are opened; what is damaged is made again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import Dataset
from ..degradation import add_rician, degrade
from ..errors import BenchError
from ..method import intensity_scale
from ..protocol.data_blocks import CutSpec, DegradationSpec
from ..protocol.loading import Loaded
from ..system.cache import cache_folder, content_digest
from ..system.files import digest
from ..system.parallel import as_done, thread_pool
from ..volumes import Grid, SmallVolume, Volume, VolumeError, centre_crop, to_plane
from .cached_arrays import checked_note, save_array
from .folders import open_dataset
from .kspace_support import to_native_grid
from .pairs import Pair, pair_digest, small_volumes

_VERSION = 2
"""Raise it when prepared volumes change: old cache entries are then no longer found."""


def prepare(
    dataset: Dataset,
    subjects: Sequence[str],
    contrast: str,
    cut: CutSpec,
    degradation: DegradationSpec,
    factors: tuple[int, int, int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Pair]:
    """The pairs of `subjects`, from the cache or made now, on all cores.

    `progress` hears how many of how many are ready. Volumes that the cut leaves out are missing in the answer. Raises
    BenchError that names every file which cannot be used, each with its reason.
    """
    pairs: dict[str, Pair] = {}
    problems: dict[str, VolumeError] = {}

    def prepare_or_say_why(subject: str) -> Pair | VolumeError:
        try:
            return _prepare(dataset, subject, contrast, cut, degradation, factors)
        except VolumeError as error:
            return error

    with thread_pool(one_blas_thread=True) as pool:  # reading, hashing and products leave Python's lock alone
        for done, (subject, result) in enumerate(as_done(pool, prepare_or_say_why, subjects), start=1):
            if isinstance(result, Pair):
                pairs[subject] = result
            else:
                problems[subject] = result
            progress(done, len(subjects))
    if cut.too_small == "leave_out" and pairs:
        problems = {subject: error for subject, error in problems.items() if not isinstance(error, SmallVolume)}
    if problems:
        reasons = [str(problems[subject]) for subject in subjects if subject in problems]
        raise BenchError(f"{len(problems)} of {len(subjects)} volumes cannot be used:\n" + "\n".join(reasons))
    return [pairs[subject] for subject in subjects if subject in pairs]


def prepare_protocol(loaded: Loaded, data: Path | None, say: Callable[[str], None]) -> None:
    """Fill the cache with all that a protocol needs. What is there is checked and left alone.

    Raises BenchError that names every file which cannot be used, after all others have been prepared.
    """
    protocol = loaded.protocol
    problems: list[str] = []
    dataset = open_dataset(protocol.data.dataset, data)
    subjects = [subject for names in loaded.split.values() for subject in names]
    needed = {degradation.title: (degradation, subjects) for degradation in protocol.degradation}
    for other in itertools.chain.from_iterable(map(protocol.cross_tests, protocol.degradation)):
        needed.setdefault(other.title, (other, list(loaded.split["test"])))
    settings = itertools.product(protocol.data.contrasts, needed.values(), protocol.scales)
    for contrast, (degradation, names), factors in settings:
        title = f"{contrast} {degradation.title} {'×'.join(map(str, factors))}"
        cut = protocol.data.cut(contrast)
        try:
            pairs = prepare(dataset, names, contrast, cut, degradation, factors, _progress(title, say))
        except BenchError as error:
            problems.append(str(error))
        else:
            if message := small_volumes(names, pairs, cut):
                say(f"{title}: {message}")
    if problems:
        raise BenchError("\n".join(dict.fromkeys(problems)))


def _progress(title: str, say: Callable[[str], None]) -> Callable[[int, int], None]:
    """What `prepare` tells of its progress: a line for every 50 volumes, and one at the end."""

    def report(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            say(f"{title}: {done} of {total} volumes ready")

    return report


@dataclass(frozen=True)
class _Original:
    """The image that a pair is made of."""

    dataset: Dataset
    subject: str
    contrast: str
    source: Path


def _prepare(
    dataset: Dataset,
    subject: str,
    contrast: str,
    cut: CutSpec,
    degradation: DegradationSpec,
    factors: tuple[int, int, int],
) -> Pair:
    """One pair, from the cache or made now. Raises VolumeError where the image cannot be used."""
    original = _Original(dataset, subject, contrast, dataset.source(subject, contrast))
    folder = _cache_entry(original, cut)
    marks = f"{degradation.title}-{'x'.join(map(str, factors))}-{degradation.round}"
    hr_path, lr_path = folder / "hr.npy", folder / f"lr-{marks}.npy"
    try:
        hr_note = checked_note(hr_path) or _make_hr(hr_path, original, cut)
        grid = Grid(**hr_note["grid"])
        lr_note = checked_note(lr_path)
        if lr_note is None:
            noise_seed = digest([subject, contrast, marks])
            lr = _rounded_lr(np.load(hr_path), grid, original.source, degradation, factors, noise_seed)
            lr_note = save_array(lr_path, lr, {})
    except OSError as error:
        why = error.strerror or f"{error}; is the disk full?"  # NumPy only counts what it could not write
        raise VolumeError(original.source, f"cannot be prepared in {cache_folder()}: {why}") from error
    spacing = tuple(hr_note["spacing"])
    return Pair(
        subject=subject,
        contrast=contrast,
        hr_path=hr_path,
        lr_path=lr_path,
        grid=grid,
        spacing=spacing,
        affine=hr_note["affine"],
        digest=pair_digest(hr_note["values"], lr_note["values"], spacing),
        content=hr_note["values"],
        file_shape=tuple(hr_note["file_shape"]),
        full_shape=tuple(hr_note["full_shape"]),
    )


def _cache_entry(original: _Original, cut: CutSpec) -> Path:
    """The folder of an image in the cache, named by what HR depends on."""
    name = type(original.dataset).__module__.rpartition(".")[2]
    extras = cut.model_dump(exclude={"plane", "crop"})
    try:
        content = content_digest(original.source)
    except OSError as error:
        raise VolumeError(original.source, error.strerror or str(error)) from error
    made_of = [_VERSION, name, original.subject, original.contrast, cut.plane, cut.crop, content]
    key = digest([*made_of, extras] if extras else made_of)
    return cache_folder() / name / f"{_safe(original.subject)}-{_safe(original.contrast)}-{key[:16]}"


def _make_hr(path: Path, original: _Original, cut: CutSpec) -> dict[str, Any]:
    """Cut HR out of the image and save it; returns its note."""
    volume = to_plane(original.dataset.load(original.subject, original.contrast), cut.plane)
    file_shape = volume.data.shape
    if cut.grid == "native":
        volume = to_native_grid(volume)
    full_shape = volume.data.shape
    volume = _cropped(volume, original, cut)
    description = {
        "spacing": volume.spacing,
        "affine": volume.affine.tolist(),
        "grid": asdict(volume.grid),
        "file_shape": file_shape,
        "full_shape": full_shape,
        "source": str(original.source),
    }
    return save_array(path, volume.data, description)


def _cropped(volume: Volume, original: _Original, cut: CutSpec) -> Volume:
    try:
        volume = centre_crop(volume, cut.crop, pad=cut.pad is not None)
    except ValueError as error:
        raise SmallVolume(original.source, str(error)) from None
    if volume.data.min() == volume.data.max():
        raise VolumeError(original.source, f"{original.subject} {original.contrast} is constant inside the crop")
    return volume


def _rounded_lr(
    hr: np.ndarray, grid: Grid, source: Path, degradation: DegradationSpec, factors: Sequence[int], noise_seed: str
) -> np.ndarray:
    """LR as it is stored: in HR's type where it is rounded to the file's grid and fits, else float32."""
    try:
        lr = _degraded(hr, degradation, factors, noise_seed)
    except ValueError as error:
        raise VolumeError(source, f"{error}; change the protocol's crop") from None
    lr = grid.apply(lr, degradation.round)
    rounded = grid.integer and degradation.round.startswith("stored")
    return lr.astype(_fitting_type(lr, hr.dtype) if rounded else np.float32)


def _degraded(hr: np.ndarray, degradation: DegradationSpec, factors: Sequence[int], noise_seed: str) -> np.ndarray:
    """LR before it is rounded. Noise is the same whenever LR of this subject is made."""
    lr = degrade(hr, degradation.name, factors, **degradation.options)
    if degradation.noise is None:
        return lr
    return add_rician(lr, degradation.noise * intensity_scale(lr), int(noise_seed[:16], 16))


def _fitting_type(array: np.ndarray, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`dtype` where it holds whole numbers as large as these (antialiasing overshoots), else float32."""
    if dtype.kind in "ui" and np.iinfo(dtype).min <= array.min() and array.max() <= np.iinfo(dtype).max:
        return dtype
    return np.dtype(np.float32)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
