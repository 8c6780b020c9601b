"""On a GPU: the suite's training against plain loops, the share of the device's peak, patch attention, and bf16.

    python tests/bench_gpu.py [--out FOLDER]

Writes gpu-training, gpu-attention and gpu-precision, a JSON file and a Markdown table each, row by row as they come;
docs/speed.md explains the columns. Six minutes or so; without a GPU it says so and ends with status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import bench_precision
import torch
from bench_training import SCANS, Kind, scans
from benching import Row, no_gpu, publish
from loops import Case, rounds, timed, wait_for_device
from plain_attention import plain

from mrsr_bench.methods._attention import PyramidAttention
from mrsr_bench.training.complexity import count_macs

CASES = (
    Case("srcnn"),
    Case("edsr", "baseline", lr_patch=48),
    Case("csn"),
    Case("rdn", lr_patch=32),
    Case("poan", "baseline", lr_patch=48),
)
"""Batches of 16 and the patches of the published recipes."""
GOAL = 3
ROUNDS, SECONDS = 3, 2.0
PRODUCT = 8192
"""Side of the matrices whose product measures the peak."""
SIDES, LEVELS = (32, 48, 64, 80, 120), (1.0, 0.8, 0.6, 0.4)
PRECISION_STEPS = 1000


def peak_flops(device: str = "cuda", side: int = PRODUCT, seconds: float = 1.0) -> float:
    """Floating-point operations a second of a large bf16 matrix product: the ceiling that shares are of."""
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))

    def step() -> int:
        torch.mm(one, other)
        return 1

    return 2 * side**3 / timed(step, seconds, lead=3)


def training(
    root: Path,
    cases: Sequence[Case] = CASES,
    number: int = ROUNDS,
    seconds: float = SECONDS,
    peak: float | None = None,
    kind: Kind = SCANS["slices"],
) -> Iterator[Row]:
    """A row for every network, on files of one slice; the suite's loop in bf16."""
    paths, pairs, slices = scans(root / "slices", *kind)
    peak = peak_flops() if peak is None else peak
    for case in cases:
        found = list(rounds(case, paths, slices, pairs, number, seconds, ["bare bf16"]))
        yield training_row(case, found, peak)


def training_row(case: Case, found: Sequence[dict[str, float]], peak: float) -> Row:
    """Medians over the rounds; a step is three forward passes' arithmetic, a multiply-accumulate two operations."""
    step = median(one["suite"] for one in found)
    macs = count_macs(case.make(), case.task, (case.lr_patch, case.lr_patch))
    flops = 3 * 2 * macs * case.batch / step
    return {
        "network": case.name,
        "batch": case.batch,
        "lr_patch": case.lr_patch,
        "textbook_steps_per_s": round(1 / median(one["plain"] for one in found), 2),
        "eager_bf16_steps_per_s": round(1 / median(one["bare bf16"] for one in found), 2),
        "suite_steps_per_s": round(1 / step, 2),
        "ratio_to_textbook": round(median(one["plain"] / one["suite"] for one in found), 2),
        "goal": GOAL,
        "ratio_to_eager_bf16": round(median(one["bare bf16"] / one["suite"] for one in found), 2),
        "outside_network_share": round(median(1 - one["suite bare"] / one["suite"] for one in found), 3),
        "tflops": round(flops / 1e12, 3),
        "peak_tflops": round(peak / 1e12, 1),
        "share_of_peak": round(flops / peak, 4),
    }


def attention(device: str = "cuda", sides: Sequence[int] = SIDES, seconds: float = 0.5) -> Iterator[Row]:
    """Patch attention of one sample of 64 channels in float32: the suite's form beside the plain one."""
    torch.manual_seed(0)
    module = PyramidAttention(64, LEVELS).to(device)
    for gradient in (False, True):
        for side in sides:
            x = torch.rand(1, 64, side, side, device=device, requires_grad=gradient)
            row: Row = {"LR": side, "gradient": "with" if gradient else "without"}
            for form, function in (("plain", lambda x: plain(module, x)), ("suite", module)):
                taken, megabytes = call_cost(function, x, gradient, seconds)
                row |= {f"{form} ms": round(1000 * taken, 3), f"{form} MB": round(megabytes, 1)}
            yield row | {"time_ratio": round(row["plain ms"] / row["suite ms"], 2)}


def call_cost(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, gradient: bool, seconds: float
) -> tuple[float, float]:
    """Seconds of a call, and the MB that torch allocates at most beyond what is there; NaN MB on a CPU."""

    def step() -> int:
        with torch.set_grad_enabled(gradient):
            out = function(x)
        if gradient:
            out.square().mean().backward()
        return 1

    taken = timed(step, seconds)
    if x.device.type != "cuda":
        return taken, float("nan")
    wait_for_device()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    wait_for_device()
    return taken, (torch.cuda.max_memory_allocated() - before) / 2**20


def told(folder: Path, name: str, title: str, rows: Iterable[Row], device: str = "cuda") -> None:
    """Print the rows and write all that there are after each, so that an end too soon loses only what is missing."""
    started, so_far = time.monotonic(), []
    for row in rows:
        so_far.append(row)
        print(f"{time.monotonic() - started:5.0f} s  {name}: {row}", flush=True)
        publish(folder, name, title, so_far, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of the tables")
    out = parser.parse_args().out
    if (why := no_gpu()) is not None:
        sys.exit(why)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MRSR_CACHE"] = f"{folder}/cache"
        told(out, "gpu-attention", "Patch attention on a GPU", attention())
        cases = [replace(case, device="cuda", precision="bf16-mixed") for case in CASES]
        told(out, "gpu-training", "Training on a GPU", training(Path(folder), cases))
        rows = bench_precision.measure(steps=PRECISION_STEPS, device="cuda")
        told(out, "gpu-precision", "bfloat16 against float32 on a GPU", rows)


if __name__ == "__main__":
    main()
