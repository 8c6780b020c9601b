"""Training steps a second under the suite's loop and under a plain textbook one, both in float32.

    python tests/bench_training.py [--csv PATH]

The plain loop is torch.optim.Adam over a DataLoader with a worker for each core, whose items open a NIfTI file, take a
slice, degrade it by the suite's exact bicubic, and cut and turn a patch (tests/loops.py). The two loops take turns;
every figure is the median over the rounds. "slices" are 208 files of one slice of 192×228, uint8; "volumes" 8 files of
96 slices of 240×240, int16. docs/speed.md explains the columns.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from benching import Row, report, write_scans
from loops import Case, rounds

from mrsr_bench.data.pairs import Pair
from mrsr_bench.data.preparation import prepare
from mrsr_bench.datasets.folder import Folder
from mrsr_bench.protocol.data_blocks import CutSpec, DegradationSpec
from mrsr_bench.training.complexity import count_parameters

CASES = (
    Case("srcnn"),
    Case("edsr", "baseline"),
    Case("csn", batch=4),
    Case("rdn", batch=2),
    Case("poan", "baseline", batch=8),
)
"""The large ones have a smaller batch, so that a step lasts no more than two seconds on two cores."""
Kind = tuple[int, tuple[int, int, int], type[np.generic]]
SCANS: dict[str, Kind] = {"slices": (208, (192, 228, 1), np.uint8), "volumes": (8, (240, 240, 96), np.int16)}
"""What → files, their shape and type. Every batch above is full in every epoch of either."""
GOALS = {"edsr": 1.6, "csn": 1.6, "rdn": 1.6}
ROUNDS, SECONDS = 3, 2.0
LINE = (
    "{network:14} {data:8} textbook {textbook_steps_per_s:7} suite {suite_steps_per_s:7} steps/s  ratio {ratio:6} "
    "(goal {goal})"
)


def measure(
    root: Path,
    cases: Sequence[Case] = CASES,
    kinds: dict[str, Kind] = SCANS,
    number: int = ROUNDS,
    seconds: float = SECONDS,
) -> Iterator[Row]:
    """A row for every network and kind of scan."""
    for what, kind in kinds.items():
        paths, pairs, slices = scans(root / what, *kind)
        for case in cases:
            yield row(case, what, list(rounds(case, paths, slices, pairs, number, seconds)))


def scans(
    folder: Path, number: int, shape: tuple[int, int, int], dtype: type[np.generic]
) -> tuple[list[Path], list[Pair], int]:
    """New files, the same prepared for the suite, and the slices of a file."""
    folder.mkdir()
    names = write_scans(folder, number, shape, dtype)
    cut, bicubic = CutSpec(plane="axial"), DegradationSpec(name="bicubic", round="stored")
    pairs = prepare(Folder(folder), names, "T1", cut, bicubic, (1, 2, 2))
    return [folder / f"{name}-T1.nii.gz" for name in names], pairs, shape[2]


def row(case: Case, data: str, found: Sequence[dict[str, float]]) -> Row:
    """Medians over the rounds, each of which gives the seconds a step of both loops and of their bare steps."""
    ratio = median(one["plain"] / one["suite"] for one in found)
    loop_ratio = median(one["plain bare"] / one["suite bare"] for one in found)
    return {
        "network": case.name,
        "parameters": count_parameters(case.make(), case.task),
        "batch": case.batch,
        "lr_patch": case.lr_patch,
        "data": data,
        "textbook_steps_per_s": round(1 / median(one["plain"] for one in found), 3),
        "suite_steps_per_s": round(1 / median(one["suite"] for one in found), 3),
        "ratio": round(ratio, 2),
        "goal": GOALS.get(case.method, "–"),
        "ratio_from_step": round(loop_ratio, 2),
        "ratio_from_data": round(ratio / loop_ratio, 2),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MRSR_CACHE"] = f"{folder}/cache"
        report(__doc__, lambda: measure(Path(folder)), LINE)
