"""An archive of processed volumes: which files hold volumes, on which side of a split they lie, and which are LR."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ...errors import UsageError
from ...volumes import VolumeError

SUFFIXES = (".nii", ".nii.gz", ".npy", ".mat")
_WORDS = {"train": "train", "trn": "train", "test": "test", "tst": "test", "val": "val", "valid": "val", "quick": "val"}
_BEGINNINGS = {"train": "train", "test": "test", "valid": "val"}
"""Words, and beginnings of words, in the name of a folder or file → fold. CSN calls its validation "quick"."""


@dataclass(frozen=True)
class ArchivedVolume:
    """One volume of an archive: a file, or one variable of a .mat file."""

    path: Path
    name: str
    """The path below the archive, with the variable's name where a file holds several."""
    variable: str
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """The array as it is stored, axes of length 1 dropped."""
        return read(self.path)[self.variable]


def volume_files(archive: Path) -> tuple[list[Path], list[Path]]:
    """Below `archive`: the files that may hold volumes, and all others; sorted."""
    paths = sorted(path for path in archive.rglob("*") if path.is_file() and not path.name.startswith("."))
    volumes = [path for path in paths if path.name.lower().endswith(SUFFIXES)]
    return volumes, [path for path in paths if path not in set(volumes)]


def read(path: Path) -> dict[str, np.ndarray]:
    """Variable → 3-D array, in the array's own order; a file of another kind than .mat has the one variable ''.

    Raises VolumeError where nothing in the file can be used, with the reason.
    """
    try:
        arrays = _arrays(path)
    except NotImplementedError:  # scipy's word for MATLAB 7.3, which is HDF5
        raise VolumeError(
            path,
            "is a MATLAB 7.3 file, which is not read here; in MATLAB load it and save it with '-v7', "
            "or turn it into .npy with h5py",
        ) from None
    except (ImageFileError, HeaderDataError, MatReadError, EOFError, zlib.error, OSError) as error:
        raise _damaged(path, error) from error
    except (ValueError, TypeError, KeyError, IndexError) as error:  # numpy's and scipy's for bytes out of place
        raise _damaged(path, error) from error
    arrays = {name: array.squeeze() for name, array in arrays.items() if array.dtype.kind in "biuf"}
    volumes = {name: array for name, array in arrays.items() if array.ndim == 3}
    if not volumes:
        shapes = ", ".join(str(array.shape) for array in arrays.values()) or "none"
        raise VolumeError(path, f"holds no 3-D array of real numbers (arrays: {shapes})")
    for array in volumes.values():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise VolumeError(path, "holds values that are NaN or infinite")
    return volumes


def _damaged(path: Path, error: Exception) -> VolumeError:
    return VolumeError(path, f"cannot be read; it is truncated or damaged ({error})")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if path.name.lower().endswith(".npy"):
        return {"": np.load(path, allow_pickle=False)}
    if path.name.lower().endswith(".mat"):
        content = loadmat(path)
        return {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
    return {"": np.asanyarray(nib.load(path).dataobj)}


def volumes_in(path: Path, archive: Path) -> list[ArchivedVolume]:
    """The volumes in one file. Raises VolumeError as `read` does."""
    volumes = read(path)
    name = path.relative_to(archive).as_posix()
    return [
        ArchivedVolume(path, f"{name}:{variable}" if len(volumes) > 1 else name, variable, volume.shape)
        for variable, volume in sorted(volumes.items())
    ]


def fold_of(name: str) -> str | None:
    """train, val or test by the words in a path; the innermost part that names one counts; None for none or several."""
    for part in reversed(name.split("/")):
        words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", part)]
        folds = {_WORDS[word] for word in words if word in _WORDS}
        folds |= {fold for word in words for start, fold in _BEGINNINGS.items() if word.startswith(start)}
        if folds:
            return folds.pop() if len(folds) == 1 else None
    return None


def folds_of(volumes: Sequence[ArchivedVolume]) -> dict[str, str]:
    """Volume's name → fold. Raises UsageError that names the folders which do not say one."""
    folds = {volume.name: fold_of(volume.name) for volume in volumes}
    if unclear := sorted({str(volume.path.parent) for volume in volumes if folds[volume.name] is None}):
        raise UsageError(
            f"the names of these folders and files do not say whether they are train, val or test:\n"
            f"{_shortened(unclear)}\n"
            "Rename the folders so that each name has one of these words, or move the files into such folders."
        )
    return {name: fold for name, fold in folds.items() if fold is not None}


def _shortened(names: Sequence[str], most: int = 10) -> str:
    return "\n".join([*names[:most], *([f"… and {len(names) - most} more"] if len(names) > most else [])])


def factors_of(lr: Sequence[int], hr: Sequence[int]) -> tuple[int, ...] | None:
    """HR voxels per LR voxel along each axis, where two axes are divided by 2, 3 or 4 and the third is whole."""
    if any(n % m for n, m in zip(hr, lr, strict=True)):
        return None
    factors = tuple(n // m for n, m in zip(hr, lr, strict=True))
    return factors if sorted(factors) in ([1, 2, 2], [1, 3, 3], [1, 4, 4]) else None


def split_by_resolution(volumes: Sequence[ArchivedVolume]) -> tuple[list[ArchivedVolume], list[ArchivedVolume]]:
    """The HR volumes, and the LR ones: those whose shape is a fraction of another's (`factors_of`)."""
    shapes = {volume.shape for volume in volumes}
    lr_shapes = {shape for shape in shapes if any(factors_of(shape, larger) for larger in shapes)}
    hr = [volume for volume in volumes if volume.shape not in lr_shapes]
    return hr, [volume for volume in volumes if volume.shape in lr_shapes]
