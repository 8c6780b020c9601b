"""Trainings side by side: python tests/bench_parallel.py [--csv PATH].

Cells per hour of edsr tiny, twelve seeds, on one thread each: one after another, and two at once (`--parallel 2`), in
whole `bench run` commands; the same on Ray, where it is installed, which starts a cluster of this machine for each
command. Then the seconds of a cell that has nothing to do: what a cell takes beyond its own work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from bench_many import NOTHING, write_protocol
from benching import report
from conftest import small_protocol, textured, write_image

SEEDS = 12
STEPS = 120
TRAINING = {"steps": STEPS, "batch": 8, "lr_patch": 24}
NOTHINGS = 20


def seconds(folder: Path, methods: str, seeds: int, parallel: int, executor: str = "local") -> float:
    """Wall clock of a run of so many seeds of a method, in a results folder of its own."""
    results = folder / f"results-{Path(methods).stem}-{parallel}-{executor}".replace(":", "-")
    command = ["run", "--protocol", str(folder / "small.yaml"), "--methods", methods, "--data", str(folder / "data")]
    command += ["--seeds", ",".join(map(str, range(seeds))), "--parallel", str(parallel), "--threads", "1"]
    command += ["--results", str(results), "--tracking-uri", "none", "--executor", executor]
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "mrsr_bench", *command], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def one_and_two(folder: Path, executor: str) -> Iterator[dict[str, object]]:
    """Cells per hour one at a time and two at once, and their ratio."""
    alone, pair = (seconds(folder, "edsr:tiny", SEEDS, parallel, executor) for parallel in (1, 2))
    name = f"edsr tiny, {executor}"
    yield {"what": f"{name}, one at a time", "value": round(3600 * SEEDS / alone), "unit": "cells/h", "goal": ""}
    yield {"what": f"{name}, two at once", "value": round(3600 * SEEDS / pair), "unit": "cells/h", "goal": ""}
    yield {"what": f"{executor}: two over one", "value": round(alone / pair, 2), "unit": "times", "goal": ">= 1.8"}


def measure() -> Iterator[dict[str, object]]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["MRSR_CACHE"] = str(folder / "cache")
        (folder / "nothing.py").write_text(NOTHING, encoding="utf-8")
        for number in range(12):
            write_image(folder / "data" / f"subject{number:02d}-T1.nii.gz", textured(number, (96, 96, 4)))
        write_protocol(folder, 10, training={**small_protocol()["training"], **TRAINING})
        seconds(folder, "bicubic", 1, 1)  # the data are prepared
        for executor in ("local", "ray") if find_spec("ray") else ("local",):
            yield from one_and_two(folder, executor)
        first, more = (seconds(folder, str(folder / "nothing.py"), number, 1) for number in (1, 1 + NOTHINGS))
        yield {"what": "a cell without work", "value": round((more - first) / NOTHINGS, 2), "unit": "s", "goal": "<= 2"}


if __name__ == "__main__":
    report(__doc__, measure, "{what:32} {value:8} {unit:8} {goal}")
