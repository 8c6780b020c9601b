"""Volumes: reading NIfTI files, orientation by the affine, planes, crops and the stored intensity grid.

Arrays leave this room as (slices, rows, columns). From a volume in RAS axes the slice axis comes first and the other
two follow in RAS order: axial (S, R, A), sagittal (R, A, S), coronal (A, R, S).
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError

from .errors import BenchError
from .files import atomic_file

PLANES = {"axial": (2, 0, 1), "sagittal": (0, 1, 2), "coronal": (1, 0, 2)}
"""Plane → the RAS axes that become (slices, rows, columns)."""
CROP_MULTIPLE = 12
"""Without a crop in the protocol, rows and columns are cropped to a multiple of this: divisible by 2, 3 and 4."""
_DAMAGE = (ImageFileError, HeaderDataError, EOFError, zlib.error, OSError, ValueError, ArithmeticError)
"""What nibabel, zlib and numpy raise on a file that is not what it should be."""
_IMAGE = re.compile(r"[^.].*\.nii(\.gz)?", re.DOTALL)
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
    its end and its checksum compared, which nibabel by itself does not do: it stops after the last voxel.
    """
    try:
        path.open("rb").close()  # what the system has to say, which nibabel does not tell
        image = nib.load(path)
        if path.suffix == ".gz":
            image = type(image).from_bytes(gzip.decompress(path.read_bytes()))
    except FileNotFoundError:
        raise VolumeError(path, "does not exist") from None
    except IsADirectoryError:
        raise VolumeError(path, "is a folder where a file is expected") from None
    except PermissionError:
        raise VolumeError(path, "may not be read: permission denied") from None
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
            raise VolumeError(path, f"has {len(shape)} dimensions {shape}; give one 2-D or 3-D image a file")
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


def centre_crop(volume: Volume, shape: Sequence[int] | None, *, pad: bool = False) -> Volume:
    """The central `shape` of a volume (the odd voxel stays at the end); None: rows and columns to a multiple of 12.

    Where the volume is smaller than the crop it is padded with zeros if `pad`, else ValueError is raised.
    """
    full = volume.data.shape
    if shape is None:
        shape = (full[0], *(n - n % CROP_MULTIPLE for n in full[1:]))
    if min(shape) == 0 or (not pad and any(n < c for n, c in zip(full, shape, strict=True))):
        raise ValueError(f"shape {full} (slices, rows, columns) is smaller than the crop {tuple(shape)}")
    lacks = [max(c - n, 0) for n, c in zip(full, shape, strict=True)]
    before = [lack // 2 for lack in lacks]
    start = [max(n - c, 0) // 2 for n, c in zip(full, shape, strict=True)]
    window = tuple(slice(s, s + c) for s, c in zip(start, shape, strict=True))
    data = np.pad(volume.data[window], [(b, lack - b) for b, lack in zip(before, lacks, strict=True)])
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (np.array(start) - before)
    return replace(volume, data=np.ascontiguousarray(data), affine=affine)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a float32 volume, gzipped and atomically, whose axes `affine` places in RAS."""
    image = nib.Nifti1Image(np.asarray(array, np.float32), affine)
    with atomic_file(path) as file:
        file.write(gzip.compress(image.to_bytes(), compresslevel=1))


def read_prediction(path: Path) -> np.ndarray:
    """The array that `write_nifti` was given, axes as they are stored. Raises VolumeError for a damaged file."""
    return np.asarray(open_nifti(path).dataobj, np.float32)


@dataclass(frozen=True)
class Archive:
    """A tar as a data set's publisher serves it."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    contrast: str
    """What its members show."""


class Dataset(ABC):
    """The contract of a data set: one file in `datasets/` that defines one subclass.

    Subjects are people (or what stands for them); a subject's contrasts stay on one side of a split. Volumes are NIfTI
    files anywhere below the root, and `identify` says which is whose; a data set that is anything else overrides
    `subjects`, `contrasts` and `source`. The rest is what is published about it, for download and audit.
    """

    needs_root: ClassVar[bool] = True
    """False where the volumes come with an installed package."""
    licence: ClassVar[str] = ""
    address: ClassVar[str] = ""
    """Where `archives` are served: the address of each is this and its name."""
    archives: ClassVar[tuple[Archive, ...]] = ()
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    """Numbers of subjects as published: a contrast, 'all contrasts' or 'usable' → site, '' for all sites → number."""
    defects: ClassVar[Mapping[tuple[str, str], str]] = {}
    """(subject, contrast) → what is known to be wrong with it. Such subjects are not among the usable."""

    def __init__(self, root: Path | None) -> None:
        self.root = root

    @classmethod
    @abstractmethod
    def identify(cls, name: str) -> tuple[str, str] | None:
        """(subject, contrast) of a file's name; None for one that is not of this data set."""

    @classmethod
    def published(cls) -> Mapping[str, tuple[str, ...]]:
        """Subject → contrasts, as published; empty where there is no such list."""
        return {}

    @classmethod
    def site(cls, subject: str) -> str:
        """Where the subject was scanned; empty where nobody knows."""
        return ""

    @classmethod
    def unusual(cls, contrast: str, shape: Sequence[int], zooms: Sequence[float], codes: str) -> str:
        """What sets a file's shape, voxel distances (mm) and axis codes (e.g. 'PSR') apart from its like, or ''."""
        return ""

    @cached_property
    def images(self) -> list[Path]:
        """Every file below the root with the name of a NIfTI image, sorted; hidden files are not among them.

        So is a folder with such a name, unless there are images in it. Raises VolumeError for a folder that cannot be
        listed: what lies in it would be missing without a word.
        """

        def stop(error: OSError) -> None:
            raise VolumeError(error.filename, f"cannot be listed: {error.strerror}") from error

        files, places = [], []
        for folder, folders, names in os.walk(self.root or Path(), onerror=stop, followlinks=True):
            files += [Path(folder, name) for name in names if _IMAGE.fullmatch(name)]
            places += [Path(folder, name) for name in folders if _IMAGE.fullmatch(name)]
        used = {place for path in files for place in path.parents}
        return sorted([*files, *(place for place in places if place not in used)])

    @cached_property
    def _files(self) -> dict[tuple[str, str], list[Path]]:
        files: dict[tuple[str, str], list[Path]] = {}
        for path in self.images:
            if (owner := self.identify(path.name)) is not None:
                files.setdefault(owner, []).append(path)
        return files

    def subjects(self) -> list[str]:
        """Every subject on hand, sorted."""
        return sorted({subject for subject, _ in self._files})

    def contrasts(self, subject: str) -> list[str]:
        """The subject's contrasts, sorted."""
        return sorted(contrast for owner, contrast in self._files if owner == subject)

    def source(self, subject: str, contrast: str) -> Path:
        """The file that the volume is read from: its bytes are what a cache entry and a record's digest stand for.

        Raises VolumeError where there is none, or more than one.
        """
        paths = self._files.get((subject, contrast), [])
        if not paths:
            expected = (self.root or Path()) / f"{subject}-{contrast}.nii.gz"
            raise VolumeError(expected, f"does not exist, nor in a subfolder; subject has {self.contrasts(subject)}")
        if len(paths) > 1:
            raise VolumeError(paths[0], f"stands for the same subject and contrast as {paths[1]}; keep one")
        return paths[0]

    def load(self, subject: str, contrast: str) -> Volume:
        """The volume in RAS axes. Raises VolumeError where its file cannot be used."""
        return read_nifti(self.source(subject, contrast))
