"""What a network costs: parameters, multiply-accumulates and memory in training, computed from shapes alone."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..method import Recipe, Task, TorchMethod


def count_parameters(method: TorchMethod, task: Task) -> int:
    """Numbers that training changes."""
    return _parameters(_build(method, task, "meta"))


def count_network(method: TorchMethod, task: Task, lr: Sequence[int]) -> tuple[int, int]:
    """`count_parameters` and `count_macs`, of a network that is built once."""
    network = _build(method, task, "meta")
    return _parameters(network), _macs(method, network, lr, "meta")


def count_macs(method: TorchMethod, task: Task, lr: Sequence[int] = (24, 24), device: str = "meta") -> int:
    """Multiply-accumulates of one sample with `lr` rows and columns, and as many slices as the method takes at a time.

    Counted are convolutions and matrix products, without biases, activations and softmax, as published figures are.
    Attention counts in its plain form, every score and every weighted value; torch knows no formula for its kernel
    that keeps no scores. Interpolation within a network counts too, as the dense products that it is here; published
    figures leave it out: s·h·h·w + s·s·h·w·w at scale s, 0.06 % of SRCNN's at LR 24×24, 0.3 % at 120×120.

    A network of its own is built on `device`. "meta" has shapes and no values, so nothing is computed, and the count
    depends on no weights; a network that needs values in building or running raises there, and may count on "cpu".
    """
    return _macs(method, _build(method, task, device), lr, device)


def macs_if_possible(method: TorchMethod, task: Task) -> int | None:
    """`count_macs`; where the network needs values, with real zeros; None where it cannot take such a sample at all.

    No score depends on this figure, so nothing that a network does here may end its run.
    """
    for device in ("meta", "cpu"):
        with contextlib.suppress(Exception):
            return count_macs(method, task, device=device)
    return None


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _macs(method: TorchMethod, network: nn.Module, lr: Sequence[int], device: str) -> int:
    sample = torch.zeros(1, method.slices_per_sample, *lr, device=device)
    plain = sdpa_kernel(SDPBackend.MATH)
    with torch.inference_mode(), plain, FlopCounterMode(display=False) as counter:
        network(sample)
    return counter.get_total_flops() // 2


def count_training(method: TorchMethod, task: Task, recipe: Recipe, lr: Sequence[int]) -> tuple[int, int]:
    """The multiply-accumulates of a forward pass of one sample, and the bytes that a training keeps at once.

    LR patches have `lr` rows and columns, numbers are float32. The bytes: weights, gradients and optimiser state, the
    copies of the best weights and of the last good state (`training`, `divergence`), and all that the forward pass of
    the largest part of a batch saves for the backward pass; not counted is what kernels need while they run. Attention
    by torch counts with its scores, which its fused kernels do not keep.

    Raises what a network raises that needs values.
    """
    from timm.optim import create_optimizer_v2  # seconds, which the other counts do without

    from .setup import parameter_groups

    parts = -(-recipe.batch // (recipe.micro_batch or recipe.batch))
    samples = -(-recipe.batch // parts)
    network = _build(method, task, "meta").train()
    groups = parameter_groups(method, network, recipe)
    optimizer = create_optimizer_v2(groups, opt=recipe.optimizer, lr=recipe.lr, **recipe.optimizer_args)
    persistent = {_storage_id(tensor) for tensor in [*network.parameters(), *network.buffers()]}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if _storage_id(tensor) not in persistent:
            saved[_storage_id(tensor)] = tensor.untyped_storage()
        return tensor

    sample = torch.zeros(samples, method.slices_per_sample, *lr, device="meta")
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, hooks:
        loss = network(sample).abs().mean()
    loss.backward()
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    trained = [p for p in network.parameters() if p.grad is not None]
    gradients = sum(p.nbytes for p in trained)
    state = _state_bytes(optimizer, trained)
    memory = 3 * weights + gradients + 2 * state + sum(storage.nbytes() for storage in saved.values())
    return counter.get_total_flops() // 2 // samples, memory


def _state_bytes(optimizer: torch.optim.Optimizer, trained: Sequence[nn.Parameter]) -> int:
    """Bytes of the optimiser's state for `trained`, by a step on one parameter of each shape; gradients are lost."""
    number = Counter(p.shape for p in trained)
    first = {p.shape: p for p in reversed(trained)}
    for p in trained:
        p.grad = p.grad if p is first[p.shape] else None
    optimizer.step()
    return sum(
        tensor.nbytes * number[p.shape]
        for p in first.values()
        for tensor in optimizer.state[p].values()
        if torch.is_tensor(tensor)
    )


def _storage_id(tensor: torch.Tensor) -> int:
    """What views of one piece of memory share; tensors on "meta" have no address."""
    return int(tensor.untyped_storage()._cdata)


def _build(method: TorchMethod, task: Task, device: str) -> nn.Module:
    with torch.device(device):
        return method.make_network(task).eval()
