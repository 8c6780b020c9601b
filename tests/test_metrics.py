"""Metrics as functions: against scikit-image, the authors' own code, plain loops and what their definitions promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_images import GOLDEN, pairs
from scipy.ndimage import convolve, gaussian_filter, label
from skimage.filters import threshold_otsu
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from mrsr_bench.scoring.metrics import bands, edges, information, ranges
from mrsr_bench.scoring.metrics.fidelity import nrmse, psnr
from mrsr_bench.scoring.metrics.foreground import foreground
from mrsr_bench.scoring.metrics.fsim import fsim_sums, phase_congruency
from mrsr_bench.scoring.metrics.ssim import inside, ssim_map

MODEST = settings(max_examples=30, deadline=None)
FEW = settings(max_examples=10, deadline=None)
SCIKIT: dict[str, dict[str, Any]] = {
    "gaussian11": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform7": {"win_size": 7},
}
PAIRS = pairs()
FIGURES = {
    "fsim": lambda prediction, truth: ratio(fsim_sums(prediction, truth)),
    "gmsd": edges.gmsd,
    "haarpsi": lambda prediction, truth: information.haarpsi(ratio(information.haarpsi_sums(prediction, truth))),
    "vif": lambda prediction, truth: ratio(information.vif_sums(prediction, truth)),
}
"""Metrics of images in 0–255, each as a function of (prediction, truth)."""
BEST = {"fsim": 1.0, "gmsd": 0.0, "haarpsi": 1.0, "vif": 1.0}
every_window = pytest.mark.parametrize("window", sorted(SCIKIT))
every_figure = pytest.mark.parametrize("metric", sorted(FIGURES))
sides = st.integers(12, 20)
seeds = st.integers(0, 2**16)


def ratio(sums: tuple[float, float]) -> float:
    return sums[0] / sums[1]


def pair(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A smooth-and-noisy truth in about −200…1500 and a prediction some noise away from it."""
    random = np.random.default_rng(seed)
    truth = np.cumsum(random.normal(0, 60, shape), axis=-1) + 500
    return truth + random.normal(0, 25, shape), truth


@MODEST
@given(seeds, st.integers(1, 4), sides, sides, st.floats(1, 1e5))
def test_psnr_is_scikit_images(seed: int, depth: int, rows: int, columns: int, data_range: float) -> None:
    prediction, truth = pair(seed, (depth, rows, columns))
    expected = peak_signal_noise_ratio(truth, prediction, data_range=data_range)
    assert psnr(prediction, truth, data_range) == pytest.approx(expected, abs=1e-9)
    assert psnr(truth, prediction, data_range) == psnr(prediction, truth, data_range)


def test_ten_times_the_error_costs_20_db() -> None:
    prediction, truth = pair(2, (2, 15, 16))
    worse = truth + 10 * (prediction - truth)
    assert psnr(prediction, truth, 1.0) - psnr(worse, truth, 1.0) == pytest.approx(20, abs=1e-9)


@MODEST
@given(seeds, sides, sides, st.floats(0.01, 1e4))
def test_nrmse_is_scikit_images_with_the_euclidean_norm(seed: int, rows: int, columns: int, unit: float) -> None:
    prediction, truth = pair(seed, (2, rows, columns))
    expected = normalized_root_mse(truth, prediction, normalization="euclidean")
    assert nrmse(prediction, truth) == pytest.approx(expected, rel=1e-12)
    assert nrmse(prediction * unit, truth * unit) == pytest.approx(expected, rel=1e-9)
    assert nrmse(truth, truth) == 0
    assert nrmse(0 * truth, truth) == 1


@every_window
@pytest.mark.parametrize("dims", [2, 3])
@FEW
@given(seed=seeds, shape=st.tuples(sides, sides, sides))
def test_the_ssim_map_and_its_cropped_mean_are_scikit_images(
    window: str, dims: int, seed: int, shape: tuple[int, int, int]
) -> None:
    prediction, truth = pair(seed, shape[-dims:])
    width = float(np.ptp(truth))
    cropped, whole = structural_similarity(truth, prediction, data_range=width, full=True, **SCIKIT[window])
    found = ssim_map(prediction, truth, width, window)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-9)
    assert found[inside(window, dims)].mean() == pytest.approx(cropped, abs=1e-9)


@every_window
@MODEST
@given(seed=seeds, unit=st.floats(0.01, 1e4))
def test_ssim_is_symmetric_free_of_units_and_1_for_an_exact_prediction(window: str, seed: int, unit: float) -> None:
    prediction, truth = pair(seed, (15, 16))
    found = ssim_map(prediction, truth, 900.0, window)
    np.testing.assert_allclose(ssim_map(truth, prediction, 900.0, window), found, atol=1e-12)
    np.testing.assert_allclose(ssim_map(prediction * unit, truth * unit, 900.0 * unit, window), found, atol=1e-9)
    np.testing.assert_allclose(ssim_map(truth, truth, 900.0, window), 1, atol=1e-9)
    assert found.mean() < 1


# HFEN


def test_the_laplacian_of_gaussian_is_that_of_matlabs_documentation() -> None:
    """fspecial('log') with its defaults, 5 pixels and sigma 0.5, as MATLAB prints it; a quarter of it."""
    printed = [[0.0448, 0.0468, 0.0564], [0.0468, 0.3167, 0.7146], [0.0564, 0.7146, -4.9048]]
    found = edges.log_kernel(5, 0.5)
    np.testing.assert_allclose(found[:3, :3], printed, atol=5e-5)
    np.testing.assert_array_equal(found, found[::-1, ::-1])
    assert edges.log_kernel().shape == (15, 15)
    assert edges.log_kernel().sum() == pytest.approx(0, abs=1e-15)


@FEW
@given(seeds, st.integers(5, 40), st.integers(5, 40))
def test_hfen_is_the_plain_convolutions(seed: int, rows: int, columns: int) -> None:
    prediction, truth = pair(seed, (rows, columns))
    filtered = [convolve(image, edges.log_kernel(), mode="constant") for image in (prediction, truth)]
    np.testing.assert_allclose(edges.laplacian_of_gaussian(truth), filtered[1], atol=1e-9)
    expected = np.linalg.norm(filtered[0] - filtered[1]) / np.linalg.norm(filtered[1])
    assert math.sqrt(ratio(edges.hfen_sums(prediction, truth))) == pytest.approx(expected, rel=1e-9)
    assert edges.hfen_sums(truth, truth)[0] == 0


# Metrics of images in 0–255


@every_figure
@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_metric_gives_what_its_authors_code_gives(metric: str, name: str) -> None:
    prediction, truth = PAIRS[name]
    assert FIGURES[metric](prediction, truth) == pytest.approx(GOLDEN[name][metric], rel=0, abs=1e-11)


def test_every_pair_has_an_answer_of_the_authors_code() -> None:
    assert {name: set(answers) for name, answers in GOLDEN.items()} == {name: set(FIGURES) for name in PAIRS}


@every_figure
@settings(max_examples=6, deadline=None)
@given(seed=seeds, rows=st.integers(41, 60), columns=st.integers(41, 60))
def test_an_exact_image_has_the_best_figure(metric: str, seed: int, rows: int, columns: int) -> None:
    prediction, truth = (np.clip(image / 6, 0, 255) for image in pair(seed, (rows, columns)))
    assert FIGURES[metric](truth, truth) == pytest.approx(BEST[metric], abs=1e-9)
    assert abs(FIGURES[metric](prediction, truth) - BEST[metric]) > 1e-4


@pytest.mark.parametrize("metric", ["fsim", "gmsd", "haarpsi"])
def test_a_similarity_is_symmetric(metric: str) -> None:
    prediction, truth = PAIRS["head90-x4"]
    assert FIGURES[metric](truth, prediction) == pytest.approx(FIGURES[metric](prediction, truth), abs=1e-12)


@every_figure
def test_more_blur_is_worse(metric: str) -> None:
    truth = PAIRS["head90-x2"][1]
    figures = [FIGURES[metric](gaussian_filter(truth, sigma), truth) for sigma in (0.5, 1, 1.5, 2)]
    assert figures == sorted(figures, reverse=BEST[metric] == 1)
    assert abs(figures[0] - figures[-1]) > 0.05


def test_vif_of_more_contrast_is_above_1_and_of_noise_alone_0() -> None:
    truth = PAIRS["head90-x2"][1]
    assert FIGURES["vif"](1.2 * truth, truth) > 1.01
    noise = np.random.default_rng(0).normal(128, 20, truth.shape)
    assert FIGURES["vif"](noise, truth) < 0.02


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (16, 60)])
def test_an_image_too_small_for_vif_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="too small for VIF"):
        information.vif_sums(np.ones(shape), np.ones(shape))


@pytest.mark.parametrize("sums", [fsim_sums, information.haarpsi_sums, information.vif_sums])
def test_a_blank_pair_of_images_weighs_nothing(sums: Any) -> None:
    blank = np.zeros((48, 50))
    assert sums(blank, blank) == (0, 0)


@FEW
@given(seeds, st.integers(20, 40), st.integers(20, 40))
def test_phase_congruency_lies_in_0_to_1(seed: int, rows: int, columns: int) -> None:
    found = phase_congruency(np.clip(pair(seed, (rows, columns))[1] / 6, 0, 255))
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.max() > 0


# Bands


@FEW
@given(seeds, st.integers(2, 60), st.integers(2, 60))
def test_the_radial_energies_of_an_image_add_up_to_its_mean_square(seed: int, rows: int, columns: int) -> None:
    image = pair(seed, (rows, columns))[1]
    energy = bands.radial_energy(image)
    assert energy.shape == bands.FREQUENCIES.shape == (68,)
    assert energy.sum() == pytest.approx(np.mean(image**2))


@pytest.mark.parametrize(("periods", "along"), [(0, 0), (3, 0), (7, 1), (12, 1), (24, 0), (41, 0), (48, 1)])
def test_a_wave_has_all_its_energy_at_its_frequency(periods: int, along: int) -> None:
    """96 pixels: a wave of p periods stands in the bin that begins at p/96 cycles per pixel."""
    line = np.cos(2 * np.pi * periods * np.arange(96) / 96)
    image = np.broadcast_to(line, (96, 96)).T if along == 0 else np.broadcast_to(line, (96, 96))
    energy = bands.radial_energy(image)
    assert energy.argmax() == periods
    assert energy[periods] == pytest.approx(energy.sum())
    assert bands.FREQUENCIES[periods] == pytest.approx((periods + 0.5) / 96)


# Foreground and ranges


def head(shape: tuple[int, int, int] = (4, 40, 44)) -> np.ndarray:
    """A bright shell with a dark inside, a lone bright speck, and noise around them."""
    random = np.random.default_rng(1)
    y, x = np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[2]), indexing="ij")
    radius = np.hypot(y, x)
    image = np.where((radius > 0.4) & (radius < 0.7), 800.0, 0.0)
    image[1:3, 1:3] = 900
    return image + random.uniform(0, 60, shape)


def test_the_foreground_is_the_largest_bright_part_without_its_holes() -> None:
    volume = head()
    mask = foreground(volume)
    y, x = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 44), indexing="ij")
    np.testing.assert_array_equal(mask, np.broadcast_to(np.hypot(y, x) < 0.7, volume.shape))


def test_a_hole_that_is_open_within_its_slice_stays_dark() -> None:
    volume = head()
    volume[2, 20, :22] = 0  # a channel from the border to the centre
    mask = foreground(volume)
    assert not mask[2, 20, 20]
    assert mask[1, 20, 20]


@FEW
@given(seeds, st.sampled_from([0.125, 2.0, 1024.0]))
def test_the_foreground_is_one_part_and_knows_no_units(seed: int, unit: float) -> None:
    volume = gaussian_filter(np.random.default_rng(seed).normal(0, 1, (3, 20, 22)), 1.5) * 1000
    mask = foreground(volume)
    np.testing.assert_array_equal(foreground(volume * unit), mask)
    assert label(mask)[1] == 1
    sizes = np.bincount(label(volume > threshold_otsu(volume))[0].ravel())[1:]
    assert mask.sum() >= sizes.max()


def test_a_constant_volume_has_no_foreground() -> None:
    with pytest.raises(ValueError, match="constant"):
        foreground(np.ones((2, 8, 8)))


def test_ranges_are_of_the_whole_volume_or_of_each_slice() -> None:
    truth = np.array([[[-5.0, 1.0]], [[2.0, 7.0]]])
    assert ranges.limits(truth, "volume_minmax").tolist() == [[-5, 7], [-5, 7]]
    assert ranges.limits(truth, "volume_max").tolist() == [[0, 7], [0, 7]]
    assert ranges.limits(truth, "slice_minmax").tolist() == [[-5, 1], [2, 7]]
    assert ranges.limits(truth, "slice_max").tolist() == [[0, 1], [0, 7]]
    assert ranges.limits(truth, 255.0).tolist() == [[0, 255], [0, 255]]
    many = np.arange(1001.0).reshape(1, 7, 143)
    np.testing.assert_allclose(ranges.limits(many, "volume_p999"), [[0, 999]])


def test_the_range_of_stored_integers_does_not_overflow() -> None:
    low, high = ranges.limits(np.array([[[-30000, 30000]]], np.int16), "volume_minmax")[0]
    assert high - low == 60000


def test_the_scale_of_0_to_255_is_clipped() -> None:
    np.testing.assert_allclose(ranges.to_255(np.array([-20.0, 10, 60, 110, 300]), 10, 110), [0, 0, 127.5, 255, 255])
