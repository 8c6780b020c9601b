"""What is trained and on what, and what a recipe makes of it: optimiser, schedule and memory layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from ..degradation import bicubic_torch
from ..errors import BenchError
from ..method import Batch, Recipe, Task, TorchMethod
from .loader import Samples

_ROUNDING = 1e-4
"""Of float32, in intensity scales."""


@dataclass(frozen=True)
class TrainingSetup:
    """What is trained, and on what."""

    method: TorchMethod
    task: Task
    recipe: Recipe
    samples: Samples
    validation_crops: Sequence[Batch]
    """(lr, hr), each (d, h, w) float32."""
    validate_every: int
    """Steps between two validations."""
    stream_seed: int | None = None
    """Seed of the random streams; None: the task's."""


def layout(device: torch.device, precision: str) -> torch.memory_format:
    """How images lie in memory: channels last with bf16 on a GPU, whose tensor cores want them so, else as they are.

    On a CPU without bf16 units channels last was slower by a tenth to a quarter (docs/speed.md).
    """
    fast = device.type == "cuda" and precision == "bf16-mixed"
    return torch.channels_last if fast else torch.contiguous_format


def demand_bicubic(network: nn.Module, crops: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Raise BenchError where a network that starts from bicubic returns another image for a (lr, hr) crop."""
    lr, hr = crops[0]
    with torch.inference_mode():
        difference = float((network.eval()(lr) - bicubic_torch(lr, hr.shape[-2:])).abs().max())
    if not difference < _ROUNDING:
        raise BenchError(
            f"start: bicubic does not work for this network: before its first step it differs from bicubic by up to "
            f"{difference:.3g} of the intensity scale; see adds_bicubic and output_layer in docs/methods.md, and try "
            "bench check"
        )


def parameter_groups(method: TorchMethod, network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The method's groups for the optimiser; with the recipe's `one_rate`, without learning rates of their own."""
    groups = method.parameter_groups(network)
    if not recipe.one_rate:
        return groups
    return [{name: value for name, value in group.items() if name not in ("lr", "lr_scale")} for group in groups]


def make_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's timm optimiser, in one kernel for all parameters where torch has such a one."""
    chosen: dict[str, Any] = {"opt": recipe.optimizer, "lr": recipe.lr, **recipe.optimizer_args}
    try:
        return create_optimizer_v2(groups, fused=True, **chosen)
    except TypeError:  # it knows no "fused", or an argument is wrong: then this raises
        return create_optimizer_v2(groups, **chosen)


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe) -> Scheduler:
    """The recipe's timm schedule, counted in steps."""
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=recipe.schedule,
        num_epochs=recipe.steps,
        step_on_epochs=False,
        updates_per_epoch=1,
        **{"warmup_epochs": 0, **recipe.schedule_args},
    )
    if scheduler is None:
        raise BenchError(f"timm knows no schedule '{recipe.schedule}'; for a constant rate use step with decay_rate 1")
    return scheduler
