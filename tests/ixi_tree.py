"""A tree of files with IXI's real names, sites, shapes, orientations, missing contrasts and known defects.

    python tests/ixi_tree.py DIR [--subjects IXI002-Guys-0828,IXI012-HH-1211] [--shrink 8] [--tars]

The heads are drawn, no one's: an ellipsoid with skull, folded grey and white matter, ventricles and noise, another for
every subject, the same for a subject's three contrasts but for the tissues' brightness. The same call makes the same
bytes. Full size takes about a second a file; with `shrink=8` all 1,737 files take seconds: voxels are 8 times as large
and 8³ times as few, and everything else is kept.
"""

from __future__ import annotations

import argparse
import gzip
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from mrsr_bench.datasets.ixi import Ixi

CONTRASTS = ("T1", "T2", "PD")
TISSUES = {"T1": (40, 330, 780, 560), "T2": (60, 1150, 420, 620), "PD": (80, 1200, 980, 1150)}
"""Contrast → mean brightness of skull, fluid, white and grey matter; fat and skin are as bright as white matter."""


def geometry(subject: str, contrast: str) -> tuple[tuple[int, ...], tuple[float, ...], str]:
    """Shape and voxel distances (mm) in RAS axes, and the axis codes that the file is stored in."""
    number, site = int(subject[3:6]), subject.split("-")[1]
    if contrast == "T1":
        slices = {0: 130, 1: 146, 2: 140}.get(number % 25, 150)
        return (slices, 256, 256), (1.2, 0.9375, 0.9375), "ASL" if site == "IOP" else "PSR"
    if subject == "IXI014-HH-1236":
        return (256, 256, 28), (0.898, 0.898, 4.98), "LPS"
    pixel = 0.8984 if site == "HH" and number % 3 == 0 else 0.9375
    return (256, 256, 130), (pixel, pixel, 1.25), "RAS" if site == "IOP" else "LPS"


def head(subject: str, contrast: str, shape: Sequence[int], zooms: Sequence[float]) -> np.ndarray:
    """An int16 head in RAS axes, values 0 to about 1500."""
    number = int(subject[3:6])
    random = np.random.default_rng([number, 7])
    size = np.array([72, 92, 82]) * random.uniform(0.92, 1.08, 3)
    centre, waves = random.uniform(-6, 6, 3), random.uniform(-1, 1, (3, 9, 11, 10))
    axes = [(np.arange(n) - (n - 1) / 2) * mm - c for n, mm, c in zip(shape, zooms, centre, strict=True)]
    x, y, z = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
    fields = [_smooth(wave, axes) for wave in waves]

    radius = np.sqrt((x / size[0]) ** 2 + (y / size[1]) ** 2 + (z / size[2]) ** 2) + 0.03 * fields[0]
    folds = np.sin(26 * radius + 7 * fields[1]) + np.sin(0.23 * x + 0.17 * y + 5 * fields[2])
    skull, fluid, white, grey = TISSUES[contrast]
    image = np.where(folds > -0.2, np.float32(white), np.float32(grey))
    image[(radius > 0.82) & (folds < -1.1)] = fluid
    image[(np.abs(x) / 14) ** 2 + (y / 34) ** 2 + (z / 15) ** 2 < 1 + fields[1]] = fluid
    image[radius > 0.9] = fluid
    image[radius > 0.93] = skull
    image[radius > 1.0] = white
    image[radius > 1.06] = 0
    image *= 1 + 0.15 * fields[2]

    noise = np.random.default_rng([number, CONTRASTS.index(contrast)])
    noisy = image + 12 * noise.standard_normal(image.shape, dtype=np.float32)
    return np.abs(np.rint(noisy)).astype(np.int16)


def _smooth(wave: np.ndarray, axes: Sequence[np.ndarray]) -> np.ndarray:
    """A smooth field in −1 to 1 over ±130 mm, at the voxels."""
    places = [np.clip((axis / 260 + 0.5), 0, 1) * (n - 1) for axis, n in zip(axes, wave.shape, strict=True)]
    field = wave
    for axis, place in enumerate(places):
        low = np.minimum(place.astype(int), wave.shape[axis] - 2)
        part = (place - low).reshape([-1 if i == axis else 1 for i in range(3)])
        part = part * part * (3 - 2 * part)
        field = np.take(field, low, axis) * (1 - part) + np.take(field, low + 1, axis) * part
    return field.astype(np.float32)


def volume(subject: str, contrast: str, shrink: int = 1) -> nib.Nifti1Image:
    """The image of a file, turned a few degrees out of the scanner's axes."""
    full, fine, codes = geometry(subject, contrast)
    shape, zooms = tuple(max(2, round(n / shrink)) for n in full), tuple(mm * shrink for mm in fine)
    random = np.random.default_rng([int(subject[3:6]), 3])
    affine = np.eye(4)
    affine[:3, :3] = _rotation(*random.uniform(-0.08, 0.08, 3)) @ np.diag(zooms)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    stored = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    data = nib.orientations.apply_orientation(head(subject, contrast, shape, zooms), stored)
    return nib.Nifti1Image(np.ascontiguousarray(data), affine @ inv_ornt_aff(stored, shape))


def _rotation(a: float, b: float, c: float) -> np.ndarray:
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(x @ y @ z)


def make_tree(
    root: Path,
    subjects: Iterable[str] | None = None,
    shrink: int = 1,
    contrasts: Sequence[str] = CONTRASTS,
    tars: bool = False,
) -> Path:
    """Write the files of `subjects` (None: all 582) below `root`, each in a folder for its contrast.

    With `tars`, write IXI-T1.tar and its like instead, members at their root in the order of names. A contrast that a
    subject of IXI lacks is not written.
    """
    names = Ixi.published()
    for contrast in contrasts:
        chosen = [subject for subject in (names if subjects is None else subjects) if contrast in names[subject]]
        files = {f"{subject}-{contrast}.nii.gz": (subject, contrast) for subject in sorted(chosen)}
        folder = root if tars else root / contrast
        folder.mkdir(parents=True, exist_ok=True)
        if not tars:
            for name, owner in files.items():
                (folder / name).write_bytes(_packed(*owner, shrink))
            continue
        with tarfile.open(root / f"IXI-{contrast}.tar", "w") as tar:
            for name, owner in files.items():
                content, member = _packed(*owner, shrink), tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return root


def _packed(subject: str, contrast: str, shrink: int) -> bytes:
    return gzip.compress(volume(subject, contrast, shrink).to_bytes(), compresslevel=1, mtime=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write files like IXI's.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--subjects", help="Ids with commas between; default: all.")
    parser.add_argument("--shrink", type=int, default=1)
    parser.add_argument("--tars", action="store_true")
    given = parser.parse_args()
    make_tree(given.root, given.subjects and given.subjects.split(","), given.shrink, tars=given.tars)
