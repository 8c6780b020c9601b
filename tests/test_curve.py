"""What the validations of a training say of it: the fall below an earlier best, and the gain of the last fifth."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_training import Data, fit

from mrsr_bench.system.files import WorkFolder
from mrsr_bench.training.curve import Curve, late_gain, validation_fall
from mrsr_bench.training.loop import TrainingStopped

STEPS = 100
DECIBELS = st.floats(-50, 80)
VALIDATIONS = st.lists(st.tuples(st.integers(1, STEPS), DECIBELS), unique_by=lambda pair: pair[0]).map(sorted)


@given(VALIDATIONS)
def test_the_fall_is_the_largest_of_all_pairs_whose_later_one_is_after_a_tenth(
    validations: list[tuple[int, float]],
) -> None:
    falls = [
        earlier - later
        for number, (step, later) in enumerate(validations)
        for _, earlier in validations[:number]
        if step > STEPS / 10
    ]
    assert validation_fall(validations, STEPS) == max([0.0, *falls])


@given(VALIDATIONS)
def test_the_late_gain_is_what_the_best_weights_would_lose_without_the_last_fifth(
    validations: list[tuple[int, float]],
) -> None:
    early = [psnr for step, psnr in validations if step <= 80]
    gain = late_gain(validations, STEPS)
    if gain is None:
        assert len(early) in (0, len(validations))
    else:
        assert gain == max(psnr for _, psnr in validations) - max(early) >= 0


@given(VALIDATIONS, DECIBELS)
def test_a_rising_curve_falls_nowhere_and_a_shift_changes_neither(
    validations: list[tuple[int, float]], shift: float
) -> None:
    rising = [(step, psnr) for (step, _), psnr in zip(validations, sorted(p for _, p in validations), strict=True)]
    assert validation_fall(rising, STEPS) == 0
    shifted = [(step, psnr + shift) for step, psnr in validations]
    assert validation_fall(shifted, STEPS) == pytest.approx(validation_fall(validations, STEPS), abs=1e-9)
    assert late_gain(shifted, STEPS) == pytest.approx(late_gain(validations, STEPS), abs=1e-9)


def test_a_tenth_and_four_fifths_are_within_the_first_parts() -> None:
    assert validation_fall([(1, 30.0), (10, 20.0)], STEPS) == 0
    assert validation_fall([(1, 30.0), (10, 20.0), (11, 29.0)], STEPS) == 1
    assert late_gain([(80, 30.0), (81, 31.5)], STEPS) == 1.5
    assert late_gain([(79, 30.0), (80, 31.5)], STEPS) is None
    assert late_gain([(81, 30.0)], STEPS) is None


def test_validations_that_are_not_finite_are_left_to_the_divergence_guard(tmp_path: Path) -> None:
    curve = Curve(WorkFolder(tmp_path), [{"step": 5, "val_psnr": 30.0}, {"step": 7, "loss": 0.1}])
    curve.add({"step": 10, "val_psnr": math.nan})
    curve.add({"step": 15, "val_psnr": 31.0})
    assert curve.validations == [(5, 30.0), (15, 31.0)]
    assert (tmp_path / "train.csv").read_text(encoding="utf-8").count("\n") == 5


def test_a_fit_holds_both_figures_also_after_a_stop(tmp_path: Path) -> None:
    whole, state, _ = fit(tmp_path / "whole", Data(), steps=40, lr=0.5)
    validations = [(row["step"], row["val_psnr"]) for row in state["rows"] if "val_psnr" in row]
    assert len(validations) == 10
    assert whole.validation_fall == validation_fall(validations, 40) > 0, "at this rate"
    assert whole.late_gain == late_gain(validations, 40)
    with pytest.raises(TrainingStopped):
        fit(tmp_path / "resumed", Data(), steps=40, lr=0.5, stop=33)
    resumed, _, _ = fit(tmp_path / "resumed", Data(), steps=40, lr=0.5)
    assert (resumed.validation_fall, resumed.late_gain) == (whole.validation_fall, whole.late_gain)
