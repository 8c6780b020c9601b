"""Training samples on their way to the device, and the random streams behind them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sampling import X2, random_pairs, recipe

from mrsr_bench.method import Batch
from mrsr_bench.training.loader import Loader
from mrsr_bench.training.random_streams import derive, stream
from mrsr_bench.training.sampling import TrainingPairs
from mrsr_bench.training.symmetries import dihedral

pytestmark = pytest.mark.usefixtures("one_thread")

CPU, PLAIN = torch.device("cpu"), torch.contiguous_format


class Numbered:
    """Patches that say their step; notes which thread cut which."""

    def __init__(self, turns: list[int], rows: int = 3, columns: int = 3, depth: int = 2) -> None:
        self.given, self.shape = turns, (len(turns), depth, rows, columns)
        self.cut: list[tuple[int, str]] = []

    def crops(self, step: int) -> Batch:
        self.cut.append((step, threading.current_thread().name))
        lr = np.random.default_rng(step).uniform(size=self.shape).astype(np.float32)
        return lr, lr.repeat(2, -1).repeat(2, -2)

    def turns(self, step: int) -> np.ndarray:
        return np.array(self.given)


@settings(deadline=None)
@given(turns=st.lists(st.integers(0, 7), min_size=1, max_size=9), side=st.integers(1, 6), depth=st.integers(1, 3))
def test_the_device_turns_patches_as_numpy_does(turns: list[int], side: int, depth: int) -> None:
    data = Numbered(turns, side, side, depth)
    loader = Loader(data, 4, 5, CPU, PLAIN)
    for patches, plain in zip(loader.next(), data.crops(4), strict=True):
        expected = np.stack([dihedral(one, turn) for one, turn in zip(plain, turns, strict=True)])
        np.testing.assert_array_equal(patches.numpy(), expected)
    loader.close()


@given(turns=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_patches_that_are_not_square_are_flipped(turns: list[int]) -> None:
    data = Numbered(turns, 2, 5)
    loader = Loader(data, 0, 1, CPU, PLAIN)
    for patches, plain in zip(loader.next(), data.crops(0), strict=True):
        np.testing.assert_array_equal(patches, [dihedral(one, turn) for one, turn in zip(plain, turns, strict=True)])
    loader.close()


def test_a_feed_gives_what_the_training_set_gives_a_method_that_fits_itself(tmp_path: Path) -> None:
    data = TrainingPairs(random_pairs(tmp_path, (2, 24, 36), (1, 30, 26)), X2, recipe(7, 6, "dihedral"), 1, 3)
    loader = Loader(data, 5, 9, CPU, PLAIN)
    for step in range(5, 9):
        for one, other in zip(loader.next(), data.batch(step), strict=True):
            np.testing.assert_array_equal(one, other)
    loader.close()


def test_a_thread_cuts_one_step_ahead_and_none_beyond_the_end() -> None:
    data = Numbered([0, 1])
    loader = Loader(data, 3, 6, CPU, PLAIN)
    first = loader.next()[0]
    while len(data.cut) < 2:
        time.sleep(0.001)
    assert data.cut == [(3, "loader_0"), (4, "loader_0")]
    loader.next()
    loader.next()
    loader.close()
    assert data.cut[2:] == [(5, "loader_0")]
    np.testing.assert_array_equal(first[0], data.crops(3)[0][0])


def test_a_layout_asked_for_is_that_of_the_batches() -> None:
    loader = Loader(Numbered([1, 2], 8, 8, 4), 0, 1, CPU, torch.channels_last)
    assert all(part.is_contiguous(memory_format=torch.channels_last) for part in loader.next())
    loader.close()


def test_methods_with_the_same_batch_and_patch_see_the_same_places_in_the_same_order(tmp_path: Path) -> None:
    """A network that takes one slice and one that is not augmented: order and turns are streams of their own."""
    pairs = random_pairs(tmp_path, (4, 48, 48), (3, 40, 52))
    turned = TrainingPairs(pairs, X2, recipe(8, 6, "dihedral"), 1, 0)
    plain = TrainingPairs(pairs, X2, recipe(8, 6, "none"), 1, 0)
    for step in range(5):
        for one, other in zip(turned.crops(step), plain.crops(step), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len({tuple(turned.turns(step)) for step in range(5)}) == 5


@given(seed=st.integers(0, 2**31 - 1), step=st.integers(0, 10**9))
def test_purposes_steps_and_seeds_give_streams_of_their_own(seed: int, step: int) -> None:
    purposes = ("init", "order", "augmentation", "step")
    found = {derive(s, purpose, k) for s in (seed, seed + 1) for purpose in purposes for k in (step, step + 1)}
    assert len(found) == 16
    assert all(0 <= number < 2**63 for number in found)
    assert stream(seed, "order", step).integers(2**62) == stream(seed, "order", step).integers(2**62)


def test_a_stream_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert derive(0, "init") == 8894892558018985708
    assert stream(1, "order", 2).integers(1000, size=4).tolist() == [291, 201, 27, 589]
