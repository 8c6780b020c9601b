"""What a device does in a training: the precision that `fast` means there, and its fastest kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["32-true", "bf16-mixed"]
"""A precision of Lightning Fabric."""


def resolve_precision(precision: Literal["32-true", "bf16-mixed", "fast"], device: torch.device) -> Precision:
    """The precision of a recipe on `device`: `fast` is bf16-mixed where there are matrix units for it, else 32-true."""
    if precision != "fast":
        return precision
    return "bf16-mixed" if has_bf16_units(device) else "32-true"


def has_bf16_units(device: torch.device) -> bool:
    """Whether a device multiplies bf16 matrices in hardware: NVIDIA's since Ampere, AMD's GPUs, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


@contextmanager
def fastest_kernels(device: torch.device, tf32: bool) -> Iterator[None]:
    """Within it, CUDA tries cuDNN's kernels and takes the fastest, and float32 products may be TF32 where `tf32`.

    Kernels are not tried where torch may only use deterministic ones: which is the fastest may differ between runs.
    """
    if device.type != "cuda":
        yield
        return
    benchmark, products = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    if tf32:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = benchmark, convolutions
        torch.set_float32_matmul_precision(products)
