"""Volumes: reading NIfTI files, orientation by the affine, planes, crops and the stored intensity grid.

Arrays leave this room as (slices, rows, columns). From a volume in RAS axes the slice axis comes first and the other
two follow in RAS order: axial (S, R, A), sagittal (R, A, S), coronal (A, R, S).
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError

from .errors import BenchError

PLANES = {"axial": (2, 0, 1), "sagittal": (0, 1, 2), "coronal": (1, 0, 2)}
"""Plane → the RAS axes that become (slices, rows, columns)."""
CROP_MULTIPLE = 12
"""Without a crop in the protocol, rows and columns are cropped to a multiple of this: divisible by 2, 3 and 4."""
_TIE = 0.5 - 1e-9
"""Fractions from here on round away from zero, so a tie does not depend on the last bits of a sum."""


class VolumeError(BenchError):
    """A file that cannot be used; the message names it and says why."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[VolumeError], tuple[str | Path, str]]:
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class Grid:
    """The values that a file can store: integer × slope + intercept."""

    integer: bool
    slope: float = 1.0
    intercept: float = 0.0
    nonnegative: bool = False
    """True where the HR volume has no negative value: rounding then clips at 0."""

    def round(self, array: np.ndarray) -> np.ndarray:
        """`array` on this grid, half away from zero; float data come back as they are. Never clipped above."""
        if not self.integer:
            return array
        stored = (np.asarray(array, np.float64) - self.intercept) / self.slope
        whole = np.trunc(stored)
        whole += np.sign(stored) * (np.abs(stored - whole) >= _TIE)
        rounded = whole * self.slope + self.intercept
        return np.maximum(rounded, 0.0) if self.nonnegative else rounded


@dataclass(frozen=True)
class Volume:
    """One image: `data` in the units of the file, with slope and intercept applied."""

    data: np.ndarray
    spacing: tuple[float, float, float]
    """mm along each axis of `data`."""
    affine: np.ndarray
    """(4, 4), from the indices of `data` to mm in RAS."""
    grid: Grid


def read_nifti(path: Path) -> Volume:
    """Read a 2-D or 3-D NIfTI file, axes turned to the nearest RAS by its affine.

    The stored dtype is kept where slope is 1 and intercept 0; otherwise data are float32.
    Raises VolumeError for a file that is missing, truncated, empty, constant, 4-D, not real-valued or not finite.
    """
    try:
        image = nib.load(path)
        shape = tuple(image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (2, 3):
            raise VolumeError(path, f"has {len(shape)} dimensions {shape}; give one 2-D or 3-D image a file")
        if min(shape) < 1:
            raise VolumeError(path, f"is empty: shape {shape}")
        stored = image.get_data_dtype()
        if stored.kind not in "uif":
            raise VolumeError(path, f"stores {stored}; only real numbers can be used")
        data = np.asanyarray(image.dataobj).reshape((*shape, 1)[:3])
        slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
        affine = np.asarray(image.affine, np.float64)
    except FileNotFoundError:
        raise VolumeError(path, "does not exist") from None
    except (ImageFileError, HeaderDataError, EOFError, zlib.error, OSError, ValueError, ArithmeticError) as error:
        raise VolumeError(path, f"cannot be read as NIfTI; it is truncated or damaged ({error})") from error

    exact = slope == 1 and intercept == 0
    if not exact or (data.dtype.kind == "f" and data.dtype.itemsize > 4):
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is infinite, and refused below
            data = data.astype(np.float32)
    if not np.isfinite(data).all():
        raise VolumeError(path, f"holds {np.count_nonzero(~np.isfinite(data))} values that are NaN or infinite")
    if data.min() == data.max():
        raise VolumeError(path, f"is constant: every value is {data.flat[0]}")
    grid = Grid(
        stored.kind in "ui", slope if not exact else 1.0, intercept if not exact else 0.0, bool(data.min() >= 0)
    )
    orientation = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(orientation).any():
        raise VolumeError(path, "has an affine that does not say where its axes point")
    affine = affine @ inv_ornt_aff(orientation, data.shape)
    data = apply_orientation(data, orientation)
    spacing = tuple(float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    return Volume(np.ascontiguousarray(data), (spacing[0], spacing[1], spacing[2]), affine, grid)


def to_plane(volume: Volume, plane: str) -> Volume:
    """The same volume with its axes as (slices, rows, columns) of `plane`."""
    axes = PLANES[plane]
    spacing = (volume.spacing[axes[0]], volume.spacing[axes[1]], volume.spacing[axes[2]])
    return replace(
        volume,
        data=np.ascontiguousarray(volume.data.transpose(axes)),
        spacing=spacing,
        affine=volume.affine[:, [*axes, 3]],
    )


def centre_crop(volume: Volume, shape: Sequence[int] | None) -> Volume:
    """The central `shape` of a volume (the odd voxel stays at the end); None: rows and columns to a multiple of 12.

    Raises ValueError where the volume is smaller than the crop.
    """
    full = volume.data.shape
    if shape is None:
        shape = (full[0], *(n - n % CROP_MULTIPLE for n in full[1:]))
    if any(n < c or c == 0 for n, c in zip(full, shape, strict=True)):
        raise ValueError(f"shape {full} (slices, rows, columns) is smaller than the crop {tuple(shape)}")
    start = [(n - c) // 2 for n, c in zip(full, shape, strict=True)]
    window = tuple(slice(s, s + c) for s, c in zip(start, shape, strict=True))
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return replace(volume, data=np.ascontiguousarray(volume.data[window]), affine=affine)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a float32 volume whose axes `affine` places in RAS."""
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), affine), path)


class Dataset(ABC):
    """The contract of a data set: one file in `datasets/` (or loose) that defines one subclass.

    Subjects are people (or what stands for them); a subject's contrasts stay on one side of a split.
    """

    needs_root: ClassVar[bool] = True
    """False where the volumes come with an installed package."""

    def __init__(self, root: Path | None) -> None:
        self.root = root

    @abstractmethod
    def subjects(self) -> list[str]:
        """Every subject on hand, sorted."""

    @abstractmethod
    def contrasts(self, subject: str) -> list[str]:
        """The subject's contrasts, sorted."""

    @abstractmethod
    def source(self, subject: str, contrast: str) -> Path:
        """The file that the volume is read from: its bytes are what a cache entry and a record's digest stand for.

        Raises VolumeError where there is none.
        """

    def load(self, subject: str, contrast: str) -> Volume:
        """The volume in RAS axes. Raises VolumeError where its file cannot be used."""
        return read_nifti(self.source(subject, contrast))
