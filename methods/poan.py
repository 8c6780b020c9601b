"""POAN: Hu et al., Pyramid orthogonal attention network based on dual self-similarity, IEEE ICME 2021.

Shapes are (B, C, h, w), C = `features`. The paper publishes no code; where its text, figure 2 and equations leave a
choice open, the reading taken here is named beside the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mrsr_bench.method import MethodOptions, Recipe, Task, TorchMethod
from mrsr_bench.methods._attention import PointAttention, PyramidAttention
from mrsr_bench.methods._blocks import (
    ResidualBlock,
    at_least,
    at_least_float32,
    conv,
    full_precision,
    unsupported_scale,
    upsampler,
)


class POANOptions(MethodOptions):
    blocks: int = 40
    """Residual blocks, half of them before and half after the attention block (section 3.2)."""
    features: int = 64
    reduction: int = 2
    """Channels over embedding channels in both kinds of self-similarity; not in the paper, PANet's value."""
    levels: tuple[float, ...] = (1.0, 0.8, 0.6, 0.4)
    """Sizes of the feature pyramid: (1,) is table 2's patch, (0.8, 0.6, 0.4) its pyramid similarity, () neither."""
    point: bool = True
    """Point similarity (equations 1 and 2)."""
    newton_schulz_steps: int = 5
    """Steps of the covariance root: 5 as in SAN; 8 bring its error from about 20 % to at most a few per cent."""

    def model_post_init(self, context: Any) -> None:
        at_least(1, features=self.features, reduction=self.reduction, newton_schulz_steps=self.newton_schulz_steps)
        if self.blocks < 2 or self.blocks % 2:
            raise ValueError(f"blocks must be even, half before and half after the attention, not {self.blocks}")
        if self.features % self.reduction:
            raise ValueError(f"features ({self.features}) must be a multiple of reduction ({self.reduction})")
        if not all(0 < level <= 1 for level in self.levels):
            raise ValueError(f"levels must lie above 0 and at most at 1, not {self.levels}")


class DualSelfSimilarity(nn.Module):
    """PDSB, section 2.1 and equation 5: a 1×1 convolution of the point and the pyramid response, side by side.

    No residual of its own, as figure 2 draws none. With both branches off, `POAB` leaves it out.
    """

    def __init__(self, features: int, reduction: int, levels: Sequence[float], point: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        if point:
            self.branches.append(PointAttention(features, reduction))
        if levels:
            self.branches.append(PyramidAttention(features, levels, reduction))
        self.fuse = conv(len(self.branches) * features, features, 1)  # F_c of equation 5

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(torch.cat([branch(x) for branch in self.branches], 1))


def covariance(x: Tensor) -> Tensor:
    """Σ of equation 6: the (B, C, C) covariance of the channels over all h·w pixels, normalised by 1/(h·w)."""
    pixels = x.flatten(2)
    pixels = pixels - pixels.mean(2, keepdim=True)
    return pixels @ pixels.transpose(1, 2) / pixels.shape[2]


def matrix_root(matrix: Tensor, steps: int, eps: float = 1e-5) -> Tensor:
    """Σ^α of equation 6 with α = 1/2, of symmetric positive semi-definite (B, C, C), by coupled Newton-Schulz steps.

    As in Dai et al., SAN, CVPR 2019 (second-order channel attention), which the paper cites. With `eps` added to the
    trace, value and gradient stay finite for a constant feature map, whose covariance is zero.
    """
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + eps
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    root, inverse = matrix / trace, identity
    for _ in range(steps):
        update = (3 * identity - inverse @ root) / 2
        root, inverse = root @ update, update @ inverse
    return trace.sqrt() * root


class ChannelAttention(nn.Module):
    """NCAB, section 2.2 and equation 6: x times a softmax over its channels, from their covariance, not reduced.

    The descriptor z (B, C, 1, 1) is the mean of each row of the covariance's root, as in SAN. The softmax weights sum
    to 1 over the channels and are not rescaled.
    """

    def __init__(self, features: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.weigh = nn.Sequential(
            conv(features, features, 1),  # F_E
            nn.ReLU(),
            conv(features, features, 1),  # F_S
        )

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            root = matrix_root(covariance(at_least_float32(x)), self.steps)
            z = root.mean(2)[:, :, None, None]
        return torch.softmax(at_least_float32(self.weigh(z)), 1).to(x.dtype) * x


class POAB(nn.Module):
    """The pyramid orthogonal attention block, equation 7 and figure 2: x + conv(x' + NCAB(x')), x' = conv(PDSB(x))."""

    def __init__(self, options: POANOptions) -> None:
        super().__init__()
        features = options.features
        self.spatial = nn.Sequential()
        if options.point or options.levels:
            self.spatial = nn.Sequential(
                DualSelfSimilarity(features, options.reduction, options.levels, options.point),
                conv(features, features, 1),
            )
        self.channel = ChannelAttention(features, options.newton_schulz_steps)
        self.out = conv(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        spatial = self.spatial(x)
        return x + self.out(spatial + self.channel(spatial))


class POANNetwork(nn.Module):
    """(B, 1, h, w) to (B, 1, s·h, s·w), s = 2, 3 or 4: EDSR with a POAB in the middle of its blocks (section 2.3).

    The skip starts after the first convolution and the tail ends in one, both as in EDSR, which the text names;
    figure 2 draws the skip from the image and no convolution behind the pixel shuffle.
    """

    def __init__(self, scale: int, options: POANOptions) -> None:
        super().__init__()
        features, half = options.features, options.blocks // 2
        self.head = conv(1, features, 3)
        self.body = nn.Sequential(
            *(ResidualBlock(features) for _ in range(half)),
            POAB(options),
            *(ResidualBlock(features) for _ in range(half)),
            conv(features, features, 3),
        )
        self.tail = upsampler(features, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.body(x))


class POAN(TorchMethod):
    """POAN, 40 blocks of 64 features; `baseline` has the backbone of EDSR's baseline.

    Departures from the paper: batches of 16 LR patches of 48 in place of "96 LR 64×64 patches", which no one card of
    the paper's kind holds; an epoch, whose length is not given, counts as 1000 steps, as in PANet's options.
    """

    paper = "Hu et al., Pyramid orthogonal attention network based on dual self-similarity, IEEE ICME 2021"
    Options = POANOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "baseline": {"blocks": 16},
        "tiny": {"blocks": 8, "features": 32},
    }
    recipe = Recipe()
    options: POANOptions

    def unsupported(self, task: Task) -> str | None:
        return super().unsupported(task) or unsupported_scale(task)

    def build(self, task: Task) -> POANNetwork:
        return POANNetwork(task.scale, self.options)
