"""Attention over the points and over the patch pyramid of a feature map, without a score matrix in memory.

Shapes are (B, C, h, w); N = h·w queries, L keys. Both blocks return the response alone: a caller adds its own residual.
Sources: Wang et al., Non-local neural networks, CVPR 2018; Mei et al., Pyramid attention networks for image
restoration (PANet), arXiv:2004.13824 (constants that the paper leaves open: its released SR module);
Hu et al., POAN, ICME 2021, equations 1-4, for their use here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrsr_bench.methods._blocks import at_least_float32, conv, full_precision
from mrsr_bench.methods._patch_attention import flat, patch_attention


class PointAttention(nn.Module):
    """Embedded-Gaussian non-local response of every pixel to all pixels (POAN, equations 1 and 2).

    softmax(θ(x) φ(x)ᵀ) g(x) with 1×1 convolutions C → C/reduction, then a 1×1 convolution back to C. The softmax is
    the only exponential: with equation 2 read literally, exp(exp(·)) overflows float32.
    """

    def __init__(self, channels: int, reduction: int = 2) -> None:
        super().__init__()
        inner = channels // reduction
        self.query, self.key, self.value = (conv(channels, inner, 1) for _ in range(3))
        self.out = conv(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (_rows(layer(x).flatten(2))[:, None] for layer in (self.query, self.key, self.value))
        response = F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0]
        return self.out(response.transpose(1, 2).unflatten(2, x.shape[2:]))


Fusion = Literal["joint", "per_level"]
_OVERLAP = 4
"""What the sum of overlapping patches is divided by: PANet's constant (inside, nine patches overlap)."""
_LEAST_NORM = 1e-4
"""Bound below the norm of a key's patch, as in PANet: an all-zero patch stays finite."""


class PyramidAttention(nn.Module):
    """Cross-scale 3×3 patch attention over a pyramid of the features (PANet; POAN, equations 3 and 4).

    joint: every query patch of x is compared with the patches of all `levels` (bicubic reductions of x, without
    antialiasing) in one softmax, and gives (B, C, h, w). per_level, equation 4 to the letter: every level attends to
    itself, and the levels' responses, brought back to h × w, stand side by side, (B, C · levels, h, w).

    The value patches attended to are added up where they overlap and divided by 4. Keys are divided by
    max(‖patch‖, 1e-4), queries are not; scores are multiplied by `softmax_scale`.
    """

    def __init__(
        self,
        channels: int,
        levels: Sequence[float],
        reduction: int = 2,
        fusion: Fusion = "joint",
        softmax_scale: float = 10.0,
    ) -> None:
        super().__init__()
        if channels % reduction:
            raise ValueError(f"{channels} channels are not a multiple of the reduction {reduction}")
        inner = channels // reduction
        self.levels, self.fusion, self.softmax_scale = tuple(levels), fusion, softmax_scale
        self.query = nn.Sequential(conv(channels, inner, 1), nn.PReLU())
        self.key = nn.Sequential(conv(channels, inner, 1), nn.PReLU())
        self.value = nn.Sequential(conv(channels, channels, 1), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [_reduced(x, level) for level in self.levels]
        if self.fusion == "joint":
            return self._attend(x, pyramid)
        size = x.shape[2:]
        responses = [self._attend(level, [level]) for level in pyramid]
        return torch.cat([r if r.shape[2:] == size else F.interpolate(r, size, mode="bicubic") for r in responses], 1)

    def _attend(self, x: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        query, keys, values = self.query(x), [self.key(y) for y in pyramid], [self.value(y) for y in pyramid]
        attend = fused_patch_attention if x.is_cuda else streamed_patch_attention
        return attend(query, keys, values, self.softmax_scale) / _OVERLAP


def streamed_patch_attention(
    query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], softmax_scale: float
) -> Tensor:
    """Sum of the value patches (B, V, h, w) that query (B, E, h, w) attends to among the levels' keys and values.

    In float32 at least, whatever autocast says.
    """
    with full_precision(query):
        query, keys, values = at_least_float32(query), *([at_least_float32(x) for x in xs] for xs in (keys, values))
        squares = [F.avg_pool2d((x * x).sum(1, keepdim=True), 3, 1, 1, divisor_override=1) for x in keys]
        factor = flat([softmax_scale / x.clamp_min(_LEAST_NORM**2).sqrt() for x in squares])[:, 0]
        return patch_attention(query, flat(keys), flat(values), factor, [x.shape[2:] for x in keys])


def fused_patch_attention(
    query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], softmax_scale: float
) -> Tensor:
    """`streamed_patch_attention` by torch's fused kernels, which CUDA has: nine times the arithmetic."""
    rows = _rows(_patches(query))  # (B, N, 9·E)
    key = _rows(torch.cat([_normalised(_patches(x)) for x in keys], 2))  # (B, L, 9·E)
    value = _rows(torch.cat([_patches(x) for x in values], 2))  # (B, L, 9·V)
    # The kernels that keep no scores want one head size for queries, keys and values, so longer values become several
    # heads that share queries and keys.
    reduction = value.shape[2] // key.shape[2]
    heads = value.unflatten(2, (reduction, -1)).transpose(1, 2)  # (B, V/E, L, 9·E)
    rows, key = (x[:, None].expand(-1, reduction, -1, -1) for x in (rows, key))
    response = F.scaled_dot_product_attention(rows, key, heads, scale=softmax_scale)  # (B, V/E, N, 9·E)
    columns = at_least_float32(response).transpose(2, 3).flatten(1, 2)  # (B, 9·V, N)
    return F.fold(columns, query.shape[2:], kernel_size=3, padding=1)


def _reduced(x: Tensor, level: float) -> Tensor:
    """Rows and columns × `level`, rounded down but at least 1. torch's bicubic here is a = −0.75, not antialiased.

    Passing the factor, not the size, matters: torch then samples at multiples of 1/level exactly.
    """
    if level == 1:
        return x
    size = [int(n * level) for n in x.shape[2:]]
    if min(size) > 0:
        return F.interpolate(x, scale_factor=level, mode="bicubic")
    return F.interpolate(x, size=[max(n, 1) for n in size], mode="bicubic")


def _patches(x: Tensor) -> Tensor:
    """The 3×3 patch around every pixel, zero outside: (B, C, h, w) to (B, 9·C, h·w)."""
    return F.unfold(x, kernel_size=3, padding=1)


def _normalised(patches: Tensor) -> Tensor:
    """Each patch over its Euclidean norm, in float32 at least; finite, also in the gradient, for an all-zero patch."""
    patches = at_least_float32(patches)
    return patches / torch.linalg.vector_norm(patches, dim=1, keepdim=True).clamp_min(_LEAST_NORM)


def _rows(columns: Tensor) -> Tensor:
    """(B, E, n) to (B, n, E) with E contiguous, without which torch silently forms the whole score matrix."""
    return columns.transpose(1, 2).contiguous()
