"""Range and null space: what LR determines of a volume, and what of the rest a prediction recovers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsr_bench.degradation import DEGRADATIONS, Degradation, bicubic, degrade
from mrsr_bench.method import Method, Scan, Task
from mrsr_bench.methods.backprojection import Backprojection
from mrsr_bench.methods.bicubic import Bicubic
from mrsr_bench.methods.zerofill import Zerofill
from mrsr_bench.protocol.schema import ScoringSpec
from mrsr_bench.scoring.metrics.null_space import projection, range_part
from mrsr_bench.scoring.score import Case, score
from mrsr_bench.volumes import Grid

MODEST = settings(max_examples=30, deadline=None)
SHAPE = (8, 24, 36)
FACTORS = [(1, 2, 2), (1, 3, 3), (1, 4, 4), (4, 1, 1), (2, 2, 2), (1, 2, 3)]
seeds = st.integers(0, 2**16)
names = st.sampled_from(sorted(DEGRADATIONS))
every_factor = pytest.mark.parametrize("factors", FACTORS, ids=str)
every_degradation = pytest.mark.parametrize("name", sorted(DEGRADATIONS))
Factors = tuple[int, int, int]


def image(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Rough in every slice, about 0 to 1000."""
    random = np.random.default_rng(seed)
    return np.asarray(np.cumsum(random.normal(0, 60, shape), axis=-1) + random.uniform(300, 700))


def lr_shape(factors: Factors, shape: tuple[int, ...] = SHAPE) -> tuple[int, ...]:
    return tuple(n // factor for n, factor in zip(shape, factors, strict=True))


def pseudo_inverse(lr: np.ndarray, degradation: Degradation, shape: tuple[int, ...]) -> np.ndarray:
    """A⁺ of an LR volume, by the singular values of each axis: the image of least norm that degrades to it."""
    for axis, (n, m) in enumerate(zip(shape, lr.shape, strict=True)):
        if n != m:
            u, values, v = np.linalg.svd(degradation.matrix(n, m), full_matrices=False)
            inverse = v.T @ np.diag([1 / value if value > 1e-6 * values[0] else 0 for value in values]) @ u.T
            lr = np.moveaxis(np.moveaxis(lr, axis, -1) @ inverse.T, -1, axis)
    return lr


def figures(
    prediction: np.ndarray,
    truth: np.ndarray,
    name: str,
    factors: Factors,
    noisy: bool = False,
    rounding: str = "stored",
    **options: Any,
) -> tuple[float, float]:
    """range_nmse and nullspace_recovered."""
    lr = degrade(truth, name, factors, **options)
    case = Case(truth, lr, Grid(integer=True, nonnegative=True), DEGRADATIONS[name](**options), noisy)
    metrics: dict[str, dict[str, Any]] = {"range_nmse": {}, "nullspace_recovered": {}}
    found = score(prediction, case, ScoringSpec.model_validate({"round": rounding, "metrics": metrics}))
    return found["range_nmse"], found["nullspace_recovered"]


def recovered(method: Method, truth: np.ndarray, name: str, factors: Factors) -> float:
    lr = np.rint(degrade(truth, name, factors)).astype(np.float32)
    task = Task(factors, name)
    return figures(method.upscale(Scan(lr, (1.0, 1.0, 1.0), "T1"), task), truth, name, factors)[1]


@every_degradation
@every_factor
def test_lr_is_the_product_of_the_axes_matrices(name: str, factors: Factors) -> None:
    volume, degradation = image(1), DEGRADATIONS[name]()
    product = volume
    for axis, (n, m) in enumerate(zip(SHAPE, lr_shape(factors), strict=True)):
        if n != m:
            product = np.moveaxis(np.tensordot(degradation.matrix(n, m), product, (1, axis)), 0, axis)
    assert degradation.linear
    np.testing.assert_allclose(degradation(volume, lr_shape(factors)), product, rtol=0, atol=1e-9)


@MODEST
@given(names, st.sampled_from([2, 3, 4]), st.integers(2, 40))
def test_the_projection_is_symmetric_and_its_own_square_and_changes_no_lr(name: str, scale: int, n_out: int) -> None:
    degradation, n_in = DEGRADATIONS[name](), n_out * scale
    product, matrix = projection(degradation, n_in, n_out), degradation.matrix(n_in, n_out)
    np.testing.assert_allclose(product, product.T, atol=1e-12)
    np.testing.assert_allclose(product @ product, product, atol=1e-12)
    np.testing.assert_allclose(matrix @ product, matrix, atol=1e-12)


@MODEST
@given(st.sampled_from(["kspace", "truncation_csn"]), st.sampled_from([2, 3, 4]), st.integers(2, 30))
def test_the_zeroed_nyquist_line_is_in_the_null_space(name: str, scale: int, half: int) -> None:
    """Of 2·half LR voxels, 2·half − 1 frequencies are kept."""
    n_out = 2 * half
    assert np.trace(projection(DEGRADATIONS[name](), n_out * scale, n_out)) == pytest.approx(n_out - 1, abs=1e-9)


@MODEST
@given(seeds, names, st.sampled_from(FACTORS))
def test_the_two_parts_are_orthogonal_and_lr_sees_the_first_alone(seed: int, name: str, factors: Factors) -> None:
    volume, degradation, shape = image(seed), DEGRADATIONS[name](), lr_shape(factors)
    part = range_part(volume, degradation, shape)
    scale = np.abs(volume).max()
    np.testing.assert_allclose(degradation(part, shape), degradation(volume, shape), atol=1e-9 * scale)
    assert np.vdot(part, volume - part) == pytest.approx(0, abs=1e-9 * np.vdot(volume, volume))


@MODEST
@given(seeds, names, st.sampled_from(FACTORS), st.booleans())
def test_the_pseudo_inverse_recovers_nothing_of_the_null_space(
    seed: int, name: str, factors: Factors, rounded: bool
) -> None:
    truth, degradation = image(seed), DEGRADATIONS[name]()
    lr = degrade(truth, name, factors)
    minimum_norm = pseudo_inverse(np.rint(lr) if rounded else lr, degradation, SHAPE)
    range_nmse, nullspace_recovered = figures(minimum_norm, truth, name, factors)
    assert nullspace_recovered == pytest.approx(0, abs=1e-6)
    assert rounded or range_nmse == pytest.approx(0, abs=1e-18)


@MODEST
@given(seeds, st.sampled_from(FACTORS), st.sampled_from([Bicubic, Backprojection]))
def test_bicubic_and_backprojection_are_minimum_norm_images_of_the_bicubic_degradation(
    seed: int, factors: Factors, method: type[Method]
) -> None:
    assert recovered(method(), image(seed), "bicubic", factors) == pytest.approx(0, abs=1e-6)


@MODEST
@given(seeds, st.sampled_from(FACTORS), st.sampled_from(["kspace", "truncation_csn"]))
def test_zero_filling_is_in_the_range_of_both_truncations(seed: int, factors: Factors, name: str) -> None:
    assert recovered(Zerofill(), image(seed), name, factors) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", [Bicubic, Backprojection])
@pytest.mark.parametrize("name", ["kspace", "truncation_csn", "gaussian"])
def test_elsewhere_bicubic_interpolation_is_a_prior_that_earns_or_loses(method: type[Method], name: str) -> None:
    assert abs(recovered(method(), image(3), name, (1, 2, 2))) > 1e-3


@pytest.mark.parametrize("name", ["bicubic", "gaussian"])
def test_elsewhere_zero_filling_is_a_prior_that_earns_or_loses(name: str) -> None:
    assert abs(recovered(Zerofill(), image(3), name, (1, 2, 2))) > 1e-3


@MODEST
@given(seeds, names, st.sampled_from(FACTORS), st.floats(0, 1))
def test_a_share_of_the_null_space_recovers_1_minus_the_square_of_what_lacks(
    seed: int, name: str, factors: Factors, share: float
) -> None:
    truth = image(seed)
    part = range_part(truth, DEGRADATIONS[name](), lr_shape(factors))
    range_nmse, nullspace_recovered = figures(part + share * (truth - part), truth, name, factors)
    assert range_nmse == pytest.approx(0, abs=1e-18)
    assert nullspace_recovered == pytest.approx(1 - (1 - share) ** 2, abs=1e-9)


@MODEST
@given(seeds, names, st.sampled_from(FACTORS))
def test_invented_detail_is_negative_and_changes_no_range_error(seed: int, name: str, factors: Factors) -> None:
    truth, noise = image(seed), np.random.default_rng(seed + 1).normal(0, 3000, SHAPE)
    degradation, shape = DEGRADATIONS[name](), lr_shape(factors)
    invented = noise - range_part(noise, degradation, shape)
    range_nmse, nullspace_recovered = figures(range_part(truth, degradation, shape) + invented, truth, name, factors)
    assert range_nmse == pytest.approx(0, abs=1e-15)
    assert nullspace_recovered < 0


@pytest.mark.parametrize("rounding", ["stored", "clipped", "none"])
def test_the_pair_is_of_the_prediction_before_rounding_and_clipping(rounding: str) -> None:
    """Clipping an interpolated image at 0 recovers null space by itself."""
    truth = np.zeros(SHAPE)
    truth[:, 8:16, 12:24] = 1000.0
    prediction = bicubic(degrade(truth, "bicubic", (1, 2, 2)), SHAPE)
    assert prediction.min() < -10
    assert figures(prediction, truth, "bicubic", (1, 2, 2), rounding=rounding)[1] == pytest.approx(0, abs=1e-9)
    assert figures(prediction.clip(0), truth, "bicubic", (1, 2, 2))[1] > 0.01


@pytest.mark.parametrize("name", ["kspace", "truncation_csn"])
def test_a_magnitude_is_not_linear_and_has_neither_figure(name: str) -> None:
    assert not DEGRADATIONS[name](part="magnitude").linear
    found = figures(image(1), image(2), name, (1, 2, 2), part="magnitude")
    assert all(map(math.isnan, found))


@every_degradation
def test_an_lr_with_noise_has_neither_figure(name: str) -> None:
    assert all(map(math.isnan, figures(image(1), image(2), name, (1, 2, 2), noisy=True)))
    assert not any(map(math.isnan, figures(image(1), image(2), name, (1, 2, 2))))
