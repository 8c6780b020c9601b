"""Weights on disk: safetensors with a mark that names their training, and a digest of the whole content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..system.files import DamagedFile, WorkFolder, digest, read_bytes
from .cell_files import WEIGHTS
from .record import Fit, Part

_MARK, _DIGEST = "mark", "digest"


class WeightsMark(Part):
    """The training that weights come from: all this must agree before they are used."""

    train_key: str
    method: str
    version: str
    preset: str | None
    options: dict[str, Any]
    fit: Fit
    curve: str | None
    """SHA-256 of train.csv, where the suite's loop trained."""


def write_weights(folder: WorkFolder, arrays: Mapping[str, np.ndarray], mark: WeightsMark) -> str:
    """Write named arrays and their mark into a cell's folder, complete or not at all. Returns the file's SHA-256."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    mark_json = mark.model_dump_json()
    content = save(arrays, {_MARK: mark_json, _DIGEST: _digest(arrays, mark_json)})
    with folder.file(WEIGHTS) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def read_weights(folder: Path) -> tuple[dict[str, np.ndarray], WeightsMark, str] | None:
    """The arrays of a cell's folder, their mark and the file's SHA-256; None where there are none.

    Raises DamagedFile where any bit of the file differs from what `write_weights` wrote.
    """
    path = folder / WEIGHTS
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return None
    try:
        arrays = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
        mark_json = metadata[_MARK]
        if metadata[_DIGEST] != _digest(arrays, mark_json):
            raise ValueError("its digest does not match its tensors")
        return arrays, WeightsMark.model_validate_json(mark_json), hashlib.sha256(content).hexdigest()
    except KeyError as error:
        raise DamagedFile(path, f"it has no {error}") from None
    except (SafetensorError, ValidationError, ValueError, AttributeError, TypeError) as error:
        raise DamagedFile(path, str(error).partition("\n")[0]) from None


def _digest(arrays: Mapping[str, np.ndarray], mark_json: str) -> str:
    """SHA-256 over names, types, shapes and values, and over the mark as it is written."""
    parts = [
        [name, array.dtype.str, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in sorted(arrays.items())
    ]
    return digest([mark_json, parts])
