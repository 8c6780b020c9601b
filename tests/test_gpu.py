"""A GPU gives what the CPU gives: networks, gradients, inference, trainings, resuming. `make gpu-test`.

The figures go to results/gpu/gpu-agreement.json and .md, each with its bound.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from agreement import network_errors, relative, trained, upscaled
from benching import Row, no_gpu, publish
from loops import Case

from mrsr_bench.method import TorchMethod
from mrsr_bench.registry import load_method, methods

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic mode; read when cuBLAS starts
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(no_gpu() is not None, reason=str(no_gpu()))]

OUTPUT, GRADIENT = 1e-4, 1e-3
"""Bounds of relative errors in float32 against float64: its rounding is about 1e-7 and grows with depth."""
HALF = 3e-2
"""The same of outputs in bf16, whose rounding is 4e-3."""
TRAINING_DB = {"32-true": 0.05, "bf16-mixed": 0.25}
"""Between validation PSNRs of short trainings that differ in the order of additions alone."""
STEPS = 60


def networks() -> list[Case]:
    """Every built-in network, in its small preset where it has one."""
    found = {name: load_method(source) for name, source in methods().items()}
    tiny = {
        name: "tiny" if "tiny" in cls.presets else None for name, cls in found.items() if issubclass(cls, TorchMethod)
    }
    return [Case(name, preset, batch=4, lr_patch=12) for name, preset in tiny.items()]


CASES = networks()
SHORT = [case for case in CASES if case.method in ("srcnn", "edsr", "poan")]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
some = pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
Bounded = Callable[[str, str, float, float], None]


@pytest.fixture(scope="module")
def bounded() -> Iterator[Bounded]:
    """Checks a figure against its bound; all of them are published at the end, those beyond it too."""
    rows: list[Row] = []

    def check(what: str, of: str, value: float, bound: float) -> None:
        rows.append({"what": what, "of": of, "value": float(f"{value:.3g}"), "bound": bound, "holds": value <= bound})
        assert value <= bound

    yield check
    out = Path(__file__).parents[1] / "results" / "gpu"
    publish(out, "gpu-agreement", "Agreement of a GPU with the CPU", rows, "cuda")


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    """float32 is float32: no TF32 in products and convolutions."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@each
def test_outputs_and_gradients_in_float32_are_those_of_float64(case: Case, bounded: Bounded) -> None:
    output, gradient = network_errors(case, "cuda")
    bounded("float32 output, relative error", case.name, output, OUTPUT)
    bounded("float32 gradients, relative error", case.name, gradient, GRADIENT)


@each
def test_outputs_in_bf16_are_near_float64(case: Case, bounded: Bounded) -> None:
    bounded("bf16 output, relative error", case.name, network_errors(case, "cuda", half=True)[0], HALF)


@each
def test_a_volume_is_enlarged_as_on_the_cpu(case: Case, bounded: Bounded) -> None:
    error = relative(upscaled(case, "cuda"), upscaled(case, "cpu"))
    bounded("enlarged volume, relative to the CPU's", case.name, error, OUTPUT)


@some
def test_a_short_training_ends_where_the_cpus_ends(case: Case, bounded: Bounded) -> None:
    there, here = trained(replace(case, device="cuda"), STEPS)[0], trained(case, STEPS)[0]
    bounded(f"{STEPS} steps in float32, |difference| in dB", case.name, abs(there - here), TRAINING_DB["32-true"])


@some
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_stopped_and_resumed_ends_as_one_that_was_not(case: Case, precision: str, bounded: Bounded) -> None:
    case = replace(case, device="cuda", precision=precision)
    difference = abs(trained(case, STEPS)[0] - trained(case, STEPS, stops=(7, 31))[0])
    bounded(f"resumed twice, {precision}, |difference| in dB", case.name, difference, TRAINING_DB[precision])


@pytest.mark.parametrize("case", [case for case in SHORT if case.method != "poan"], ids=lambda case: case.name)
def test_in_deterministic_mode_a_resumed_training_has_the_very_same_weights(case: Case, bounded: Bounded) -> None:
    """POAN has no such mode: torch knows no deterministic gradient of its pyramid's interpolation."""
    torch.use_deterministic_algorithms(True)
    try:
        case = replace(case, device="cuda")
        (_, whole), (_, resumed) = trained(case, STEPS), trained(case, STEPS, stops=(7, 31))
    finally:
        torch.use_deterministic_algorithms(False)
    bounded("resumed twice, deterministic, weights", case.name, relative(resumed, whole), 0.0)
