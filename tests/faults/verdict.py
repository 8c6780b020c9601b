"""Checks of the results: every cell is done once, with the figures of an undisturbed run."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from mrsr_bench.store.cell_files import EXHIBIT, RADIAL, RECORD, SCORES, WEIGHTS
from mrsr_bench.system.training_states import CURVE, states_in

from .setting import Setting

TEMPORARY = re.compile(r"\..+~[0-9a-f]{12}-[0-9]+-[0-9a-f]{8}")
_CLOCK = {"seconds", "pixels_per_second", "memory_bytes"}
"""Columns of a curve that differ between two runs of the same training."""


def problems_with_text(text: str) -> list[str]:
    """The problem of a driver's output, if any: a traceback from the suite.

    Python prints its own on Ctrl-C during the import of the command line, and for exceptions ignored at exit.
    """
    output = text.partition("Exception ignored in ")[0]
    if output.startswith("Traceback") and output.rstrip().endswith("KeyboardInterrupt"):
        return []
    return [f"a driver printed a traceback:\n{text}"] if "Traceback (most recent call last)" in output else []


def problems_with_status(setting: Setting) -> list[str]:
    """The problems of the output of `bench status --json`."""
    driver = setting.status()
    if driver.wait() != 0:
        return [f"bench status ended with status {driver.status}:\n{driver.output}"]
    reported = {Path(cell["folder"]): cell["state"] for cell in json.loads(driver.output)["cells"]}
    states = setting.states()
    return [] if reported == states else [f"bench status reports {reported}, but the store has {states}"]


def problems_with(setting: Setting, expected: Setting) -> list[str]:
    """The problems of the results of a setting whose processes have all ended."""
    problems = [f"{folder} is {state}" for folder, state in setting.states().items() if state != "done"]
    records = sorted(setting.results.rglob(RECORD))
    if records != sorted(folder / RECORD for folder in setting.cell_folders):
        problems.append(f"there is not exactly one record for every cell: {records}")
    temporary = [path for path in setting.results.rglob(".*~*") if TEMPORARY.fullmatch(path.name)]
    problems += [f"a temporary file is left: {path}" for path in temporary]
    for folder, expected_folder in zip(setting.cell_folders, expected.cell_folders, strict=True):
        problems += [f"{folder}: {problem}" for problem in _problems_with_cell(folder, expected_folder)]
    return problems


def _problems_with_cell(folder: Path, expected: Path) -> list[str]:
    problems = [f"a state is left: {path.name}" for path in states_in(folder)]
    try:
        if _figures(folder) != _figures(expected):
            problems.append(f"its metrics are {_figures(folder)} and should be {_figures(expected)}")
        present = [name for name in (SCORES, RADIAL, EXHIBIT) if (folder / name).exists()]
        changed = [name for name in present if (folder / name).read_bytes() != (expected / name).read_bytes()]
        problems += [f"{name} has other bytes than in the undisturbed run" for name in changed]
        if (folder / WEIGHTS).exists() and _tensors(folder) != _tensors(expected):
            problems.append(f"{WEIGHTS} has other tensors than in the undisturbed run")
        if (folder / CURVE).exists() and _curve(folder) != _curve(expected):
            problems.append(f"{CURVE} differs from that of the undisturbed run")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        problems.append(f"its files cannot be read: {error!r}")
    return problems


def _figures(folder: Path) -> dict[str, Any]:
    """The fields of a record that do not depend on the time or the machine of a run."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    names = ("metrics", "n", "train_key", "score_key", "test_data_digest", "intensity_scales", "macs_lr24")
    return {name: record[name] for name in names}


def _tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    tensors = load_file(folder / WEIGHTS)
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in tensors.items()}


def _curve(folder: Path) -> list[dict[str, str]]:
    with (folder / CURVE).open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name not in _CLOCK} for row in csv.DictReader(file)]
