"""How a network upscales a volume: in tiles or in one piece, one sample or several at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mrsr_bench import inference
from mrsr_bench.inference import enlarge, spans
from mrsr_bench.method import Scan, Task
from mrsr_bench.registry import load_method, methods

pytestmark = pytest.mark.usefixtures("one_thread")

MODEST = settings(max_examples=60, deadline=None)


class Local(nn.Module):
    """Sees `reach` pixels around each; s·s copies of the mean there. Notes the shapes that it gets."""

    def __init__(self, scale: int, reach: int) -> None:
        super().__init__()
        self.scale, self.reach, self.seen = scale, reach, list[tuple[int, ...]]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        side = 2 * self.reach + 1
        mean = nn.functional.avg_pool2d(x, side, 1, self.reach, count_include_pad=False)
        return nn.functional.interpolate(mean, scale_factor=self.scale, mode="nearest")


class Global(nn.Module):
    """Subtracts the mean of all that it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x - x.mean((2, 3), keepdim=True), scale_factor=2)


def random(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32))


@given(length=st.integers(1, 400), side=st.integers(8, 96), data=st.data())
def test_the_tiles_of_an_axis_own_every_pixel_once_and_overlap_as_asked(length: int, side: int, data: Any) -> None:
    overlap = data.draw(st.integers(0, side // 2))
    found = list(spans(length, side, overlap))
    inside = min(side, length)
    assert [pixel for _, first, end in found for pixel in range(first, end)] == list(range(length))
    for start, first, end in found:
        assert 0 <= start <= first < end <= start + inside <= length
    for (before, _, end), (after, first, _) in pairwise(found):
        assert end == first
        assert before + inside - after >= overlap
        if overlap:  # what a pixel sees on either side is at least half of the overlap, but for one pixel
            assert min(before + inside - end, first - after) >= (overlap - 1) // 2


@given(length=st.integers(1, 400), side=st.integers(8, 96), data=st.data())
def test_no_fewer_tiles_would_do(length: int, side: int, data: Any) -> None:
    overlap = data.draw(st.integers(0, side // 2))
    number = len(list(spans(length, side, overlap)))
    reach_of_one_less = (number - 1) * (side - overlap) + overlap
    assert number == 1 or reach_of_one_less < length


@MODEST
@given(
    rows=st.integers(4, 50),
    columns=st.integers(4, 50),
    scale=st.integers(2, 4),
    side=st.integers(8, 24),
    overlap=st.integers(2, 4),
)
def test_where_the_overlap_covers_what_a_network_sees_tiles_change_nothing(
    rows: int, columns: int, scale: int, side: int, overlap: int
) -> None:
    network, samples = Local(scale, (overlap - 1) // 2), random(2, 1, rows, columns)
    whole = enlarge(network, samples, scale, "cpu", None)
    assert whole.shape == (2, 1, scale * rows, scale * columns)
    torch.testing.assert_close(enlarge(network, samples, scale, "cpu", (side, overlap)), whole, rtol=0, atol=1e-6)


def test_a_network_that_looks_at_everything_sees_another_thing_in_a_tile() -> None:
    samples = random(1, 1, 32, 32)
    whole = enlarge(Global(), samples, 2, "cpu", None)
    tiles = enlarge(Global(), samples, 2, "cpu", (16, 0))
    for top in (0, 16):
        for left in (0, 16):
            tile = Global()(samples[..., top : top + 16, left : left + 16])
            torch.testing.assert_close(tiles[..., 2 * top : 2 * top + 32, 2 * left : 2 * left + 32], tile)
    assert (tiles - whole).abs().max() > 1e-3


def test_samples_go_in_together_up_to_a_bound_and_each_gives_what_it_gives_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inference, "_PIXELS", 3 * 20 * 20 + 1)
    network, samples = Local(2, 1), random(7, 1, 20, 20)
    together = enlarge(network, samples, 2, "cpu", None)
    assert [shape[0] for shape in network.seen] == [3, 3, 1]
    alone = torch.cat([enlarge(network, sample[None], 2, "cpu", None) for sample in samples])
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    monkeypatch.setattr(inference, "_PIXELS", 1)
    assert enlarge(network, samples, 2, "cpu", None).shape == (7, 1, 40, 40)


@pytest.mark.parametrize("name", ["srcnn", "vdsr", "edsr", "rdn", "csn", "poan"])
def test_every_network_takes_tiles(name: str) -> None:
    method = load_method(methods([])[name])("tiny")
    torch.manual_seed(0)
    method.network = method.build(Task((1, 2, 2)))
    scan = Scan(random(2, 20, 28).numpy() * 900, (1.0, 1.0, 1.0), "T1")
    whole = method.upscale(scan, Task((1, 2, 2)))
    tiles = method.upscale(scan, Task((1, 2, 2), tiles=(16, 8)))
    assert tiles.shape == whole.shape == (2, 40, 56)
    assert np.isfinite(tiles).all()
    same = method.upscale(scan, Task((1, 2, 2), tiles=(28, 8)))
    np.testing.assert_allclose(same, whole, rtol=1e-5, atol=1e-3)
