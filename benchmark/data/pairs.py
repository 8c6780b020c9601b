"""An HR volume and its LR: what cells use of one subject, and the digests that tell equal data from other data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BenchError
from ..method import Scan, intensity_scale
from ..protocol.data_blocks import CutSpec
from ..system.files import digest
from ..volumes import Grid

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


def pair_digest(hr_values: str, lr_values: str, spacing: Sequence[float]) -> str:
    """`Pair.digest`, from the `values_digest` of HR and of LR and the HR voxel distances in mm."""
    return digest([hr_values, lr_values, [round(mm, 4) for mm in spacing]])


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


def demand_disjoint(folds: Mapping[str, Sequence[Pair]]) -> None:
    """Raise BenchError where two folds share a subject, or an image: the same HR values, under whatever names."""
    owners: dict[str, tuple[str, Pair]] = {}
    for fold, pairs in folds.items():
        for pair in pairs:
            for mark in (pair.subject, pair.content):
                first_fold, first = owners.setdefault(mark, (fold, pair))
                if first_fold != fold:
                    raise BenchError(
                        f"the folds {first_fold} and {fold} share an image: {first.subject} and {pair.subject} have "
                        f"the same {pair.contrast}. Correct the split or the data: an image may be in one fold only"
                    )


def small_volumes(subjects: Sequence[str], pairs: Sequence[Pair], cut: CutSpec) -> str:
    """What became of the volumes of `subjects` that are smaller than the crop; '' where there are none."""
    crop, prepared = cut.crop or (0, 0, 0), {pair.subject for pair in pairs}
    padded = [pair.subject for pair in pairs if any(n < c for n, c in zip(pair.full_shape, crop, strict=True))]
    left_out = [subject for subject in subjects if subject not in prepared]
    if left_out:
        return f"smaller than the crop and left out: {', '.join(left_out)}"
    return f"smaller than the crop and padded with zeros: {', '.join(padded)}" if padded else ""
