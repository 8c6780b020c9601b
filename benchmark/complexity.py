"""What a network costs: its parameters and multiply-accumulates, from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .method import Task, TorchMethod


def count_parameters(method: TorchMethod, task: Task) -> int:
    """Numbers that training changes."""
    return sum(p.numel() for p in _build(method, task, "meta").parameters() if p.requires_grad)


def count_macs(method: TorchMethod, task: Task, lr: Sequence[int] = (24, 24), device: str = "meta") -> int:
    """Multiply-accumulates of one sample with `lr` rows and columns, and as many slices as the method takes at a time.

    Counted are convolutions and matrix products, without biases, activations and softmax, as published figures are.
    Attention counts in its plain form, every score and every weighted value; torch knows no formula for its kernel
    that keeps no scores. Interpolation within a network counts too, as the dense products that it is here, where
    published figures leave it out: s·h·h·w + s·s·h·w·w at scale s, 0.06 % of SRCNN's at LR 24×24, 0.3 % at 120×120.

    A network of its own is built on `device`. "meta" has shapes and no values, so nothing is computed, and the count
    depends on no weights; a network that needs values in building or running raises there, and may count on "cpu".
    """
    network = _build(method, task, device)
    sample = torch.zeros(1, method.slices_per_sample, *lr, device=device)
    plain = sdpa_kernel(SDPBackend.MATH)
    with torch.inference_mode(), plain, FlopCounterMode(display=False) as counter:
        network(sample)
    return counter.get_total_flops() // 2


def _build(method: TorchMethod, task: Task, device: str) -> nn.Module:
    with torch.device(device):
        return method.build(task).eval()
