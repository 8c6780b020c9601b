"""From a data set to what cells use: HR cut and LR made once, memory-mapped from a cache keyed by content.

<cache>/<dataset>/<subject>-<contrast>-<key>/hr.npy, hr.json, lr-<degradation>-1x2x2-<round>.npy, .json

Beside every array lies a sealed JSON file with what is to be remembered of it: the SHA-256 of the array's file and of
its values, for HR the grid and the geometry too. Both are checked when they are opened; what is damaged is made again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import Dataset
from ..degradation import add_rician, degrade
from ..errors import BenchError, UsageError
from ..method import Scan, intensity_scale
from ..protocol.loading import Loaded
from ..protocol.schema import CutSpec, DegradationSpec
from ..registry import datasets, find, load_dataset
from ..system.cache import cache_folder, content_digest
from ..system.files import DamagedFile, atomic_file, digest, read_sealed, remove_leftovers, sha256_of, write_sealed
from ..system.parallel import as_done, thread_pool
from ..volumes import Grid, Volume, VolumeError, centre_crop, to_plane
from .kspace_support import to_native_grid

_VERSION = 2
"""Raise it when prepared volumes change: old cache entries are then no longer found."""
_CHUNK = 2**16
"""Values that are hashed at once: half a megabyte."""


@dataclass(frozen=True)
class Pair:
    """One subject's HR and LR volume, memory-mapped, (slices, rows, columns), in the file's intensity units."""

    subject: str
    contrast: str
    hr_path: Path
    lr_path: Path
    grid: Grid
    spacing: tuple[float, float, float]
    """HR voxel distances in mm."""
    affine: list[list[float]]
    digest: str
    """SHA-256 over the values of HR and LR and the spacing, to 0.0001 mm: equal for equal data, whatever the names, the
    file's type and how it was prepared."""
    content: str
    """`values_digest` of HR: equal for equal images, whatever their names, files and LR."""
    file_shape: tuple[int, int, int]
    """Shape before the crop and before `native` took the acquired samples out of it."""
    full_shape: tuple[int, int, int]
    """Shape before the crop; another than the file's where HR is on its native grid."""

    @cached_property
    def hr(self) -> np.ndarray:
        return np.asarray(np.load(self.hr_path, mmap_mode="r"))

    @cached_property
    def lr(self) -> np.ndarray:
        return np.asarray(np.load(self.lr_path, mmap_mode="r"))

    @cached_property
    def scale(self) -> float:
        """The intensity scale, from LR alone."""
        return intensity_scale(self.lr)

    def scan(self, factors: Sequence[int]) -> Scan:
        """What a method sees: LR alone."""
        spacing = tuple(mm * factor for mm, factor in zip(self.spacing, factors, strict=True))
        return Scan(np.array(self.lr, np.float32), (spacing[0], spacing[1], spacing[2]), self.contrast)


def values_digest(array: np.ndarray) -> str:
    """SHA-256 over an array's shape and its values as float64, in C order.

    array: real numbers, any shape, dtype, byte order and layout. Equal arrays have equal digests; −0 equals 0. Whole
    numbers beyond 2^53 are rounded. Takes little memory besides the array. Raises TypeError for complex numbers.
    """
    sha256 = hashlib.sha256(f"{array.shape}".encode())
    flags: Any = ("external_loop", "buffered", "zerosize_ok")
    chunks = np.nditer(array, flags, op_dtypes=[np.float64], order="C", casting="same_kind", buffersize=_CHUNK)
    for values in chunks:
        sha256.update((np.asarray(values) + 0.0).astype("<f8", copy=False).tobytes())  # −0 + 0 is 0
    return sha256.hexdigest()


def data_folder(dataset: str, given: Path | None) -> Path | None:
    """Where a data set's files lie: the folder given, else MRSR_DATA/<dataset>, else None."""
    if given is not None:
        return given
    base = os.environ.get("MRSR_DATA")
    return Path(base) / dataset if base else None


def open_dataset(name: str, given: Path | None) -> Dataset:
    """The data set `name`. Raises UsageError for an unknown name and for a folder that is missing."""
    cls = load_dataset(find(name, datasets(), "data set"))
    root = data_folder(name, given)
    if cls.needs_root:
        if root is None:
            raise UsageError(f"data set '{name}' needs its folder: give --data DIR, or set MRSR_DATA (+ /{name})")
        if not root.is_dir():
            raise UsageError(f"data set '{name}': no such folder: {root}")
    return cls(root)


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

    `progress` hears how many of how many are ready. Raises BenchError that names every file which cannot be used, each
    with its reason.
    """
    pairs: dict[str, Pair] = {}
    problems: dict[str, str] = {}

    def prepare_or_say_why(subject: str) -> Pair | str:
        try:
            return _prepare(dataset, subject, contrast, cut, degradation, factors)
        except VolumeError as error:
            return str(error)

    with thread_pool(one_blas_thread=True) as pool:  # reading, hashing and products leave Python's lock alone
        for done, (subject, result) in enumerate(as_done(pool, prepare_or_say_why, subjects), start=1):
            if isinstance(result, Pair):
                pairs[subject] = result
            else:
                problems[subject] = result
            progress(done, len(subjects))
    if problems:
        reasons = [problems[subject] for subject in subjects if subject in problems]
        raise BenchError(f"{len(problems)} of {len(subjects)} volumes cannot be used:\n" + "\n".join(reasons))
    return [pairs[subject] for subject in subjects]


def demand_disjoint(folds: Mapping[str, Sequence[Pair]]) -> None:
    """Raise BenchError where two folds share a subject, or an image: the same HR values, under whatever names."""
    seen: dict[str, tuple[str, Pair]] = {}
    for fold, pairs in folds.items():
        for pair in pairs:
            for mark in (pair.subject, pair.content):
                other_fold, other = seen.setdefault(mark, (fold, pair))
                if other_fold != fold:
                    raise BenchError(
                        f"the folds {other_fold} and {fold} share an image: {other.subject} and {pair.subject} have "
                        f"the same {pair.contrast}. Correct the split or the data: an image may be in one fold only"
                    )


def padded(pairs: Sequence[Pair], cut: CutSpec) -> list[str]:
    """The subjects whose volume was smaller than the crop."""
    crop = cut.crop or (0, 0, 0)
    return [pair.subject for pair in pairs if any(n < c for n, c in zip(pair.full_shape, crop, strict=True))]


def prepare_protocol(loaded: Loaded, data: Path | None, say: Callable[[str], None]) -> None:
    """Fill the cache with all that a protocol needs. What is there is checked and left alone.

    Raises BenchError that names every file which cannot be used, after all others have been prepared.
    """
    protocol = loaded.protocol
    problems: list[str] = []
    dataset = open_dataset(protocol.data.dataset, data)
    subjects = [subject for names in loaded.split.values() for subject in names]
    for contrast in protocol.data.contrasts:
        for degradation in protocol.degradation:
            for factors in protocol.scales:
                about = f"{contrast} {degradation.title} {'×'.join(map(str, factors))}"

                def progress(done: int, total: int, about: str = about) -> None:
                    if done % 50 == 0 or done == total:
                        say(f"{about}: {done} of {total} volumes ready")

                cut = protocol.data.cut(contrast)
                try:
                    pairs = prepare(dataset, subjects, contrast, cut, degradation, factors, progress)
                except BenchError as error:
                    problems.append(str(error))
                else:
                    if small := padded(pairs, cut):
                        say(f"{about}: padded to the crop: {', '.join(small)}")
    if problems:
        raise BenchError("\n".join(dict.fromkeys(problems)))


def _prepare(
    dataset: Dataset,
    subject: str,
    contrast: str,
    cut: CutSpec,
    degradation: DegradationSpec,
    factors: tuple[int, int, int],
) -> Pair:
    source = dataset.source(subject, contrast)
    name = type(dataset).__module__.rpartition(".")[2]
    extras = cut.model_dump(exclude={"plane", "crop"})
    marks = f"{degradation.title}-{'x'.join(map(str, factors))}-{degradation.round}"
    made_of = [_VERSION, name, subject, contrast, cut.plane, cut.crop, _source_digest(source)]
    key = digest([*made_of, extras] if extras else made_of)
    folder = cache_folder() / name / f"{_safe(subject)}-{_safe(contrast)}-{key[:16]}"
    hr_path, lr_path = folder / "hr.npy", folder / f"lr-{marks}.npy"
    try:
        hr_note = _checked(hr_path)
        if hr_note is None:
            volume, about = _cut(dataset, source, subject, contrast, cut)
            hr_note = _save(hr_path, volume.data, about)
        grid = Grid(**hr_note["grid"])
        lr_note = _checked(lr_path)
        if lr_note is None:
            hr = np.load(hr_path)
            try:
                lr = _degraded(hr, degradation, factors, digest([subject, contrast, marks]))
            except ValueError as error:
                raise VolumeError(source, f"{error}; change the protocol's crop") from None
            lr = grid.apply(lr, degradation.round)
            stored = _fits(lr, hr.dtype) if grid.integer and degradation.round.startswith("stored") else np.dtype("f4")
            lr_note = _save(lr_path, lr.astype(stored), {})
    except OSError as error:
        why = error.strerror or f"{error}; is the disk full?"  # NumPy only counts what it could not write
        raise VolumeError(source, f"cannot be prepared in {cache_folder()}: {why}") from error
    spacing = tuple(hr_note["spacing"])
    return Pair(
        subject,
        contrast,
        hr_path,
        lr_path,
        grid,
        spacing,
        hr_note["affine"],
        digest([hr_note["values"], lr_note["values"], [round(mm, 4) for mm in spacing]]),
        hr_note["values"],
        tuple(hr_note["file_shape"]),
        tuple(hr_note["full_shape"]),
    )


def _source_digest(source: Path) -> str:
    try:
        return content_digest(source)
    except OSError as error:
        raise VolumeError(source, error.strerror or str(error)) from error


def _cut(dataset: Dataset, source: Path, subject: str, contrast: str, cut: CutSpec) -> tuple[Volume, dict[str, Any]]:
    """HR, and what is to be remembered of it."""
    volume = to_plane(dataset.load(subject, contrast), cut.plane)
    shape = volume.data.shape
    if cut.grid == "native":
        volume = to_native_grid(volume)
    full = volume.data.shape
    try:
        volume = centre_crop(volume, cut.crop, pad=cut.pad is not None)
    except ValueError as error:
        raise VolumeError(source, str(error)) from None
    if volume.data.min() == volume.data.max():
        raise VolumeError(source, f"{subject} {contrast} is constant inside the crop")
    about = {"spacing": volume.spacing, "affine": volume.affine.tolist(), "grid": asdict(volume.grid)}
    return volume, {**about, "file_shape": shape, "full_shape": full, "source": str(source)}


def _degraded(hr: np.ndarray, degradation: DegradationSpec, factors: Sequence[int], seed: str) -> np.ndarray:
    """LR before it is rounded. Noise is the same whenever LR of this subject is made."""
    lr = degrade(hr, degradation.name, factors, **degradation.options)
    if degradation.noise is None:
        return lr
    return add_rician(lr, degradation.noise * intensity_scale(lr), int(seed[:16], 16))


def _fits(array: np.ndarray, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`dtype` where it holds whole numbers as large as these (antialiasing overshoots), else float32."""
    if dtype.kind in "ui" and np.iinfo(dtype).min <= array.min() and array.max() <= np.iinfo(dtype).max:
        return dtype
    return np.dtype(np.float32)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _save(path: Path, array: np.ndarray, about: dict[str, Any]) -> dict[str, Any]:
    """Write an array, and beside it what is to be remembered of it with its digests; returns the latter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    with atomic_file(path) as file:
        np.save(file, array)
    note = {**about, "sha256": sha256_of(path), "values": values_digest(array)}
    write_sealed(path.with_suffix(".json"), note)
    return note


def _checked(path: Path) -> dict[str, Any] | None:
    """What is remembered of a cached array, or None where the array or its note is missing or damaged."""
    try:
        note = read_sealed(path.with_suffix(".json"))
        return note if note["sha256"] == sha256_of(path) else None
    except (FileNotFoundError, DamagedFile):
        return None
