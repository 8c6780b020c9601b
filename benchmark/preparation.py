"""From a data set to what cells use: HR cropped and LR made once, memory-mapped from a cache keyed by content.

<cache>/<dataset>/<subject>-<contrast>-<key>/hr.npy, hr.json, lr-<degradation>-1x2x2-<round>.npy
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from .degradation import degrade
from .errors import BenchError, UsageError
from .files import atomic_file, write_text
from .method import Scan, intensity_scale
from .protocol import digest
from .registry import datasets, find, load_dataset
from .schema import Degradation
from .volumes import Dataset, Grid, VolumeError, centre_crop, to_plane

_VERSION = 1
"""Raise it when prepared volumes change: old cache entries are then no longer found."""


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
    """SHA-256 over the source file's content and all that was done to it."""

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


def cache_folder() -> Path:
    """MRSR_CACHE, else the platform's cache folder."""
    return Path(os.environ.get("MRSR_CACHE") or platformdirs.user_cache_path("mrsr-bench"))


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
    plane: str,
    crop: Sequence[int] | None,
    degradation: Degradation,
    factors: tuple[int, int, int],
) -> list[Pair]:
    """The pairs of `subjects`, from the cache or made now.

    Raises BenchError that names every file which cannot be used, each with its reason.
    """
    pairs, problems = [], []
    for subject in subjects:
        try:
            pairs.append(_prepare(dataset, subject, contrast, plane, crop, degradation, factors))
        except VolumeError as error:
            problems.append(str(error))
    if problems:
        raise BenchError(f"{len(problems)} of {len(subjects)} volumes cannot be used:\n" + "\n".join(problems))
    return pairs


def _prepare(
    dataset: Dataset,
    subject: str,
    contrast: str,
    plane: str,
    crop: Sequence[int] | None,
    degradation: Degradation,
    factors: tuple[int, int, int],
) -> Pair:
    source = dataset.source(subject, contrast)
    name = type(dataset).__module__.rpartition(".")[2]
    key = digest([_VERSION, name, subject, contrast, plane, crop, _content_digest(source)])
    folder = cache_folder() / name / f"{_safe(subject)}-{_safe(contrast)}-{key[:16]}"
    hr_path, meta_path = folder / "hr.npy", folder / "hr.json"
    if not (meta_path.is_file() and hr_path.is_file()):
        try:
            volume = centre_crop(to_plane(dataset.load(subject, contrast), plane), crop)
        except ValueError as error:
            raise VolumeError(source, str(error)) from None
        if volume.data.min() == volume.data.max():
            raise VolumeError(source, f"{subject} {contrast} is constant inside the crop")
        folder.mkdir(parents=True, exist_ok=True)
        meta = {"spacing": volume.spacing, "affine": volume.affine.tolist(), "grid": asdict(volume.grid)}
        _save(hr_path, volume.data)
        write_text(meta_path, json.dumps({**meta, "source": str(source)}))
    meta = json.loads(meta_path.read_text(encoding="utf-8"))
    grid = Grid(**meta["grid"])

    marks = f"{degradation.name}-{'x'.join(map(str, factors))}-{degradation.round}"
    lr_path = folder / f"lr-{marks}.npy"
    if not lr_path.is_file():
        hr = np.load(hr_path)
        try:
            lr = degrade(hr, degradation.name, factors)
        except ValueError as error:
            raise VolumeError(source, f"{error}; change the protocol's crop") from None
        if degradation.round == "stored":
            lr = grid.round(lr)
        stored = _fits(lr, hr.dtype) if grid.integer and degradation.round == "stored" else np.dtype(np.float32)
        _save(lr_path, lr.astype(stored))
    spacing, affine = meta["spacing"], meta["affine"]
    return Pair(
        subject, contrast, hr_path, lr_path, grid, (spacing[0], spacing[1], spacing[2]), affine, digest([key, marks])
    )


def _fits(array: np.ndarray, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`dtype` where it holds whole numbers as large as these (antialiasing overshoots), else float32."""
    if dtype.kind in "ui" and np.iinfo(dtype).min <= array.min() and array.max() <= np.iinfo(dtype).max:
        return dtype
    return np.dtype(np.float32)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_file(path) as file:
        np.save(file, array)


def _content_digest(path: Path) -> str:
    """SHA-256 of a file, remembered in the cache by path, size and time of change."""
    try:
        status = path.stat()
        memo = cache_folder() / "digests" / digest([str(path.resolve()), status.st_size, status.st_mtime_ns])[:32]
        if memo.is_file():
            return memo.read_text(encoding="utf-8")
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise VolumeError(path, error.strerror or str(error)) from error
    memo.parent.mkdir(parents=True, exist_ok=True)
    write_text(memo, value)
    return value
