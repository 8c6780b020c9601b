"""Where the files of a data set lie, and the data set opened there."""

from __future__ import annotations

import os
from pathlib import Path

from ..dataset import Dataset
from ..errors import UsageError
from ..registry import datasets, find_source, load_dataset


def data_folder(dataset: str, given: Path | None) -> Path | None:
    """Where a data set's files lie: the folder given, else MRSR_DATA/<dataset>, else None."""
    if given is not None:
        return given
    base = os.environ.get("MRSR_DATA")
    return Path(base) / dataset if base else None


def open_dataset(name: str, given: Path | None) -> Dataset:
    """The data set `name`. Raises UsageError for an unknown name and for a folder that is missing."""
    cls = load_dataset(find_source(name, datasets(), "data set"))
    root = data_folder(name, given)
    if cls.needs_root:
        if root is None:
            raise UsageError(f"data set '{name}' needs its folder: give --data DIR, or set MRSR_DATA (+ /{name})")
        if not root.is_dir():
            raise UsageError(f"data set '{name}': no such folder: {root}")
    return cls(root)
