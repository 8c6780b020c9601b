"""What the benchmarks share: scans to measure on, and rows printed as they come and written where asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from mrsr_bench.system.environment import environment
from mrsr_bench.system.files import json_text, write_text

Row = dict[str, Any]


def write_scans(root: Path, number: int, shape: Sequence[int], dtype: type[np.generic]) -> list[str]:
    """Files of smooth texture with noise, as hard to unzip as a real scan: the subjects' names; the contrast is T1."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij"))
    head = np.exp(-12 * ((grid - 0.5) ** 2).sum(axis=0)) * (1 + 0.3 * np.sin(40 * grid[0]) * np.cos(30 * grid[1]))
    peak = 190 if dtype is np.uint8 else 1000  # the noise included, 8 bits hold the former
    names = [f"subject{index:03d}" for index in range(number)]
    for name in names:
        image = peak * (head + random.normal(0, 0.02, head.shape))
        image = image.clip(0, np.iinfo(dtype).max).astype(dtype)
        nib.save(nib.Nifti1Image(image, np.diag([0.94, 0.94, 1.25, 1])), root / f"{name}-T1.nii.gz")
    return names


def publish(folder: Path, name: str, title: str, rows: Sequence[Row], device: str) -> None:
    """Write `name`.json and `name`.md, with the environment that the rows were measured in."""
    folder.mkdir(parents=True, exist_ok=True)
    made = environment(device)
    content = {"title": title, "environment": made.model_dump(), "rows": rows}
    write_text(folder / f"{name}.json", json_text(content) + "\n")
    versions = ", ".join(f"{key} {value}" for key, value in made.versions.items() if value)
    table = pd.DataFrame(rows).to_markdown(index=False)
    write_text(folder / f"{name}.md", f"# {title}\n\n{made.device}; {versions}; commit {made.git}.\n\n{table}\n")


def no_gpu() -> str | None:
    """Why nothing can be measured on a GPU here, or None."""
    import torch

    if torch.cuda.is_available():
        return None
    return f"no GPU: torch {torch.__version__} sees no CUDA device here, so nothing is measured"


def report(about: str | None, measure: Callable[[], Iterable[Row]], line: str) -> None:
    """The command line of a benchmark: prints `line`, a format of the row's keys, for every row that is measured."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="also write the figures to this file")
    path = parser.parse_args().csv
    rows = []
    for row in measure():
        rows.append(row)
        print(line.format_map(row), flush=True)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False)
