"""Patch pairs that one core draws from the cache a second, against loading a file for each.

    python tests/bench_sampling.py [--csv PATH]

The 12 volumes are generated, 96 × 240 × 240 int16; a pair is HR 128 × 128 with its LR. Also
the time to prepare a volume and to open it again, and the memory that the sampler holds.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benching import Row, report, write_scans

HR_SIDE, SHAPE = 128, (96, 240, 240)
GOAL_PAIRS, GOAL_RATIO = 3000, 20
SECONDS = 4.0
SUBJECTS = 12


def anonymous_memory() -> float:
    """MB of this process that no file backs: mapped cache pages do not count, they can be dropped."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) / 1000


def row(what: str, value: float, goal: float | str = "–") -> Row:
    return {"what": what, "value": round(value, 3), "goal": goal}


def measure(root: Path) -> Iterator[Row]:
    """What, how much, and the goal where there is one."""
    from mrsr_bench.data.preparation import prepare
    from mrsr_bench.datasets.folder import Folder
    from mrsr_bench.method import Recipe
    from mrsr_bench.protocol.data_blocks import CutSpec, DegradationSpec
    from mrsr_bench.training.sampling import TrainingPairs
    from mrsr_bench.volumes import read_nifti

    names = write_scans(root, SUBJECTS, (256, 256, 130), np.int16)
    dataset, cut, bicubic = (
        Folder(root),
        CutSpec(plane="axial", crop=SHAPE),
        DegradationSpec(name="bicubic", round="stored"),
    )
    for what in ("prepare", "open again"):
        started = time.perf_counter()
        pairs = prepare(dataset, names, "T1", cut, bicubic, (1, 2, 2))
        yield row(f"{what}, s/volume on {os.cpu_count()} cores", (time.perf_counter() - started) / SUBJECTS)

    started = time.perf_counter()
    for name in names[:4]:
        read_nifti(root / f"{name}-T1.nii.gz")
    a_file = (time.perf_counter() - started) / len(names[:4])
    yield row("load a file, s", a_file)

    for scale in (2, 4):
        pairs = prepare(dataset, names, "T1", cut, bicubic, (1, scale, scale))
        recipe = Recipe(batch=16, lr_patch=HR_SIDE // scale)
        sampler = TrainingPairs(pairs, (1, scale, scale), recipe, slices=1, seed=0)
        for step in range(200):
            sampler.batch(step)
        before, drawn, started = anonymous_memory(), 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            sampler.batch(drawn)
            drawn += 16
        rate = drawn / (time.perf_counter() - started)
        yield row(f"×{scale} pairs/s", rate, GOAL_PAIRS)
        yield row(f"×{scale} pairs/s over files/s", rate * a_file, GOAL_RATIO)
        yield row(f"×{scale} memory gained, MB", anonymous_memory() - before, 0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MRSR_CACHE"] = f"{folder}/cache"
        report(__doc__, lambda: measure(Path(folder)), "{what:32} {value:10.3f}  goal {goal}")
