"""MNI152 T1 (2009a, 1 mm), an average of 152 adult brains that ships with nilearn: slabs of it stand for subjects.

The one stated exception to "no subject on two sides": all slabs are cut from one averaged brain. They are two axial
slices thick and eight slices apart. Good for trying the suite anywhere; no scientific claim can rest on it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mrsr_bench.dataset import Dataset
from mrsr_bench.volumes import Volume, VolumeError, read_nifti

_FILE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_THICKNESS, _PERIOD = 2, 10  # the last slice of a slab and the first of the next differ by 9
_FIRST, _LAST = 35, 145  # axial slices that show brain; those from 155 on are empty


class Mni152(Dataset):
    needs_root = False
    independent = False
    licence = (
        "Copyright (C) 1993–2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, "
        "McGill University; may be used, copied, modified and distributed where this notice appears in all copies"
    )
    shareable = True

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root)
        self._whole: Volume | None = None

    @classmethod
    def identify(cls, name: str) -> tuple[str, str] | None:
        return None  # slabs have no files of their own

    def subjects(self) -> list[str]:
        return [f"slab{z:03d}" for z in range(_FIRST, _LAST + 1, _PERIOD)]

    def contrasts(self, subject: str) -> list[str]:
        return ["T1"]

    def source(self, subject: str, contrast: str) -> Path:
        spec = find_spec("nilearn")
        path = Path(spec.submodule_search_locations[0]) / _FILE if spec and spec.submodule_search_locations else None
        if path is None or not path.is_file():
            raise VolumeError(path or "nilearn", "the installed nilearn does not hold the MNI152 T1 image")
        if subject not in self.subjects() or contrast != "T1":
            raise VolumeError(path, f"has no {subject} {contrast}; slabs are {', '.join(self.subjects())}, all T1")
        return path

    def load(self, subject: str, contrast: str) -> Volume:
        path = self.source(subject, contrast)
        if self._whole is None:
            self._whole = read_nifti(path)
        start = int(subject.removeprefix("slab"))
        affine = self._whole.affine.copy()
        affine[:3, 3] += affine[:3, 2] * start
        slab = np.ascontiguousarray(self._whole.data[:, :, start : start + _THICKNESS])
        return replace(self._whole, data=slab, affine=affine)
