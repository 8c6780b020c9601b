"""Training batches and validation crops, cut from prepared pairs. No sampler has a state: step k decides batch k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .ensemble import dihedral
from .method import Batch, Recipe
from .preparation import Pair


class TrainingPairs:
    """The training set of one cell (`method.TrainingSet`): every pair divided by its LR's intensity scale."""

    def __init__(self, pairs: Sequence[Pair], factors: Sequence[int], recipe: Recipe, slices: int, seed: int) -> None:
        self._pairs, self._factors, self._slices = list(pairs), tuple(factors), slices
        self._batch, self._augment, self._seed = recipe.batch, recipe.augment, seed
        self._side = min(recipe.lr_patch, *(side for pair in pairs for side in pair.lr.shape[1:]))
        depths = np.array([pair.lr.shape[0] - slices + 1 for pair in pairs])
        if depths.min() < 1:
            raise ValueError(f"a sample takes {slices} slices; the thinnest training volume has fewer")
        self._ends = np.cumsum(depths)

    def batch(self, step: int, rank: int = 0) -> Batch:
        """LR (B, d, p, p) and HR (B, d, s·p, s·p) float32: a pure function of (seed, step, rank).

        Every slice of the training set is equally likely, then every place in it.
        """
        key = np.array([self._seed, (rank << 48) | step], np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        samples = [self._sample(random) for _ in range(self._batch)]
        return np.stack([lr for lr, _ in samples]), np.stack([hr for _, hr in samples])

    def volumes(self) -> Iterator[Batch]:
        """Every training subject's whole (lr, hr)."""
        for pair in self._pairs:
            yield _normalised(pair, pair.lr), _normalised(pair, pair.hr)

    def _sample(self, random: np.random.Generator) -> Batch:
        place = int(random.integers(self._ends[-1]))
        index = int(np.searchsorted(self._ends, place, side="right"))
        pair = self._pairs[index]
        start = place - (int(self._ends[index - 1]) if index else 0)
        row, column = (int(random.integers(n - self._side + 1)) for n in pair.lr.shape[1:])
        lr, hr = _crop(pair, self._factors, (start, row, column), (self._slices, self._side, self._side))
        if self._augment == "dihedral":
            square = self._factors[1] == self._factors[2]  # else a transposed patch would have another HR shape
            turn = int(random.integers(8 if square else 4))
            lr, hr = dihedral(lr, turn), dihedral(hr, turn)
        return np.ascontiguousarray(lr), np.ascontiguousarray(hr)


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
            crops.append(_crop(pair, factors, (start, *corner), (slices, *size)))
    return crops


def _crop(pair: Pair, factors: Sequence[int], corner: Sequence[int], size: Sequence[int]) -> Batch:
    """The LR box at `corner` and the HR box of the same place, normalised."""
    lr = pair.lr[tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))]
    box = (slice(c * f, (c + n) * f) for c, n, f in zip(corner, size, factors, strict=True))
    return _normalised(pair, lr), _normalised(pair, pair.hr[tuple(box)])


def _normalised(pair: Pair, array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float32) / np.float32(pair.scale)
