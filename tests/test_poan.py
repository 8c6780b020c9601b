"""POAN: its channel attention, the options that stand for readings of the paper, and its ablations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from golden import image
from torch import nn

from mrsr_bench.method import Scan, Task, intensity_scale
from mrsr_bench.methods.edsr import EDSR
from mrsr_bench.methods.poan import NCAB, POAB, POAN, POANOptions, covariance, matrix_root
from mrsr_bench.planning import cells as cell
from mrsr_bench.protocol import loading as protocol
from mrsr_bench.testing.trial import image as texture

pytestmark = pytest.mark.usefixtures("one_thread")

READINGS: list[dict[str, Any]] = [
    {},
    {"point": False},
    {"levels": ()},
    {"levels": (), "point": False},
    {"channel": "none"},
    {"channel": "cab"},
    {"gate": "softmax_xC"},
    {"gate": "sigmoid"},
    {"gcp": "diag"},
    {"z": "raw"},
    {"merge": "concat"},
    {"pyramid_fusion": "per_level"},
    {"pyramid_fusion": "per_level", "branch_residual": True},
    {"branch_residual": True},
    {"skip": "image"},
    {"tail": "espcn"},
    {"zero_start": True},
    {"res_scale": 0.1},
    {"newton_schulz_steps": 8},
    {"reduction": 4},
]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def small(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return POAN(blocks=2, features=8, **options).build(Task((1, 2, 2)))


# --- channel attention ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_the_covariance_root_is_the_official_one(golden: dict[str, Any], steps: int) -> None:
    row_mean = matrix_root(covariance(image(6, 10, 10)), steps).mean(2)[0]
    assert row_mean.tolist() == pytest.approx(golden["sqrtm"][f"cov(img(6,10,10)) iter{steps}"]["rowmean"], abs=2e-6)


def test_the_covariance_root_converges_to_the_exact_root() -> None:
    matrix = covariance(torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 9, 9))))
    root = matrix_root(matrix, 25)
    torch.testing.assert_close(root @ root, matrix, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("gate", "total"), [("softmax", 1.0), ("softmax_xC", 8.0), ("sigmoid", None)])
def test_channel_weights_are_those_of_the_gate(gate: Any, total: float | None) -> None:
    torch.manual_seed(0)
    module = NCAB(POANOptions(features=8, gate=gate)).double()
    x = 1 + torch.rand(2, 8, 6, 7, dtype=torch.float64)
    weights = module(x) / x
    assert torch.allclose(weights, weights.mean((2, 3), keepdim=True))  # one a channel, the same everywhere
    if total is None:
        assert bool(((weights > 0) & (weights < 1)).all())
    else:
        assert weights.mean((2, 3)).sum(1).tolist() == pytest.approx([total, total])


@pytest.mark.parametrize("z", ["raw", "normalised"])
def test_the_descriptor_is_the_roots_row_mean_or_its_diagonal_as_it_is_or_of_unit_mean_square(z: Any) -> None:
    x = image(8, 9, 7)
    root = matrix_root(covariance(x), 5)
    for gcp, raw in (("row_mean", root.mean(2)), ("diag", root.diagonal(dim1=1, dim2=2))):
        torch.manual_seed(0)
        module = NCAB(POANOptions.model_validate({"features": 8, "gcp": gcp, "z": z})).double()
        descriptor = raw if z == "raw" else raw / raw.square().mean(1, keepdim=True).sqrt()
        weights = torch.softmax(module.weigh(descriptor[:, :, None, None]), 1)
        torch.testing.assert_close(module(x), weights * x, rtol=1e-6, atol=1e-8)


FLAT = {
    "zero": torch.zeros(2, 8, 6, 6),
    "constant": torch.full((2, 8, 6, 6), 0.3),
    "one pixel": torch.nn.functional.pad(torch.ones(2, 8, 1, 1), (2, 3, 2, 3)),
    "noise": torch.rand(2, 8, 6, 6, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("patch", FLAT)
@pytest.mark.parametrize("z", ["raw", "normalised"])
def test_the_descriptor_has_finite_values_and_gradients_on_any_patch(patch: str, z: Any) -> None:
    torch.manual_seed(0)
    module, x = NCAB(POANOptions(features=8, z=z)), FLAT[patch].clone().requires_grad_()
    out = module(x)
    out.square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in module.parameters())]
    assert all(g is not None and bool(g.isfinite().all()) for g in [out, *gradients])


def channel_weights(z: Any) -> tuple[torch.Tensor, float]:
    """NCAB's weights for eight different textures at initialisation, and the largest gradient of F_E."""
    torch.manual_seed(0)
    network = POAN(blocks=2, features=32, z=z).build(Task((1, 2, 2)))
    channel = next(module for module in network.modules() if isinstance(module, NCAB))
    seen: list[torch.Tensor] = []
    hook = channel.register_forward_hook(lambda _, inputs, output: seen.append((output / inputs[0]).detach()))
    samples = torch.from_numpy(np.stack([texture((1, 24, 24), (0, 1, 1), seed) for seed in range(8)]) / 1000).float()
    torch.nn.functional.l1_loss(network(samples), torch.rand(8, 1, 48, 48)).backward()
    hook.remove()
    [weights] = seen
    assert channel.weigh[0].weight.grad is not None
    return weights.nanmedian(3).values.nanmedian(2).values, float(channel.weigh[0].weight.grad.abs().max())


def test_with_the_raw_descriptor_the_channel_attention_is_a_constant_and_normalised_it_is_not() -> None:
    """Signed rows of the root cancel, so that the raw descriptor is some 1e-4 and equation 6 nearly blind to it."""
    (raw, raw_gradient), (normalised, gradient) = channel_weights("raw"), channel_weights("normalised")
    spreads = [float((weights.std(0) / weights.mean(0)).max()) for weights in (raw, normalised)]
    assert spreads[0] < 1e-3 < 1e-2 < spreads[1]
    assert gradient > 30 * raw_gradient


# --- readings of the paper -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", READINGS, ids=str)
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_every_reading_is_finite_on_flat_patches_and_uses_all_its_parameters(
    options: dict[str, Any], level: float
) -> None:
    network = small(**options)
    out = network(torch.full((2, 1, 9, 12), level, requires_grad=True))
    assert out.shape == (2, 1, 18, 24)
    out.square().mean().backward()
    gradients = [p.grad for p in network.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in [out, *gradients])


def test_every_reading_is_another_function() -> None:
    """The same seed draws the same weights where shapes agree, so options that did nothing would give equal outputs."""
    x = torch.rand(1, 1, 10, 11)
    outputs = [small(**options)(x).detach() for options in READINGS]
    for number, output in enumerate(outputs):
        assert not any(torch.equal(output, other) for other in outputs[:number]), READINGS[number]


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({"tail": "espcn"}, (3_035_687, 3_038_572, 3_042_611)),
        ({"point": False, "levels": (), "channel": "none"}, (3_140_097, 3_324_737, 3_287_809)),
    ],
)
def test_readings_of_the_whole_network_have_the_sizes_known_for_them(
    options: dict[str, Any], counts: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        assert tuple(parameters(POAN(**options).build(Task((1, s, s)))) for s in (2, 3, 4)) == counts


def test_without_attention_poan_is_edsr() -> None:
    x = torch.rand(1, 1, 9, 8)
    torch.manual_seed(0)
    backbone = EDSR(blocks=2, features=8, res_scale=1.0).build(Task((1, 3, 3)))
    poan = POAN(blocks=2, features=8, point=False, levels=(), channel="none").build(Task((1, 3, 3)))
    poan.load_state_dict(backbone.state_dict())
    assert torch.equal(poan(x), backbone(x))


def test_the_global_skip_starts_where_it_is_said_to() -> None:
    """With a body that gives nothing, the network is tail(head(x)) or tail(x on every channel)."""
    x = torch.rand(1, 1, 6, 5)
    for skip in ("head", "image"):
        network: Any = small(skip=skip)
        nn.init.zeros_(network.body[-1].weight)
        nn.init.zeros_(network.body[-1].bias)
        torch.testing.assert_close(
            network(x), network.tail(network.head(x) if skip == "head" else x.expand(-1, 8, -1, -1))
        )


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 41_571),
        ({"levels": ()}, 29_152),
        ({"point": False, "levels": (1.0,)}, 29_123),
        ({"point": False, "levels": (0.8, 0.6, 0.4)}, 29_123),
        ({"point": False, "levels": ()}, 12_480),
        ({"channel": "none"}, 33_251),
        ({"merge": "concat"}, 41_571 + 64 * 64),
        ({"pyramid_fusion": "per_level"}, 41_571 + 3 * 64 * 64),
        ({"channel": "cab"}, 41_571 - 8_320 + 580),
        ({"gate": "sigmoid", "gcp": "diag", "branch_residual": True}, 41_571),
    ],
)
def test_an_ablated_attention_block_loses_just_its_branch(options: dict[str, Any], count: int) -> None:
    block = POAB(POANOptions(**options))
    assert parameters(block) == count
    assert block(torch.rand(1, 64, 5, 6)).shape == (1, 64, 5, 6)


def test_a_zero_start_is_the_plain_backbone() -> None:
    x = torch.rand(1, 1, 9, 8)
    poan: Any = small(zero_start=True)
    before = poan(x)
    poan.body = nn.Sequential(*(module for module in poan.body if not isinstance(module, POAB)))
    assert torch.equal(poan(x), before)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["features", "point", "pyramid", "channel"]),
        ({"channel": "cab", "point": False}, ["features", "pyramid", "channel"]),
        ({"channel": "none", "levels": ()}, ["features", "point"]),
        ({"channel": "none", "levels": (), "point": False}, []),
    ],
)
def test_maps_show_the_parts_that_there_are(options: dict[str, Any], names: list[str]) -> None:
    torch.manual_seed(0)
    method, task = POAN(blocks=2, features=8, **options), Task((1, 2, 2))
    method.network = method.build(task)
    scan = Scan(texture((3, 12, 10), (0, 1, 1), 0), (1.0, 1.0, 1.0), "T1")
    before = method.upscale(scan, task)
    shown = method.maps(scan, task)
    assert list(shown) == names
    assert all(value.shape == (3, 12, 10) and bool((value >= 0).all()) for value in shown.values())
    assert np.array_equal(method.upscale(scan, task), before), "looking changes nothing"
    assert method.maps(scan, replace(task, tiles=(8, 2))) == {}
    if "channel" in names and "point" not in options:
        network: Any = method.network
        sample = torch.from_numpy(scan.array[1:2, None] / intensity_scale(scan.array)).float()
        with torch.inference_mode():
            block = network.body[1]
            spatial = block.spatial(network.body[0](network.head(sample)))
            expected = block.channel(spatial).abs().mean(1)[0]
        np.testing.assert_allclose(shown["channel"][1], expected, rtol=1e-5)


# --- ablations -----------------------------------------------------------------------------------------------------

SPATIAL = {"A": 12_480, "B": 29_152, "C": 29_123, "D": 29_123, "E": 41_571, "F": 29_123, "G": 41_571, "H": 41_571}
BOTH = {"A": 0, "B": 12_480, "C": 33_251, "D": 41_571}


@pytest.mark.parametrize(("table", "rows"), [("poan_table2", SPATIAL), ("poan_table3", BOTH)])
def test_the_papers_ablations_are_distinct_networks_of_the_sizes_their_branches_have(
    table: str, rows: dict[str, int]
) -> None:
    trainings = cell.plan_trainings(protocol.load(table), seeds=[0])
    assert [training.base.label[0] for training in trainings] == list(rows)
    assert len({str(training.options) for training in trainings}) == len(rows)
    for training in trainings:
        options = POANOptions(**training.options)
        with torch.device("meta"):
            size = parameters(POAB(options)) if rows[training.base.label[0]] else 0
        assert size == rows[training.base.label[0]]
        assert training.recipe is not None
        assert (training.recipe.steps, training.recipe.batch, training.recipe.lr_patch) == (20_000, 16, 32)


@pytest.mark.parametrize("table", ["poan_table2", "poan_table3"])
def test_an_ablations_sibling_has_the_same_rows_at_cpu_size(table: str) -> None:
    full, sibling = (protocol.load(name).protocol for name in (table, f"{table}_midslice"))
    assert full.scales == sibling.scales
    assert list(full.methods) == list(sibling.methods)
    for label, spec in full.methods.items():
        assert sibling.methods[label].options == spec.options
        assert sibling.methods[label].preset == "tiny"
