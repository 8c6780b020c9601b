"""Attention: golden outputs of the public code, and our form of it against its plain definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import assert_golden, filled, image
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mrsr_bench.methods._attention import PointAttention, PyramidAttention
from mrsr_bench.methods.poan import POAB, POANOptions, covariance, matrix_root

pytestmark = pytest.mark.usefixtures("one_thread")

LEVELS = [(1.0,), (1.0, 0.8, 0.6, 0.4), (0.8, 0.6, 0.4), (1.0, 0.9, 0.8, 0.7, 0.6)]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_pyramid_attention_is_the_official_one(golden: dict[str, Any], levels: tuple[float, ...]) -> None:
    module, x = filled(PyramidAttention(8, levels)), image(8, 20, 15)
    key = str([1, *levels[1:]] if levels[0] == 1 else list(levels))
    assert_golden(x + module(x), golden["pyramid_attention"][key])


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_the_covariance_root_is_the_official_one(golden: dict[str, Any], steps: int) -> None:
    row_mean = matrix_root(covariance(image(6, 10, 10)), steps).mean(2)[0]
    assert row_mean.tolist() == pytest.approx(golden["sqrtm"][f"cov(img(6,10,10)) iter{steps}"]["rowmean"], abs=2e-6)


# --- attention against its definition ------------------------------------------------------------------------------


def oracle(module: PyramidAttention, x: Tensor) -> Tensor:
    """Patches as rows, the whole (N, L) score matrix, one softmax, overlapping patches added and divided by 4."""

    def patches(features: Tensor) -> Tensor:
        return F.unfold(features, 3, padding=1).transpose(1, 2)

    pyramid = [x if s == 1 else F.interpolate(x, scale_factor=s, mode="bicubic") for s in module.levels]
    keys = torch.cat([patches(module.key(level)) for level in pyramid], 1)
    keys = keys / keys.norm(dim=2, keepdim=True).clamp(min=1e-4)
    values = torch.cat([patches(module.value(level)) for level in pyramid], 1)
    weights = torch.softmax(10 * patches(module.query(x)) @ keys.transpose(1, 2), 2)
    return F.fold((weights @ values).transpose(1, 2), x.shape[2:], 3, padding=1) / 4


def with_gradients(function: Any, module: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, then the gradients of its weighted sum for the input and every parameter."""
    x = x.clone().requires_grad_()
    out = function(x)
    weights = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), [x, *module.parameters()])]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_pyramid_attention_and_its_gradients_follow_the_definition(
    dtype: torch.dtype, tolerance: float, reduction: int
) -> None:
    torch.manual_seed(0)
    module = PyramidAttention(8, LEVELS[1], reduction).to(dtype)
    x = torch.randn(2, 8, 13, 10, dtype=dtype)
    ours = with_gradients(module, module, x)
    plain = with_gradients(lambda x: oracle(module, x), module, x)
    for a, b in zip(ours, plain, strict=True):
        assert float((a - b).abs().max()) <= tolerance * max(1.0, float(b.abs().max()))
    with torch.inference_mode():
        assert float((module(x) - plain[0]).abs().max()) <= tolerance


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(3, 15),
    columns=st.integers(3, 15),
    batch=st.integers(1, 3),
    levels=st.sampled_from(LEVELS),
    seed=st.integers(0, 2**16),
)
def test_pyramid_attention_takes_any_size(
    rows: int, columns: int, batch: int, levels: tuple[float, ...], seed: int
) -> None:
    torch.manual_seed(seed)
    module = PyramidAttention(4, levels).double()
    x = torch.randn(batch, 4, rows, columns, dtype=torch.float64)
    torch.testing.assert_close(module(x), oracle(module, x), rtol=0, atol=1e-10)


def test_a_level_is_never_smaller_than_one_pixel() -> None:
    assert PyramidAttention(4, (1.0, 0.4))(torch.rand(1, 4, 2, 9)).shape == (1, 4, 2, 9)


def test_point_attention_follows_the_definition() -> None:
    torch.manual_seed(0)
    module = PointAttention(8).double()
    x = torch.randn(2, 8, 7, 11, dtype=torch.float64)

    def plain(x: Tensor) -> Tensor:
        theta, phi, g = (layer(x).flatten(2) for layer in (module.query, module.key, module.value))
        weights = torch.softmax(theta.transpose(1, 2) @ phi, 2)
        return module.out((g @ weights.transpose(1, 2)).reshape(2, 4, 7, 11))

    for a, b in zip(with_gradients(module, module, x), with_gradients(plain, module, x), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("module", [PointAttention(8), PyramidAttention(8, LEVELS[1])], ids=["point", "pyramid"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_never_forms_the_score_matrix(module: nn.Module, dtype: torch.dtype) -> None:
    """torch falls back without a word to a kernel that does; forbidden here, it would raise."""
    x = torch.rand(2, 8, 16, 11)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), autocast:
        module(x).sum().backward()
        with torch.inference_mode():
            module(x)


@pytest.mark.parametrize("module", [PointAttention(4), PyramidAttention(4, LEVELS[1]), POAB(POANOptions(features=4))])
def test_all_zero_features_give_finite_values_and_gradients(module: nn.Module) -> None:
    """All biases zero too: every patch, norm and covariance is then exactly zero."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    assert all(bool(t.isfinite().all()) for t in with_gradients(module, module, torch.zeros(1, 4, 8, 5)))


def test_the_covariance_root_converges_to_the_exact_root() -> None:
    matrix = covariance(torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 9, 9))))
    root = matrix_root(matrix, 25)
    torch.testing.assert_close(root @ root, matrix, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 41_571),
        ({"levels": ()}, 29_152),
        ({"point": False, "levels": (1.0,)}, 29_123),
        ({"point": False, "levels": (0.8, 0.6, 0.4)}, 29_123),
        ({"point": False, "levels": ()}, 12_480),
    ],
)
def test_an_ablated_attention_block_loses_just_its_branch(options: dict[str, Any], count: int) -> None:
    block = POAB(POANOptions(**options))
    assert parameters(block) == count
    assert block(torch.rand(1, 64, 5, 6)).shape == (1, 64, 5, 6)
