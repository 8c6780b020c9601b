"""What must stand when all is over: every cell done once, with the figures of a run that nothing disturbed."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from mrsr_bench.store.cell_files import EXHIBIT, RADIAL, RECORD, SCORES, WEIGHTS
from mrsr_bench.system.states import CURVE, states_in

from .setting import Setting

TEMPORARY = re.compile(r"\..+~[0-9a-f]{12}-[0-9]+-[0-9a-f]{8}")
_CLOCK = {"seconds", "pixels_per_second", "memory_bytes"}
"""Columns of a curve that two runs of one training do not share."""


def problems_with_text(text: str) -> list[str]:
    """What is wrong with the output of a driver: a traceback that is ours.

    Python's own are those of Ctrl-C while it still imports the command line, and of what it ignores as it ends.
    """
    ours = text.partition("Exception ignored in ")[0]
    if ours.startswith("Traceback") and ours.rstrip().endswith("KeyboardInterrupt"):
        return []
    return [f"a driver printed a traceback:\n{text}"] if "Traceback (most recent call last)" in ours else []


def problems_with_status(setting: Setting) -> list[str]:
    """What is wrong with what `bench status --json` says."""
    driver = setting.status()
    if driver.wait() != 0:
        return [f"bench status ended with status {driver.status}:\n{driver.said}"]
    said = {Path(cell["folder"]): cell["state"] for cell in json.loads(driver.said)["cells"]}
    states = setting.states()
    return [] if said == states else [f"bench status says {said}, and the store {states}"]


def problems_with(setting: Setting, expected: Setting) -> list[str]:
    """What is wrong with the results of a setting in which no process works any more."""
    problems = [f"{place} is {state}" for place, state in setting.states().items() if state != "done"]
    records = sorted(setting.results.rglob(RECORD))
    if records != sorted(place / RECORD for place in setting.places):
        problems.append(f"there is not one record for every cell: {records}")
    temporary = [path for path in setting.results.rglob(".*~*") if TEMPORARY.fullmatch(path.name)]
    problems += [f"a temporary file is left: {path}" for path in temporary]
    for place, other in zip(setting.places, expected.places, strict=True):
        problems += [f"{place}: {problem}" for problem in _problems_with_cell(place, other)]
    return problems


def _problems_with_cell(folder: Path, expected: Path) -> list[str]:
    problems = [f"a state is left: {path.name}" for path in states_in(folder)]
    try:
        if _figures(folder) != _figures(expected):
            problems.append(f"its metrics are {_figures(folder)} and should be {_figures(expected)}")
        there = [name for name in (SCORES, RADIAL, EXHIBIT) if (folder / name).exists()]
        other = [name for name in there if (folder / name).read_bytes() != (expected / name).read_bytes()]
        problems += [f"{name} has other bytes than that of the undisturbed run" for name in other]
        if (folder / WEIGHTS).exists() and _tensors(folder) != _tensors(expected):
            problems.append(f"{WEIGHTS} has other tensors than that of the undisturbed run")
        if (folder / CURVE).exists() and _curve(folder) != _curve(expected):
            problems.append(f"{CURVE} is another than that of the undisturbed run")
    except (OSError, ValueError, KeyError) as error:
        problems.append(f"its files cannot be read: {error!r}")
    return problems


def _figures(folder: Path) -> dict[str, Any]:
    """What of a record two runs share, but for their time and their machine."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    names = ("metrics", "n", "train_key", "score_key", "test_data_digest", "intensity_scales", "macs_lr24")
    return {name: record[name] for name in names}


def _tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    tensors = load_file(folder / WEIGHTS)
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in tensors.items()}


def _curve(folder: Path) -> list[dict[str, str]]:
    with (folder / CURVE).open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name not in _CLOCK} for row in csv.DictReader(file)]
