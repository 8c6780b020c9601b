"""SRCNN: Dong et al., Image super-resolution using deep convolutional networks, IEEE TPAMI 38(2), 2016."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from mrsr_bench.method import MethodOptions, Recipe, Task, TorchMethod
from mrsr_bench.methods._blocks import conv, interpolate

Count = Annotated[int, Field(ge=1)]


class SRCNNNetwork(nn.Module):
    """Bicubic interpolation, then three convolutions at full size, no skip: (B, 1, h, w) to (B, 1, s·h, s·w)."""

    def __init__(self, scale: int, middle: int = 5, filters: tuple[int, int] = (64, 32)) -> None:
        super().__init__()
        self.scale = scale
        first, second = filters
        self.body = nn.Sequential(
            conv(1, first, 9),  # patch extraction, section 3.1.1
            nn.ReLU(),
            conv(first, second, middle),  # non-linear mapping, section 3.1.2
            nn.ReLU(),
            conv(second, 1, 5),  # reconstruction, section 3.1.3
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(interpolate(x, self.scale))


class SRCNNOptions(MethodOptions):
    middle: Literal[1, 3, 5] = 5
    """Kernel of the middle layer: the paper's 9-1-5, 9-3-5 and 9-5-5 (section 4.3.2)."""
    filters: tuple[Count, Count] = (64, 32)
    """Filters of the first and the second layer, n1 and n2 (section 4.3.1 compares (32, 16), (64, 32), (128, 64))."""


class SRCNN(TorchMethod):
    """SRCNN 9-5-5 with 64 and 32 filters, in a network that interpolates its own input.

    Departures from the paper: Adam in place of SGD with momentum 0.9 (the learning rates 1e-4 and, in the last layer,
    1e-5 are the paper's); torch's default initialisation in place of N(0, 0.001²); zero padding in training too;
    LR patches of 24 in place of HR sub-images of 33, batches of 16, and 1e6 steps, as in Zhao et al., Channel
    splitting network, IEEE TIP 2019, whose training the published MR tables compare under.
    """

    paper = "Dong et al., Image super-resolution using deep convolutional networks, IEEE TPAMI 38(2), 2016"
    Options = SRCNNOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "9-1-5": {"middle": 1},
        "tiny": {"filters": (32, 16)},
    }
    recipe = Recipe(loss="mse", schedule_args={"decay_rate": 1.0}, lr_patch=24)
    options: SRCNNOptions

    def build(self, task: Task) -> SRCNNNetwork:
        return SRCNNNetwork(task.scale, self.options.middle, self.options.filters)

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """The last layer learns at a tenth of the recipe's rate; timm's schedulers apply a group's `lr_scale`."""
        assert isinstance(network, SRCNNNetwork)
        return [
            {"params": list(network.body[:-1].parameters())},
            {"params": list(network.body[-1].parameters()), "lr_scale": 0.1},
        ]
