"""The checks of the network that a `TorchMethod` builds, before any training."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch

import numpy as np
import torch

from ..degradation import bicubic_torch
from ..method import TorchMethod
from .expectations import CheckSkipped, check, expect
from .trial import SyntheticSamples, Trial

_STILL = {torch.float64: 1e-12, torch.float32: 1e-9}
"""A gradient below this part of the network's largest is rounding."""
_START = 1e-5
"""Difference from bicubic, in intensity scales, that is rounding in float32."""


@check(
    "layers that forward does not use, detach(), no_grad(), argmax, rounding, gates that are shut, and norms of zero "
    "(add an epsilon). A tensor that cannot have a gradient is named in idle_parameters, with the reason"
)
def gradients(trial: Trial) -> str:
    """Every parameter has a finite gradient, also on black, and not zero but where idle_parameters says why."""
    try:
        largest, dtype = _gradients(trial, torch.float64), torch.float64
    except RuntimeError:  # a network that works in float32 alone
        largest, dtype = _gradients(trial, torch.float32), torch.float32
    still = _STILL[dtype] * max(largest.values(), default=0.0)
    assert issubclass(trial.cls, TorchMethod)
    named = {name for name in largest for pattern in trial.cls.idle_parameters if fnmatch(name, pattern)}
    idle = {name for name, value in largest.items() if value <= still}
    expect(not idle - named, f"no gradient reaches {', '.join(sorted(idle - named))}")
    expect(not named - idle, f"idle_parameters names {', '.join(sorted(named - idle))}, which a gradient does reach")
    return f"{len(largest)} tensors, {len(idle)} idle as named"


def _gradients(trial: Trial, dtype: torch.dtype) -> dict[str, float]:
    """Name → the largest gradient of every parameter in the first steps (a layer that starts at zero blocks others)."""
    method = trial.make()
    if not isinstance(method, TorchMethod):
        raise CheckSkipped("is no network")
    torch.manual_seed(trial.task.seed)
    network = method.make_network(trial.task).to(dtype).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    data, largest = SyntheticSamples(trial.pairs), {name: 0.0 for name, _ in network.named_parameters()}
    for step, given in enumerate(("a sample", "a sample", "a sample", "a black patch")):
        x, y = (torch.from_numpy(array).to(dtype) * (given == "a sample") for array in data.batch(step))
        optimizer.zero_grad()
        torch.nn.functional.l1_loss(network(x), y + 0.1).backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                value = float(parameter.grad.abs().max())
                expect(np.isfinite(value), f"the gradient of {name} on {given} is not finite")
                largest[name] = max(largest[name], value)
        optimizer.step()
    return largest


@check(
    "adds_bicubic, which says whether the network itself adds the bicubic image, and output_layer, by default the last "
    "convolution: it makes the image, and nothing comes after it that adds to it but bicubic"
)
def start(trial: Trial) -> str:
    """At the start bicubic a network is bicubic before its first step, and a gradient reaches its output layer."""
    method, task = trial.make(), replace(trial.task, start="bicubic")
    if not isinstance(method, TorchMethod):
        raise CheckSkipped("is no network")
    lr, hr = map(torch.from_numpy, SyntheticSamples(trial.pairs).batch(0))
    image = bicubic_torch(lr, hr.shape[2:])
    empty = method.make_network(trial.task).eval()
    with torch.inference_mode():
        for parameter in empty.parameters():
            parameter.zero_()
        floor = empty(lr)
    returns_bicubic, declared = torch.allclose(floor, image, atol=_START), method.adds_bicubic
    expect(returns_bicubic or not declared, "adds_bicubic is declared, but with all parameters 0 there is no bicubic")
    expect(declared or not returns_bicubic, "with all parameters 0 there is bicubic, but adds_bicubic is not declared")
    if not declared and not torch.allclose(floor, torch.zeros_like(floor), atol=_START):
        raise CheckSkipped("with all parameters 0 there is neither 0 nor bicubic: start: bicubic does not work for it")
    network = method.make_network(task)
    difference = float((network.eval()(lr).detach() - image).abs().max())
    expect(difference <= _START, f"at the start bicubic the network differs from bicubic by up to {difference:.3g}")
    torch.nn.functional.l1_loss(network.train()(lr), hr).backward()
    still = [name for name, p in method.output_layer(network).named_parameters() if p.grad is None or not p.grad.any()]
    expect(not still, f"at the start bicubic no gradient reaches {', '.join(still)} of the output layer")
    return "adds bicubic itself" if declared else "bicubic is added"
