"""EDSR: Lim et al., Enhanced deep residual networks for single image super-resolution, CVPRW 2017."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from mrsr_bench.method import MethodOptions, Recipe, Task, TorchMethod
from mrsr_bench.methods._blocks import ResidualBlock, at_least, conv, unsupported_scale, upsampler


class EDSRNetwork(nn.Module):
    """(B, 1, h, w) to (B, 1, s·h, s·w), s = 2, 3 or 4 (figure 3; the skip starts after the first convolution)."""

    def __init__(self, scale: int, blocks: int, features: int, res_scale: float) -> None:
        super().__init__()
        self.head = conv(1, features, 3)
        self.body = nn.Sequential(
            *(ResidualBlock(features, res_scale) for _ in range(blocks)),
            conv(features, features, 3),
        )
        self.tail = upsampler(features, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.body(x))


class EDSROptions(MethodOptions):
    blocks: int = 32
    features: int = 256
    res_scale: float = 0.1
    """Factor of every residual branch; 0.1 keeps wide networks stable (residual scaling)."""

    def model_post_init(self, context: Any) -> None:
        at_least(1, blocks=self.blocks, features=self.features)


class EDSR(TorchMethod):
    """EDSR, 32 blocks of 256 features by default, and the paper's 16×64 `baseline` (table 1).

    Departures from the paper: one channel in place of RGB, so no mean is subtracted (intensities are near [0, 1]);
    ×3 and ×4 start from scratch, not from the ×2 weights; gradient norms are bounded by 10, about the most seen in a
    healthy start, because the wide network is known to diverge (Zhao et al., IEEE TIP 2019, could not train it).
    """

    paper = "Lim et al., Enhanced deep residual networks for single image super-resolution, CVPRW 2017"
    Options = EDSROptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "baseline": {"blocks": 16, "features": 64, "res_scale": 1.0},
        "tiny": {"blocks": 8, "features": 32, "res_scale": 1.0},
    }
    recipe = Recipe(steps=300_000, clip_norm=10.0)
    options: EDSROptions

    def unsupported(self, task: Task) -> str | None:
        return super().unsupported(task) or unsupported_scale(task)

    def build(self, task: Task) -> EDSRNetwork:
        chosen = self.options
        return EDSRNetwork(task.scale, chosen.blocks, chosen.features, chosen.res_scale)
