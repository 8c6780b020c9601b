"""EDSR: Lim et al., Enhanced deep residual networks for single image super-resolution, CVPRW 2017."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from mrsr_bench.method import MethodOptions, Recipe, Task, TorchMethod
from mrsr_bench.methods._blocks import ResidualBlock, conv, unsupported_scale, upsampler


class EDSRNetwork(nn.Module):
    """(B, d, h, w) to (B, d, s·h, s·w), s = 2, 3 or 4 (figure 3; the skip starts after the first convolution).

    d = `slices` neighbours of a volume are the channels of one sample, as the paper's are red, green and blue.
    """

    def __init__(self, scale: int, blocks: int, features: int, res_scale: float, slices: int = 1) -> None:
        super().__init__()
        self.head = conv(slices, features, 3)
        self.body = nn.Sequential(
            *(ResidualBlock(features, res_scale) for _ in range(blocks)),
            conv(features, features, 3),
        )
        self.tail = upsampler(features, scale, slices)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.body(x))


class EDSROptions(MethodOptions):
    blocks: int = Field(32, ge=1)
    """Residual blocks."""
    features: int = Field(256, ge=1)
    """Channels of every layer between the first and the last."""
    res_scale: float = Field(0.1, gt=0)
    """Factor of every residual branch; 0.1 keeps wide networks stable (section 3.2)."""
    slices: int = Field(1, ge=1)
    """Slices of a volume taken as the channels of one sample; 1 upscales each slice by itself."""


class EDSR(TorchMethod):
    """EDSR, 32 blocks of 256 features by default, the paper's 16×64 `baseline` (table 1) and three more presets.

    `40x64` is the backbone of POAN and the "EDSR" whose size Hu et al. give. `c96` is the default network with 96
    slices as channels: the EDSR column that tables of MR super-resolution print has this form, made because Zhao et
    al. (Channel splitting network, IEEE TIP 2019) could not train the default on single slices. Rows quoted from
    them are labelled "EDSR (C96)"; the default is another method, and a better one where it trains.

    Departures from the paper: one channel (or `slices`) in place of RGB, so no mean is subtracted (intensities are
    near [0, 1]); ×3 and ×4 start from scratch, not from the ×2 weights; gradient norms are bounded by 10, about the
    most seen in a healthy start, because the wide network is known to diverge.
    """

    paper = "Lim et al., Enhanced deep residual networks for single image super-resolution, CVPRW 2017"
    Options = EDSROptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "baseline": {"blocks": 16, "features": 64, "res_scale": 1.0},
        "40x64": {"blocks": 40, "features": 64, "res_scale": 1.0},
        "c96": {"slices": 96},
        "tiny": {"blocks": 8, "features": 32, "res_scale": 1.0},
    }
    recipe = Recipe(steps=300_000, clip_norm=10.0)
    options: EDSROptions

    @property
    def slices_per_sample(self) -> int:
        return self.options.slices

    def unsupported(self, task: Task) -> str | None:
        return super().unsupported(task) or unsupported_scale(task)

    def build(self, task: Task) -> EDSRNetwork:
        chosen = self.options
        return EDSRNetwork(task.scale, chosen.blocks, chosen.features, chosen.res_scale, chosen.slices)
