"""The square's eight symmetries, and the self-ensemble against numpy's own rotations and flips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsr_bench.degradation import bicubic
from mrsr_bench.method import Array, Method, Scan, Task
from mrsr_bench.methods.bicubic import Bicubic
from mrsr_bench.running.self_ensemble import self_ensemble
from mrsr_bench.training.symmetries import dihedral, undo_dihedral

MODEST = settings(max_examples=30, deadline=None)
MARKED = np.arange(1, 7).reshape(1, 2, 3)
shapes = st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9))


def symmetries(image: np.ndarray) -> list[np.ndarray]:
    """The eight images of the last two axes, by numpy's rotations and flips."""
    turned = [np.rot90(image, quarters, axes=(-2, -1)) for quarters in range(4)]
    return [*turned, *(np.flip(one, -1) for one in turned)]


class Skewed(Method):
    """Depends on direction: each axis interpolated, then shifted and weighted by place and size."""

    def upscale(self, scan: Scan, task: Task) -> Array:
        assert scan.array.dtype == np.float32
        assert scan.array.flags.c_contiguous
        big = bicubic(scan.array.astype(np.float64), task.hr_shape(scan.array.shape))
        rows = np.linspace(0, 1, big.shape[1])[:, None]
        shifted = np.roll(big, 1, axis=-1) * (1 + rows) + 0.25 * np.roll(big, 2, axis=-2)
        return shifted.astype(np.float32)


def scan_of(shape: tuple[int, ...], seed: int = 0, spacing: tuple[float, float, float] = (3.0, 0.8, 0.9)) -> Scan:
    array = np.random.default_rng(seed).uniform(0, 1000, shape).astype(np.float32)
    return Scan(array, spacing, "T1")


def test_the_eight_elements_are_numpys_rotations_and_flips() -> None:
    found = {dihedral(MARKED, index).tobytes() + bytes(dihedral(MARKED, index).shape) for index in range(8)}
    expected = {image.tobytes() + bytes(image.shape) for image in symmetries(MARKED)}
    assert len(found) == 8
    assert found == expected


def test_element_0_changes_nothing() -> None:
    np.testing.assert_array_equal(dihedral(MARKED, 0), MARKED)


@MODEST
@given(shapes, st.integers(0, 7), st.integers(0, 99))
def test_every_element_is_undone(shape: tuple[int, ...], index: int, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=shape)
    np.testing.assert_array_equal(undo_dihedral(dihedral(image, index), index), image)
    np.testing.assert_array_equal(dihedral(undo_dihedral(image, index), index), image)


@MODEST
@given(st.integers(2, 4), shapes, st.integers(0, 7))
def test_lr_and_hr_turn_alike(factor: int, shape: tuple[int, int, int], index: int) -> None:
    lr = np.random.default_rng(0).normal(size=shape)
    hr = lr.repeat(factor, 1).repeat(factor, 2)
    np.testing.assert_array_equal(
        dihedral(hr, index), dihedral(lr, index).repeat(factor, 1).repeat(factor, 2), strict=True
    )


@MODEST
@given(shapes, st.integers(2, 4))
def test_the_ensemble_of_a_method_that_turns_with_its_image_is_the_method(shape: tuple[int, ...], factor: int) -> None:
    scan, task = scan_of(shape), Task((1, factor, factor))
    single = Bicubic().upscale(scan, task)
    both = self_ensemble(Bicubic(), scan, task)
    assert both.dtype == np.float32
    np.testing.assert_allclose(both, single, rtol=0, atol=2e-4)


@MODEST
@given(shapes, st.integers(2, 3), st.integers(0, 99))
def test_the_ensemble_is_the_mean_of_the_eight_turned_answers(
    shape: tuple[int, int, int], factor: int, seed: int
) -> None:
    scan, task = scan_of(shape, seed), Task((1, factor, factor))
    answers = []
    for quarters in range(4):
        for mirrored in (False, True):
            image = np.rot90(scan.array, quarters, axes=(-2, -1))
            image = np.ascontiguousarray(np.flip(image, -1) if mirrored else image)
            answer = Skewed().upscale(Scan(image, scan.spacing, "T1"), task).astype(np.float64)
            answer = np.flip(answer, -1) if mirrored else answer
            answers.append(np.rot90(answer, -quarters, axes=(-2, -1)))
    expected = np.mean(answers, axis=0)
    found = self_ensemble(Skewed(), scan, task)
    assert found.shape == task.hr_shape(scan.array.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.abs(found - Skewed().upscale(scan, task)).max() > 1, "the method does depend on direction"


class Recording(Method):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, ...]] = []

    def upscale(self, scan: Scan, task: Task) -> Array:
        self.asked.append((scan.array.shape, scan.spacing, task.factors))
        return np.zeros(task.hr_shape(scan.array.shape), np.float32)


def test_spacing_and_factors_turn_with_the_image() -> None:
    method = Recording()
    result = self_ensemble(method, scan_of((2, 4, 6)), Task((1, 2, 3), seed=5))
    assert result.shape == (2, 8, 18)
    upright = ((2, 4, 6), (3.0, 0.8, 0.9), (1, 2, 3))
    turned = ((2, 6, 4), (3.0, 0.9, 0.8), (1, 3, 2))
    assert sorted(method.asked) == sorted([upright] * 4 + [turned] * 4)


def test_slices_are_never_exchanged() -> None:
    class Slicewise(Method):
        def upscale(self, scan: Scan, task: Task) -> Array:
            means = scan.array.mean(axis=(1, 2), keepdims=True)
            return np.broadcast_to(means, task.hr_shape(scan.array.shape)).astype(np.float32)

    scan = scan_of((3, 5, 7))
    found = self_ensemble(Slicewise(), scan, Task((1, 2, 2)))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), scan.array.mean(axis=(1, 2)), rtol=1e-6)


def test_the_mean_is_taken_in_float64() -> None:
    """Eight float32 answers near 2^24 summed in float32 would lose their last bits."""
    values = iter([16777215.0, 16777213.0] * 4)

    class Alternating(Method):
        def upscale(self, scan: Scan, task: Task) -> Array:
            return np.full(task.hr_shape(scan.array.shape), next(values), np.float32)

    assert (self_ensemble(Alternating(), scan_of((1, 4, 4)), Task((1, 2, 2))) == 16777214.0).all()


def test_the_scan_is_left_as_it_was() -> None:
    scan = scan_of((2, 4, 6))
    before = scan.array.copy()
    self_ensemble(Skewed(), scan, Task((1, 2, 2)))
    np.testing.assert_array_equal(scan.array, before)


def test_an_answer_of_the_wrong_shape_is_not_averaged() -> None:
    class Small(Method):
        def upscale(self, scan: Scan, task: Task) -> Array:
            return scan.array

    with pytest.raises(ValueError, match="broadcast"):
        self_ensemble(Small(), scan_of((2, 4, 6)), Task((1, 2, 2)))
