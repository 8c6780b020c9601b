"""What scoring does before a metric sees a volume, and the words of a protocol for metrics, ranges and pooling."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from mrsr_bench.degradation import BicubicDegradation, degrade, zero_fill
from mrsr_bench.errors import UsageError
from mrsr_bench.protocol.schema import ScoringSpec
from mrsr_bench.scoring.metrics import bands, edges, information, ranges
from mrsr_bench.scoring.metrics.foreground import foreground
from mrsr_bench.scoring.metrics.fsim import fsim_sums
from mrsr_bench.scoring.metrics.null_space import range_part
from mrsr_bench.scoring.metrics.ssim import ssim_map
from mrsr_bench.scoring.protocol_metrics import METRICS, make_metric, metric_class
from mrsr_bench.scoring.score import Case, radial_errors, score
from mrsr_bench.volumes import Grid

MODEST = settings(max_examples=30, deadline=None)
FEW = settings(max_examples=8, deadline=None)
FLOATS = Grid(integer=False)
WHOLE = Grid(integer=True, nonnegative=True)
RANGE = {"range": "volume_minmax"}
SSIM = {"window": "gaussian11", "map": "whole", **RANGE}


def settings_of(name: str, range: str = "volume_minmax") -> dict[str, Any]:
    """Settings that fit a metric."""
    return {key: value for key, value in {**SSIM, "range": range}.items() if key in METRICS[name].model_fields}


ALL = {name: settings_of(name) for name in METRICS}
"""Every metric with settings that fit."""
EXACT = {name: 0.0 if not metric.higher_is_better else 1.0 for name, metric in METRICS.items()} | {"psnr": math.inf}
seeds = st.integers(0, 2**16)


def pair(seed: int, shape: tuple[int, ...] = (2, 16, 20)) -> tuple[np.ndarray, np.ndarray]:
    """A smooth-and-noisy truth in about −200…1500 and a prediction some noise away from it."""
    random = np.random.default_rng(seed)
    truth = np.cumsum(random.normal(0, 60, shape), axis=-1) + 500
    return truth + random.normal(0, 25, shape), truth


def case(truth: np.ndarray, grid: Grid = FLOATS, factors: tuple[int, int, int] = (1, 2, 2)) -> Case:
    """A truth whose LR is bicubic's and not rounded; an LR of zeros where its shape has none."""
    whole = all(n % factor == 0 for n, factor in zip(truth.shape, factors, strict=True))
    lr = degrade(truth, "bicubic", factors) if whole else np.zeros((1, 1, 1))
    return Case(truth, lr, grid, BicubicDegradation())


def convened(
    metrics: dict[str, dict[str, Any]], unit: str = "volume", border: int = 0, rounding: str = "none"
) -> ScoringSpec:
    return ScoringSpec.model_validate({"unit": unit, "border": border, "round": rounding, "metrics": metrics})


def figure(prediction: np.ndarray, truth: np.ndarray, name: str = "psnr", unit: str = "volume", **how: Any) -> float:
    """One metric's figure; `how` may hold border."""
    border = how.pop("border", 0)
    return score(prediction, case(truth), convened({name: {**ALL[name], **how}}, unit, border))[name]


# Every metric


@FEW
@given(seeds, st.sampled_from(["volume", "slice"]))
def test_an_exact_prediction_has_the_best_figure_of_every_metric(seed: int, unit: str) -> None:
    _, truth = pair(seed, (2, 44, 48))
    found = score(truth.copy(), case(truth), convened(ALL, unit))
    assert found == pytest.approx(EXACT, abs=1e-9)


@FEW
@given(seeds, st.sampled_from(["volume", "slice"]), st.floats(0.01, 1e4))
def test_a_change_of_units_changes_no_figure(seed: int, unit: str, scale: float) -> None:
    prediction, truth = pair(seed, (2, 44, 48))
    before = score(prediction, case(truth), convened(ALL, unit))
    after = score(prediction * scale, case(truth * scale), convened(ALL, unit))
    assert after == pytest.approx(before, abs=1e-8)


@FEW
@given(seeds, st.sampled_from(["volume", "slice"]))
def test_twice_the_error_is_worse_by_every_metric(seed: int, unit: str) -> None:
    prediction, truth = pair(seed, (2, 44, 48))
    near = score(prediction, case(truth), convened(ALL, unit))
    far = score(2 * prediction - truth, case(truth), convened(ALL, unit))
    for name, metric in METRICS.items():
        assert (near[name] > far[name]) == metric.higher_is_better, name
        assert near[name] != far[name]


def test_a_metric_of_a_volume_and_of_its_slices_is_the_one_definition() -> None:
    """From the functions of `metrics`: sums over all slices, or the mean of the slices' own figures."""
    prediction, truth = pair(3, (3, 44, 48))
    prediction[2] += 2 * (prediction[2] - truth[2])
    low, high = float(truth.min()), float(truth.max())
    scaled = [tuple(ranges.to_255(v[z], low, high) for v in (prediction, truth)) for z in range(3)]
    plain = list(zip(prediction, truth, strict=True))
    error = prediction - truth
    inside = [range_part(volume, BicubicDegradation(), (3, 22, 24)) for volume in (error, truth)]
    lr = [degrade(volume, "bicubic", (1, 2, 2)) for volume in (error, truth)]
    squares = {
        "hfen": [edges.hfen_sums(*images) for images in plain],
        "nrmse": [(np.sum((p - t) ** 2), np.sum(t**2)) for p, t in plain],
        "range_nmse": [(np.sum(e**2), np.sum(t**2)) for e, t in zip(*inside, strict=True)],
        "nullspace_recovered": [
            (np.sum((e - f) ** 2), np.sum((t - u) ** 2))
            for e, f, t, u in zip(error, inside[0], truth, inside[1], strict=True)
        ],
        "lr_consistency": [(np.sum(e**2), np.sum(t**2)) for e, t in zip(*lr, strict=True)],
        "psnr": [(np.sum((p - t) ** 2) / (high - low) ** 2, p.size) for p, t in plain],
        "ssim": [(ssim_map(p, t, high - low).sum(), p.size) for p, t in plain],
        "gmsd": [(edges.gmsd(*images), 1) for images in scaled],
        "vif": [information.vif_sums(*images) for images in scaled],
        "haarpsi": [information.haarpsi_sums(*images) for images in scaled],
        "fsim": [fsim_sums(*images) for images in scaled],
    }
    ends: dict[str, Callable[[float], float]] = {
        "hfen": math.sqrt,
        "nrmse": math.sqrt,
        "lr_consistency": math.sqrt,
        "nullspace_recovered": lambda ratio: 1 - ratio,
        "psnr": lambda ratio: -10 * math.log10(ratio),
        "haarpsi": information.haarpsi,
    }
    assert set(squares) == set(METRICS), "a new metric needs its definition here"
    volume = score(prediction, case(truth), convened(ALL))
    slices = score(prediction, case(truth), convened(ALL, "slice"))
    for name, sums in squares.items():
        end = ends.get(name, float)
        above, below = np.sum(sums, axis=0)
        assert volume[name] == pytest.approx(end(above / below), rel=1e-9), name
        assert slices[name] == pytest.approx(np.mean([end(a / b) for a, b in sums]), rel=1e-9), name


@pytest.mark.parametrize("unit", ["volume", "slice"])
def test_the_number_of_cores_changes_no_bit(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, truth = pair(5, (9, 44, 48))
    chosen = {**ALL, "fg": {"metric": "psnr", "region": "foreground", **RANGE}}
    if unit == "volume":
        chosen["ssim3"] = {"metric": "ssim", "dims": 3, **SSIM}
    found = []
    for cores in (1, 2, 7):
        monkeypatch.setattr("mrsr_bench.system.cores.usable_cores", lambda cores=cores: set(range(cores)))
        found.append(score(prediction, case(truth, WHOLE), convened(chosen, unit, rounding="stored")))
    assert found[0] == found[1] == found[2]


# PSNR and SSIM


def test_psnr_is_of_the_whole_volumes_mse_and_not_a_mean_over_slices() -> None:
    truth = np.zeros((2, 8, 8))
    truth[:, 0, 0] = 100
    prediction = truth.copy()
    prediction[0] += 1
    prediction[1] += 3
    assert figure(prediction, truth) == pytest.approx(10 * math.log10(100**2 / 5), abs=1e-12)
    of_slices = [20 * math.log10(100), 20 * math.log10(100 / 3)]
    assert figure(prediction, truth, unit="slice") == pytest.approx(np.mean(of_slices), abs=1e-12)
    pooled = figure(prediction, truth, unit="slice", pool="mse")
    assert pooled == pytest.approx(10 * math.log10(100**2 / 5), abs=1e-12)


@MODEST
@given(seeds, st.sampled_from(["slice_minmax", "slice_max"]))
def test_a_slices_range_is_its_own(seed: int, word: str) -> None:
    prediction, truth = pair(seed, (3, 16, 20))
    truth[1] *= 3
    peaks = [float(np.ptp(t)) if word == "slice_minmax" else float(t.max()) for t in truth]
    both = list(zip(prediction, truth, peaks, strict=True))
    expected = np.mean([peak_signal_noise_ratio(t, p, data_range=r) for p, t, r in both])
    assert figure(prediction, truth, unit="slice", range=word) == pytest.approx(expected, abs=1e-9)
    mse = np.mean([np.mean((p - t) ** 2) / r**2 for p, t, r in both])
    pooled = figure(prediction, truth, unit="slice", range=word, pool="mse")
    assert pooled == pytest.approx(-10 * math.log10(mse), abs=1e-9)
    expected = np.mean([ssim_map(p, t, r).mean() for p, t, r in both])
    assert figure(prediction, truth, "ssim", "slice", range=word) == pytest.approx(expected, abs=1e-9)


SCIKIT: dict[str, dict[str, Any]] = {
    "gaussian11": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform7": {"win_size": 7},
}


@pytest.mark.parametrize("window", sorted(SCIKIT))
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("part", ["cropped", "whole"])
def test_ssim_of_a_volume_is_scikit_images_in_every_convention(window: str, dims: int, part: str) -> None:
    prediction, truth = pair(3, (14, 16, 18))
    width = float(np.ptp(truth))
    images = [(truth, prediction)] if dims == 3 else list(zip(truth, prediction, strict=True))
    answers = [structural_similarity(*both, data_range=width, full=True, **SCIKIT[window]) for both in images]
    expected = np.mean([mean if part == "cropped" else whole.mean() for mean, whole in answers])
    assert figure(prediction, truth, "ssim", window=window, dims=dims, map=part) == pytest.approx(expected, abs=1e-9)


def test_whole_and_cropped_maps_are_two_conventions() -> None:
    prediction, truth = pair(5, (3, 32, 32))
    prediction[:, :3] += 200  # an error that lies in the border only
    assert figure(prediction, truth, "ssim") < figure(prediction, truth, "ssim", map="cropped") - 0.01


@pytest.mark.parametrize(("window", "side"), [("gaussian11", 10), ("uniform7", 6)])
def test_a_cropped_map_of_too_small_an_image_is_an_error_and_not_nan(window: str, side: int) -> None:
    prediction, truth = pair(1, (2, side, 40))
    with pytest.raises(ValueError, match="too small for the SSIM window"):
        figure(prediction, truth, "ssim", window=window, map="cropped")


@MODEST
@given(arrays(np.float64, (2, 12, 14), elements=st.floats(-1e4, 1e4)))
def test_a_perfect_prediction_has_infinite_psnr_and_ssim_1(volume: np.ndarray) -> None:
    found = score(volume.copy(), case(volume), convened({"psnr": {"range": 100}, "ssim": {**SSIM, "range": 100}}))
    assert found == {"psnr": math.inf, "ssim": pytest.approx(1, abs=1e-9)}


# Ranges


@pytest.mark.parametrize(("word", "peak"), [("volume_minmax", 900.0), ("volume_max", 700.0), (255, 255.0), (0.5, 0.5)])
def test_the_range_comes_from_the_truth_alone(word: str | float, peak: float) -> None:
    truth = np.linspace(-200, 700, 2 * 16 * 16).reshape(2, 16, 16)
    prediction = truth + np.where(np.arange(16) % 2, 5000.0, -5000.0)  # far outside the truth's range
    found = figure(prediction, truth, range=word)
    assert found == pytest.approx(peak_signal_noise_ratio(truth, prediction, data_range=peak), abs=1e-9)
    expected = np.mean([ssim_map(p, t, peak).mean() for p, t in zip(prediction, truth, strict=True)])
    assert figure(prediction, truth, "ssim", range=word) == pytest.approx(expected, abs=1e-12)


def test_one_hot_voxel_moves_the_maximum_and_hardly_the_99th_percentile() -> None:
    prediction, truth = pair(7, (4, 40, 44))
    hot, also = truth.copy(), prediction.copy()
    hot[0, 0, 0] = also[0, 0, 0] = 20 * truth.max()
    gains = {
        word: figure(also, hot, range=word) - figure(prediction, truth, range=word)
        for word in ("volume_max", "volume_p999")
    }
    assert gains["volume_max"] == pytest.approx(20 * math.log10(20), abs=0.01)
    assert gains["volume_p999"] < 0.5
    expected = peak_signal_noise_ratio(hot, also, data_range=float(np.percentile(hot, 99.9)))
    assert figure(also, hot, range="volume_p999") == pytest.approx(expected, abs=1e-9)


def test_what_lies_outside_the_range_is_clipped_where_images_are_scaled() -> None:
    prediction, truth = pair(7, (1, 44, 48))
    high = float(np.percentile(truth, 99.9))
    clipped = [np.clip(volume, 0, high) for volume in (prediction, truth)]
    for name in ("gmsd", "vif", "haarpsi", "fsim"):
        found = figure(prediction, truth, name, range="volume_p999")
        assert found == pytest.approx(figure(clipped[0], clipped[1], name, range=high), rel=1e-9)


@pytest.mark.parametrize("name", ["psnr", "ssim", "gmsd", "fsim"])
def test_a_truth_without_a_range_is_an_error_and_not_nan(name: str) -> None:
    truth = -np.arange(1.0, 2 * 44 * 48 + 1).reshape(2, 44, 48)
    with pytest.raises(ValueError, match=r"no range 'volume_max'.*-1"):
        figure(truth + 1, truth, name, range="volume_max")


# Blank slices, foreground, border


def test_blank_slices_are_left_out_where_slices_are_the_unit_and_the_log_counts_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    prediction, truth = pair(11, (4, 44, 48))
    blank_prediction, blank_truth = prediction.copy(), truth.copy()
    blank_truth[[0, 3]] = 7.0
    blank_prediction[[0, 3]] = 9.0
    chosen = {name: settings_of(name, "slice_minmax") for name in METRICS if name != "lr_consistency"}
    expected = score(prediction[1:3], case(truth[1:3]), convened(chosen, "slice"))
    with caplog.at_level(logging.WARNING):
        found = score(blank_prediction, case(blank_truth), convened(chosen, "slice"))
    assert found == pytest.approx(expected, rel=1e-12)
    assert f"{METRICS['psnr'].title}: the mean over 2 of 4 slices" in caplog.text


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"lr_consistency"}))
def test_a_blank_truth_is_an_error_where_slices_are_the_unit(name: str) -> None:
    truth = np.full((2, 44, 48), 5.0)
    how = {"range": 100} if "range" in ALL[name] else {}
    with pytest.raises(ValueError, match="has no figure: the truth is blank"):
        figure(truth + 1, truth, name, "slice", **how)


def brain() -> tuple[np.ndarray, np.ndarray]:
    """A bright block in noise, and a prediction whose error is three times as large inside it."""
    random = np.random.default_rng(2)
    truth = random.uniform(0, 50, (3, 40, 44))
    truth[:, 10:30, 12:32] += 800
    error = random.normal(0, 5, truth.shape)
    error[:, 10:30, 12:32] *= 3
    return truth + error, truth


def test_foreground_figures_are_of_the_mask_alone() -> None:
    prediction, truth = brain()
    mask = foreground(truth)
    assert mask.sum() == 3 * 20 * 20
    width = float(np.ptp(truth))
    found = figure(prediction, truth, region="foreground")
    assert found == pytest.approx(peak_signal_noise_ratio(truth[mask], prediction[mask], data_range=width), abs=1e-9)
    assert found < figure(prediction, truth)
    expected = normalized_root_mse(truth[mask], prediction[mask], normalization="euclidean")
    assert figure(prediction, truth, "nrmse", region="foreground") == pytest.approx(expected, rel=1e-12)
    maps = np.array([ssim_map(p, t, width) for p, t in zip(prediction, truth, strict=True)])
    assert figure(prediction, truth, "ssim", region="foreground") == pytest.approx(maps[mask].mean(), abs=1e-12)
    solid = ssim_map(prediction, truth, width)
    assert figure(prediction, truth, "ssim", dims=3, region="foreground") == pytest.approx(
        solid[mask].mean(), abs=1e-12
    )


def test_what_lies_outside_the_foreground_changes_no_figure_of_it() -> None:
    prediction, truth = brain()
    other = np.where(foreground(truth), prediction, prediction + 300)
    assert figure(other, truth, region="foreground") == figure(prediction, truth, region="foreground")
    assert figure(other, truth) < figure(prediction, truth) - 10


def test_slices_without_foreground_are_left_out() -> None:
    prediction, truth = brain()
    truth[2, 10:30, 12:32] -= 800
    found = figure(prediction, truth, "psnr", "slice", region="foreground")
    assert found == pytest.approx(
        figure(prediction[:2], truth[:2], "psnr", "slice", region="foreground", range=float(np.ptp(truth)))
    )


@pytest.mark.parametrize("border", [1, 3])
def test_the_border_is_shaved_from_rows_and_columns_only(border: int) -> None:
    prediction, truth = pair(7, (2, 20, 24))
    inside = slice(border, -border)
    cut = (slice(None), inside, inside)
    prediction[cut] = truth[cut] + 2
    found = figure(prediction, truth, border=border)
    assert found == pytest.approx(10 * math.log10(np.ptp(truth) ** 2 / 4), abs=1e-9)
    assert found > figure(prediction, truth)
    width = float(np.ptp(truth))
    expected = figure(prediction[cut], truth[cut], "ssim", range=width)
    assert figure(prediction, truth, "ssim", border=border) == pytest.approx(expected, abs=1e-12)


def test_what_is_of_lr_is_of_whole_volumes_whatever_the_border() -> None:
    prediction, truth = pair(7, (2, 20, 24))
    for name in ("range_nmse", "nullspace_recovered", "lr_consistency"):
        assert METRICS[name].fixed["border"] == 0
        assert figure(prediction, truth, name, border=3) == figure(prediction, truth, name)


def test_the_peak_is_the_whole_volumes_where_a_border_is_shaved() -> None:
    prediction, truth = pair(7, (1, 20, 24))
    truth[0, 0, 0] = prediction[0, 0, 0] = 1e5
    inside = (slice(None), slice(2, -2), slice(2, -2))
    expected = peak_signal_noise_ratio(truth[inside], prediction[inside], data_range=float(np.ptp(truth)))
    assert figure(prediction, truth, border=2) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("border", [10, 11, 500])
def test_a_border_that_leaves_nothing_is_an_error_and_not_nan(border: int) -> None:
    prediction, truth = pair(7, (1, 20, 24))
    with pytest.raises(ValueError, match="border"):
        figure(prediction, truth, border=border)


# LR and the spectrum


def test_lr_consistency_is_of_the_prediction_as_the_method_should_have_seen_it() -> None:
    prediction, truth = pair(9, (3, 24, 36))
    whole = case(truth)
    rounded = Case(truth, np.rint(whole.lr), FLOATS, BicubicDegradation())
    expected = normalized_root_mse(rounded.lr, degrade(prediction, "bicubic", (1, 2, 2)), normalization="euclidean")
    found = score(prediction, rounded, convened({"lr_consistency": {}}))
    assert found == {"lr_consistency": pytest.approx(expected, rel=1e-12)}
    floor = score(truth, rounded, convened({"lr_consistency": {}}))["lr_consistency"]
    assert 0 < floor < 0.5 / np.sqrt(np.mean(rounded.lr**2))


@pytest.mark.parametrize("rounding", ["none", "stored"])
def test_radial_errors_add_up_to_the_mse_of_the_rounded_volume(rounding: str) -> None:
    prediction, truth = pair(9, (3, 24, 36))
    protocol = convened({"psnr": RANGE}, rounding=rounding)
    curve = radial_errors(prediction, case(truth, Grid(integer=True)), protocol)
    final = Grid(integer=True).apply(prediction, rounding)
    assert curve.shape == (68, 3)
    np.testing.assert_array_equal(curve[:, 0], bands.FREQUENCIES)
    assert curve[:, 1].sum() == pytest.approx(np.mean((final - truth) ** 2))
    assert curve[:, 2].sum() == pytest.approx(np.mean(truth**2))


def test_the_radial_error_of_an_interpolated_volume_lies_above_lrs_nyquist_frequency() -> None:
    _, truth = pair(9, (3, 96, 96))
    prediction = zero_fill(degrade(truth, "kspace", (1, 2, 2)), truth.shape)
    curve = radial_errors(prediction, case(truth), convened({"psnr": RANGE}))
    below = curve[:, 0] < 1 / 4
    assert curve[below, 1].max() < 1e-18 * curve[:, 2].max()
    np.testing.assert_allclose(curve[curve[:, 0] > 0.36, 1], curve[curve[:, 0] > 0.36, 2])


# Before a metric sees a volume


def test_predictions_are_rounded_as_the_protocol_says() -> None:
    truth = np.arange(480.0).reshape(2, 15, 16).astype(np.int16)
    prediction = truth + 0.4
    protocol = {"psnr": RANGE}
    assert score(prediction, case(truth, WHOLE), convened(protocol, rounding="stored"))["psnr"] == math.inf
    unrounded = score(prediction, case(truth, WHOLE), convened(protocol, rounding="none"))["psnr"]
    assert unrounded == pytest.approx(10 * math.log10(479**2 / 0.16), abs=1e-9)


def test_predictions_are_rounded_once_and_left_as_they_were() -> None:
    """A value of 0.46 on a grid of 1 is 0; rounded to tenths or to float16 on the way it would be 0.5 and so 1."""
    prediction, truth = pair(4, (2, 15, 16))
    prediction[0, 0] = 0.46
    before = prediction.copy()
    found = score(prediction, case(truth, Grid(integer=True)), convened({"psnr": RANGE}, rounding="stored"))["psnr"]
    np.testing.assert_array_equal(prediction, before)
    half_away = np.sign(prediction) * np.floor(np.abs(prediction) + 0.5)
    expected = peak_signal_noise_ratio(truth, half_away, data_range=float(np.ptp(truth)))
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("rounding", "final"), [("stored", 0.0), ("stored_unclipped", -3.0), ("clipped", 0.0), ("none", -3.4)]
)
def test_below_zero_is_clipped_only_where_the_protocol_says_so(rounding: str, final: float) -> None:
    truth = np.zeros((1, 12, 12))
    truth[0, 0, 0] = 10
    prediction = truth - 3.4 * (truth == 0)
    mse = final**2 * 143 / 144
    found = score(prediction, case(truth, WHOLE), convened({"psnr": RANGE}, rounding=rounding))["psnr"]
    assert found == (math.inf if mse == 0 else pytest.approx(10 * math.log10(100 / mse), abs=1e-9))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_is_refused(value: float) -> None:
    prediction, truth = pair(4, (2, 15, 16))
    prediction[1, 2, 3] = prediction[0, 0, 0] = value
    for judge in (score, radial_errors):
        with pytest.raises(ValueError, match="2 values that are NaN or infinite"):
            judge(prediction, case(truth), convened({"psnr": RANGE}))


@pytest.mark.parametrize("shape", [(2, 15, 17), (15, 16), (1, 2, 15, 16), (2, 16, 15), (2, 15, 1)])
def test_a_prediction_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    _, truth = pair(4, (2, 15, 16))
    with pytest.raises(ValueError, match=r"shape .* the truth \(2, 15, 16\)"):
        score(np.ones(shape), case(truth), convened({"psnr": RANGE}))


def test_integers_and_float32_are_scored_in_float64() -> None:
    truth = np.full((1, 12, 12), 255, np.uint8)
    truth[0, 0, 0] = 0
    prediction = np.zeros((1, 12, 12), np.float32)
    assert figure(prediction, truth) == pytest.approx(10 * math.log10(144 / 143), abs=1e-12)


# The words of a protocol


def test_scores_come_in_the_protocols_order_under_its_labels() -> None:
    prediction, truth = pair(4)
    chosen = {"ssim": SSIM, "psnr_p999": {"metric": "psnr", "range": "volume_p999"}, "psnr": {"range": "volume_max"}}
    found = score(prediction, case(truth), convened(chosen))
    assert list(found) == ["ssim", "psnr_p999", "psnr"]
    assert found["psnr_p999"] == figure(prediction, truth, range="volume_p999") != found["psnr"]


def test_an_unknown_metric_is_named_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'pnsr'\. Did you mean 'psnr'\?"):
        make_metric("pnsr", {})
    with pytest.raises(UsageError, match=r"unknown metric 'sim'.* Did you mean"):
        metric_class("psnr", {"metric": "sim"})


@pytest.mark.parametrize(
    ("label", "how", "unit", "words"),
    [
        ("psnr", {"range": "slice_max"}, "volume", "needs scoring.unit 'slice'"),
        ("psnr", {**RANGE, "pool": "mse"}, "volume", "needs scoring.unit 'slice'"),
        ("ssim", {**SSIM, "dims": 3}, "slice", "needs scoring.unit 'volume'"),
        ("psnr", {"range": "volume_mnmax"}, "volume", "'volume_minmax', 'volume_max'.* or a number above 0"),
        ("psnr", {"range": 0}, "volume", "a number above 0"),
        ("psnr", {"range": True}, "volume", "a number above 0"),
        ("psnr", {"range": math.inf}, "volume", "a number above 0"),
        ("psnr", {"range": math.nan}, "volume", "a number above 0"),
        ("psnr", {}, "volume", "required"),
        ("psnr", {**RANGE, "regoin": "whole"}, "volume", "Extra inputs"),
        ("hfen", {"range": "volume_max"}, "volume", "Extra inputs"),
    ],
)
def test_settings_that_do_not_fit_are_refused(label: str, how: dict[str, Any], unit: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        make_metric(label, how, unit)


def test_a_metric_made_without_a_protocol_takes_every_word() -> None:
    for word in ranges.WORDS:
        assert make_metric("psnr", {"range": word, "pool": "mse"}).model_dump()["range"] == word


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_says_how_a_table_shows_it(name: str) -> None:
    metric = METRICS[name]
    assert metric.title
    assert metric.__doc__
    assert metric.decimals in range(2, 6)
    assert len({other.title for other in METRICS.values()}) == len(METRICS)


def test_new_words_leave_the_digest_of_a_protocol_as_it_was() -> None:
    dumped = convened({"psnr": RANGE}, rounding="stored").model_dump(mode="json")
    assert dumped == {"unit": "volume", "border": 0, "round": "stored", "metrics": {"psnr": RANGE}}
