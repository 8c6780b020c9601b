"""What a device decides of a training: the precision that `fast` is there, and the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import Data, Tiny, fit

from mrsr_bench.training import devices, loop
from mrsr_bench.training.devices import fastest_kernels, has_bf16_units, resolve_precision
from mrsr_bench.training.loop import TrainingStopped

pytestmark = pytest.mark.usefixtures("one_thread")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
Switches = tuple[bool, bool, str]


def switches() -> Switches:
    """cuDNN's benchmark and TF32, and the precision of matrix products."""
    return torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    benchmark, tf32, products = switches()
    yield
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = benchmark, tf32
    torch.set_float32_matmul_precision(products)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("units", [True, False])
def test_fast_is_bf16_where_the_device_has_matrix_units_for_it(monkeypatch: pytest.MonkeyPatch, units: bool) -> None:
    asked: list[bool] = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return units

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units, "avx512_bf16": True})
    expected = "bf16-mixed" if units else "32-true"
    assert [resolve_precision("fast", device) for device in (CPU, CUDA)] == [expected] * 2
    assert asked == [False], "an emulated bf16 is slower than float32"


def test_a_device_that_names_no_capability_has_no_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not has_bf16_units(CPU)
    assert not has_bf16_units(torch.device("meta"))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_precision_that_is_named_is_taken_on_every_device(monkeypatch: pytest.MonkeyPatch, precision: Any) -> None:
    monkeypatch.setattr(devices, "has_bf16_units", pytest.fail)
    assert {resolve_precision(precision, device) for device in (CPU, CUDA)} == {precision}


@pytest.mark.parametrize(("units", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_fast_training_is_that_of_the_precision_it_resolves_to_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, units: bool, precision: str
) -> None:
    monkeypatch.setattr(devices, "has_bf16_units", lambda device: units)
    fast, _, network = fit(tmp_path / "fast", Data(), precision="fast")
    named, _, other = fit(tmp_path / "named", Data(), precision=precision)
    assert fast.precision == named.precision == precision
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), other.parameters(), strict=True))


def test_a_resumed_training_keeps_its_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_bf16_units", lambda device: True)
    with pytest.raises(TrainingStopped):
        fit(tmp_path, Data(), precision="fast", stop=3)
    monkeypatch.setattr(devices, "has_bf16_units", lambda device: False)
    result, _, _ = fit(tmp_path, Data(), precision="fast")
    assert result.precision == "bf16-mixed"


def test_on_cuda_a_training_may_try_kernels_and_afterwards_all_is_as_before() -> None:
    before = switches()
    with fastest_kernels(CUDA, tf32=False):
        assert switches() == (True, *before[1:])
    assert switches() == before
    with fastest_kernels(CUDA, tf32=True):
        assert switches() == (True, True, "high")
    assert switches() == before


def test_a_deterministic_training_tries_no_kernels() -> None:
    torch.use_deterministic_algorithms(True)
    with fastest_kernels(CUDA, tf32=False):
        assert not torch.backends.cudnn.benchmark


def test_on_a_cpu_nothing_changes() -> None:
    before = switches()
    with fastest_kernels(CPU, tf32=True):
        assert switches() == before


@pytest.mark.parametrize(
    ("precision", "units", "tf32"),
    [("fast", False, True), ("fast", True, False), ("32-true", False, False), ("bf16-mixed", True, False)],
)
def test_tf32_is_for_fast_trainings_without_bf16_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, units: bool, tf32: bool
) -> None:
    calls: list[bool] = []

    def kernels(device: torch.device, tf32: bool) -> Any:
        calls.append(tf32)
        return fastest_kernels(device, tf32)

    monkeypatch.setattr(devices, "has_bf16_units", lambda device: units)
    monkeypatch.setattr(loop, "fastest_kernels", kernels)
    fit(tmp_path, Data(), Tiny, precision=precision)
    assert calls == [tf32]
