"""Patch pairs that one core draws from the cache a second, against loading a file for each: [--csv PATH].

The volumes are generated, 96 × 240 × 240 int16, as many as --subjects says; a pair is HR 128 × 128 with its LR. Also
the time to prepare a volume and to open it again, and the memory that the sampler holds.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

HR_SIDE, SHAPE = 128, (96, 240, 240)
GOAL_PAIRS, GOAL_RATIO = 3000, 20
SECONDS = 4.0


def write_volumes(root: Path, subjects: int) -> list[str]:
    """Files of smooth texture with noise, as hard to unzip as a real scan."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in (256, 256, 130)), indexing="ij"))
    head = (
        1000 * np.exp(-12 * ((grid - 0.5) ** 2).sum(axis=0)) * (1 + 0.3 * np.sin(40 * grid[0]) * np.cos(30 * grid[1]))
    )
    names = [f"subject{number:03d}" for number in range(subjects)]
    for name in names:
        image = (head + random.normal(0, 20, head.shape)).clip(0).astype(np.int16)
        nib.save(nib.Nifti1Image(image, np.diag([0.94, 0.94, 1.25, 1])), root / f"{name}-T2.nii.gz")
    return names


def anonymous_memory() -> float:
    """MB of this process that no file backs: mapped cache pages do not count, they can be dropped."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) / 1000


def measure(root: Path, subjects: int) -> Iterator[tuple[str, float, str]]:
    """What, how much, and the goal in words."""
    from mrsr_bench.datasets.folder import Folder
    from mrsr_bench.method import Recipe
    from mrsr_bench.preparation import prepare
    from mrsr_bench.sampling import TrainingPairs
    from mrsr_bench.schema import Cut, Degradation
    from mrsr_bench.volumes import read_nifti

    names = write_volumes(root, subjects)
    dataset, cut, bicubic = Folder(root), Cut(plane="axial", crop=SHAPE), Degradation(name="bicubic", round="stored")
    for what in ("prepare", "open again"):
        started = time.perf_counter()
        pairs = prepare(dataset, names, "T2", cut, bicubic, (1, 2, 2))
        yield f"{what}, s/volume on {os.cpu_count()} cores", (time.perf_counter() - started) / subjects, ""

    started = time.perf_counter()
    for name in names[:4]:
        read_nifti(root / f"{name}-T2.nii.gz")
    a_file = (time.perf_counter() - started) / len(names[:4])
    yield "load a file, s", a_file, ""

    for scale in (2, 4):
        pairs = prepare(dataset, names, "T2", cut, bicubic, (1, scale, scale))
        recipe = Recipe(batch=16, lr_patch=HR_SIDE // scale)
        sampler = TrainingPairs(pairs, (1, scale, scale), recipe, slices=1, seed=0)
        for step in range(200):
            sampler.batch(step)
        before, drawn, started = anonymous_memory(), 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            sampler.batch(drawn)
            drawn += 16
        rate = drawn / (time.perf_counter() - started)
        yield f"×{scale} pairs/s", rate, f"{GOAL_PAIRS}"
        yield f"×{scale} pairs/s over files/s", rate * a_file, f"{GOAL_RATIO}"
        yield f"×{scale} memory gained, MB", anonymous_memory() - before, "0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="also write the figures to this file")
    parser.add_argument("--subjects", type=int, default=12)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MRSR_CACHE"] = f"{folder}/cache"
        for what, value, goal in measure(Path(folder), options.subjects):
            rows.append({"what": what, "value": round(value, 3), "goal": goal})
            print(f"{what:40} {value:10.3f}  {f'(goal {goal})' if goal else ''}", flush=True)
    if options.csv:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
