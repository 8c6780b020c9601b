"""Attention: golden outputs of the public code, and our form of it against its plain definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden import assert_golden, filled, image
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_attention import plain, plain_patch_attention
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mrsr_bench.methods import _attention, _patch_attention
from mrsr_bench.methods._attention import PointAttention, PyramidAttention, fused_patch_attention
from mrsr_bench.methods._patch_attention import flat

pytestmark = pytest.mark.usefixtures("one_thread")

LEVELS = [(1.0,), (1.0, 0.8, 0.6, 0.4), (0.8, 0.6, 0.4), (1.0, 0.9, 0.8, 0.7, 0.6)]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_pyramid_attention_is_the_official_one(golden: dict[str, Any], levels: tuple[float, ...]) -> None:
    module, x = filled(PyramidAttention(8, levels)), image(8, 20, 15)
    key = str([1, *levels[1:]] if levels[0] == 1 else list(levels))
    assert_golden(x + module(x), golden["pyramid_attention"][key])


# --- attention against its definition ------------------------------------------------------------------------------


def with_gradients(function: Any, module: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, then the gradients of its weighted sum for the input and every parameter."""
    x = x.clone().requires_grad_()
    out = function(x)
    weights = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), [x, *module.parameters()])]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("options", [{"reduction": 1}, {}, {"reduction": 4}, {"fusion": "per_level"}], ids=str)
@pytest.mark.parametrize("form", ["streamed", "streamed in blocks", "fused"])
def test_pyramid_attention_and_its_gradients_follow_the_definition(
    dtype: torch.dtype, tolerance: float, options: dict[str, Any], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = PyramidAttention(8, LEVELS[1], **options).to(dtype)
    x = torch.randn(2, 8, 13, 14, dtype=dtype)
    expected = with_gradients(lambda x: plain(module, x), module, x)
    if form == "streamed in blocks":
        monkeypatch.setattr(_patch_attention, "_BLOCK_BYTES", 1)
    if form == "fused":
        monkeypatch.setattr(_attention, "streamed_patch_attention", fused_patch_attention)
    for a, b in zip(with_gradients(module, module, x), expected, strict=True):
        assert float((a - b).abs().max()) <= tolerance * max(1.0, float(b.abs().max()))
    with torch.inference_mode():
        assert float((module(x) - expected[0]).abs().max()) <= tolerance


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 14),
    columns=st.integers(1, 20),
    batch=st.integers(1, 3),
    levels=st.sampled_from(LEVELS),
    fusion=st.sampled_from(["joint", "per_level"]),
    block=st.sampled_from([1, 4096, 16 << 20]),
    seed=st.integers(0, 2**16),
)
def test_pyramid_attention_takes_any_size(
    rows: int, columns: int, batch: int, levels: tuple[float, ...], fusion: Any, block: int, seed: int
) -> None:
    torch.manual_seed(seed)
    module = PyramidAttention(4, levels, fusion=fusion).double()
    x = torch.randn(batch, 4, rows, columns, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_patch_attention, "_BLOCK_BYTES", block)
        ours = with_gradients(module, module, x)
    for a, b in zip(ours, with_gradients(lambda x: plain(module, x), module, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def attention_arguments(dtype: torch.dtype = torch.float64, **more: Any) -> tuple[Any, ...]:
    """Small random arguments of the custom operator: queries of 4×3 pixels, levels of 4×3 and 2×5."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(4, 3), (2, 5)]

    def maps(channels: int) -> list[Tensor]:
        return [torch.randn(2, channels, *size, generator=generator, dtype=dtype) for size in sizes]

    query = torch.randn(2, 4, 3, 2, generator=generator, dtype=dtype)
    key, value, factor = flat(maps(2)), flat(maps(3)), flat(maps(1))[:, 0]
    return *(tensor.requires_grad_(**more) for tensor in (query, key, value, factor)), [n for s in sizes for n in s]


def test_the_streamed_operator_has_the_gradients_of_its_values() -> None:
    """The frames of key, value and factor hold nothing: what is put there must not matter, so they are not moved."""
    *tensors, sides = attention_arguments(requires_grad=False)
    inside = flat([torch.ones(1, 1, *size, dtype=torch.float64) for size in zip(sides[::2], sides[1::2], strict=True)])

    def attend(query: Tensor, key: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        return torch.ops.mrsr_bench.patch_attention(query, key * inside, value * inside, factor * inside[:, 0], sides)

    assert torch.autograd.gradcheck(attend, [tensor.requires_grad_() for tensor in tensors])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck looks at it itself
def test_the_streamed_operator_is_registered_as_torch_expects() -> None:
    torch.library.opcheck(torch.ops.mrsr_bench.patch_attention.default, attention_arguments(torch.float32))


@given(
    batch=st.integers(1, 9),
    width=st.integers(1, 300),
    length=st.integers(1, 10**6),
    budget=st.integers(1, 1 << 26),
)
def test_blocks_cover_every_query_once_within_their_budget(batch: int, width: int, length: int, budget: int) -> None:
    query = torch.empty(batch, 1, width, 1, device="meta")
    seen = np.zeros((batch, width), int)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_patch_attention, "_BLOCK_BYTES", budget)
        for samples, columns, kept, place in _patch_attention._blocks(query, length):
            seen[samples, place] += 1
            assert np.array_equal(np.arange(width)[columns][kept], np.arange(width)[place])
            assert columns.start == max(0, place.start - 2)
            assert columns.stop == min(width, place.stop + 2)
            rows, wide = len(range(batch)[samples]), columns.stop - columns.start + 2
            fewest = _patch_attention._FEWEST_COLUMNS + 6
            assert rows * wide * length * 4 <= max(budget, min(wide, fewest) * length * 4)
    assert (seen == 1).all()


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["point", "fused"])
def test_fused_attention_never_forms_the_score_matrix(
    kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch falls back without a word to a kernel that does; forbidden here, it would raise."""
    monkeypatch.setattr(_attention, "streamed_patch_attention", fused_patch_attention)
    module = PointAttention(8) if kind == "point" else PyramidAttention(8, LEVELS[1])
    x = torch.rand(2, 8, 16, 11)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), autocast:
        module(x).sum().backward()
        with torch.inference_mode():
            module(x)


def test_streamed_attention_is_float32_within_bf16_autocast() -> None:
    """Only the 1×1 convolutions are rounded: scores, softmax and norms of large features would not survive it."""
    torch.manual_seed(0)
    module, x = PyramidAttention(8, LEVELS[1]), 20 * torch.randn(1, 8, 12, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = module(x)
        features = [layer(x) for layer in (module.query, module.key, module.value)]
    assert half.dtype == torch.float32
    assert all(f.dtype == torch.bfloat16 for f in features)
    x = x.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(x).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    single = PyramidAttention(8, (1.0,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = [layer(x.detach()) for layer in (single.query, single.key, single.value)]
        half = single(x.detach())
    query, key, value = (f.float() for f in rounded)
    torch.testing.assert_close(half, plain_patch_attention(query, [key], [value], 10.0) / 4, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("module", [PointAttention(4), PyramidAttention(4, LEVELS[1])])
def test_all_zero_features_give_finite_values_and_gradients(module: nn.Module) -> None:
    """All biases zero too: every patch, norm and covariance is then exactly zero."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    assert all(bool(t.isfinite().all()) for t in with_gradients(module, module, torch.zeros(1, 4, 8, 5)))
