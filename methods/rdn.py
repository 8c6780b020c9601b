"""RDN: Zhang et al., Residual dense network for image super-resolution, CVPR 2018."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from mrsr_bench.method import MethodOptions, Recipe, Task, TorchMethod
from mrsr_bench.methods._blocks import conv, unsupported_scale, upsampler


class RDNOptions(MethodOptions):
    """The letters are the paper's."""

    blocks: int = Field(16, ge=1)
    """D: residual dense blocks."""
    layers: int = Field(8, ge=1)
    """C: dense convolutions in a block."""
    growth: int = Field(64, ge=1)
    """G: channels that each of them adds."""
    features: int = Field(64, ge=1)
    """G0: channels between the blocks."""
    res_scale: float = Field(1.0, gt=0)
    """Factor of a block's branch in its local residual; the paper has none, 0.1 steadies a training that diverges."""


class ResidualDenseBlock(nn.Module):
    """x + res_scale · fuse([x, F_1 … F_C]): (B, G0, h, w) to the same (figure 3, section 3.2)."""

    def __init__(self, features: int, growth: int, layers: int, res_scale: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(conv(features + i * growth, growth, 3), nn.ReLU()) for i in range(layers)
        )
        self.fuse = conv(features + layers * growth, features, 1)  # local feature fusion
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        dense = x  # [F_{d−1}, F_{d,1}, …]: contiguous memory
        for layer in self.layers:
            dense = torch.cat([dense, layer(dense)], 1)
        return x + self.res_scale * self.fuse(dense)


class RDNNetwork(nn.Module):
    """(B, 1, h, w) to (B, 1, s·h, s·w), s = 2, 3 or 4 (figure 2, sections 3.1 and 3.3)."""

    def __init__(self, scale: int, options: RDNOptions) -> None:
        super().__init__()
        features = options.features
        self.first = conv(1, features, 3)  # F_{−1}, where the global residual starts
        self.second = conv(features, features, 3)  # F_0
        self.blocks = nn.ModuleList(
            ResidualDenseBlock(features, options.growth, options.layers, options.res_scale)
            for _ in range(options.blocks)
        )
        self.fuse = nn.Sequential(  # global feature fusion
            conv(options.blocks * features, features, 1),
            conv(features, features, 3),
        )
        self.tail = upsampler(features, scale, inner=options.growth)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        x, outputs = self.second(first), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return self.tail(first + self.fuse(torch.cat(outputs, 1)))  # global residual learning


class RDN(TorchMethod):
    """RDN, 16 blocks of 8 layers with growth 64 by default; `d20c6g32` is the paper's ablation network.

    The tail has `growth` channels behind its first stage, as the PyTorch code that gives `d20c6g32` has it; for the
    default network, whose features are as many, that changes nothing.

    Departures from the paper: one channel in place of RGB; ×3 and ×4 start from scratch, not from the ×2 weights;
    LR patches of 32 at every scale, where the public code takes 48 at ×2 and 32 at ×3 and ×4; gradient norms are
    bounded by 10, where the public code skips batches whose loss leaps up.
    """

    paper = "Zhang et al., Residual dense network for image super-resolution, CVPR 2018"
    Options = RDNOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "d20c6g32": {"blocks": 20, "layers": 6, "growth": 32},
        "tiny": {"blocks": 4, "layers": 3, "growth": 16, "features": 32},
    }
    recipe = Recipe(lr_patch=32, clip_norm=10.0)
    options: RDNOptions

    def unsupported(self, task: Task) -> str | None:
        return super().unsupported(task) or unsupported_scale(task)

    def build(self, task: Task) -> RDNNetwork:
        return RDNNetwork(task.scale, self.options)
