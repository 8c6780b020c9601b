"""The series that a cell keeps beside its figures: the curve of its training, and its error by radial frequency."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..system.files import DamagedFile, Readable, read_bytes
from ..system.training_states import CURVE
from .cell_files import RADIAL
from .record import DoneRecord

_Series = TypeVar("_Series")


@dataclass(frozen=True, eq=False)
class TrainingCurve:
    """The rows of a train.csv, in the order of the steps."""

    steps: np.ndarray
    """(rows,)"""
    losses: np.ndarray
    """(rows,): the mean loss of the steps since the row before; NaN where none was taken."""
    psnr: np.ndarray
    """(rows,): the PSNR in dB of the validation crops; NaN in rows without a validation."""


def read_curve(folder: Readable, record: DoneRecord) -> TrainingCurve | None:
    """The curve of a plain cell's training; None where its record names none or the file is absent.

    Raises DamagedFile where the file is not the one that the record names.
    """
    return _read(folder / CURVE, record.checksums.curve, _curve)


def read_radial(folder: Readable, record: DoneRecord) -> np.ndarray | None:
    """(bins, 3): radial frequency in cycles per HR pixel, energy of the error, energy of the truth, in file units².

    `scoring.score.radial_errors`, mean over the test subjects. None where the record names none or the file is absent.
    Raises DamagedFile where the file is not the one that the record names.
    """
    return _read(folder / RADIAL, record.checksums.radial, _energies)


Rows = list[dict[str, str]]


def _curve(rows: Rows) -> TrainingCurve:
    losses, psnr = (np.array([_number(row.get(name)) for row in rows]) for name in ("loss", "val_psnr"))
    return TrainingCurve(np.array([int(row["step"]) for row in rows]), losses, psnr)


def _energies(rows: Rows) -> np.ndarray:
    return np.array([[float(row[name]) for name in ("frequency", "error", "truth")] for row in rows]).reshape(-1, 3)


def _read(path: Readable, checksum: str | None, parse: Callable[[Rows], _Series]) -> _Series | None:
    """What `parse` makes of the rows of a CSV file; None where it is absent or has no checksum. Raises DamagedFile."""
    if checksum is None:
        return None
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).hexdigest() != checksum:
        raise DamagedFile(path, "it is not the file that the record names")
    try:
        return parse([*csv.DictReader(content.decode("utf-8").splitlines())])
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(path, f"it holds something else ({error})") from None


def _number(text: str | None) -> float:
    return float(text) if text else math.nan
