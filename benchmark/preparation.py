"""From a data set to what cells use: HR cut and LR made once, memory-mapped from a cache keyed by content.

<cache>/<dataset>/<subject>-<contrast>-<key>/hr.npy, hr.json, lr-<degradation>-1x2x2-<round>.npy, .json

Every array has its SHA-256 beside it and is checked against it when it is opened; a damaged one is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from threadpoolctl import threadpool_limits

from .dataset import Dataset
from .degradation import add_rician, degrade
from .errors import BenchError, UsageError
from .files import atomic_file, write_text
from .method import Scan, intensity_scale
from .native import to_native_grid
from .protocol import Loaded, digest
from .registry import datasets, find, load_dataset
from .schema import Cut, Degradation
from .volumes import Grid, Volume, VolumeError, centre_crop, to_plane

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
    content: str
    """SHA-256 of the HR array's file: equal for equal images, whatever their names."""
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
    cut: Cut,
    degradation: Degradation,
    factors: tuple[int, int, int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Pair]:
    """The pairs of `subjects`, from the cache or made now, on all cores.

    `progress` hears how many of how many are ready. Raises BenchError that names every file which cannot be used, each
    with its reason.
    """
    pairs: dict[str, Pair] = {}
    problems: dict[str, str] = {}
    # Threads: reading, hashing and products leave Python's lock alone. One BLAS thread each, or they would wait for
    # one another.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = {
            pool.submit(_prepare, dataset, subject, contrast, cut, degradation, factors): subject
            for subject in subjects
        }
        try:
            for done, task in enumerate(as_completed(tasks), start=1):
                try:
                    pairs[tasks[task]] = task.result()
                except VolumeError as error:
                    problems[tasks[task]] = str(error)
                progress(done, len(tasks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if problems:
        reasons = [problems[subject] for subject in subjects if subject in problems]
        raise BenchError(f"{len(problems)} of {len(subjects)} volumes cannot be used:\n" + "\n".join(reasons))
    return [pairs[subject] for subject in subjects]


def demand_disjoint(folds: Mapping[str, Sequence[Pair]]) -> None:
    """Raise BenchError where two folds share a subject or an image, under whatever names."""
    seen: dict[str, tuple[str, Pair]] = {}
    for fold, pairs in folds.items():
        for pair in pairs:
            for mark in (pair.subject, pair.content):
                other, before = seen.setdefault(mark, (fold, pair))
                if other != fold:
                    raise BenchError(
                        f"the folds {other} and {fold} share an image: {before.subject} and {pair.subject} have the "
                        f"same {pair.contrast}. Mend the split or the data; a test on training data is none"
                    )


def padded(pairs: Sequence[Pair], cut: Cut) -> list[str]:
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
    cut: Cut,
    degradation: Degradation,
    factors: tuple[int, int, int],
) -> Pair:
    source = dataset.source(subject, contrast)
    name = type(dataset).__module__.rpartition(".")[2]
    extras = cut.model_dump(exclude={"plane", "crop"})
    marks = f"{degradation.title}-{'x'.join(map(str, factors))}-{degradation.round}"
    try:
        made_of = [_VERSION, name, subject, contrast, cut.plane, cut.crop, _content_digest(source)]
        key = digest([*made_of, extras] if extras else made_of)
        folder = cache_folder() / name / f"{_safe(subject)}-{_safe(contrast)}-{key[:16]}"
        hr_path, lr_path = folder / "hr.npy", folder / f"lr-{marks}.npy"
        meta = _checked(hr_path)
        if meta is None:
            folder.mkdir(parents=True, exist_ok=True)
            volume, about = _cut(dataset, source, subject, contrast, cut)
            meta = _save(hr_path, volume.data, about)
        grid = Grid(**meta["grid"])
        if _checked(lr_path) is None:
            hr = np.load(hr_path)
            try:
                lr = _degraded(hr, degradation, factors, digest([subject, contrast, marks]))
            except ValueError as error:
                raise VolumeError(source, f"{error}; change the protocol's crop") from None
            lr = grid.apply(lr, degradation.round)
            stored = _fits(lr, hr.dtype) if grid.integer and degradation.round.startswith("stored") else np.dtype("f4")
            _save(lr_path, lr.astype(stored), {})
    except OSError as error:
        why = error.strerror or f"{error}; is the disk full?"  # NumPy only counts what it could not write
        raise VolumeError(source, f"cannot be prepared in {cache_folder()}: {why}") from error
    return Pair(
        subject,
        contrast,
        hr_path,
        lr_path,
        grid,
        tuple(meta["spacing"]),
        meta["affine"],
        digest([key, marks]),
        meta["sha256"],
        tuple(meta["file_shape"]),
        tuple(meta["full_shape"]),
    )


def _cut(dataset: Dataset, source: Path, subject: str, contrast: str, cut: Cut) -> tuple[Volume, dict[str, Any]]:
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


def _degraded(hr: np.ndarray, degradation: Degradation, factors: Sequence[int], seed: str) -> np.ndarray:
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
    """Write an array, and beside it what is to be remembered of it with its checksum; returns the latter."""
    with atomic_file(path) as file:
        np.save(file, array)
    about = {**about, "sha256": _sha256(path)}
    write_text(path.with_suffix(".json"), json.dumps(about))
    return about


def _checked(path: Path) -> dict[str, Any] | None:
    """What is remembered of a cached array, or None where array or memory is missing or damaged."""
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return dict(about) if about["sha256"] == _sha256(path) else None
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_digest(path: Path) -> str:
    """SHA-256 of a file, remembered in the cache by path, size and time of change."""
    try:
        status = path.stat()
        memo = cache_folder() / "digests" / digest([str(path.resolve()), status.st_size, status.st_mtime_ns])[:32]
        if memo.is_file():
            return memo.read_text(encoding="utf-8")
        value = _sha256(path)
    except OSError as error:
        raise VolumeError(path, error.strerror or str(error)) from error
    memo.parent.mkdir(parents=True, exist_ok=True)
    write_text(memo, value)
    return value
