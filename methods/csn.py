"""CSN: Zhao et al., Channel splitting network for single MR image super-resolution, IEEE TIP 28(11), 2019.

Shapes are (B, c, h, w), c = `features`. The paper publishes no code; this follows its text and figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from mrsr_bench.method import MethodOptions, Recipe, Task, TorchMethod
from mrsr_bench.methods._blocks import conv, interpolate, unsupported_scale, upsampler


class CSNOptions(MethodOptions):
    features: int = Field(256, ge=2, multiple_of=2)
    """c: channels of the trunk, half of them in each branch of a block."""
    growth: int = Field(64, ge=1)
    """g: channels that a stage of the dense branch adds before its fusion."""
    blocks: int = Field(4, ge=1)
    """n: channel splitting blocks."""
    stages: int = Field(4, ge=1)
    """m: merge-and-run stages of a block."""
    res_scale: float = Field(1.0, gt=0)
    """Factor of a block's branch in its local residual; the paper names a constant scaling but gives no figure."""


class MergeAndRun(nn.Module):
    """One stage: a residual unit and a dense unit side by side, each plus the mean of the two inputs.

    Both branches are (B, c/2, h, w) and stay so.
    """

    def __init__(self, half: int, growth: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(conv(half, half, 3), nn.ReLU(), conv(half, half, 3))
        self.grow = nn.Sequential(conv(half, growth, 3), nn.ReLU())
        self.fuse = conv(half + growth, half, 3)

    def forward(self, top: Tensor, bottom: Tensor) -> tuple[Tensor, Tensor]:
        mean = (top + bottom) / 2
        dense = torch.cat([bottom, self.grow(bottom)], 1)
        return self.residual(top) + mean, self.fuse(dense) + mean


class ChannelSplittingBlock(nn.Module):
    """CSB: x + res_scale · fuse(both branches after m stages); the first half of x is the residual branch."""

    def __init__(self, options: CSNOptions) -> None:
        super().__init__()
        features = options.features
        self.stages = nn.ModuleList(MergeAndRun(features // 2, options.growth) for _ in range(options.stages))
        self.fuse = conv(features, features, 1)
        self.res_scale = options.res_scale

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = x.chunk(2, 1)
        for stage in self.stages:
            top, bottom = stage(top, bottom)
        return x + self.res_scale * self.fuse(torch.cat([top, bottom], 1))


class CSNNetwork(nn.Module):
    """(B, 1, h, w) to (B, 1, s·h, s·w), s = 2, 3 or 4.

    `enlarge(x, s)` is the external skip, by default the suite's exact bicubic. Weights start from Xavier's normal
    distribution and biases from 0, as the authors' framework has them.
    """

    def __init__(self, scale: int, options: CSNOptions, enlarge: Callable[[Tensor, int], Tensor] = interpolate) -> None:
        super().__init__()
        features = options.features
        self.scale, self.enlarge = scale, enlarge
        self.extract = nn.Sequential(  # feature extraction, without activations
            conv(1, features, 3), conv(features, features, 1), conv(features, features, 3)
        )
        self.blocks = nn.ModuleList(ChannelSplittingBlock(options) for _ in range(options.blocks))
        self.fuse = nn.Sequential(  # global feature fusion
            conv((options.blocks + 1) * features, features, 1), conv(features, features, 3)
        )
        self.tail = upsampler(features, scale)
        self.apply(_xavier)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.extract(x)]
        for block in self.blocks:
            outputs.append(block(outputs[-1]))
        fused = outputs[0] + self.fuse(torch.cat(outputs, 1))
        return self.tail(fused) + self.enlarge(x, self.scale)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_normal_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


class CSN(TorchMethod):
    """CSN, 4 blocks of 4 stages on 256 channels.

    Departures from the paper: the rate rises from 1e-6 in the first 1000 steps and gradient norms are bounded by 10,
    because at the full rate from Xavier's weights the loss leaps up tenfold within the first ten steps; the external
    skip is bicubic as MATLAB has it. The paper's "constant scaling" has neither a factor nor a place in its equations,
    so `res_scale` is 1. Its flips and quarter turns together are all eight of "dihedral".
    """

    paper = "Zhao et al., Channel splitting network for single MR image super-resolution, IEEE TIP 28(11), 2019"
    Options = CSNOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"features": 32, "growth": 16, "blocks": 2, "stages": 2},
    }
    adds_bicubic = True
    recipe = Recipe(
        schedule_args={"decay_epochs": 200_000, "decay_rate": 0.5, "warmup_epochs": 1000, "warmup_lr": 1e-6},
        lr_patch=24,
        clip_norm=10.0,
    )
    options: CSNOptions

    def unsupported(self, task: Task) -> str | None:
        return super().unsupported(task) or unsupported_scale(task)

    def build(self, task: Task) -> CSNNetwork:
        return CSNNetwork(task.scale, self.options)
