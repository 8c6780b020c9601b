"""Bicubic against MATLAB's own answers and torch's, and what every degradation must keep: no half-pixel shift."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrsr_bench.degradation import DEGRADATIONS, bicubic, bicubic_torch, degrade, keys_kernel, resize_matrix

MODEST = settings(max_examples=30, deadline=None)
CASES = (
    "down_aa",
    "down_irregular_aa",
    "down_small_aa",
    "down_x2_aa",
    "down_x3_aa",
    "down_x4_aa",
    "down_x5_aa",
    "up_irregular_aa",
)
FACTORS = [(1, 2, 2), (1, 3, 3), (1, 4, 4), (2, 1, 1), (4, 1, 1), (1, 2, 3), (2, 2, 2)]
every_degradation = pytest.mark.parametrize("name", sorted(DEGRADATIONS))
every_factor = pytest.mark.parametrize("factors", FACTORS, ids=str)


def matlab_input(text: str) -> np.ndarray:
    """The ramp that a text such as 'arange(64).reshape(8,8)' stands for, read without running it."""
    found = re.fullmatch(r"arange\((\d+)\)\.reshape\((\d+), ?(\d+)\)", text)
    assert found, f"cannot read {text!r}"
    n, rows, columns = map(int, found.groups())
    return np.arange(n, dtype=np.float64).reshape(rows, columns)


@pytest.fixture(scope="module")
def matlab(shared: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Case → (input, MATLAB's answer)."""
    path = shared / "reference" / "imresize" / "matlab_r2019b_bicubic_antialias.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: (matlab_input(case["input"]), np.array(case["output"], np.float64).reshape(case["output_shape"]))
        for name, case in content.items()
    }


def textured(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1000, tuple(shape))


def slow_resize(line: list[float], n_out: int) -> list[float]:
    """imresize's definition for one axis, tap by tap: the oracle for `resize_matrix`."""
    scale = n_out / len(line)
    width = max(1.0, 1 / scale)
    result = []
    for k in range(1, n_out + 1):
        u = k / scale + 0.5 * (1 - 1 / scale)  # MATLAB counts from 1
        total = weights = 0.0
        for tap in range(math.floor(u - 2 * width) - 1, math.ceil(u + 2 * width) + 2):
            x = abs(u - tap) / width
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0
            place = tap
            while not 1 <= place <= len(line):
                place = 1 - place if place < 1 else 2 * len(line) + 1 - place
            total += weight * line[place - 1]
            weights += weight
        result.append(total / weights)
    return result


@pytest.mark.parametrize("case", CASES)
def test_bicubic_equals_matlab(matlab: dict[str, tuple[np.ndarray, np.ndarray]], case: str) -> None:
    ramp, answer = matlab[case]
    np.testing.assert_allclose(bicubic(ramp, answer.shape), answer, rtol=0, atol=1e-12)
    np.testing.assert_allclose(bicubic_torch(torch.from_numpy(ramp), answer.shape), answer, rtol=0, atol=1e-12)


def test_every_matlab_answer_is_compared(matlab: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    assert set(matlab) == set(CASES)


@pytest.mark.parametrize(("case", "factor"), [("down_x2_aa", 2), ("down_x3_aa", 3), ("down_x4_aa", 4)])
def test_the_bicubic_degradation_is_matlabs_slice_by_slice(
    matlab: dict[str, tuple[np.ndarray, np.ndarray]], case: str, factor: int
) -> None:
    ramp, answer = matlab[case]
    lr = degrade(np.stack([ramp, ramp.T, -ramp]), "bicubic", (1, factor, factor))
    np.testing.assert_allclose(lr, np.stack([answer, answer.T, -answer]), rtol=0, atol=1e-12)


@MODEST
@given(st.integers(1, 24), st.integers(1, 60), st.integers(0, 99))
def test_an_axis_is_resized_as_imresize_defines_it(n_in: int, n_out: int, seed: int) -> None:
    line = np.random.default_rng(seed).uniform(-1, 1, n_in)
    np.testing.assert_allclose(resize_matrix(n_in, n_out) @ line, slow_resize(list(line), n_out), rtol=0, atol=1e-11)


@MODEST
@given(st.integers(1, 80), st.integers(1, 80))
def test_the_weights_of_every_output_pixel_sum_to_1(n_in: int, n_out: int) -> None:
    matrix = resize_matrix(n_in, n_out)
    assert matrix.shape == (n_out, n_in)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-14)


def test_the_weights_are_shared_and_so_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        resize_matrix(8, 4)[0, 0] = 1.0


def test_the_kernel_interpolates_and_ends_at_2() -> None:
    np.testing.assert_array_equal(keys_kernel(np.array([0.0, 1.0, -1.0, 2.0, -2.0, 2.5])), [1, 0, 0, 0, 0, 0])
    assert keys_kernel(np.array(1.5)) == pytest.approx(-0.0625)  # a = −0.5; with torch's −0.75 it is −0.09375


@MODEST
@given(
    arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 14), st.integers(1, 14)), elements=st.floats(-9, 9)),
    st.tuples(st.integers(1, 6), st.integers(1, 30), st.integers(1, 30)),
)
def test_numpy_and_torch_agree(volume: np.ndarray, shape: tuple[int, int, int]) -> None:
    expected = bicubic(volume, shape)
    assert expected.shape == shape
    np.testing.assert_allclose(bicubic_torch(torch.from_numpy(volume), shape), expected, rtol=0, atol=1e-11)


def test_leading_axes_are_left_alone_and_the_dtype_is_kept() -> None:
    stack = textured((2, 3, 8, 10)).astype(np.float32)
    big = bicubic(stack, (16, 15))
    assert (big.shape, big.dtype) == ((2, 3, 16, 15), np.float32)
    np.testing.assert_allclose(big[1, 2], bicubic(stack[1, 2].astype(np.float64), (16, 15)), rtol=1e-5)
    tensor = bicubic_torch(torch.from_numpy(stack), (16, 15))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor, big, rtol=1e-5)


def test_the_torch_resizer_carries_gradients() -> None:
    image = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: bicubic_torch(x, (12, 9)), (image,))


@every_degradation
@every_factor
def test_no_degradation_shifts_the_image_by_part_of_a_pixel(name: str, factors: tuple[int, int, int]) -> None:
    volume = textured((8, 24, 36))
    lr = degrade(volume, name, factors)
    for axis in range(3):
        flipped = degrade(np.flip(volume, axis), name, factors)
        np.testing.assert_allclose(flipped, np.flip(lr, axis), rtol=0, atol=1e-9, err_msg=f"flipped along axis {axis}")


@every_degradation
@every_factor
def test_a_centred_blob_stays_centred(name: str, factors: tuple[int, int, int]) -> None:
    shape = (8, 24, 36)
    axes = [(np.arange(n) - (n - 1) / 2) / n for n in shape]
    blob = np.exp(-40 * sum(grid**2 for grid in np.meshgrid(*axes, indexing="ij")))
    lr = degrade(blob, name, factors)
    for axis, n in enumerate(lr.shape):
        profile = lr.sum(axis=tuple(other for other in range(3) if other != axis))
        centre = (profile * np.arange(n)).sum() / profile.sum()
        assert centre == pytest.approx((n - 1) / 2, abs=1e-9)


@every_degradation
@every_factor
def test_a_ramp_lands_where_the_centres_of_the_lr_pixels_are(name: str, factors: tuple[int, int, int]) -> None:
    shape = (16, 48, 72)
    for axis, factor in enumerate(factors):
        ramp = np.broadcast_to(np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)]), shape)
        lr = np.moveaxis(degrade(ramp, name, factors), axis, -1)
        expected = factor * np.arange(lr.shape[-1]) + (factor - 1) / 2
        inner = slice(2, -2)
        np.testing.assert_allclose(lr[..., inner], np.broadcast_to(expected, lr.shape)[..., inner], rtol=0, atol=1e-9)


@every_degradation
@every_factor
def test_constants_are_kept(name: str, factors: tuple[int, int, int]) -> None:
    lr = degrade(np.full((8, 24, 36), 123.25), name, factors)
    np.testing.assert_allclose(lr, 123.25, rtol=0, atol=1e-10)


@every_degradation
@MODEST
@given(a=st.floats(-5, 5), b=st.floats(-5, 5), seed=st.integers(0, 999))
def test_every_degradation_is_linear(name: str, a: float, b: float, seed: int) -> None:
    x, y = textured((2, 12, 12), seed), textured((2, 12, 12), seed + 1000)
    mixed = degrade(a * x + b * y, name, (1, 2, 2))
    parts = a * degrade(x, name, (1, 2, 2)) + b * degrade(y, name, (1, 2, 2))
    np.testing.assert_allclose(mixed, parts, rtol=0, atol=1e-8)


@every_degradation
@every_factor
def test_lr_has_exactly_one_voxel_a_block(name: str, factors: tuple[int, int, int]) -> None:
    lr = degrade(textured((8, 24, 36)), name, factors)
    assert lr.shape == tuple(n // f for n, f in zip((8, 24, 36), factors, strict=True))
    assert bicubic(lr, (8, 24, 36)).shape == (8, 24, 36)


@every_degradation
@pytest.mark.parametrize(
    ("shape", "factors"), [((1, 25, 24), (1, 2, 2)), ((1, 24, 26), (1, 2, 4)), ((3, 8, 8), (2, 1, 1))]
)
def test_a_shape_that_is_no_multiple_of_the_factors_is_an_error(
    name: str, shape: tuple[int, ...], factors: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{shape} is not a multiple of the factors {factors}")):
        degrade(np.zeros(shape), name, factors)


@every_degradation
def test_stored_integers_are_degraded_in_float64(name: str) -> None:
    volume = np.round(textured((2, 12, 12))).astype(np.uint8)
    lr = degrade(volume, name, (1, 2, 2))
    assert lr.dtype == np.float64
    np.testing.assert_array_equal(lr, degrade(volume.astype(np.float64), name, (1, 2, 2)))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_through_plane_factors_resize_slices_only(factor: int) -> None:
    volume = textured((12, 5, 7))
    lr = degrade(volume, "bicubic", (factor, 1, 1))
    assert lr.shape == (12 // factor, 5, 7)
    for row, column in [(0, 0), (4, 6), (2, 3)]:
        expected = slow_resize(list(volume[:, row, column]), 12 // factor)
        np.testing.assert_allclose(lr[:, row, column], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_bicubic_equals_torchs_antialiased_resizer_away_from_borders(factor: int, direction: str) -> None:
    image = textured((72, 96))
    shape = tuple(n // factor if direction == "down" else n * factor for n in image.shape)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], size=shape, mode="bicubic", antialias=True, align_corners=False
    )[0, 0].numpy()
    border = 4 if direction == "down" else 4 * factor
    inner = (slice(border, -border),) * 2
    np.testing.assert_allclose(bicubic(image, shape)[inner], theirs[inner], rtol=2e-5)
