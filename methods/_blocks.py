"""Building blocks that several networks share.

Shapes are (batch, channels, rows, columns). Sources: Lim et al., Enhanced deep residual networks for single image
super-resolution (EDSR), CVPRW 2017, figures 2 and 3; Shi et al., ESPCN, CVPR 2016 (the pixel shuffle).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mrsr_bench.degradation import bicubic_torch
from mrsr_bench.method import Task

SHUFFLES: dict[int, tuple[int, ...]] = {2: (2,), 3: (3,), 4: (2, 2)}
"""Scale → the pixel-shuffle stages of the EDSR tail."""


def conv(channels_in: int, channels_out: int, kernel: int, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps rows and columns (zero padding)."""
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)


class ResidualBlock(nn.Module):
    """x + res_scale · conv(ReLU(conv(x))), without batch normalisation (EDSR, figure 2c)."""

    def __init__(self, channels: int, res_scale: float = 1.0) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv(channels, channels, 3), nn.ReLU(), conv(channels, channels, 3))
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_scale * self.branch(x)


def upsampler(channels: int, scale: int, slices: int = 1, inner: int | None = None) -> nn.Sequential:
    """EDSR's tail (figure 3): (B, channels, h, w) to (B, slices, s·h, s·w).

    One stage of convolution and pixel shuffle for ×2 and ×3, two ×2 stages for ×4, then a convolution to the image.
    Each stage leaves `inner` channels, by default as many as come in.
    """
    layers: list[nn.Module] = []
    inner = inner or channels
    for factor in SHUFFLES[scale]:
        layers += [conv(channels, factor**2 * inner, 3), nn.PixelShuffle(factor)]
        channels = inner
    return nn.Sequential(*layers, conv(inner, slices, 3))


def unsupported_scale(task: Task) -> str | None:
    """Why `upsampler` cannot serve `task`, or None."""
    if task.scale in SHUFFLES:
        return None
    return f"has upsamplers for ×2, ×3 and ×4, not for ×{task.scale}"


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Within it, autocast is off for the device of `x`; operands still need a cast by `at_least_float32`."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """Half precisions to float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def interpolate(x: Tensor, scale: int) -> Tensor:
    """(B, C, h, w) to (B, C, s·h, s·w) by the suite's exact bicubic, in float32 or better also under autocast."""
    with full_precision(x):
        return bicubic_torch(at_least_float32(x), [scale * n for n in x.shape[-2:]])
