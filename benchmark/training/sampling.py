"""Training batches and validation crops, cut from prepared pairs. No sampler has a state: step k decides batch k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..data.pairs import Pair
from ..method import Batch, Recipe
from .random_streams import stream
from .symmetries import dihedral


class TrainingPairs:
    """The training set of one cell (`method.TrainingSet`): every pair divided by its LR's intensity scale."""

    def __init__(self, pairs: Sequence[Pair], factors: Sequence[int], recipe: Recipe, slices: int, seed: int) -> None:
        self._pairs, self._factors, self._slices = list(pairs), tuple(factors), slices
        self._batch, self._augment, self._seed = recipe.batch, recipe.augment, seed
        self._side = min(recipe.lr_patch, *(side for pair in pairs for side in pair.lr.shape[1:]))
        depths = np.array([pair.lr.shape[0] - slices + 1 for pair in pairs])
        if depths.min() < 1:
            raise ValueError(f"a sample takes {slices} slices; the thinnest training volume has fewer")
        self._starts = np.cumsum(depths) - depths
        self._total_slices = int(depths.sum())
        self._room = np.array([pair.lr.shape[1:] for pair in pairs]) - self._side + 1

    def crops(self, step: int) -> Batch:
        """LR (B, d, p, p) and HR (B, d, s·p, s·p) float32 as they lie in the volumes: a function of (seed, step).

        Every slice of the training set is equally likely, then every place in it.
        """
        random = stream(self._seed, "order", step)
        places = random.integers(self._total_slices, size=self._batch)
        indices = np.searchsorted(self._starts, places, side="right") - 1
        corners = random.integers(self._room[indices])
        lr, hr = _empty((self._slices, self._side, self._side), self._factors, self._batch)
        for number, index in enumerate(indices):
            corner = places[number] - self._starts[index], *corners[number]
            _cut(self._pairs[index], self._factors, corner, lr[number], hr[number])
        return lr, hr

    def turns(self, step: int) -> np.ndarray:
        """The symmetry (`symmetries.dihedral`) of each of the step's samples, (B,) int64: of (seed, step) alone."""
        if self._augment == "none":
            return np.zeros(self._batch, np.int64)
        square = self._factors[1] == self._factors[2]  # else a transposed patch would have another HR shape
        return stream(self._seed, "augmentation", step).integers(8 if square else 4, size=self._batch)

    def batch(self, step: int) -> Batch:
        """The step's crops, each with its turn."""
        turns = self.turns(step)
        lr, hr = (
            np.stack([dihedral(patch, turn) for patch, turn in zip(patches, turns, strict=True)])
            for patches in self.crops(step)
        )
        return lr, hr

    def volumes(self) -> Iterator[Batch]:
        """Every training subject's whole (lr, hr)."""
        for pair in self._pairs:
            yield _normalised(pair, pair.lr), _normalised(pair, pair.hr)


def validation_crops(
    pairs: Sequence[Pair], factors: Sequence[int], patches: int, lr_patch: int, slices: int
) -> list[Batch]:
    """At most `patches` centre crops (lr, hr), subjects in turn, slices spread evenly: the same for all methods."""
    rounds = -(-patches // len(pairs))
    crops: list[Batch] = []
    for turn in range(rounds):
        for pair in pairs:
            depth = pair.lr.shape[0] - slices + 1
            if turn >= depth or len(crops) == patches:
                continue
            start = int((turn + 0.5) * depth / min(rounds, depth))
            size = tuple(min(lr_patch, n) for n in pair.lr.shape[1:])
            corner = [(n - p) // 2 for n, p in zip(pair.lr.shape[1:], size, strict=True)]
            lr, hr = _empty((slices, *size), factors, 1)
            _cut(pair, factors, (start, *corner), lr[0], hr[0])
            crops.append((lr[0], hr[0]))
    return crops


def _empty(size: Sequence[int], factors: Sequence[int], number: int) -> Batch:
    """Room for `number` LR boxes of `size` and the HR boxes of the same places."""
    enlarged = [n * f for n, f in zip(size, factors, strict=True)]
    return np.empty((number, *size), np.float32), np.empty((number, *enlarged), np.float32)


def _cut(pair: Pair, factors: Sequence[int], corner: Sequence[int], lr: np.ndarray, hr: np.ndarray) -> None:
    """Fill `lr` and `hr` from the LR voxel `corner` and its HR voxel on, normalised."""
    starts = [c * f for c, f in zip(corner, factors, strict=True)]
    for source, start, target in ((pair.lr, corner, lr), (pair.hr, starts, hr)):
        box = tuple(slice(first, first + n) for first, n in zip(start, target.shape, strict=True))
        np.divide(source[box], np.float32(pair.scale), out=target, dtype=np.float32, casting="unsafe")


def _normalised(pair: Pair, array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float32) / np.float32(pair.scale)
