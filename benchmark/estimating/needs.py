"""What data a run needs: what of it is at hand, and how large its cache will be. Only looked at, nothing is made."""

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
    """A protocol's data, as far as it is at hand."""

    def __init__(self, loaded: Loaded, folder: Path | None) -> None:
        self.loaded = loaded
        self.dataset: Dataset | None = None
        self.why = ""
        """Why there is no data set."""
        try:
            self.dataset = open_dataset(loaded.protocol.data.dataset, folder)
        except BenchError as error:
            self.why = str(error)
        self.shape = cache(self._shape)

    def _shape(self, contrast: str) -> tuple[int, int, int] | None:
        """The HR shape of a contrast's volumes: the protocol's crop, else that of the first one at hand."""
        data = self.loaded.protocol.data
        if data.crop is not None or data.grid != "file" or self.dataset is None:
            return data.crop
        for subject in self.loaded.split["test"]:
            try:
                volume = centre_crop(to_plane(self.dataset.load(subject, contrast), data.plane[contrast]), None)
            except (BenchError, ValueError):
                continue
            slices, rows, columns = volume.data.shape
            return slices, rows, columns
        return None

    def lines(self, needed: Sequence[tuple[Cell, Folds]]) -> list[str]:
        """For people: what is found, who is needed, what the cache will take. `needed` by the base cells to do."""
        people: dict[str, set[str]] = {fold: set() for fold in FOLDS}
        volumes: dict[str, set[str]] = {}
        lrs: dict[tuple[str, str, tuple[int, ...], bool], set[str]] = {}
        for cell, folds in needed:
            stored = cell.degradation.round.startswith("stored")
            for fold, subjects in folds.items():
                people[fold].update(subjects)
                volumes.setdefault(cell.contrast, set()).update(subjects)
                kind = (cell.contrast, cell.degradation.title, cell.factors, stored)
                lrs.setdefault(kind, set()).update(subjects)
        total = sum(map(len, volumes.values()))
        counts = " + ".join(f"{len(names)} {fold}" for fold, names in people.items() if names)
        size = 0.0
        for contrast, all_of_it in volumes.items():
            voxels = math.prod(self.shape(contrast) or (0,))
            size += 2 * voxels * len(all_of_it) if voxels else math.nan
            for (of, _, factors, stored), low in lrs.items():
                if of == contrast:
                    size += (2 if stored else 4) * voxels / math.prod(factors) * len(low)
        return [
            f"needed: {counts} subjects × {', '.join(volumes)} = {total:,} volumes",
            self._found(volumes, total),
            _cache(size),
        ]

    def _found(self, volumes: Mapping[str, set[str]], total: int) -> str:
        name = self.loaded.protocol.data.dataset
        if self.dataset is None:
            return f"not found: {self.why}"
        missing = [
            f"{subject} {contrast}"
            for contrast, subjects in volumes.items()
            for subject in sorted(subjects)
            if not _there(self.dataset, subject, contrast)
        ]
        lacks = f"; missing: {', '.join(missing[:_NAMED])}{' …' if len(missing) > _NAMED else ''}" if missing else ""
        where = f"in {self.dataset.root}" if self.dataset.root else "in an installed package"
        return f"found: {total - len(missing):,} of {total:,} volumes of '{name}' {where}{lacks}"


def _there(dataset: Dataset, subject: str, contrast: str) -> bool:
    try:
        return dataset.source(subject, contrast).is_file()
    except VolumeError:
        return False


def _cache(size: float) -> str:
    """The cache's line; HR counts as int16, which IXI stores, and so does LR that is rounded to the stored grid."""
    folder = cache_folder()
    there = next(place for place in [folder.absolute(), *folder.absolute().parents] if place.exists())
    free = shutil.disk_usage(there).free
    if math.isnan(size):
        return f"cache: below {folder}; its size is unknown, since the protocol has no crop and no volume is at hand"
    short = "; too little" if free < size else ""
    return (
        f"cache: {size_text(size)} below {folder} once all volumes are prepared as int16 "
        f"({size_text(free)} free{short})"
    )
