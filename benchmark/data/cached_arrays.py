"""Arrays in the cache. Beside each lies a sealed JSON file, its note: digests, and what else is to be remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..system.files import DamagedFile, atomic_file, read_sealed, remove_leftovers, sha256_of, write_sealed
from .pairs import values_digest


def save_array(path: Path, array: np.ndarray, description: dict[str, Any]) -> dict[str, Any]:
    """Write an array, and its note beside it: `description`, the SHA-256 of the file and of the values. Returns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    with atomic_file(path) as file:
        np.save(file, array)
    note = {**description, "sha256": sha256_of(path), "values": values_digest(array)}
    write_sealed(path.with_suffix(".json"), note)
    return note


def checked_note(path: Path) -> dict[str, Any] | None:
    """The note of a cached array, or None where the array or its note is missing or damaged."""
    try:
        note = read_sealed(path.with_suffix(".json"))
        return note if note["sha256"] == sha256_of(path) else None
    except (FileNotFoundError, DamagedFile):
        return None
