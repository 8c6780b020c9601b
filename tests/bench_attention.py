"""Patch attention, streamed against plain: time and peak memory side by side; then POAN against its backbone.

python tests/bench_attention.py [--csv PATH]: C = 64, reduction 2, levels (1, 0.8, 0.6, 0.4), one sample, float32, CPU.
Each measurement is a process of its own; forms take turns, and the best of `repeats` counts. Memory is the peak of the
resident set over that before the call. "with gradient" is a forward and a backward pass.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import torch
from plain_attention import plain
from torch import nn

from mrsr_bench.method import Task
from mrsr_bench.methods._attention import PyramidAttention
from mrsr_bench.methods.poan import POAN
from mrsr_bench.processes import forkserver

SIDES = (32, 48, 64, 80, 120)
LEVELS = (1.0, 0.8, 0.6, 0.4)
REPEATS = 3


def attention(form: str, side: int, gradient: bool) -> tuple[float, float]:
    """Seconds and peak MB of one pyramid attention."""
    torch.manual_seed(0)
    module, x = PyramidAttention(64, LEVELS), torch.rand(1, 64, side, side)
    return measured(lambda x: plain(module, x) if form == "plain" else module(x), x, gradient)


def network(form: str, side: int, gradient: bool) -> tuple[float, float]:
    """Seconds and peak MB of POAN ×2 or of its backbone, without any attention."""
    torch.manual_seed(0)
    method = POAN() if form == "POAN" else POAN(point=False, levels=(), channel="none")
    module: nn.Module = method.build(Task((1, 2, 2)))
    return measured(module, torch.rand(1, 1, side, side), gradient)


def measured(function: object, x: torch.Tensor, gradient: bool) -> tuple[float, float]:
    """One small call to warm up, then seconds and peak MB of one call."""
    assert callable(function)
    call(function, x[..., :8, :8], gradient)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = resident("VmRSS"), time.perf_counter()
    call(function, x, gradient)
    return time.perf_counter() - started, resident("VmHWM") - before


def call(function: object, x: torch.Tensor, gradient: bool) -> None:
    assert callable(function)
    with torch.set_grad_enabled(gradient):
        out = function(x.requires_grad_(gradient))
    if gradient:
        out.square().mean().backward()


def resident(field: str) -> float:
    """A field of this process' memory status, in MB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


def compare(what: object, forms: tuple[str, str], side: int, gradient: bool) -> dict[str, object]:
    """A row: seconds and MB of both forms, the best of some turns, and the first's over the second's."""
    results: dict[str, list[tuple[float, float]]] = {form: [] for form in forms}
    for _ in range(REPEATS if side < 120 else 1):
        for form in forms:
            with ProcessPoolExecutor(1, mp_context=forkserver()) as pool:
                results[form].append(pool.submit(what, form, side, gradient).result())  # type: ignore[arg-type]
    (s1, m1), (s2, m2) = (tuple(min(of) for of in zip(*results[form], strict=True)) for form in forms)
    row: dict[str, object] = {"LR": side, "gradient": "with" if gradient else "without"}
    for form, seconds, memory in ((forms[0], s1, m1), (forms[1], s2, m2)):
        row |= {f"{form} s": round(seconds, 3), f"{form} MB": round(memory)}
    return row | {"time ratio": round(s1 / s2, 2), "memory ratio": round(m1 / m2, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, help="Write the rows there, too.")
    path = parser.parse_args().csv
    rows = [compare(attention, ("plain", "streamed"), side, gradient) for gradient in (False, True) for side in SIDES]
    print(pd.DataFrame(rows).to_markdown(index=False))
    whole = compare(network, ("POAN", "backbone"), 120, False)
    print(pd.DataFrame([whole]).to_markdown(index=False))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([*rows, whole]).to_csv(path, index=False)


if __name__ == "__main__":
    main()
