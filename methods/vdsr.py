"""VDSR: Kim et al., Accurate image super-resolution using very deep convolutional networks, CVPR 2016."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from mrsr_bench.method import MethodOptions, Recipe, Task, TorchMethod
from mrsr_bench.methods._blocks import conv, interpolate


class VDSRNetwork(nn.Module):
    """Bicubic interpolation plus the residual image of many 3×3 layers: (B, 1, h, w) to (B, 1, s·h, s·w) (figure 2).

    Every weight starts from a zero-mean normal distribution of variance 2 / (9 · channels out), He et al., ICCV 2015.
    """

    def __init__(self, scale: int, layers: int, features: int, bias: bool = False) -> None:
        super().__init__()
        self.scale = scale
        hidden: list[nn.Module] = []
        for _ in range(layers - 2):
            hidden += [conv(features, features, 3, bias), nn.ReLU()]
        self.body = nn.Sequential(conv(1, features, 3, bias), nn.ReLU(), *hidden, conv(features, 1, 3, bias))
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = interpolate(x, self.scale)
        return x + self.body(x)  # residual learning


class VDSROptions(MethodOptions):
    layers: int = Field(20, ge=2)
    """Convolutions, d in section 3.1."""
    features: int = Field(64, ge=1)
    """Filters of every layer but the last, which has one."""
    bias: bool = False
    """Biases in the convolutions: 665 921 parameters in place of 664 704. The public PyTorch code has none."""


class VDSR(TorchMethod):
    """VDSR: 20 layers of 64 features on the bicubically enlarged image, any scale.

    Departures from the paper: Adam with a rate of 1e-4 in place of SGD from 0.1 with momentum 0.9, and no weight
    decay; the rate halves every 2e5 steps in place of falling tenfold with each quarter of the training; the global
    norm of the gradients is bounded by 1, which a healthy training exceeds in its first steps only, in place of each
    gradient by θ over the rate; batches of 16 LR patches of 24, and 1e6 steps, in place of 64 HR patches of 41 in 80
    epochs, as in Zhao et al., Channel splitting network, IEEE TIP 2019, whose training the published MR tables compare
    under; one network for each scale, from scratch, in place of one for all; no biases, as in the public PyTorch code.
    """

    paper = "Kim et al., Accurate image super-resolution using very deep convolutional networks, CVPR 2016"
    Options = VDSROptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {"tiny": {"layers": 8, "features": 32}}
    adds_bicubic = True
    recipe = Recipe(loss="mse", lr_patch=24, clip_norm=1.0)
    options: VDSROptions

    def build(self, task: Task) -> VDSRNetwork:
        chosen = self.options
        return VDSRNetwork(task.scale, chosen.layers, chosen.features, chosen.bias)
