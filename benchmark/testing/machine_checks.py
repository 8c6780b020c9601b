"""The checks of a fitted method in other places: a new process, on a slice of real size, on CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from ..method import intensity_scale
from ..system.units import size_text
from .expectations import CheckSkipped, check, expect, expect_volume
from .trial import Trial

SLICE = 240
"""Sides of an HR slice of IXI after the published crop."""


@check(
    "state and load_state: all that upscale uses and fit has made must be in the state (buffers with persistent=False, "
    "attributes, globals are not), and be plain arrays; the class must be importable from its file alone"
)
def new_process(trial: Trial) -> None:
    """Saved and loaded in a new process, the method gives the same output bit for bit."""
    expected, made = trial.upscale(trial.fitted, trial.lr), trial.elsewhere(trial.lr).output
    expect(made.shape == expected.shape, f"the output in a new process has shape {made.shape}, not {expected.shape}")
    difference = float(np.abs(expected - made).max())
    expect(np.array_equal(expected, made), f"the output in a new process differs by up to {difference:.3g}")


@check(
    "how time and memory grow with the size of a slice: tables of all pairs of pixels, copies, a leak; and recursion"
)
def real_slice(trial: Trial) -> str:
    """A slice as large as the published ones works in a new process, in this time and memory."""
    _, rows, columns = trial.task.factors
    array = trial.noise((trial.slices, SLICE // rows, SLICE // columns))
    cost = trial.elsewhere(array)
    expect_volume(cost.output, trial.task.hr_shape(array.shape), f"LR {array.shape}")
    shape = "×".join(map(str, cost.output.shape))
    return f"{shape} HR: {cost.seconds:.2f} s, {size_text(cost.memory)} more than when loaded"


@check("tensors made on the CPU in forward (pass device=x.device), half precisions, and sums whose order matters")
def cuda(trial: Trial) -> None:
    """The output on CUDA equals that on the CPU to 1e-3 of the intensity scale."""
    if not torch.cuda.is_available():
        raise CheckSkipped("there is no CUDA device here")
    task, method = replace(trial.task, device="cuda"), trial.make()
    if method.learns:
        method.load_state(trial.fitted.state(), task)
    with _exact_cuda():
        made = trial.upscale(method, trial.lr, task)
    difference = float(np.abs(made - trial.upscale(trial.fitted, trial.lr)).max()) / intensity_scale(trial.lr)
    expect(difference <= 1e-3, f"CUDA and CPU differ by up to {difference:.2g} of the intensity scale")


@contextmanager
def _exact_cuda() -> Iterator[None]:
    """Float32 products without TF32, as where the suite scores."""
    precision, tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = tf32
