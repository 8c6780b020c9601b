"""A small benchmark of a few cells, and the `bench` commands on it, each a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from conftest import SUBJECTS, small_protocol, textured, write_image
from plugins import NETWORK, write
from ruamel.yaml import YAML

from mrsr_bench.planning.cells import Cell, Training
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.store.cell_files import State
from mrsr_bench.store.results import Store

from .driver import MARK, Driver

_LOCKLESS_SOURCE = Path(__file__).parents[1] / "lockless.c"
COUNTS = "MRSR_TEST_COUNTS"
"""The environment variable with the file to which `COUNTED` and `COUNTED_NETWORK` add a line for every call."""

_COUNT = f'''
def count(call):
    with open(os.environ["{COUNTS}"], "a") as file:
        file.write(call + "\\n")
'''
COUNTED = f'''"""Repeats pixels, has a fit that learns nothing, and counts both calls."""
import os
import numpy as np
from mrsr_bench.method import Method
{_COUNT}

class Counted(Method):
    learns = True

    def fit(self, task, train, val, run):
        count(f"fit counted {{task.seed}}")

    def upscale(self, scan, task):
        count(f"upscale counted {{task.seed}}")
        return np.repeat(np.repeat(scan.array, task.scale, 1), task.scale, 2)

    def state(self):
        return {{"nothing": np.zeros(1)}}

    def load_state(self, state, task):
        pass
'''
COUNTED_NETWORK = (
    NETWORK.replace("\n\nclass Net(", f"\n{_COUNT}\n\nclass Net(")
    .replace(
        "self.calls += 1\n", 'self.calls += 1\n            if self.calls == 1:\n                count("fit network")\n'
    )
    .replace(
        "    def build(self, task):\n",
        "    def upscale(self, scan, task):\n"
        '        count(f"upscale network {task.seed}")\n'
        "        return super().upscale(scan, task)\n\n"
        "    def build(self, task):\n",
    )
)


@dataclass(frozen=True)
class Setting:
    """A folder with a protocol, its data and its methods, and the folder of the results."""

    folder: Path
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    environment: Mapping[str, str]
    results: Path
    options: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """The `MARK` of its processes; see `driver.marked`."""
        return self.environment[MARK]

    @property
    def cache(self) -> Path:
        return Path(self.environment["MRSR_CACHE"])

    @property
    def store(self) -> Store:
        return Store(self.results)

    @cached_property
    def trainings(self) -> list[Training]:
        return plan_request(Request(str(self.folder / "small.yaml"), self.methods, self.seeds))[1]

    @property
    def cells(self) -> dict[Path, tuple[Training, Cell]]:
        """Folder of a cell → its training, and the cell."""
        pairs = [(training, cell) for training in self.trainings for cell in training.cells]
        return {training.folder(self.store, cell): (training, cell) for training, cell in pairs}

    @property
    def cell_folders(self) -> list[Path]:
        return list(self.cells)

    @property
    def row_folders(self) -> list[Path]:
        """The folders of the table's rows, each with cells in it."""
        return list(dict.fromkeys(folder.parents[1] for folder in self.cell_folders))

    def states(self) -> dict[Path, State]:
        """Folder of a cell → its state."""
        return {folder: training.look(self.store, cell).state for folder, (training, cell) in self.cells.items()}

    def beside(self, results: str, **environment: str) -> Setting:
        """The same setting with another folder of results."""
        return replace(self, results=self.folder / results, environment={**self.environment, **environment})

    def start(self) -> Driver:
        """Start `bench run`."""
        request = ["--methods", ",".join(self.methods), "--seeds", ",".join(map(str, self.seeds))]
        folders = ["--data", str(self.folder / "images"), "--results", str(self.results)]
        settings = ["--tracking-uri", "none", "--save-every", "0", *self.options]
        command = [*_BENCH, "run", "--protocol", str(self.folder / "small.yaml"), *request, *folders, *settings]
        return Driver(command, self.environment)

    def status(self) -> Driver:
        """Start `bench status --json`."""
        return Driver([*_BENCH, "status", "--json", "--results", str(self.results)], self.environment)


_BENCH = [sys.executable, "-m", "mrsr_bench"]


def make_setting(
    folder: Path,
    methods: Sequence[str] = ("bicubic", "linear", "network.py+"),
    seeds: Sequence[int] = (0, 1),
    steps: int = 15,
    **environment: str,
) -> Setting:
    """Write a data set, a protocol and the methods into a folder. Steps of the network take a fifth of a second."""
    for number, subject in enumerate(name for names in SUBJECTS.values() for name in names):
        write_image(folder / "images" / f"{subject}-T1.nii.gz", textured(number))
    rows = [f"{subject},{fold}\n" for fold, subjects in SUBJECTS.items() for subject in subjects]
    (folder / "split.csv").write_text("subject,fold\n" + "".join(rows), encoding="utf-8")
    training = {**small_protocol()["training"], "steps": steps}
    with (folder / "small.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(small_protocol(training=training, validation={"every": 5, "patches": 2, "lr_patch": 12}), file)
    write(folder, network=NETWORK, counted=COUNTED, counted_network=COUNTED_NETWORK)
    added = {MARK: str(folder), "MRSR_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "MRSR_TEST_SLOW": "1"}
    labels = tuple(f"{folder / label}" if ".py" in label else label for label in methods)
    return Setting(folder, labels, tuple(seeds), {**os.environ, **added, **environment}, folder / "results")


def lockless_library(folder: Path) -> Path | None:
    """A library that, preloaded, makes file locks fail as if not supported; None where there is no C compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or sys.platform != "linux":
        return None
    target = folder / "lockless.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(target), str(_LOCKLESS_SOURCE), "-ldl"], check=True)
    return target
