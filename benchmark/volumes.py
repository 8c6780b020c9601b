"""Volumes: reading NIfTI files, orientation by the affine, planes, crops and the stored intensity grid.

Arrays leave this module as (slices, rows, columns). From a volume in RAS axes the slice axis comes first and the other
two follow in RAS order: axial (S, R, A), sagittal (R, A, S), coronal (A, R, S).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
_DAMAGE = (ImageFileError, HeaderDataError, EOFError, zlib.error, OSError, ValueError, ArithmeticError)
"""What nibabel, zlib and numpy raise on a damaged file."""
_TIE = 0.5 - 1e-9
"""Fractions from here on round away from zero, so a tie does not depend on the last bits of a sum."""


class VolumeError(BenchError):
    """A file that cannot be used; the message names it and says why."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[VolumeError], tuple[str | Path, str]]:
        return type(self), (self.path, self.reason)


class SmallVolume(VolumeError):
    """A volume that is smaller than the crop."""


@dataclass(frozen=True)
class Grid:
    """The values that a file can store: integer × slope + intercept."""

    integer: bool
    slope: float = 1.0
    intercept: float = 0.0
    nonnegative: bool = False
    """True where the HR volume has no negative value: rounding then clips at 0."""

    def apply(self, array: np.ndarray, rounding: str) -> np.ndarray:
        """`array` as it would be stored. `rounding`, one of `schema.Rounding`:

        stored: to this grid, half away from zero, clipped at 0 where HR has no negative value; stored_unclipped: the
        same without the clip; clipped: the clip alone; none: as it is. Float data are never rounded, only clipped by
        `clipped`. Nothing is clipped above.
        """
        if self.integer and rounding in ("stored", "stored_unclipped"):
            array = self._rounded(array)
            if rounding == "stored" and self.nonnegative:
                array = np.maximum(array, 0.0)
        elif rounding == "clipped" and self.nonnegative:
            array = np.maximum(array, 0.0)
        return array

    def _rounded(self, array: np.ndarray) -> np.ndarray:
        stored = (np.asarray(array, np.float64) - self.intercept) / self.slope
        whole = np.trunc(stored)
        whole += np.sign(stored) * (np.abs(stored - whole) >= _TIE)
        return np.asarray(whole * self.slope + self.intercept)


@dataclass(frozen=True)
class Volume:
    """One image: `data` in the units of the file, with slope and intercept applied."""

    data: np.ndarray
    spacing: tuple[float, float, float]
    """mm along each axis of `data`."""
    affine: np.ndarray
    """(4, 4), from the indices of `data` to mm in RAS."""
    grid: Grid


def open_nifti(path: Path) -> nib.Nifti1Image:
    """The image of a NIfTI file, header and stored values, checked to be whole.

    Raises VolumeError for a file that is missing, denied, truncated, damaged or no NIfTI. A compressed file is read to
    its end and its checksum compared, which nibabel does not do: it stops after the last voxel.
    """
    try:
        path.open("rb").close()  # raises the system's own error, which nibabel hides
        image = nib.load(path)
        if path.suffix == ".gz":
            image = type(image).from_bytes(gzip.decompress(path.read_bytes()))
    except FileNotFoundError:
        raise VolumeError(path, "does not exist") from None
    except IsADirectoryError:
        raise VolumeError(path, "is a folder where a file is expected") from None
    except PermissionError:
        raise VolumeError(path, "cannot be read: permission denied") from None
    except _DAMAGE as error:
        raise VolumeError(path, f"cannot be read as NIfTI; it is truncated or damaged ({error})") from error
    return image


def read_nifti(path: Path) -> Volume:
    """Read a 2-D or 3-D NIfTI file, axes turned to the nearest RAS by its affine.

    The stored dtype is kept where slope is 1 and intercept 0; otherwise data are float32.
    Raises VolumeError for a file that is missing, truncated, empty, constant, 4-D, not real-valued or not finite.
    """
    image = open_nifti(path)
    try:
        shape = tuple(image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (2, 3):
            raise VolumeError(path, f"has {len(shape)} dimensions {shape}; a file must hold one 2-D or 3-D image")
        if min(shape) < 1:
            raise VolumeError(path, f"is empty: shape {shape}")
        stored = image.get_data_dtype()
        if stored.kind not in "uif":
            raise VolumeError(path, f"stores {stored}; only real numbers can be used")
        data = np.asanyarray(image.dataobj).reshape((*shape, 1)[:3])
        slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
        affine = np.asarray(image.affine, np.float64)
    except _DAMAGE as error:
        raise VolumeError(path, f"cannot be read as NIfTI; it is truncated or damaged ({error})") from error

    exact = slope == 1 and intercept == 0
    if not exact or (data.dtype.kind == "f" and data.dtype.itemsize > 4):
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite, an error below
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


def centre_crop(volume: Volume, shape: Sequence[int] | None, *, pad: bool = False) -> Volume:
    """The central `shape` of a volume (the odd voxel stays at the end); None: rows and columns to a multiple of 12.

    Where the volume is smaller than the crop it is padded with zeros if `pad`, else ValueError is raised.
    """
    full = volume.data.shape
    if shape is None:
        shape = (full[0], *(n - n % CROP_MULTIPLE for n in full[1:]))
    if min(shape) == 0 or (not pad and any(n < c for n, c in zip(full, shape, strict=True))):
        raise ValueError(f"shape {full} (slices, rows, columns) is smaller than the crop {tuple(shape)}")
    missing = [max(c - n, 0) for n, c in zip(full, shape, strict=True)]
    padding = [(n // 2, n - n // 2) for n in missing]
    start = [max(n - c, 0) // 2 for n, c in zip(full, shape, strict=True)]
    window = tuple(slice(s, s + c) for s, c in zip(start, shape, strict=True))
    data = np.pad(volume.data[window], padding)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (np.array(start) - [first for first, _ in padding])
    return replace(volume, data=np.ascontiguousarray(data), affine=affine)


def nifti_bytes(array: np.ndarray, affine: np.ndarray) -> bytes:
    """The gzipped NIfTI file of a float32 volume whose axes `affine` places in RAS."""
    image = nib.Nifti1Image(np.asarray(array, np.float32), affine)
    return gzip.compress(image.to_bytes(), compresslevel=1)


def read_prediction(path: Path) -> np.ndarray:
    """The array that `nifti_bytes` was given, axes as they are stored. Raises VolumeError for a damaged file."""
    return np.asarray(open_nifti(path).dataobj, np.float32)
