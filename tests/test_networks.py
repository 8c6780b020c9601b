"""The networks: sizes as published, golden outputs of the public code, numbers that stay finite, recipes."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import assert_golden, filled, image
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from mrsr_bench import registry
from mrsr_bench.degradation import bicubic
from mrsr_bench.method import Recipe, Task, TorchMethod
from mrsr_bench.methods.csn import CSN, CSNNetwork, CSNOptions
from mrsr_bench.methods.edsr import EDSR
from mrsr_bench.methods.poan import POAN
from mrsr_bench.methods.rdn import RDN
from mrsr_bench.methods.srcnn import SRCNN
from mrsr_bench.methods.vdsr import VDSR
from mrsr_bench.training.loop import make_scheduler

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, TorchMethod] = {
    "srcnn": SRCNN(filters=(8, 4)),
    "vdsr": VDSR(layers=4, features=8),
    "edsr": EDSR(blocks=2, features=8),
    "edsr-slices": EDSR(blocks=2, features=8, slices=3),
    "rdn": RDN(blocks=2, layers=2, growth=4, features=8),
    "csn": CSN(blocks=2, stages=2, growth=4, features=8),
    "poan": POAN(blocks=2, features=8),
}
CLASSES: list[type[TorchMethod]] = list(dict.fromkeys(type(method) for method in SMALL.values()))


def task(scale: int) -> Task:
    return Task((1, scale, scale))


@cache
def small(name: str, scale: int) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[name].build(task(scale))


def name_of(value: object) -> str:
    return type(value).__name__ if isinstance(value, TorchMethod) else getattr(value, "__name__", "")


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_every_network_of_the_suite_is_tested_here() -> None:
    methods = [registry.load_method(source) for source in registry.methods().values()]
    networks = {cls.__name__ for cls in methods if issubclass(cls, TorchMethod)}
    assert networks == {cls.__name__ for cls in CLASSES}


# --- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "published"),
    [
        (SRCNN(), (57_281, 57_281, 57_281)),
        (SRCNN("9-1-5"), (8_129, 8_129, 8_129)),
        (VDSR(), (664_704, 664_704, 664_704)),
        (VDSR(bias=True), (665_921, 665_921, 665_921)),
        (EDSR(), (40_720_385, 43_670_785, 43_080_705)),
        (EDSR("baseline"), (1_367_553, 1_552_193, 1_515_265)),
        (EDSR("40x64"), (3_140_097, 3_324_737, 3_287_809)),
        (RDN(), (22_121_089, 22_305_729, 22_268_801)),
        (RDN("d20c6g32"), (5_540_065, 5_632_385, 5_577_057)),
        (CSN(), (13_646_593, 16_596_993, 16_006_913)),
        (POAN(), (3_181_668, 3_366_308, 3_329_380)),
    ],
    ids=name_of,
)
def test_parameter_counts_are_the_published_ones(method: TorchMethod, published: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert tuple(parameters(method.build(task(scale))) for scale in (2, 3, 4)) == published


def test_edsr_c96_takes_96_slices_as_the_channels_of_one_sample() -> None:
    method = EDSR("c96")
    assert method.slices_per_sample == 96
    with torch.device("meta"):
        network = method.build(task(2))
        assert network(torch.empty(1, 96, 5, 6)).shape == (1, 96, 10, 12)
    assert parameters(network) == 41_158_240
    assert method.unsupported(Task((1, 2, 2), slices=192)) is None
    assert "96 slices at a time" in str(method.unsupported(Task((1, 2, 2), slices=100)))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_network_multiplies_rows_and_columns_by_the_scale(name: str, scale: int) -> None:
    slices = SMALL[name].slices_per_sample
    network = SMALL[name].build(task(scale))
    assert network(torch.rand(2, slices, 7, 12)).shape == (2, slices, 7 * scale, 12 * scale)
    on_meta = network.to("meta")(torch.empty(1, slices, 5, 6, device="meta"))  # where operations are counted
    assert on_meta.shape == (1, slices, 5 * scale, 6 * scale)


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=25, deadline=None)
@given(scale=st.sampled_from([2, 3, 4]), rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 99))
def test_any_size_down_to_one_pixel_is_multiplied(name: str, scale: int, rows: int, columns: int, seed: int) -> None:
    slices = SMALL[name].slices_per_sample
    x = torch.rand(1, slices, rows, columns, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        out = small(name, scale)(x)
    assert out.shape == (1, slices, scale * rows, scale * columns)
    assert out.dtype == torch.float32
    assert bool(out.isfinite().all())


def test_networks_name_the_tasks_they_cannot_do() -> None:
    for method in (EDSR("tiny"), RDN("tiny"), CSN("tiny"), POAN("tiny")):
        assert "not for ×5" in str(method.unsupported(task(5)))
        assert "within slices" in str(method.unsupported(Task((4, 1, 1))))
        assert method.unsupported(task(3)) is None
    for method in (SRCNN("tiny"), VDSR("tiny")):
        assert method.unsupported(task(5)) is None
        assert method.build(task(5))(torch.rand(1, 1, 4, 6)).shape == (1, 1, 20, 30)


@pytest.mark.parametrize("cls", CLASSES, ids=name_of)
def test_tiny_is_the_same_topology_for_a_cpu(cls: type[TorchMethod]) -> None:
    with torch.device("meta"):
        tiny, full = cls("tiny").build(task(2)), cls().build(task(2))
    assert [name for name, _ in tiny.named_children()] == [name for name, _ in full.named_children()]
    assert {type(module) for module in tiny.modules()} == {type(module) for module in full.modules()}
    kernels = [
        {module.kernel_size for module in network.modules() if isinstance(module, nn.Conv2d)}
        for network in (tiny, full)
    ]
    assert kernels[0] == kernels[1]
    assert parameters(tiny) < min(250_000, parameters(full) / 3)


@pytest.mark.parametrize(
    ("method", "options", "word"),
    [
        (POAN, {"blocks": 5}, "blocks"),
        (POAN, {"features": 9}, "reduction"),
        (POAN, {"levels": (1.0, 1.5)}, "levels"),
        (POAN, {"newton_schulz_steps": 0}, "newton_schulz_steps"),
        (EDSR, {"blocks": 0}, "blocks"),
        (EDSR, {"features": 0}, "features"),
        (EDSR, {"res_scale": 0}, "res_scale"),
        (EDSR, {"slices": 0}, "slices"),
        (SRCNN, {"middle": 4}, "middle"),
        (SRCNN, {"filters": (64, 0)}, "filters"),
        (SRCNN, {"filters": (64, 32, 16)}, "filters"),
        (VDSR, {"layers": 1}, "layers"),
        (VDSR, {"features": 0}, "features"),
        (RDN, {"blocks": 0}, "blocks"),
        (RDN, {"layers": 0}, "layers"),
        (RDN, {"growth": 0}, "growth"),
        (RDN, {"features": 0}, "features"),
        (RDN, {"res_scale": -1}, "res_scale"),
        (CSN, {"features": 33}, "features"),
        (CSN, {"growth": 0}, "growth"),
        (CSN, {"blocks": 0}, "blocks"),
        (CSN, {"stages": 0}, "stages"),
        (CSN, {"res_scale": 0}, "res_scale"),
        (CSN, {"n": 4}, "n"),
    ],
)
def test_a_senseless_option_is_refused_by_name(method: type[TorchMethod], options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=rf"\b{word}\b"):
        method(**options)


# --- golden outputs of the public code -----------------------------------------------------------------------------


def other_bicubic(x: Tensor, scale: int) -> Tensor:
    """torch's kernel, a = −0.75, which CSN's golden outputs have in their external skip."""
    return F.interpolate(x, scale_factor=scale, mode="bicubic", antialias=False)


def exact_bicubic(x: Tensor, scale: int) -> Tensor:
    return torch.from_numpy(bicubic(x.numpy(), [scale * n for n in x.shape[2:]]))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_is_the_public_one(golden: dict[str, Any], scale: int) -> None:
    network = filled(EDSR(blocks=2, features=8, res_scale=0.1).build(task(scale)))
    assert_golden(network(image(1, 12, 10)), golden["nets"][f"EDSR_2rb_8f_rs0.1_x{scale} (EDSR-PyTorch layout)"])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rdn_is_the_public_one(golden: dict[str, Any], scale: int) -> None:
    network = filled(RDN(blocks=2, layers=3, growth=8, features=8).build(task(scale)))
    assert_golden(network(image(1, 12, 10)), golden["nets"][f"RDN_D2C3G8_x{scale} (yjn870)"])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_csn_is_the_papers(golden: dict[str, Any], scale: int) -> None:
    options = CSNOptions(features=8, growth=4, blocks=2, stages=2)
    [expected] = [value for key, value in golden["nets"].items() if key.startswith(f"CSN_c8g4n2m2_x{scale} ")]
    x = image(1, 12, 10)
    network = filled(CSNNetwork(scale, options, other_bicubic))
    assert_golden(network(x), expected)
    ours = filled(CSNNetwork(scale, options))
    torch.testing.assert_close(
        ours(x) - exact_bicubic(x, scale), network(x) - other_bicubic(x, scale), rtol=0, atol=1e-12
    )


def test_srcnn_is_the_public_one_behind_exact_bicubic(golden: dict[str, Any]) -> None:
    network = filled(SRCNN().build(task(2)))
    assert_golden(network.body(image(1, 20, 18)), golden["nets"]["SRCNN_955 (yjn870)"])
    x = image(1, 12, 10)
    torch.testing.assert_close(network(x), network.body(exact_bicubic(x, 2)), rtol=0, atol=1e-12)


def test_vdsr_is_the_public_one_behind_exact_bicubic(golden: dict[str, Any]) -> None:
    network = filled(VDSR().build(task(2)))
    upsampled = image(1, 20, 18)
    assert_golden(upsampled + network.body(upsampled), golden["nets"]["VDSR_nobias (twtygqyy)"])
    for scale in (2, 3, 4):
        x = image(1, 7, 6)
        network = SMALL["vdsr"].build(task(scale)).double()
        nn.init.zeros_(network.body[-1].weight)  # no residual image
        torch.testing.assert_close(network(x), exact_bicubic(x, scale), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cls", [RDN, CSN], ids=name_of)
@torch.no_grad()
def test_res_scale_multiplies_the_branch_of_every_block(cls: type[TorchMethod]) -> None:
    torch.manual_seed(0)
    plain, scaled = (cls("tiny", res_scale=factor).build(task(2)) for factor in (1.0, 0.1))
    x = torch.rand(1, 1, 6, 5)
    scaled.load_state_dict(plain.state_dict())
    assert float((scaled(x) - plain(x)).abs().max()) > 1e-3
    for block in plain.blocks:
        block.fuse.weight.mul_(0.1)
        block.fuse.bias.mul_(0.1)
    torch.testing.assert_close(scaled(x), plain(x), rtol=0, atol=1e-5)


# --- initialisation ------------------------------------------------------------------------------------------------


def assert_normal(weight: Tensor, std: float) -> None:
    """Within four standard errors, and with the tail that a uniform distribution lacks."""
    weight = weight.detach()
    assert float(weight.std()) == pytest.approx(std, rel=4 / math.sqrt(2 * weight.numel()))
    assert abs(float(weight.mean())) < 4 * std / math.sqrt(weight.numel())
    assert float(weight.abs().max()) > 2 * std


def test_vdsr_starts_from_hes_normal_weights() -> None:
    torch.manual_seed(0)
    convolutions = [layer for layer in VDSR().build(task(2)).modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 20
    for layer in convolutions:
        assert_normal(layer.weight, math.sqrt(2 / (9 * layer.out_channels)))
        assert layer.bias is None
    biases = [layer.bias for layer in VDSR("tiny", bias=True).build(task(2)).modules() if isinstance(layer, nn.Conv2d)]
    assert all(bias is not None and not bias.any() for bias in biases)


def test_csn_starts_from_xaviers_normal_weights() -> None:
    torch.manual_seed(0)
    network = CSN("tiny").build(task(4))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            area = layer.kernel_size[0] * layer.kernel_size[1]
            assert_normal(layer.weight, math.sqrt(2 / (area * (layer.in_channels + layer.out_channels))))
            assert layer.bias is not None
            assert not layer.bias.any()


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
    x = torch.full((2, SMALL[name].slices_per_sample, 12, 9), level, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        out = network(x)
    out.float().abs().mean().backward()
    gradients = [x.grad, *(p.grad for p in network.parameters())]
    assert all(g is not None and bool(g.isfinite().all()) for g in [out, *gradients])


@pytest.mark.parametrize("name", SMALL)
def test_bf16_stays_near_float32(name: str) -> None:
    torch.manual_seed(0)
    network = SMALL[name].build(task(2))
    x = torch.rand(2, SMALL[name].slices_per_sample, 12, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(x)
    whole = network(x)
    torch.testing.assert_close(half.float(), whole, rtol=0, atol=0.02 * max(1.0, float(whole.detach().abs().max())))


@pytest.mark.parametrize("name", ["vdsr", "csn"])
def test_under_bf16_the_interpolated_image_keeps_its_precision(name: str) -> None:
    network = SMALL[name].build(task(2))
    for p in network.parameters():
        nn.init.zeros_(p)
    x = torch.rand(1, 1, 12, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(x)
    torch.testing.assert_close(out, exact_bicubic(x, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_samples_of_a_batch_do_not_mix(name: str) -> None:
    torch.manual_seed(0)
    network, x = SMALL[name].build(task(2)), torch.rand(3, SMALL[name].slices_per_sample, 9, 12)
    torch.testing.assert_close(network(x), torch.cat([network(part) for part in x.split(1)]), rtol=0, atol=1e-5)


# --- recipes -------------------------------------------------------------------------------------------------------


def rates(method: TorchMethod, steps: list[int]) -> list[list[float]]:
    """The learning rates of the method's own recipe at some steps, one for each group of parameters."""
    recipe = method.recipe
    groups = method.parameter_groups(method.build(task(2)))
    optimizer = create_optimizer_v2(groups, opt=recipe.optimizer, lr=recipe.lr, **recipe.optimizer_args)
    scheduler = make_scheduler(optimizer, recipe)
    found = []
    for step in steps:
        scheduler.step_update(step)
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


@pytest.mark.parametrize(
    ("cls", "loss", "lr_patch", "steps"),
    [
        (VDSR, "mse", 24, 1_000_000),
        (EDSR, "l1", 48, 300_000),
        (RDN, "l1", 32, 1_000_000),
        (CSN, "l1", 24, 1_000_000),
    ],
    ids=name_of,
)
def test_recipes_are_those_of_the_docstrings(cls: type[TorchMethod], loss: str, lr_patch: int, steps: int) -> None:
    recipe = cls.recipe
    assert (recipe.loss, recipe.lr_patch, recipe.steps) == (loss, lr_patch, steps)
    assert (recipe.optimizer, recipe.batch, recipe.augment) == ("adam", 16, "dihedral")
    found = rates(cls("tiny"), [1000, 199_999, 200_000, 399_999, 400_000])
    assert [rate for [rate] in found] == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5])


def test_csn_alone_starts_gently() -> None:
    assert rates(CSN("tiny"), [0]) == [[pytest.approx(1e-6)]]
    assert rates(CSN("tiny"), [500]) == [[pytest.approx(5e-5, rel=0.02)]]
    for cls in (VDSR, EDSR, RDN):
        assert rates(cls("tiny"), [0]) == [[pytest.approx(1e-4)]]


def test_srcnns_last_layer_learns_at_a_tenth_of_whatever_rate_is_asked() -> None:
    method = SRCNN()
    network = method.build(task(2))
    groups = method.parameter_groups(network)
    assert sum(p.numel() for group in groups for p in group["params"]) == parameters(network)
    optimizer = create_optimizer_v2(groups, opt="adam", lr=3e-3)
    recipe = Recipe(steps=100, schedule="step", schedule_args={"decay_epochs": 10, "decay_rate": 0.5})
    scheduler = make_scheduler(optimizer, recipe)
    for step, rate in ((0, 3e-3), (9, 3e-3), (10, 1.5e-3)):
        scheduler.step_update(step)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate, rate / 10])
