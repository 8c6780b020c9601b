"""CPU seconds until a command has answered: python tests/bench_start.py [--csv PATH].

On results folders with 8 and with 500 records of four columns, without a run: `--help`, `status`, `table` with and
without differences, and a `run` with nothing to do, answered from its plan and with methods imported. The median of
five fresh interpreters each; user and system time together, since wall clocks hang on what else the machine does.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from benching import report
from conftest import small_protocol
from recorded import fill_subjects
from ruamel.yaml import YAML

from mrsr_bench.planning.planner import make_plan, plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.store.plan import add_plan
from mrsr_bench.store.results import Store

RUNS = 5
METHODS = ("bicubic", "linear", "srcnn", "edsr")
GOALS = {
    "--help": 0.2,
    "status": 0.5,
    "table --against none": 1.0,
    "table": 2.0,
    "run": 1.0,
    "run, methods imported": 4.0,
}
"""Seconds; `table` has 2 for 500 records."""


def results(folder: Path, seeds: int) -> Path:
    """The protocol of a results folder with a record for every method, scale and seed."""
    folder.mkdir()
    subjects = [f"subject{number:02d},{fold}" for number, fold in enumerate(["train", "val", *["test"] * 20])]
    (folder / "split.csv").write_text("\n".join(["subject,fold", *subjects, ""]), encoding="utf-8")
    methods = {name: {} for name in METHODS}
    with (folder / "small.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(small_protocol(methods=methods, seeds=list(range(seeds)), scales=[2, 3]), file)
    request = Request(str(folder / "small.yaml"))
    loaded, trainings = plan_request(request)
    plan = Store(folder / "results"), loaded, trainings
    add_plan(plan[0].runs / "small", make_plan(request, loaded, trainings))
    random = np.random.default_rng(0)
    for training in trainings:
        scores = {name: {"psnr": random.uniform(30, 35), "ssim": 0.9} for name in loaded.split["test"]}
        fill_subjects(plan, training.base.label, scores, training.base.seed, training.base.scale)
    return folder / "small.yaml"


def seconds(*command: str) -> float:
    """CPU seconds of one command in an interpreter of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "mrsr_bench", *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure() -> Iterator[dict[str, object]]:
    os.environ.pop("MRSR_DATA", None)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MRSR_CACHE"] = str(Path(scratch) / "cache")
        data = Path(scratch) / "data"
        data.mkdir()
        for seeds in (1, 84):
            protocol = results(Path(scratch) / f"seeds{seeds}", seeds)
            where = ["--results", str(protocol.parent / "results")]
            run = ["run", "--protocol", str(protocol), "--data", str(data), *where, "--tracking-uri", "none"]
            commands = {
                "--help": ["--help"],
                "status": ["status", *where],
                "table --against none": ["table", "--against", "none", *where],
                "table": ["table", *where],
                "run": run,
                "run, methods imported": run,
            }
            number = len(list(protocol.parent.rglob("record.json")))
            for name, command in commands.items():
                if name == "run, methods imported":
                    _forget(protocol)
                taken = median(seconds(*command) for _ in range(RUNS if name != "run, methods imported" else 1))
                yield {"command": name, "records": number, "cpu_seconds": round(taken, 2), "goal": GOALS[name]}


def _forget(protocol: Path) -> None:
    """Change the protocol's file by a comment, which changes no key: the plan no longer stands."""
    protocol.write_text(protocol.read_text(encoding="utf-8") + "# looked at again\n", encoding="utf-8")


if __name__ == "__main__":
    report(__doc__, measure, "{command:24} {records:4} records {cpu_seconds:6.2f} s  goal {goal:g}")
