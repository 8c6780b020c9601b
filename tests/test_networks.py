"""The networks: sizes as published, golden outputs of the public code, and attention against its plain definition."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mrsr_bench.degradation import bicubic
from mrsr_bench.method import Task, TorchMethod
from mrsr_bench.methods._attention import PointAttention, PyramidAttention
from mrsr_bench.methods.edsr import EDSR
from mrsr_bench.methods.poan import POAB, POAN, POANOptions, covariance, matrix_root
from mrsr_bench.methods.srcnn import SRCNN
from mrsr_bench.worker import count_macs

SMALL: dict[str, TorchMethod] = {
    "srcnn": SRCNN(),
    "edsr": EDSR(blocks=2, features=8),
    "poan": POAN(blocks=2, features=8),
}
M = TypeVar("M", bound=nn.Module)
LEVELS = [(1.0,), (1.0, 0.8, 0.6, 0.4), (0.8, 0.6, 0.4), (1.0, 0.9, 0.8, 0.7, 0.6)]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tensors as small as these only lose by threads, the more the busier the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def task(scale: int) -> Task:
    return Task((1, scale, scale))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


# --- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "published"),
    [
        (SRCNN(), (57_281, 57_281, 57_281)),
        (SRCNN("9-1-5"), (8_129, 8_129, 8_129)),
        (EDSR(), (40_720_385, 43_670_785, 43_080_705)),
        (EDSR("baseline"), (1_367_553, 1_552_193, 1_515_265)),
        (EDSR(blocks=40, features=64), (3_140_097, 3_324_737, 3_287_809)),
        (POAN(), (3_181_668, 3_366_308, 3_329_380)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, TorchMethod) else "",
)
def test_parameter_counts_are_the_published_ones(method: TorchMethod, published: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert tuple(parameters(method.build(task(scale))) for scale in (2, 3, 4)) == published


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


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_network_multiplies_rows_and_columns_by_the_scale(name: str, scale: int) -> None:
    network = SMALL[name].build(task(scale))
    assert network(torch.rand(2, 1, 7, 12)).shape == (2, 1, 7 * scale, 12 * scale)
    on_meta = network.to("meta")(torch.empty(1, 1, 5, 6, device="meta"))  # where `bench list` counts operations
    assert on_meta.shape == (1, 1, 5 * scale, 6 * scale)


def test_networks_name_the_tasks_they_cannot_do() -> None:
    for method in (EDSR("tiny"), POAN("tiny")):
        assert "not for ×5" in str(method.unsupported(task(5)))
        assert "within slices" in str(method.unsupported(Task((4, 1, 1))))
        assert method.unsupported(task(3)) is None
    assert SRCNN().unsupported(task(5)) is None
    assert SRCNN().build(task(5))(torch.rand(1, 1, 4, 6)).shape == (1, 1, 20, 30)


@pytest.mark.parametrize(
    ("method", "options", "word"),
    [
        (POAN, {"blocks": 5}, "blocks"),
        (POAN, {"features": 9}, "reduction"),
        (POAN, {"levels": (1.0, 1.5)}, "levels"),
        (POAN, {"newton_schulz_steps": 0}, "newton_schulz_steps"),
        (EDSR, {"blocks": 0}, "blocks"),
        (SRCNN, {"middle": 4}, "middle"),
    ],
)
def test_a_senseless_option_is_refused_by_name(method: type[TorchMethod], options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        method(**options)


# --- golden outputs of the public code -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "reference" / "golden_methods.json").read_text(encoding="utf-8"))


def filled(module: M) -> M:
    """Weights by the closed formula of the golden file, in float64."""
    for p in module.parameters():
        n = p.numel()
        wave = torch.sin(0.7 * torch.arange(n, dtype=torch.float64) + 0.1 * n).reshape(p.shape)
        wave = wave / math.sqrt(p[0].numel()) if p.dim() == 4 else 0.05 * wave
        p.data = (torch.full_like(wave, 0.25) if n == 1 else wave).float()
    return module.double()


def image(channels: int, rows: int, columns: int) -> Tensor:
    c, h, w = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (channels, rows, columns)), indexing="ij")
    return (0.5 + 0.5 * torch.sin(0.3 * h + 0.17 * w + 0.9 * c + 0.05 * h * w))[None]


def assert_golden(out: Tensor, expected: dict[str, Any]) -> None:
    out = out.detach()
    rows, columns = out.shape[2:]
    middle = out[0, 0, rows // 2, columns // 2]
    values = [out.mean(), out.std(), out.flatten()[0], middle, out.flatten()[-1]]
    assert list(out.shape) == expected["shape"]
    wanted = [expected[key] for key in ("mean", "std", "first", "mid", "last")]
    assert [float(v) for v in values] == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_is_the_public_one(golden: dict[str, Any], scale: int) -> None:
    network = filled(EDSR(blocks=2, features=8, res_scale=0.1).build(task(scale)))
    assert_golden(network(image(1, 12, 10)), golden["nets"][f"EDSR_2rb_8f_rs0.1_x{scale} (EDSR-PyTorch layout)"])


def test_srcnn_is_the_public_one_behind_exact_bicubic(golden: dict[str, Any]) -> None:
    network = filled(SRCNN().build(task(2)))
    assert_golden(network.body(image(1, 20, 18)), golden["nets"]["SRCNN_955 (yjn870)"])
    upsampled = torch.from_numpy(bicubic(image(1, 12, 10).numpy(), (24, 20)))
    torch.testing.assert_close(network(image(1, 12, 10)), network.body(upsampled), rtol=0, atol=1e-12)


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


# --- numbers that stay finite --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("level", [0.0, 0.5])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16"])
def test_black_and_constant_patches_give_finite_values_and_gradients(
    name: str, scale: int, level: float, half: bool
) -> None:
    torch.manual_seed(0)
    network = SMALL[name].build(task(scale))
    x = torch.full((2, 1, 12, 9), level, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        out = network(x)
    out.float().abs().mean().backward()
    gradients = [x.grad, *(p.grad for p in network.parameters())]
    assert all(g is not None and bool(g.isfinite().all()) for g in [out, *gradients])


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


def test_poan_in_bf16_stays_near_float32() -> None:
    torch.manual_seed(0)
    network = SMALL["poan"].build(task(2))
    x = torch.rand(2, 1, 12, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(x)
    torch.testing.assert_close(half.float(), network(x), rtol=0, atol=0.02)


def test_samples_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    network, x = SMALL["poan"].build(task(2)), torch.rand(3, 1, 9, 12)
    torch.testing.assert_close(network(x), torch.cat([network(part) for part in x.split(1)]), rtol=0, atol=1e-5)


# --- recipes -------------------------------------------------------------------------------------------------------


def test_srcnns_last_layer_learns_at_a_tenth_of_whatever_rate_is_asked() -> None:
    method = SRCNN()
    network = method.build(task(2))
    groups = method.parameter_groups(network)
    assert sum(p.numel() for group in groups for p in group["params"]) == parameters(network)
    optimizer = create_optimizer_v2(groups, opt="adam", lr=3e-3)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="step",
        num_epochs=100,
        decay_epochs=10,
        decay_rate=0.5,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    for step, rate in ((0, 3e-3), (9, 3e-3), (10, 1.5e-3)):
        scheduler.step_update(step)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate, rate / 10])


def test_counted_macs_are_the_published_ones_and_include_attention() -> None:
    """EDSR's figure is that of its public code at LR 24×24, ×2; patch attention takes at least 9·C/r + 9·C a score."""
    counts, asked = [], Task((1, 2, 2))
    for method in (EDSR("baseline"), POAN("baseline", levels=(), point=False), POAN("baseline")):
        method.network = method.build(asked)
        counts.append(count_macs(method, asked))
    assert counts[0] == 787_304_448
    queries, keys = 24**2, sum(int(24 * level) ** 2 for level in (1.0, 0.8, 0.6, 0.4))
    assert counts[2] - counts[1] > 864 * queries * keys
