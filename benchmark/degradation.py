"""Degradations, which make LR from an HR volume, and the resizers that enlarge it again, in numpy and in torch.

All of them are linear and separable: each axis is one small dense matrix (LR voxels × HR voxels). The centre of LR
voxel j lies at u = s·j + (s − 1)/2 in HR voxels, for every degradation, so that no image is shifted. With the option
`shifted` it lies at u = s·j: the mistake of decimation and of resizers that put the first voxels of both grids in one
place, which moves the image by (s − 1)/2 HR voxels, half a voxel at s = 2. It is for negative controls alone.

Bicubic is MATLAB's `imresize(…, 'bicubic')`: Keys' kernel with a = −0.5, stretched when shrinking (antialiasing),
pixel centres aligned by u = x/s + (1 − 1/s)/2, edges reflected symmetrically, weights normalised to 1, the axis with
the smaller scale first.

Truncation keeps the frequencies |k| < m/2 of an axis with n = s·m voxels. The unpaired Nyquist line of an even m is
zeroed, since with it LR would not be flip-equivariant. The DFT of a magnitude image is not acquired k-space: its phase
is lost, and a crop's edges wrap around.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch

Kernel = Callable[[np.ndarray], np.ndarray]
_FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian with sigma 1."""


def keys_kernel(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = −0.5 (IEEE TASSP 1981, eq. 15); support [−2, 2]."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _sampled(n_in: int, n_out: int, kernel: Kernel, radius: float, shifted: bool) -> np.ndarray:
    """The (n_out, n_in) weights of `kernel`, of support ±`radius` input voxels, at the output voxels' centres."""
    scale = n_in / n_out
    u = np.arange(n_out) * scale if shifted else (np.arange(n_out) + 0.5) * scale - 0.5
    index = np.floor(u - radius).astype(int)[:, None] + np.arange(math.ceil(2 * radius) + 2)
    weights = kernel(u[:, None] - index)
    weights /= weights.sum(axis=1, keepdims=True)
    index = index % (2 * n_in)  # symmetric reflection: … 1 0 | 0 1 … n−1 | n−1 …
    index = np.where(index < n_in, index, 2 * n_in - 1 - index)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], index), weights)
    return matrix


@lru_cache(maxsize=256)
def resize_matrix(n_in: int, n_out: int, shifted: bool = False) -> np.ndarray:
    """The (n_out, n_in) float64 weights of bicubic along one axis; every row sums to 1. Read-only."""
    stretch = max(1.0, n_in / n_out)
    return _fixed(_sampled(n_in, n_out, lambda x: keys_kernel(x / stretch), 2 * stretch, shifted))


@lru_cache(maxsize=256)
def gaussian_matrix(n_in: int, n_out: int, fwhm: float, shifted: bool = False) -> np.ndarray:
    """The (n_out, n_in) weights of a Gaussian blur, `fwhm` in output voxels, taken at the output voxels' centres."""
    sigma = fwhm / _FWHM * n_in / n_out
    radius = max(4 * sigma, 0.5)  # half a voxel: below it, no voxel might lie within

    def kernel(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) <= radius, np.exp(-0.5 * (x / sigma) ** 2), 0.0)

    return _fixed(_sampled(n_in, n_out, kernel, radius, shifted))


@lru_cache(maxsize=256)
def truncation_matrix(n_in: int, n_out: int, n_kept: int, shifted: bool = False) -> np.ndarray:
    """The (n_out, n_in) weights that keep the frequencies |k| < n_kept/2 of n_in voxels and sample them at n_out.

    The DFT, its truncation, the ramp that places the samples at the output voxels' centres and the inverse DFT in one
    real matrix: W[j, i] = 1/n_in Σ_k cos(2πk·x/n_in) with x = u_j − i, which is Dirichlet's kernel
    sin(πm·x/n_in) / (n_in · sin(πx/n_in)) for the m = 2·⌈n_kept/2⌉ − 1 frequencies.
    """
    frequencies = 2 * ((n_kept - 1) // 2) + 1
    # x in units of 1/(2·n_out): integers, from which whole periods are taken off without any error.
    period = 2 * n_out * n_in
    x = (2 * np.arange(n_out) + 1)[:, None] * n_in - n_out * (2 * np.arange(n_in) + 1)
    x -= (n_in - n_out) * shifted
    x = (x + period // 2) % period - period // 2
    turned = (frequencies * x + period) % (2 * period) - period
    numerator, denominator = np.sin(np.pi / period * turned), n_in * np.sin(np.pi / period * x)
    at_voxel = np.full(x.shape, frequencies / n_in)
    return _fixed(np.divide(numerator, denominator, out=at_voxel, where=x != 0))


def _fixed(matrix: np.ndarray) -> np.ndarray:
    matrix.setflags(write=False)
    return matrix


def _apply(array: np.ndarray, shape: Sequence[int], matrix: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """Multiply each axis that `shape` changes by matrix(n_in, n_out), the axis with the smaller scale first."""
    for axis in _axes_in_order(array.shape[-len(shape) :], shape):
        weights = matrix(array.shape[axis], shape[axis]).astype(array.dtype, copy=False)
        array = np.moveaxis(np.moveaxis(array, axis, -1) @ weights.T, -1, axis)
    return np.ascontiguousarray(array)


def _axes_in_order(n_in: Sequence[int], n_out: Sequence[int]) -> list[int]:
    """The axes that change, the smaller scale first, counted from the end (−1 is the last)."""
    scales = [out / n for n, out in zip(n_in, n_out, strict=True)]
    order = sorted(range(len(scales)), key=lambda axis: scales[axis])
    return [axis - len(scales) for axis in order if n_in[axis] != n_out[axis]]


def bicubic(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize the last len(shape) axes of `array` to `shape`; float64 in, float64 out (float32 stays float32)."""
    return _apply(array, shape, resize_matrix)


def zero_fill(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Enlarge the last len(shape) axes by filling their DFT with zeros: the adjoint of `kspace`, times the factors."""
    return _apply(array, shape, lambda n_in, n_out: truncation_matrix(n_in, n_out, n_in))


def bicubic_torch(tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """`bicubic` for tensors: differentiable, on the tensor's device and in its dtype, also under autocast."""
    import torch

    kind = tensor.device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        for axis in _axes_in_order(tensor.shape[-len(shape) :], shape):
            weights = resize_matrix(tensor.shape[axis], shape[axis])
            matrix = torch.tensor(weights, dtype=tensor.dtype, device=tensor.device)
            tensor = (tensor.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return tensor


class Degradation(BaseModel):
    """One way to make LR: its settings are the fields, as a protocol's `options` gives them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shifted: bool = Field(False, strict=True)
    """LR's voxel centres lie at u = s·j: a negative control."""

    @abstractmethod
    def matrix(self, n_in: int, n_out: int) -> np.ndarray:
        """The (n_out, n_in) float64 weights of an axis that is degraded; together the axes are the linear part."""

    @property
    def linear(self) -> bool:
        """Whether LR is the product of the HR volume and the axes' matrices, and nothing else."""
        return True

    def __call__(self, volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """LR of `shape` from an HR volume, float64; every axis of `shape` divides that of the volume."""
        return _apply(volume, shape, self.matrix)


class BicubicDegradation(Degradation):
    """MATLAB's bicubic, antialiased: the published "BD"."""

    def matrix(self, n_in: int, n_out: int) -> np.ndarray:
        return resize_matrix(n_in, n_out, self.shifted)


class _TruncationDegradation(Degradation):
    part: Literal["real", "magnitude"] = "real"
    """real keeps the ringing around dark pixels with its sign; magnitude rectifies it, which raises the mean."""

    @property
    def linear(self) -> bool:
        return self.part == "real"

    def _part(self, volume: np.ndarray) -> np.ndarray:
        return np.abs(volume) if self.part == "magnitude" else volume


class KspaceDegradation(_TruncationDegradation):
    """The frequencies below the LR grid's Nyquist frequency and no others, at LR's voxel centres."""

    def matrix(self, n_in: int, n_out: int) -> np.ndarray:
        return truncation_matrix(n_in, n_out, n_out, self.shifted)

    def __call__(self, volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        return self._part(super().__call__(volume, shape))


class TruncationCsnDegradation(_TruncationDegradation):
    """Truncation, filled with zeros to the full size, then MATLAB's bicubic: for the published "TD" figures.

    Their recipe is not printed. This is the one, of about a dozen tried, whose bicubic row differs from that of
    bicubic degradation by the published sign and size, with either part.
    """

    def matrix(self, n_in: int, n_out: int) -> np.ndarray:
        return resize_matrix(n_in, n_out, self.shifted) @ truncation_matrix(n_in, n_in, n_out)

    def __call__(self, volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        low = _apply(volume, shape, lambda n_in, n_out: truncation_matrix(n_in, n_in, n_out))
        return _apply(self._part(low), shape, lambda n_in, n_out: resize_matrix(n_in, n_out, self.shifted))


class GaussianDegradation(Degradation):
    """A Gaussian blur and decimation, both at LR's voxel centres; edges reflected symmetrically."""

    fwhm: float = Field(1.0, ge=0.1)
    """Full width at half maximum, in LR voxels."""

    def matrix(self, n_in: int, n_out: int) -> np.ndarray:
        return gaussian_matrix(n_in, n_out, self.fwhm, self.shifted)


DEGRADATIONS: dict[str, type[Degradation]] = {
    "bicubic": BicubicDegradation,
    "kspace": KspaceDegradation,
    "truncation_csn": TruncationCsnDegradation,
    "gaussian": GaussianDegradation,
}
"""Name in a protocol → its settings and its function of (HR volume (D, H, W) float64, LR shape)."""


def degrade(volume: np.ndarray, name: str, factors: Sequence[int], **options: Any) -> np.ndarray:
    """The LR volume of a whole HR volume (D, H, W), computed in float64, without noise and not rounded.

    Raises ValueError where the shape is not a multiple of the factors.
    """
    if any(n % f for n, f in zip(volume.shape, factors, strict=True)):
        raise ValueError(f"shape {volume.shape} is not a multiple of the factors {tuple(factors)}")
    shape = [n // f for n, f in zip(volume.shape, factors, strict=True)]
    return DEGRADATIONS[name](**options)(np.asarray(volume, np.float64), shape)


def add_rician(volume: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """The magnitude of `volume` plus complex Gaussian noise of standard deviation `sigma` in each part."""
    real, imaginary = np.random.default_rng(seed).normal(0.0, sigma, (2, *volume.shape))
    return np.hypot(volume + real, imaginary)
