"""Hashes of voxels' neighbourhoods, which do not change with a crop, a turn, a flip or another intensity scale.

Intensities become integers first (`as_integers`). A voxel's hash is over the differences to its 26 neighbours, the
6 faces, 12 edges and 8 corners each as an unordered set: the 48 signed permutations of the axes leave it as it is, and
so does a constant added. Voxels are sampled by the value of such sums, so a crop samples the same ones as its source.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_WIDEST = 1 << 26
"""A range of more grid steps than this is no grid of stored integers; sums of 27 values stay in 32 bits."""
NOWHERE = -(1 << 30)
"""Stands for voxels outside a volume: no value of an `IntegerVolume`, nor one less or more than the widest range."""
_NEIGHBOURS = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]
_LEVELS = 10
"""Different values among a voxel's neighbours below which it is no feature: air's noise looks alike in all volumes."""
_BATCH = 1 << 14


@dataclass(frozen=True)
class IntegerVolume:
    """A volume as integers: array = values × step + offset, the smallest value being 0."""

    values: np.ndarray
    """int32, the array's shape."""
    step: float
    offset: float


def as_integers(array: np.ndarray) -> IntegerVolume | None:
    """The volume on the coarsest grid that holds all its values; None where it is constant or on no such grid.

    Float data may be integers times a constant, plus another: the constant is found from the gaps between values.
    """
    if array.dtype.kind in "biu":
        low = int(array.min())
        steps = np.asarray(array, np.int64) - low
        if not 0 < steps.max() < _WIDEST:
            return None
        step = int(np.gcd.reduce(np.flatnonzero(np.bincount(steps.ravel()))))
        return IntegerVolume((steps // step).astype(np.int32), float(step), float(low))
    values = np.unique(array).astype(np.float64)
    size = _step(values - values[0])
    if size is None:
        return None
    steps = np.rint((np.asarray(array, np.float64) - values[0]) / size).astype(np.int32)
    return IntegerVolume(steps, size, float(values[0]))


def _step(values: np.ndarray) -> float | None:
    """The step of which all of these sorted values, the first 0, are multiples up to float32's precision."""
    gaps = np.diff(values)
    gaps = gaps[gaps > 2e-6 * values[-1]]  # smaller ones are rounding: int16 has 65536 steps
    if not gaps.size:
        return None
    for part in (1, 2, 3, 4):  # the smallest gap may be a multiple of the step
        step = float(gaps.min()) / part
        if values[-1] / step >= _WIDEST:
            return None
        reach = 64.0
        while reach < 4 * values[-1] / step:  # each round is exact enough to count the steps of the next
            near = values[values <= reach * step]
            count = np.rint(near / step)
            step = float(near @ count / (count @ count)) if count.any() else step
            reach *= 4
        if np.abs(values / step - np.rint(values / step)).max() < 0.1:
            return step
    return None


@dataclass(frozen=True)
class Fingerprint:
    """The sampled voxels of one volume whose hash appears once in it."""

    hashes: np.ndarray
    """(n,) uint64, sorted."""
    positions: np.ndarray
    """(n, 3) int32, indices of the voxels."""


def fingerprint(values: np.ndarray, every: int) -> Fingerprint:
    """Sample about one in `every` interior voxels of an int32 volume, by what is around them, and hash them."""
    if min(values.shape) < 3:
        return Fingerprint(np.zeros(0, np.uint64), np.zeros((0, 3), np.int32))
    volume = np.ascontiguousarray(values)
    faces, corners = _neighbour_sums(volume, 1), _neighbour_sums(volume, 3)
    key = faces.view(np.uint32) * np.uint32(0x9E3779B1) ^ corners.view(np.uint32) * np.uint32(0x85EBCA77)
    key = (key ^ key >> np.uint32(15)) * np.uint32(0x2C1B3C6D)
    chosen = ((key ^ key >> np.uint32(13)) % np.uint32(every) == 0) & ((faces != 0) | (corners != 0))
    positions = np.argwhere(chosen) + 1
    hashes, varied = _hashed(volume, positions)
    hashes, positions = hashes[varied], positions[varied]
    hashes, first, times = np.unique(hashes, return_index=True, return_counts=True)
    return Fingerprint(hashes[times == 1], positions[first[times == 1]].astype(np.int32))


def _neighbour_sums(volume: np.ndarray, kind: int) -> np.ndarray:
    """For every interior voxel, the sum over its faces (1), edges (2) or corners (3) of their difference to it."""
    inner = [slice(1, n - 1) for n in volume.shape]
    total = np.zeros([n - 2 for n in volume.shape], np.int32)
    for step in _NEIGHBOURS:
        if np.abs(step).sum() == kind:
            total += volume[tuple(slice(s.start + d, s.stop + d) for s, d in zip(inner, step, strict=True))]
            total -= volume[tuple(inner)]
    return total


def _hashed(volume: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hash of every position's neighbourhood, and whether it is varied enough to tell places apart."""
    strides = np.array([volume.shape[1] * volume.shape[2], volume.shape[2], 1])
    flat, centres = volume.ravel(), positions @ strides
    offsets = np.array(_NEIGHBOURS) @ strides
    orbits = np.abs(_NEIGHBOURS).sum(axis=1)
    hashes, varied = np.zeros(len(positions), np.uint64), np.zeros(len(positions), bool)
    for start in range(0, len(positions), _BATCH):
        batch = slice(start, start + _BATCH)
        centre = centres[batch, None]
        differences = (flat[centre + offsets] - flat[centre]).astype(np.int64)
        mixed = _mixed(differences.view(np.uint64))
        for orbit in (1, 2, 3):
            hashes[batch] = _mixed(hashes[batch] + mixed[:, orbits == orbit].sum(axis=1))
        levels = 1 + np.count_nonzero(np.diff(np.sort(differences, axis=1), axis=1), axis=1)
        varied[batch] = levels >= _LEVELS
    return hashes, varied


def _mixed(bits: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits in which every bit depends on all (the finaliser of splitmix64, other constants' sum)."""
    bits = (bits + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ bits >> np.uint64(31))


@dataclass(frozen=True)
class CropPosition:
    """Where a crop lies in its source: crop index i is source index sign·i + start along the source's axis axes[…]."""

    axes: tuple[int, int, int]
    """The source's axis that each of the crop's axes runs along."""
    signs: tuple[int, int, int]
    """−1 where a crop's axis runs backwards."""
    origin: tuple[int, int, int]
    """The source index of the crop's first voxel, by the crop's axes."""

    @property
    def codes(self) -> str:
        """The direction that each of the crop's axes grows towards, in a source in RAS: 'PSR', for example."""
        return "".join(
            "RAS"[axis] if sign > 0 else "LPI"[axis] for axis, sign in zip(self.axes, self.signs, strict=True)
        )

    def start(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The first source index of a crop of `shape`, by the source's axes (R, A, S)."""
        first = {
            axis: origin if sign > 0 else origin - n + 1
            for axis, sign, origin, n in zip(self.axes, self.signs, self.origin, shape, strict=True)
        }
        return first[0], first[1], first[2]

    def cut(self, source: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The crop of `shape` out of `source`, with the crop's axes; NOWHERE where it reaches beyond."""
        start, size = self.start(shape), dict(zip(self.axes, shape, strict=True))
        padding = [(max(0, -start[a]), max(0, start[a] + size[a] - source.shape[a])) for a in range(3)]
        if np.any(padding):
            source = np.pad(source, padding, constant_values=NOWHERE)
        first = [start[a] + padding[a][0] for a in range(3)]
        window = source[tuple(slice(first[a], first[a] + size[a]) for a in range(3))].transpose(self.axes)
        return window[tuple(slice(None, None, sign) for sign in self.signs)]


def _orientations() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    return itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))


def locate(crop: np.ndarray, source: np.ndarray) -> tuple[CropPosition, np.ndarray]:
    """The crop position that most of the paired voxels (n, 3) agree on, and which pairs do, (n,) bool.

    Every orientation is tried on a sample of the pairs; the best is then counted on all.
    """
    sample = slice(None, None, max(1, len(crop) // 256))
    most, position = 0, CropPosition((0, 1, 2), (1, 1, 1), (0, 0, 0))
    for axes, signs in _orientations():
        origins, votes = np.unique(source[sample][:, axes] - crop[sample] * signs, axis=0, return_counts=True)
        if votes.max() > most:
            most, origin = int(votes.max()), origins[votes.argmax()]
            position = CropPosition(axes, signs, tuple(int(o) for o in origin))  # type: ignore[arg-type]
    agree = (source[:, position.axes] - crop * position.signs == position.origin).all(axis=1)
    return position, agree
