"""IXI: 582 healthy people scanned at three London hospitals, T1, T2 and PD (brain-development.org, CC BY-SA 3.0).

Files are named IXI<number>-<site>-<number>-<contrast>.nii.gz (or .nii) and lie anywhere below one directory. The first
number is the person; the site is nowhere but in the name. HH scanned on a Philips Intera 3 T, Guys on a Philips
Gyroscan Intera 1.5 T, IOP on a GE 1.5 T. Images are not defaced, and PD, T2 and T1 along A–P were interpolated by the
scanner: they are band-limited.

Sizes and checksums are those of the tars as served since 2014-10-07. `ixi_subjects.csv` lists all names with their
contrasts; it is transcribed from a public listing of the tars' members (MedARC-AI/brainmarks-smri,
scripts/ixi/tables/images.tsv). The published comparison (CSN; Zhao et al., IEEE TIP 2019) uses 576 subjects a contrast:
those with all three contrasts but IXI014-HH-1236, whose slices are too few.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from mrsr_bench.dataset import Archive, Dataset

_NAME = re.compile(r"(IXI\d{3}-(?:Guys|HH|IOP)-\d{4})-(T1|T2|PD)\.nii(?:\.gz)?", re.ASCII)
_THIN = "28 slices of about 5 mm: too few for the published crop's 96, so the subject is not among the 576"
_T2 = {"": 578, "Guys": 319, "HH": 185, "IOP": 74}
"""PD was acquired in the same sequence, of the same people."""


class Ixi(Dataset):
    licence = "CC BY-SA 3.0; acknowledge IXI dataset, brain-development.org"
    shareable = True
    address = "http://biomedic.doc.ic.ac.uk/brain-development/downloads/IXI/"
    archives = (
        Archive("IXI-T1.tar", 4_840_816_640, "56bbe911fbe967f7d1b830a552995263bdba281e0a6eb78e62f1c38d88a946a9", "T1"),
        Archive("IXI-T2.tar", 3_853_445_120, "39af50f87be8f7d0be2f166a64f5f59b5e43577255eb5613553dae37c348c2e4", "T2"),
        Archive("IXI-PD.tar", 4_068_966_400, "c00124d2409b68f9800938ede547cff71cafb0d51e19bd5138d85a4c4e144130", "PD"),
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "T1": {"": 581, "Guys": 322, "HH": 185, "IOP": 74},
        "T2": _T2,
        "PD": _T2,
        "all contrasts": {"": 577, "Guys": 319, "HH": 185, "IOP": 73},
        "usable": {"": 576, "Guys": 319, "HH": 184, "IOP": 73},
    }
    defects: ClassVar[Mapping[tuple[str, str], str]] = {
        ("IXI014-HH-1236", "T2"): _THIN,
        ("IXI014-HH-1236", "PD"): _THIN,
    }

    @classmethod
    def identify(cls, name: str) -> tuple[str, str] | None:
        match = _NAME.fullmatch(name)
        return (match[1], match[2]) if match else None

    @classmethod
    def published(cls) -> Mapping[str, tuple[str, ...]]:
        return _names()

    @classmethod
    def site(cls, subject: str) -> str:
        return subject.split("-")[1]

    @classmethod
    def unusual(cls, contrast: str, shape: Sequence[int], zooms: Sequence[float], codes: str) -> str:
        """T1: 130–150 sagittal slices of 1.2 mm, 256×256 of 0.9375 mm. PD, T2: 96–150 axial slices of about 1.25 mm,
        256×256 of 0.89–0.94 mm. The ranges of PD and T2 are from reports, not from all files."""
        sagittal = contrast == "T1"
        axis = next((i for i, code in enumerate(codes) if code in ("LR" if sagittal else "SI")), 2)
        within, across = np.delete(zooms, axis), zooms[axis]
        least, thickness, pixel = (130, (1.19, 1.21), (0.93, 0.945)) if sagittal else (96, (1.2, 1.3), (0.89, 0.945))
        odd = []
        if not least <= shape[axis] <= 150:
            odd.append(f"{shape[axis]} {'sagittal' if sagittal else 'axial'} slices")
        if tuple(np.delete(shape, axis)) != (256, 256):
            odd.append("slices of {} × {} pixels".format(*np.delete(shape, axis)))
        if not thickness[0] <= across <= thickness[1]:
            odd.append(f"slices {across:.4g} mm apart")
        if not all(pixel[0] <= mm <= pixel[1] for mm in within):
            odd.append("pixels of {:.4g} × {:.4g} mm".format(*within))
        return ", ".join(odd)


@cache
def _names() -> Mapping[str, tuple[str, ...]]:
    with Path(__file__).with_name("ixi_subjects.csv").open(newline="", encoding="utf-8") as file:
        return {row["subject"]: tuple(row["contrasts"].split()) for row in csv.DictReader(file)}
