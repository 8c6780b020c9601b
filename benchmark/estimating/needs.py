"""What data a run needs, which of them are present, and how large its cache will be. Nothing is made."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ..data.folders import open_dataset
from ..dataset import Dataset
from ..errors import BenchError
from ..planning.cells import Cell
from ..protocol.loading import FOLDS, Loaded
from ..system.cache import cache_folder
from ..system.units import size_text
from ..volumes import VolumeError, centre_crop, to_plane

Folds = Mapping[str, Sequence[str]]
"""Fold → the subjects needed of it."""
_NAMED = 5
"""Most missing volumes that are named."""


class DataNeeds:
    """A protocol's data, as far as they are present."""

    def __init__(self, loaded: Loaded, folder: Path | None) -> None:
        self.loaded = loaded
        self.dataset: Dataset | None = None
        self.problem = ""
        """Why there is no data set."""
        try:
            self.dataset = open_dataset(loaded.protocol.data.dataset, folder)
        except BenchError as error:
            self.problem = str(error)
        self.shape = cache(self._shape)

    def _shape(self, contrast: str) -> tuple[int, int, int] | None:
        """The HR shape of a contrast's volumes: the protocol's crop, else that of the first one that is present."""
        data = self.loaded.protocol.data
        crop = data.cut(contrast).crop
        if crop is not None or data.grid != "file" or self.dataset is None:
            return crop
        for subject in self.loaded.split["test"]:
            try:
                volume = centre_crop(to_plane(self.dataset.load(subject, contrast), data.plane[contrast]), None)
            except (BenchError, ValueError):
                continue
            slices, rows, columns = volume.data.shape
            return slices, rows, columns
        return None

    def describe(self, needed: Sequence[tuple[Cell, Folds]]) -> list[str]:
        """Lines for the reader: the subjects needed, the volumes found, the size of the cache.

        `needed`: each base cell that is to be run, with the subjects that it needs.
        """
        subjects_of: dict[str, set[str]] = {fold: set() for fold in FOLDS}
        volumes: dict[str, set[str]] = {}
        lr_subjects: dict[tuple[str, str, tuple[int, ...], bool], set[str]] = {}
        for cell, folds in needed:
            stored = cell.degradation.round.startswith("stored")
            for fold, names in folds.items():
                subjects_of[fold].update(names)
                volumes.setdefault(cell.contrast, set()).update(names)
                kind = (cell.contrast, cell.degradation.title, cell.factors, stored)
                lr_subjects.setdefault(kind, set()).update(names)
        total = sum(map(len, volumes.values()))
        counts = " + ".join(f"{len(names)} {fold}" for fold, names in subjects_of.items() if names)
        size = 0.0
        for contrast, subjects in volumes.items():
            voxels = math.prod(self.shape(contrast) or (0,))
            size += 2 * voxels * len(subjects) if voxels else math.nan
            for (lr_contrast, _, factors, stored), lr in lr_subjects.items():
                if lr_contrast == contrast:
                    size += (2 if stored else 4) * voxels / math.prod(factors) * len(lr)
        return [
            f"needed: {counts} subjects × {', '.join(volumes)} = {total:,} volumes",
            self._describe_found(volumes, total),
            _describe_cache(size),
        ]

    def _describe_found(self, volumes: Mapping[str, set[str]], total: int) -> str:
        name = self.loaded.protocol.data.dataset
        if self.dataset is None:
            return f"not found: {self.problem}"
        missing = [
            f"{subject} {contrast}"
            for contrast, subjects in volumes.items()
            for subject in sorted(subjects)
            if not _is_present(self.dataset, subject, contrast)
        ]
        absent = f"; missing: {', '.join(missing[:_NAMED])}{' …' if len(missing) > _NAMED else ''}" if missing else ""
        where = f"in {self.dataset.root}" if self.dataset.root else "in an installed package"
        return f"found: {total - len(missing):,} of {total:,} volumes of '{name}' {where}{absent}"


def _is_present(dataset: Dataset, subject: str, contrast: str) -> bool:
    try:
        return dataset.source(subject, contrast).is_file()
    except VolumeError:
        return False


def _describe_cache(size: float) -> str:
    """The line about the cache. HR counts as int16, which IXI stores, and so does LR rounded to the stored grid."""
    folder = cache_folder()
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    if math.isnan(size):
        return f"cache: below {folder}; its size is unknown, since the protocol has no crop and no volume is present"
    short = "; too little" if free < size else ""
    return (
        f"cache: {size_text(size)} below {folder} once all volumes are prepared as int16 "
        f"({size_text(free)} free{short})"
    )
