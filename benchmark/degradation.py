"""Degradations: how an HR volume becomes LR, and MATLAB-exact bicubic resizing, in numpy and in torch.

Bicubic is MATLAB's `imresize(…, 'bicubic')`: Keys' kernel with a = −0.5, stretched when shrinking (antialiasing),
pixel centres aligned by u = x/s + (1 − 1/s)/2, edges reflected symmetrically, weights normalised to 1, the axis with
the smaller scale first. A resize is linear and separable, so each axis is one small dense matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def keys_kernel(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = −0.5 (IEEE TASSP 1981, eq. 15); support [−2, 2]."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@lru_cache(maxsize=256)
def resize_matrix(n_in: int, n_out: int) -> np.ndarray:
    """The (n_out, n_in) float64 weights that resize one axis; every row sums to 1. Read-only."""
    scale = n_out / n_in
    stretch = max(1.0, 1.0 / scale)
    u = (np.arange(n_out) + 0.5) / scale - 0.5
    taps = math.ceil(4 * stretch) + 2
    index = np.floor(u - 2 * stretch).astype(int)[:, None] + np.arange(taps)
    weights = keys_kernel((u[:, None] - index) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    index = index % (2 * n_in)  # symmetric reflection: … 1 0 | 0 1 … n−1 | n−1 …
    index = np.where(index < n_in, index, 2 * n_in - 1 - index)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], index), weights)
    matrix.setflags(write=False)
    return matrix


def _axes_in_order(n_in: Sequence[int], n_out: Sequence[int]) -> list[int]:
    """The axes that change, the smaller scale first, counted from the end (−1 is the last)."""
    scales = [out / n for n, out in zip(n_in, n_out, strict=True)]
    order = sorted(range(len(scales)), key=lambda axis: scales[axis])
    return [axis - len(scales) for axis in order if n_in[axis] != n_out[axis]]


def bicubic(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize the last len(shape) axes of `array` to `shape`; float64 in, float64 out (float32 stays float32)."""
    for axis in _axes_in_order(array.shape[-len(shape) :], shape):
        matrix = resize_matrix(array.shape[axis], shape[axis]).astype(array.dtype, copy=False)
        array = np.moveaxis(np.moveaxis(array, axis, -1) @ matrix.T, -1, axis)
    return np.ascontiguousarray(array)


def bicubic_torch(tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """`bicubic` for tensors: differentiable, on the tensor's device and in its dtype."""
    import torch

    for axis in _axes_in_order(tensor.shape[-len(shape) :], shape):
        matrix = torch.tensor(resize_matrix(tensor.shape[axis], shape[axis]), dtype=tensor.dtype, device=tensor.device)
        tensor = (tensor.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return tensor


def _bicubic_down(volume: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    return bicubic(volume, [n // f for n, f in zip(volume.shape, factors, strict=True)])


DEGRADATIONS: dict[str, Callable[[np.ndarray, Sequence[int]], np.ndarray]] = {"bicubic": _bicubic_down}
"""Name in a protocol → function of (HR volume (D, H, W) float64, factors) giving LR (D, h, w) float64."""


def degrade(volume: np.ndarray, name: str, factors: Sequence[int]) -> np.ndarray:
    """The LR volume of a whole HR volume (D, H, W), computed in float64 and not rounded.

    Raises ValueError where the shape is not a multiple of the factors.
    """
    if any(n % f for n, f in zip(volume.shape, factors, strict=True)):
        raise ValueError(f"shape {volume.shape} is not a multiple of the factors {tuple(factors)}")
    return DEGRADATIONS[name](np.asarray(volume, np.float64), factors)
