"""Bicubic against MATLAB's own answers and torch's, and what every degradation must keep: no half-pixel shift."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REFERENCE
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from mrsr_bench.degradation import (
    DEGRADATIONS,
    add_rician,
    bicubic,
    bicubic_torch,
    degrade,
    gaussian_matrix,
    keys_kernel,
    resize_matrix,
    truncation_matrix,
    zero_fill,
)
from mrsr_bench.testing.displacement import displacement
from mrsr_bench.volumes import read_nifti, to_plane

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
local = pytest.mark.parametrize("name", ["bicubic", "gaussian"])
truncating = pytest.mark.parametrize("name", ["kspace", "truncation_csn"])
every_factor = pytest.mark.parametrize("factors", FACTORS, ids=str)


def matlab_input(text: str) -> np.ndarray:
    """The ramp that a text such as 'arange(64).reshape(8,8)' stands for, read without running it."""
    found = re.fullmatch(r"arange\((\d+)\)\.reshape\((\d+), ?(\d+)\)", text)
    assert found, f"cannot read {text!r}"
    n, rows, columns = map(int, found.groups())
    return np.arange(n, dtype=np.float64).reshape(rows, columns)


@pytest.fixture(scope="module")
def matlab() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Case → (input, MATLAB's answer)."""
    path = REFERENCE / "matlab_r2019b_bicubic_antialias.json"
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


@local
@every_factor
def test_a_ramp_lands_where_the_centres_of_the_lr_pixels_are(name: str, factors: tuple[int, int, int]) -> None:
    shape = (16, 48, 72)
    for axis, factor in enumerate(factors):
        ramp = np.broadcast_to(np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)]), shape)
        lr = np.moveaxis(degrade(ramp, name, factors), axis, -1)
        expected = factor * np.arange(lr.shape[-1]) + (factor - 1) / 2
        inner = slice(2, -2)
        np.testing.assert_allclose(lr[..., inner], np.broadcast_to(expected, lr.shape)[..., inner], rtol=0, atol=1e-9)


@local
@every_factor
def test_shifted_a_ramp_lands_where_the_first_voxels_of_both_grids_lie_in_one_place(
    name: str, factors: tuple[int, int, int]
) -> None:
    shape = (16, 48, 72)
    for axis, factor in enumerate(factors):
        ramp = np.broadcast_to(np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)]), shape)
        lr = np.moveaxis(degrade(ramp, name, factors, shifted=True), axis, -1)
        inner = slice(2, -2)
        expected = np.broadcast_to(factor * np.arange(lr.shape[-1]), lr.shape)
        np.testing.assert_allclose(lr[..., inner], expected[..., inner], rtol=0, atol=1e-9)


@every_degradation
@MODEST
@given(seed=st.integers(0, 999), factor=st.sampled_from([3, 5, 7]))
def test_shifted_by_whole_voxels_is_the_same_as_the_image_moved_by_them(name: str, seed: int, factor: int) -> None:
    """At odd factors the centres are moved by (s − 1)/2 whole voxels; edges apart, which truncation wraps around."""
    volume = textured((2, 12 * factor, 12 * factor), seed)
    moved = np.roll(volume, ((factor - 1) // 2,) * 2, axis=(1, 2))
    lr, expected = degrade(volume, name, (1, factor, factor), shifted=True), degrade(moved, name, (1, factor, factor))
    inner = (slice(None),) * 3 if name == "kspace" else (slice(None), slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(lr[inner], expected[inner], rtol=0, atol=1e-9)


@every_factor
def test_shifted_truncation_samples_each_wave_at_the_moved_centres(factors: tuple[int, int, int]) -> None:
    shape = (8, 24, 36)
    for axis, factor in enumerate(factors):
        n = shape[axis]
        for frequency in range(math.ceil(n / factor / 2)):
            wave = np.cos(2 * np.pi * frequency * np.arange(n) / n + 0.3)
            volume = np.broadcast_to(wave.reshape([-1 if a == axis else 1 for a in range(3)]), shape)
            lr = np.moveaxis(degrade(volume, "kspace", factors, shifted=True), axis, -1)
            expected = np.cos(2 * np.pi * frequency * factor * np.arange(n // factor) / n + 0.3)
            np.testing.assert_allclose(lr, np.broadcast_to(expected, lr.shape), rtol=0, atol=1e-10)


@every_degradation
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shifted_lr_is_interpolated_to_an_image_that_lies_half_a_factor_less_one_further(
    name: str, factor: int
) -> None:
    factors, volume = (1, factor, factor), gaussian_filter(textured((1, 96, 96)), (0, 4, 4))
    right, wrong = (bicubic(degrade(volume, name, factors, shifted=shifted), volume.shape) for shifted in (False, True))
    for axis in (1, 2):
        assert displacement(right, volume, factors)[axis][0] == pytest.approx(0, abs=0.05)
        assert displacement(wrong, volume, factors)[axis][0] == pytest.approx((factor - 1) / 2, abs=0.1)
    assert np.mean((wrong - volume) ** 2) > 4 * np.mean((right - volume) ** 2)


@every_degradation
@every_factor
def test_unless_it_is_asked_for_nothing_is_shifted(name: str, factors: tuple[int, int, int]) -> None:
    volume = textured((8, 24, 36))
    np.testing.assert_array_equal(degrade(volume, name, factors, shifted=False), degrade(volume, name, factors))


@every_degradation
@every_factor
def test_constants_are_kept(name: str, factors: tuple[int, int, int]) -> None:
    lr = degrade(np.full((8, 24, 36), 123.25), name, factors)
    np.testing.assert_allclose(lr, 123.25, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "options"),
    [("bicubic", {}), ("gaussian", {}), ("kspace", {}), ("truncation_csn", {"part": "real"})],
    ids=lambda value: str(value),
)
@MODEST
@given(a=st.floats(-5, 5), b=st.floats(-5, 5), seed=st.integers(0, 999))
def test_every_degradation_of_a_real_image_is_linear(
    name: str, options: dict[str, Any], a: float, b: float, seed: int
) -> None:
    x, y = textured((2, 12, 12), seed), textured((2, 12, 12), seed + 1000)
    mixed = degrade(a * x + b * y, name, (1, 2, 2), **options)
    parts = a * degrade(x, name, (1, 2, 2), **options) + b * degrade(y, name, (1, 2, 2), **options)
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


def spectrum(volume: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """The centred DFT of a volume, cropped to the frequencies |k| < kept/2 of each axis, of shape 2·((kept−1)//2)+1."""
    centred = np.fft.fftshift(np.fft.fftn(volume))
    half = [(n - 1) // 2 for n in kept]
    return centred[tuple(slice(n // 2 - h, n // 2 + h + 1) for n, h in zip(volume.shape, half, strict=True))]


@every_factor
def test_kspace_is_the_truncated_dft_shifted_to_the_centres_of_the_lr_pixels(factors: tuple[int, int, int]) -> None:
    """Written with the FFT: the same frequencies, a ramp of (s−1)/2 HR voxels along each axis, and 1/s an axis."""
    volume = textured((8, 24, 36))
    shape = tuple(n // f for n, f in zip(volume.shape, factors, strict=True))
    lr = degrade(volume, "kspace", factors)
    kept = spectrum(volume, [m if f > 1 else n + 1 for m, n, f in zip(shape, volume.shape, factors, strict=True)])
    full = np.fft.fftn(volume)
    expected = np.zeros(shape, complex)
    for place in np.ndindex(shape):
        k = [p if p <= m // 2 else p - m for p, m in zip(place, shape, strict=True)]
        if any(f > 1 and 2 * abs(q) >= m for q, m, f in zip(k, shape, factors, strict=True)):
            continue
        ramp = sum(q * (f - 1) / 2 / n for q, f, n in zip(k, factors, volume.shape, strict=True))
        expected[place] = full[tuple(k)] * np.exp(2j * np.pi * ramp) / np.prod(factors)
    inverse = np.fft.ifftn(expected)
    np.testing.assert_allclose(inverse.imag, 0, atol=1e-9)
    np.testing.assert_allclose(lr, inverse.real, rtol=0, atol=1e-9)
    assert kept.size >= np.count_nonzero(expected)


def slow_truncation(n_in: int, n_out: int, n_kept: int) -> np.ndarray:
    """The definition, cosine by cosine: the oracle for `truncation_matrix`."""
    centres = np.array([(2 * j + 1) * n_in - n_out for j in range(n_out)])  # in units of 1/(2·n_out) voxels
    matrix = np.zeros((n_out, n_in), np.longdouble)
    for k in range(-((n_kept - 1) // 2), (n_kept - 1) // 2 + 1):
        turns = k * (centres[:, None] - 2 * n_out * np.arange(n_in)) % (2 * n_out * n_in)  # whole ones taken off
        matrix += np.cos(np.pi * turns / (n_out * n_in)) / n_in
    return matrix.astype(np.float64)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 96), st.integers(1, 96), st.integers(1, 96))
def test_an_axis_is_truncated_as_its_sum_of_cosines_defines_it(n_in: int, n_out: int, n_kept: int) -> None:
    matrix, oracle = (build(n_in, n_out, min(n_kept, n_in)) for build in (truncation_matrix, slow_truncation))
    np.testing.assert_allclose(matrix, oracle, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("n_in", "n_out", "n_kept"), [(448, 112, 112), (448, 448, 149), (150, 600, 150), (449, 449, 449)]
)
def test_a_long_axis_is_truncated_as_its_sum_of_cosines_defines_it(n_in: int, n_out: int, n_kept: int) -> None:
    matrix, oracle = (build(n_in, n_out, n_kept) for build in (truncation_matrix, slow_truncation))
    np.testing.assert_allclose(matrix, oracle, rtol=0, atol=1e-14)


def test_an_axis_that_keeps_its_voxels_and_its_odd_number_of_frequencies_stays_as_it_is() -> None:
    np.testing.assert_allclose(truncation_matrix(15, 15, 15), np.eye(15), rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [24, 36, 60])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_wave_below_the_nyquist_frequency_lands_at_the_centres_of_the_lr_pixels(n: int, factor: int) -> None:
    u = factor * np.arange(n // factor) + (factor - 1) / 2
    for k in range((n // factor - 1) // 2 + 1):
        for phase in (0.0, 0.7, 2.0):
            wave, sampled = (np.cos(2 * np.pi * k * at / n + phase) for at in (np.arange(n), u))
            lr = truncation_matrix(n, n // factor, n // factor) @ wave
            np.testing.assert_allclose(lr, sampled, rtol=0, atol=1e-10)


@truncating
def test_what_lies_above_the_nyquist_frequency_leaves_no_trace(name: str) -> None:
    for k in range(6, 13):  # of 24 voxels, 12 are kept: the unpaired line 6 is not
        wave = np.broadcast_to(np.cos(2 * np.pi * k * np.arange(24) / 24 + 0.3), (1, 24, 24))
        np.testing.assert_allclose(degrade(wave, name, (1, 2, 2)), 0, rtol=0, atol=1e-12)


@every_factor
def test_zero_filling_gives_back_what_truncation_kept(factors: tuple[int, int, int]) -> None:
    volume = textured((8, 24, 36))
    filled = zero_fill(degrade(volume, "kspace", factors), volume.shape)
    assert filled.shape == volume.shape
    np.testing.assert_allclose(degrade(filled, "kspace", factors), degrade(volume, "kspace", factors), atol=1e-9)
    full = np.fft.fftn(volume)
    for axis, (n, f) in enumerate(zip(volume.shape, factors, strict=True)):
        if f > 1:
            k = np.abs(np.fft.fftfreq(n, 1 / n)).reshape([-1 if a == axis else 1 for a in range(3)])
            full = np.where(2 * f * k < n, full, 0)
    np.testing.assert_allclose(filled, np.fft.ifftn(full).real, rtol=0, atol=1e-9)


@truncating
def test_the_magnitude_is_a_named_option_that_rectifies_the_ringing(name: str) -> None:
    volume = np.zeros((1, 24, 24))
    volume[0, 12:, 12:] = 100.0
    real, magnitude = (degrade(volume, name, (1, 2, 2), part=part) for part in ("real", "magnitude"))
    assert real.min() < -0.5
    assert magnitude.mean() > real.mean() + 0.1
    np.testing.assert_array_equal(degrade(volume, name, (1, 2, 2)), real)
    if name == "kspace":
        np.testing.assert_array_equal(magnitude, np.abs(real))


@pytest.mark.parametrize("fwhm", [0.1, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_gaussian_weights_are_those_of_the_stated_width_at_the_lr_centres(factor: int, fwhm: float) -> None:
    weights = gaussian_matrix(60, 60 // factor, fwhm)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    row, centre = weights[7], 7 * factor + (factor - 1) / 2
    distance = np.abs(np.arange(60) - centre)
    heaviest = distance == distance.min()
    expected = 0.5 ** (
        (distance**2 - distance.min() ** 2) / (fwhm * factor / 2) ** 2
    )  # half the height at half the width
    near = heaviest | (distance < 3.9 * fwhm * factor / 2.355)
    np.testing.assert_allclose(row[near], expected[near] * row[heaviest][0], rtol=1e-9)
    assert row[~near].sum() < 3e-4


def test_an_unknown_setting_of_a_degradation_is_refused() -> None:
    with pytest.raises(ValueError, match="width"):
        degrade(np.zeros((1, 8, 8)), "gaussian", (1, 2, 2), width=1.0)
    with pytest.raises(ValueError, match="phase"):
        degrade(np.zeros((1, 8, 8)), "kspace", (1, 2, 2), part="phase")


def test_rician_noise_has_the_stated_spread_and_its_known_bias_in_air() -> None:
    air, tissue = np.zeros((4, 200, 200)), np.full((4, 200, 200), 1000.0)
    noisy = add_rician(air, 20.0, seed=3)
    assert noisy.mean() == pytest.approx(20 * math.sqrt(math.pi / 2), rel=0.01)  # Rayleigh
    assert add_rician(tissue, 20.0, seed=3).std() == pytest.approx(20, rel=0.01)
    np.testing.assert_array_equal(noisy, add_rician(air, 20.0, seed=3))
    assert np.abs(noisy - add_rician(air, 20.0, seed=4)).max() > 1


REAL_SLICES = ["mni152_2009a_t1_nilearn", "ljubljana_p01_t2", "chris_pd", "ixi012_hh_1211_t1_2mm"]


@pytest.fixture(scope="module")
def real_slices(shared: Path) -> dict[str, np.ndarray]:
    """Name → three axial slices around the middle of a real volume, cropped to a multiple of 24."""
    found = {}
    for name in REAL_SLICES:
        data = to_plane(read_nifti(shared / "data" / "mr" / f"{name}.nii.gz"), "axial").data
        middle = data[len(data) // 2 - 1 : len(data) // 2 + 2]
        rows, columns = (n - n % 24 for n in middle.shape[1:])
        found[name] = np.asarray(middle[:, :rows, :columns], np.float64)
    return found


@every_degradation
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("image", REAL_SLICES)
def test_on_real_slices_nothing_is_shifted_flips_commute_and_the_mean_is_kept(
    real_slices: dict[str, np.ndarray], image: str, scale: int, name: str
) -> None:
    hr = real_slices[image]
    lr = degrade(hr, name, (1, scale, scale))
    for axes in ((1,), (2,), (1, 2)):
        np.testing.assert_allclose(
            degrade(np.flip(hr, axes), name, (1, scale, scale)), np.flip(lr, axes), rtol=0, atol=1e-9 * np.abs(hr).max()
        )
    blocks = hr.reshape(3, hr.shape[1] // scale, scale, hr.shape[2] // scale, scale).mean(axis=(2, 4))
    assert lr.mean() == pytest.approx(hr.mean(), rel=1e-3)
    # LR pixels, against the means of the blocks they stand for, which alias: half an HR pixel would be 0.125 or more.
    assert np.abs(shift(lr, blocks)).max() < 0.04


def shift(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The (rows, columns) shift between two stacks of slices in pixels, from the phases of their lowest frequencies."""
    cross = np.conj(np.fft.fft2(reference)) * np.fft.fft2(image)
    found = []
    for axis in (1, 2):
        n = image.shape[axis]
        line = cross[:, 1:4, 0] if axis == 1 else cross[:, 0, 1:4]
        k = np.arange(1, 4)
        weights = np.abs(line).sum(axis=0) * k
        angles = -np.angle(line.sum(axis=0)) * n / (2 * np.pi * k)
        found.append((weights * angles).sum() / weights.sum())
    return np.array(found)


@pytest.mark.parametrize("move", [0.0, 0.25, -0.5])
def test_the_measure_of_shifts_finds_a_shift(move: float) -> None:
    image = np.cumsum(np.random.default_rng(0).normal(size=(3, 48, 48)), axis=2)
    k = np.fft.fftfreq(48)[:, None]
    moved = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * k * move)).real
    np.testing.assert_allclose(shift(moved, image), [move, 0], atol=0.02)


SINGLE_PERSON = [
    "chris_t1", "chris_pd", "ljubljana_p01_t1", "ljubljana_p01_t2", "ljubljana_p01_flair",
    "t1_067mm_studyforrest_crop", "t2_1mm_clinicaltbx",
]  # fmt: skip


def truncation_cases() -> list[Any]:
    """Every image at one scale, and one image at every scale and with both parts; the rest is for `make test-all`."""
    return [
        pytest.param(
            image,
            scale,
            part,
            id=f"{image}-{scale}-{part}",
            marks=[] if image == SINGLE_PERSON[1] or (scale, part) == (2, "real") else pytest.mark.slow,
        )
        for image in SINGLE_PERSON
        for scale in (2, 3, 4)
        for part in ("real", "magnitude")
    ]


@pytest.mark.parametrize(("image", "scale", "part"), truncation_cases())
def test_csns_truncation_moves_the_bicubic_row_as_in_the_published_table(
    shared: Path, image: str, scale: int, part: str
) -> None:
    """CSN's table IV prints −0.26 to −0.42 dB between its bicubic rows (IXI; mean of 70)."""
    data = to_plane(read_nifti(shared / "data" / "mr" / f"{image}.nii.gz"), "axial").data
    rows, columns = (n - n % 12 for n in data.shape[1:])
    hr = np.asarray(data[:: max(1, len(data) // 12), :rows, :columns], np.float64)
    psnr = {}
    for name, options in (("bicubic", {}), ("truncation_csn", {"part": part})):
        lr = np.maximum(np.round(degrade(hr, name, (1, scale, scale), **options)), 0)
        error = np.maximum(np.round(bicubic(lr, hr.shape)), 0) - hr
        psnr[name] = 10 * math.log10(hr.max() ** 2 / np.mean(error**2))
    assert -0.75 <= psnr["truncation_csn"] - psnr["bicubic"] <= -0.15
