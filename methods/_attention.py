"""Attention over the points and over the patch pyramid of a feature map, without a score matrix in memory.

Shapes are (B, C, h, w); N = h·w queries, L keys. Both blocks return the response alone: a caller adds its own residual.
Sources: Wang et al., Non-local neural networks, CVPR 2018; Mei et al., Pyramid attention networks for image
restoration (PANet), arXiv:2004.13824 (constants that the paper leaves open: its released SR module);
Hu et al., POAN, ICME 2021, equations 1-4, for their use here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrsr_bench.methods._blocks import at_least_float32, conv


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


class PyramidAttention(nn.Module):
    """Cross-scale 3×3 patch attention over a pyramid of the features (PANet; POAN, equations 3 and 4).

    Every query patch of x is compared with the patches of all `levels` (bicubic reductions of x, without
    antialiasing) in one softmax; the value patches it attends to are added up where they overlap, and divided by 4.
    Keys are divided by max(‖patch‖, 1e-4), queries are not; scores are multiplied by `softmax_scale`.
    """

    def __init__(self, channels: int, levels: Sequence[float], reduction: int = 2, softmax_scale: float = 10.0) -> None:
        super().__init__()
        if channels % reduction:
            raise ValueError(f"{channels} channels are not a multiple of the reduction {reduction}")
        inner = channels // reduction
        self.levels, self.reduction, self.softmax_scale = tuple(levels), reduction, softmax_scale
        self.query = nn.Sequential(conv(channels, inner, 1), nn.PReLU())
        self.key = nn.Sequential(conv(channels, inner, 1), nn.PReLU())
        self.value = nn.Sequential(conv(channels, channels, 1), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [_reduced(x, level) for level in self.levels]
        query = _rows(_patches(self.query(x)))  # (B, N, 9·C/r)
        key = _rows(torch.cat([_normalised(_patches(self.key(level))) for level in pyramid], 2))  # (B, L, 9·C/r)
        value = _rows(torch.cat([_patches(self.value(level)) for level in pyramid], 2))  # (B, L, 9·C)
        # torch's CPU kernel that keeps no scores wants one head size for queries, keys and values, so the r times
        # longer values become r heads that share queries and keys: quicker here than padding those with zeros.
        heads = value.unflatten(2, (self.reduction, -1)).transpose(1, 2)  # (B, r, L, 9·C/r)
        query, key = (rows[:, None].expand(-1, self.reduction, -1, -1) for rows in (query, key))
        response = F.scaled_dot_product_attention(query, key, heads, scale=self.softmax_scale)  # (B, r, N, 9·C/r)
        columns = at_least_float32(response).transpose(2, 3).flatten(1, 2)  # (B, 9·C, N)
        return F.fold(columns, x.shape[2:], kernel_size=3, padding=1) / 4


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
    return patches / torch.linalg.vector_norm(patches, dim=1, keepdim=True).clamp_min(1e-4)


def _rows(columns: Tensor) -> Tensor:
    """(B, E, n) to (B, n, E) with E contiguous, without which torch silently forms the whole score matrix."""
    return columns.transpose(1, 2).contiguous()
