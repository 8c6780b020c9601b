"""Many cells: python tests/bench_many.py [--csv PATH].

What a command takes on 500 and on 5,000 records, made as files: seconds until it has answered, and its peak memory.
Then 500 cells that are really run, through a method that does nothing, and mirrored to MLflow: seconds a cell, and the
memory of the driver while it works.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
from benching import report
from conftest import small_protocol, textured, write_image
from recorded import write_done
from ruamel.yaml import YAML

from mrsr_bench.planning.planner import make_plan, plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.store.cell_files import RECORD
from mrsr_bench.store.plan import add_plan
from mrsr_bench.store.results import Store

LABELS, CONTRASTS, SCALES = 28, ["PD", "T1", "T2"], [2, 3, 4]
SEEDS = {500: 2, 5000: 20}
SUBJECTS = 20
GOALS = {"status": 5.0, "run, nothing to do": 5.0, "run, planned again": 5.0, "table": 10.0}
"""Seconds on 5,000 records."""
CELLS = 500
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small program that starts another and prints the peak of its memory: a child of this one would begin with ours."""
NOTHING = '''"""Repeats pixels, and has a fit that learns nothing."""
import numpy as np
from mrsr_bench.method import Method


class Nothing(Method):
    learns = True

    def fit(self, task, train, val, run):
        pass

    def upscale(self, scan, task):
        return np.repeat(np.repeat(scan.array, task.scale, 1), task.scale, 2)

    def state(self):
        return {"nothing": np.zeros(1)}

    def load_state(self, state, task):
        pass
'''


def write_protocol(folder: Path, subjects: int, **changes: object) -> Path:
    rows = [f"subject{number:02d},{fold}" for number, fold in enumerate(["train", "val", *["test"] * subjects])]
    (folder / "split.csv").write_text("\n".join(["subject,fold", *rows, ""]), encoding="utf-8")
    with (folder / "small.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(small_protocol(**changes), file)
    return folder / "small.yaml"


def fill(folder: Path, seeds: int) -> Path:
    """A protocol of 28 columns and 9 rows, and a record for every cell."""
    folder.mkdir()
    methods = {f"network{n:02d}": {"method": "srcnn", "preset": "tiny"} for n in range(LABELS)}
    data = {**small_protocol()["data"], "contrasts": CONTRASTS, "plane": dict.fromkeys(CONTRASTS, "axial")}
    protocol = write_protocol(folder, SUBJECTS, methods=methods, data=data, scales=SCALES, seeds=list(range(seeds)))
    request = Request(str(protocol))
    loaded, trainings = plan_request(request)
    store, random = Store(folder / "results"), np.random.default_rng(0)
    add_plan(store.runs / loaded.folder, make_plan(request, loaded, trainings))
    for training in trainings:
        level = 30 + int(training.base.label[-2:]) / 10 + random.normal(0, 0.1)
        scores = {name: {"psnr": random.normal(level, 0.3), "ssim": 0.9} for name in loaded.split["test"]}
        write_done(training.folder(store, training.base), training, training.base, scores)
    return protocol


def taken(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a command in an interpreter of its own, and its peak memory in MB."""
    began = time.monotonic()
    peak = subprocess.check_output([sys.executable, "-c", PEAK, sys.executable, "-m", "mrsr_bench", *command])
    return time.monotonic() - began, int(peak) / 1000


def look(scratch: Path) -> Iterator[dict[str, object]]:
    """Commands on records that are there."""
    data = scratch / "no-data"
    data.mkdir()
    for cells, seeds in SEEDS.items():
        protocol = fill(scratch / f"cells{cells}", seeds)
        where = ["--results", str(protocol.parent / "results")]
        run = ["run", "--protocol", str(protocol), "--data", str(data), *where, "--tracking-uri", "none"]
        commands = {
            "status": ["status", *where],
            "run, nothing to do": run,
            "run, planned again": run,
            "table": ["table", *where],
        }
        records = len(list(protocol.parent.rglob(RECORD)))
        for name, command in commands.items():
            if name == "run, planned again":  # a comment, which changes no key: the plan no longer stands
                protocol.write_text(protocol.read_text(encoding="utf-8") + "# again\n", encoding="utf-8")
            seconds, peak = taken(command)
            yield {
                "what": name,
                "cells": records,
                "seconds": round(seconds, 2),
                "goal": GOALS[name],
                "peak_mb": round(peak),
            }


def really(scratch: Path) -> Iterator[dict[str, object]]:
    """Cells that are run and mirrored: how long each took, with the driver's memory after each fifth of them."""
    folder = scratch / "run"
    (folder / "data").mkdir(parents=True)
    for number in range(4):
        write_image(folder / "data" / f"subject{number:02d}-T1.nii.gz", textured(number))
    (folder / "nothing.py").write_text(NOTHING, encoding="utf-8")
    protocol = write_protocol(folder, 2, seeds=list(range(CELLS)))
    command = ["run", "--protocol", str(protocol), "--methods", str(folder / "nothing.py")]
    command += ["--data", str(folder / "data"), "--results", str(folder / "results")]
    process = psutil.Popen(
        [sys.executable, "-m", "mrsr_bench", *command], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    began, done = time.monotonic(), 0
    for line in process.stdout:
        if ": done" not in line:
            continue
        done += 1
        if done % (CELLS // 5) == 0:
            seconds, memory = time.monotonic() - began, process.memory_info().rss / 1e6
            yield {
                "what": "run and mirror, a cell",
                "cells": done,
                "seconds": round(seconds / done, 2),
                "goal": 2.0,
                "peak_mb": round(memory),
            }
    assert process.wait() == 0
    assert done == CELLS


def measure() -> Iterator[dict[str, object]]:
    os.environ.pop("MRSR_DATA", None)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MRSR_CACHE"] = str(Path(folder) / "cache")
        yield from look(Path(folder))
        yield from really(Path(folder))


if __name__ == "__main__":
    report(__doc__, measure, "{what:24} {cells:5} cells {seconds:6.2f} s  goal {goal:4g}  {peak_mb:5} MB")
