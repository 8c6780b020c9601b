"""PSNR and SSIM against scikit-image, convention by convention, and what scoring does before a metric sees a volume."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrsr_bench.metrics import RANGES, psnr, ssim, ssim_map
from mrsr_bench.schema import Scoring
from mrsr_bench.scoring import METRICS, score
from mrsr_bench.volumes import Grid

MODEST = settings(max_examples=30, deadline=None)
SCIKIT: dict[str, dict[str, Any]] = {
    "gaussian11": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform7": {"win_size": 7},
}
FLOATS = Grid(integer=False)
WHOLE = Grid(integer=True, nonnegative=True)
every_window = pytest.mark.parametrize("window", sorted(SCIKIT))
sides = st.integers(12, 20)
seeds = st.integers(0, 2**16)


def pair(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A smooth-and-noisy truth in about −200…1500 and a prediction some noise away from it."""
    random = np.random.default_rng(seed)
    truth = np.cumsum(random.normal(0, 60, shape), axis=-1) + 500
    return truth + random.normal(0, 25, shape), truth


def scoring(border: int = 0, rounding: str = "none", **metrics: dict[str, Any]) -> Scoring:
    chosen = metrics or {"psnr": {"range": "volume_minmax"}}
    return Scoring.model_validate({"border": border, "round": rounding, "metrics": chosen})


@MODEST
@given(seeds, st.integers(1, 4), sides, sides, st.floats(1, 1e5))
def test_psnr_is_scikit_images(seed: int, depth: int, rows: int, columns: int, data_range: float) -> None:
    prediction, truth = pair(seed, (depth, rows, columns))
    expected = peak_signal_noise_ratio(truth, prediction, data_range=data_range)
    assert psnr(prediction, truth, data_range) == pytest.approx(expected, abs=1e-9)


@every_window
@MODEST
@given(seed=seeds, depth=st.integers(1, 3), rows=sides, columns=sides)
def test_cropped_ssim_of_slices_is_the_mean_of_scikit_images(
    window: str, seed: int, depth: int, rows: int, columns: int
) -> None:
    prediction, truth = pair(seed, (depth, rows, columns))
    data_range = float(np.ptp(truth))
    slices = [
        structural_similarity(t, p, data_range=data_range, **SCIKIT[window])
        for p, t in zip(prediction, truth, strict=True)
    ]
    assert ssim(prediction, truth, data_range, window, 2, "cropped") == pytest.approx(np.mean(slices), abs=1e-9)


@every_window
@settings(max_examples=8, deadline=None)
@given(seed=seeds, shape=st.tuples(sides, sides, sides))
def test_cropped_ssim_of_a_volume_is_scikit_images(window: str, seed: int, shape: tuple[int, int, int]) -> None:
    prediction, truth = pair(seed, shape)
    data_range = float(np.ptp(truth))
    expected = structural_similarity(truth, prediction, data_range=data_range, **SCIKIT[window])
    assert ssim(prediction, truth, data_range, window, 3, "cropped") == pytest.approx(expected, abs=1e-9)


@every_window
@pytest.mark.parametrize("dims", [2, 3])
def test_whole_ssim_is_the_mean_of_scikit_images_full_map(window: str, dims: int) -> None:
    prediction, truth = pair(3, (14, 16, 18))
    data_range = float(np.ptp(truth))
    images = [(truth, prediction)] if dims == 3 else list(zip(truth, prediction, strict=True))
    maps = [structural_similarity(*both, data_range=data_range, full=True, **SCIKIT[window])[1] for both in images]
    assert ssim(prediction, truth, data_range, window, dims, "whole") == pytest.approx(np.mean(maps), abs=1e-9)
    first = ssim_map(images[0][1], images[0][0], data_range, window)
    np.testing.assert_allclose(first, maps[0], rtol=0, atol=1e-9)


def test_whole_and_cropped_maps_are_two_conventions() -> None:
    prediction, truth = pair(5, (3, 32, 32))
    prediction[:, :3] += 200  # an error that lies in the border only
    whole = ssim(prediction, truth, float(np.ptp(truth)), map="whole")
    assert whole < ssim(prediction, truth, float(np.ptp(truth)), map="cropped") - 0.01


@pytest.mark.parametrize(("window", "side"), [("gaussian11", 10), ("uniform7", 6)])
def test_a_cropped_map_of_too_small_an_image_is_an_error_and_not_nan(window: str, side: int) -> None:
    prediction, truth = pair(1, (2, side, 40))
    with pytest.raises(ValueError, match=r"SSIM|map"):
        ssim(prediction, truth, 100.0, window, 2, "cropped")


@MODEST
@given(arrays(np.float64, (2, 12, 13), elements=st.floats(-1e4, 1e4)))
def test_a_perfect_prediction_has_infinite_psnr_and_ssim_1(volume: np.ndarray) -> None:
    assert psnr(volume, volume.copy(), 100.0) == math.inf
    for window in SCIKIT:
        assert ssim(volume, volume.copy(), 100.0, window) == pytest.approx(1, abs=1e-9)


@MODEST
@given(seeds)
def test_with_a_fixed_range_both_metrics_are_symmetric(seed: int) -> None:
    prediction, truth = pair(seed, (2, 15, 16))
    assert psnr(prediction, truth, 900.0) == psnr(truth, prediction, 900.0)
    for window in SCIKIT:
        for dims in (2,):
            forth, back = (ssim(a, b, 900.0, window, dims) for a, b in ((prediction, truth), (truth, prediction)))
            assert forth == pytest.approx(back, abs=1e-12)
            assert forth < 1


@MODEST
@given(seeds, st.floats(0.01, 1e4))
def test_a_change_of_units_changes_no_figure(seed: int, unit: float) -> None:
    prediction, truth = pair(seed, (2, 15, 16))
    before = score(prediction, truth, FLOATS, scoring(psnr={"range": "volume_minmax"}, ssim=SSIM))
    after = score(prediction * unit, truth * unit, FLOATS, scoring(psnr={"range": "volume_minmax"}, ssim=SSIM))
    assert after == pytest.approx(before, abs=1e-8)


SSIM = {"window": "gaussian11", "dims": 2, "range": "volume_minmax", "map": "whole"}


def test_ten_times_the_error_costs_20_db() -> None:
    prediction, truth = pair(2, (2, 15, 16))
    worse = truth + 10 * (prediction - truth)
    assert psnr(prediction, truth, 1.0) - psnr(worse, truth, 1.0) == pytest.approx(20, abs=1e-9)


def test_psnr_is_of_the_whole_volumes_mse_and_not_a_mean_over_slices() -> None:
    truth = np.zeros((2, 8, 8))
    truth[0, 0, 0] = 100
    prediction = truth.copy()
    prediction[0] += 1
    prediction[1] += 3
    found = score(prediction, truth, FLOATS, scoring())["psnr"]
    assert found == pytest.approx(10 * math.log10(100**2 / 5), abs=1e-12)


@pytest.mark.parametrize(("name", "peak"), [("volume_minmax", 900.0), ("volume_max", 700.0)])
def test_the_range_comes_from_the_truth_alone(name: str, peak: float) -> None:
    truth = np.linspace(-200, 700, 2 * 15 * 16).reshape(2, 15, 16)
    prediction = truth + np.where(np.arange(16) % 2, 5000.0, -5000.0)  # far outside the truth's range
    assert RANGES[name](truth) == peak
    found = score(prediction, truth, FLOATS, scoring(psnr={"range": name}, ssim={**SSIM, "range": name}))
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, prediction, data_range=peak), abs=1e-9)
    assert found["ssim"] == pytest.approx(ssim(prediction, truth, peak), abs=1e-12)


def test_the_range_of_stored_integers_does_not_overflow() -> None:
    truth = np.array([[[-30000, 30000]]], np.int16)
    assert RANGES["volume_minmax"](truth) == 60000


@pytest.mark.parametrize("border", [1, 3])
def test_the_border_is_shaved_from_rows_and_columns_only(border: int) -> None:
    prediction, truth = pair(7, (2, 20, 24))
    inside = slice(border, -border)
    prediction[:, inside, inside] = truth[:, inside, inside] + 2
    found = score(prediction, truth, FLOATS, scoring(border, ssim=SSIM, psnr={"range": "volume_minmax"}))
    assert found["psnr"] == pytest.approx(10 * math.log10(np.ptp(truth) ** 2 / 4), abs=1e-9)
    cut = (slice(None), inside, inside)
    assert found["ssim"] == pytest.approx(ssim(prediction[cut], truth[cut], float(np.ptp(truth))), abs=1e-12)
    assert found["psnr"] > score(prediction, truth, FLOATS, scoring(0))["psnr"]


def test_the_peak_is_the_whole_volumes_where_a_border_is_shaved() -> None:
    prediction, truth = pair(7, (1, 20, 24))
    truth[0, 0, 0] = prediction[0, 0, 0] = 1e5
    found = score(prediction, truth, FLOATS, scoring(2))["psnr"]
    inside = (slice(None), slice(2, -2), slice(2, -2))
    expected = peak_signal_noise_ratio(truth[inside], prediction[inside], data_range=float(np.ptp(truth)))
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_border_that_leaves_nothing_is_an_error_and_not_nan() -> None:
    prediction, truth = pair(7, (1, 20, 24))
    with pytest.raises(ValueError, match="border"):
        score(prediction, truth, FLOATS, scoring(10))


def test_predictions_are_rounded_to_the_stored_grid_before_scoring_if_the_protocol_says_so() -> None:
    truth = np.arange(480.0).reshape(2, 15, 16).astype(np.int16)
    prediction = truth + 0.4
    assert score(prediction, truth, WHOLE, scoring(rounding="stored"))["psnr"] == math.inf
    unrounded = score(prediction, truth, WHOLE, scoring(rounding="none"))["psnr"]
    assert unrounded == pytest.approx(10 * math.log10(479**2 / 0.16), abs=1e-9)


def test_predictions_are_rounded_once() -> None:
    """A value of 0.46 on a grid of 1 is 0; rounded to tenths or to float16 on the way it would be 0.5 and so 1."""
    calls = []

    class Counting(Grid):
        def round(self, array: np.ndarray) -> np.ndarray:
            calls.append(array.copy())
            return super().round(array)

    prediction, truth = pair(4, (2, 15, 16))
    before = prediction.copy()
    both = scoring(rounding="stored", psnr={"range": "volume_minmax"}, ssim=SSIM)
    found = score(prediction, truth, Counting(integer=True), both)
    assert len(calls) == 1
    np.testing.assert_array_equal(calls[0], before)
    np.testing.assert_array_equal(prediction, before)
    assert found["psnr"] == psnr(np.sign(prediction) * np.floor(np.abs(prediction) + 0.5), truth, float(np.ptp(truth)))


def test_below_zero_is_clipped_only_where_the_truth_has_no_negative_value() -> None:
    truth = np.zeros((1, 12, 12))
    truth[0, 0, 0] = 10
    prediction = truth - 3.0 * (truth == 0)
    assert score(prediction, truth, WHOLE, scoring(rounding="stored"))["psnr"] == math.inf
    signed = score(prediction, truth, Grid(integer=True), scoring(rounding="stored"))["psnr"]
    assert signed < 15


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_is_refused(value: float) -> None:
    prediction, truth = pair(4, (2, 15, 16))
    prediction[1, 2, 3] = prediction[0, 0, 0] = value
    with pytest.raises(ValueError, match="2 values that are NaN or infinite"):
        score(prediction, truth, FLOATS, scoring())


@pytest.mark.parametrize("shape", [(2, 15, 17), (15, 16), (1, 2, 15, 16), (2, 16, 15), (2, 15, 1)])
def test_a_prediction_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    _, truth = pair(4, (2, 15, 16))
    with pytest.raises(ValueError, match=r"shape .* the truth \(2, 15, 16\)"):
        score(np.ones(shape), truth, FLOATS, scoring())


def test_integers_and_float32_are_scored_in_float64() -> None:
    truth = np.full((1, 12, 12), 255, np.uint8)
    truth[0, 0, 0] = 0
    prediction = np.zeros((1, 12, 12), np.float32)
    found = score(prediction, truth, FLOATS, scoring(psnr={"range": "volume_minmax"}))["psnr"]
    assert found == pytest.approx(10 * math.log10(144 / 143), abs=1e-12)


def test_scores_come_in_the_protocols_order() -> None:
    prediction, truth = pair(4, (2, 15, 16))
    chosen = {"ssim": SSIM, "psnr": {"range": "volume_max"}}
    assert list(score(prediction, truth, FLOATS, scoring(**chosen))) == ["ssim", "psnr"]
    assert set(METRICS) == {"psnr", "ssim"}, "a new metric needs a reference to be tested against"
