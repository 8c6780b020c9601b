"""Patch attention, streamed against plain: time and peak memory side by side; then POAN against its backbone.

python tests/bench_attention.py [--csv PATH]: C = 64, reduction 2, levels (1, 0.8, 0.6, 0.4), one sample, float32, CPU.
Each measurement is a process of its own; forms take turns, and the best of 3 counts. Memory is the peak of the resident
set over that before the call. "with gradient" is a forward and a backward pass. The difference is the largest between
the two forms' outputs or, with gradient, between their gradients of the input, over the largest gradient.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from plain_attention import plain
from torch import Tensor

from mrsr_bench.method import Task
from mrsr_bench.methods._attention import PyramidAttention
from mrsr_bench.methods.poan import POAN

SIDES = (32, 48, 64, 80, 120)
LEVELS = (1.0, 0.8, 0.6, 0.4)
REPEATS = 3


@dataclass(frozen=True)
class Measured:
    """What one call took, and what it gave: the output or, with gradient, the gradient of the input."""

    seconds: float
    megabytes: float
    values: np.ndarray


def attention(form: str, side: int, gradient: bool) -> Measured:
    """One pyramid attention."""
    torch.manual_seed(0)
    module, x = PyramidAttention(64, LEVELS), torch.rand(1, 64, side, side)
    return measured(partial(plain, module) if form == "plain" else module, x, gradient)


def network(form: str, side: int, gradient: bool) -> Measured:
    """POAN ×2 or its backbone, without any attention."""
    torch.manual_seed(0)
    method = POAN() if form == "POAN" else POAN(point=False, levels=(), channel="none")
    return measured(method.build(Task((1, 2, 2))), torch.rand(1, 1, side, side), gradient)


def measured(function: Callable[[Tensor], Tensor], x: Tensor, gradient: bool) -> Measured:
    """One small call to warm up, then the call that counts."""
    call(function, x[..., :8, :8], gradient)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = resident("VmRSS"), time.perf_counter()
    values = call(function, x, gradient)
    return Measured(time.perf_counter() - started, resident("VmHWM") - before, values)


def call(function: Callable[[Tensor], Tensor], x: Tensor, gradient: bool) -> np.ndarray:
    x = x.clone().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        out = function(x)
    if not gradient:
        return out.numpy()
    out.square().mean().backward()
    assert x.grad is not None
    return x.grad.numpy()


def resident(field: str) -> float:
    """A field of this process' memory status, in MB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


def compare(
    what: Callable[[str, int, bool], Measured], forms: tuple[str, str], side: int, gradient: bool
) -> dict[str, object]:
    """A row: seconds and MB of both forms, the best of some turns, and the first's over the second's."""
    results: dict[str, list[Measured]] = {form: [] for form in forms}
    context = multiprocessing.get_context("forkserver")  # Python's own: children of the suite's lack what is in here
    context.set_forkserver_preload(["torch", "mrsr_bench.methods.poan"])
    for _ in range(REPEATS):
        for form in forms:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                results[form].append(pool.submit(what, form, side, gradient).result())
    row: dict[str, object] = {"LR": side, "gradient": "with" if gradient else "without"}
    seconds = [min(one.seconds for one in results[form]) for form in forms]
    megabytes = [min(one.megabytes for one in results[form]) for form in forms]
    for form, s, mb in zip(forms, seconds, megabytes, strict=True):
        row |= {f"{form} s": round(s, 3), f"{form} MB": round(mb)}
    row |= {"time ratio": round(seconds[0] / seconds[1], 2), "memory ratio": round(megabytes[0] / megabytes[1], 1)}
    if "plain" in forms:
        one, other = (results[form][0].values for form in forms)
        row["difference"] = f"{np.abs(one - other).max() / (np.abs(one).max() if gradient else 1):.0e}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, help="Write the rows there, too.")
    path = parser.parse_args().csv
    rows = []
    for gradient in (False, True):
        for side in SIDES:
            print(f"LR {side}×{side}, {'with' if gradient else 'without'} gradient", file=sys.stderr)
            rows.append(compare(attention, ("plain", "streamed"), side, gradient))
    print(pd.DataFrame(rows).to_markdown(index=False))
    whole = compare(network, ("POAN", "backbone"), 120, False)
    print(pd.DataFrame([whole]).to_markdown(index=False))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([*rows, whole]).to_csv(path, index=False)


if __name__ == "__main__":
    main()
