"""The networks: sizes as published, golden outputs of the public code, numbers that stay finite, recipes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import assert_golden, filled, image
from pydantic import ValidationError
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from mrsr_bench.degradation import bicubic
from mrsr_bench.method import Task, TorchMethod
from mrsr_bench.methods.edsr import EDSR
from mrsr_bench.methods.poan import POAN
from mrsr_bench.methods.srcnn import SRCNN
from mrsr_bench.worker import count_macs

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, TorchMethod] = {
    "srcnn": SRCNN(),
    "edsr": EDSR(blocks=2, features=8),
    "poan": POAN(blocks=2, features=8),
}


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


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_is_the_public_one(golden: dict[str, Any], scale: int) -> None:
    network = filled(EDSR(blocks=2, features=8, res_scale=0.1).build(task(scale)))
    assert_golden(network(image(1, 12, 10)), golden["nets"][f"EDSR_2rb_8f_rs0.1_x{scale} (EDSR-PyTorch layout)"])


def test_srcnn_is_the_public_one_behind_exact_bicubic(golden: dict[str, Any]) -> None:
    network = filled(SRCNN().build(task(2)))
    assert_golden(network.body(image(1, 20, 18)), golden["nets"]["SRCNN_955 (yjn870)"])
    upsampled = torch.from_numpy(bicubic(image(1, 12, 10).numpy(), (24, 20)))
    torch.testing.assert_close(network(image(1, 12, 10)), network.body(upsampled), rtol=0, atol=1e-12)


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
